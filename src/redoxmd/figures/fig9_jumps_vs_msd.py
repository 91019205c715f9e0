"""Fig. 9: diffusion coefficients from jumps and from the mean squared displacement."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import (
    BAR,
    axis_limits,
    error_bars,
    explain_symbols,
    has_estimate,
    has_filled_marker,
    plot_points,
    with_intervals,
)
from redoxmd.figures.style import (
    COLOURS,
    MOST_TICKS,
    concentration_ticks,
    label,
    legend,
    log_ticks,
    new_figure,
    smaller_font,
    with_figure_style,
    write_message,
)

# Offset of the two points of one x, as a share of the smallest step of x, so that their bars do not overlap.
OFFSET = 0.15


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Draw both over x at the highest temperature (a) and against each other (b), with 95 % intervals.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_msd_cm2_s; D_jumps_error_cm2_s; D_msd_low_cm2_s, D_msd_high_cm2_s;
            _limit_cm2_s of both if D is indistinguishable from zero; msd_regime; correlation_factor (D from the MSD
            over D from jumps), correlation_low and correlation_high.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    if table.empty:
        write_message(axes[0, 0], "no trajectory yet")
        axes[0, 1].axis("off")
        return figure
    table = with_intervals(table)
    _over_x(axes[0, 0], table[table["temperature_K"] == table["temperature_K"].max()])
    _parity(axes[0, 1], table)
    return figure


def _over_x(axis: Axes, rows: pd.DataFrame) -> None:
    xs = np.sort(rows["x"].unique())
    offset = OFFSET * (float(np.diff(xs).min()) if len(xs) > 1 else 1.0)
    for name, colour, marker, shift in (("jumps", COLOURS[0], "o", -offset), ("msd", COLOURS[1], "s", offset)):
        plot_points(axis, rows["x"].to_numpy() + shift, rows, name, colour, marker)
        axis.plot([], [], marker, color=colour, label={"jumps": "from jumps", "msd": "from the MSD"}[name])
    low, high = axis_limits(rows)
    log_ticks(axis, "y", low, high)
    concentration_ticks(axis, xs)
    for _, row in rows[np.isfinite(rows["correlation_factor"])].iterrows():
        text = f"{row['correlation_factor']:.2g}"
        if len(xs) <= MOST_TICKS:
            text += f"\n({row['correlation_low']:.2g} to {row['correlation_high']:.2g})"
        where: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "ha": "center", "va": "bottom"}
        axis.annotate(text, (row["x"], 1.0), fontsize=smaller_font(3), **where)
    interval = ", 95 % interval" if len(xs) <= MOST_TICKS else ""
    title = f"a  {rows['temperature_K'].iloc[0]:g} K; above: D(MSD)/D(jumps){interval}\n"
    label(axis, "x (mobile ions per formula unit)", "D (cm²/s)", title)
    explain_symbols(axis, rows)


def _parity(axis: Axes, table: pd.DataFrame) -> None:
    both = table[has_estimate(table, "jumps") & has_estimate(table, "msd")]
    label(axis, "D from jumps (cm²/s)", "D from MSD (cm²/s)", "b  all x and temperatures with both")
    if both.empty:
        write_message(axis, "no point where both are distinguishable from zero")
        return
    for full, marker, text in ((True, "o", "MSD diffusive"), (False, "s", "MSD not diffusive")):
        rows = both[has_filled_marker(both, "msd") == full]
        if rows.empty:
            continue
        style: dict[str, Any] = {"color": COLOURS[0], "markerfacecolor": COLOURS[0] if full else "white"}
        by_jumps, by_msd = (rows[f"D_{name}_cm2_s"].to_numpy() for name in ("jumps", "msd"))
        bars: dict[str, Any] = {"xerr": error_bars(rows, "jumps"), "yerr": error_bars(rows, "msd"), "elinewidth": 0.6}
        axis.errorbar(by_jumps, by_msd, fmt=marker, **bars, **style)
        axis.plot([], [], marker, label=text, **style)
    for which, name in (("x", "jumps"), ("y", "msd")):
        log_ticks(axis, which, *axis_limits(both, (name,)))
    axis.axline((1e-6, 1e-6), (1e-5, 1e-5), color="black", linewidth=0.8, label="equal")
    axis.plot([], [], "+", color="black", markersize=7, label=BAR)
    legend(axis)
