"""Fig. 7: D over concentration and temperature."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import MAP, label, new_figure, say


def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """A dot for every (x, T), coloured by log10 D; an open one where no ion jumped.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, n_jumps.
    """
    figure, axes = new_figure(settings, height_ratio=0.75, width=1.2)
    axis = axes[0, 0]
    moved = table[(table["n_jumps"] > 0) & (table["D_jumps_cm2_s"] > 0)]
    still = table.drop(moved.index)
    axis.plot(still["x"], still["temperature_K"], "o", markersize=9, markerfacecolor="none", markeredgecolor="grey")
    if len(moved):
        dots = axis.scatter(
            moved["x"], moved["temperature_K"], c=np.log10(moved["D_jumps_cm2_s"]), s=80, cmap=MAP, zorder=3
        )
        bar = figure.colorbar(dots, ax=axis)
        bar.set_label("log$_{10}$ D (cm²/s)", fontsize=settings.font_pt)
        bar.ax.tick_params(labelsize=settings.font_pt - 1)
    else:
        say(axis, settings, "no jump in any trajectory")
    axis.set_yticks(sorted(table["temperature_K"].unique()))
    axis.margins(0.12)
    label(axis, settings, "x (mobile ions per formula unit)", "temperature (K)")
    return figure
