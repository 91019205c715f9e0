"""Fig. 4: energy along the paths of the mobile ions, ensemble beside reference, and the structures on the way."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import pandas as pd
from ase import Atoms
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from redoxmd.config.sections import Figures
from redoxmd.figures.structure_view import KEY, MOBILE, choose_view, draw_structure
from redoxmd.figures.style import COLOURS, colour_of, in_style, label, new_figure, say
from redoxmd.structures.request import parse_name

COLUMNS = 3
HEIGHTS = (1.2, 0.6)
REASON_WIDTH = 34
MOVED_A = 1.5
RADIUS_A = 5.5
# An image this far below the first one is no scatter of a relaxation that has converged.
LOWER_EV = 0.005


@in_style
def draw(
    profiles: pd.DataFrame,
    barriers: pd.DataFrame,
    settings: Figures,
    images: Mapping[str, Sequence[Atoms]] | None = None,
) -> Figure:
    """Energy above the first image, a panel for each path, bars the spread between members; below it three images.

    Args:
        profiles: path, image, coordinate_A, energy_eV, energy_spread_eV, reference_eV (NaN where there is none).
        barriers: path, saddle_image, barrier_forward_eV, barrier_forward_spread_eV, reference_forward_eV, reason (why
            there is no path, or "").
        settings: look.
        images: structures of each path, unwrapped along it.
    """
    names = barriers["path"].tolist()
    columns = min(COLUMNS, max(1, len(names)))
    rows = -(-max(1, len(names)) // columns)
    # A column of the page for one panel, two for two or three.
    width = min(columns, 2)
    figure, axes = new_figure(
        settings,
        2 * rows,
        columns,
        height_ratio=0.75 * sum(HEIGHTS) * rows / columns,
        width=width,
        gridspec_kw={"height_ratios": HEIGHTS * rows},
    )
    places = [(axes[2 * row, column], axes[2 * row + 1, column]) for row in range(rows) for column in range(columns)]
    for number, ((axis, below), name) in enumerate(zip(places, names, strict=False), start=1):
        barrier = barriers[barriers["path"] == name].iloc[0]
        moved = (images or {}).get(name, ())
        title = f"{number}  {_what_moves(name, barrier, moved)}"
        _path(axis, title, profiles[profiles["path"] == name], barrier, settings)
        _structures(figure, below, moved, barrier, settings)
    handles = {text: line for axis, _ in places for line, text in zip(*axis.get_legend_handles_labels(), strict=True)}
    if handles:
        small = settings.font_pt - 1.5
        figure.legend(
            list(handles.values()),
            list(handles),
            loc="outside lower center",
            ncols=2,
            frameon=False,
            fontsize=small,
            title=f"pictures: {KEY}",
            title_fontsize=small,
        )
    for axis, below in places[len(names) :]:
        axis.set_axis_off()
        below.set_axis_off()
    if not names:
        say(axes[0, 0], settings, "no path yet")
    return figure


def _what_moves(name: str, barrier: pd.Series, images: Sequence[Atoms]) -> str:
    """Concentration and number of ions that move; the name of the path where neither is known."""
    structure = barrier.get("structure")
    words = [f"x = {parse_name(structure).x:g}"] if isinstance(structure, str) else []
    if len(images):
        moving = len(_moving(images[0].numbers, np.array([image.positions for image in images])))
        words.append("one ion moves" if moving == 1 else f"{moving} ions move")
    return ", ".join(words) or name


def _path(axis: Axes, title: str, rows: pd.DataFrame, barrier: pd.Series, settings: Figures) -> None:
    if rows.empty:
        axis.set_axis_off()
        reason = barrier["reason"] if isinstance(barrier["reason"], str) else "no reason recorded"
        label(axis, settings, title=f"{title}: no path")
        say(axis, settings, textwrap.fill(reason, REASON_WIDTH))
        return
    _panel(axis, rows, settings)
    label(
        axis, settings, "length of the path (Å)", "energy above first image (eV)", f"{title}\n{_words(barrier, rows)}"
    )


def _panel(axis: Axes, rows: pd.DataFrame, settings: Figures) -> None:
    axis.axhline(0.0, color="#bbbbbb", linewidth=0.6)
    place, energy, spread = (rows[name].to_numpy() for name in ("coordinate_A", "energy_eV", "energy_spread_eV"))
    axis.errorbar(place, energy, spread, fmt="o-", color=COLOURS[0], capsize=2, label="ensemble, bars: spread")
    known = np.isfinite(rows["reference_eV"].to_numpy(dtype=float))
    if known.any():
        reference = rows["reference_eV"].to_numpy()
        axis.plot(
            place[known],
            reference[known],
            "s--",
            color=COLOURS[1],
            markerfacecolor="none",
            label="reference, same images",
        )


def _words(barrier: pd.Series, rows: pd.DataFrame) -> str:
    """The barriers of ensemble and reference; below them that from the lowest image where that lies below the first.

    An end above its neighbour is not the minimum of the path, and the barrier from it is too low.
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


def _structures(figure: Figure, place: Axes, images: Sequence[Atoms], barrier: pd.Series, settings: Figures) -> None:
    """First, highest and last image around the ions that move, these in colour, seen across their ways."""
    if not len(images):
        place.set_axis_off()
        return
    way = np.array([image.positions for image in images])
    moving = _moving(images[0].numbers, way)
    colours = colour_of(moving)
    cell = np.asarray(images[0].cell)
    arrows = [(way[0, ion], way[-1, ion]) for ion in moving]
    view = choose_view(cell, arrows)
    shown = {"initial": 0, "saddle": int(barrier["saddle_image"]), "final": len(images) - 1}
    grid = cast(SubplotSpec, place.get_subplotspec()).subgridspec(1, len(shown), wspace=0.02)
    place.remove()
    for number, (word, image) in enumerate(shown.items()):
        axis = figure.add_subplot(grid[0, number])
        draw_structure(
            axis,
            images[image].numbers,
            way[image],
            cell,
            settings,
            highlight=moving,
            colour_by_atom=colours,
            view=view,
            radius_A=RADIUS_A,
            trails={ion: way[: image + 1, ion] for ion in moving},
        )
        axis.set_title(word, fontsize=settings.font_pt - 1)


def _moving(numbers: np.ndarray, way_A: np.ndarray) -> list[int]:
    """Mobile ions that end up elsewhere, the one that goes farthest first; that one alone if none goes far."""
    gone = np.linalg.norm(way_A[-1] - way_A[0], axis=1) * np.isin(numbers, list(MOBILE))
    far = [int(ion) for ion in np.argsort(-gone, kind="stable") if gone[ion] > MOVED_A]
    return far or [int(gone.argmax())]
