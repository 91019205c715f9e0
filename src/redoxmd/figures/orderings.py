"""Energies of the orderings relaxed by basin hopping."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import assign_colours, label, legend, new_figure, with_figure_style, write_message


@with_figure_style
def draw(table: pd.DataFrame, preferred: str, settings: Figures) -> Figure:
    """Draw the energy above the lowest ordering of the same content and cell over the number of empty preferred sites.

    Args:
        table: result of `redoxmd.basins.orderings.ordering_table`.
        preferred: name of the preferred site.
    """
    figure, axes = new_figure(settings, height_ratio=0.7, width=1.2)
    axis = axes[0, 0]
    series = list(table.groupby(["x", "supercell"]))
    colours = assign_colours([key for key, _ in series])
    for number, ((x, cell), rows) in enumerate(series):
        offset = 0.5 * (number - (len(series) - 1) / 2) / max(len(series), 1)
        positions = rows["preferred_empty"].to_numpy() + offset
        style = {"color": colours[x, cell], "label": f"x = {x:g}, cell {cell}"}
        axis.plot(positions, rows["above_lowest_meV_fu"], "_", markersize=7, **style)
    energy = "energy above the lowest ordering of x and cell\n(meV per formula unit)"
    label(axis, f"{preferred} sites left empty in the cell", energy, "each line: one ordering")
    most = int(table["preferred_empty"].max()) if len(table) else 0
    axis.set_xticks(range(most + 1))
    axis.set_xlim(-0.6, most + 0.6)
    legend(axis)
    if table.empty or not np.isfinite(table["above_lowest_meV_fu"]).any():
        write_message(axis, "no relaxed structure")
    return figure
