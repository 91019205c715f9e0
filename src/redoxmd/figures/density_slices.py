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
from redoxmd.figures.style import COLOUR_MAP, label, new_figure, smaller_font, with_figure_style, write_message

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
    """
    figure, axes = new_figure(settings, 2, 3, height_ratio=0.62, width=2.0)
    if not slices or not np.size(slices["reference_total"]):
        for axis in axes.flat:
            axis.axis("off")
        write_message(axes[0, 1], "no density to show")
        return figure
    for row, component in enumerate(("total", "spin")):
        reference, predicted = (
            np.asarray(slices[f"{name}_{component}"], dtype=float) for name in ("reference", "predicted")
        )
        highest = max(float(np.percentile(reference, PERCENTILE)), 2 * LEAST_TOTAL_E_A3)
        shared: tuple[Normalize, str] = (LogNorm(LEAST_TOTAL_E_A3, highest, clip=True), COLOUR_MAP)
        if component == "spin":
            shared = (_symmetric(np.stack([reference, predicted]), PERCENTILE), DIVERGING)
        difference = predicted - reference
        scales = (shared, shared, (_symmetric(difference, DIFFERENCE_PERCENTILE), DIVERGING))
        images = [
            axis.imshow(values, origin="lower", extent=tuple(slices["extent_A"]), norm=norm, cmap=colours)
            for axis, values, (norm, colours) in zip(axes[row], (reference, predicted, difference), scales, strict=True)
        ]
        _add_colour_bar(figure, images[1], axes[row, :2].tolist(), f"{component} ({UNIT})")
        _add_colour_bar(figure, images[2], [axes[row, 2]], f"difference ({UNIT})")
    for column, name in enumerate(("reference", "model", "model − reference")):
        label(axes[0, column], title=f"{'abc'[column]}  {name}")
        label(axes[1, column], x="u (Å)", title="def"[column])
        for axis in axes[:, column]:
            _atoms(axis, slices)
            axis.tick_params(labelleft=column == 0)
        axes[0, column].tick_params(labelbottom=False)
    for axis in axes[:, 0]:
        axis.set_ylabel("v (Å)")
    if slices.get("title"):
        figure.suptitle(slices["title"])
    return figure


def _symmetric(values: np.ndarray, percentile: float) -> Normalize:
    widest = max(float(np.percentile(np.abs(values), percentile)), LEAST_WIDTH_E_A3)
    return Normalize(-widest, widest)


def _add_colour_bar(figure: Figure, image: AxesImage, axes: list[Axes], name: str) -> None:
    bar = figure.colorbar(image, ax=axes, aspect=18, pad=0.02, extend="both")
    bar.set_label(name, fontsize=smaller_font(1))
    bar.ax.tick_params(labelsize=smaller_font(1))


def _atoms(axis: Axes, slices: dict[str, Any]) -> None:
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
            fontsize=smaller_font(1.0 if in_plane else 2.5),
            path_effects=[withStroke(linewidth=1.5, foreground="white")],
        )
