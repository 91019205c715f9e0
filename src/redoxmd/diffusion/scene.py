"""What the interactive view shows: one jump on its way, and where the mobile ions have been."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.diffusion.framework import moving_atoms
from redoxmd.diffusion.jumps import jumps_of, without_drift
from redoxmd.diffusion.visited import visit_density
from redoxmd.files.trajectory import Trajectory

WINDOW_FS = 500.0
MOST_FRAMES = 61
# Less than where sites are sought, for the eye.
SMOOTHING_A = 0.3


@dataclass(frozen=True)
class Scene:
    """Frames of a trajectory, in the cell that has the jump in its middle, and a density of visited positions.

    Attributes:
        title: which trajectory.
        mobile_ion: its symbol.
        numbers: (n,).
        positions_A: (T, n, 3), continuous in time, framework at rest.
        time_fs: (T,), from the jump on where there is one.
        cell_A, origin_A: (3, 3), (3,) the box to draw.
        jumping: indices of the ions that jump within the frames.
        visits_per_A3: (A, B, C) probability density of a mobile ion over the whole trajectory, on a grid of the box.
    """

    title: str
    mobile_ion: str
    numbers: np.ndarray
    positions_A: np.ndarray
    time_fs: np.ndarray
    cell_A: np.ndarray
    origin_A: np.ndarray
    jumping: list[int]
    visits_per_A3: np.ndarray


def show_a_jump(analyses: Sequence[xr.Dataset], read: Callable[[int], Trajectory]) -> Scene:
    """The jump in the middle of the trajectory that has most; without any, the first trajectory as a whole.

    Args:
        analyses: of each trajectory (`diffusion.analysis`).
        read: gives the trajectory of a number.
    """
    number = int(np.argmax([int(analysis["n_jumps"]) for analysis in analyses]))
    trajectory, jumps = read(number), jumps_of(analyses[number])
    about = trajectory.metadata
    mobile = trajectory.numbers == atomic_numbers[about["mobile_ion"]]
    everything = np.ones(len(mobile), dtype=bool)
    moving = moving_atoms(trajectory, analyses[number])
    positions = without_drift(trajectory.positions_A, moving, atomic_masses[trajectory.numbers], of=everything)
    title = f"x = {about['x']:g}, {about['temperature_K']:g} K, replica {about['replica']}"
    jump = len(jumps) // 2
    if len(jumps):
        moment, centre = jumps.time_fs[jump], (jumps.start_A[jump] + jumps.end_A[jump]) / 2
        near = np.abs(jumps.time_fs - moment) <= WINDOW_FS
        chosen = np.flatnonzero(np.abs(trajectory.time_fs - moment) <= WINDOW_FS)
        jumping = sorted(set(np.flatnonzero(mobile)[jumps.ion[near]].tolist()))
    else:
        moment, centre, jumping = 0.0, trajectory.cell_A.sum(axis=0) / 2, []
        chosen = np.arange(len(trajectory.time_fs))
    frames = chosen[np.unique(np.linspace(0, len(chosen) - 1, MOST_FRAMES).astype(int))] if len(chosen) else chosen
    origin = centre - trajectory.cell_A.sum(axis=0) / 2
    return Scene(
        title,
        about["mobile_ion"],
        trajectory.numbers,
        _boxed(positions[frames], trajectory.cell_A, origin),
        trajectory.time_fs[frames] - moment,
        trajectory.cell_A,
        origin,
        jumping,
        visit_density(positions[:, mobile] - origin, trajectory.cell_A, SMOOTHING_A),
    )


def _boxed(positions_A: np.ndarray, cell_A: np.ndarray, origin_A: np.ndarray) -> np.ndarray:
    """Every atom moved by whole cells so that it is inside the box halfway through."""
    if len(positions_A) == 0:
        return positions_A
    fractional = (positions_A[len(positions_A) // 2] - origin_A) @ np.linalg.inv(cell_A)
    moved: np.ndarray = positions_A - np.floor(fractional) @ cell_A
    return moved
