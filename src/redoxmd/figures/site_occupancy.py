"""Occupancy of each kind of site over time and temperature."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.diffusion.counting import Z_95
from redoxmd.figures.style import assign_colours, label, legend, new_figure, with_figure_style, write_message

LINES = ("-", "--", ":", "-.")
MARKERS = "osD^"


@with_figure_style
def draw(occupancy: pd.DataFrame, sites: pd.DataFrame, settings: Figures) -> Figure:
    """Draw ions per site over time at the highest temperature (a) and mean values (b); colour: x, line: kind of site.

    Args:
        occupancy: structure, x, temperature_K, replica, time_ps, kind, occupancy.
        sites: x, temperature_K, kind, sites, coordination, occupancy, occupancy_error.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0, sharey=True)
    over_time, over_temperature = axes[0]
    colours = assign_colours(sorted(sites["x"].unique()))
    styles = {kind: number % len(LINES) for number, kind in enumerate(sorted(sites["kind"].unique()))}
    for axis in axes.flat:
        axis.axhline(1.0, color="#BBBBBB", linewidth=0.8, zorder=0)
    hottest = occupancy[occupancy["temperature_K"] == occupancy["temperature_K"].max()]
    for (_, x, kind), rows in hottest.groupby(["structure", "x", "kind"]):
        style: dict[str, Any] = {"color": colours[x], "linestyle": LINES[styles[kind]]}
        over_time.plot(rows["time_ps"], rows["occupancy"], linewidth=0.7, alpha=0.8, **style)
    _over_temperature(over_temperature, sites, colours, styles)
    title = f"a  {hottest['temperature_K'].iloc[0]:g} K" if len(hottest) else "a"
    label(over_time, "time (ps)", "ions per site", title)
    label(over_temperature, "temperature (K)", "", "b  mean over time, bars: 95 %")
    _add_legend(over_temperature, sites, colours, styles)
    top = max([1.1, *(1.05 * occupancy["occupancy"])])
    over_time.set_ylim(-0.05, top)
    if sites.empty:
        write_message(over_time, "no sites in any trajectory")
    return figure


def _over_temperature(axis: Axes, sites: pd.DataFrame, colours: dict[Any, str], styles: dict[Any, int]) -> None:
    """Draw means over temperature; the points of one temperature stand side by side."""
    kelvins = sorted(sites["temperature_K"].unique())
    step = min((high - low for low, high in pairwise(kelvins)), default=1.0)
    for (kind, x), rows in sites.groupby(["kind", "x"]):
        offset = 0.3 * step * (list(colours).index(x) - (len(colours) - 1) / 2) / len(colours)
        style: dict[str, Any] = {"linestyle": LINES[styles[kind]], "marker": MARKERS[styles[kind]], "color": colours[x]}
        places = rows["temperature_K"] + offset
        # A site holds no less than zero and no more than one ion.
        mean, half = rows["occupancy"].to_numpy(), Z_95 * rows["occupancy_error"].to_numpy()
        bars = np.minimum([half, half], [mean, 1.0 - mean])
        axis.errorbar(places, mean, np.maximum(bars, 0.0), linewidth=0.8, **style)
    axis.set_xticks(kelvins)


def _add_legend(axis: Axes, sites: pd.DataFrame, colours: dict[Any, str], styles: dict[Any, int]) -> None:
    for kind, number in styles.items():
        ligands = sites.loc[sites["kind"] == kind, "coordination"].iloc[0]
        line: dict[str, Any] = {"linestyle": LINES[number], "marker": MARKERS[number]}
        axis.plot([], [], color="black", label=f"{kind} ({ligands:.3g} ligands)", **line)
    for x, colour in colours.items():
        axis.plot([], [], color=colour, linewidth=3, label=f"x = {x:g}")
    axis.plot([], [], color="#BBBBBB", label="one ion per site")
    legend(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0), labelspacing=0.3)
