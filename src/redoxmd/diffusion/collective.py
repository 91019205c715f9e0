"""Diffusion of the charge beside that of the ions: the Haven ratio."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redoxmd.diffusion.posterior import NAN, LineFit

# Equally probable values of each coefficient.
VALUES = 400


@dataclass(frozen=True)
class HavenRatio:
    """H_R = D*/D_σ, or the reason why there is none.

    Attributes:
        value, error: median, and half of the interval of 68 %.
        low, high: 95 % interval.
        reason: why not; "" when there is one.
    """

    value: float
    error: float
    low: float
    high: float
    reason: str


def haven_ratio(tracer: LineFit, charge: LineFit) -> HavenRatio:
    """H_R = D*/D_σ: 1 where ions move independently, 1/m where all m move as one, above 1 where they trade places.

    From every pair of equally probable values of the two, taken as independent of each other; that they are not, for
    the same ions make both, leaves the error too large rather than too small.

    Args:
        tracer: fit of the single ions' MSD.
        charge: fit of the MSD of all together (`msd.summed`).
    """
    for name, fit in (("D*", tracer), ("D_σ", charge)):
        if not np.isfinite(fit.D_cm2_s):
            return HavenRatio(NAN, NAN, NAN, NAN, f"{name}: {fit.regime}")
    if not tracer.moved or charge.error_cm2_s == 0:
        return HavenRatio(NAN, NAN, NAN, NAN, "no ion's diffusion is told from zero")
    probability = (np.arange(VALUES) + 0.5) / VALUES
    # Zero, of which there is one value, divides nothing.
    one, other = (
        np.maximum(np.interp(probability, weight.cumsum(), D), D[1])
        for D, weight in (tracer.density(), charge.density())
    )
    ratios = np.divide.outer(one, other)
    low, below, middle, above, high = np.quantile(ratios, [0.025, 0.1587, 0.5, 0.8413, 0.975]).tolist()
    return HavenRatio(middle, (above - below) / 2, low, high, "")
