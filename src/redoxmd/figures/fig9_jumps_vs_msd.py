"""Fig. 9: D from jumps beside D from the mean squared displacement."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, label, legend, new_figure, say


def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Over x at the highest temperature, and all points against each other.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_jumps_error_cm2_s, D_msd_cm2_s, D_msd_error_cm2_s, n_jumps.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    if table.empty:
        say(axes[0, 0], settings, "no trajectory yet")
        return figure
    hottest = table[table["temperature_K"] == table["temperature_K"].max()]
    for name, colour, marker, text in (("jumps", COLOURS[0], "o", "jumps"), ("msd", COLOURS[1], "s", "MSD")):
        _errorbar(axes[0, 0], hottest["x"], hottest, name, colour, marker, text)
    axes[0, 0].set_yscale("symlog", linthresh=_smallest_step(table))
    label(axes[0, 0], settings, "x", f"D (cm²/s) at {hottest['temperature_K'].iloc[0]:g} K", "a")
    legend(axes[0, 0], settings)
    _parity(axes[0, 1], table, settings)
    return figure


def _smallest_step(table: pd.DataFrame) -> float:
    positive = table["D_jumps_cm2_s"][table["D_jumps_cm2_s"] > 0]
    return float(positive.min()) if len(positive) else 1e-7


def _errorbar(axis: Axes, x: pd.Series, rows: pd.DataFrame, name: str, colour: str, marker: str, text: str) -> None:
    error = rows[f"D_{name}_error_cm2_s"].fillna(0.0).to_numpy()
    axis.errorbar(
        x.to_numpy(), rows[f"D_{name}_cm2_s"].to_numpy(), error, fmt=marker, color=colour, capsize=2, label=text
    )


def _parity(axis: Axes, table: pd.DataFrame, settings: Figures) -> None:
    both = table[(table["D_jumps_cm2_s"] > 0) & (table["D_msd_cm2_s"] > 0)]
    label(axis, settings, "D from jumps (cm²/s)", "D from MSD (cm²/s)", "b")
    if both.empty:
        say(axis, settings, "no point where both are positive")
        return
    axis.plot(both["D_jumps_cm2_s"], both["D_msd_cm2_s"], "o", color=COLOURS[0])
    values = both[["D_jumps_cm2_s", "D_msd_cm2_s"]].to_numpy()
    ends = [values.min(), values.max()]
    axis.plot(ends, ends, color="black", linewidth=0.8)
    axis.set_xscale("log")
    axis.set_yscale("log")
    # Within a decade the labels of minor ticks run into each other; the decades are widened to have a label at all.
    low, high = 10 ** np.floor(np.log10(ends[0])), 10 ** np.ceil(np.log10(ends[1]))
    axis.set_xlim(low, high)
    axis.set_ylim(low, high)
    for side in (axis.xaxis, axis.yaxis):
        side.set_minor_formatter(NullFormatter())
