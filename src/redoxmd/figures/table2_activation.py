"""Table 2: activation energy by concentration."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import new_figure, say


def draw(fits: pd.DataFrame, settings: Figures) -> Figure:
    """The table as a picture.

    Args:
        fits: x, Ea_eV, Ea_error_eV, log10_D0, log10_D0_error, fitted, reason, n_temperatures.
    """
    figure, axes = new_figure(settings, height_ratio=0.1 + 0.05 * (len(fits) + 1), width=2.0)
    axis = axes[0, 0]
    axis.axis("off")
    if fits.empty:
        say(axis, settings, "no trajectory yet")
        return figure
    table = axis.table(
        [_cells(row) for _, row in fits.iterrows()],
        colLabels=["x", "Ea (eV)", "log$_{10}$ D$_0$ (cm²/s)", "temperatures", "remark"],
        colWidths=[0.08, 0.17, 0.17, 0.13, 0.45],
        cellLoc="left",
        edges="horizontal",
        loc="center",
    )
    table.auto_set_font_size(False)
    table.set_fontsize(settings.font_pt - 1)
    return figure


def _cells(row: pd.Series) -> list[str]:
    fitted = bool(row["fitted"])
    activation = f"{row['Ea_eV']:.2f} ± {row['Ea_error_eV']:.2f}" if fitted else "–"
    prefactor = f"{row['log10_D0']:.1f} ± {row['log10_D0_error']:.1f}" if fitted else "–"
    return [
        f"{row['x']:g}",
        activation,
        prefactor,
        str(int(row["n_temperatures"])),
        "" if fitted else str(row["reason"]),
    ]
