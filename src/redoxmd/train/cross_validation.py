"""Cross-validation by configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from ase import Atoms

from redoxmd.config.sections import Train
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble, Prediction
from redoxmd.model.painn import Painn
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
    pretrained: Painn | None = None,
    replay: Sequence[Atoms] = (),
) -> pd.DataFrame:
    """Errors of a network on the configurations of a fold, trained as in generation 0 on all others.

    The network has the size of the first member; the fold is that of `without_fold`.

    Args:
        frames: the training set of a generation.
        configurations: by id, with their sets (`redoxmd.train.dataset.Dataset.configurations`).
        settings: section `train`; `folds` is their number.
        fold: number of the fold.
        seed: root seed of the run.
        checkpoint: restart files of the training.
        pretrained, replay: as in `redoxmd.train.trainer.train_member`.

    Returns:
        One row for each configuration of the fold, columns `COLUMNS`; mean absolute errors over its frames. No rows if
        the fold is empty.
    """
    dataset, fold_frames = without_fold(frames, configurations, settings, settings.folds, fold, seed)
    if not fold_frames:
        return pd.DataFrame(columns=list(COLUMNS))
    result = train_member(
        dataset,
        settings.members[0],
        settings,
        0,
        seed,
        None,
        checkpoint,
        f"fold {fold} of {settings.folds}",
        pretrained,
        replay,
    )
    ensemble = Ensemble([result.member])
    rows = [frame_errors(ensemble.predict(frame), frame) for frame in fold_frames]
    table = pd.DataFrame(rows).groupby("config_id", as_index=False).mean()
    table.insert(1, "group", [configurations[name].group for name in table["config_id"]])
    table.insert(2, "n_frames", [sum(row["config_id"] == name for row in rows) for name in table["config_id"]])
    table.insert(0, "fold", fold)
    return table[list(COLUMNS)]


def without_fold(
    frames: Sequence[Atoms],
    configurations: Mapping[str, Configuration],
    settings: Train,
    folds: int,
    fold: int,
    seed: int,
) -> tuple[Dataset, list[Atoms]]:
    """The data set without a fold of configurations, and the frames of the fold.

    Test configurations are in neither. The configurations of the fold, with all their symmetry copies
    (`redoxmd.train.split.fold_of`), are excluded from the data set; the others are split into training and validation
    sets again, so that no frame of the fold influences training or early stopping.

    Args:
        frames, configurations, fold, seed: as in `held_out_errors`.
        settings: section `train`, `validation_configurations` and `validation_fraction`.
        folds: number of folds.
    """
    fold_by_name = fold_of(configurations, folds, seed)
    remaining = {name: configurations[name] for name, number in fold_by_name.items() if number != fold}
    fold_frames = [frame for frame in frames if fold_by_name.get(str(frame.info["config_id"])) == fold]
    training_frames = [frame for frame in frames if frame.info["config_id"] in remaining]
    if fold_frames:
        named = tuple(name for name in settings.validation_configurations if name in remaining)
        chosen = settings.model_copy(update={"test_configurations": (), "validation_configurations": named})
        split(training_frames, remaining, chosen, seed)
    return Dataset(training_frames), fold_frames


def frame_errors(prediction: Prediction, frame: Atoms) -> dict[str, Any]:
    """Mean absolute errors of the forces and of the energy per atom of a labelled frame, with its configuration."""
    energy_error_eV = prediction.energy_eV - frame.calc.results["energy"]
    return {
        "config_id": str(frame.info["config_id"]),
        "force_mae_eV_A": abs(prediction.forces_eV_A - frame.calc.results["forces"]).mean(),
        "energy_mae_meV_atom": 1000 * abs(energy_error_eV) / len(frame),
    }
