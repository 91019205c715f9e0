"""Labels for the frames the ensemble was unsure about, and what happens when they fail."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.aimd.reference_md import ReferenceMD
from redoxmd.config.sections import Label
from redoxmd.engines.base import Engine
from redoxmd.errors import DataError, LabelBudgetExceeded
from redoxmd.jobs.checkpoint import Checkpoint


def label_frame(
    frame: Atoms,
    engine: Engine,
    settings: Label,
    rng: np.random.Generator,
    label_id: str,
    checkpoint: Checkpoint,
) -> ReferenceMD:
    """A short reference MD from a selected frame (paper: 25 steps), its velocities drawn anew."""
    start = frame.copy()
    start.arrays.pop("momenta", None)
    return run_reference_md(start, engine, settings, rng, label_id, checkpoint)


def frame_with_id(frames: Sequence[Atoms], label_id: str) -> Atoms:
    """The selected frame of that id."""
    for frame in frames:
        if frame.info.get("label_id") == label_id:
            return frame
    raise DataError(f"{label_id}: not among the selected frames; the selection changed, run the gate again")


def label_record(label_id: str, run: ReferenceMD, frame: Atoms, attempt: str) -> dict[str, Any]:
    """What the summary reads: labelled, partial (ended early, earlier frames kept) or refused, with the reason.

    `attempt` says under which engine settings (`engines.attempt_hash`), so that the same is not tried twice.
    """
    status = "labelled" if run.refusal is None else "partial" if run.frames else "refused"
    return {
        "label_id": label_id,
        "status": status,
        "n_frames": len(run.frames),
        "refusal": run.refusal,
        "refused_densities": run.refused_densities,
        "corrections": run.corrections,
        "attempt": attempt,
        "structure": frame.info.get("structure"),
        "time_fs": frame.info.get("time_fs"),
        "spread_eV_A": frame.info.get("spread_eV_A"),
    }


def check_failures(records: Sequence[dict[str, Any]], settings: Label, generation: int) -> dict[str, Any]:
    """Counts of a generation's labels.

    Raises:
        LabelBudgetExceeded: refused labels exceed `settings.failure_budget` of those requested; names each one.
    """
    refused = [record for record in records if record["status"] == "refused"]
    if len(refused) > settings.failure_budget * len(records):
        lines = [
            f"  {record['label_id']} (from {record['structure']}): {record['refusal']['reason']}, "
            f"{record['refusal']['detail']}"
            for record in refused
        ]
        raise LabelBudgetExceeded(
            f"generation {generation}: {len(refused)} of {len(records)} requested labels were refused, more than "
            f"label.failure_budget {settings.failure_budget:g} allows:\n" + "\n".join(lines)
        )
    return {
        "generation": generation,
        "requested": len(records),
        "labelled": sum(record["status"] == "labelled" for record in records),
        "partial": sum(record["status"] == "partial" for record in records),
        "refused": len(refused),
        "n_frames": sum(record["n_frames"] for record in records),
        "labels": list(records),
    }
