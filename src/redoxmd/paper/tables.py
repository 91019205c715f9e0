"""What of a run the paper is compared with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

# Of the production cell of the paper.
PAPER_FORMULA_UNITS = 16
PAPER_CELL = f"{PAPER_FORMULA_UNITS} f.u."


@dataclass(frozen=True)
class RunTables:
    """What a run has found.

    Attributes:
        errors: of the last ensemble (`ensemble.json`, "errors").
        decisions: of every generation.
        trajectories, diffusivities, arrhenius, concerted: of stage diffusion.
        charges, mixture, redox: reference charges, states and redox table; None without a density model.
        sites, events: occupancies and changes of site, of stage diffusion.
        orderings: of basin hopping; None without it.
        redox_element: whose charges count.
        preferred_site: kind of site that stays full.
        formula_units: in the cell of production.
        engine: of the reference.
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


def other_cell(run: RunTables) -> str:
    """Why a number that depends on the size of the cell is not comparable; "" where production has the paper's."""
    if run.formula_units == PAPER_FORMULA_UNITS:
        return ""
    return f"cell of {run.formula_units} f.u., the paper's has {PAPER_FORMULA_UNITS}"
