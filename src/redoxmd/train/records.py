"""Records of the training set and of the ensemble of a generation, as their JSON files have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redoxmd.files.records import read_json, typed_record, with_numbers, write_json
from redoxmd.train.split import Configuration


@dataclass(frozen=True)
class DatasetRecord:
    """What is known of the training set of a generation; most as in `redoxmd.train.dataset.Dataset`.

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

    def write(self, path: str | Path) -> None:
        """Write `dataset.json`."""
        write_json(path, {key: value for key, value in vars(self).items() if value is not None})

    @classmethod
    def read(cls, path: str | Path) -> DatasetRecord:
        """The record in a file."""
        return cls.from_json(read_json(path))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DatasetRecord:
        """The record of a JSON record; keys that it lacks as in `redoxmd.files.records.typed_record`."""
        known = {"too_short": {}, **with_numbers(record)}
        known["configurations"] = [typed_record(Configuration, item) for item in known.get("configurations", [])]
        return typed_record(cls, known)


@dataclass(frozen=True)
class EnsembleRecord:
    """What is known of the ensemble of a generation.

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

    def write(self, path: str | Path) -> None:
        """Write `ensemble.json`."""
        write_json(path, {key: value for key, value in vars(self).items() if value is not None})

    @classmethod
    def read(cls, path: str | Path) -> EnsembleRecord:
        """The record in a file."""
        return cls.from_json(read_json(path))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> EnsembleRecord:
        """The record of a JSON record; keys that it lacks as in `redoxmd.files.records.typed_record`."""
        return typed_record(cls, with_numbers(record))


def ensemble_error_lines(errors: Sequence[Mapping[str, Any]]) -> list[str]:
    """Errors of an ensemble by set, one line each, from `EnsembleRecord.errors`."""
    return [
        f"{row['set']}: force MAE {row['force_mae_eV_A']:.3f} eV/Å, "
        f"energy MAE {row['energy_mae_meV_atom']:.1f} meV/atom ({row['n_frames']:.0f} frames)"
        for row in errors
        if row["member"] == -1
    ]
