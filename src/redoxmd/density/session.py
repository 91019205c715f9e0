"""Train and apply density models outside the workflow, on the stores and frames of a user."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from ase import Atoms
from ase.data import atomic_numbers
from ase.io import read
from ase.io.formats import filetype

from redoxmd.charges.density_states import judge_densities
from redoxmd.config import load_config
from redoxmd.config.sections import Config
from redoxmd.density.dataset import index_densities
from redoxmd.density.evaluation import density_errors, evaluation_subset
from redoxmd.density.grid import Density
from redoxmd.density.model import load_density_model, save_density_model
from redoxmd.density.predict import grid_shape, predict_density
from redoxmd.density.store import density_key, write_densities
from redoxmd.density.training import train_density
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import DataError, reason_of
from redoxmd.files.records import atomic_path, file_sha256, write_json
from redoxmd.files.trajectory import Trajectory, read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.seeds import derive_seed

EVALUATED = 30
logger = logging.getLogger("redoxmd")


def config_or_defaults(path: Path | None) -> Config:
    """The settings of a config file; the defaults without a file."""
    return Config() if path is None else load_config(path)


def log_to_terminal() -> None:
    """Show progress on standard error."""
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s  %(message)s", "%H:%M:%S"))
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


def train_on_stores(stores: Sequence[Path], folder: Path, config: Path | None, test: Sequence[str]) -> list[str]:
    """Train a density model on stores and write model.pt, history.csv, errors.csv and dataset.json.

    Frames and configurations of `train.exclude` in the config are excluded, with `electrons.levels` also densities in a
    wrong electronic state, which left_out.json lists. An interrupted training continues when the
    function is called again with the same stores and settings.

    Returns:
        One line of text per set with its mean errors.
    """
    log_to_terminal()
    settings = config_or_defaults(config)
    seed = derive_seed(settings.seed, "density")
    levels = OxidationLevels.of(settings.electrons)
    states = None if levels is None else judge_densities(stores, levels, settings.train.exclude)
    index = index_densities(
        stores,
        test,
        settings.density.validation_fraction,
        settings.seed,
        excluded=settings.train.exclude,
        validation_configurations=settings.train.validation_configurations,
        states=states,
    )
    record = [index.record(), [file_sha256(store) for store in stores], settings.density.model_dump(mode="json"), seed]
    checkpoint = Checkpoint(folder / "state", record)
    redox = atomic_numbers[settings.structures.redox_element]
    training, validation = index.subset("train"), index.subset("validation")
    result = train_density(training, validation, redox, settings.density, seed, checkpoint)
    errors = density_errors(result.model, evaluation_subset(index, EVALUATED, seed), seed)
    save_density_model(folder / "model.pt", result.model, {"history": result.history, "best_step": result.best_step})
    write_json(folder / "dataset.json", index.record())
    if states is not None:
        write_json(folder / "left_out.json", states.left_out)
    for name, table in (("history", pd.DataFrame(result.history)), ("errors", errors)):
        with atomic_path(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    checkpoint.clear()
    means = errors.groupby("set")[["nmae_total_percent", "nmae_spin_percent"]].mean()
    return [f"{name}: NMAE {row.iloc[0]:.2f} % (total), {row.iloc[1]:.1f} % (spin)" for name, row in means.iterrows()]


def predict_frames(model: Path, frames: Path, store: Path, spacing_A: float, every: int) -> list[str]:
    """Predict the density of every `every`-th frame and write a store; returns the keys."""
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
    """Read the frames of a trajectory of redoxmd or of any file that ASE reads.

    Raises:
        DataError: the file is neither, or it is a LAMMPS dump without the elements of its atoms.
    """
    if h5py.is_hdf5(path):
        trajectory = read_trajectory(path)
        return [trajectory.frame(number) for number in range(len(trajectory.positions_A))]
    try:
        if filetype(str(path)) == "lammps-dump-text":
            with path.open(encoding="utf-8") as lines:
                columns = next((line for line in lines if line.startswith("ITEM: ATOMS")), "")
            if " element" not in columns:
                raise DataError("a LAMMPS dump without elements; write it with `dump_modify ID element Na V P O`")
        return list(read(path, ":"))
    except Exception as error:
        raise DataError(
            f"{path}: ASE cannot read structures ({reason_of(error)}); give extended XYZ, a trajectory of redoxmd "
            "or another format of ASE"
        ) from error


def as_trajectory(path: Path, frame_fs: float | None) -> Trajectory:
    """Read a file of frames as a trajectory; a trajectory of redoxmd is returned unchanged.

    Times and steps are `time_fs` and `step` of the frames. Without them the frames are `frame_fs` apart; without
    `frame_fs` they are taken as 1 fs apart, with a warning.

    Raises:
        DataError: atoms or cell change from frame to frame, times do not increase, or the times of the file differ
            from `frame_fs`.
    """
    if h5py.is_hdf5(path):
        trajectory = read_trajectory(path)
        _check_interval(path, trajectory.time_fs, frame_fs)
        return trajectory
    frames = read_structures(path)
    first = frames[0]
    cell = np.asarray(first.cell)
    same = all(np.array_equal(f.numbers, first.numbers) and np.allclose(f.cell, cell, atol=1e-6) for f in frames)
    if not same:
        raise DataError(f"{path}: atoms or cell change from frame to frame; give one trajectory at constant volume")
    zeros = np.zeros(len(frames))
    positions = np.array([frame.positions for frame in frames])
    time_fs = _times_fs(path, frames, frame_fs)
    steps = np.array([frame.info.get("step", number) for number, frame in enumerate(frames)])
    trajectory = Trajectory(first.numbers, positions, cell, steps, time_fs, zeros, zeros, zeros, {}, source=str(path))
    with_states = [frame for frame in frames if "oxidation" in frame.arrays]
    if 0 < len(with_states) < len(frames):
        raise DataError(f"{path}: only {len(with_states)} of {len(frames)} frames have the array `oxidation`")
    if with_states:
        trajectory.oxidation = np.array([frame.arrays["oxidation"] for frame in frames])
    return trajectory


def _times_fs(path: Path, frames: Sequence[Atoms], frame_fs: float | None) -> np.ndarray:
    """Times (T,) of the frames: `time_fs` of each frame, else multiples of `frame_fs`."""
    recorded_fs = [float(frame.info["time_fs"]) for frame in frames if "time_fs" in frame.info]
    if not recorded_fs:
        if frame_fs is None and len(frames) > 1:
            logger.warning("%s: frames without time_fs, taken as 1 fs apart; set the interval with --frame-fs", path)
        return np.arange(len(frames)) * (1.0 if frame_fs is None else frame_fs)
    time_fs = np.array(recorded_fs)
    if len(recorded_fs) < len(frames) or not np.isfinite(time_fs).all() or (np.diff(time_fs) <= 0).any():
        raise DataError(f"{path}: time_fs is missing in a frame or does not increase; correct it or remove it")
    _check_interval(path, time_fs, frame_fs)
    return time_fs


def _check_interval(path: Path, time_fs: np.ndarray, frame_fs: float | None) -> None:
    if frame_fs is not None and len(time_fs) > 1 and not np.allclose(np.diff(time_fs), frame_fs, rtol=1e-3):
        raise DataError(
            f"{path}: the frames are {time_fs[1] - time_fs[0]:g} fs apart by their time_fs, but --frame-fs is "
            f"{frame_fs:g}; omit the option"
        )
