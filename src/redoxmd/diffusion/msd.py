"""Mean squared displacement of single ions and of the collective coordinate of all ions."""

from __future__ import annotations

import numpy as np
from scipy.fft import irfft, next_fast_len, rfft

# Positions (ions × frames) transformed at once.
BLOCK_POINTS = 1_000_000


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
