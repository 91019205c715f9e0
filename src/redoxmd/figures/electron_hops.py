"""Rates of electron hops over temperature, and bond lengths by oxidation state."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.diffusion.jumps import ZERO_COUNT_LIMIT
from redoxmd.figures.intervals import BAR, LIMIT
from redoxmd.figures.style import assign_colours, label, legend, new_figure, with_figure_style, write_message
from redoxmd.units import BOLTZMANN_EV_PER_K

# Kind of hop → face of its marker (None: the colour of x) and its text in the legend.
KINDS = {"all": ("white", "all hops"), "lasting": (None, "without rattling")}
MARKERS = "osD^P*"


@with_figure_style
def draw(rates: pd.DataFrame, fits: pd.DataFrame, states: pd.DataFrame, settings: Figures) -> Figure:
    """Draw hops per ns and redox atom against 1000/T by x, with fits, and the bond length of each state against T.

    Args:
        rates, fits, states: `rates`, `arrhenius` and `states` of `redoxmd.electrons.hops.HopSummary`.
        settings: section `figures` of the config.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    if rates.empty:
        write_message(axes[0, 0], "no trajectory yet")
        return figure
    colours = assign_colours(sorted(rates["x"].unique()))
    for x, rows in rates.groupby("x"):
        for kind, (face, _) in KINDS.items():
            fit = fits[(fits["x"] == x) & (fits["kind"] == kind)]
            _draw_rates(axes[0, 0], rows, kind, colours[x], face or colours[x], fit)
    counted = rates[[f"{kind}_per_ns_atom" for kind in KINDS]].to_numpy(dtype=float)
    if (counted > 0).any():
        axes[0, 0].set_yscale("log")
    axes[0, 0].plot([], [], "v", color="black", markerfacecolor="none", label=LIMIT)
    axes[0, 0].plot([], [], "|", color="black", markersize=7, label=BAR)
    label(axes[0, 0], "1000/T (1/K)", "hops per ns and atom")
    legend(axes[0, 0], loc="upper center", bbox_to_anchor=(0.5, -0.22))
    for number, (state, rows) in enumerate(states.groupby("state")):
        for x, points in rows.groupby("x"):
            errors = points["bond_error_A"].fillna(0.0)
            options = {"color": colours[x], "fmt": f"{MARKERS[number % len(MARKERS)]}-", "capsize": 2}
            axes[0, 1].errorbar(
                points["temperature_K"], points["bond_A"], errors, label=f"{state}, x = {x:g}", **options
            )
    label(axes[0, 1], "T (K)", "bond length (Å)")
    legend(axes[0, 1], loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return figure


def _draw_rates(axis: Axes, rows: pd.DataFrame, kind: str, colour: str, face: str, fit: pd.DataFrame) -> None:
    """Draw rates of one x with bars, or upper limits where nothing hopped, and the fit."""
    kelvin, rate, low, high = (
        rows[name].to_numpy(dtype=float)
        for name in ("temperature_K", *(f"{kind}{end}_per_ns_atom" for end in ("", "_low", "_high")))
    )
    hopped = rate > 0
    bars = np.array([rate - low, high - rate])[:, hopped]
    axis.errorbar(1000 / kelvin[hopped], rate[hopped], bars, fmt="o", color=colour, markerfacecolor=face, capsize=2)
    limit = ZERO_COUNT_LIMIT / rows["atom_ns"].to_numpy()[~hopped]
    axis.plot(1000 / kelvin[~hopped], limit, "v", markerfacecolor="none", markeredgecolor=colour)
    name = f"x = {rows['x'].iloc[0]:g}, {KINDS[kind][1]}"
    if fit.empty or not bool(fit["fitted"].iloc[0]):
        axis.plot([], [], "o", color=colour, markerfacecolor=face, label=name)
        return
    row, line_K = fit.iloc[0], np.linspace(kelvin.min(), kelvin.max(), 50)
    log_rate = row["log10_rate0_per_ns"] - row["Ea_eV"] / (BOLTZMANN_EV_PER_K * line_K * np.log(10))
    text = f"{name}: Ea = {row['Ea_eV']:.2f} ± {row['Ea_error_eV']:.2f} eV"
    style = "-" if kind == "lasting" else "--"
    axis.plot(1000 / line_K, 10**log_rate, style, color=colour, label=text.replace("-", "−"))
