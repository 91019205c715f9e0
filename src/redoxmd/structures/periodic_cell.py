"""Minimum images in a periodic cell of any shape."""

from __future__ import annotations

import itertools

import numpy as np
from ase import Atoms
from ase.geometry import complete_cell, minkowski_reduce

# OUTCAR has five decimals of positions, vasprun.xml eight of fractional coordinates.
SAME_POSITION_A = 1e-4


class PeriodicCell:
    """A cell, Minkowski-reduced once, so that minimum images are correct in cells of any shape.

    Args:
        cell_A: (3, 3); a vector of zeros is a direction without periodicity, and a cell that is not finite, or whose
            vectors lie in a plane, is not periodic at all.
    """

    def __init__(self, cell_A: np.ndarray) -> None:
        self.cell_A = np.asarray(cell_A, dtype=float)
        periodic = self.cell_A.any(axis=1)
        complete = self.cell_A
        if not periodic.all():
            complete = complete_cell(self.cell_A) if np.isfinite(self.cell_A).all() else np.zeros((3, 3))
        # NaN compares false.
        if not 0 < abs(np.linalg.det(complete)) < np.inf:
            periodic, complete = np.zeros(3, dtype=bool), np.eye(3)
        reduced, _ = minkowski_reduce(complete, periodic)
        self._reduced = np.asarray(reduced)[periodic]
        self._inverse = np.linalg.inv(reduced)[:, periodic]
        neighbours = np.array(list(itertools.product((-1, 0, 1), repeat=int(periodic.sum()))), dtype=float)
        self._images_A = neighbours @ self._reduced

    @property
    def inscribed_radius_A(self) -> float:
        """Radius of the largest sphere that does not touch its own images: half of the shortest lattice vector."""
        return float(np.linalg.norm(self._reduced, axis=1).min(initial=np.inf)) / 2

    def minimum_image(self, vectors_A: np.ndarray) -> np.ndarray:
        """Shortest periodic images (…, 3) of vectors."""
        vectors = np.asarray(vectors_A, dtype=float)
        near: np.ndarray = vectors - np.round(vectors @ self._inverse) @ self._reduced
        # In a reduced cell the minimum image is among the 27 around the rounded one; one within the inscribed sphere is
        # it.
        far = ~(np.linalg.norm(near, axis=-1) < self.inscribed_radius_A)
        squared = ((near[far][:, None, :] + self._images_A) ** 2).sum(axis=-1)
        near[far] += self._images_A[squared.argmin(axis=-1)]
        return near

    def nearest_image(self, positions_A: np.ndarray, reference_A: np.ndarray) -> np.ndarray:
        """Periodic images (…, 3) of positions that are nearest to the reference positions."""
        apart = positions_A - reference_A
        nearest: np.ndarray = positions_A + (self.minimum_image(apart) - apart)
        return nearest

    def distances_A(self, from_A: np.ndarray, to_A: np.ndarray) -> np.ndarray:
        """(p, q) minimum-image distances between two sets of points (p, 3) and (q, 3)."""
        # Row by row: all 27 images of all pairs at once would fill the memory in a large cell.
        rows = [np.linalg.norm(self.minimum_image(to_A - point), axis=-1) for point in from_A]
        return np.array(rows).reshape(len(from_A), len(to_A))


def same_cell(a_A: np.ndarray, b_A: np.ndarray) -> bool:
    """Whether two cells (3, 3) agree within `SAME_POSITION_A`; NaN agrees with nothing."""
    return bool(np.abs(np.asarray(a_A) - np.asarray(b_A)).max() <= SAME_POSITION_A)


def misplacements_A(positions_A: np.ndarray, expected: Atoms) -> np.ndarray:
    """Distances (n,) of positions (n, 3), or of one (3,), to the expected ones, modulo lattice vectors.

    The same positions are at most `SAME_POSITION_A` apart.
    """
    apart: np.ndarray = PeriodicCell(expected.cell.array).minimum_image(positions_A - expected.positions)
    return np.linalg.norm(apart, axis=1)
