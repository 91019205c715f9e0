"""One look for all figures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures

# Okabe and Ito: told apart with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SETS = {"train": "#999999", "validation": "#0072B2", "test": "#D55E00"}
MAP = "viridis"
MM_PER_INCH = 25.4


def new_figure(
    settings: Figures, rows: int = 1, columns: int = 1, height_ratio: float = 0.75, width: float = 1.0, **keywords: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of `width` columns with a grid of axes (rows, columns), in the one style."""
    size = settings.width_mm / MM_PER_INCH * width
    figure = Figure(figsize=(size, size * height_ratio), layout="constrained")
    with matplotlib.rc_context(_rc(settings)):
        axes = figure.subplots(rows, columns, squeeze=False, **keywords)
    for axis in axes.flat:
        axis.tick_params(labelsize=settings.font_pt - 1)
    return figure, axes


def _rc(settings: Figures) -> dict[str, Any]:
    points = settings.font_pt
    return {
        "font.size": points,
        "axes.labelsize": points,
        "axes.titlesize": points,
        "legend.fontsize": points - 1.5,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.0,
        "lines.markersize": 4.0,
        "svg.hashsalt": "redoxmd",
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
    }


def label(axis: Axes, settings: Figures, x: str = "", y: str = "", title: str = "") -> None:
    """Axis labels and a title above, in the font size of the config."""
    axis.set_xlabel(x, fontsize=settings.font_pt)
    axis.set_ylabel(y, fontsize=settings.font_pt)
    if title:
        axis.set_title(title, fontsize=settings.font_pt, loc="left")


def legend(axis: Axes, settings: Figures, **keywords: Any) -> None:
    """A legend without a frame, when there is something to explain."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(fontsize=settings.font_pt - 1.5, frameon=False, **keywords)


def say(axis: Axes, settings: Figures, sentence: str, where: tuple[float, float] = (0.5, 0.5)) -> None:
    """A sentence inside the axes, for what cannot be drawn."""
    axis.text(
        *where, sentence, transform=axis.transAxes, ha="center", va="center", fontsize=settings.font_pt - 1, wrap=True
    )


def colour_of(values: Sequence[Any]) -> dict[Any, str]:
    """A colour for each value, in order."""
    return {value: COLOURS[number % len(COLOURS)] for number, value in enumerate(values)}
