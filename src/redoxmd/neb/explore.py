"""Paths as a source of training data: images of large spread become candidates (paper, section 2.6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Neb, NebPath, Structures
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.neb.band import MakeCalculator, NoPath, PathEnd
from redoxmd.neb.profile import candidate_frames, image_frames, profile_table
from redoxmd.neb.run import PathRun, images_of_path


def explore_path(
    frames: Sequence[Atoms],
    path: NebPath,
    structures: Structures,
    calculator: MakeCalculator,
    settings: Neb,
    gate: GateSettings,
    checkpoint: Checkpoint,
) -> PathRun:
    """A path found with the ensemble of a generation, and the candidates among its images.

    If an end does not relax at its sites, or the band does not converge, the last structures are gated instead: failure
    to find a path is not an error, and these structures improve the ensemble. Structures above the high threshold, not
    finite or with a close contact are refused and never collected.

    Arguments as for `run_path`.

    Returns:
        images, candidates and profile; record: path, structure, end_reason (`PathEnd`), images,
        n_candidates, n_refused, max_spread_eV_A.

    Raises:
        Interrupted: SIGTERM; the state is written.
    """
    metadata = {"path": path.name, "structure": frames[0].info["structure"]}
    try:
        images, end_reason = (
            images_of_path(frames, path, structures, calculator, settings, checkpoint),
            PathEnd.CONVERGED,
        )
    except NoPath as none:
        images, end_reason = [image for image in none.images if np.isfinite(image.positions).all()], none.reason
    profile = profile_table(images, gate)
    path_frames = image_frames(images, profile, metadata)
    candidates = candidate_frames(path_frames, profile)
    return PathRun(
        path_frames,
        candidates,
        profile,
        {
            **metadata,
            "end_reason": end_reason,
            "images": len(path_frames),
            "n_candidates": len(candidates),
            "n_refused": int((profile["passage"] == GateOutcome.STOP.value).sum()),
            "max_spread_eV_A": float(profile["spread_eV_A"].max()),
        },
    )


def settings_of(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Settings of the paths of a generation, from their records; {} if it has no paths.

    The decision file stores them, so that a labelled generation keeps them (`gate.neb_settings_when_labelled`).
    """
    if not records:
        return {}
    common = {key: value for key, value in records[0]["settings"].items() if key != "path"}
    return {**common, "paths": [record["settings"]["path"] for record in records]}
