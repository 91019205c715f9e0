"""Fig. 3c: Bader charges of the redox element, reference beside model and along trajectories."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
from matplotlib.patheffects import withStroke

from redoxmd.charges.oxidation import OxidationModel
from redoxmd.config.sections import Figures
from redoxmd.figures.distribution import FEW, plot_distribution
from redoxmd.figures.structure_view import STATE_COLOURS
from redoxmd.figures.style import COLOURS, label, legend, new_figure, smaller_font, with_figure_style, write_message

MOST_POINTS = 3000
MOST_BINS = 60
MARGIN_E = 0.03
ROOM_FOR_LEGEND = 1.35
LABEL_OFFSET_PT = (0, 26)
SIGMAS = (1.0, 2.0)
CHARGE = "Bader charge (e)"
GREY = "#999999"


@with_figure_style
def draw(
    reference: pd.DataFrame, trajectories: pd.DataFrame, model: OxidationModel | None, settings: Figures
) -> Figure:
    """Draw histograms of charge on the same frames (a) and along trajectories (b), and charge against moment (c).

    If the states are those of the MD, a fourth panel (d) shows the histogram of (b) by the states of the charges.

    Args:
        reference: reference_charge_e, predicted_charge_e of the redox element.
        trajectories: charge_e, moment_muB, state (oxidation state, NaN if unknown), and charge_state (that of the
            charges) if the states are those of the MD.
        model: of reference charges and moments; None if the fit was not possible.
    """
    by_charge = trajectories.assign(state=trajectories.get("charge_state"))
    of_md = bool(by_charge["state"].notna().any())
    figure, grid = new_figure(settings, *((2, 2) if of_md else (1, 3)), height_ratio=0.76 if of_md else 0.38, width=2.0)
    axes = grid.ravel()
    on_frames = {
        "reference": reference["reference_charge_e"].to_numpy(dtype=float),
        "model": reference["predicted_charge_e"].to_numpy(dtype=float),
    }
    along = trajectories["charge_e"].to_numpy(dtype=float)
    all_charges = np.concatenate([*on_frames.values(), along])
    _same_frames(axes[0], on_frames, _bins(all_charges, len(reference)))
    few = len(reference) < FEW
    title = "a  the same densities" + (", lines: mean" if few else "")
    label(axes[0], CHARGE, "" if few else "probability density (1/e)", title)
    title = "trajectories, states of the MD" if of_md else "trajectories"
    panels = [(axes[1], trajectories, f"b  {title}; lines: fit")]
    panels += [(axes[3], by_charge, "d  as b, states of the charges; lines: fit")] if of_md else []
    for axis, table, title in panels:
        _along(axis, table, model, _bins(all_charges, len(along)))
        label(axis, CHARGE, "probability density (1/e)", title)
    _scatter(axes[2], trajectories, model)
    label(axes[2], CHARGE, r"moment ($\mu_\mathrm{B}$)", "c  ellipses: fit, 1 and 2 σ")
    return figure


def _bins(charges: np.ndarray, n_values: int) -> list[float]:
    """Bin edges over all charges; their number depends on the number of values in the histogram."""
    if not len(charges):
        return [0.0, 1.0]
    number = int(np.clip(n_values // 8, 20, MOST_BINS))
    edges: list[float] = np.linspace(charges.min() - MARGIN_E, charges.max() + MARGIN_E, number).tolist()
    return edges


def _same_frames(axis: Axes, charges: dict[str, np.ndarray], bins: list[float]) -> None:
    if not len(charges["reference"]):
        write_message(axis, "no reference density yet")
        return
    if len(charges["model"]) < FEW:
        plot_distribution(axis, charges, {"reference": GREY, "model": COLOURS[2]}, "e")
        return
    style: dict[str, Any] = {"bins": bins, "density": True}
    axis.hist(charges["reference"], color=GREY, alpha=0.7, label="reference", **style)
    axis.hist(charges["model"], color=COLOURS[2], histtype="step", linewidth=1.2, label="model", **style)
    axis.set_ylim(top=ROOM_FOR_LEGEND * axis.get_ylim()[1])
    legend(axis, loc="upper right", title=f"n = {len(charges['model'])}")


def _along(axis: Axes, table: pd.DataFrame, model: OxidationModel | None, bins: list[float]) -> None:
    if table.empty:
        write_message(axis, "no trajectory with charges yet")
        return
    groups = _by_state(table, model)
    # Weight 1/n of each row: the stacked histograms of all states together are normalised.
    weights = [np.full(len(rows), 1 / len(table) / (bins[1] - bins[0])) for _, _, rows in groups]
    values = [rows["charge_e"].to_numpy(dtype=float) for _, _, rows in groups]
    names, colours = [name for name, _, _ in groups], [colour for _, colour, _ in groups]
    axis.hist(values, bins=bins, weights=weights, stacked=True, color=colours, alpha=0.5, label=names)
    if model is not None:
        charge = np.linspace(bins[0], bins[-1], 300)
        for number, colour in enumerate(STATE_COLOURS):
            mean, variance = model.mean[number][0], model.covariance[number][0][0]
            gaussian = np.exp(-0.5 * (charge - mean) ** 2 / variance) / np.sqrt(2 * np.pi * variance)
            axis.plot(charge, model.weight[number] * gaussian, color=colour, linewidth=1.0)
    axis.set_ylim(top=ROOM_FOR_LEGEND * axis.get_ylim()[1])
    legend(axis, loc="upper right", title=f"n = {len(table)}")


def _by_state(table: pd.DataFrame, model: OxidationModel | None) -> list[tuple[str, str, pd.DataFrame]]:
    """Name, colour and rows of each state that occurs."""
    states = list(model.states) if model is not None else sorted(table["state"].dropna().unique())
    groups = [
        (f"{state:g}+", STATE_COLOURS[min(number, 1)], table[table["state"] == state])
        for number, state in enumerate(states)
    ]
    groups.append(("state not known", GREY, table[~table["state"].isin(states)]))
    return [group for group in groups if len(group[2])]


def _scatter(axis: Axes, table: pd.DataFrame, model: OxidationModel | None) -> None:
    if table.empty:
        write_message(axis, "no charge and moment to show")
        return
    every = int(np.ceil(len(table) / MOST_POINTS))
    for _, colour, rows in _by_state(table, model):
        shown = rows.iloc[::every]
        axis.plot(shown["charge_e"], shown["moment_muB"], ".", color=colour, markersize=2.5, alpha=0.3, rasterized=True)
    if model is None:
        write_message(axis, "two states cannot be distinguished", (0.5, 0.95))
        return
    axis.margins(y=0.15)
    for number in range(len(model.states)):
        _ellipses(axis, model, number)


def _ellipses(axis: Axes, model: OxidationModel, number: int) -> None:
    mean = (float(model.mean[number][0]), float(model.mean[number][1]))
    values, vectors = np.linalg.eigh(np.asarray(model.covariance[number], dtype=float))
    angle = float(np.degrees(np.arctan2(vectors[1, 1], vectors[0, 1])))
    for sigma in SIGMAS:
        along, across = 2 * sigma * np.sqrt(np.maximum(values[::-1], 0.0))
        axis.add_patch(Ellipse(mean, along, across, angle=angle, fill=False, linewidth=0.8, zorder=3))
    axis.plot(*mean, "+", color="black", markersize=5)
    name = f"{model.states[number]:g}+, {100 * model.weight[number]:.0f} %"
    style: dict[str, Any] = {"xytext": LABEL_OFFSET_PT, "textcoords": "offset points", "ha": "center"}
    outline = [withStroke(linewidth=2, foreground="white")]
    axis.annotate(name, mean, fontsize=smaller_font(1), path_effects=outline, **style)
