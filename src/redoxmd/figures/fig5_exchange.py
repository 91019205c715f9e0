"""Fig. 5: the mechanism by one real event: the ions before, on their way and after, and their distances over time."""

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
from redoxmd.figures.style import colour_of, in_style, label, legend, new_figure, say

HEIGHTS = (1.7, 1.0)
REASON_WIDTH = 80
# Both sites of an exchange, their polyhedra and those next to them.
REACH_A = 6.0
WORDS = {
    "exchange": "exchange",
    "pair": "two neighbouring jumps (no exchange in any trajectory)",
    "single": "one jump (no concerted ones in any trajectory)",
}


@in_style
def draw(event: Event | None, settings: Figures, reason: str = "no event") -> Figure:
    """Pictures of the surroundings (a), and distance of each ion from the site it leaves (lines) and goes to (dashed).

    Args:
        event: what to show.
        settings: look.
        reason: why there is no event, where there is none.
    """
    moments = {} if event is None else _moments(event)
    figure, axes = new_figure(
        settings, 2, max(1, len(moments)), height_ratio=0.66, width=2.0, gridspec_kw={"height_ratios": HEIGHTS}
    )
    if event is None:
        say(axes[0, 0], settings, textwrap.fill(reason, REASON_WIDTH))
        for axis in axes.flat:
            axis.axis("off")
        return figure
    _pictures(list(axes[0]), event, moments, settings)
    grid = cast(SubplotSpec, axes[1, 0].get_subplotspec()).get_gridspec()
    for axis in axes[1, 1:]:
        axis.remove()
    axes[1, 0].set_subplotspec(grid[1, :])
    _distances(axes[1, 0], event, settings)
    return figure


def _moments(event: Event) -> dict[int, str]:
    """Frames to show, in order of time."""
    halfway = dict.fromkeys(sorted(event.halfway()), "on the way")
    return {event.before: "before", **halfway, event.after: "after"}


def _pictures(panels: list[Axes], event: Event, moments: dict[int, str], settings: Figures) -> None:
    arrows = [(move.start_A, move.end_A) for move in event.moves]
    view, colours = choose_view(event.cell_A, arrows), _colours(event)
    for number, (axis, (frame, word)) in enumerate(zip(panels, moments.items(), strict=True)):
        way = slice(event.before, frame + 1)
        draw_structure(
            axis,
            event.numbers,
            event.positions_A[frame],
            event.cell_A,
            settings,
            highlight=list(colours),
            colour_by_atom=colours,
            arrows=arrows if frame == event.before else (),
            view=view,
            reach_A=REACH_A,
            trails={ion: event.positions_A[way, ion] for ion in colours} if frame > event.before else None,
        )
        if number == 0:
            key = axis.text(0, -0.02, KEY, transform=axis.transAxes, va="top", fontsize=settings.font_pt - 1.5)
            key.set_in_layout(False)
        letter = "a  " if number == 0 else ""
        label(axis, settings, title=f"{letter}{word}, {_since(event)[frame]:+.0f} fs".replace("-", "−"))


def _colours(event: Event) -> dict[int, str]:
    return colour_of([move.ion for move in event.moves])


def _since(event: Event) -> np.ndarray:
    """(F,) time since the first ion left, fs."""
    since: np.ndarray = event.time_fs - event.moves[0].left_fs
    return since


def _distances(axis: Axes, event: Event, settings: Figures) -> None:
    colours, since = _colours(event), _since(event)
    for move, (old, new) in zip(event.moves, event.distances_A(), strict=True):
        colour = colours[move.ion]
        axis.plot(since, old, color=colour, label=f"ion {move.ion}: from {move.from_site}, which it leaves")
        axis.plot(
            since, new, "--", color=colour, linewidth=0.7, label=f"ion {move.ion}: from {move.to_site}, where it goes"
        )
        axis.axvspan(
            *(time - event.moves[0].left_fs for time in (move.left_fs, move.arrived_fs)),
            color=colour,
            alpha=0.12,
            label=f"ion {move.ion}: between the two",
        )
    axis.set_xlim(since[0], since[-1])
    axis.set_ylim(bottom=0)
    where = f"x = {event.metadata['x']:g}, {event.metadata['temperature_K']:g} K"
    label(
        axis, settings, "time since the first ion left (fs)", "distance from site (Å)", f"b  {where}: {order_of(event)}"
    )
    legend(axis, settings, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=len(event.moves))


def order_of(event: Event) -> str:
    """What happens, in words: who leaves first and how long after it the other follows."""
    first, *others = event.moves
    words = WORDS[event.kind]
    if not others:
        return f"{words}, {first.from_site} → {first.to_site}"
    if event.delay_fs == 0:
        return f"{words}, both leave in the same frame"
    return f"{words}, {first.from_site} is left first, {others[0].from_site} {event.delay_fs:.0f} fs later"
