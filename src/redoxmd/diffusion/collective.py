"""Haven ratio: tracer diffusion coefficient over charge diffusion coefficient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redoxmd.diffusion.posterior import NAN, LineFit

# Equally probable quantiles that represent a posterior.
N_QUANTILES = 400


@dataclass(frozen=True)
class HavenRatio:
    """Haven ratio H_R = D*/D_σ, or the reason why there is none.

    Attributes:
        value, error: median and half of the 68 % interval.
        low, high: 95 % interval.
        reason: why there is no value; "" if there is one.
    """

    value: float
    error: float
    low: float
    high: float
    reason: str


def haven_ratio(tracer: LineFit, charge: LineFit) -> HavenRatio:
    """H_R = D*/D_σ: 1 for independent ions, 1/m if all m ions move together, above 1 if ions exchange places.

    The ratio is taken over all pairs of equally probable values of D* and D_σ, as if the two were independent. They
    are correlated because the same ions determine both, so the error is overestimated rather than underestimated.

    Args:
        tracer: fit of the MSD of single ions.
        charge: fit of the MSD of the collective coordinate (`msd.collective_coordinate`).
    """
    for name, fit in (("D*", tracer), ("D_σ", charge)):
        if not np.isfinite(fit.D_cm2_s):
            return HavenRatio(NAN, NAN, NAN, NAN, f"{name}: {fit.regime}")
    if not tracer.moved or charge.error_cm2_s == 0:
        return HavenRatio(NAN, NAN, NAN, NAN, "no ion's diffusion is told from zero")
    probability = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
    # Avoid division by zero: replace D = 0 by the next grid value.
    tracer_D, charge_D = (
        np.maximum(np.interp(probability, weight.cumsum(), D), D[1])
        for D, weight in (tracer.density(), charge.density())
    )
    ratios = np.divide.outer(tracer_D, charge_D)
    low, below, middle, above, high = np.quantile(ratios, [0.025, 0.1587, 0.5, 0.8413, 0.975]).tolist()
    return HavenRatio(middle, (above - below) / 2, low, high, "")
