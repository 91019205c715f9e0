"""Mean squared displacement of single ions and of the collective coordinate of all ions, and its covariance."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

# Positions (ions × frames) transformed at once.
BLOCK_POINTS = 1_000_000
# Number of offsets between two windows in the overlap sums; shorter lags use every offset.
OFFSETS = 256


def squared_displacements(positions_A: np.ndarray) -> np.ndarray:
    """Time-averaged squared displacement of each ion, (T, m) Å², for lags of 0 … T − 1 frames.

    MSD(k) = ⟨|r(t + k) − r(t)|²⟩_t by the Fourier method (Calandrini et al., 2011): O(T log T).
    """
    frames = len(positions_A)
    # A path far from the origin would lose digits of its displacements.
    path = positions_A - positions_A[:1]
    squares = (path**2).sum(axis=2)
    length = next_fast_len(2 * frames, real=True)
    correlation = irfft((np.abs(rfft(path, length, axis=0)) ** 2).sum(axis=2), length, axis=0)[:frames]
    samples = np.arange(frames, 0, -1)[:, None]
    total = 2 * squares.sum(axis=0)
    zero = np.zeros_like(squares[:1])
    excluded = np.cumsum(np.concatenate([zero, squares[:-1] + squares[:0:-1]]), axis=0)
    result: np.ndarray = np.maximum((total - excluded - 2 * correlation) / samples, 0.0)
    result[0] = 0.0
    return result


def mean_squared_displacement(positions_A: np.ndarray) -> np.ndarray:
    """MSD (T,) Å² averaged over the ions of (T, m, 3) positions, in blocks of ions (`squared_displacements`)."""
    frames, ions = positions_A.shape[:2]
    if not frames:
        return np.zeros(0)
    step = max(1, BLOCK_POINTS // max(frames, 1))
    total = np.zeros(frames)
    for first in range(0, ions, step):
        total += squared_displacements(positions_A[:, first : first + step]).sum(axis=1)
    return total / max(ions, 1)


def collective_coordinate(positions_A: np.ndarray) -> np.ndarray:
    """Collective coordinate (T, 1, 3) of all ions: R = Σᵢ rᵢ/√m, so that ⟨|ΔR|²⟩ = ⟨|Σᵢ Δrᵢ|²⟩/m.

    Its diffusion coefficient is D_σ of the charge; that of single ions is the tracer's D*.
    """
    coordinate: np.ndarray = positions_A.sum(axis=1, keepdims=True) / np.sqrt(max(positions_A.shape[1], 1))
    return coordinate


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


def squared_displacement_variance(positions_A: np.ndarray, lags: np.ndarray, per_lag: int) -> np.ndarray:
    """Variance (K,) Å⁴ of |Δr|² over ions and time origins, `per_lag` origins within each lag.

    Args:
        positions_A: (T, m, 3).
        lags: (K,) frames.
        per_lag: time origins per lag; closer origins are correlated and add little.
    """
    block = max(1, BLOCK_POINTS // max(positions_A.shape[1], 1))
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
