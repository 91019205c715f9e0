"""Weight method of Bader analysis as a flow of each grid point's content to its neighbours of higher density.

Yu and Trinkle, J. Chem. Phys. 134, 064111 (2011): point p belongs to basin a by the weight

    w_a(p) = Σ_q f(p→q) w_a(q),   f(p→q) ∝ max(ρ_q − ρ_p, 0)·A_pq/l_pq,

with the area A of the common facet of the Voronoi cells of p and q and their distance l. Integrals Σ_p w_a(p)·g(p) need
no weights: in the order of increasing density, each point passes g on in the shares f, and the sum that arrives at a
maximum is the integral over its basin.
"""

from __future__ import annotations

import itertools

import numpy as np
from scipy.spatial import Voronoi

from redoxmd.charges.numba_setup import njit

# Facets smaller than this share of the largest are rounding errors of cells that touch in an edge.
SMALL_FACET = 1e-6


def basin_integrals(reference: np.ndarray, grids: np.ndarray, cell_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sums of grids over the basins of a reference density.

    Args:
        reference: (nx, ny, nz) density that defines the basins.
        grids: (k, nx, ny, nz) grids to be summed.
        cell_A: (3, 3).

    Returns:
        Fractional positions (b, 3) of the maxima and sums (b, k). Spurious maxima of the grid are included: they lie
        close to a true maximum and belong to the same atom.
    """
    shape = reference.shape
    steps = np.asarray(cell_A, dtype=float) / np.array(shape)[:, None]
    facets, shares = _facets(steps)
    neighbours = np.array([offset for offset in itertools.product((-1, 0, 1), repeat=3) if any(offset)])
    density = np.ascontiguousarray(reference, dtype=np.float64)
    contents = np.array([grid.ravel() for grid in grids], dtype=np.float64).T.copy()
    order = np.argsort(density, axis=None, kind="stable")
    maxima = _flow(density, contents, order, facets, shares, neighbours, 1 / np.linalg.norm(neighbours @ steps, axis=1))
    return np.stack(np.unravel_index(maxima, shape), axis=1) / np.array(shape), contents[maxima]


def _facets(steps_A: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (m, 3) of the points that share a Voronoi facet with the central point, and A/l (m,)."""
    offsets = np.array(list(itertools.product(range(-2, 3), repeat=3)))
    points_A = offsets @ steps_A
    centre = len(offsets) // 2
    voronoi, areas = Voronoi(points_A), np.zeros(len(points_A))
    for pair, corners in zip(voronoi.ridge_points, voronoi.ridge_vertices, strict=True):
        if centre in pair and -1 not in corners:
            spokes = voronoi.vertices[corners[1:]] - voronoi.vertices[corners[0]]
            neighbour = pair[0] if pair[1] == centre else pair[1]
            areas[neighbour] = 0.5 * np.linalg.norm(np.cross(spokes[:-1], spokes[1:]).sum(axis=0))
    real = areas > SMALL_FACET * areas.max()
    return offsets[real], areas[real] / np.linalg.norm(points_A[real], axis=1)


@njit(cache=True)
def _wrapped(index: int, length: int) -> int:  # pragma: no cover - compiled
    if index < 0:
        return index + length
    return index - length if index >= length else index


@njit(cache=True)
def _steepest(
    density: np.ndarray, p: int, neighbours: np.ndarray, inverse_A: np.ndarray
) -> int:  # pragma: no cover - compiled
    """Index of the neighbour (of 26) with the steepest rise of the density; −1 at a maximum."""
    nx, ny, nz = density.shape
    density_p, steepest, best = density.flat[p], 0.0, -1
    for n in range(len(neighbours)):
        a = _wrapped(p // (ny * nz) + neighbours[n, 0], nx)
        b = _wrapped((p // nz) % ny + neighbours[n, 1], ny)
        c = _wrapped(p % nz + neighbours[n, 2], nz)
        slope = (density[a, b, c] - density_p) * inverse_A[n]
        if slope > steepest:
            steepest, best = slope, (a * ny + b) * nz + c
    return best


@njit(cache=True)
def _flow(
    density: np.ndarray,
    contents: np.ndarray,
    order: np.ndarray,
    facets: np.ndarray,
    shares: np.ndarray,
    neighbours: np.ndarray,
    inverse_A: np.ndarray,
) -> np.ndarray:  # pragma: no cover - compiled
    """Move `contents` (N, k) to the maxima, in place; returns the flat indices of the maxima."""
    nx, ny, nz = density.shape
    maximum = np.zeros(len(order), dtype=np.bool_)
    gain, target = np.zeros(len(facets)), np.zeros(len(facets), dtype=np.int64)
    for p in order:
        i, j, k = p // (ny * nz), (p // nz) % ny, p % nz
        density_p, total = density[i, j, k], 0.0
        for n in range(len(facets)):
            a = _wrapped(i + facets[n, 0], nx)
            b = _wrapped(j + facets[n, 1], ny)
            c = _wrapped(k + facets[n, 2], nz)
            target[n] = (a * ny + b) * nz + c
            gain[n] = max(density[a, b, c] - density_p, 0.0) * shares[n]
            total += gain[n]
        if total == 0.0:
            # Points of higher density may still touch in an edge or a corner: the steepest of these gets everything.
            target[0] = _steepest(density, p, neighbours, inverse_A)
            gain[0], total = 1.0, 1.0
            if target[0] < 0:
                maximum[p] = True
                continue
        for n in range(len(facets)):
            if gain[n] > 0.0:
                for field in range(contents.shape[1]):
                    contents[target[n], field] += contents[p, field] * (gain[n] / total)
    return np.flatnonzero(maximum)
