"""95 % intervals of event counts and of shares of events."""

from __future__ import annotations

import numpy as np
from scipy.special import gammaincinv

# Half-width of the 95 % interval of a Gaussian in standard errors.
Z_95 = 1.959964


def count_interval(count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval (Garwood) of the mean of a Poisson count; asymmetric, never below zero.

    A count need not be whole: (D/σ)² is the number of events with the relative error of D.
    """
    count = np.asarray(count, dtype=float)
    low = np.where(count > 0, gammaincinv(np.maximum(count, 1e-9), 0.025), 0.0)
    return np.where(np.isnan(count), np.nan, low), gammaincinv(count + 1, 0.975)


def share_interval(count: np.ndarray, total: np.ndarray, z: float = Z_95) -> tuple[np.ndarray, np.ndarray]:
    """Wilson interval, of `z` standard errors, of a share of independent events; NaN without events.

    The interval lies within 0 and 1 and has finite width for shares of 0 and 1.
    """
    count, total = np.asarray(count, dtype=float), np.asarray(total, dtype=float)
    total = np.where(total > 0, total, np.nan)
    share = count / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return middle - half, middle + half
