"""Records of the training set and of the ensemble of a generation, as their JSON files have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from redoxmd.files.records import JsonRecord, typed_record, with_numbers
from redoxmd.train.split import Configuration


@dataclass(frozen=True)
class DatasetRecord(JsonRecord):
    """What is known of the training set of a generation (`dataset.json`); most as in `redoxmd.train.dataset.Dataset`.

    Attributes:
        train, validation, test: number of frames in each set.
        duplicates, left_out, hops, too_short, work_imbalances: as in the training set; without entries where an earlier
            version did not look for them.
        configurations: with their sets, in order.
        teacher: potential on whose labels the networks were trained first; None without pretraining.
    """

    train: int
    validation: int
    test: int
    duplicates: int
    too_short: Mapping[str, list[str]]
    configurations: Sequence[Configuration]
    left_out: Sequence[dict[str, Any]] = ()
    hops: Sequence[dict[str, Any]] = ()
    work_imbalances: Sequence[dict[str, Any]] = ()
    teacher: str | None = None

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The record of a JSON record; keys that it lacks as in `redoxmd.files.records.typed_record`."""
        known = {"too_short": {}, **with_numbers(record)}
        known["configurations"] = [typed_record(Configuration, item) for item in known.get("configurations", [])]
        return typed_record(cls, known)


@dataclass(frozen=True)
class EnsembleRecord(JsonRecord):
    """What is known of the ensemble of a generation (`ensemble.json`).

    Attributes:
        errors: errors of the ensemble (member -1) and of its members by set, rows of a table.
        calibration: result of `redoxmd.train.calibration.calibrate`.
        training: of each member best_step, stopped and history.
        teacher: potential on whose labels the members were trained first; None without pretraining.
    """

    errors: Sequence[dict[str, Any]]
    calibration: dict[str, Any]
    training: Sequence[dict[str, Any]]
    teacher: str | None = None


def ensemble_error_lines(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Errors of an ensemble by set, one line each, from `EnsembleRecord.errors`."""
    return [
        f"{row['set']}: force MAE {row['force_mae_eV_A']:.3f} eV/Å, "
        f"energy MAE {row['energy_mae_meV_atom']:.1f} meV/atom ({row['n_frames']:.0f} frames)"
        for row in errors
        if row["member"] == -1
    ]
