"""Reference calculations of the selected frames, and the limit on how many may fail."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.aimd.records import LabelRecord, LabelStatus
from redoxmd.aimd.reference_md import ReferenceMD
from redoxmd.config.sections import Label
from redoxmd.electrons.states import OxidationLevels
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
    levels: OxidationLevels | None = None,
    tries: int = 1,
) -> ReferenceMD:
    """A short reference MD from a selected frame (paper: 25 steps), its velocities drawn again.

    `levels` and `tries` as for `run_reference_md`.
    """
    start = frame.copy()
    start.arrays.pop("momenta", None)
    return run_reference_md(start, engine, settings, rng, label_id, checkpoint, levels, tries)


def frame_with_id(frames: Sequence[Atoms], label_id: str) -> Atoms:
    """The selected frame with the label id.

    Raises:
        DataError: it is not among the selected frames.
    """
    for frame in frames:
        if frame.info.get("label_id") == label_id:
            return frame
    raise DataError(f"{label_id}: not among the selected frames; the selection changed, run the gate again")


@dataclass(frozen=True)
class LabelSummary:
    """Counts of a generation's labels by outcome, their frames, and their records."""

    generation: int
    requested: int
    labelled: int
    partial: int
    refused: int
    n_frames: int
    labels: Sequence[LabelRecord]


def check_failures(records: Sequence[LabelRecord], settings: Label, generation: int) -> LabelSummary:
    """Summary of a generation's labels.

    Raises:
        LabelBudgetExceeded: refused labels exceed `settings.failure_budget` of those requested; names each one.
    """
    refused = [record for record in records if record.status is LabelStatus.REFUSED]
    if len(refused) > settings.failure_budget * len(records):
        lines = [
            f"  {record.label_id} (from {record.structure})"
            + (f": {record.refusal.reason}, {record.refusal.detail}" if record.refusal else "")
            for record in refused
        ]
        raise LabelBudgetExceeded(
            f"generation {generation}: {len(refused)} of {len(records)} requested labels were refused, more than "
            f"label.failure_budget {settings.failure_budget:g} allows:\n" + "\n".join(lines)
        )
    counts = Counter(record.status for record in records)
    return LabelSummary(
        generation,
        requested=len(records),
        labelled=counts[LabelStatus.LABELLED],
        partial=counts[LabelStatus.PARTIAL],
        refused=len(refused),
        n_frames=sum(record.n_frames for record in records),
        labels=records,
    )
