"""Fig. 4: energy of ensemble and reference along the paths of the mobile ions, and structures along the paths."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from redoxmd.config.sections import Figures
from redoxmd.figures.structure_view import KEY, MOBILE, choose_view, draw_structure
from redoxmd.figures.style import (
    COLOURS,
    assign_colours,
    label,
    new_figure,
    smaller_font,
    with_figure_style,
    write_message,
)
from redoxmd.structures.request import parse_name

COLUMNS = 3
HEIGHTS = (1.2, 0.6)
REASON_WIDTH = 34
MOVED_A = 1.5
VIEW_RADIUS_A = 5.5
# An image lower than the first by more than this is no scatter of a converged relaxation.
LOWER_EV = 0.005


@with_figure_style
def draw(
    profiles: pd.DataFrame,
    barriers: pd.DataFrame,
    settings: Figures,
    images: Mapping[str, Sequence[Atoms]] | None = None,
) -> Figure:
    """Draw the energy above the first image in one panel per path, with the spread as bars, and three images below.

    Args:
        profiles: path, image, coordinate_A, energy_eV, energy_spread_eV, reference_eV (NaN without reference).
        barriers: path, saddle_image, barrier_forward_eV, barrier_forward_spread_eV, reference_forward_eV, reason (of
            a missing path, or "").
        images: structures of each path, unwrapped along the path.
    """
    names = barriers["path"].tolist()
    columns = min(COLUMNS, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    # One panel has the width of one column of a page, two or three panels have that of two columns.
    width = min(columns, 2)
    figure, axes = new_figure(
        settings,
        2 * rows,
        columns,
        height_ratio=0.75 * sum(HEIGHTS) * rows / columns,
        width=width,
        gridspec_kw={"height_ratios": HEIGHTS * rows},
    )
    panels = [(axes[2 * row, column], axes[2 * row + 1, column]) for row in range(rows) for column in range(columns)]
    for number, ((axis, structure_axis), name) in enumerate(zip(panels, names, strict=False), start=1):
        barrier = barriers[barriers["path"] == name].iloc[0]
        path_images = (images or {}).get(name, ())
        title = f"{number}  {_path_title(name, barrier, path_images)}"
        _path(axis, title, profiles[profiles["path"] == name], barrier)
        _structures(figure, structure_axis, path_images, barrier)
    handles = {text: line for axis, _ in panels for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles:
        title = f"pictures: {KEY}"
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=2, title=title)
    for axis, structure_axis in panels[len(names) :]:
        axis.set_axis_off()
        structure_axis.set_axis_off()
    if not names:
        write_message(axes[0, 0], "no path yet")
    return figure


def _path_title(name: str, barrier: pd.Series, images: Sequence[Atoms]) -> str:
    """Concentration and number of moving ions; the name of the path if neither is known."""
    structure = barrier.get("structure")
    words = [f"x = {parse_name(structure).x:g}"] if isinstance(structure, str) else []
    if len(images):
        moving = len(_moving(images[0].numbers, np.array([image.positions for image in images])))
        words.append("one ion moves" if moving == 1 else f"{moving} ions move")
    return ", ".join(words) or name


def _path(axis: Axes, title: str, rows: pd.DataFrame, barrier: pd.Series) -> None:
    if rows.empty:
        axis.set_axis_off()
        reason = barrier["reason"] if isinstance(barrier["reason"], str) else "no reason recorded"
        label(axis, title=f"{title}: no path")
        write_message(axis, textwrap.fill(reason, REASON_WIDTH))
        return
    axis.axhline(0.0, color="#bbbbbb", linewidth=0.6)
    coordinate, energy, spread, reference = (
        rows[name].to_numpy(dtype=float) for name in ("coordinate_A", "energy_eV", "energy_spread_eV", "reference_eV")
    )
    axis.errorbar(
        coordinate, energy, spread, fmt="o-", color=COLOURS[0], capsize=2, label="ensemble, bars and ±: spread"
    )
    labelled = np.isfinite(reference)
    if labelled.any():
        style: dict[str, Any] = {"color": COLOURS[1], "markerfacecolor": "none", "label": "reference, same images"}
        axis.plot(coordinate[labelled], reference[labelled], "s--", **style)
    title = f"{title}\n{_barrier_text(barrier, rows)}"
    label(axis, "length of the path (Å)", "energy above first image (eV)", title)


def _barrier_text(barrier: pd.Series, rows: pd.DataFrame) -> str:
    """Barriers of ensemble and reference, and the barrier from the lowest image if it lies below the first image.

    A first image above a later one is no minimum, and the barrier from it is too low.
    """
    forward = float(barrier["barrier_forward_eV"])
    text = f"ensemble {forward:.2f} ± {barrier['barrier_forward_spread_eV']:.2f} eV"
    reference = float(barrier["reference_forward_eV"])
    if np.isfinite(reference):
        text += f"\nreference {reference:.2f} eV"
    before = rows.loc[rows["image"] < barrier["saddle_image"], "energy_eV"]
    if len(before) and before.min() < -LOWER_EV:
        text += f"\nfirst image is no minimum:\n{forward - before.min():.2f} eV from the lowest"
    return text


def _structures(figure: Figure, panel: Axes, images: Sequence[Atoms], barrier: pd.Series) -> None:
    """Draw first, highest and last image around the moving ions, perpendicular to their paths."""
    if not len(images):
        panel.set_axis_off()
        return
    positions_A = np.array([image.positions for image in images])
    moving = _moving(images[0].numbers, positions_A)
    colours = assign_colours(moving)
    cell = np.asarray(images[0].cell)
    arrows = [(positions_A[0, ion], positions_A[-1, ion]) for ion in moving]
    view = choose_view(cell, arrows)
    shown = {"initial": 0, "saddle": int(barrier["saddle_image"]), "final": len(images) - 1}
    grid = cast(SubplotSpec, panel.get_subplotspec()).subgridspec(1, len(shown), wspace=0.02)
    panel.remove()
    for number, (word, image) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[0, number])
        draw_structure(
            axis,
            images[image].numbers,
            positions_A[image],
            cell,
            view,
            highlight=moving,
            colour_by_atom=colours,
            radius_A=VIEW_RADIUS_A,
            trails={ion: positions_A[: image + 1, ion] for ion in moving},
        )
        axis.set_title(word, fontsize=smaller_font(1))


def _moving(numbers: np.ndarray, positions_A: np.ndarray) -> list[int]:
    """Mobile ions displaced by more than MOVED_A, the largest displacement first; at least the ion with the largest."""
    displacement = np.linalg.norm(positions_A[-1] - positions_A[0], axis=1) * np.isin(numbers, list(MOBILE))
    displaced = [int(ion) for ion in np.argsort(-displacement, kind="stable") if displacement[ion] > MOVED_A]
    return displaced or [int(displacement.argmax())]
