"""Fig. 8: Arrhenius fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.intervals import BAR, LIMIT, extent, plot_points, with_intervals
from redoxmd.figures.style import colour_of, in_style, label, legend, log_ticks, new_figure, say
from redoxmd.units import BOLTZMANN_EV_PER_K

# The points of one temperature spread over this share of the smallest step of 1000/T.
ASIDE = 0.3
MARKERS = "osD^P*"


@in_style
def draw(table: pd.DataFrame, fits: pd.DataFrame, settings: Figures) -> Figure:
    """D against 1000/T by x with 95 % intervals; triangles are upper limits, refused fits say why.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_jumps_error_cm2_s, and D_jumps_limit_cm2_s where jumps are too few.
        fits: x, Ea_eV, Ea_error_eV, log10_D0, fitted, reason; Ea_low_eV and Ea_high_eV (95 %), deviance or chi2 and dof
            where the fit has them.
        settings: look.
    """
    figure, axes = new_figure(settings, height_ratio=0.8, width=1.5)
    axis = axes[0, 0]
    label(axis, settings, "1000/T (1/K)", "D from jumps (cm²/s)")
    if table.empty:
        say(axis, settings, "no trajectory yet")
        return figure
    table = with_intervals(table)
    inverse = np.unique(1000 / table["temperature_K"])
    step = float(np.diff(inverse).min()) if len(inverse) > 1 else 0.0
    groups, colours = list(table.groupby("x")), colour_of(sorted(table["x"].unique()))
    for number, (x, rows) in enumerate(groups):
        fit, marker = fits[fits["x"] == x], MARKERS[number % len(MARKERS)]
        aside = ASIDE * step * (number - (len(groups) - 1) / 2) / len(groups)
        plot_points(axis, 1000 / rows["temperature_K"].to_numpy() + aside, rows, "jumps", colours[x], marker)
        axis.plot([], [], marker, color=colours[x], label=f"x = {x:g}{_fit_text(fit)}")
        if len(fit) and bool(fit["fitted"].iloc[0]):
            _line(axis, rows, fit.iloc[0], colours[x])
    log_ticks(axis, "y", *extent(table, ("jumps",)))
    axis.plot([], [], "|", color="black", markersize=7, label=f"{BAR}; lines: fits; points of one T stand side by side")
    if (table["D_jumps_limit_cm2_s"] > 0).any():
        axis.plot([], [], "v", markerfacecolor="none", markeredgecolor="black", label=LIMIT)
    legend(axis, settings, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    return figure


def _fit_text(fit: pd.DataFrame) -> str:
    if fit.empty:
        return ""
    row = fit.iloc[0]
    if not bool(row["fitted"]):
        return f": no fit, {row['reason']}"
    text = f": Ea = {row['Ea_eV']:.2f} ± {row['Ea_error_eV']:.2f} eV (1 σ)"
    if {"Ea_low_eV", "Ea_high_eV"} <= set(row.index):
        text = f": Ea = {row['Ea_eV']:.2f} eV ({row['Ea_low_eV']:.2f} to {row['Ea_high_eV']:.2f}, 95 %)"
    for name, symbol in (("chi2", "χ²"), ("deviance", "deviance")):
        if name in row and row.get("dof", 0) > 0:
            text += f", {symbol} {row[name]:.1f} for {row['dof']:.0f} degrees of freedom"
    return text.replace("inf", "∞").replace("-", "−")


def _line(axis: Axes, rows: pd.DataFrame, fit: pd.Series, colour: str) -> None:
    kelvin = np.linspace(rows["temperature_K"].min(), rows["temperature_K"].max(), 50)
    log_d = fit["log10_D0"] - fit["Ea_eV"] / (BOLTZMANN_EV_PER_K * kelvin * np.log(10))
    axis.plot(1000 / kelvin, 10**log_d, color=colour)
