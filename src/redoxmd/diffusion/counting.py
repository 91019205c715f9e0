"""Intervals of 95 % of counted events: of their number, and of a share of them."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincinv

# Of a Gaussian, 95 % lie within this many standard errors.
Z_95 = 1.959964


def count_interval(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the 95 % interval (Garwood) of the mean of a Poisson count; not symmetric, never below zero.

    A count need not be whole: (D/σ)² is the number of events with the relative error of D.
    """
    count = np.asarray(count, dtype=float)
    low = np.where(count > 0, gammaincinv(np.maximum(count, 1e-9), 0.025), 0.0)
    return np.where(np.isnan(count), np.nan, low), gammaincinv(count + 1, 0.975)


def share_interval(count: np.ndarray, total: np.ndarray, z: float = Z_95) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of `z` standard errors (Wilson) of a share of independent events; NaN without events.

    Within 0 and 1, and of finite width where all or none of few events count.
    """
    count, total = np.asarray(count, dtype=float), np.asarray(total, dtype=float)
    total = np.where(total > 0, total, np.nan)
    share = count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return middle - half, middle + half
