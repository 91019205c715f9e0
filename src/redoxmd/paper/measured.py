"""One number of the paper beside one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

NAN = float("nan")
SIGMAS = 2.0


@dataclass(frozen=True)
class Measured:
    """A number of ours with its standard error, or why there is none."""

    value: float = NAN
    error: float = NAN
    remark: str = ""


def row(
    quantity: str,
    conditions: str,
    unit: str,
    paper: tuple[float, float, float],
    ours: Measured,
    kind: Literal["value", "at_most", "at_least"] = "value",
) -> tuple[object, ...]:
    """A row of `redoxmd.paper.COLUMNS`; `paper` is its value and range."""
    _, low, high = paper
    error = 0.0 if np.isnan(ours.error) else ours.error
    below, above = ours.value - SIGMAS * error <= high, ours.value + SIGMAS * error >= low
    agrees = {"value": below and above, "at_most": below, "at_least": above}[kind]
    verdict = "" if np.isnan(ours.value) else "yes" if agrees else "no"
    return (quantity, conditions, unit, *paper, ours.value, ours.error, verdict, ours.remark)


def where(table: pd.DataFrame, **values: float) -> pd.DataFrame:
    """Rows whose columns have these values; an empty table has no columns."""
    for name, value in values.items() if len(table) else ():
        table = table[np.isclose(table[name], value)]
    return table


def mean_of(values: np.ndarray, remark: str, none: str = "none in this run") -> Measured:
    """Mean with its standard error; `remark` beside it, `none` where there are no values."""
    if len(values) == 0:
        return Measured(remark=none)
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else NAN
    return Measured(float(np.mean(values)), error, remark)
