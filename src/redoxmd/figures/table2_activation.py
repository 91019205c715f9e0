"""Table 2: activation energies by concentration."""

from __future__ import annotations

import textwrap

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import draw_table, new_figure, smaller_font, with_figure_style, write_message

# Letters in a line of remarks.
REMARK_WIDTH = 38
HEADER = ["x", "Ea (eV), jumps", "log$_{10}$ D$_0$ (cm²/s)", "Ea (eV), sites", "Ea (eV), MSD", "remark"]
WIDTHS = [0.06, 0.16, 0.13, 0.16, 0.16, 0.33]


@with_figure_style
def draw(fits: pd.DataFrame, settings: Figures) -> Figure:
    """Draw the table of activation energies from jumps, from jumps between sites and from the MSD.

    Args:
        fits: x, Ea_eV, Ea_low_eV and Ea_high_eV (95 %), log10_D0, log10_D0_error, fitted, reason, left_out; the same
            with the prefixes `sites_` and `msd_`.
    """
    cells = [_cells(row) for _, row in fits.iterrows()]
    lines = [1, *(max(1, row[-1].count("\n") + 1) for row in cells)]
    figure, axes = new_figure(settings, height_ratio=0.08 + 0.032 * sum(lines), width=2.0)
    axis = axes[0, 0]
    axis.axis("off")
    if fits.empty:
        write_message(axis, "no trajectory yet")
        return figure
    table = draw_table(axis, HEADER, WIDTHS, cells, smaller_font(1), "upper center")
    for (number, _), cell in table.get_celld().items():
        cell.set_height(cell.get_height() * lines[number])
    text = "± 1 standard error; in brackets: 95 % interval; – : no fit"
    axis.set_title(text, fontsize=smaller_font(1), loc="left")
    return figure


def _cells(row: pd.Series) -> list[str]:
    prefactor = f"{row['log10_D0']:.1f} ± {row['log10_D0_error']:.1f}".replace("-", "−") if row["fitted"] else "–"
    by_jumps, by_sites, by_msd = (_activation(row, prefix) for prefix in ("", "sites_", "msd_"))
    remark = "; ".join(part for part in (_remark(row, ""), _remark(row, "msd_")) if part)
    return [f"{row['x']:g}", by_jumps, prefactor, by_sites, by_msd, textwrap.fill(remark, REMARK_WIDTH)]


def _remark(row: pd.Series, prefix: str) -> str:
    """Why there is no fit, or the temperatures that it leaves out."""
    method = "MSD: " if prefix else ""
    if not row[f"{prefix}fitted"]:
        reason = str(row[f"{prefix}reason"])
        # Of the MSD only what is found; the CSV has what is needed as well.
        return f"{method}{reason.partition(', ')[0]}" if prefix else reason
    without = row[f"{prefix}left_out"]
    return f"{method}without {without}" if isinstance(without, str) and without else ""


def _activation(row: pd.Series, prefix: str) -> str:
    if not row[f"{prefix}fitted"]:
        return "–"
    Ea, low, high = (float(row[f"{prefix}Ea_{name}eV"]) for name in ("", "low_", "high_"))
    return f"{Ea:z.2f} ({low:z.2f} to {high:z.2f})".replace("inf", "∞").replace("-", "−")
