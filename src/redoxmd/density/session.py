"""Training and prediction outside the workflow: stores and frames of one's own."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read

from redoxmd.checkpoint import Checkpoint
from redoxmd.config import load_config
from redoxmd.config.sections import Config
from redoxmd.density.dataset import index_densities
from redoxmd.density.evaluation import density_errors, few_of_training
from redoxmd.density.grid import Density
from redoxmd.density.model import load_density_model, save_density_model
from redoxmd.density.predict import grid_shape, predict_density
from redoxmd.density.store import density_key, write_densities
from redoxmd.density.training import train_density
from redoxmd.errors import DataError, reason_of
from redoxmd.records import atomic_path, file_sha256, write_json
from redoxmd.seeds import derive_seed
from redoxmd.trajectory import Trajectory, read_trajectory

EVALUATED = 30


def config_or_defaults(path: Path | None) -> Config:
    """A config file, or all defaults."""
    return Config() if path is None else load_config(path)


def log_to_terminal() -> None:
    """Show progress on standard error."""
    logger = logging.getLogger("redoxmd")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def train_on_stores(stores: Sequence[Path], folder: Path, config: Path | None, test: Sequence[str]) -> list[str]:
    """Train a density model on stores and write model.pt, history.csv, errors.csv and dataset.json; errors in words.

    Frames and configurations of the config's `train.exclude` are left out.

    An interrupted training goes on when called again with the same stores and settings.
    """
    log_to_terminal()
    settings = config_or_defaults(config)
    seed = derive_seed(settings.seed, "density")
    frames = [name.rpartition("/") for name in settings.train.exclude if "/" in name]
    left_out = [*settings.train.exclude, *(density_key(config_id, int(step)) for config_id, _, step in frames)]
    fraction = settings.density.validation_fraction
    index = index_densities(stores, test, fraction, settings.seed, left_out=left_out)
    record = [index.record(), [file_sha256(store) for store in stores], settings.density.model_dump(mode="json"), seed]
    checkpoint = Checkpoint(folder / "state", record)
    redox = atomic_numbers[settings.structures.redox_element]
    parts = index.part("train"), index.part("validation")
    result = train_density(*parts, redox, settings.density, seed, checkpoint)
    errors = density_errors(result.model, few_of_training(index, EVALUATED, seed), seed)
    save_density_model(folder / "model.pt", result.model, {"history": result.history, "best_step": result.best_step})
    write_json(folder / "dataset.json", index.record())
    for name, table in (("history", pd.DataFrame(result.history)), ("errors", errors)):
        with atomic_path(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    checkpoint.clear()
    means = errors.groupby("set")[["nmae_total_percent", "nmae_spin_percent"]].mean()
    return [f"{name}: NMAE {row.iloc[0]:.2f} % (total), {row.iloc[1]:.1f} % (spin)" for name, row in means.iterrows()]


def predict_frames(model: Path, frames: Path, store: Path, spacing_A: float, every: int) -> list[str]:
    """Predict the density of each `every`-th frame into a store; returns its keys."""
    log_to_terminal()
    density_model, _ = load_density_model(model)
    structures = read_structures(frames)[::every]
    keys = [density_key(frames.stem, number * every) for number in range(len(structures))]

    def predicted() -> Iterator[tuple[str, Density]]:
        for key, atoms in zip(keys, structures, strict=True):
            yield key, predict_density(density_model, atoms, grid_shape(np.asarray(atoms.cell), spacing_A))

    write_densities(store, predicted())
    return keys


def read_structures(path: Path) -> list[Atoms]:
    """Frames of a trajectory of ours, or of any file that ASE reads."""
    if path.suffix == ".h5":
        trajectory = read_trajectory(path)
        return [
            Atoms(trajectory.numbers, positions, cell=trajectory.cell_A, pbc=True)
            for positions in trajectory.positions_A
        ]
    try:
        return list(read(path, ":"))
    except Exception as error:
        raise DataError(
            f"{path}: no structures that ASE can read ({reason_of(error)}); give extended XYZ, H5MD of ours, …"
        ) from error


def as_trajectory(path: Path, frame_fs: float) -> Trajectory:
    """A file of frames as a trajectory, one frame each `frame_fs`; a trajectory of ours as it is.

    Raises:
        DataError: atoms or cell change from frame to frame.
    """
    if path.suffix == ".h5":
        return read_trajectory(path)
    frames = read_structures(path)
    first = frames[0]
    cell = np.asarray(first.cell)
    same = all(np.array_equal(f.numbers, first.numbers) and np.allclose(f.cell, cell, atol=1e-6) for f in frames)
    if not same:
        raise DataError(f"{path}: atoms or cell change from frame to frame; give one trajectory at constant volume")
    count = len(frames)
    zeros = np.zeros(count)
    positions = np.array([frame.positions for frame in frames])
    return Trajectory(
        first.numbers, positions, cell, np.arange(count), np.arange(count) * frame_fs, zeros, zeros, zeros, {}
    )
