"""Fig. 10: charges, moments and displacements through one jump, with the structure before, during and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize, to_hex
from matplotlib.figure import Figure
from matplotlib.gridspec import SubplotSpec

from redoxmd.config.sections import Figures
from redoxmd.figures.structure_view import KEY, REDOX_MAP, View, choose_view, draw_structure
from redoxmd.figures.style import COLOURS, assign_colours, label, legend, new_figure, with_figure_style, write_message

GREY = "#BBBBBB"
FS_PER_PS = 1000.0
HEIGHTS = (1.0, 1.0, 1.0, 3.2)
FEW_POINTS = 30
HOP_COLOUR = COLOURS[2]
MU_B = r"$\mu_\mathrm{B}$"


@with_figure_style
def draw(
    series: pd.DataFrame,
    displacements: pd.DataFrame,
    snapshots: Sequence[dict[str, Any]],
    settings: Figures,
    events: dict[str, Any] | None = None,
) -> Figure:
    """Draw charge (a), moment (b) and displacement (c) over time, and structures (d).

    Args:
        series: time_fs, atom, charge_e, moment_muB, probability (of the higher state), state.
        displacements: time_fs, ion, displacement_A (of jumping ions from the site that they leave, of other ions from
            their mean position), jumps (bool: the ion jumps).
        snapshots: title, time_fs, numbers (n,), positions_A (n, 3), cell_A (3, 3), redox (indices), probability (of
            the higher state of each redox atom), jumping (indices), arrows (start and end of each path, Å).
        settings: section `figures` of the config.
        events: jump_time_fs, hop_times_fs, text.
    """
    figure, axes = new_figure(
        settings, 4, 1, height_ratio=1.2, width=2.0, gridspec_kw={"height_ratios": HEIGHTS, "hspace": 0.02}
    )
    events = events or {}
    _states(axes[0, 0], series, "charge_e", settings)
    _states(axes[1, 0], series, "moment_muB", settings)
    _paths(axes[2, 0], displacements, settings)
    for axis in axes[:3, 0]:
        _mark_events(axis, events)
        axis.set_xlim(*_span(series, displacements))
    _labels(figure, list(axes[:3, 0]), series, events, settings)
    _pictures(figure, axes[3, 0], snapshots, series, settings)
    return figure


def _labels(figure: Figure, axes: list[Axes], series: pd.DataFrame, events: dict[str, Any], settings: Figures) -> None:
    label(axes[0], settings, "", "charge (e)", f"a  {_scatter_text(series, 'charge_e', 'e')}")
    label(axes[1], settings, "", r"moment ($\mu_\mathrm{B}$)", f"b  {_scatter_text(series, 'moment_muB', MU_B)}")
    label(axes[2], settings, "time (ps)", "displacement (Å)", "c  of ions that jump: from the site left")
    figure.suptitle(str(events.get("text", "")), fontsize=settings.font_pt)
    # The second panel has the same colours as the first.
    for axis in (axes[0], axes[2]):
        legend(axis, settings, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for axis in axes[:2]:
        axis.tick_params(labelbottom=False)


def _scatter_text(series: pd.DataFrame, column: str, unit: str) -> str:
    """Text with the mean step of atoms that change their state and the scatter of atoms with constant state."""
    by_atom = [rows for _, rows in series.groupby("atom")] if len(series) else []
    constant = [rows[column].std(ddof=1) for rows in by_atom if rows["state"].dropna().nunique() == 1 and len(rows) > 1]
    means = [rows.groupby("state")[column].mean() for rows in by_atom if rows["state"].dropna().nunique() > 1]
    if not constant or not means:
        return ""
    step = float(np.mean([abs(by_state.iloc[-1] - by_state.iloc[0]) for by_state in means]))
    return f"step of coloured atoms {step:.2g} {unit}; scatter of grey ones (1 σ) {np.mean(constant):.2g} {unit}"


def _span(series: pd.DataFrame, displacements: pd.DataFrame) -> tuple[float, float]:
    times = np.concatenate([table["time_fs"].to_numpy(dtype=float) for table in (series, displacements)]) / FS_PER_PS
    if not len(times):
        return 0.0, 1.0
    low, high = float(times.min()), float(times.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _line(axis: Axes, rows: pd.DataFrame, column: str, **style: Any) -> None:
    """Draw a line over time, with dots if there are few points."""
    ordered = rows.sort_values("time_fs")
    marker = "." if len(ordered) < FEW_POINTS else ""
    axis.plot(ordered["time_fs"] / FS_PER_PS, ordered[column], marker=marker, **style)


def _states(axis: Axes, series: pd.DataFrame, column: str, settings: Figures) -> None:
    """Draw atoms that change their state with thick coloured lines, other atoms with thin grey lines."""
    if series.empty:
        write_message(axis, settings, "no jump with charges to show")
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


def _paths(axis: Axes, displacements: pd.DataFrame, settings: Figures) -> None:
    if displacements.empty:
        write_message(axis, settings, "no displacement to show")
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


def _mark_events(axis: Axes, events: dict[str, Any]) -> None:
    """Draw a dashed line at the jump and a dotted line at each electron hop."""
    jump, hops = events.get("jump_time_fs"), events.get("hop_times_fs")
    if jump is not None:
        axis.axvline(jump / FS_PER_PS, color="black", linewidth=0.9, linestyle="--", label="jump recorded")
    for number, time in enumerate(hops if hops is not None else ()):
        name = "electron hop" if number == 0 else ""
        axis.axvline(time / FS_PER_PS, color=HOP_COLOUR, linewidth=0.9, linestyle=":", label=name or None)


def _pictures(
    figure: Figure, panel: Axes, snapshots: Sequence[dict[str, Any]], series: pd.DataFrame, settings: Figures
) -> None:
    if not snapshots:
        panel.axis("off")
        write_message(panel, settings, "no snapshot to show")
        return
    grid = cast(SubplotSpec, panel.get_subplotspec()).subgridspec(1, len(snapshots))
    panel.remove()
    arrows = next((list(snapshot["arrows"]) for snapshot in snapshots if len(snapshot["arrows"])), [])
    view = choose_view(snapshots[0]["cell_A"], arrows)
    panels = [figure.add_subplot(grid[0, number]) for number in range(len(snapshots))]
    for axis, snapshot in zip(panels, snapshots, strict=True):
        _picture(axis, snapshot, snapshots[0]["positions_A"], view, settings)
    label(panels[0], settings, title=f"d  {panels[0].get_title(loc='left')}")
    figure.supxlabel(KEY, fontsize=settings.font_pt - 1.5)
    _colour_bar(figure, panels, series, settings)


def _picture(axis: Axes, snapshot: dict[str, Any], first_A: np.ndarray, view: View, settings: Figures) -> None:
    colours = {
        int(atom): to_hex(REDOX_MAP(float(probability))) if np.isfinite(probability) else "white"
        for atom, probability in zip(snapshot["redox"], snapshot["probability"], strict=True)
    }
    draw_structure(
        axis,
        snapshot["numbers"],
        snapshot["positions_A"],
        snapshot["cell_A"],
        settings,
        highlight=[int(ion) for ion in snapshot["jumping"]],
        colour_by_atom=colours,
        arrows=snapshot["arrows"],
        view=view,
        image_reference_A=first_A,
    )
    label(axis, settings, title=f"{snapshot['title']}, {snapshot['time_fs'] / FS_PER_PS:.3g} ps")


def _colour_bar(figure: Figure, panels: list[Axes], series: pd.DataFrame, settings: Figures) -> None:
    states = sorted(series["state"].dropna().unique()) if len(series) else []
    name = f"probability of {states[-1]:g}+" if len(states) > 1 else "probability of the higher state"
    bar = figure.colorbar(
        ScalarMappable(Normalize(0.0, 1.0), REDOX_MAP),
        ax=panels,
        shrink=0.8,
        aspect=18,
        pad=0.01,
        ticks=[0.0, 0.5, 1.0],
    )
    bar.set_label(name, fontsize=settings.font_pt - 1)
    bar.ax.tick_params(labelsize=settings.font_pt - 1)
