"""Draw values as points with 95 % intervals or as arrows from upper limits, on a logarithmic axis."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.path import Path

from redoxmd.diffusion.counting import count_interval
from redoxmd.figures.style import legend

# Margin of a logarithmic axis beyond its outermost values, as a factor.
MARGIN = 1.4
# A bar lengthens the axis to this share of its value, so that one event does not add two decades.
LONGEST_BAR_SHARE = 0.1
# Room for the arrow below an upper limit, as a factor.
ARROW_ROOM = 1.6
# A dash at the limit and an arrow down from it; the origin is at the limit.
ARROW = Path(
    [(-0.35, 0.0), (0.35, 0.0), (0.0, 0.0), (0.0, -1.0), (-0.25, -0.65), (0.0, -1.0), (0.25, -0.65)],
    [Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.MOVETO, Path.LINETO, Path.LINETO],
)
BAR = "bars: 95 % intervals"
BARS_AND_BRACKETS = "bars and brackets: 95 % intervals"
LIMIT = "95 % upper limit"
BELOW = "bar without lower cap: ends below the axis"
NOT_DIFFUSIVE = "MSD not diffusive"


def with_intervals(table: pd.DataFrame) -> pd.DataFrame:
    """Table of D with 95 % intervals of D from jumps (D_jumps_low_cm2_s, D_jumps_high_cm2_s).

    The interval is that of a Poisson count with the relative error of D; its lower end is positive.
    """
    value, error = (table[f"D_jumps{suffix}_cm2_s"].to_numpy(dtype=float) for suffix in ("", "_error"))
    with np.errstate(divide="ignore", invalid="ignore"):
        count = np.where((value > 0) & (error > 0), (value / error) ** 2, np.nan)
    low, high = count_interval(count)
    return table.assign(D_jumps_low_cm2_s=value * low / count, D_jumps_high_cm2_s=value * high / count)


def has_estimate(rows: pd.DataFrame, name: str) -> pd.Series:
    """Whether D of a method (jumps, msd) is distinguishable from zero, for each row."""
    return rows[f"D_{name}_limit_cm2_s"].isna() & (rows[f"D_{name}_cm2_s"] > 0)


def has_filled_marker(rows: pd.DataFrame, name: str) -> pd.Series:
    """Whether the marker of each row is filled: all D from jumps, and D from the MSD in the diffusive regime."""
    return (rows["msd_regime"] == "diffusive") | (name != "msd")


def error_bars(rows: pd.DataFrame, name: str) -> np.ndarray:
    """Lengths (2, n) of the bars below and above D of a method; zero if an end is unknown.

    A bar that reaches zero ends below the axis, so that its end is not drawn.
    """
    value = rows[f"D_{name}_cm2_s"].to_numpy(dtype=float)
    low, high = (rows[f"D_{name}_{end}_cm2_s"].to_numpy(dtype=float) for end in ("low", "high"))
    low = np.where(low > 0, low, 1e-9 * value)
    return np.nan_to_num(np.maximum(np.array([value - low, high - value]), 0.0))


def axis_limits(rows: pd.DataFrame, names: tuple[str, ...] = ("jumps", "msd")) -> tuple[float, float]:
    """Ends of a logarithmic axis that include points, bars and limits with their arrows of the methods `names`."""
    columns = []
    for name in names:
        estimated, limit = has_estimate(rows, name), rows[f"D_{name}_limit_cm2_s"]
        value, low, high = (rows.loc[estimated, f"D_{name}{end}_cm2_s"] for end in ("", "_low", "_high"))
        columns += [value, low.clip(lower=LONGEST_BAR_SHARE * value), high, limit, limit / ARROW_ROOM]
    values: np.ndarray = pd.concat(columns).to_numpy(dtype=float)
    values = values[np.isfinite(values) & (values > 0)]
    return (values.min() / MARGIN, values.max() * MARGIN) if len(values) else (1e-9, 1e-3)


def bars_below(rows: pd.DataFrame, names: tuple[str, ...], bottom: float) -> bool:
    """Whether the bar of any D of the methods `names` ends below the axis."""
    return any((rows.loc[has_estimate(rows, name), f"D_{name}_low_cm2_s"] < bottom).any() for name in names)


def plot_points(axis: Axes, positions: np.ndarray, rows: pd.DataFrame, name: str, colour: str, marker: str) -> None:
    """Draw D of a method at `positions` with bars; open markers: not diffusive, arrows: upper limits."""
    estimated, filled = has_estimate(rows, name).to_numpy(), has_filled_marker(rows, name).to_numpy()
    for mask, face in ((estimated & filled, colour), (estimated & ~filled, "white")):
        value, bars = rows[mask][f"D_{name}_cm2_s"].to_numpy(), error_bars(rows[mask], name)
        axis.errorbar(positions[mask], value, bars, fmt=marker, color=colour, markerfacecolor=face, capsize=2)
    limit = rows[f"D_{name}_limit_cm2_s"].to_numpy(dtype=float)
    plot_limits(axis, positions[limit > 0], limit[limit > 0], colour)


def plot_limits(axis: Axes, positions: np.ndarray, limits: np.ndarray, colour: str) -> None:
    """Draw upper limits as dashes with an arrow down."""
    axis.plot(positions, limits, marker=ARROW, markersize=16, linestyle="none", color=colour, fillstyle="none")


def explain_limits(axis: Axes) -> None:
    """Add an entry for upper limits to the legend of the axis; the arrow is in the middle of the line."""
    middle = Path(ARROW.vertices + np.array([0.0, 0.5]), ARROW.codes)
    axis.plot([], [], marker=middle, markersize=8, linestyle="none", color="black", fillstyle="none", label=LIMIT)


def activation_text(fit: pd.Series) -> str:
    """Activation energy of a fit with its 95 % interval."""
    text = f"{fit['Ea_eV']:z.2f} eV ({fit['Ea_low_eV']:z.2f} to {fit['Ea_high_eV']:z.2f})"
    return f"Ea = {text}".replace("inf", "∞").replace("-", "−")


def explain_symbols(axis: Axes, rows: pd.DataFrame, names: tuple[str, ...] = ("jumps", "msd"), **options: Any) -> None:
    """Add a legend with the labelled lines and the meaning of bars, arrows and open symbols of the rows.

    The limits of the axis must be set before.
    """
    axis.plot([], [], "|", color="black", markersize=7, label=options.pop("bar", BAR))
    if bars_below(rows, names, axis.get_ylim()[0]):
        axis.plot([], [], " ", label=BELOW)
    if any((rows[f"D_{name}_limit_cm2_s"] > 0).any() for name in names):
        explain_limits(axis)
    if "msd" in names and (has_estimate(rows, "msd") & ~has_filled_marker(rows, "msd")).any():
        axis.plot([], [], "s", markerfacecolor="none", markeredgecolor="black", label=NOT_DIFFUSIVE)
    legend(axis, **options)
