"""Moments and oxidation states of the moment network on configurations that it was not trained on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, SET_COLOURS, label, legend, new_figure, with_figure_style, write_message

# Training frames are not drawn: their moments were fitted.
COLOURS_OF_SETS = {name: SET_COLOURS[name] for name in ("validation", "test")} | {"left_out": COLOURS[2]}
SET_NAMES = {"left_out": "left out in turn"}
# Column of `redoxmd.electrons.moment_tables.moment_errors` → its text in the legend and colour.
METHODS = {
    "atoms_network": ("moment network", COLOURS[0]),
    "atoms_bonds": ("bond valences", COLOURS[4]),
    "atoms_chance": ("random order", "#999999"),
}
BAR_WIDTH = 0.25


@with_figure_style
def draw(states: pd.DataFrame, errors: pd.DataFrame, settings: Figures) -> Figure:
    """Draw moments of the network against those of the reference, and the share of atoms in the reference's state.

    Args:
        states: columns `redoxmd.electrons.moment_tables.ATOM_COLUMNS`.
        errors: result of `redoxmd.electrons.moment_tables.moment_errors`; rows with a choice are drawn.
        settings: section `figures` of the config.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.45, width=2.0)
    _draw_moments(axes[0, 0], states)
    rows = errors[errors["choice"] & errors["set"].isin(COLOURS_OF_SETS)]
    label(axes[0, 1], "right states (% of redox atoms)", "", "b")
    if rows.empty:
        write_message(axes[0, 1], "no unseen configuration with different states of one element")
        return figure
    places = np.arange(len(rows))[::-1]
    for number, (column, (text, colour)) in enumerate(METHODS.items()):
        share = 100 * rows[column] / rows["n_atoms"]
        axes[0, 1].barh(places + (1 - number) * BAR_WIDTH, share, BAR_WIDTH, color=colour, label=text)
    sets = rows["set"].replace(SET_NAMES)
    names = rows["config_id"] + ", " + sets + " (" + rows["n_frames"].astype(str) + ")"
    axes[0, 1].set_yticks(places, list(names))
    axes[0, 1].set_xlim(0, 100)
    legend(axes[0, 1], loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
    return figure


def _draw_moments(axis: Axes, states: pd.DataFrame) -> None:
    label(axis, r"|moment| of the reference ($\mu_\mathrm{B}$)", r"|moment| of the network ($\mu_\mathrm{B}$)", "a")
    drawn = states[states["set"].isin(COLOURS_OF_SETS)]
    if drawn.empty:
        write_message(axis, "no validation, test or left out configuration")
        return
    for name, rows in drawn.groupby("set"):
        reference, network = rows[["moment_muB", "network_muB"]].to_numpy(dtype=float).T
        mae = rf"MAE {np.abs(network - reference).mean():.3g} $\mu_\mathrm{{B}}$"
        style: dict[str, Any] = {"color": COLOURS_OF_SETS[str(name)], "alpha": 0.7, "markersize": 3}
        axis.plot(reference, network, "o", label=f"{SET_NAMES.get(str(name), name)}, n = {len(rows)}, {mae}", **style)
    moments = drawn[["moment_muB", "network_muB"]].to_numpy(dtype=float)
    ends = [moments.min(), moments.max()]
    axis.plot(ends, ends, color="black", linewidth=0.8, label="equal")
    legend(axis, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
