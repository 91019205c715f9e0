"""Errors of cross-validation on the configurations left out of training."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, label, new_figure, with_figure_style, write_message


@with_figure_style
def draw(errors: pd.DataFrame, settings: Figures) -> Figure:
    """Draw force and energy MAE of each configuration left out, and their means over configurations.

    Args:
        errors: columns of `redoxmd.train.cross_validation.COLUMNS`.
    """
    figure, axes = new_figure(settings, 1, 2, height_ratio=0.5, width=2.0)
    columns = (("force_mae_eV_A", "force MAE (eV/Å)"), ("energy_mae_meV_atom", "energy MAE (meV/atom)"))
    for letter, axis, (column, text) in zip("ab", axes.flat, columns, strict=True):
        if errors.empty:
            label(axis, text, "", letter)
            write_message(axis, "no configuration left out (train.folds)")
            continue
        rows = np.arange(len(errors))[::-1]
        axis.barh(rows, errors[column], color=COLOURS[0], alpha=0.8)
        mean = errors[column].mean()
        axis.axvline(mean, color="black", linestyle="--")
        label(axis, text, "configuration (frames)" if letter == "a" else "", f"{letter}  dashed: mean {mean:.3g}")
        names = [f"{name} ({count})" for name, count in zip(errors["config_id"], errors["n_frames"], strict=True)]
        axis.set_yticks(rows, names if letter == "a" else [""] * len(rows))
    return figure
