"""Continuous paths from wrapped positions, in a constant cell."""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols

from redoxmd.errors import DataError
from redoxmd.files.trajectory import BLOCK_FRAMES
from redoxmd.structures.periodic_cell import PeriodicCell, same_cell

# Largest displacement between frames, as a share of half the shortest lattice vector, at which the nearest image is
# the true one: thermal motion adds to the displacement that is seen.
CERTAIN_SHARE = 0.9
# Largest strain of the cell of a frame relative to the mean cell.
LARGEST_STRAIN = 0.15


def constant_cell(cells_A: np.ndarray, source: str) -> tuple[np.ndarray, bool]:
    """The cell (3, 3) in which the frames are analysed, and whether all frames have it: the first cell, or the mean.

    Raises:
        DataError: the cell has no volume, or a frame is strained by more than 15 % of the mean cell.
    """
    if not (np.isfinite(cells_A).all() and (np.abs(np.linalg.det(cells_A)) > 0).all()):
        raise DataError(f"{source}: a cell has no volume or is not finite; write the file again with its cell")
    if same_cell(cells_A, cells_A[0]):
        return cells_A[0], True
    mean = cells_A.mean(axis=0)
    strain = np.abs(cells_A @ np.linalg.inv(mean) - np.eye(3)).max(axis=(1, 2))
    if strain.max() > LARGEST_STRAIN:
        raise DataError(
            f"{source}: the cell of frame {strain.argmax()} differs from the mean cell by {strain.max():.0%}; analyse "
            "each phase or stretch as a file of its own (LAMMPS: fix npt with flip no)"
        )
    return mean, False


def continuous_paths(
    fractional: np.ndarray, cell_A: np.ndarray, numbers: np.ndarray, unwrapped: bool, source: str
) -> np.ndarray:
    """Fractional coordinates (T, n, 3) without steps by lattice vectors; unwrapped ones are returned unchanged.

    Each atom moves to its nearest image from frame to frame. This is right if it moves by less than half of the
    shortest lattice vector, which the displacements themselves show: those near that limit are refused.

    Args:
        fractional: (T, n, 3), wrapped in any way.
        cell_A: (3, 3).
        numbers: (n,), for messages.
        unwrapped: whether the positions are unwrapped.
        source: the file, for messages.

    Raises:
        DataError: a position is not finite, or frames are too far apart.
    """
    bad = np.argwhere(~np.isfinite(fractional).all(axis=2))
    if len(bad):
        raise DataError(f"{source}: the position of atom {bad[0][1]} in frame {bad[0][0]} is not finite; leave it out")
    if unwrapped:
        return fractional
    radius_A, paths = PeriodicCell(cell_A).inscribed_radius_A, fractional.copy()
    for first in range(0, len(fractional) - 1, BLOCK_FRAMES):
        steps = np.diff(fractional[first : first + BLOCK_FRAMES + 1], axis=0)
        steps -= np.round(steps)
        lengths_A = np.linalg.norm(steps @ cell_A, axis=2)
        if lengths_A.max() > CERTAIN_SHARE * radius_A:
            frame, atom = np.unravel_index(lengths_A.argmax(), lengths_A.shape)
            raise DataError(
                f"{source}: {chemical_symbols[numbers[atom]]} {atom} moves by {lengths_A.max():.1f} Å from frame "
                f"{first + frame} to the next, and from {radius_A:.1f} Å on (half of the cell) its path is ambiguous: "
                "the frames are too far apart to unwrap. Give frames at a shorter interval, or unwrapped positions "
                "(LAMMPS: xu yu zu or ix iy iz; other files: --unwrapped)"
            )
        paths[first + 1 : first + 1 + len(steps)] = paths[first] + steps.cumsum(axis=0)
    return paths
