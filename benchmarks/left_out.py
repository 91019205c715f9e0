"""Errors on configurations left out in turn, for variants of the section `train`.

python -m benchmarks.left_out CONFIG --output rows.csv [--variants VARIANTS.yaml] [--only NAME ...] [--seeds 1 2 3]

VARIANTS.yaml has a name and changed keys of the section for each variant, for example `smooth: {ema_decay: 0.999}`.
Two keys beside them are of the stage `pretrain`: `pretrained`, the member.pt from which the training starts, and
`teacher`, the folder with the frames for `replay`. Without the file the variants are potentials that distinguish
oxidation states (aware) and that do not (blind).

The first member of `train.members` is trained on the frames of `train.datasets` of a config with `electrons.levels`,
once for each configuration, seed and variant, with all other configurations. Configurations of
`train.test_configurations` take no part. Rows that the output has already are not repeated, so that the command can be
interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms

from benchmarks.folds import ERRORS, RowsOnDisk, assemble, errors_by_configuration, trained
from redoxmd.config.load import load_config
from redoxmd.config.sections import Train
from redoxmd.files.frames import read_frames
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.painn import Painn
from redoxmd.train.cross_validation import without_fold
from redoxmd.train.trainer import load_member

STATES = {"blind": {"states": "blind"}, "aware": {"states": "aware"}}


def read_variant(train: Train, variant: Mapping[str, Any] | None) -> tuple[Train, Painn | None, list[Atoms]]:
    """Section `train` of a variant, the network from which it starts, and the frames of the teacher for `replay`."""
    changed = dict(variant or {})
    member, folder = (changed.pop(key, None) for key in ("pretrained", "teacher"))
    start = None if member is None else load_member(Path(member))[0]
    files = [] if folder is None else sorted(Path(folder).glob("*.extxyz"))
    replay = [frame for path in files for frame in read_frames(path)]
    return Train.model_validate(train.model_dump() | changed), start, replay


def main() -> None:
    """Write the rows, and print the mean over configurations for each variant with the scatter between seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--variants", type=Path)
    parser.add_argument("--only", nargs="+")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    variants = STATES if chosen.variants is None else yaml.safe_load(chosen.variants.read_text(encoding="utf-8"))
    rows = RowsOnDisk(chosen.output, ["variant", "seed", "fold"])
    for seed in chosen.seeds:
        dataset = assemble(config, seed)
        folds = len({item.group for item in dataset.configurations.values() if item.set != "test"})
        for variant in chosen.only or variants:
            settings, start, replay = read_variant(config.train, variants[variant])
            for fold in range(folds):
                if rows.has(variant, seed, fold):
                    continue
                training, judged = without_fold(dataset.frames, dataset.configurations, settings, folds, fold, seed)
                name = f"{variant}, fold {fold}"
                network = trained(training.frames, settings, seed, name, start=start, replay=replay)
                rows.add(errors_by_configuration(Ensemble([network]).predict, judged), variant, seed, fold)
    print(rows.table.pivot_table(index="config_id", columns="variant", values=ERRORS).round(3).to_string())
    print(rows.by_seed("variant").round(3).to_string())


if __name__ == "__main__":
    main()
