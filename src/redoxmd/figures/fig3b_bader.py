"""Fig. 3b: Bader charges and moments of the redox element, from predicted against reference densities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from redoxmd.config.sections import Figures
from redoxmd.figures.distribution import plot_distribution
from redoxmd.figures.style import SET_COLOURS, label, legend, new_figure, smaller_font, with_figure_style, write_message

SMALL_ERROR_E = 0.05
ROOM_FOR_TEXT = 1.25
COLUMNS = {"charge": "charge_e", "moment": "moment_muB"}
UNITS = {"charge": "e", "moment": r"$\mu_\mathrm{B}$"}


@with_figure_style
def draw(table: pd.DataFrame, element: str, settings: Figures) -> Figure:
    """Draw parity (top) and errors (bottom) of charges (left) and moments (right); training points are grey.

    Args:
        table: set (train, validation, test), key, atom, element, reference_charge_e, predicted_charge_e,
            reference_moment_muB, predicted_moment_muB.
        element: redox element; other elements are not drawn.
    """
    figure, axes = new_figure(settings, 2, 2, height_ratio=0.8, width=2.0)
    rows = table[table["element"] == element]
    for column, (name, unit) in enumerate(UNITS.items()):
        names = [f"{side}_{COLUMNS[name]}" for side in ("reference", "predicted")]
        # Reference and prediction (2, n) of each set, in the order of drawing.
        by_set = {key: rows.loc[rows["set"] == key, names].to_numpy(dtype=float).T for key in SET_COLOURS}
        sets = {key: values for key, values in by_set.items() if values.size}
        _parity(axes[0, column], sets, element)
        label(axes[0, column], f"reference {name} ({unit})", f"predicted {name} ({unit})", "ab"[column])
        _errors(axes[1, column], {key: values[1] - values[0] for key, values in sets.items()}, name, unit)
    legend(axes[0, 0], loc="upper left")
    return figure


def _parity(axis: Axes, sets: dict[str, np.ndarray], element: str) -> None:
    if not sets:
        write_message(axis, f"no density with charges of {element} yet")
        return
    for name, (reference, predicted) in sets.items():
        style: dict[str, Any] = {"color": SET_COLOURS[name], "markeredgewidth": 0}
        style |= {"alpha": 0.6 if name == "train" else 0.7, "label": f"{name}, n = {len(reference)}"}
        axis.plot(reference, predicted, "o", markersize=3.5, **style)
    pooled = np.concatenate([values.ravel() for values in sets.values()])
    ends = [pooled.min(), pooled.max()]
    axis.plot(ends, ends, color="black", linewidth=0.8, label="equal")


def _errors(axis: Axes, errors: dict[str, np.ndarray], name: str, unit: str) -> None:
    if not errors:
        write_message(axis, "no errors to show")
        return
    vertical, letter = plot_distribution(axis, errors, SET_COLOURS, unit), "cd"[list(UNITS).index(name)]
    label(axis, f"{name} error ({unit})", vertical, letter if vertical else f"{letter}  lines: mean")
    axis.xaxis.set_major_locator(MaxNLocator(5))
    axis.axvline(0.0, color="black", linewidth=0.8)
    low, high = axis.get_ylim()
    axis.set_ylim(top=low + ROOM_FOR_TEXT * (high - low))
    if "test" not in errors:
        write_message(axis, "no test density", (0.8, 0.9))
        return
    size = np.abs(errors["test"])
    lines = [f"test: MAE {size.mean():.3g} {unit}", f"n = {len(size)}"]
    if unit == "e":
        lines.insert(1, f"{100 * (size < SMALL_ERROR_E).mean():.0f} % below {SMALL_ERROR_E:g} e")
    style: dict[str, Any] = {"ha": "right", "va": "top", "color": SET_COLOURS["test"], "fontsize": smaller_font(1.5)}
    style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 1.0}
    axis.text(0.98, 0.98, "\n".join(lines), transform=axis.transAxes, **style)
