"""D in cells of different size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import colour_of, label, legend, new_figure, say

# Standard errors that 95 % of a Gaussian are within.
WITHIN = 1.96


def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """D from jumps (filled) and from the MSD (open) by cell, at every x and temperature of the largest cell.

    Args:
        table: of `redoxmd.diffusion.cells.by_cell`.
        settings: look.
    """
    figure, axes = new_figure(settings, height_ratio=0.7, width=1.2)
    axis = axes[0, 0]
    if table.empty:
        say(axis, settings, "no trajectory yet")
        return figure
    cells = sorted(table["supercell"].unique(), key=lambda name: np.prod([int(part) for part in name.split("x")]))
    points = table.loc[table["supercell"] == cells[-1], ["x", "temperature_K"]].drop_duplicates().to_numpy()
    for number, (cell, colour) in enumerate(colour_of(cells).items()):
        aside = 0.5 * (number - (len(cells) - 1) / 2) / len(cells)
        for place, (x, kelvin) in enumerate(points):
            chosen = (table["supercell"] == cell) & (table["x"] == x) & (table["temperature_K"] == kelvin)
            for row in table[chosen].to_dict("records"):
                half = WITHIN * row["D_jumps_error_cm2_s"]
                jumps = row["D_jumps_cm2_s"]
                _point(
                    axis, place + aside - 0.04, jumps, (jumps - half, jumps + half), row["D_jumps_limit_cm2_s"], colour
                )
                msd = (row["D_msd_low_cm2_s"], row["D_msd_high_cm2_s"])
                _point(axis, place + aside + 0.04, row["D_msd_cm2_s"], msd, row["D_msd_limit_cm2_s"], colour, "white")
        axis.plot([], [], "o", color=colour, label=cell)
    axis.set_yscale("log")
    axis.set_xticks(range(len(points)), [f"x = {x:g}\n{kelvin:g} K" for x, kelvin in points])
    axis.set_xlim(-0.6, len(points) - 0.4)
    label(axis, settings, "", "D (cm²/s)")
    legend(axis, settings)
    return figure


def _point(
    axis: Axes,
    place: float,
    value: float,
    interval: tuple[float, float],
    limit: float,
    colour: str,
    face: str | None = None,
) -> None:
    """A value with its interval, or the upper limit where there is one."""
    face = face or colour
    if limit > 0:
        axis.plot([place], [limit], "v", color=colour, markerfacecolor=face)
    elif value > 0:
        # Bars that reach zero end two decades down.
        low, high = max(interval[0], 0.01 * value), interval[1]
        bars = [[max(value - low, 0.0)], [max(high - value, 0.0)]]
        axis.errorbar([place], [value], bars, fmt="o", capsize=2, color=colour, markerfacecolor=face)
