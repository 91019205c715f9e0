"""Fig. 3a: parity and error distribution of forces and energies on configurations never trained on."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.distribution import plot_distribution
from redoxmd.figures.style import (
    COLOUR_MAP,
    COLOURS,
    label,
    legend,
    new_figure,
    smaller_font,
    with_figure_style,
    write_message,
)

MANY_POINTS = 3000
FEW_POINTS = 300
ROOM_FOR_TEXT = 1.2


@with_figure_style
def draw(forces: pd.DataFrame, energies: pd.DataFrame, settings: Figures) -> Figure:
    """Draw parity (top) and error distribution (bottom) of forces (left) and energies (right).

    Energies are shown relative to the mean of the reference.

    Args:
        forces: reference_eV_A, predicted_eV_A.
        energies: reference_eV_atom, predicted_eV_atom.
    """
    figure, axes = new_figure(settings, 2, 2, height_ratio=0.8, width=2.0)
    reference, predicted = (forces[name].to_numpy() for name in ("reference_eV_A", "predicted_eV_A"))
    _parity(figure, axes[0, 0], reference, predicted)
    label(axes[0, 0], "reference force (eV/Å)", "ensemble force (eV/Å)")
    _errors(axes[1, 0], predicted - reference, "force", "eV/Å")
    reference, predicted = (1000 * energies[name].to_numpy() for name in ("reference_eV_atom", "predicted_eV_atom"))
    centre = reference.mean() if len(reference) else 0.0
    _parity(figure, axes[0, 1], reference - centre, predicted - centre)
    label(axes[0, 1], "reference energy (meV/atom)", "ensemble energy (meV/atom)")
    _errors(axes[1, 1], predicted - reference, "energy", "meV/atom")
    return figure


def _parity(figure: Figure, axis: Axes, reference: np.ndarray, predicted: np.ndarray) -> None:
    if not len(reference):
        write_message(axis, "no test configuration (train.test_configurations)")
        return
    low, high = (float(f(np.concatenate([reference, predicted]))) for f in (np.min, np.max))
    if len(reference) > MANY_POINTS:
        cells = axis.hexbin(reference, predicted, gridsize=60, bins="log", cmap=COLOUR_MAP, mincnt=1, linewidths=0)
        figure.colorbar(cells, ax=axis, label="force components")
    else:
        size = 2.5 if len(reference) > FEW_POINTS else 4.5
        axis.plot(reference, predicted, "o", color=COLOURS[0], alpha=0.5, markersize=size, markeredgewidth=0)
    axis.plot([low, high], [low, high], color="black", linewidth=0.8, label="equal")
    legend(axis)


def _errors(axis: Axes, errors: np.ndarray, name: str, unit: str) -> None:
    if not len(errors):
        write_message(axis, "no errors to show")
        return
    vertical = plot_distribution(axis, {"test": errors}, {"test": COLOURS[0]}, unit)
    label(axis, f"{name} error ({unit})", vertical, "" if vertical else "line: mean")
    axis.axvline(0.0, color="black", linewidth=0.8)
    low, high = axis.get_ylim()
    axis.set_ylim(top=low + ROOM_FOR_TEXT * (high - low))
    mae, rmse = np.abs(errors).mean(), np.sqrt((errors**2).mean())
    text = f"MAE {mae:.3g} {unit}\nRMSE {rmse:.3g} {unit}\nn = {len(errors)}"
    axis.text(0.98, 0.96, text, transform=axis.transAxes, ha="right", va="top", fontsize=smaller_font(1.5))
