"""Van Hove functions of the mobile ions: self part by temperature and by time, distinct part by time."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from redoxmd.config.sections import Figures
from redoxmd.figures.style import assign_colours, label, legend, new_figure, with_figure_style, write_message

# The scale of the distinct part is linear up to this value and logarithmic above it.
LINEAR_UP_TO = 2.0
# The self part is drawn down to this share of its largest value.
FAINTEST = 1e-5


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Draw self part by temperature and by time, distinct part by time, for the x with the largest displacements.

    Args:
        table: x, temperature_K, lag_ps, distance_A, self_per_A, distinct.
    """
    figure, axes = new_figure(settings, 1, 3, height_ratio=0.36, width=2.2)
    by_temperature, by_time, distinct = axes[0]
    rows, hottest, longest = pd.DataFrame(), "", ""
    if len(table):
        rows = table[table["x"] == _farthest(table)]
        hot = rows[rows["temperature_K"] == rows["temperature_K"].max()]
        long = rows[rows["lag_ps"] == hot["lag_ps"].max()]
        _lines(by_temperature, long, "temperature_K", "self_per_A", "{:g} K")
        _lines(by_time, hot, "lag_ps", "self_per_A", "{:.3g} ps")
        _lines(distinct, hot, "lag_ps", "distinct", "{:.3g} ps")
        hottest, longest = f"{hot['temperature_K'].iloc[0]:g} K", f"{hot['lag_ps'].max():.3g} ps"
        faintest = rows["self_per_A"].where(rows["self_per_A"] > 0).min()
        for axis in (by_temperature, by_time):
            axis.set_ylim(max(faintest / 1.5, FAINTEST * rows["self_per_A"].max()), 2 * rows["self_per_A"].max())
    for axis in (by_temperature, by_time):
        axis.set_yscale("log")
        legend(axis, title="temperature" if axis is by_temperature else "time")
    _scale_distinct(distinct, float(rows["distinct"].max()) if len(rows) else 1.0)
    legend(distinct, title="time")
    x = f"x = {rows['x'].iloc[0]:g}, " if len(rows) else ""
    label(by_temperature, "distance moved (Å)", "4πr² G$_s$ (1/Å)", f"a  {x}{longest}")
    label(by_time, "distance moved (Å)", "4πr² G$_s$ (1/Å)", f"b  {x}{hottest}")
    label(distinct, "distance of another ion (Å)", "G$_d$/ρ", f"c  {x}{hottest}")
    if not len(rows):
        write_message(by_temperature, "no trajectory yet")
    elif rows["distinct"].isna().all():
        write_message(distinct, "no other ion")
    return figure


def _scale_distinct(axis: Axes, highest: float) -> None:
    """Set a scale linear around the mean density (grey line) and logarithmic above, for the peak at the origin."""
    axis.axhline(1.0, color="#BBBBBB", linewidth=0.8, zorder=0, label="mean density")
    if highest > 2 * LINEAR_UP_TO:
        axis.set_yscale("symlog", linthresh=LINEAR_UP_TO, linscale=2.0)
        axis.set_yticks([0, 0.5, 1, 1.5, 2, *(tick for tick in (5, 10, 20, 50, 100, 200, 500) if tick < 1.5 * highest)])
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_locator(NullLocator())
    axis.set_ylim(bottom=-0.05)


def _farthest(table: pd.DataFrame) -> float:
    """Content x with the largest mean squared displacement at any temperature and lag."""
    squared = table.assign(squared=table["self_per_A"] * table["distance_A"] ** 2)
    means = squared.groupby(["x", "temperature_K", "lag_ps"], as_index=False)["squared"].sum()
    return float(means.loc[means["squared"].idxmax(), "x"])


def _lines(axis: Axes, table: pd.DataFrame, by: str, column: str, text: str) -> None:
    colours = assign_colours(sorted(table[by].unique()))
    for value, rows in table.groupby(by):
        # Zeros have no logarithm and leave a gap.
        density = rows[column].where(rows[column] > 0) if column == "self_per_A" else rows[column]
        axis.plot(rows["distance_A"], density, color=colours[value], label=text.format(value))
