"""Errors on unseen configurations against the number of DFT frames that a potential is trained on.

python -m benchmarks.budget CONFIG --output rows.csv [--frames 10 20 40 80] [--folds 3] [--seeds 1 2 3] [--members 1]
    [--states blind aware] [--pretrained blind=FOLDER aware=FOLDER] [--scratch KEY=VALUE ...] [--peer PYTHON]

For each fold of configurations, a random order of the training frames of all others is drawn by the seed, and the first
member of `train.members`, or the ensemble of the first so many, is trained on the first 10, 20, … of them and on all.
Kinds: potentials that distinguish oxidation states (aware) and that do not (blind), from random weights (--states) and
from the members member0.pt, member1.pt, … of a folder of the stage `pretrain` (--pretrained); and schnetpack's PaiNN,
by an interpreter that has it (--peer), trained for the CPU time that the blind potential of the same row took.

The settings are those of the config, and from random weights with the changed keys of `train` that --scratch gives. The
training is stopped by the configurations of `train.validation_configurations`; those of `train.test_configurations`
take no part. Rows that the output has already are not repeated: give another file for other settings. Beside it, a
figure is written (SVG).
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from ase import Atoms

from benchmarks.folds import ERRORS, RowsOnDisk, assemble, errors_by_configuration, pretrained_members, trained
from benchmarks.peer import trained_by_schnetpack
from redoxmd.config.load import load_config
from redoxmd.config.sections import Train
from redoxmd.files.records import atomic_path
from redoxmd.model.ensemble import Ensemble
from redoxmd.seeds import derive_rng
from redoxmd.train.cross_validation import without_fold


def some_frames(frames: list[Atoms], count: int, seed: int) -> list[Atoms]:
    """The first `count` training frames in a random order, and all frames of the other sets."""
    training = [frame for frame in frames if frame.info["set"] == "train"]
    order = derive_rng(seed, "budget").permutation(len(training))
    kept = [training[index] for index in order[:count]]
    return kept + [frame for frame in frames if frame.info["set"] != "train"]


def frames_for(errors: pd.Series, error: float) -> float:
    """Number of frames at which a curve of errors by number of frames falls to an error; NaN: it does not.

    Interpolated linearly in log(number). A curve that is never above the error gives its smallest number of frames.
    """
    numbers, values = np.log(errors.index.to_numpy(float)), errors.to_numpy()
    if values[0] <= error:
        return float(errors.index[0])
    for i in range(1, len(values)):
        if values[i] <= error:
            share = (values[i - 1] - error) / (values[i - 1] - values[i])
            return float(np.exp(numbers[i - 1] + share * (numbers[i] - numbers[i - 1])))
    return float("nan")


def draw(means: pd.DataFrame, path: Path) -> None:
    """Curves of the force error by kind with the standard deviation between seeds."""
    figure, axes = plt.subplots(figsize=(5, 3.6), layout="constrained")
    for kind in means.index.unique("kind"):
        curve = means["force_mae_eV_A"].loc[kind]
        axes.errorbar(curve.index, curve["mean"], curve["std"], marker="o", capsize=3, label=kind)
    axes.set(xscale="log", xlabel="training frames", ylabel="force MAE, unseen configurations (eV/Å)")
    numbers = sorted(means.index.unique("frames"))
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.set_xticks([], minor=True)
    axes.legend()
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="svg")


def main() -> None:
    """Write rows and figure, and print the curves and the numbers of frames at equal error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--frames", type=int, nargs="+", default=[10, 20, 40, 80])
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--members", type=int, default=1)
    parser.add_argument("--states", nargs="*", default=["blind", "aware"], choices=["blind", "aware"])
    parser.add_argument("--pretrained", nargs="*", default=[], metavar="STATES=FOLDER")
    parser.add_argument("--scratch", nargs="*", default=[], metavar="KEY=VALUE")
    parser.add_argument("--peer", type=Path, metavar="PYTHON")
    chosen = parser.parse_args()
    if chosen.peer is not None and "blind" not in chosen.states:
        parser.error("--peer compares with the blind network: add blind to --states")
    config = load_config(chosen.config)
    scratch = dict(item.split("=", 1) for item in chosen.scratch)
    suffix = f" × {chosen.members}" if chosen.members > 1 else ""
    starts = {f"{states}{suffix}": pretrained_members(None, chosen.members) for states in chosen.states}
    for states, folder in (item.split("=", 1) for item in chosen.pretrained):
        starts[f"{states} pretrained{suffix}"] = pretrained_members(Path(folder), chosen.members)
    rows = RowsOnDisk(chosen.output, ["kind", "frames", "seed", "fold"])
    for seed in chosen.seeds:
        dataset = assemble(config, seed)
        for fold, kind in itertools.product(range(chosen.folds), starts):
            changed = {"states": kind.split()[0]} | (scratch if starts[kind][0] is None else {})
            settings = Train.model_validate(config.train.model_dump() | changed)
            whole, judged = without_fold(dataset.frames, dataset.configurations, settings, chosen.folds, fold, seed)
            # The same configurations are judged at every size; the last size is all frames.
            available = whole.counts()["train"]
            for count in [*(n for n in chosen.frames if n < available), available]:
                peer = chosen.peer is not None and kind == "blind" and not rows.has("schnetpack", count, seed, fold)
                known = rows.has(kind, count, seed, fold)
                # The peer has the CPU time of the blind network, which is then trained again if its row exists.
                if not known or peer:
                    frames = some_frames(whole.frames, count, seed)
                    name = f"{kind}, {count} frames, fold {fold}, member"
                    started_s = time.process_time()
                    networks = [
                        trained(frames, settings, seed + i, f"{name} {i}", settings.members[i], start)
                        for i, start in enumerate(starts[kind])
                    ]
                    cpu_s = time.process_time() - started_s
                    if not known:
                        rows.add(errors_by_configuration(Ensemble(networks).predict, judged), kind, count, seed, fold)
                    if peer:
                        predict = trained_by_schnetpack(
                            chosen.peer, frames, judged, settings, settings.members[0], cpu_s, seed
                        )
                        rows.add(errors_by_configuration(predict, judged), "schnetpack", count, seed, fold)
    # Folds differ a little in the number of all their frames: they count as the smallest of them.
    table = rows.table
    whole_sets = table["frames"] == table.groupby(["seed", "fold"])["frames"].transform("max")
    table.loc[whole_sets, "frames"] = table.loc[whole_sets, "frames"].min()
    means = rows.by_seed("kind", "frames")
    print(means.round(3).to_string())
    draw(means, chosen.output.with_suffix(".svg"))
    curves = means[(ERRORS[0], "mean")]
    first = next(iter(starts))
    for kind in starts:
        count = frames_for(curves.loc[kind], curves.loc[first].min())
        print(f"{kind}: the lowest error of {first} is reached with {count:.0f} frames")


if __name__ == "__main__":
    main()
