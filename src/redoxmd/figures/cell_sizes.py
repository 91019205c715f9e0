"""D in cells of different size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import explain, extent, plot_points, with_intervals
from redoxmd.figures.style import colour_of, in_style, label, log_ticks, new_figure, say

# Between the two points of one trajectory.
ASIDE = 0.04
MARKERS = {"jumps": "o", "msd": "s"}


@in_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """D from jumps (circles) and from the MSD (squares) by cell, at every x and temperature of the largest cell.

    Args:
        table: of `redoxmd.diffusion.cells.diffusivities_by_cell`.
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
    shown = []
    for number, (cell, colour) in enumerate(colour_of(cells).items()):
        rows = points.assign(place=points.index).merge(table[table["supercell"] == cell], on=["x", "temperature_K"])
        middle = rows["place"].to_numpy() + 0.5 * (number - (len(cells) - 1) / 2) / len(cells)
        plot_points(axis, middle - ASIDE, rows, "jumps", colour, MARKERS["jumps"])
        plot_points(axis, middle + ASIDE, rows, "msd", colour, MARKERS["msd"])
        axis.plot([], [], "_", color=colour, markeredgewidth=3, label=f"cell {cell.replace('x', ' × ')}")
        shown.append(rows)
    for name, text in (("jumps", "from jumps"), ("msd", "from the MSD")):
        axis.plot([], [], MARKERS[name], color="black", label=text)
    drawn = pd.concat(shown, ignore_index=True)
    log_ticks(axis, "y", *extent(drawn))
    axis.set_xticks(range(len(points)), [f"x = {x:g}\n{kelvin:g} K" for x, kelvin in points.to_numpy()])
    axis.set_xlim(-0.6, len(points) - 0.4)
    label(axis, settings, "", "D (cm²/s)")
    explain(axis, settings, drawn)
    return figure
