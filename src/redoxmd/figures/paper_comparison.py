"""Table of the numbers of the paper and of the run."""

from __future__ import annotations

import math
import textwrap

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import COLOURS, draw_table, new_figure, smaller_font, with_figure_style, write_message

HEADER = ["quantity", "conditions", "paper", "this run", "found again", "remark"]
WIDTHS = [0.25, 0.14, 0.12, 0.16, 0.07, 0.34]
VERDICT_COLOURS = {"yes": COLOURS[2], "no": COLOURS[1], "not told": "#777777"}
REMARK_CHARACTERS = 60
# A range of the paper wider than this share of its number is given instead of the number.
WIDE_RANGE = 0.1
EXPLANATION = (
    "± 1 standard error. yes: within two of them, and these no wider than half of the paper's number; no: farther "
    "away;\nnot told: ours does not decide it, the remark says why."
)


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Draw one row per number of the paper with a verdict; a note gives the number of other rows.

    Args:
        table: result of `redoxmd.figures.paper.compare`.
    """
    table = table.fillna(dict.fromkeys(("conditions", "unit", "agrees", "remark"), ""))
    compared = table[table["agrees"] != ""]
    figure, axes = new_figure(settings, height_ratio=0.07 + 0.0235 * (len(compared) + 1), width=2.5)
    axis = axes[0, 0]
    axis.axis("off")
    missing = len(table) - len(compared)
    axis.set_title(
        f"{EXPLANATION}\n{missing} more numbers of the paper need data that this run lacks: see paper_comparison.csv.",
        fontsize=smaller_font(1),
        loc="left",
        y=-0.02,
        va="top",
    )
    if compared.empty:
        write_message(axis, "no number of the paper to compare with yet")
        return figure
    cells = [_cells(row) for _, row in compared.iterrows()]
    drawn = draw_table(axis, HEADER, WIDTHS, cells, smaller_font(2), "upper center")
    for number, verdict in enumerate(compared["agrees"], start=1):
        drawn[number, HEADER.index("found again")].get_text().set_color(VERDICT_COLOURS[verdict])
    return figure


def _cells(row: pd.Series) -> list[str]:
    unit = f" {row['unit']}" if row["unit"] else ""
    ours = _number(row["ours"]) + (f" ± {_number(row['error'], 1)}" if row["error"] > 0 else "")
    return [
        str(row["quantity"]),
        str(row["conditions"]),
        _paper(row) + unit,
        ours + unit,
        str(row["agrees"]),
        textwrap.shorten(row["remark"], REMARK_CHARACTERS, placeholder=" …"),
    ]


def _paper(row: pd.Series) -> str:
    low, high = row["paper_low"], row["paper_high"]
    if math.isnan(high):
        return f"above {_number(low)}"
    if not math.isnan(row["paper"]) and not high - low > WIDE_RANGE * abs(row["paper"]):
        return _number(row["paper"])
    return f"below {_number(high)}" if math.isnan(low) else f"{_number(low)} to {_number(high)}"


def _number(value: float, digits: int = 3) -> str:
    text = f"{value:.0f}" if 100 <= abs(value) < 1e5 else f"{value:.{digits}g}"
    factor, exponent, power = text.partition("e")
    return (f"{factor}·10$^{{{int(power)}}}$" if exponent else factor).replace("-", "−")
