"""Table of charges, bonds, vacancies and electron hops by concentration and temperature."""

from __future__ import annotations

import math

import pandas as pd
from matplotlib.figure import Figure

from redoxmd.config.sections import Figures
from redoxmd.figures.style import draw_table, new_figure, smaller_font, with_figure_style, write_message

NONE = "–"
HEADER = [
    "x",
    "T (K)",
    "frames",
    "in high state\nmean (expected)",
    "charge, low / high\n(e)",
    "bond, low / high\n(Å)",
    "difference\n(Å)",
    "vacancy, low / high\n(Å)",
    "hops",
    "hop rate\n(1/ps)",
    "direction\ncosine",
    "models\ndisagree",
]
EXPLANATION = (
    "low, high: oxidation states; expected: by charge neutrality; bond, vacancy: mean distance to them;\n"
    "direction: cosine of electron hop and ion jump; models disagree: share of atoms whose "
    "charge and moment give different states; ± 1 standard error."
)
CHECK_HEADER = "charges agree\n(by chance)"
CHECK_WIDTH = 0.115
WIDTHS = [0.05, 0.06, 0.065, 0.125, 0.14, 0.125, 0.135, 0.15, 0.055, 0.08, 0.08, 0.08]


@with_figure_style
def draw(table: pd.DataFrame, settings: Figures) -> Figure:
    """Draw one row per concentration and temperature; a dash marks missing values.

    Args:
        table: x, temperature_K, n_frames, n_high_mean and n_high_expected (redox atoms in the higher state),
            bond_low_A, bond_high_A, bond_difference_A, bond_difference_error_A, vacancy_low_A and vacancy_high_A
            (distance to the nearest), n_hops, hops_per_ps, mean_cosine (between hop and ion jump),
            disagreement_share, charge_low_e and charge_high_e; same_atoms_share and same_atoms_chance, drawn if the
            states of any row are those of the MD.
    """
    figure, axes = new_figure(settings, height_ratio=0.08 + 0.035 * (len(table) + 2), width=2.0)
    axis = axes[0, 0]
    axis.axis("off")
    if table.empty:
        write_message(axis, "no trajectory with charges yet")
        return figure
    cells, header, widths, font_pt = [_cells(row) for _, row in table.iterrows()], HEADER, WIDTHS, smaller_font(2)
    if table["same_atoms_share"].notna().any():
        header, widths, font_pt = [*HEADER, CHECK_HEADER], [*WIDTHS, CHECK_WIDTH], smaller_font(2.5)
        for line, (_, row) in zip(cells, table.iterrows(), strict=True):
            share, chance = (_number(100 * row[f"same_atoms_{name}"], ".0f", " %") for name in ("share", "chance"))
            line.append(f"{share} ({chance})")
    drawn = draw_table(axis, header, [width / sum(widths) for width in widths], cells, font_pt, "center")
    axis.set_title(EXPLANATION, fontsize=smaller_font(2), loc="left")
    for column in range(len(header)):
        drawn[0, column].set_height(1.8 * drawn[1, column].get_height())
    return figure


def _cells(row: pd.Series) -> list[str]:
    return [
        f"{row['x']:g}",
        f"{row['temperature_K']:g}",
        _number(row["n_frames"], ".0f"),
        f"{_number(row['n_high_mean'], '.2f')} ({_number(row['n_high_expected'], 'g')})",
        _pair(row["charge_low_e"], row["charge_high_e"], ".2f"),
        _pair(row["bond_low_A"], row["bond_high_A"], ".3f"),
        f"{_number(row['bond_difference_A'], '.3f')} ± {_number(row['bond_difference_error_A'], '.3f')}"
        if not math.isnan(row["bond_difference_A"])
        else NONE,
        _pair(row["vacancy_low_A"], row["vacancy_high_A"], ".2f"),
        _number(row["n_hops"], ".0f"),
        _number(row["hops_per_ps"], ".3g"),
        _number(row["mean_cosine"], ".2f"),
        _number(100 * row["disagreement_share"], ".1f", " %"),
    ]


def _number(value: float, form: str, unit: str = "") -> str:
    return NONE if math.isnan(value) else f"{value:z{form}}{unit}".replace("-", "−")


def _pair(low: float, high: float, form: str) -> str:
    return f"{_number(low, form)} / {_number(high, form)}"
