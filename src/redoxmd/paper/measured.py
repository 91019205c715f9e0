"""One number of the paper beside one of ours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from redoxmd.diffusion.counting import share_interval

NAN = float("nan")
SIGMAS = 2.0
# An interval of ours may be no wider on either side than this share of the paper's number (or its range).
WIDEST = 0.5


@dataclass(frozen=True)
class Measured:
    """A number of ours with its standard error, or why there is none.

    Attributes:
        value: the number; NaN where the run has none.
        error: its standard error; NaN for a number that has none of its own (an error measure, a count of neighbours).
        remark: what to know of it; why there is none.
        not_comparable: why it says nothing about the paper's number, or "".
        interval: its ends at `SIGMAS` standard errors, where these are not symmetric.
    """

    value: float = NAN
    error: float = NAN
    remark: str = ""
    not_comparable: str = ""
    interval: tuple[float, float] | None = None


def row(
    quantity: str,
    conditions: str,
    unit: str,
    paper: tuple[float, float, float],
    ours: Measured,
    kind: Literal["value", "at_most", "at_least"] = "value",
) -> tuple[object, ...]:
    """A row of `redoxmd.paper.COLUMNS`; `paper` is its value and range.

    The verdict compares our interval of two standard errors with the paper's range (a bound for at_most and at_least):
    no: the interval lies outside. yes: it overlaps the range and is no wider than `WIDEST` of the paper's number, or
    lies on the right side of the bound as a whole. Otherwise, and for what is not comparable: not told.
    """
    _, low, high = paper
    reach = 0.0 if np.isnan(ours.error) else SIGMAS * ours.error
    bottom, top = ours.interval or (ours.value - reach, ours.value + reach)
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
    remark = "; ".join(part for part in (ours.not_comparable, too_wide, ours.remark) if part)
    return (quantity, conditions, unit, *paper, ours.value, ours.error, verdict, remark)


def where(table: pd.DataFrame, **values: float) -> pd.DataFrame:
    """Rows whose columns have these values; an empty table has no columns."""
    for name, value in values.items() if len(table) else ():
        table = table[np.isclose(table[name], value)]
    return table


def mean_of(values: np.ndarray, remark: str, none: str = "none in this run") -> Measured:
    """Mean with its standard error; `remark` beside it, `none` where there are no values."""
    if len(values) == 0:
        return Measured(remark=none)
    if len(values) == 1:
        return Measured(float(values[0]), remark=remark, not_comparable="one value, no error known")
    return Measured(float(np.mean(values)), float(np.std(values, ddof=1) / np.sqrt(len(values))), remark)


def share_of(count: float, total: float) -> Measured:
    """Share of independent events with its binomial standard error; the interval (Wilson) holds for few events too."""
    share = count / total
    low, high = share_interval(np.array(count), np.array(total), SIGMAS)
    return Measured(share, float(np.sqrt(share * (1 - share) / total)), interval=(float(low), float(high)))
