"""Records of reference MD and of labels, as their JSON files have them; read without the engines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms

from redoxmd.electrons.states import redox_states
from redoxmd.errors import DataError, DensityRefusal, LabelRefusal
from redoxmd.files.records import read_json

if TYPE_CHECKING:
    from redoxmd.aimd.reference_md import ReferenceMD


@dataclass(frozen=True)
class Refusal:
    """A frame or a density that was refused, by its step in the run."""

    reason: LabelRefusal | DensityRefusal
    detail: str
    step: int

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> Refusal:
        """A refusal as `write_json` wrote it."""
        kind = LabelRefusal if record["reason"] in set(LabelRefusal) else DensityRefusal
        return cls(kind(record["reason"]), record["detail"], record["step"])


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """A reference MD as its JSON file has it.

    Attributes:
        n_frames: accepted frames.
        refusal: of the frame that ended the run early.
        refused_densities: densities left out.
        corrections: of the engine by frame: {"step", remarks}.
        attempt: `engines.attempt_hash` of the engine settings, so that the same is not tried twice.
        provenance: origin of the labels.
    """

    n_frames: int
    refusal: Refusal | None = None
    refused_densities: Sequence[Refusal] = ()
    corrections: Sequence[dict[str, Any]] = ()
    attempt: str = ""
    provenance: dict[str, Any] = field(default_factory=dict)


class LabelStatus(StrEnum):
    """Outcome of a label: all frames, those before a refused one, or none."""

    LABELLED = "labelled"
    PARTIAL = "partial"
    REFUSED = "refused"


@dataclass(frozen=True, kw_only=True)
class LabelRecord(RunRecord):
    """A label as its JSON file has it.

    Attributes:
        label_id: of the selected frame.
        status: see `LabelStatus`.
        structure, time_fs, spread_eV_A: of the explore run that the frame is from.
        states_asked: oxidation states of the redox atoms of the selected frame, in order; None if they are unknown.
        states_found: those of the first labelled frame.
    """

    label_id: str
    status: LabelStatus
    structure: str | None = None
    time_fs: float | None = None
    spread_eV_A: float | None = None
    states_asked: list[int] | None = None
    states_found: list[int] | None = None

    @classmethod
    def of(cls, label_id: str, run: ReferenceMD, frame: Atoms, attempt: str) -> LabelRecord:
        """The record of a run from a selected frame."""
        stopped = LabelStatus.PARTIAL if run.frames else LabelStatus.REFUSED
        return cls(
            label_id=label_id,
            status=LabelStatus.LABELLED if run.refusal is None else stopped,
            **{key: frame.info.get(key) for key in ("structure", "time_fs", "spread_eV_A")},
            states_asked=redox_states(frame),
            states_found=redox_states(run.frames[0]) if run.frames else None,
            **vars(run.record(attempt)),
        )

    @classmethod
    def read(cls, path: str | Path) -> LabelRecord:
        """The record in a file; entries that an earlier version lacks are empty.

        Raises:
            DataError: the file holds something else.
        """
        record = read_json(path)
        try:
            record["status"] = LabelStatus(record["status"])
            if record.get("refusal"):
                record["refusal"] = Refusal.from_json(record["refusal"])
            record["refused_densities"] = [Refusal.from_json(item) for item in record.get("refused_densities", [])]
            return cls(**record)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}: not the record of a label ({error}); delete it and run again") from error
