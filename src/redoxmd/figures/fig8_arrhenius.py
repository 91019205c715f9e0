"""Fig. 8: Arrhenius fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import BAR, LIMIT, extent, plot_points, with_intervals
from redoxmd.figures.style import COLOURS, colour_of, in_style, label, legend, log_ticks, new_figure, say
from redoxmd.units import BOLTZMANN_EV_PER_K

# The points of one temperature spread over this share of the smallest step of 1000/T.
ASIDE = 0.3
MARKERS = "osD^P*"
MOST_TOGETHER = 6
COLUMNS = 5


@in_style
def draw(table: pd.DataFrame, fits: pd.DataFrame, settings: Figures) -> Figure:
    """D against 1000/T by x with 95 % intervals; triangles are upper limits, refused fits say why.

    More than `MOST_TOGETHER` concentrations have a panel each.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_jumps_error_cm2_s, and D_jumps_limit_cm2_s where jumps are too few.
        fits: x, Ea_eV, Ea_error_eV, log10_D0, fitted, reason; Ea_low_eV and Ea_high_eV (95 %), deviance or chi2 and dof
            where the fit has them.
        settings: look.
    """
    count = table["x"].nunique()
    columns = COLUMNS if count > MOST_TOGETHER else 1
    rows = -(-count // columns) if count > MOST_TOGETHER else 1
    size = {"height_ratio": 0.24 * rows, "width": 2.0} if rows > 1 else {"height_ratio": 0.8, "width": 1.5}
    figure, axes = new_figure(settings, rows, columns, sharex=True, sharey=True, **size)
    if table.empty:
        label(axes[0, 0], settings, "1000/T (1/K)", "D from jumps (cm²/s)")
        say(axes[0, 0], settings, "no trajectory yet")
        return figure
    table = with_intervals(table)
    if rows > 1:
        _one_by_one(axes, table, fits, settings)
    else:
        _together(axes[0, 0], table, fits, settings)
    log_ticks(axes[0, 0], "y", *extent(table, ("jumps",)))
    return figure


def _together(axis: Axes, table: pd.DataFrame, fits: pd.DataFrame, settings: Figures) -> None:
    inverse = np.unique(1000 / table["temperature_K"])
    step = float(np.diff(inverse).min()) if len(inverse) > 1 else 0.0
    groups, colours = list(table.groupby("x")), colour_of(sorted(table["x"].unique()))
    for number, (x, rows) in enumerate(groups):
        fit, marker = fits[fits["x"] == x], MARKERS[number % len(MARKERS)]
        aside = ASIDE * step * (number - (len(groups) - 1) / 2) / len(groups)
        plot_points(axis, 1000 / rows["temperature_K"].to_numpy() + aside, rows, "jumps", colours[x], marker)
        axis.plot(
            [], [], marker, color=colours[x], label=": ".join(part for part in (f"x = {x:g}", _fit_text(fit)) if part)
        )
        _line(axis, rows, fit, colours[x])
    label(axis, settings, "1000/T (1/K)", "D from jumps (cm²/s)")
    axis.plot(
        [],
        [],
        "|",
        color="black",
        markersize=7,
        label=f"{_bars(fits)}; lines: fits; points of one T stand side by side",
    )
    if (table["D_jumps_limit_cm2_s"] > 0).any():
        axis.plot([], [], "v", markerfacecolor="none", markeredgecolor="black", label=LIMIT)
    legend(axis, settings, loc="upper center", bbox_to_anchor=(0.5, -0.18))


def _one_by_one(axes: np.ndarray, table: pd.DataFrame, fits: pd.DataFrame, settings: Figures) -> None:
    panels = list(axes.flat)
    for axis, (x, rows) in zip(panels, table.groupby("x"), strict=False):
        fit = fits[fits["x"] == x]
        plot_points(axis, 1000 / rows["temperature_K"].to_numpy(), rows, "jumps", COLOURS[0], "o")
        _line(axis, rows, fit, COLOURS[0])
        fitted = len(fit) and bool(fit["fitted"].iloc[0])
        words = _fit_text(fit, "\n") if fitted else "no fit (see table 2)"
        axis.set_title(f"x = {x:g}\n{words}", fontsize=settings.font_pt - 2.5, loc="left")
    count = table["x"].nunique()
    for axis in panels[count:]:
        axis.set_visible(False)
    for axis in panels[max(0, count - axes.shape[1]) : count]:
        axis.tick_params(labelbottom=True)
    figure = axes[0, 0].figure
    figure.supxlabel("1000/T (1/K)", fontsize=settings.font_pt)
    figure.supylabel("D from jumps (cm²/s)", fontsize=settings.font_pt)
    figure.suptitle(f"{_bars(fits)}; triangles: {LIMIT}s; lines: fits", fontsize=settings.font_pt - 1)


def _bars(fits: pd.DataFrame) -> str:
    return BAR.replace("bars", "bars and brackets") if "Ea_low_eV" in fits else BAR


def _fit_text(fit: pd.DataFrame, between: str = ", ") -> str:
    """Ea with its error or 95 % interval, and how well the line describes the points; why there is no fit."""
    if fit.empty:
        return ""
    row = fit.iloc[0]
    if not bool(row["fitted"]):
        return f"no fit, {row['reason']}"
    parts = [f"Ea = {row['Ea_eV']:.2f} ± {row['Ea_error_eV']:.2f} eV (1 σ)"]
    if {"Ea_low_eV", "Ea_high_eV"} <= set(row.index):
        parts = [f"Ea = {row['Ea_eV']:.2f} eV ({row['Ea_low_eV']:.2f} to {row['Ea_high_eV']:.2f})"]
    for name, symbol in (("chi2", "χ²"), ("deviance", "deviance")):
        if name in row and row.get("dof", 0) > 0:
            parts.append(f"{symbol} {abs(row[name]):.1f} for {row['dof']:.0f} d.o.f.")
    return between.join(parts).replace("inf", "∞").replace("-", "−")


def _line(axis: Axes, rows: pd.DataFrame, fit: pd.DataFrame, colour: str) -> None:
    """The fit, where there is one, over all temperatures."""
    if fit.empty or not bool(fit["fitted"].iloc[0]):
        return
    row, kelvin = fit.iloc[0], np.linspace(rows["temperature_K"].min(), rows["temperature_K"].max(), 50)
    log_d = row["log10_D0"] - row["Ea_eV"] / (BOLTZMANN_EV_PER_K * kelvin * np.log(10))
    axis.plot(1000 / kelvin, 10**log_d, color=colour)
