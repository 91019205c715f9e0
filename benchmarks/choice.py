"""Errors after a given number of labels chosen by different ways from a pool of DFT frames.

python -m benchmarks.choice CONFIG --output rows.csv [--labels 40] [--start 10] [--folds 3] [--seeds 1 2 3]
    [--by random spread mean atoms] [--pretrained FOLDER]

For each fold of configurations, the frames of all others are the pool. Two members of `train.members` are trained on
the first frames of one configuration of the pool, drawn by the seed, as a campaign begins. By their spread and
features, labels are chosen from the rest of the pool: at random, by the largest spread, or by `select` with
`select.novelty: mean` or `atoms`. The first member is then trained on all of them, and judged on the fold. All
trainings start from random weights, or from the members of a folder of the stage `pretrain`. The
training is stopped by the configurations of `train.validation_configurations`; those of `train.test_configurations`
take no part.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from ase import Atoms

from benchmarks.folds import RowsOnDisk, assemble, errors_by_configuration, pretrained_members, trained
from redoxmd.config.load import load_config
from redoxmd.config.sections import Select
from redoxmd.md.frame_gate import frame_spread
from redoxmd.model.ensemble import Ensemble
from redoxmd.seeds import derive_rng
from redoxmd.select import select
from redoxmd.train.cross_validation import without_fold

WAYS = ("random", "spread", "mean", "atoms")


def choose(
    way: str, pool: Sequence[Atoms], known: Sequence[Atoms], ensemble: Ensemble, labels: int, seed: int
) -> list[Atoms]:
    """So many frames of the pool, whose `spread_eV_A` is that of the ensemble."""
    if way == "random":
        return [pool[index] for index in derive_rng(seed, "choice").permutation(len(pool))[:labels]]
    if way == "spread":
        return sorted(pool, key=lambda frame: -frame.info["spread_eV_A"])[:labels]
    settings = Select(budget=labels, novelty="mean" if way == "mean" else "atoms")
    return select(pool, known, ensemble, settings, 0).frames


def main() -> None:
    """Write the rows, and print the mean over configurations for each way with the scatter between seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--labels", type=int, default=40)
    parser.add_argument("--start", type=int, default=10)
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--by", nargs="+", default=WAYS, choices=WAYS)
    parser.add_argument("--pretrained", type=Path, metavar="FOLDER")
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    starts = pretrained_members(chosen.pretrained, 2)
    rows = RowsOnDisk(chosen.output, ["by", "labels", "seed", "fold"])
    for seed in chosen.seeds:
        dataset = assemble(config, seed)
        for fold in range(chosen.folds):
            ways = [way for way in chosen.by if not rows.has(way, chosen.labels, seed, fold)]
            if not ways:
                continue
            whole, judged = without_fold(dataset.frames, dataset.configurations, config.train, chosen.folds, fold, seed)
            training, others = whole.subset("train"), whole.subset("validation")
            names = sorted({frame.info["config_id"] for frame in training})
            first = names[derive_rng(seed, "choice", fold).integers(len(names))]
            known = [frame for frame in training if frame.info["config_id"] == first][: chosen.start]
            pool = [frame for frame in training if not any(frame is other for other in known)]
            members = [
                trained([*known, *others], config.train, seed + number, f"start, fold {fold}", member, start)
                for number, (member, start) in enumerate(zip(config.train.members[:2], starts, strict=True))
            ]
            ensemble = Ensemble(members)
            for frame in pool:
                frame.info["spread_eV_A"] = frame_spread(ensemble.predict(frame).force_spread_eV_A)
            for way in ways:
                picked = choose(way, pool, known, ensemble, chosen.labels, seed)
                name = f"{way}, fold {fold}"
                network = trained([*known, *picked, *others], config.train, seed, name, start=starts[0])
                rows.add(errors_by_configuration(Ensemble([network]).predict, judged), way, chosen.labels, seed, fold)
    print(rows.by_seed("by", "labels").round(3).to_string())


if __name__ == "__main__":
    main()
