"""Cross-validation by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from ase import Atoms

from redoxmd.config.sections import Train
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble
from redoxmd.train.dataset import Dataset
from redoxmd.train.split import Configuration, fold_of, split
from redoxmd.train.trainer import train_member

COLUMNS = ("fold", "config_id", "group", "n_frames", "force_mae_eV_A", "energy_mae_meV_atom")


def held_out_errors(
    frames: Sequence[Atoms],
    configurations: Mapping[str, Configuration],
    settings: Train,
    fold: int,
    seed: int,
    checkpoint: Checkpoint,
) -> pd.DataFrame:
    """Errors of a network on the configurations of a fold, trained from scratch on all others.

    The network has the size of the first member. Test configurations are not used. The configurations of the fold, with
    all their symmetry copies (`redoxmd.train.split.fold_of`), are excluded; the others are split into training and
    validation sets again, so that no frame of the fold influences training or early stopping.

    Args:
        frames: the training set of a generation.
        configurations: by id, with their sets (`redoxmd.train.dataset.Dataset.configurations`).
        settings: section `train`; `folds` is their number.
        fold: number of the fold.
        seed: root seed of the run.
        checkpoint: restart files of the training.

    Returns:
        One row for each configuration of the fold, columns `COLUMNS`; mean absolute errors over its frames. No rows if
        the fold is empty.
    """
    folds = fold_of(configurations, settings.folds, seed)
    held_out = {name for name, number in folds.items() if number == fold}
    fold_frames = [frame for frame in frames if frame.info["config_id"] in held_out]
    if not fold_frames:
        return pd.DataFrame(columns=list(COLUMNS))
    remaining = {name: configurations[name] for name, number in folds.items() if number != fold}
    training_frames = [frame for frame in frames if frame.info["config_id"] in remaining]
    named = tuple(name for name in settings.validation_configurations if name in remaining)
    chosen = settings.model_copy(update={"test_configurations": (), "validation_configurations": named})
    split(training_frames, remaining, chosen, seed)
    result = train_member(
        Dataset(training_frames),
        settings.members[0],
        settings,
        0,
        seed,
        None,
        checkpoint,
        name=f"fold {fold} of {settings.folds}",
    )
    ensemble = Ensemble([result.member])
    rows = [_errors(ensemble, frame) for frame in fold_frames]
    table = pd.DataFrame(rows).groupby("config_id", as_index=False).mean()
    table.insert(1, "group", [configurations[name].group for name in table["config_id"]])
    table.insert(2, "n_frames", [sum(row["config_id"] == name for row in rows) for name in table["config_id"]])
    table.insert(0, "fold", fold)
    return table[list(COLUMNS)]


def _errors(ensemble: Ensemble, frame: Atoms) -> dict[str, Any]:
    prediction = ensemble.predict(frame)
    energy_error_eV = prediction.energy_eV - frame.calc.results["energy"]
    return {
        "config_id": str(frame.info["config_id"]),
        "force_mae_eV_A": abs(prediction.forces_eV_A - frame.calc.results["forces"]).mean(),
        "energy_mae_meV_atom": 1000 * abs(energy_error_eV) / len(frame),
    }
