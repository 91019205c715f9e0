"""Errors on configurations left out in turn, with potentials that distinguish oxidation states and without.

python -m benchmarks.left_out CONFIG --output rows.csv [--seeds 1 2 3] [--states blind aware]

Trains the first member of `train.members` of a config with `electrons.levels` on the frames of `train.datasets`, once
for each configuration, seed and kind, with all other configurations. Configurations of `train.test_configurations`
take no part. Rows that the output has already are not repeated, so that the command can be interrupted.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

from redoxmd.config.load import load_config
from redoxmd.config.sections import Config, Train
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import settings_hash
from redoxmd.errors import ConfigError
from redoxmd.files.records import atomic_path
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble
from redoxmd.train.cross_validation import without_fold
from redoxmd.train.dataset import Dataset, build_dataset, load_datasets
from redoxmd.train.trainer import train_member

KEY = ["states", "seed", "fold"]
ERRORS = ["force_mae_eV_A", "redox_force_mae_eV_A", "energy_mae_meV_atom"]


def assemble(config: Config, seed: int) -> Dataset:
    """The frames of the datasets in a right electronic state, with their states in both kinds.

    Raises:
        ConfigError: the config has no levels.
    """
    levels, reference = OxidationLevels.of(config.electrons), settings_hash(config.engine)
    if levels is None:
        raise ConfigError("electrons.levels is missing; both kinds are trained on the frames in a right state")
    frames = load_datasets(config.train.datasets, reference)
    return build_dataset(frames, config.train, seed, reference, config.structures, levels)


def left_out_errors(dataset: Dataset, settings: Train, seed: int, fold: int) -> pd.DataFrame:
    """Mean absolute errors on a fold, one row for each of its configurations, on all atoms and on redox atoms."""
    arguments = dataset.frames, dataset.configurations, settings, settings.folds, fold, seed
    training, fold_frames = without_fold(*arguments)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Checkpoint(Path(folder) / "state", [settings.states, seed, fold])
        result = train_member(training, settings.members[0], settings, 0, seed, None, checkpoint, f"fold {fold}")
    ensemble, rows = Ensemble([result.member]), []
    for frame in fold_frames:
        prediction, results = ensemble.predict(frame), frame.calc.results
        errors = np.abs(prediction.forces_eV_A - results["forces"])
        energy_eV = abs(prediction.energy_eV - results["energy"])
        redox = frame.arrays["oxidation"] != 0
        rows.append((frame.info["config_id"], errors.mean(), errors[redox].mean(), 1000 * energy_eV / len(frame)))
    table = pd.DataFrame(rows, columns=["config_id", *ERRORS]).groupby("config_id", as_index=False).mean()
    return table.assign(states=settings.states, seed=seed, fold=fold)[[*KEY, "config_id", *ERRORS]]


def main() -> None:
    """Write the rows, and print the mean over configurations for each kind with the scatter between seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--states", nargs="+", default=["blind", "aware"], choices=["blind", "aware"])
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    known = pd.read_csv(chosen.output) if chosen.output.exists() else pd.DataFrame(columns=[*KEY, "config_id", *ERRORS])
    for seed in chosen.seeds:
        dataset = assemble(config, seed)
        folds = len({item.group for item in dataset.configurations.values() if item.set != "test"})
        for states, fold in itertools.product(chosen.states, range(folds)):
            if not (known[KEY] == [states, seed, fold]).all(axis=1).any():
                settings = config.train.model_copy(update={"states": states, "folds": folds})
                rows = left_out_errors(dataset, settings, seed, fold)
                known = pd.concat([known, rows], ignore_index=True) if len(known) else rows
                with atomic_path(chosen.output) as temporary:
                    known.to_csv(temporary, index=False, float_format="%.5f")
    seeds = known.groupby(["states", "seed"])[ERRORS].mean()
    print(known.pivot_table(index="config_id", columns="states", values=ERRORS).round(3).to_string())
    print(seeds.groupby("states").agg(["mean", "std"]).round(3).to_string())


if __name__ == "__main__":
    main()
