"""Van Hove functions of the mobile ions: self part (displacements) and distinct part (pair distances over time)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

BIN_A = 0.1
MIN_RANGE_A = 6.0
ORIGINS = 2000
# Pairs of ions (origins × m²): largest number per lag, and number processed at once.
MOST_PAIRS = 500_000
BLOCK_PAIRS = 100_000


def lags_within(lags_ps: Sequence[float], time_fs: np.ndarray) -> np.ndarray:
    """Lags (L,) in frames, unique, each at least one frame and at most half of the trajectory."""
    interval, longest = float(time_fs[1] - time_fs[0]), max(1, (len(time_fs) - 1) // 2)
    frames = np.round(np.array(lags_ps) * FS_PER_PS / interval).astype(int)
    return np.unique(np.clip(frames, 1, longest))


def self_part(positions_A: np.ndarray, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances r (R,), Å, and 4πr²·G_s(r, t) (L, R), 1/Å; each lag integrates to one.

    The self part is the probability density of |r(t₀ + t) − r(t₀)| over ions and origins t₀. For
    Gaussian walkers it is 4πr²(4πDt)^(−3/2) exp(−r²/4Dt); jumps appear as a second maximum at their length.

    Args:
        positions_A: (T, m, 3), unwrapped, drift removed.
        lags: (L,) frames.
    """
    lengths_by_lag = [_displacements(positions_A, lag) for lag in lags]
    range_A = max([MIN_RANGE_A, *(float(lengths.max(initial=0.0)) for lengths in lengths_by_lag)])
    edges = BIN_A * np.arange(int(range_A / BIN_A) + 2)
    counts = np.array([np.histogram(lengths, edges)[0] for lengths in lengths_by_lag])
    return (edges[1:] + edges[:-1]) / 2, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) / BIN_A


def _displacements(positions_A: np.ndarray, lag: int) -> np.ndarray:
    origins = _evenly_spaced_origins(len(positions_A), lag, ORIGINS)
    lengths: np.ndarray = np.linalg.norm(positions_A[origins + lag] - positions_A[origins], axis=2)
    return lengths


def _evenly_spaced_origins(frames: int, lag: int, max_origins: int) -> np.ndarray:
    origins: np.ndarray = np.unique(np.linspace(0, frames - lag - 1, max(1, max_origins)).astype(int))
    return origins


def distinct_part(positions_A: np.ndarray, lags: np.ndarray, cell_A: np.ndarray, distances_A: np.ndarray) -> np.ndarray:
    """G_d(r, t)/ρ (L, R): density of ions at distance r, after t, from the initial position of another ion, over ρ.

    ρ = (m − 1)/V. At t = 0 it is g(r) of the ions; a maximum that grows at r = 0 shows that ions move into sites that
    other ions have left. Minimum images for cells of any shape; NaN beyond the inscribed sphere of the cell and for a
    single ion.

    Args:
        positions_A: (T, m, 3), drift removed.
        lags: (L,) frames.
        cell_A: (3, 3).
        distances_A: (R,) bin centres, equally spaced; the first is half a bin width.
    """
    frames, ions = positions_A.shape[:2]
    if ions < 2:
        return np.full((len(lags), len(distances_A)), np.nan)
    width = 2 * float(distances_A[0])
    edges = np.append(distances_A - width / 2, distances_A[-1] + width / 2)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    expected = ions * (ions - 1) * shell / abs(np.linalg.det(cell_A))
    periodic, ratios = PeriodicCell(cell_A), []
    for lag in lags:
        origins = _evenly_spaced_origins(frames, lag, MOST_PAIRS // ions**2)
        counts = np.zeros(len(distances_A))
        for origin in origins:
            counts += _pair_counts(positions_A[origin], positions_A[origin + lag], periodic, edges)
        ratios.append(counts / (len(origins) * expected))
    inside = edges[1:] <= periodic.inscribed_radius_A
    return np.where(inside, np.array(ratios), np.nan)


def _pair_counts(before_A: np.ndarray, after_A: np.ndarray, periodic: PeriodicCell, edges: np.ndarray) -> np.ndarray:
    """Histogram (R,) of distances from the earlier position of each ion to the later positions of the others."""
    ions, counts = len(before_A), np.zeros(len(edges) - 1)
    step = max(1, BLOCK_PAIRS // ions)
    for first in range(0, ions, step):
        block = np.arange(first, min(first + step, ions))
        vectors = after_A[None] - before_A[block, None]
        lengths = np.linalg.norm(periodic.minimum_image(vectors), axis=-1)
        counts += np.histogram(lengths[block[:, None] != np.arange(ions)], edges)[0]
    return counts
