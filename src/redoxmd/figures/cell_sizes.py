"""Diffusion coefficients in cells of different size."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import axis_limits, explain_symbols, plot_points, with_intervals
from redoxmd.figures.style import assign_colours, label, log_ticks, new_figure, with_figure_style, write_message

# Horizontal offset of the points of one trajectory from their centre.
OFFSET = 0.04
MARKERS = {"jumps": "o", "msd": "s"}


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """D from jumps (circles) and from the MSD (squares) by cell, at every x and temperature of the largest cell.

    Args:
        table: result of `redoxmd.diffusion.analysis.diffusivities_by_cell`.
    """
    figure, axes = new_figure(settings, height_ratio=0.7, width=1.2)
    axis = axes[0, 0]
    if table.empty:
        write_message(axis, "no trajectory yet")
        return figure
    table = with_intervals(table)
    cells = sorted(table["supercell"].unique(), key=lambda name: np.prod([int(count) for count in name.split("x")]))
    points = table.loc[table["supercell"] == cells[-1], ["x", "temperature_K"]].drop_duplicates(ignore_index=True)
    drawn_tables = []
    for number, (cell, colour) in enumerate(assign_colours(cells).items()):
        rows = points.assign(position=points.index).merge(table[table["supercell"] == cell], on=["x", "temperature_K"])
        middle = rows["position"].to_numpy() + 0.5 * (number - (len(cells) - 1) / 2) / len(cells)
        plot_points(axis, middle - OFFSET, rows, "jumps", colour, MARKERS["jumps"])
        plot_points(axis, middle + OFFSET, rows, "msd", colour, MARKERS["msd"])
        axis.plot([], [], "_", color=colour, markeredgewidth=3, label=f"cell {cell.replace('x', ' × ')}")
        drawn_tables.append(rows)
    for name, text in (("jumps", "from jumps"), ("msd", "from the MSD")):
        axis.plot([], [], MARKERS[name], color="black", label=text)
    drawn = pd.concat(drawn_tables, ignore_index=True)
    log_ticks(axis, "y", *axis_limits(drawn))
    axis.set_xticks(range(len(points)), [f"x = {x:g}\n{kelvin:g} K" for x, kelvin in points.to_numpy()])
    axis.set_xlim(-0.6, len(points) - 0.4)
    label(axis, "", "D (cm²/s)")
    explain_symbols(axis, drawn)
    return figure
