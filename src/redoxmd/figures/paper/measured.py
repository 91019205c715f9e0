"""Tables of a run, and the comparison of one of its values with the number of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from redoxmd.charges.oxidation import OxidationStates
from redoxmd.diffusion.counting import share_interval
from redoxmd.gate import Decision

NAN = float("nan")
SIGMAS = 2.0
# Largest half-width of the interval of the run, as a share of the number of the paper (or of its range).
WIDEST = 0.5
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
        charges, states, redox: reference charges, states and redox table; None without a density model.
        sites, events: occupancies and jumps between sites, from stage diffusion.
        orderings: table of basin hopping; None without it.
        redox_element: element of the Bader charges.
        preferred_site: kind of site that is nearly full.
        formula_units: number in the production cell.
        engine: engine of the reference.
    """

    errors: Sequence[Mapping[str, Any]]
    decisions: Sequence[Decision]
    trajectories: pd.DataFrame
    diffusivities: pd.DataFrame
    arrhenius: pd.DataFrame
    concerted: pd.DataFrame
    charges: pd.DataFrame | None
    states: OxidationStates | None
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


@dataclass(frozen=True)
class Measured:
    """A value of the run with its standard error, or the reason why the run has none.

    Attributes:
        value: the value; NaN if the run has none.
        error: its standard error; NaN for a value without one (an error measure, a number of neighbours).
        remark: remark on the value, or the reason why there is none.
        not_comparable: reason why the value cannot be compared with the paper, or "".
        interval: ends of an asymmetric interval at `SIGMAS` standard errors.
    """

    value: float = NAN
    error: float = NAN
    remark: str = ""
    not_comparable: str = ""
    interval: tuple[float, float] | None = None


def comparison_row(
    quantity: str,
    conditions: str,
    unit: str,
    paper: tuple[float, float, float],
    ours: Measured,
    kind: Literal["value", "at_most", "at_least"] = "value",
) -> tuple[object, ...]:
    """A row of `redoxmd.figures.paper.COLUMNS`; `paper` is the value and the range of the paper.

    The verdict compares the interval of two standard errors with the range of the paper (a bound for at_most and
    at_least). no: the interval lies outside the range. yes: the interval overlaps the range and is no wider than
    `WIDEST` of the number of the paper, or it lies entirely on the right side of the bound. not told: all other cases,
    and values that are not comparable.
    """
    _, low, high = paper
    half_width = 0.0 if np.isnan(ours.error) else SIGMAS * ours.error
    bottom, top = ours.interval or (ours.value - half_width, ours.value + half_width)
    if np.isnan(ours.value):
        verdict = ""
    elif ours.not_comparable:
        verdict = "not told"
    elif kind == "at_most":
        verdict = "yes" if top <= high else "no" if bottom > high else "not told"
    elif kind == "at_least":
        verdict = "yes" if bottom >= low else "no" if top < low else "not told"
    elif bottom > high or top < low:
        verdict = "no"
    else:
        verdict = "yes" if (top - bottom) / 2 <= max(WIDEST * abs(low + high) / 2, (high - low) / 2) else "not told"
    too_wide = "our error is too large" if verdict == "not told" and not ours.not_comparable else ""
    remark = "; ".join(filter(None, (ours.not_comparable, too_wide, ours.remark)))
    return (quantity, conditions, unit, *paper, ours.value, ours.error, verdict, remark)


def select_rows(table: pd.DataFrame, **values: float | str) -> pd.DataFrame:
    """Rows with the given values in the named columns; an empty table, which has no columns, is returned unchanged."""
    for name, value in values.items() if len(table) else ():
        column = table[name]
        table = table[column == value if isinstance(value, str) else np.isclose(column, value)]
    return table


def mean_with_error(values: np.ndarray, remark: str, none: str = "none in this run") -> Measured:
    """Mean with its standard error and a remark; without values, `none` is the remark."""
    if len(values) == 0:
        return Measured(remark=none)
    if len(values) == 1:
        return Measured(float(values[0]), remark=remark, not_comparable="one value, no error known")
    return Measured(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))), remark)


def share_with_interval(count: float, total: float) -> Measured:
    """Share of independent events with its binomial standard error and Wilson interval (valid for few events)."""
    share = count / total
    low, high = share_interval(np.array(count), np.array(total), SIGMAS)
    return Measured(share, float(np.sqrt(share * (1 - share) / total)), interval=(float(low), float(high)))
