"""Content of the interactive view: the frames of one jump and the visit density of the mobile ions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.diffusion.framework import moving_atoms
from redoxmd.diffusion.jumps import recorded_jumps, without_drift
from redoxmd.diffusion.visited import visit_density
from redoxmd.files.trajectory import Trajectory

WINDOW_FS = 500.0
MOST_FRAMES = 61
# Smaller than in the search for sites, for a sharper picture.
SMOOTHING_A = 0.3


@dataclass(frozen=True)
class Scene:
    """Frames of a trajectory in a cell centred on the jump, and the density of visited positions.

    Attributes:
        title: name of the trajectory.
        mobile_ion: element symbol.
        numbers: (n,).
        positions_A: (T, n, 3), continuous in time, framework at rest.
        time_fs: (T,), relative to the jump if there is one.
        cell_A, origin_A: (3, 3), (3,) box to draw.
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


def jump_scene(analyses: Sequence[xr.Dataset], read: Callable[[int], Trajectory]) -> Scene:
    """Scene of the middle jump of the trajectory with most jumps; without jumps, the whole first trajectory.

    Args:
        analyses: datasets of the trajectories (`diffusion.analysis`).
        read: returns the trajectory of an index.
    """
    number = int(np.argmax([int(analysis["n_jumps"]) for analysis in analyses]))
    trajectory, jumps = read(number), recorded_jumps(analyses[number])
    metadata = trajectory.metadata
    mobile = trajectory.numbers == atomic_numbers[metadata["mobile_ion"]]
    all_atoms = np.ones(len(mobile), dtype=bool)
    not_framework = moving_atoms(trajectory, analyses[number])
    positions = without_drift(
        trajectory.positions_A, not_framework, atomic_masses[trajectory.numbers], selected=all_atoms
    )
    title = f"x = {metadata['x']:g}, {metadata['temperature_K']:g} K, replica {metadata['replica']}"
    jump = len(jumps) // 2
    if len(jumps):
        jump_time, centre = jumps.time_fs[jump], (jumps.start_A[jump] + jumps.end_A[jump]) / 2
        near_in_time = np.abs(jumps.time_fs - jump_time) <= WINDOW_FS
        chosen = np.flatnonzero(np.abs(trajectory.time_fs - jump_time) <= WINDOW_FS)
        jumping = sorted(set(np.flatnonzero(mobile)[jumps.ion[near_in_time]].tolist()))
    else:
        jump_time, centre, jumping = 0.0, trajectory.cell_A.sum(axis=0) / 2, []
        chosen = np.arange(len(trajectory.time_fs))
    frames = chosen[np.unique(np.linspace(0, len(chosen) - 1, MOST_FRAMES).astype(int))] if len(chosen) else chosen
    origin = centre - trajectory.cell_A.sum(axis=0) / 2
    shown = positions[frames]
    if len(shown):
        # Every atom is inside the box in the middle frame.
        fractional = (shown[len(shown) // 2] - origin) @ np.linalg.inv(trajectory.cell_A)
        shown = shown - np.floor(fractional) @ trajectory.cell_A
    return Scene(
        title,
        metadata["mobile_ion"],
        trajectory.numbers,
        shown,
        trajectory.time_fs[frames] - jump_time,
        trajectory.cell_A,
        origin,
        jumping,
        visit_density(positions[:, mobile] - origin, trajectory.cell_A, SMOOTHING_A),
    )
