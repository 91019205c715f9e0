"""Occupancy of each kind of site over time and temperature."""

from __future__ import annotations

from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import colour_of, in_style, label, legend, new_figure, say


@in_style
def draw(occupancy: pd.DataFrame, sites: pd.DataFrame, settings: Figures) -> Figure:
    """Ions per site, by kind: along every trajectory at the highest temperature, and means over temperature.

    Args:
        occupancy: structure, x, temperature_K, replica, time_ps, kind, occupancy.
        sites: x, temperature_K, kind, sites, coordination, occupancy, occupancy_error.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0, sharey=True)
    colours = colour_of(sorted(sites["kind"].unique()))
    _over_time(axes[0, 0], occupancy, colours)
    _over_temperature(axes[0, 1], sites, colours)
    hottest = f" at {occupancy['temperature_K'].max():g} K" if len(occupancy) else ""
    label(axes[0, 0], settings, f"time (ps){hottest}", "ions per site", "a")
    label(axes[0, 1], settings, "temperature (K)", "", "b")
    legend(axes[0, 1], settings)
    axes[0, 0].set_ylim(-0.05, max(1.1, 1.05 * occupancy["occupancy"].max()) if len(occupancy) else 1.1)
    if sites.empty:
        say(axes[0, 0], settings, "no sites in any trajectory")
    return figure


def _over_time(axis: Axes, occupancy: pd.DataFrame, colours: dict[Any, str]) -> None:
    hottest = occupancy[occupancy["temperature_K"] == occupancy["temperature_K"].max()]
    for (_, kind), rows in hottest.groupby(["structure", "kind"]):
        axis.plot(rows["time_ps"], rows["occupancy"], color=colours[kind], linewidth=0.8, alpha=0.7)


def _over_temperature(axis: Axes, sites: pd.DataFrame, colours: dict[Any, str]) -> None:
    """A line for every kind and x; x is written at its right end where lines are few."""
    few = sites["x"].nunique() > 1 and sites["x"].nunique() * sites["kind"].nunique() <= 8
    named: set[Any] = set()
    for (kind, x), rows in sites.groupby(["kind", "x"]):
        text = f"{kind} ({rows['coordination'].iloc[0]:.3g} ligands)" if kind not in named else None
        named.add(kind)
        axis.errorbar(
            rows["temperature_K"], rows["occupancy"], rows["occupancy_error"], fmt="o-", color=colours[kind], label=text
        )
        if few:
            end = rows.iloc[-1]
            place = (end["temperature_K"], end["occupancy"])
            axis.annotate(f"   x = {x:g}", place, va="center", fontsize="x-small", color=colours[kind])
