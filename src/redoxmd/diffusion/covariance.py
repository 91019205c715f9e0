"""Covariance of the mean squared displacements of one trajectory at several lags."""

from __future__ import annotations

import numpy as np

# Number of offsets between two windows in the overlap sums; shorter lags use every offset.
OFFSETS = 256


def overlap_sums(lags: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
    """Mean overlap and mean squared overlap of all windows of two lags in a trajectory: (K, K) frames and frames².

    The steps of a walker are independent, so two displacements share only their overlap. For the MSD over all time
    origins,

        cov(MSD_i, MSD_j) = (2/3)·m_i·m_j·⟨o²⟩/(i·j) + c·(m/t)·⟨o⟩

    with m the expected MSD, o the overlap of a window of i and one of j frames; the first term is that of Gaussian
    steps in three dimensions (Qian et al., 1991), the second that of rare long jumps, with c = ⟨d⁴⟩/⟨d²⟩ of the jumps.

    Args:
        lags: (K,) frames, increasing, each less than `frames`.
        frames: number of frames of the trajectory.
    """
    unit = max(1.0, float(lags[-1]) / OFFSETS)
    n_offsets = int(np.ceil(lags[-1] / unit))
    offset = unit * np.arange(-n_offsets, n_offsets + 1)
    lag_i, lag_j = lags[:, None, None].astype(float), lags[None, :, None].astype(float)
    shared = np.minimum(lag_i, lag_j + offset) - np.maximum(0.0, offset)
    origins = np.minimum(frames - lag_i, frames - lag_j - offset) - np.maximum(0.0, -offset)
    pairs = unit * np.maximum(origins, 0.0) / ((frames - lag_i) * (frames - lag_j))
    shared = np.maximum(shared, 0.0)
    return (pairs * shared).sum(axis=2), (pairs * shared**2).sum(axis=2)


def squared_displacement_variance(
    positions_A: np.ndarray, lags: np.ndarray, per_lag: int, block_points: int
) -> np.ndarray:
    """Variance (K,) Å⁴ of |Δr|² over ions and time origins, `per_lag` origins within each lag.

    Args:
        positions_A: (T, m, 3).
        lags: (K,) frames.
        per_lag: time origins per lag; closer origins are correlated and add little.
        block_points: ions × origins in memory at a time.
    """
    block = max(1, block_points // max(positions_A.shape[1], 1))
    variance = []
    for lag in lags:
        origins = np.arange(0, len(positions_A) - lag, max(1, lag // per_lag))
        sums = np.zeros(2)
        for first in range(0, len(origins), block):
            block_origins = origins[first : first + block]
            squared = ((positions_A[block_origins + lag] - positions_A[block_origins]) ** 2).sum(axis=2)
            sums += squared.sum(), (squared**2).sum()
        mean, second = sums / (len(origins) * positions_A.shape[1])
        variance.append(max(second - mean**2, 0.0))
    return np.array(variance)
