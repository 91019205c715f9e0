"""Errors of the ensemble and survival times of explore runs by generation."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, SET_COLOURS, label, legend, new_figure, with_figure_style, write_message

# Number of the "generation" before the first reference label.
PRETRAINED = -1
MARKERS = {"train": "s", "validation": "^", "test": "o"}


@with_figure_style
def draw(errors: pd.DataFrame, runs: pd.DataFrame, settings: Figures) -> Figure:
    """Draw force MAE, energy MAE and survival time against generation.

    Args:
        errors: generation (`PRETRAINED`: members trained on labels of a teacher alone), set, member (−1: the ensemble),
            force_mae_eV_A, energy_mae_meV_atom, n_frames.
        runs: generation, structure, survived_ps, target_ps.
    """
    figure, axes = new_figure(settings, 1, 3, height_ratio=0.36, width=2.0)
    units = {"force_mae_eV_A": "force MAE (eV/Å)", "energy_mae_meV_atom": "energy MAE (meV/atom)"}
    for axis, letter, (column, text) in zip(axes[0], "ab", units.items(), strict=False):
        _errors(axis, errors, column)
        label(axis, "generation", text, f"{letter}  {_change(errors, column)}")
    axes[0, 0].plot([], [], "o", color="black", alpha=0.3, markersize=2.5, label="single members")
    legend(axes[0, 0])
    _survival(axes[0, 2], runs)
    for axis in axes.flat:
        ticks = sorted(set(errors.get("generation", [])) | set(runs.get("generation", [])))
        axis.set_xticks(ticks, [generation_name(tick) for tick in ticks])
    return figure


def generation_name(number: float) -> str:
    """Name of a generation on the axis and in the table."""
    return "teacher" if number == PRETRAINED else f"{number:.0f}"


def _errors(axis: Axes, errors: pd.DataFrame, column: str) -> None:
    if errors.empty:
        write_message(axis, "no ensemble yet")
        return
    for name, rows in errors.groupby("set"):
        members, ensemble = rows[rows["member"] >= 0], rows[rows["member"] == -1]
        style: dict[str, Any] = {"color": SET_COLOURS[str(name)], "marker": MARKERS[str(name)]}
        axis.plot(members["generation"], members[column], linestyle="none", alpha=0.3, markersize=2.5, **style)
        axis.plot(ensemble["generation"], ensemble[column], label=str(name), **style)
    axis.set_ylim(bottom=0)


def _change(errors: pd.DataFrame, column: str) -> str:
    """Text on the change of the test error from first to last generation, compared with the spread of the members.

    The spread is the standard deviation over members, added in quadrature for both generations.
    """
    test = errors[errors["set"] == "test"] if len(errors) else errors
    generations = sorted(test["generation"].unique()) if len(test) else []
    if len(generations) < 2:
        return ""
    ends = [test[test["generation"] == generation] for generation in (generations[0], generations[-1])]
    first, last = (float(rows.loc[rows["member"] == -1, column].iloc[0]) for rows in ends)
    spread = math.hypot(*(float(rows.loc[rows["member"] >= 0, column].std(ddof=1)) for rows in ends))
    if not abs(last - first) > spread:
        return "test: no change beyond\nthe spread of the members"
    return f"test: {'falls' if last < first else 'rises'}"


def _survival(axis: Axes, runs: pd.DataFrame) -> None:
    completed = len(runs) > 0 and (runs["survived_ps"] >= runs["target_ps"]).all()
    text = "every run reached its end:\nno limit seen" if completed else ""
    label(axis, "generation", "survived time (ps)", f"c  {text}")
    if runs.empty:
        write_message(axis, "no explore run yet")
        return
    for number, (_, rows) in enumerate(runs.groupby("structure")):
        name = "explore runs" if number == 0 else None
        axis.plot(rows["generation"], rows["survived_ps"], color=COLOURS[0], marker="o", alpha=0.5, label=name)
    target = runs.groupby("generation")["target_ps"].max()
    axis.plot(target.index, target, color="black", linestyle="--", label="asked for")
    axis.set_ylim(0, 1.25 * target.max())
    legend(axis, loc="lower left")
