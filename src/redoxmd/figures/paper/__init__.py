"""Compare the results of a run with the paper (de Blasio et al., Energy Storage Materials 63, 103023, 2023).

The verdict on a number is yes, no or not told, as defined in `measured.comparison_row`. A number without data in the
run stays in the table with the reason instead of a verdict.
"""

from __future__ import annotations

import pandas as pd

from redoxmd.figures.paper import rows
from redoxmd.figures.paper.measured import RunTables

__all__ = ["COLUMNS", "RunTables", "compare"]

COLUMNS = ("quantity", "conditions", "unit", "paper", "paper_low", "paper_high", "ours", "error", "agrees", "remark")


def compare(run: RunTables) -> pd.DataFrame:
    """One row per number of the paper, with COLUMNS."""
    sections = (
        rows.accuracy_rows,
        rows.loop_rows,
        rows.charge_rows,
        rows.site_rows,
        rows.diffusion_rows,
        rows.activation_rows,
        rows.concerted_rows,
        rows.redox_rows,
    )
    return pd.DataFrame([row for section in sections for row in section(run)], columns=list(COLUMNS))
