"""Common style of all figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.table import Table
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from redoxmd.config.sections import Figures

# Okabe and Ito: distinguishable with any colour vision.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SET_COLOURS = {"train": "#999999", "validation": "#0072B2", "test": "#D55E00"}
COLOUR_MAP = "viridis"
MM_PER_INCH = 25.4
# Below this range (decades) a logarithmic axis has labels at 1, 2 and 5, not only at the decades.
FEW_DECADES = 2.0
# Contents with a tick each; for more the ticks of matplotlib.
MOST_TICKS = 6

P = ParamSpec("P")


@contextmanager
def figure_style(settings: Figures) -> Iterator[None]:
    """Context with matplotlib defaults and the common style, independent of matplotlibrc and notebook settings."""
    defaults = {key: value for key, value in matplotlib.rcParamsDefault.items() if not key.startswith("backend")}
    points = settings.font_pt
    style = {
        "font.size": points,
        "axes.labelsize": points,
        "axes.titlesize": points,
        "figure.labelsize": points,
        "figure.titlesize": points,
        "xtick.labelsize": points - 1,
        "ytick.labelsize": points - 1,
        "legend.fontsize": points - 1.5,
        "legend.title_fontsize": points - 1.5,
        "legend.frameon": False,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "lines.linewidth": 1.0,
        "lines.markersize": 4.0,
        "svg.hashsalt": "redoxmd",
        "svg.fonttype": "none",
        "pdf.fonttype": 42,
    }
    with matplotlib.rc_context({**defaults, **style}):
        yield


def with_figure_style(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorate a drawing function so that it runs within `figure_style` of its argument of type `Figures`."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> Figure:
        (settings,) = (value for value in (*args, *kwargs.values()) if isinstance(value, Figures))
        with figure_style(settings):
            return draw(*args, **kwargs)

    return styled


def new_figure(
    settings: Figures, rows: int = 1, columns: int = 1, height_ratio: float = 0.75, width: float = 1.0, **keywords: Any
) -> tuple[Figure, np.ndarray]:
    """Figure of `width` page columns with a grid of axes (rows, columns); call it within `figure_style`."""
    size = settings.width_mm / MM_PER_INCH * width
    figure = Figure(figsize=(size, size * height_ratio), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **keywords)
    return figure, axes


def label(axis: Axes, x: str = "", y: str = "", title: str = "") -> None:
    """Set axis labels and a title on the left."""
    axis.set_xlabel(x)
    axis.set_ylabel(y)
    if title:
        axis.set_title(title, loc="left")


def legend(axis: Axes, **keywords: Any) -> None:
    """Add a legend if there are labelled artists."""
    if axis.get_legend_handles_labels()[0]:
        axis.legend(**keywords)


def smaller_font(points: float) -> float:
    """Font size that is smaller by `points` than that of the config; call it within `figure_style`."""
    return float(matplotlib.rcParams["font.size"]) - points


def write_message(axis: Axes, text: str, position: tuple[float, float] = (0.5, 0.5)) -> None:
    """Write a message inside the axes, for example if data are missing."""
    axis.text(*position, text, transform=axis.transAxes, ha="center", va="center", fontsize=smaller_font(1), wrap=True)


def draw_table(
    axis: Axes, header: Sequence[str], widths: Sequence[float], cells: Sequence[Sequence[str]], font_pt: float, loc: str
) -> Table:
    """Draw a table with horizontal rules, left-aligned; returns it."""
    table = axis.table(
        cells, colLabels=header, colWidths=widths, cellLoc="left", colLoc="left", edges="horizontal", loc=loc
    )
    table.auto_set_font_size(False)
    table.set_fontsize(font_pt)
    return table


def assign_colours(values: Sequence[Any]) -> dict[Any, str]:
    """Colour of each value, in order; from a colour map if there are more values than distinct colours."""
    if len(values) <= len(COLOURS):
        return dict(zip(values, COLOURS, strict=False))
    colours = matplotlib.colormaps[COLOUR_MAP](np.linspace(0.0, 0.95, len(values)))
    return {value: to_hex(colour) for value, colour in zip(values, colours, strict=True)}


def concentration_ticks(axis: Axes, x: pd.Series | np.ndarray) -> None:
    """Set the ticks of the horizontal axis at the contents x if they are few."""
    contents = np.unique(x)
    if len(contents) <= MOST_TICKS:
        axis.set_xticks(contents, [f"{content:g}" for content in contents])


def offsets_side_by_side(positions: pd.Series, series: int, width: float) -> np.ndarray:
    """Horizontal offsets (series,) of the points of several series at the same positions.

    Args:
        positions: positions of all points.
        series: number of series.
        width: width of the points of one position, as a share of the smallest step between positions.
    """
    distinct = np.unique(positions)
    step = float(np.diff(distinct).min()) if len(distinct) > 1 else 1.0
    offsets: np.ndarray = width * step * (np.arange(series) - (series - 1) / 2) / max(series, 1)
    return offsets


def log_ticks(axis: Axes, direction: str, low: float, high: float) -> None:
    """Set a logarithmic axis ("x" or "y") from low to high with sufficient labels, also within one decade."""
    getattr(axis, f"set_{direction}scale")("log")
    getattr(axis, f"set_{direction}lim")(low, high)
    if np.log10(high / low) >= FEW_DECADES:
        return
    ticked = getattr(axis, f"{direction}axis")
    subs = (1.0, 2.0, 5.0) if np.log10(high / low) > 0.5 else tuple(np.arange(1.0, 10.0))
    ticked.set_major_locator(LogLocator(subs=subs))
    ticked.set_major_formatter(FuncFormatter(_power_of_ten))
    ticked.set_minor_formatter(NullFormatter())


def _power_of_ten(value: float, _: float = 0.0) -> str:
    if 1e-3 <= value < 1e4:
        return f"{value:g}"
    exponent = int(np.floor(np.log10(value) + 1e-9))
    factor = round(value / 10.0**exponent, 3)
    return f"10$^{{{exponent}}}$" if factor == 1 else f"{factor:g}·10$^{{{exponent}}}$"
