"""A PaiNN trained by schnetpack on the same frames, for the comparison of errors at equal CPU time."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Member, Train
from redoxmd.files.frames import write_frames
from redoxmd.model.ensemble import Prediction

WORKER = Path(__file__).with_name("schnetpack_training.py")


def trained_by_schnetpack(
    python: Path,
    frames: Sequence[Atoms],
    judged: Sequence[Atoms],
    settings: Train,
    member: Member,
    cpu_s: float,
    seed: int,
) -> Callable[[Atoms], Prediction]:
    """Predictions by schnetpack's PaiNN, trained for so many CPU-seconds on the frames of the set train.

    Args:
        python: interpreter of the environment with schnetpack.
        frames: frames with their sets; those of the set validation choose the weights.
        judged: frames that the result accepts.
        settings: section `train`, of which cutoff, radial functions and batch are taken.
        member: width and depth.
        cpu_s: CPU time of the training, with the neighbour lists.
        seed: of weights and batches.

    Raises:
        CalledProcessError: the worker failed; its messages are on the standard error.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("train", "validation"):
            write_frames(folder / f"{part}.extxyz", [frame for frame in frames if frame.info["set"] == part])
        write_frames(folder / "judged.extxyz", list(judged))
        given = {
            "features": member.features,
            "layers": member.layers,
            "radial_functions": settings.radial_functions,
            "cutoff_A": settings.cutoff_A,
            "batch_size": settings.batch_size,
            "cpu_s": cpu_s,
            "seed": seed,
        }
        (folder / "settings.json").write_text(json.dumps(given), encoding="utf-8")
        subprocess.run([python, WORKER, folder], check=True)
        with np.load(folder / "predictions.npz") as file:
            results = {
                id(frame): Prediction(file[f"energy{i}"].reshape(1), file[f"forces{i}"][None], np.zeros((3, 3)))
                for i, frame in enumerate(judged)
            }
    return lambda frame: results[id(frame)]
