"""Tables of paths: ensemble energies with their spread, reference energies, and barriers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from ase import Atoms

from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.engines.base import Engine
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.files.frames import bare, labelled
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.resumable import run_resumable
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
    """Energies and spread of the ensemble along a path; columns `PROFILE`, a row for each image.

    `coordinate_A` is the length of the path up to the image, Σ √(Σ_i |Δr_i|²) over all atoms; `energy_eV` is the mean
    energy above that of image 0, `energy_spread_eV` its standard deviation between members (ddof = 1), each member
    relative to its own image 0; `spread_eV_A`, `passage` and `refused` are the results of the gate.
    """
    steps = [np.linalg.norm(after.positions - image.positions) for image, after in pairwise(images)]
    members = _member_energies(images)
    relative = members - members[0]
    spread = relative.std(axis=1, ddof=1) if members.shape[1] > 1 else np.zeros(len(images))
    outcomes = [judge(image, gate) for image in images]
    columns = (
        range(len(images)),
        np.concatenate([[0.0], np.cumsum(steps)]),
        relative.mean(axis=1),
        spread,
        [outcome.spread_eV_A for outcome in outcomes],
        [outcome.outcome.value for outcome in outcomes],
        [outcome.refused or "" for outcome in outcomes],
    )
    return pd.DataFrame(dict(zip(PROFILE, columns, strict=True)))


def _member_energies(images: Sequence[Atoms]) -> np.ndarray:
    """(images, M) energies of every member, eV."""
    return np.array([image.calc.results["member_energies"] for image in images], dtype=float)


def barrier_record(images: Sequence[Atoms]) -> dict[str, Any]:
    """Barriers from both ends to the highest image, in eV; errors are the spread between members (ddof = 1).

    Each member's barrier is a difference of its own energies, so a constant shift of its energies does not contribute.
    The spread is not calibrated.
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


def image_frames(images: Sequence[Atoms], profile: pd.DataFrame, metadata: dict[str, Any]) -> list[Atoms]:
    """Images with energy, forces and, where it has them, oxidation states of the ensemble; `info` has `metadata`."""
    frames, columns = [], zip(profile["coordinate_A"].tolist(), profile["spread_eV_A"].tolist(), strict=True)
    for number, (image, (coordinate_A, spread_eV_A)) in enumerate(zip(images, columns, strict=True)):
        frame = labelled(
            image,
            image.get_potential_energy(),
            image.get_forces(apply_constraint=False),
            **metadata,
            engine="ensemble",
            image=number,
            coordinate_A=coordinate_A,
            spread_eV_A=spread_eV_A,
        )
        if "oxidation" in image.calc.results:
            frame.set_array("oxidation", image.calc.results["oxidation"])
        frames.append(frame)
    return frames


def candidate_frames(frames: Sequence[Atoms], profile: pd.DataFrame) -> list[Atoms]:
    """Images between the gate's thresholds, without results: a second source of training data (paper, section 2.6)."""
    chosen = profile["passage"] == GateOutcome.CANDIDATE.value
    candidates = []
    for frame in (frame for frame, is_candidate in zip(frames, chosen, strict=True) if is_candidate):
        candidate = bare(frame)
        candidate.info = {key: value for key, value in frame.info.items() if key != "engine"}
        candidates.append(candidate)
    return candidates


def single_point_energies(
    images: Sequence[Atoms], engine: Engine, checkpoint: Checkpoint, name: str, levels: OxidationLevels | None = None
) -> pd.DataFrame:
    """Single-point energies of the reference on the images of a path.

    With `levels`, an image with states is started in them, from its own initial moments where its states are not those
    of the image before, and refused (wrong_electronic_state) if the reference ends in others.

    Args:
        images: with initial moments.
        engine: the reference.
        checkpoint: stores every energy, so that no image is calculated twice.
        name: of the path, for messages.
        levels: oxidation states of the redox elements; None if states are neither asked for nor checked.

    Returns:
        image, reference_total_eV (NaN where refused), reference_refused (the reason, or "").

    Raises:
        Interrupted: SIGTERM; finished energies are stored.
    """
    files = [f"image{number:03d}" for number in range(len(images))]
    records = {file: record for file in files if (record := checkpoint.load(file)) is not None}
    if records:
        logger.info("neb %s: resuming from %d of %d images", name, len(records), len(images))

    def label_images(stop: StopRequest) -> Iterator[str]:
        yield f"after {len(records)} of {len(images)} images of {name}"
        before: Atoms | None = None
        for number, (file, image) in enumerate(zip(files, images, strict=True)):
            if file in records:
                continue
            if levels is not None and before is not None and _differ(before, image):
                engine.forget()
            energy, reason = _single_point(image, engine, levels)
            before = image
            if reason:
                # A signal to the job also ends the engine's processes, and their result is then no refusal.
                stop.check(f"at image {number} of {name}", further=False)
                logger.warning("neb %s: image %d refused, %s", name, number, reason)
            records[file] = {"energy_eV": energy, "refused": reason}
            yield f"after {len(records)} of {len(images)} images of {name}"

    def save() -> None:
        latest = next(reversed(records))
        checkpoint.save(latest, records[latest])

    run_resumable(label_images, save, save_every_s=0)
    rows = [
        (number, float(records[file]["energy_eV"]), str(records[file]["refused"])) for number, file in enumerate(files)
    ]
    return pd.DataFrame(rows, columns=["image", "reference_total_eV", "reference_refused"])


def _differ(one: Atoms, other: Atoms) -> bool:
    return not np.array_equal(one.arrays.get("oxidation", ()), other.arrays.get("oxidation", ()))


def _single_point(image: Atoms, engine: Engine, levels: OxidationLevels | None) -> tuple[float, str]:
    atoms, symbols, asked = bare(image), list(image.symbols), image.arrays.get("oxidation")
    if levels is not None and asked is not None:
        levels.start_in(atoms, asked)
    try:
        result = engine.calculate(atoms)
        if levels is not None and result.moments_muB is not None:
            states = judge_state(
                symbols,
                result.moments_muB,
                result.total_moment_muB,
                levels,
                orbital_occupations=result.orbital_occupations,
            ).oxidation
            if asked is not None and not np.array_equal(states, asked):
                other = ", ".join(f"{symbols[atom]} {atom}" for atom in np.flatnonzero(states != asked))
                raise LabelRefused(LabelRefusal.WRONG_ELECTRONIC_STATE, f"not the state of the image on {other}")
        return result.energy_eV, ""
    except LabelRefused as refused:
        # The next image must not begin with these electrons.
        engine.forget()
        return float("nan"), refused.reason


def join_profiles(
    profiles: dict[str, pd.DataFrame], barriers: dict[str, dict[str, Any]], references: dict[str, pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Table of profiles and table of barriers of all paths, with ensemble and reference side by side.

    Energies of the reference are relative to its own image 0; its barriers are those at the ensemble's highest image,
    and NaN if they were not calculated or refused. `reason` states why a path does not exist, else it is "". Keys are
    the names of the paths.
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
