"""Force spread against time in every explore run, with the gate's thresholds."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import colour_of, label, legend, new_figure, say


def draw(traces: pd.DataFrame, ends: pd.DataFrame, low_eV_A: float, high_eV_A: float, settings: Figures) -> Figure:
    """One panel per generation; dots are candidates, a cross is where a run was stopped.

    Args:
        traces: generation, structure, time_fs, spread_eV_A, candidate.
        ends: generation, structure, end_reason.
    """
    generations = sorted(traces["generation"].unique()) if len(traces) else [0]
    figure, axes = new_figure(
        settings, 1, len(generations), height_ratio=min(0.8, 0.9 / len(generations)), width=2.0, sharey=True
    )
    structures = sorted(traces["structure"].unique()) if len(traces) else []
    colours = colour_of(structures)
    for generation, axis in zip(generations, axes.flat, strict=True):
        here = traces[traces["generation"] == generation] if len(traces) else traces
        stopped = ends[(ends["generation"] == generation) & (ends["end_reason"] != "survived")] if len(ends) else ends
        _panel(axis, here, stopped, colours)
        for value in (low_eV_A, high_eV_A):
            axis.axhline(value, color="black", linestyle="--", linewidth=0.8)
        axis.set_yscale("log")
        label(axis, settings, "time (ps)", "", f"generation {generation}")
        if here.empty:
            say(axis, settings, "no explore run")
    label(axes[0, 0], settings, "time (ps)", "force spread (eV/Å)", f"generation {generations[0]}")
    legend(axes[0, -1], settings, loc="lower right")
    return figure


def _panel(axis: Axes, traces: pd.DataFrame, stopped: pd.DataFrame, colours: dict[str, str]) -> None:
    for structure, rows in traces.groupby("structure"):
        positive = rows[rows["spread_eV_A"] > 0]
        time_ps = positive["time_fs"] / 1000
        axis.plot(time_ps, positive["spread_eV_A"], color=colours[str(structure)], linewidth=0.8, label=str(structure))
        taken = positive[positive["candidate"]]
        axis.plot(taken["time_fs"] / 1000, taken["spread_eV_A"], ".", color=colours[str(structure)], markersize=4)
        if structure in set(stopped["structure"]) and len(positive):
            axis.plot(
                time_ps.iloc[-1], positive["spread_eV_A"].iloc[-1], "x", color=colours[str(structure)], markersize=6
            )
