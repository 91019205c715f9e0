"""Intervals of 95 % of D from jumps and from the MSD, on a logarithmic axis."""

from __future__ import annotations

import numpy as np
import pandas as pd

# Standard errors that 95 % of a Gaussian are within.
WITHIN = 1.96


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """A table of D with the interval of D from jumps, and lowest values that a logarithm can show."""
    reach = WITHIN * table["D_jumps_error_cm2_s"]
    shown = table.assign(
        D_jumps_low_cm2_s=table["D_jumps_cm2_s"] - reach, D_jumps_high_cm2_s=table["D_jumps_cm2_s"] + reach
    )
    for name in ("jumps", "msd"):
        # Bars that reach zero end two decades down.
        least = 0.01 * shown[f"D_{name}_cm2_s"]
        shown[f"D_{name}_low_cm2_s"] = np.maximum(shown[f"D_{name}_low_cm2_s"], least)
    return shown


def bars_of(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Lengths (2, n) of the bars below and above D of a method (jumps, msd), of `with_intervals`."""
    value = rows[f"D_{name}_cm2_s"]
    bars: np.ndarray = np.array([value - rows[f"D_{name}_low_cm2_s"], rows[f"D_{name}_high_cm2_s"] - value])
    return np.maximum(bars, 0.0)


def seen(rows: pd.DataFrame, name: str) -> pd.Series:
    """Which have a D of a method that is told from zero."""
    return rows[f"D_{name}_limit_cm2_s"].isna() & (rows[f"D_{name}_cm2_s"] > 0)
