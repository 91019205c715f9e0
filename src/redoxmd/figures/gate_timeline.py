"""Force spread against time in every explore run, with the gate's thresholds."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from redoxmd.config.sections import Figures
from redoxmd.errors import SURVIVED
from redoxmd.figures.style import assign_colours, label, log_ticks, new_figure, with_figure_style, write_message

MOST_COLUMNS = 4
# Legend entries common to all runs: text, line, marker.
SYMBOLS = (
    ("candidate for labelling", "none", "."),
    ("run stopped", "none", "x"),
    ("thresholds of the gate", "--", ""),
)


@with_figure_style
def draw(traces: pd.DataFrame, ends: pd.DataFrame, low_eV_A: float, high_eV_A: float, settings: Figures) -> Figure:
    """Draw one panel per generation; dots are candidates, a cross marks the end of a stopped run.

    Args:
        traces: generation, structure, time_fs, spread_eV_A, candidate.
        ends: generation, structure, end_reason.
    """
    generations = sorted(traces["generation"].unique()) if len(traces) else [0]
    columns = min(len(generations), MOST_COLUMNS)
    rows = math.ceil(len(generations) / columns)
    height = 0.12 + rows * min(0.5, 0.75 / columns)
    figure, axes = new_figure(settings, rows, columns, height_ratio=height, width=2.0, sharex=True, sharey=True)
    structures = sorted(traces["structure"].unique()) if len(traces) else []
    colours = assign_colours(structures)
    spread = traces["spread_eV_A"][traces["spread_eV_A"] > 0] if len(traces) else pd.Series([low_eV_A])
    for axis in list(axes.flat)[len(generations) :]:
        axis.set_visible(False)
    for generation, axis in zip(generations, axes.flat, strict=False):
        rows_of_generation = traces[traces["generation"] == generation] if len(traces) else traces
        stopped = ends[(ends["generation"] == generation) & (ends["end_reason"] != SURVIVED)] if len(ends) else ends
        for structure, run in rows_of_generation.groupby("structure"):
            positive, colour = run[run["spread_eV_A"] > 0], colours[str(structure)]
            time_ps = positive["time_fs"] / 1000
            axis.plot(time_ps, positive["spread_eV_A"], color=colour, linewidth=0.8)
            candidates = positive[positive["candidate"]]
            axis.plot(candidates["time_fs"] / 1000, candidates["spread_eV_A"], ".", color=colour, markersize=4)
            if structure in set(stopped["structure"]) and len(positive):
                axis.plot(time_ps.iloc[-1], positive["spread_eV_A"].iloc[-1], "x", color=colour, markersize=6)
        for value in (low_eV_A, high_eV_A):
            axis.axhline(value, color="black", linestyle="--", linewidth=0.8)
        # The axis includes all spreads and both thresholds.
        log_ticks(axis, "y", min(float(spread.min()), low_eV_A) / 1.3, max(float(spread.max()), high_eV_A) * 1.3)
        first_column = axis in list(axes[:, 0])
        label(axis, "time (ps)", "force spread (eV/Å)" if first_column else "", f"generation {generation}")
        if rows_of_generation.empty:
            write_message(axis, "no explore run")
    if structures:
        runs = [Line2D([], [], color=colours[name], linewidth=0.8, label=name) for name in structures]
        marks = [Line2D([], [], color="black", linestyle=line, marker=mark, label=text) for text, line, mark in SYMBOLS]
        figure.legend(handles=[*runs, *marks], loc="outside lower center", ncols=3)
    return figure
