"""Van Hove functions of the mobile ions: how far each has gone after a time, and who is there then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

BIN_A = 0.1
LEAST_REACH_A = 6.0
ORIGINS = 2000
# Pairs of ions (origins × m²) that are looked at for a lag, and at once.
MOST_PAIRS = 500_000
BLOCK_PAIRS = 100_000


def lags_within(lags_ps: Sequence[float], time_fs: np.ndarray) -> np.ndarray:
    """Frames (L,) of the lags, each at least one frame and at most half of the trajectory, each once."""
    interval, most = float(time_fs[1] - time_fs[0]), max(1, (len(time_fs) - 1) // 2)
    frames = np.round(np.array(lags_ps) * FS_PER_PS / interval).astype(int)
    return np.unique(np.clip(frames, 1, most))


def self_part(positions_A: np.ndarray, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances r (R,), Å, and 4πr²·G_s(r, t) (L, R), 1/Å, each of which integrates to one.

    The probability density of |r(t₀ + t) − r(t₀)| over ions and origins t₀. For Gaussian walkers it is
    4πr²(4πDt)^(−3/2) exp(−r²/4Dt); jumps show as a second maximum at their length.

    Args:
        positions_A: (T, m, 3), unwrapped, drift removed.
        lags: (L,) frames.
    """
    moved = [_displacements(positions_A, lag) for lag in lags]
    reach = max([LEAST_REACH_A, *(float(lengths.max(initial=0.0)) for lengths in moved)])
    edges = BIN_A * np.arange(int(reach / BIN_A) + 2)
    counts = np.array([np.histogram(lengths, edges)[0] for lengths in moved])
    return (edges[1:] + edges[:-1]) / 2, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) / BIN_A


def _displacements(positions_A: np.ndarray, lag: int) -> np.ndarray:
    origins = _some_origins(len(positions_A), lag, ORIGINS)
    lengths: np.ndarray = np.linalg.norm(positions_A[origins + lag] - positions_A[origins], axis=2)
    return lengths


def _some_origins(frames: int, lag: int, most: int) -> np.ndarray:
    origins: np.ndarray = np.unique(np.linspace(0, frames - lag - 1, max(1, most)).astype(int))
    return origins


def distinct_part(positions_A: np.ndarray, lags: np.ndarray, cell_A: np.ndarray, distances_A: np.ndarray) -> np.ndarray:
    """G_d(r, t)/ρ (L, R): ions at r, after t, from where another one was, over those at their mean density.

    ρ = (m − 1)/V. At t = 0 it is g(r) of the ions; a maximum that grows at r = 0 says that ions follow each other into
    places left. Nearest images in any shape of the cell; NaN beyond the sphere that the cell holds, and with one ion.

    Args:
        positions_A: (T, m, 3), drift removed.
        lags: (L,) frames.
        cell_A: (3, 3).
        distances_A: (R,) middles of bins, equally spaced from half of one.
    """
    frames, ions = positions_A.shape[:2]
    if ions < 2:
        return np.full((len(lags), len(distances_A)), np.nan)
    width = 2 * float(distances_A[0])
    edges = np.append(distances_A - width / 2, distances_A[-1] + width / 2)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    expected = ions * (ions - 1) * shell / abs(np.linalg.det(cell_A))
    periodic, parts = PeriodicCell(cell_A), []
    for lag in lags:
        origins = _some_origins(frames, lag, MOST_PAIRS // ions**2)
        counts = np.zeros(len(distances_A))
        for origin in origins:
            counts += _pairs(positions_A[origin], positions_A[origin + lag], periodic, edges)
        parts.append(counts / (len(origins) * expected))
    inside = edges[1:] <= periodic.inscribed_radius_A
    return np.where(inside, np.array(parts), np.nan)


def _pairs(before_A: np.ndarray, after_A: np.ndarray, periodic: PeriodicCell, edges: np.ndarray) -> np.ndarray:
    """Counts (R,) of distances from every ion's place to every other ion's later one."""
    ions, counts = len(before_A), np.zeros(len(edges) - 1)
    step = max(1, BLOCK_PAIRS // ions)
    for first in range(0, ions, step):
        part = np.arange(first, min(first + step, ions))
        vectors = after_A[None] - before_A[part, None]
        lengths = np.linalg.norm(periodic.minimum_image(vectors), axis=-1)
        counts += np.histogram(lengths[part[:, None] != np.arange(ions)], edges)[0]
    return counts
