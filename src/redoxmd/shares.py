"""Intervals of shares of counted events."""

from __future__ import annotations

import numpy as np

# Of a Gaussian, 95 % lie within this many standard errors.
Z_95 = 1.959964


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
