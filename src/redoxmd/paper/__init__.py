"""Compare the results of a run with the paper (de Blasio et al., Energy Storage Materials 63, 103023, 2023).

The verdict on a number is yes, no or not told, as defined in `measured.comparison_row`. A number without data in the
run stays in the table with the reason instead of a verdict.
"""

from __future__ import annotations

import pandas as pd

from redoxmd.paper.electrons import charge_rows, redox_rows
from redoxmd.paper.ions import activation_rows, concerted_rows, diffusion_rows, site_rows
from redoxmd.paper.potentials import accuracy_rows, loop_rows
from redoxmd.paper.tables import RunTables

__all__ = ["COLUMNS", "RunTables", "compare"]

COLUMNS = ("quantity", "conditions", "unit", "paper", "paper_low", "paper_high", "ours", "error", "agrees", "remark")


def compare(run: RunTables) -> pd.DataFrame:
    """One row per number of the paper, with COLUMNS."""
    sections = (
        accuracy_rows,
        loop_rows,
        charge_rows,
        site_rows,
        diffusion_rows,
        activation_rows,
        concerted_rows,
        redox_rows,
    )
    return pd.DataFrame([row for rows in sections for row in rows(run)], columns=list(COLUMNS))
