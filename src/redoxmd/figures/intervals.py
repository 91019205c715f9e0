"""D from jumps and from the MSD as points with 95 % intervals, or as upper limits, on a logarithmic axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from redoxmd.config.sections import Figures
from redoxmd.diffusion.counting import count_interval
from redoxmd.figures.style import legend

# Room on a logarithmic axis beyond its outermost values, as a factor.
MARGIN = 1.4
BAR = "bars: 95 % intervals"
LIMIT = "95 % upper limit"
NOT_DIFFUSIVE = "MSD not diffusive"


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """A table of D with 95 % intervals of D from jumps (D_jumps_low_cm2_s, D_jumps_high_cm2_s) where it has none.

    The interval is that of a Poisson count with the relative error of D: it ends above zero, as D of one jump does.
    """
    if "D_jumps_low_cm2_s" in table:
        return table
    value, error = (table[f"D_jumps{part}_cm2_s"].to_numpy(dtype=float) for part in ("", "_error"))
    with np.errstate(divide="ignore", invalid="ignore"):
        count = np.where((value > 0) & (error > 0), (value / error) ** 2, np.nan)
    low, high = count_interval(count)
    return table.assign(D_jumps_low_cm2_s=value * low / count, D_jumps_high_cm2_s=value * high / count)


def measured(rows: pd.DataFrame, name: str) -> pd.Series:
    """Which rows have a D of a method (jumps, msd) that is distinguishable from zero."""
    return rows[f"D_{name}_limit_cm2_s"].isna() & (rows[f"D_{name}_cm2_s"] > 0)


def filled(rows: pd.DataFrame, name: str) -> pd.Series:
    """Which rows are drawn filled: all of D from jumps, those of D from the MSD where it is diffusive."""
    return (rows["msd_regime"] == "diffusive") | (name != "msd") if "msd_regime" in rows else rows["x"].notna()


def bars_of(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Lengths (2, n) of the bars below and above D of a method; zero where an end is not known.

    A bar that reaches zero ends below every axis, so that its end is never drawn.
    """
    value = rows[f"D_{name}_cm2_s"].to_numpy(dtype=float)
    low, high = (rows[f"D_{name}_{end}_cm2_s"].to_numpy(dtype=float) for end in ("low", "high"))
    low = np.where(low > 0, low, 1e-9 * value)
    return np.nan_to_num(np.maximum(np.array([value - low, high - value]), 0.0))


def extent(rows: pd.DataFrame, names: tuple[str, ...] = ("jumps", "msd")) -> tuple[float, float]:
    """Lowest and highest end of a logarithmic axis for points, bars and limits of these methods."""
    parts = []
    for name in names:
        known, limit = measured(rows, name), rows[f"D_{name}_limit_cm2_s"]
        parts += [rows.loc[known, f"D_{name}{end}_cm2_s"] for end in ("", "_low", "_high")] + [limit]
    values: np.ndarray = pd.concat(parts).to_numpy(dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    return (values.min() / MARGIN, values.max() * MARGIN) if len(values) else (1e-9, 1e-3)


def plot_points(axis: Axes, place: np.ndarray, rows: pd.DataFrame, name: str, colour: str, marker: str) -> None:
    """D of a method at `place` with bars, open where it is not diffusive; a triangle where there is a limit only."""
    known, full = measured(rows, name).to_numpy(), filled(rows, name).to_numpy()
    for which, face in ((known & full, colour), (known & ~full, "white")):
        part = rows[which]
        value = part[f"D_{name}_cm2_s"].to_numpy()
        axis.errorbar(
            place[which], value, bars_of(part, name), fmt=marker, color=colour, markerfacecolor=face, capsize=2
        )
    limit = rows[f"D_{name}_limit_cm2_s"].to_numpy(dtype=float)
    axis.plot(place[limit > 0], limit[limit > 0], "v", markerfacecolor="none", markeredgecolor=colour)


def explain(
    axis: Axes, settings: Figures, rows: pd.DataFrame, names: tuple[str, ...] = ("jumps", "msd"), **where: Any
) -> None:
    """A legend of what is drawn already, and what bars, triangles and open symbols of these rows stand for."""
    axis.plot([], [], "|", color="black", markersize=7, label=BAR)
    if any((rows[f"D_{name}_limit_cm2_s"] > 0).any() for name in names):
        axis.plot([], [], "v", markerfacecolor="none", markeredgecolor="black", label=LIMIT)
    if "msd" in names and (measured(rows, "msd") & ~filled(rows, "msd")).any():
        axis.plot([], [], "s", markerfacecolor="none", markeredgecolor="black", label=NOT_DIFFUSIVE)
    legend(axis, settings, **where)
