"""Errors on configurations left out in turn: what the comparisons of potentials, budgets and choices share."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from redoxmd.config.sections import Config, Member, Train
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import settings_hash
from redoxmd.errors import ConfigError
from redoxmd.files.records import atomic_path
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Prediction
from redoxmd.model.painn import Painn
from redoxmd.train.cross_validation import frame_errors
from redoxmd.train.dataset import Dataset, build_dataset, load_datasets
from redoxmd.train.trainer import load_member, train_member

ERRORS = ["force_mae_eV_A", "redox_force_mae_eV_A", "energy_mae_meV_atom"]


def required_levels(config: Config) -> OxidationLevels:
    """The oxidation states of a config.

    Raises:
        ConfigError: it has none.
    """
    levels = OxidationLevels.of(config.electrons)
    if levels is None:
        raise ConfigError("electrons.levels is missing; only frames in a right electronic state are compared")
    return levels


def labels_of(config: Config) -> list[Atoms]:
    """The labels of `train.datasets` by the reference of the config."""
    return load_datasets(config.train.datasets, settings_hash(config.engine))


def pretrained_members(folder: Path | None, count: int) -> list[Painn | None]:
    """The first members of a folder of the stage `pretrain`, as starts of trainings; without a folder, None each."""
    return [None if folder is None else load_member(folder / f"member{number}.pt")[0] for number in range(count)]


def assemble(config: Config, seed: int) -> Dataset:
    """The frames of the datasets in a right electronic state, with their states whatever `train.states` is.

    Raises:
        ConfigError: the config has no levels.
    """
    levels, reference = required_levels(config), settings_hash(config.engine)
    return build_dataset(labels_of(config), config.train, seed, reference, config.structures, levels)


def trained(
    frames: Sequence[Atoms],
    settings: Train,
    seed: int,
    name: str,
    member: Member | None = None,
    start: Painn | None = None,
    replay: Sequence[Atoms] = (),
) -> Painn:
    """A network trained as in generation 0 on frames with sets; of the first member's size unless one is given.

    `start` and `replay` are the pretrained network and frames of its teacher (`redoxmd.train.trainer.train_member`).
    """
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "state", [name, seed])
        size = member or settings.members[0]
        dataset = Dataset(list(frames))
        return train_member(dataset, size, settings, 0, seed, None, checkpoint, name, start, replay).member


def errors_by_configuration(predict: Callable[[Atoms], Prediction], frames: Sequence[Atoms]) -> pd.DataFrame:
    """Mean absolute errors (columns `ERRORS`) on all atoms and on redox atoms, one row for each configuration."""
    rows = []
    for frame in frames:
        prediction, redox = predict(frame), frame.arrays["oxidation"] != 0
        on_redox_eV_A = np.abs(prediction.forces_eV_A - frame.calc.results["forces"])[redox]
        rows.append(frame_errors(prediction, frame) | {"redox_force_mae_eV_A": on_redox_eV_A.mean()})
    table = pd.DataFrame(rows, columns=["config_id", *ERRORS])
    return table.groupby("config_id", as_index=False).mean()


class RowsOnDisk:
    """A table in a CSV file to which rows are added; those that it has already are not computed again.

    Args:
        path: the file, which may exist.
        key: columns that identify what was computed.
    """

    def __init__(self, path: Path, key: Sequence[str]) -> None:
        self._path, self._key = path, list(key)
        self.table = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=self._key)

    def has(self, *values: str | int) -> bool:
        """Whether there are rows with these values of the key."""
        return bool((self.table[self._key] == list(values)).all(axis=1).any())

    def add(self, rows: pd.DataFrame, *values: str | int) -> None:
        """Add rows with these values of the key, and write the file."""
        names = pd.DataFrame([values] * len(rows), columns=self._key)
        rows = pd.concat([names, rows.reset_index(drop=True)], axis=1)
        self.table = pd.concat([self.table, rows], ignore_index=True) if len(self.table) else rows
        with atomic_path(self._path) as temporary:
            self.table.to_csv(temporary, index=False, float_format="%.5f")

    def by_seed(self, *columns: str) -> pd.DataFrame:
        """Mean over configurations for each seed, then mean and standard deviation over seeds, by the columns."""
        seeds = self.table.groupby([*columns, "seed"])[ERRORS].mean()
        return seeds.groupby(list(columns)).agg(["mean", "std"])
