"""Losses and errors of the density model during training, and errors of each density by set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, SET_COLOURS, label, legend, new_figure, with_figure_style, write_message

COMPONENTS = ("total", "spin")
COMPONENT_COLOURS = {"total": COLOURS[2], "spin": COLOURS[3]}
HALF_WIDTH = 0.22
LEGEND_ROOM_FACTOR = 3.0


@with_figure_style
def draw(errors: pd.DataFrame, history: pd.DataFrame, settings: Figures) -> Figure:
    """Loss (a) and validation NMAE (b) against training step; NMAE of each density by set (c).

    NMAE is ∫|predicted − reference| / ∫|reference|.

    Args:
        errors: key, set, nmae_total_percent, nmae_spin_percent; superposition_total_percent and
            superposition_spin_percent, the NMAE of superposed atoms alone.
        history: step, training_loss, validation_loss, validation_nmae_total, validation_nmae_spin (percent).
    """
    figure, axes = new_figure(settings, 1, 3, height_ratio=0.4, width=2.0, gridspec_kw={"width_ratios": (1, 1, 1.4)})
    losses = {
        "training_loss": ("training", SET_COLOURS["train"]),
        "validation_loss": ("validation", SET_COLOURS["validation"]),
    }
    _curves(axes[0, 0], history, losses)
    label(axes[0, 0], "step", "loss", "a")
    nmae = {f"validation_nmae_{name}": (name, COMPONENT_COLOURS[name]) for name in COMPONENTS}
    _curves(axes[0, 1], history, nmae)
    label(axes[0, 1], "step", "validation NMAE (%)", "b  NMAE = ∫|Δρ| / ∫|ρ|")
    _by_set(axes[0, 2], errors)
    label(axes[0, 2], "", "NMAE (%)", "c  each density; lines: medians")
    return figure


def _curves(axis: Axes, history: pd.DataFrame, columns: dict[str, tuple[str, str]]) -> None:
    if history.empty:
        write_message(axis, "no training yet")
        return
    for column, (name, colour) in columns.items():
        rows = history[["step", column]].dropna()
        axis.plot(rows["step"], rows[column], "-" if len(rows) > 1 else "o", color=colour, label=name)
    _logarithmic(axis, history[list(columns)].to_numpy(dtype=float))
    legend(axis)


def _logarithmic(axis: Axes, values: np.ndarray) -> None:
    """Set a logarithmic axis if all values are positive."""
    finite = values[np.isfinite(values)]
    if len(finite) and (finite > 0).all():
        axis.set_yscale("log")
        axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.yaxis.set_minor_formatter(NullFormatter())


def _by_set(axis: Axes, errors: pd.DataFrame) -> None:
    """Draw a dot for each density and a bar at the median; open grey dots are superposed atoms."""
    if errors.empty:
        write_message(axis, "no density to judge the model by")
        return
    sets = [name for name in SET_COLOURS if name in set(errors["set"])]
    for number, name in enumerate(sets):
        rows = errors[errors["set"] == name]
        for component, centre in zip(COMPONENTS, (number - 0.25, number + 0.25), strict=True):
            superposed, model = rows[f"superposition_{component}_percent"], rows[f"nmae_{component}_percent"]
            grey: dict[str, Any] = {"markerfacecolor": "none", "color": "#999999"}
            names = [None if number else "superposed atoms", None if number else component]
            _dots(axis, centre, superposed, names[0] if component == COMPONENTS[0] else None, **grey)
            _dots(axis, centre, model, names[1], color=COMPONENT_COLOURS[component])
    axis.set_xticks(range(len(sets)), [f"{name}\nn = {(errors['set'] == name).sum()}" for name in sets])
    _logarithmic(axis, errors.filter(like="_percent").to_numpy(dtype=float))
    low, high = axis.get_ylim()
    axis.set_ylim(top=high * (LEGEND_ROOM_FACTOR if low > 0 else 1.2))
    legend(axis, loc="upper center", ncols=3, columnspacing=0.8, handletextpad=0.1)


def _dots(axis: Axes, centre: float, values: pd.Series, name: str | None, **style: Any) -> None:
    finite = values.dropna().to_numpy(dtype=float)
    if not len(finite):
        return
    offset = np.linspace(-HALF_WIDTH / 2, HALF_WIDTH / 2, len(finite)) if len(finite) > 1 else np.zeros(1)
    axis.plot(centre + offset, finite, "o", markersize=3, label=name, alpha=0.8, **style)
    median = float(np.median(finite))
    axis.plot([centre - HALF_WIDTH, centre + HALF_WIDTH], [median, median], color=style["color"], linewidth=1.0)
