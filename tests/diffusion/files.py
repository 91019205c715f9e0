"""Trajectories whose answer is known, through the files that the workflow passes on."""

import numpy as np
import pandas as pd
from ase.data import atomic_numbers

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.analysis import analyse_trajectory, summarise
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.trajectory import Trajectory, read_trajectory, write_segment

INTERVAL_FS = 50.0
EDGE_A = 16.0
CUBE_A = EDGE_A * np.eye(3)
VISITED = Diffusion(site_reference="visited")


def trajectory_of(ions, cell=CUBE_A, others=None, time_fs=None, **about):
    """Na ions (T, m, 3) and four still O, or others by element."""
    frames = len(ions)
    still = np.array([[3.0, 3, 3], [9, 9, 9], [3, 9, 3], [9, 3, 9]])
    others = {"O": np.repeat(still[None], frames, axis=0), **(others or {})}
    numbers = [11] * ions.shape[1] + [
        atomic_numbers[name] for name, path in others.items() for _ in range(path.shape[1])
    ]
    time = INTERVAL_FS * np.arange(frames) if time_fs is None else time_fs
    zero = np.zeros(frames)
    metadata = {"structure": "x2.000_random0_1x1x1", "x": 2.0, "temperature_K": 600.0, "replica": 0, "mobile_ion": "Na"}
    return Trajectory(
        np.array(numbers),
        np.concatenate([ions, *others.values()], axis=1),
        np.asarray(cell),
        np.arange(frames),
        time,
        zero + 600.0,
        zero,
        zero,
        {**metadata, "end_reason": "completed", **about},
    )


def walk(rate_per_ps, ions, frames, seed, length_A=4.0, shake_A=0.2, axes=3):
    """Ions that jump along an axis at random times; D = length²·rate/6."""
    rng = np.random.default_rng(seed)
    jump = rng.random((frames, ions)) < rate_per_ps * INTERVAL_FS / 1000
    way = rng.integers(0, axes, (frames, ions))[..., None] == np.arange(3)
    steps = length_A * (rng.choice([-1, 1], (frames, ions)) * jump)[..., None] * way
    start = 4.0 * np.array([[i % 4, i // 4 % 4, i // 16] for i in range(ions)])
    return start + steps.cumsum(axis=0) + shake_A * rng.standard_normal((frames, ions, 3))


def analysed(folder, trajectory, settings=VISITED, structures=None, name="t"):
    """As rule jumps does: H5MD read, NetCDF written and read."""
    write_segment(folder / f"{name}.h5", trajectory)
    analysis = analyse_trajectory(read_trajectory(folder / f"{name}.h5"), settings, 1, structures)
    write_dataset(folder / f"{name}.nc", analysis)
    return read_dataset(folder / f"{name}.nc")


def tables_of(folder, analyses, settings=VISITED):
    """As rule diffusion does: tables written as CSV and read."""
    summary, tables = summarise(analyses, settings), {}
    for name, table in vars(summary).items():
        table.to_csv(folder / f"{name}.csv", index=False)
        tables[name] = pd.read_csv(folder / f"{name}.csv")
    return tables
