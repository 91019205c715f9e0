"""Fig. 5: one event as an example of the mechanism: ions before, during and after it, and their distances over time."""

from __future__ import annotations

import textwrap
from typing import cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from redoxmd.config.sections import Figures
from redoxmd.diffusion.mechanism import Event
from redoxmd.figures.structure_view import KEY, choose_view, draw_structure
from redoxmd.figures.style import (
    assign_colours,
    label,
    legend,
    new_figure,
    smaller_font,
    with_figure_style,
    write_message,
)

HEIGHTS = (1.7, 1.0)
REASON_WIDTH = 80
# Contains both sites of an exchange, their polyhedra and the neighbouring polyhedra.
VIEW_RADIUS_A = 6.0
KIND_TEXTS = {
    "exchange": "exchange",
    "pair": "two neighbouring jumps (no exchange in any trajectory)",
    "single": "one jump (no concerted ones in any trajectory)",
}


@with_figure_style
def draw(event: Event | None, settings: Figures, reason: str = "no event") -> Figure:
    """Draw the surroundings (a), and the distances of each ion from its old (solid) and new site (dashed) (b).

    Args:
        event: event to draw, or None.
        reason: reason why there is no event.
    """
    moments: dict[int, str] = {}
    if event is not None:
        halfway = dict.fromkeys(sorted(event.halfway()), "on the way")
        moments = {event.before: "before", **halfway, event.after: "after"}
    figure, axes = new_figure(
        settings, 2, max(1, len(moments)), height_ratio=0.66, width=2.0, gridspec_kw={"height_ratios": HEIGHTS}
    )
    if event is None:
        write_message(axes[0, 0], textwrap.fill(reason, REASON_WIDTH))
        for axis in axes.flat:
            axis.axis("off")
        return figure
    colours = assign_colours([move.ion for move in event.moves])
    elapsed_fs = event.time_fs - event.moves[0].left_fs
    _pictures(list(axes[0]), event, moments, colours, elapsed_fs)
    grid = cast(SubplotSpec, axes[1, 0].get_subplotspec()).get_gridspec()
    for axis in axes[1, 1:]:
        axis.remove()
    axes[1, 0].set_subplotspec(grid[1, :])
    _distances(axes[1, 0], event, colours, elapsed_fs)
    return figure


def _pictures(
    panels: list[Axes], event: Event, moments: dict[int, str], colours: dict[int, str], elapsed_fs: np.ndarray
) -> None:
    arrows = [(move.start_A, move.end_A) for move in event.moves]
    view = choose_view(event.cell_A, arrows)
    for number, (axis, (frame, word)) in enumerate(zip(panels, moments.items(), strict=True)):
        frames = slice(event.before, frame + 1)
        draw_structure(
            axis,
            event.numbers,
            event.positions_A[frame],
            event.cell_A,
            view,
            highlight=list(colours),
            colour_by_atom=colours,
            arrows=arrows if frame == event.before else (),
            radius_A=VIEW_RADIUS_A,
            trails={ion: event.positions_A[frames, ion] for ion in colours} if frame > event.before else {},
        )
        if number == 0:
            key = axis.text(0, -0.02, KEY, transform=axis.transAxes, va="top", fontsize=smaller_font(1.5))
            key.set_in_layout(False)
        letter = "a  " if number == 0 else ""
        label(axis, title=f"{letter}{word}, {elapsed_fs[frame]:+.0f} fs".replace("-", "−"))


def _distances(axis: Axes, event: Event, colours: dict[int, str], elapsed_fs: np.ndarray) -> None:
    for move, (old, new) in zip(event.moves, event.distances_A(), strict=True):
        colour, name = colours[move.ion], f"ion {move.ion}"
        axis.plot(elapsed_fs, old, color=colour, label=f"{name}: from {move.from_site}, which it leaves")
        axis.plot(
            elapsed_fs, new, "--", color=colour, linewidth=0.7, label=f"{name}: from {move.to_site}, where it goes"
        )
        start, end = (time - event.moves[0].left_fs for time in (move.left_fs, move.arrived_fs))
        axis.axvspan(start, end, color=colour, alpha=0.12, label=f"{name}: between the two")
    axis.set_xlim(elapsed_fs[0], elapsed_fs[-1])
    axis.set_ylim(bottom=0)
    conditions = f"x = {event.metadata['x']:g}, {event.metadata['temperature_K']:g} K"
    title = f"b  {conditions}: {describe_order(event)}"
    label(axis, "time since the first ion left (fs)", "distance from site (Å)", title)
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=len(event.moves))


def describe_order(event: Event) -> str:
    """Text on the event: which site is left first, and the delay until the second ion leaves."""
    first, *later = event.moves
    words = KIND_TEXTS[event.kind]
    if not later:
        return f"{words}, {first.from_site} → {first.to_site}"
    if event.delay_fs == 0:
        return f"{words}, both leave in the same frame"
    return f"{words}, {first.from_site} is left first, {later[0].from_site} {event.delay_fs:.0f} fs later"
