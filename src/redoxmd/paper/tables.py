"""Tables of a run that are compared with the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

# Production cell of the paper.
PAPER_FORMULA_UNITS = 16
PAPER_CELL = f"{PAPER_FORMULA_UNITS} f.u."


@dataclass(frozen=True)
class RunTables:
    """Results of a run.

    Attributes:
        errors: errors of the last ensemble (`ensemble.json`, "errors").
        decisions: decision of every generation.
        trajectories, diffusivities, arrhenius, concerted: tables of stage diffusion.
        charges, mixture, redox: reference charges, states and redox table; None without a density model.
        sites, events: occupancies and jumps between sites, from stage diffusion.
        orderings: table of basin hopping; None without it.
        redox_element: element of the Bader charges.
        preferred_site: kind of site that is nearly full.
        formula_units: number in the production cell.
        engine: engine of the reference.
    """

    errors: Sequence[Mapping[str, Any]]
    decisions: Sequence[Mapping[str, Any]]
    trajectories: pd.DataFrame
    diffusivities: pd.DataFrame
    arrhenius: pd.DataFrame
    concerted: pd.DataFrame
    charges: pd.DataFrame | None
    mixture: Mapping[str, Any] | None
    redox: pd.DataFrame | None
    sites: pd.DataFrame
    events: pd.DataFrame
    orderings: pd.DataFrame | None
    redox_element: str
    preferred_site: str
    formula_units: int
    engine: str


def cell_size_remark(run: RunTables) -> str:
    """Reason why a value that depends on the cell size is not comparable; "" for a cell of the size of the paper."""
    if run.formula_units == PAPER_FORMULA_UNITS:
        return ""
    return f"cell of {run.formula_units} f.u., the paper's has {PAPER_FORMULA_UNITS}"
