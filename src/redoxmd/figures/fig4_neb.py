"""Fig. 4: energy along the paths of the mobile ions, ensemble beside reference."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, label, legend, new_figure, say

COLUMNS = 3


def draw(profiles: pd.DataFrame, barriers: pd.DataFrame, settings: Figures) -> Figure:
    """Energy above the first image, one panel a path; bars are the spread between members.

    Args:
        profiles: path, image, coordinate_A, energy_eV, energy_spread_eV, reference_eV (NaN where there is none).
        barriers: path, barrier_forward_eV, barrier_forward_spread_eV, reference_forward_eV.
    """
    names = list(dict.fromkeys(profiles["path"]))
    columns = min(COLUMNS, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    # A column of the page for one panel, two for two or three.
    width = min(columns, 2)
    figure, axes = new_figure(settings, rows, columns, height_ratio=0.75 * rows / columns, width=width)
    for axis, name in zip(axes.flat, names, strict=False):
        _panel(axis, profiles[profiles["path"] == name], settings)
        label(axis, settings, "path (Å)", "energy (eV)", f"{name}: {_words(barriers[barriers['path'] == name])}")
        legend(axis, settings)
    for axis in axes.flat[len(names) :]:
        axis.set_axis_off()
    if not names:
        say(axes[0, 0], settings, "no path yet")
    return figure


def _panel(axis: Axes, rows: pd.DataFrame, settings: Figures) -> None:
    axis.axhline(0.0, color="#bbbbbb", linewidth=0.6)
    place, energy, spread = (rows[name].to_numpy() for name in ("coordinate_A", "energy_eV", "energy_spread_eV"))
    axis.errorbar(place, energy, spread, fmt="o-", color=COLOURS[0], capsize=2, label="ensemble")
    known = np.isfinite(rows["reference_eV"].to_numpy(dtype=float))
    if known.any():
        reference = rows["reference_eV"].to_numpy()
        axis.plot(place[known], reference[known], "s--", color=COLOURS[1], markerfacecolor="none", label="reference")


def _words(barrier: pd.DataFrame) -> str:
    """The barrier in words; the reference's where it is known."""
    if barrier.empty:
        return "no barrier"
    row = barrier.iloc[0]
    text = f"{row['barrier_forward_eV']:.2f} ± {row['barrier_forward_spread_eV']:.2f} eV"
    reference = float(row["reference_forward_eV"])
    return f"{text} ({reference:.2f} eV)" if np.isfinite(reference) else text
