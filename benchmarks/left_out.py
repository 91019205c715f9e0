"""Errors on configurations left out in turn, with potentials that distinguish oxidation states and without.

python -m benchmarks.left_out CONFIG --output rows.csv [--seeds 1 2 3] [--states blind aware]

Trains the first member of `train.members` of a config with `electrons.levels` on the frames of `train.datasets`, once
for each configuration, seed and kind, with all other configurations. Configurations of `train.test_configurations`
take no part. Rows that the output has already are not repeated, so that the command can be interrupted.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from benchmarks.folds import ERRORS, RowsOnDisk, assemble, errors_by_configuration, trained
from redoxmd.config.load import load_config
from redoxmd.model.ensemble import Ensemble
from redoxmd.train.cross_validation import without_fold


def main() -> None:
    """Write the rows, and print the mean over configurations for each kind with the scatter between seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--states", nargs="+", default=["blind", "aware"], choices=["blind", "aware"])
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    rows = RowsOnDisk(chosen.output, ["states", "seed", "fold"])
    for seed in chosen.seeds:
        dataset = assemble(config, seed)
        folds = len({item.group for item in dataset.configurations.values() if item.set != "test"})
        for states, fold in itertools.product(chosen.states, range(folds)):
            if rows.has(states, seed, fold):
                continue
            settings = config.train.model_copy(update={"states": states})
            training, judged = without_fold(dataset.frames, dataset.configurations, settings, folds, fold, seed)
            network = trained(training.frames, settings, seed, f"{states}, fold {fold}")
            rows.add(errors_by_configuration(Ensemble([network]), judged), states, seed, fold)
    print(rows.table.pivot_table(index="config_id", columns="states", values=ERRORS).round(3).to_string())
    print(rows.by_seed("states").round(3).to_string())


if __name__ == "__main__":
    main()
