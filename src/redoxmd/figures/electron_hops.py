"""Rates of electron hops over temperature, and bond lengths by oxidation state."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.diffusion.counting import Z_95
from redoxmd.diffusion.jumps import ZERO_COUNT_LIMIT
from redoxmd.figures.intervals import (
    ARROW_ROOM,
    BAR,
    BARS_AND_BRACKETS,
    MARGIN,
    activation_text,
    explain_limits,
    plot_limits,
)
from redoxmd.figures.style import (
    assign_colours,
    label,
    legend,
    new_figure,
    offsets_side_by_side,
    with_figure_style,
    write_message,
)
from redoxmd.units import BOLTZMANN_EV_PER_K

# Kind of hop → face of its marker (None: the colour of x) and its text in the legend.
KINDS = {"all": ("white", "all hops"), "lasting": (None, "without rattling")}
MARKERS = "osD^P*"
# Width of the points of one temperature, as a share of the smallest step of the horizontal axis.
POINTS_WIDTH = 0.35


@with_figure_style
def draw(rates: pd.DataFrame, fits: pd.DataFrame, states: pd.DataFrame, settings: Figures) -> Figure:
    """Draw hops per ns and redox atom against 1000/T by x, with fits (a), and bond lengths by state against T (b).

    Bars are 95 % intervals; the points of one temperature stand side by side.

    Args:
        rates, fits, states: `rates`, `arrhenius` and `states` of `redoxmd.electrons.hops.HopSummary`.
        settings: section `figures` of the config.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    if rates.empty:
        write_message(axes[0, 0], "no trajectory yet")
        return figure
    colours = assign_colours(sorted(rates["x"].unique()))
    series = list(product(colours, KINDS))
    offsets = offsets_side_by_side(1000 / rates["temperature_K"], len(series), POINTS_WIDTH)
    for (x, kind), offset in zip(series, offsets, strict=True):
        fit, face = fits[(fits["x"] == x) & (fits["kind"] == kind)], KINDS[kind][0] or colours[x]
        _draw_rates(axes[0, 0], rates[rates["x"] == x], kind, colours[x], face, fit, offset)
    counted = rates[[f"{kind}_per_ns_atom" for kind in KINDS]].to_numpy(dtype=float)
    if (counted > 0).any():
        axes[0, 0].set_yscale("log")
    if (counted == 0).any():
        limits = ZERO_COUNT_LIMIT / rates.loc[(counted == 0).any(axis=1), "atom_ns"]
        axes[0, 0].set_ylim(bottom=min(axes[0, 0].get_ylim()[0], limits.min() / ARROW_ROOM / MARGIN))
        explain_limits(axes[0, 0])
    axes[0, 0].plot([], [], "|", color="black", markersize=7, label=f"{BARS_AND_BRACKETS}; lines: fits")
    label(axes[0, 0], "1000/T (1/K)", "hops per ns and atom", "a")
    legend(axes[0, 0], loc="upper center", bbox_to_anchor=(0.5, -0.22))
    _draw_bonds(axes[0, 1], states, colours)
    return figure


def _draw_bonds(axis: Axes, states: pd.DataFrame, colours: dict[float, str]) -> None:
    offsets: dict[Any, Any] = dict(
        zip(colours, offsets_side_by_side(states["temperature_K"], len(colours), POINTS_WIDTH), strict=True)
    )
    for number, (state, rows) in enumerate(states.groupby("state")):
        for x in rows["x"].unique():
            points = rows[rows["x"] == x]
            style: dict[str, Any] = {"color": colours[x], "fmt": f"{MARKERS[number % len(MARKERS)]}-", "capsize": 2}
            style |= {"yerr": Z_95 * points["bond_error_A"].fillna(0.0), "label": f"{state}, x = {x:g}"}
            axis.errorbar(points["temperature_K"] + offsets[x], points["bond_A"], **style)
    axis.set_xticks(np.unique(states["temperature_K"]))
    label(axis, "T (K)", "bond length (Å)", f"b  {BAR}")
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)


def _draw_rates(
    axis: Axes, rows: pd.DataFrame, kind: str, colour: str, face: str, fit: pd.DataFrame, offset: float
) -> None:
    """Draw rates of one x with bars, or upper limits where nothing hopped, and the fit."""
    kelvin, rate, low, high = (
        rows[name].to_numpy(dtype=float)
        for name in ("temperature_K", *(f"{kind}{end}_per_ns_atom" for end in ("", "_low", "_high")))
    )
    hopped = rate > 0
    bars = np.array([rate - low, high - rate])[:, hopped]
    places = 1000 / kelvin + offset
    axis.errorbar(places[hopped], rate[hopped], bars, fmt="o", color=colour, markerfacecolor=face, capsize=2)
    limit = ZERO_COUNT_LIMIT / rows["atom_ns"].to_numpy()[~hopped]
    plot_limits(axis, places[~hopped], limit, colour)
    name = f"x = {rows['x'].iloc[0]:g}, {KINDS[kind][1]}"
    if fit.empty or not bool(fit["fitted"].iloc[0]):
        axis.plot([], [], "o", color=colour, markerfacecolor=face, label=name)
        return
    row, line_K = fit.iloc[0], np.linspace(kelvin.min(), kelvin.max(), 50)
    log_rate = row["log10_rate0_per_ns"] - row["Ea_eV"] / (BOLTZMANN_EV_PER_K * line_K * np.log(10))
    line = "-" if kind == "lasting" else "--"
    axis.plot(1000 / line_K, 10**log_rate, line, color=colour)
    axis.plot([], [], f"o{line}", color=colour, markerfacecolor=face, label=f"{name}: {activation_text(row)}")
