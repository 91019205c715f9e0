"""Mean squared displacement of the mobile ions over time, by temperature."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import assign_colours, label, legend, new_figure, with_figure_style

LINES = ("-", "--", ":", "-.")


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures, msd_fit: tuple[float, float]) -> Figure:
    """Draw the MSD of every trajectory, linear (a) and logarithmic (b); colour: temperature, line: x.

    Args:
        table: structure, x, temperature_K, replica, lag_ps, msd_A2.
        settings: style.
        msd_fit: range of lags of the line fit, as fractions of the trajectory length, shaded in a.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    linear, logarithmic = axes[0]
    colours = assign_colours(sorted(table["temperature_K"].unique()))
    styles = {x: LINES[number % len(LINES)] for number, x in enumerate(sorted(table["x"].unique()))}
    labelled = set()
    for (_, x, kelvin, _), rows in table.groupby(["structure", "x", "temperature_K", "replica"], sort=False):
        text = f"{kelvin:g} K" + (f", x = {x:g}" if len(styles) > 1 else "")
        moving = rows[(rows["lag_ps"] > 0) & (rows["msd_A2"] > 0)]
        name = None if text in labelled else text
        linear.plot(rows["lag_ps"], rows["msd_A2"], styles[x], color=colours[kelvin], label=name)
        logarithmic.plot(moving["lag_ps"], moving["msd_A2"], styles[x], color=colours[kelvin])
        labelled.add(text)
    longest_ps = float(table["lag_ps"].max()) if len(table) else 0.0
    if table["lag_ps"].groupby(table["structure"]).max().nunique() == 1:
        linear.axvspan(msd_fit[0] * longest_ps, msd_fit[1] * longest_ps, color="#EEEEEE", zorder=0, label="fitted lags")
    logarithmic.set_xscale("log")
    logarithmic.set_yscale("log")
    label(linear, "time (ps)", "MSD (Å²)", "a")
    label(logarithmic, "time (ps)", "MSD (Å²)", "b")
    legend(linear)
    return figure
