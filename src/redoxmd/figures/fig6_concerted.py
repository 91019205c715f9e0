"""Fig. 6: concerted and single jumps by temperature, with the chance level."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, in_style, label, legend, new_figure, say


@in_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Numbers of jumps, and the concerted shares beside those of the same jumps at random times.

    Args:
        table: temperature_K, n_jumps, n_concerted, n_site_jumps, and _fraction, _error, _chance of concerted and
            neighbouring.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    ticks = [f"{kelvin:g}" for kelvin in table["temperature_K"]]
    place = np.arange(len(table))
    single = table["n_jumps"] - table["n_concerted"]
    axes[0, 0].bar(place, table["n_concerted"], color=COLOURS[0], label="concerted")
    axes[0, 0].bar(place, single, bottom=table["n_concerted"], color=COLOURS[1], label="single")
    label(axes[0, 0], settings, "temperature (K)", "jumps", "a")
    legend(axes[0, 0], settings)
    share = axes[0, 1]
    shown = table["n_jumps"] > 0
    _share(share, table[shown], place[shown] - 0.1, "concerted", "o", COLOURS[0], "concerted")
    between = table["n_site_jumps"] > 0
    _share(share, table[between], place[between] + 0.1, "neighbouring", "s", COLOURS[2], "between neighbouring sites")
    share.plot([], [], "_", color="black", markersize=14, label="by chance")
    share.set_ylim(0, 1.05)
    label(share, settings, "temperature (K)", "concerted fraction", "b")
    legend(share, settings)
    for axis in axes.flat:
        axis.set_xticks(place, ticks)
        axis.set_xlim(-0.6, max(len(table) - 0.4, 0.6))
    if not shown.any():
        say(share, settings, "no jump in any trajectory")
    return figure


def _share(axis: Axes, rows: pd.DataFrame, place: np.ndarray, name: str, marker: str, colour: str, text: str) -> None:
    error = rows[f"{name}_error"].to_numpy()
    axis.errorbar(place, rows[f"{name}_fraction"].to_numpy(), error, fmt=marker, color=colour, capsize=2, label=text)
    axis.plot(place, rows[f"{name}_chance"], "_", color="black", markersize=14)
