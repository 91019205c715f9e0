"""Random grid points of a density, in the whole cell or near chosen atoms, and the density values at grid points.

The grid point nearest to each nucleus is excluded: it may lie in a cusp narrower than any grid spacing (see `cores`).
"""

from __future__ import annotations

import numpy as np

from redoxmd.density.grid import Density


def nucleus_points(density: Density) -> np.ndarray:
    """Grid indices (n, 3) of the points nearest to the nuclei."""
    fractional = density.positions_A @ np.linalg.inv(density.cell_A)
    nearest: np.ndarray = np.round(fractional * density.shape).astype(int) % np.array(density.shape)
    return nearest


def points_uniform(density: Density, count: int, rng: np.random.Generator) -> np.ndarray:
    """Grid indices (about count, 3), uniform over the cell without the points at nuclei."""
    index = np.stack([rng.integers(0, size, count) for size in density.shape], axis=1)
    return index[~_at_nucleus(density, index)]


def points_near(
    density: Density, centres_A: np.ndarray, radius_A: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Grid indices (about count, 3), uniform in spheres around centres (m, 3), without the points at nuclei."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    offset = direction * (radius_A * rng.random(count) ** (1 / 3))[:, None]
    points = centres_A[rng.integers(0, len(centres_A), count)] + offset
    index = np.round(points @ np.linalg.inv(density.cell_A) * density.shape).astype(int) % np.array(density.shape)
    return index[~_at_nucleus(density, index)]


def _at_nucleus(density: Density, index: np.ndarray) -> np.ndarray:
    flat, nuclei = (np.ravel_multi_index(tuple(i.T), density.shape) for i in (index, nucleus_points(density)))
    return np.isin(flat, nuclei)


def grid_points(density: Density, index: np.ndarray) -> np.ndarray:
    """Cartesian positions (P, 3) in Å of grid indices (P, 3)."""
    points: np.ndarray = index / np.array(density.shape) @ density.cell_A
    return points


def values_at(density: Density, index: np.ndarray) -> np.ndarray:
    """Total and spin (P, 2) in e/Å³ at grid indices (P, 3)."""
    points = tuple(index.T)
    return np.stack([density.total_e_A3[points], density.spin_e_A3[points]], axis=1).astype(float)
