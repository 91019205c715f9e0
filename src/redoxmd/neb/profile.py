"""A path as tables: energies along it with their spread, the reference beside them, the barriers."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from redoxmd.engines.base import Engine
from redoxmd.errors import LabelRefused
from redoxmd.files.frames import bare, labelled
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import stop_on_sigterm
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.relaxation import judge

logger = logging.getLogger("redoxmd")

BARRIERS = (
    "path",
    "structure",
    "saddle_image",
    "barrier_forward_eV",
    "barrier_forward_spread_eV",
    "reference_forward_eV",
    "barrier_back_eV",
    "barrier_back_spread_eV",
    "reference_back_eV",
    "reason",
)
PROFILE = ("image", "coordinate_A", "energy_eV", "energy_spread_eV", "spread_eV_A", "passage", "refused")


def profile_table(images: Sequence[Atoms], gate: GateSettings) -> pd.DataFrame:
    """What the ensemble says along a path; columns `PROFILE`, a row for each image.

    `coordinate_A` is the length of the path so far, Σ √(Σ_i |Δr_i|²) over all atoms; `energy_eV` the mean energy above
    that of image 0, `energy_spread_eV` its standard deviation between members (ddof = 1), each member counted from
    its own image 0; `spread_eV_A`, `passage` and `refused` are the gate's.
    """
    steps = [np.linalg.norm(after.positions - image.positions) for image, after in pairwise(images)]
    members = _member_energies(images)
    relative = members - members[0]
    spread = relative.std(axis=1, ddof=1) if members.shape[1] > 1 else np.zeros(len(images))
    judged = [judge(image, gate) for image in images]
    columns = (
        range(len(images)),
        np.concatenate([[0.0], np.cumsum(steps)]),
        relative.mean(axis=1),
        spread,
        [seen.spread_eV_A for seen in judged],
        [seen.outcome.value for seen in judged],
        [seen.refused for seen in judged],
    )
    return pd.DataFrame(dict(zip(PROFILE, columns, strict=True)))


def _member_energies(images: Sequence[Atoms]) -> np.ndarray:
    """(images, M) energies of every member, eV."""
    return np.array([image.calc.results["member_energies"] for image in images], dtype=float)


def barrier_record(images: Sequence[Atoms]) -> dict[str, Any]:
    """Barriers from both ends to the highest image, in eV; errors are the spread between members (ddof = 1).

    A member's barrier is its own difference, so what shifts all its energies alike is no error. The spread is not
    calibrated.
    """
    members = _member_energies(images)
    saddle = int(members.mean(axis=1).argmax())
    forward, back = members[saddle] - members[0], members[saddle] - members[-1]
    errors = [float(np.std(each, ddof=1)) if len(each) > 1 else 0.0 for each in (forward, back)]
    return {
        "saddle_image": saddle,
        "barrier_forward_eV": float(forward.mean()),
        "barrier_forward_spread_eV": errors[0],
        "barrier_back_eV": float(back.mean()),
        "barrier_back_spread_eV": errors[1],
    }


def image_frames(images: Sequence[Atoms], profile: pd.DataFrame, about: dict[str, Any]) -> list[Atoms]:
    """Images with the ensemble's energy and forces; `info` says that they are the ensemble's, and `about`."""
    places = zip(profile["coordinate_A"].tolist(), profile["spread_eV_A"].tolist(), strict=True)
    return [
        labelled(
            image,
            image.get_potential_energy(),
            image.get_forces(apply_constraint=False),
            **about,
            engine="ensemble",
            image=number,
            coordinate_A=coordinate_A,
            spread_eV_A=spread_eV_A,
        )
        for number, (image, (coordinate_A, spread_eV_A)) in enumerate(zip(images, places, strict=True))
    ]


def candidate_frames(frames: Sequence[Atoms], profile: pd.DataFrame) -> list[Atoms]:
    """Images between the gate's thresholds, without results: the paper's further source of training data (2.6)."""
    chosen = profile["passage"] == GateOutcome.CANDIDATE.value
    found = []
    for frame in (frame for frame, wanted in zip(frames, chosen, strict=True) if wanted):
        candidate = bare(frame)
        candidate.info = {key: value for key, value in frame.info.items() if key != "engine"}
        found.append(candidate)
    return found


def reference_energies(images: Sequence[Atoms], engine: Engine, checkpoint: Checkpoint, name: str) -> pd.DataFrame:
    """Single-point energies of the reference on the images of a path.

    Args:
        images: with initial moments.
        engine: the reference.
        checkpoint: keeps every energy, so that no image is calculated twice.
        name: of the path, for messages.

    Returns:
        image, reference_total_eV (NaN where refused), reference_refused (the reason, or "").

    Raises:
        Interrupted: SIGTERM; what is done is kept.
    """
    rows: list[tuple[int, float, str]] = []
    with stop_on_sigterm() as stop:
        for number, image in enumerate(images):
            kept = checkpoint.load(f"image{number:03d}")
            if kept is not None:
                logger.info("neb %s: going on from image %d", name, number)
            else:
                energy, reason = _single_point(image, engine)
                if reason:
                    # A signal to the job reaches the engine's processes as well: what they leave then is no verdict.
                    stop.check(f"at image {number} of {name}", further=False)
                    logger.warning("neb %s: image %d refused, %s", name, number, reason)
                kept = {"energy_eV": energy, "refused": reason}
                checkpoint.save(f"image{number:03d}", kept)
            rows.append((number, float(kept["energy_eV"]), str(kept["refused"])))
            stop.check(f"after image {number} of {name}")
    return pd.DataFrame(rows, columns=["image", "reference_total_eV", "reference_refused"])


def _single_point(image: Atoms, engine: Engine) -> tuple[float, str]:
    try:
        return engine.calculate(bare(image)).energy_eV, ""
    except LabelRefused as refused:
        return float("nan"), refused.reason


def join_profiles(
    profiles: dict[str, pd.DataFrame], barriers: dict[str, dict[str, Any]], references: dict[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All paths in one table of profiles and one of barriers, ensemble and reference side by side.

    The reference's energies count from its own image 0; its barriers are those at the ensemble's highest image, and
    NaN where it was not asked or refused. Of a path that there is not, `reason` says why; else it is "". Keys are the
    names of the paths.
    """
    tables, rows = [], []
    for name, profile in profiles.items():
        if profile.empty:
            rows.append({"path": name, **barriers[name]})
            continue
        total = (
            references[name]["reference_total_eV"].to_numpy() if name in references else np.full(len(profile), np.nan)
        )
        tables.append(profile.assign(reference_eV=total - total[0]).assign(path=name))
        saddle = barriers[name]["saddle_image"]
        reference = {"reference_forward_eV": total[saddle] - total[0], "reference_back_eV": total[saddle] - total[-1]}
        rows.append({"path": name, "reason": "", **barriers[name], **reference})
    columns = [*PROFILE, "reference_eV", "path"]
    joined = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=columns)
    return joined, pd.DataFrame(rows, columns=list(BARRIERS))
