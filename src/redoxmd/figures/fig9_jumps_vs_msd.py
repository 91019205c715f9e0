"""Fig. 9: D from jumps beside D from the mean squared displacement."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import bars_of, seen, with_intervals
from redoxmd.figures.style import COLOURS, label, legend, new_figure, say

# Of the range of x, between the two points of one: their bars would cover each other.
ASIDE = 0.02


def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Over x at the highest temperature, and all points against each other, with intervals of 95 %.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_msd_cm2_s; D_jumps_error_cm2_s; D_msd_low_cm2_s, D_msd_high_cm2_s;
            _limit_cm2_s of both where nothing has been told from zero; msd_regime.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    if table.empty:
        say(axes[0, 0], settings, "no trajectory yet")
        return figure
    table = with_intervals(table)
    kelvin = table["temperature_K"].max()
    hottest = table[table["temperature_K"] == kelvin]
    aside = ASIDE * float(np.ptp(hottest["x"])) / 2
    for name, colour, marker, shift in (("jumps", COLOURS[0], "o", -aside), ("msd", COLOURS[1], "s", aside)):
        _over_x(axes[0, 0], hottest.assign(x=hottest["x"] + shift), name, colour, marker)
    axes[0, 0].set_yscale("log")
    label(axes[0, 0], settings, "x", f"D (cm²/s) at {kelvin:g} K", "a")
    legend(axes[0, 0], settings)
    _parity(axes[0, 1], table, settings)
    return figure


def _over_x(axis: Axes, rows: pd.DataFrame, name: str, colour: str, marker: str) -> None:
    text = {"jumps": "jumps", "msd": "MSD"}[name]
    shown = rows[seen(rows, name)]
    filled = (shown["msd_regime"] == "diffusive") | (name != "msd")
    for part, face, words in ((shown[filled], colour, text), (shown[~filled], "white", None)):
        x, value = part["x"].to_numpy(), part[f"D_{name}_cm2_s"].to_numpy()
        axis.errorbar(
            x, value, bars_of(part, name), fmt=marker, color=colour, markerfacecolor=face, capsize=2, label=words
        )
    limits = rows[rows[f"D_{name}_limit_cm2_s"] > 0]
    axis.plot(limits["x"], limits[f"D_{name}_limit_cm2_s"], "v", markerfacecolor="none", markeredgecolor=colour)


def _parity(axis: Axes, table: pd.DataFrame, settings: Figures) -> None:
    both = table[seen(table, "jumps") & seen(table, "msd")]
    label(axis, settings, "D from jumps (cm²/s)", "D from MSD (cm²/s)", "b")
    if both.empty:
        say(axis, settings, "no point where both are told from zero")
        return
    for diffusive, rows in both.groupby(both["msd_regime"] == "diffusive"):
        axis.errorbar(
            rows["D_jumps_cm2_s"].to_numpy(),
            rows["D_msd_cm2_s"].to_numpy(),
            xerr=bars_of(rows, "jumps"),
            yerr=bars_of(rows, "msd"),
            fmt="o" if diffusive else "s",
            color=COLOURS[0],
            markerfacecolor=COLOURS[0] if diffusive else "white",
            elinewidth=0.6,
        )
    values = both[["D_jumps_cm2_s", "D_msd_cm2_s"]].to_numpy()
    # Within a decade the labels of minor ticks run into each other; the decades are widened to have a label at all.
    low, high = 10 ** np.floor(np.log10(values.min())), 10 ** np.ceil(np.log10(values.max()))
    axis.plot([low, high], [low, high], color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    for side in (axis.xaxis, axis.yaxis):
        side.set_minor_formatter(NullFormatter())
