"""Fig. 8: Arrhenius plot of the diffusion coefficient with fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import (
    BARS_AND_BRACKETS,
    BELOW,
    LIMIT,
    activation_text,
    axis_limits,
    bars_below,
    explain_symbols,
    plot_points,
    with_intervals,
)
from redoxmd.figures.style import (
    COLOURS,
    assign_colours,
    label,
    log_ticks,
    new_figure,
    offsets_side_by_side,
    smaller_font,
    with_figure_style,
    write_message,
)
from redoxmd.units import BOLTZMANN_EV_PER_K

# Width of the points of one temperature, as a share of the smallest step of 1000/T.
POINTS_WIDTH = 0.2
MARKERS = "osD^P*"
MOST_IN_ONE_PANEL = 6
COLUMNS = 5


@with_figure_style
def draw(table: pd.DataFrame, fits: pd.DataFrame, settings: Figures) -> Figure:
    """Draw D against 1000/T by x with 95 % intervals, upper limits (arrows), fits and reasons of refused fits.

    More than `MOST_IN_ONE_PANEL` concentrations have one panel each.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_jumps_error_cm2_s, and D_jumps_limit_cm2_s for too few jumps.
        fits: x, Ea_eV, Ea_low_eV and Ea_high_eV (95 %), log10_D0, fitted, reason, deviance, dof.
    """
    count = table["x"].nunique()
    columns = COLUMNS if count > MOST_IN_ONE_PANEL else 1
    rows = -(-count // columns) if count > MOST_IN_ONE_PANEL else 1
    size = {"height_ratio": 0.24 * rows, "width": 2.0} if rows > 1 else {"height_ratio": 0.8, "width": 1.5}
    figure, axes = new_figure(settings, rows, columns, sharex=True, sharey=True, **size)
    if table.empty:
        label(axes[0, 0], "1000/T (1/K)", "D from jumps (cm²/s)")
        write_message(axes[0, 0], "no trajectory yet")
        return figure
    table = with_intervals(table)
    log_ticks(axes[0, 0], "y", *axis_limits(table, ("jumps",)))
    if rows > 1:
        _separate_panels(axes, table, fits)
    else:
        _one_panel(axes[0, 0], table, fits)
    return figure


def _one_panel(axis: Axes, table: pd.DataFrame, fits: pd.DataFrame) -> None:
    offsets = offsets_side_by_side(1000 / table["temperature_K"], table["x"].nunique(), POINTS_WIDTH)
    groups, colours = list(table.groupby("x")), assign_colours(sorted(table["x"].unique()))
    for number, (x, rows) in enumerate(groups):
        fit, marker = fits[fits["x"] == x], MARKERS[number % len(MARKERS)]
        places = 1000 / rows["temperature_K"].to_numpy() + offsets[number]
        plot_points(axis, places, rows, "jumps", colours[x], marker)
        axis.plot([], [], marker, color=colours[x], label=": ".join(filter(None, (f"x = {x:g}", _fit_text(fit)))))
        _line(axis, rows, fit, colours[x])
    label(axis, "1000/T (1/K)", "D from jumps (cm²/s)")
    kelvins = axis.secondary_xaxis("top", functions=(_inverse, _inverse))
    kelvins.set_xticks(np.unique(table["temperature_K"]))
    kelvins.set_xlabel("T (K)")
    text = f"{BARS_AND_BRACKETS}; lines: fits; points of one T stand side by side"
    explain_symbols(axis, table, ("jumps",), bar=text, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _inverse(value: ArrayLike) -> np.ndarray:
    """1000/T of T, and T of 1000/T."""
    return 1000 / np.maximum(np.asarray(value, dtype=float), 1e-9)


def _separate_panels(axes: np.ndarray, table: pd.DataFrame, fits: pd.DataFrame) -> None:
    panels = list(axes.flat)
    for axis, (x, rows) in zip(panels, table.groupby("x"), strict=False):
        fit = fits[fits["x"] == x]
        plot_points(axis, 1000 / rows["temperature_K"].to_numpy(), rows, "jumps", COLOURS[0], "o")
        _line(axis, rows, fit, COLOURS[0])
        fitted = len(fit) and bool(fit["fitted"].iloc[0])
        words = _fit_text(fit, "\n") if fitted else "no fit (see table 2)"
        axis.set_title(f"x = {x:g}\n{words}", fontsize=smaller_font(2.5), loc="left")
    count = table["x"].nunique()
    for axis in panels[count:]:
        axis.set_visible(False)
    for axis in panels[max(0, count - axes.shape[1]) : count]:
        axis.tick_params(labelbottom=True)
    figure = axes[0, 0].figure
    figure.supxlabel("1000/T (1/K)")
    figure.supylabel("D from jumps (cm²/s)")
    below = f"; {BELOW}" if bars_below(table, ("jumps",), axes[0, 0].get_ylim()[0]) else ""
    figure.suptitle(f"{BARS_AND_BRACKETS}; arrows: {LIMIT}s; lines: fits{below}", fontsize=smaller_font(1))


def _fit_text(fit: pd.DataFrame, separator: str = ", ") -> str:
    """Text with Ea, its 95 % interval and the goodness of fit, or the reason why there is no fit."""
    if fit.empty:
        return ""
    row = fit.iloc[0]
    if not bool(row["fitted"]):
        return f"no fit, {row['reason']}"
    texts = [activation_text(row)]
    if row["dof"] > 0:
        texts.append(f"deviance {abs(row['deviance']):.1f} for {row['dof']:.0f} d.o.f.")
    return separator.join(texts)


def _line(axis: Axes, rows: pd.DataFrame, fit: pd.DataFrame, colour: str) -> None:
    """Draw the fitted line over all temperatures if there is a fit."""
    if fit.empty or not bool(fit["fitted"].iloc[0]):
        return
    row, kelvin = fit.iloc[0], np.linspace(rows["temperature_K"].min(), rows["temperature_K"].max(), 50)
    log_d = row["log10_D0"] - row["Ea_eV"] / (BOLTZMANN_EV_PER_K * kelvin * np.log(10))
    axis.plot(1000 / kelvin, 10**log_d, color=colour)
