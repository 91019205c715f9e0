"""Fig. 8: Arrhenius fits."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import colour_of, label, legend, new_figure, say
from redoxmd.units import BOLTZMANN_EV_PER_K


def draw(table: pd.DataFrame, fits: pd.DataFrame, settings: Figures) -> Figure:
    """log10 D against 1000/T by x; triangles are upper limits, refused fits say why.

    Args:
        table: x, temperature_K, D_jumps_cm2_s, D_jumps_error_cm2_s, and D_jumps_limit_cm2_s where jumps are too few.
        fits: x, Ea_eV, Ea_error_eV, log10_D0, fitted, reason.
    """
    figure, axes = new_figure(settings, height_ratio=0.8, width=1.5)
    axis = axes[0, 0]
    colours = colour_of(sorted(table["x"].unique()))
    for x, rows in table.groupby("x"):
        fit = fits[fits["x"] == x]
        _points(axis, rows, colours[x], f"x = {x:g}{_fit_text(fit)}")
        if len(fit) and bool(fit["fitted"].iloc[0]):
            _line(axis, rows, fit.iloc[0], colours[x])
    label(axis, settings, "1000/T (1/K)", "log$_{10}$ D (cm²/s)")
    if axis.lines or axis.collections:
        legend(axis, settings, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    else:
        say(axis, settings, "no trajectory yet")
    return figure


def _fit_text(fit: pd.DataFrame) -> str:
    if fit.empty:
        return ""
    row = fit.iloc[0]
    if bool(row["fitted"]):
        return f": Ea = {row['Ea_eV']:.2f} ± {row['Ea_error_eV']:.2f} eV"
    return f": no fit, {row['reason']}"


def _points(axis: Axes, rows: pd.DataFrame, colour: str, text: str) -> None:
    few = rows[rows["D_jumps_limit_cm2_s"] > 0]
    seen = rows.drop(few.index)
    seen = seen[seen["D_jumps_cm2_s"] > 0]
    value, error = seen["D_jumps_cm2_s"], seen["D_jumps_error_cm2_s"]
    # The lower bar of log D ends where D − σ does, and is cut at two decades where that is nothing.
    lower = np.log10(value) - np.log10(np.maximum(value - error, value * 0.01))
    upper = np.log10(value + error) - np.log10(value)
    inverse, bars = (1000 / seen["temperature_K"]).to_numpy(), np.array([lower, upper])
    axis.errorbar(inverse, np.log10(value).to_numpy(), bars, fmt="o", color=colour, capsize=2, label=text)
    axis.plot(
        1000 / few["temperature_K"],
        np.log10(few["D_jumps_limit_cm2_s"]),
        "v",
        markerfacecolor="none",
        markeredgecolor=colour,
    )


def _line(axis: Axes, rows: pd.DataFrame, fit: pd.Series, colour: str) -> None:
    kelvin = np.linspace(rows["temperature_K"].min(), rows["temperature_K"].max(), 50)
    log_d = fit["log10_D0"] - fit["Ea_eV"] / (BOLTZMANN_EV_PER_K * kelvin * np.log(10))
    axis.plot(1000 / kelvin, log_d, color=colour)
