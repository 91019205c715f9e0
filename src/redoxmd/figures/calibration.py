"""Calibration of the spread between members against the true error."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, label, legend, new_figure, with_figure_style, write_message

NAMES = {"validation": COLOURS[0], "test": COLOURS[1]}


@with_figure_style
def draw(
    curves: pd.DataFrame, bins: pd.DataFrame, areas: dict[str, float], frames: pd.DataFrame, settings: Figures
) -> Figure:
    """Reliability curve, error against calibrated spread in bins of equal size, and error of frames against its bound.

    Args:
        curves: set, expected_fraction, observed_fraction.
        bins: set, spread_eV_A (calibrated), rmse_eV_A.
        areas: miscalibration area of each set.
        frames: set, bound_eV_A, error_eV_A.
    """
    figure, axes = new_figure(settings, 1, 3, height_ratio=0.36, width=2.0)
    for name, rows in curves.groupby("set"):
        text = f"{name}, area {areas[str(name)]:.3f}"
        axes[0, 0].plot(rows["expected_fraction"], rows["observed_fraction"], color=NAMES[str(name)], label=text)
    axes[0, 0].plot([0, 1], [0, 1], color="black", linewidth=0.8, label="perfect")
    label(axes[0, 0], "quantile of the normal distribution", "share of errors below it", "a  area: to the diagonal")
    legend(axes[0, 0])
    for name, rows in bins.groupby("set"):
        axes[0, 1].plot(rows["spread_eV_A"], rows["rmse_eV_A"], "o-", color=NAMES[str(name)], label=str(name))
    if len(bins):
        top = float(max(bins["spread_eV_A"].max(), bins["rmse_eV_A"].max()))
        axes[0, 1].plot([0, top], [0, top], color="black", linewidth=0.8, label="equal")
    else:
        write_message(axes[0, 1], "no validation frames")
    for name, rows in frames.groupby("set"):
        covered = (rows["error_eV_A"] <= rows["bound_eV_A"]).mean()
        text = f"{name}, {100 * covered:.0f} % below"
        axes[0, 2].plot(rows["bound_eV_A"], rows["error_eV_A"], ".", color=NAMES[str(name)], label=text)
    if len(frames):
        top = float(frames[["bound_eV_A", "error_eV_A"]].to_numpy().max())
        axes[0, 2].plot([0, top], [0, top], color="black", linewidth=0.8, label="error = bound")
        # Room for the legend above the points.
        axes[0, 2].set_ylim(top=1.6 * top)
    else:
        write_message(axes[0, 2], "no bound: too few validation\nframes, or an older ensemble")
    label(axes[0, 2], "bound of the error (eV/Å)", "force error of a frame (eV/Å)", "c  frames")
    legend(axes[0, 2])
    label(axes[0, 1], "calibrated spread (eV/Å)", "RMS force error (eV/Å)", "b  groups of equal size")
    legend(axes[0, 1])
    return figure
