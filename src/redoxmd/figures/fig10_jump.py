"""Fig. 10: charges, moments and displacements through one jump, with the structure before, during and after."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from redoxmd.charges.event import JumpEvent
from redoxmd.config.sections import Figures
from redoxmd.figures.structure_view import KEY, REDOX_MAP, choose_view, draw_structure
from redoxmd.figures.style import (
    COLOURS,
    assign_colours,
    label,
    legend,
    new_figure,
    smaller_font,
    with_figure_style,
    write_message,
)

GREY = "#BBBBBB"
FS_PER_PS = 1000.0
HEIGHTS = (1.0, 1.0, 1.0, 3.2)
FEW_POINTS = 30
HOP_COLOUR = COLOURS[2]
CHARGE_HOP_COLOUR = COLOURS[5]
MU_B = r"$\mu_\mathrm{B}$"


@with_figure_style
def draw(event: JumpEvent, settings: Figures) -> Figure:
    """Draw charge (a), moment (b) and displacement (c) over time, and structures (d) of a jump."""
    figure, axes = new_figure(
        settings, 4, 1, height_ratio=1.2, width=2.0, gridspec_kw={"height_ratios": HEIGHTS, "hspace": 0.02}
    )
    charge, moment, path, picture = axes[:, 0]
    series, displacements = event.series, event.displacements
    _states(charge, series, "charge_e")
    _states(moment, series, "moment_muB")
    _paths(path, displacements)
    times = np.concatenate([table["time_fs"].to_numpy(dtype=float) for table in (series, displacements)]) / FS_PER_PS
    low, high = (float(times.min()), float(times.max())) if len(times) else (0.0, 1.0)
    for axis in (charge, moment, path):
        if not np.isnan(event.jump_time_fs):
            jump_ps = event.jump_time_fs / FS_PER_PS
            axis.axvline(jump_ps, color="black", linewidth=0.9, linestyle="--", label="jump recorded")
        kinds = ("electron hop", ":", HOP_COLOUR), ("hop by charges alone", "-.", CHARGE_HOP_COLOUR)
        for times_fs, (text, line, colour) in zip((event.hop_times_fs, event.charge_hop_times_fs), kinds, strict=True):
            for number, hop_fs in enumerate(times_fs):
                name = None if number else text
                axis.axvline(hop_fs / FS_PER_PS, color=colour, linewidth=0.9, linestyle=line, label=name)
        axis.set_xlim(*((low, high) if high > low else (low - 0.5, high + 0.5)))
    label(charge, "", "charge (e)", f"a  {_scatter_text(series, 'charge_e', 'e')}")
    label(moment, "", rf"moment ({MU_B})", f"b  {_scatter_text(series, 'moment_muB', MU_B)}")
    label(path, "time (ps)", "displacement (Å)", "c  of ions that jump: from the site left")
    figure.suptitle(event.text)
    # The second panel has the same colours as the first.
    for axis in (charge, path):
        legend(axis, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axis in (charge, moment):
        axis.tick_params(labelbottom=False)
    _pictures(figure, picture, event)
    return figure


def _scatter_text(series: pd.DataFrame, column: str, unit: str) -> str:
    """Text with the mean step of atoms that change their state and the scatter of atoms with constant state."""
    by_atom = [rows for _, rows in series.groupby("atom")] if len(series) else []
    constant = [rows[column].std(ddof=1) for rows in by_atom if rows["state"].dropna().nunique() == 1 and len(rows) > 1]
    means = [rows.groupby("state")[column].mean() for rows in by_atom if rows["state"].dropna().nunique() > 1]
    if not constant or not means:
        return ""
    step = float(np.mean([abs(by_state.iloc[-1] - by_state.iloc[0]) for by_state in means]))
    return f"step of coloured atoms {step:.2g} {unit}; scatter of grey ones (1 σ) {np.mean(constant):.2g} {unit}"


def _line(axis: Axes, rows: pd.DataFrame, column: str, **style: Any) -> None:
    """Draw a line over time, with dots if there are few points."""
    ordered = rows.sort_values("time_fs")
    marker = "." if len(ordered) < FEW_POINTS else ""
    axis.plot(ordered["time_fs"] / FS_PER_PS, ordered[column], marker=marker, **style)


def _states(axis: Axes, series: pd.DataFrame, column: str) -> None:
    """Draw atoms that change their state with thick coloured lines, other atoms with thin grey lines."""
    if series.empty:
        write_message(axis, "no jump with charges to show")
        return
    atoms = {str(atom): rows for atom, rows in series.groupby("atom")}
    changing = [atom for atom, rows in atoms.items() if rows["state"].dropna().nunique() > 1]
    colours = assign_colours(changing)
    constant = [atom for atom in atoms if atom not in colours]
    constant_label = "constant state" if changing else "no change of state"
    for number, atom in enumerate(constant):
        name = {"label": constant_label} if number == 0 else {}
        _line(axis, atoms[atom], column, color=GREY, linewidth=0.6, **name)
    for atom in changing:
        _line(axis, atoms[atom], column, color=colours[atom], linewidth=1.5, label=f"atom {atom}")


def _paths(axis: Axes, displacements: pd.DataFrame) -> None:
    if displacements.empty:
        write_message(axis, "no displacement to show")
        return
    jumps = displacements["jumps"].astype(bool)
    for number, (_, rows) in enumerate(displacements[~jumps].groupby("ion")):
        name = {"label": "other ions, from\ntheir mean position"} if number == 0 else {}
        _line(axis, rows, "displacement_A", color=GREY, linewidth=0.6, alpha=0.7, **name)
    moving = displacements[jumps]
    for ion, colour in zip(sorted(moving["ion"].unique()), (COLOURS[4], COLOURS[3], *COLOURS), strict=False):
        rows = moving[moving["ion"] == ion]
        _line(axis, rows, "displacement_A", color=colour, linewidth=1.5, label=f"ion {ion}, jumps")
    axis.set_ylim(bottom=0)


def _pictures(figure: Figure, panel: Axes, event: JumpEvent) -> None:
    if not event.snapshots:
        panel.axis("off")
        write_message(panel, "no snapshot to show")
        return
    grid = cast(SubplotSpec, panel.get_subplotspec()).subgridspec(1, len(event.snapshots))
    panel.remove()
    view = choose_view(event.cell_A, event.arrows)
    panels = [figure.add_subplot(grid[0, number]) for number in range(len(event.snapshots))]
    for number, (axis, snapshot) in enumerate(zip(panels, event.snapshots, strict=True)):
        colours = {
            int(atom): to_hex(REDOX_MAP(float(probability))) if np.isfinite(probability) else "white"
            for atom, probability in zip(event.redox, snapshot.probability, strict=True)
        }
        draw_structure(
            axis,
            event.numbers,
            snapshot.positions_A,
            event.cell_A,
            view,
            highlight=event.jumping.tolist(),
            colour_by_atom=colours,
            arrows=event.arrows,
            image_reference_A=event.snapshots[0].positions_A,
        )
        letter = "" if number else "d  "
        label(axis, title=f"{letter}{snapshot.title}, {snapshot.time_fs / FS_PER_PS:.3g} ps")
    figure.supxlabel(f"{KEY}; arrow: from the site left to the site reached", fontsize=smaller_font(1.5))
    states = sorted(event.series["state"].dropna().unique())
    name = f"probability of {states[-1]:g}+" if len(states) > 1 else "probability of the higher state"
    mappable, ticks = ScalarMappable(Normalize(0.0, 1.0), REDOX_MAP), [0.0, 0.5, 1.0]
    bar = figure.colorbar(mappable, ax=panels, shrink=0.8, aspect=18, pad=0.01, ticks=ticks)
    bar.set_label(name, fontsize=smaller_font(1))
    bar.ax.tick_params(labelsize=smaller_font(1))
