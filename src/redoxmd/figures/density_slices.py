"""Total and spin density in a plane through a redox atom: reference, model and their difference."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patheffects import withStroke

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOUR_MAP, label, new_figure, with_figure_style, write_message

DIVERGING = "RdBu_r"
UNIT = "e/Å³"
# Lower end of the colour scale of the total density; the percentiles below cut the largest values at nuclei.
LEAST_TOTAL_E_A3 = 1e-2
PERCENTILE = 99.8
DIFFERENCE_PERCENTILE = 99.0
IN_PLANE_A = 0.3
LEAST_WIDTH_E_A3 = 1e-3


@with_figure_style
def draw(slices: dict[str, Any], settings: Figures) -> Figure:
    """Draw total and spin density (rows) of reference, model and model − reference (columns).

    Args:
        slices: reference_total, predicted_total, reference_spin, predicted_spin: (nv, nu) in e/Å³, first axis v;
            extent_A (u0, u1, v0, v1); atoms as dicts of symbol, u_A, v_A, off_plane_A; title. Empty without a density.
        settings: section `figures` of the config.
    """
    figure, axes = new_figure(settings, 2, 3, height_ratio=0.62, width=2.0)
    if not slices or not np.size(slices["reference_total"]):
        _draw_empty(axes, settings)
        return figure
    for row, component in enumerate(("total", "spin")):
        reference, predicted = (
            np.asarray(slices[f"{name}_{component}"], dtype=float) for name in ("reference", "predicted")
        )
        shared = (
            _logarithmic(reference)
            if component == "total"
            else _symmetric(np.stack([reference, predicted]), PERCENTILE)
        )
        colours = COLOUR_MAP if component == "total" else DIVERGING
        difference = predicted - reference
        images = [
            _image(axes[row, 0], reference, slices, shared, colours),
            _image(axes[row, 1], predicted, slices, shared, colours),
            _image(axes[row, 2], difference, slices, _symmetric(difference, DIFFERENCE_PERCENTILE), DIVERGING),
        ]
        _add_colour_bar(figure, images[1], axes[row, :2].tolist(), f"{component} ({UNIT})", settings)
        _add_colour_bar(figure, images[2], [axes[row, 2]], f"difference ({UNIT})", settings)
    _finish(figure, axes, slices, settings)
    return figure


def _draw_empty(axes: np.ndarray, settings: Figures) -> None:
    for axis in axes.flat:
        axis.axis("off")
    write_message(axes[0, 1], settings, "no density to show")


def _logarithmic(values: np.ndarray) -> Normalize:
    highest = max(float(np.percentile(values, PERCENTILE)), 2 * LEAST_TOTAL_E_A3)
    return LogNorm(LEAST_TOTAL_E_A3, highest, clip=True)


def _symmetric(values: np.ndarray, percentile: float) -> Normalize:
    widest = max(float(np.percentile(np.abs(values), percentile)), LEAST_WIDTH_E_A3)
    return Normalize(-widest, widest)


def _image(axis: Axes, values: np.ndarray, slices: dict[str, Any], norm: Normalize, colours: str) -> AxesImage:
    return axis.imshow(values, origin="lower", extent=tuple(slices["extent_A"]), norm=norm, cmap=colours)


def _add_colour_bar(figure: Figure, image: AxesImage, axes: list[Axes], name: str, settings: Figures) -> None:
    bar = figure.colorbar(image, ax=axes, aspect=18, pad=0.02, extend="both")
    bar.set_label(name, fontsize=settings.font_pt - 1)
    bar.ax.tick_params(labelsize=settings.font_pt - 1)


def _finish(figure: Figure, axes: np.ndarray, slices: dict[str, Any], settings: Figures) -> None:
    for column, name in enumerate(("reference", "model", "model − reference")):
        label(axes[0, column], settings, title=f"{'abc'[column]}  {name}")
        label(axes[1, column], settings, x="u (Å)", title="def"[column])
    for axis in axes[:, 0]:
        axis.set_ylabel("v (Å)", fontsize=settings.font_pt)
    for axis in axes.flat:
        _atoms(axis, slices, settings)
    for axis in [*axes[:, 1], *axes[:, 2]]:
        axis.tick_params(labelleft=False)
    for axis in axes[0]:
        axis.tick_params(labelbottom=False)
    if slices.get("title"):
        figure.suptitle(slices["title"], fontsize=settings.font_pt)


def _atoms(axis: Axes, slices: dict[str, Any], settings: Figures) -> None:
    """Write the symbols of atoms; those off the plane are small and grey."""
    for atom in slices["atoms"]:
        in_plane = abs(atom["off_plane_A"]) <= IN_PLANE_A
        axis.text(
            atom["u_A"],
            atom["v_A"],
            atom["symbol"],
            ha="center",
            va="center",
            clip_on=True,
            color="black" if in_plane else "#666666",
            fontsize=settings.font_pt - (1.0 if in_plane else 2.5),
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )
