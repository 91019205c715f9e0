"""Fig. 7: diffusion coefficient over concentration and temperature."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import axis_limits, explain_symbols, has_estimate, plot_points, with_intervals
from redoxmd.figures.style import (
    COLOUR_MAP,
    assign_colours,
    concentration_ticks,
    label,
    legend,
    log_ticks,
    new_figure,
    offsets_side_by_side,
    smaller_font,
    with_figure_style,
    write_message,
)

# Minimum range of the colour scale in decades.
LEAST_DECADES = 2
# Width of the points of one x, as a share of the smallest step of x.
POINTS_WIDTH = 0.5
MARKERS = "osD^vP"


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Draw log10 D as colours over x and temperature with the numbers of jumps (a), and D with intervals over x (b).

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_jumps_error_cm2_s, D_jumps_limit_cm2_s (if D is unknown),
            n_jumps.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.42, width=2.0, gridspec_kw={"width_ratios": (1.15, 1)})
    if table.empty:
        write_message(axes[0, 0], "no trajectory yet")
        axes[0, 1].axis("off")
        return figure
    table = with_intervals(table)
    _map(figure, axes[0, 0], table)
    _with_errors(axes[0, 1], table)
    return figure


def _map(figure: Figure, axis: Axes, table: pd.DataFrame) -> None:
    estimated, without_jumps = has_estimate(table, "jumps"), table["n_jumps"] == 0
    limit_rows = table[~estimated & ~without_jumps]
    no_jump_rows = table[~estimated & without_jumps]
    if estimated.any():
        log_d = np.log10(table.loc[estimated, "D_jumps_cm2_s"])
        top = float(np.ceil(2 * log_d.max())) / 2
        colours = Normalize(min(float(np.floor(2 * log_d.min())) / 2, top - LEAST_DECADES), top)
        x, kelvin = table.loc[estimated, "x"], table.loc[estimated, "temperature_K"]
        dots = axis.scatter(x, kelvin, c=log_d, norm=colours, s=55, cmap=COLOUR_MAP, zorder=3)
        figure.colorbar(dots, ax=axis, label="log$_{10}$ D, from jumps (cm²/s)")
    else:
        write_message(axis, "no point with enough jumps for D")
    style: dict[str, Any] = {"markersize": 6, "markerfacecolor": "none", "markeredgecolor": "grey"}
    for rows, marker, text in (
        (limit_rows, "s", "too few jumps, limit in b"),
        (no_jump_rows, "o", "no jump, limit in b"),
    ):
        if len(rows):
            axis.plot(rows["x"], rows["temperature_K"], marker, label=text, **style)
    style = {"textcoords": "offset points", "ha": "center", "fontsize": smaller_font(3)}
    for x, kelvin, count in table[["x", "temperature_K", "n_jumps"]].to_numpy():
        axis.annotate(f"{count:.0f}", (x, kelvin), (0, -11), **style)
    axis.set_yticks(sorted(table["temperature_K"].unique()))
    concentration_ticks(axis, table["x"])
    axis.margins(0.14)
    label(axis, "x (mobile ions per formula unit)", "temperature (K)", "a  below each point: jumps seen")
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2)


def _with_errors(axis: Axes, table: pd.DataFrame) -> None:
    kelvins = sorted(table["temperature_K"].unique())
    offsets = offsets_side_by_side(table["x"], len(kelvins), POINTS_WIDTH)
    for number, (kelvin, colour) in enumerate(assign_colours(kelvins).items()):
        rows = table[table["temperature_K"] == kelvin].sort_values("x")
        marker = MARKERS[number % len(MARKERS)]
        plot_points(axis, rows["x"].to_numpy() + offsets[number], rows, "jumps", colour, marker)
        axis.plot([], [], marker, color=colour, label=f"{kelvin:g} K")
    log_ticks(axis, "y", *axis_limits(table, ("jumps",)))
    concentration_ticks(axis, table["x"])
    label(axis, "x (mobile ions per formula unit)", "D from jumps (cm²/s)", "b  temperatures of one x side by side")
    explain_symbols(axis, table, ("jumps",), loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=3)
