"""Paths as a source of training data: images that the ensemble of a generation is unsure about (paper, section 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Neb, NebPath, Structures
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.neb.band import MakeCalculator, NoPath
from redoxmd.neb.profile import candidate_frames, image_frames, profile_table
from redoxmd.neb.run import PathRun, images_of_path

CONVERGED = "converged"


def explore_path(
    frames: Sequence[Atoms],
    path: NebPath,
    structures: Structures,
    calculator: MakeCalculator,
    settings: Neb,
    gate: GateSettings,
    checkpoint: Checkpoint,
) -> PathRun:
    """The path as far as this ensemble finds it, and which of its images become candidates.

    Where an end does not relax at its sites, or the band does not converge, its structures as they are then are
    judged: that an ensemble finds no path is no error, but what it has to learn. Structures beyond the high threshold,
    not finite or with a close contact are refused and never collected.

    Arguments as for `run_path`.

    Returns:
        images, candidates and profile; record: path, structure, end_reason ("converged", or as in `NoPath`), images,
        n_candidates, n_refused, max_spread_eV_A.

    Raises:
        Interrupted: SIGTERM; the state is written.
    """
    about = {"path": path.name, "structure": frames[0].info["structure"]}
    try:
        images, end_reason = images_of_path(frames, path, structures, calculator, settings, checkpoint), CONVERGED
    except NoPath as none:
        images, end_reason = [image for image in none.images if np.isfinite(image.positions).all()], none.reason
    profile = profile_table(images, gate)
    found = image_frames(images, profile, about)
    candidates = candidate_frames(found, profile)
    return PathRun(
        found,
        candidates,
        profile,
        {
            **about,
            "end_reason": end_reason,
            "images": len(found),
            "n_candidates": len(candidates),
            "n_refused": int((profile["passage"] == GateOutcome.STOP.value).sum()),
            "max_spread_eV_A": float(profile["spread_eV_A"].max()),
        },
    )


def settings_of(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Settings that a generation's paths were found with, as their records keep them; {} without any.

    The decision file holds them, so that what is labelled keeps them (`gate.lasting_bands`).
    """
    if not records:
        return {}
    common = {key: value for key, value in records[0]["settings"].items() if key != "path"}
    return {**common, "paths": [record["settings"]["path"] for record in records]}
