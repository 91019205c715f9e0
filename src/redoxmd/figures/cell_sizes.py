"""D in cells of different size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import bars_of, seen, with_intervals
from redoxmd.figures.style import colour_of, label, legend, new_figure, say

# Between the two points of one trajectory.
ASIDE = 0.04


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
    table = with_intervals(table)
    cells = sorted(table["supercell"].unique(), key=lambda name: np.prod([int(part) for part in name.split("x")]))
    points = table.loc[table["supercell"] == cells[-1], ["x", "temperature_K"]].drop_duplicates(ignore_index=True)
    for number, (cell, colour) in enumerate(colour_of(cells).items()):
        rows = points.assign(place=points.index).merge(table[table["supercell"] == cell], on=["x", "temperature_K"])
        middle = rows["place"] + 0.5 * (number - (len(cells) - 1) / 2) / len(cells)
        _points(axis, rows.assign(place=middle - ASIDE), "jumps", colour, colour)
        _points(axis, rows.assign(place=middle + ASIDE), "msd", colour, "white")
        axis.plot([], [], "o", color=colour, label=cell)
    axis.set_yscale("log")
    axis.set_xticks(range(len(points)), [f"x = {x:g}\n{kelvin:g} K" for x, kelvin in points.to_numpy()])
    axis.set_xlim(-0.6, len(points) - 0.4)
    label(axis, settings, "", "D (cm²/s)")
    legend(axis, settings)
    return figure


def _points(axis: Axes, rows: pd.DataFrame, name: str, colour: str, face: str) -> None:
    """D of a method at `place` with its interval, or its upper limit."""
    shown = rows[seen(rows, name)]
    place, value = shown["place"].to_numpy(), shown[f"D_{name}_cm2_s"].to_numpy()
    axis.errorbar(place, value, bars_of(shown, name), fmt="o", capsize=2, color=colour, markerfacecolor=face)
    limits = rows[rows[f"D_{name}_limit_cm2_s"] > 0]
    axis.plot(limits["place"], limits[f"D_{name}_limit_cm2_s"], "v", color=colour, markerfacecolor=face)
