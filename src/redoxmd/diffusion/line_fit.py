"""D from the MSD: generalised least squares, and the posterior of D given D ≥ 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.jumps import ZERO_COUNT_LIMIT
from redoxmd.diffusion.msd import overlap_sums, squared_displacement_variance
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS

FITTED_LAGS = 24
MIN_LAGS = 3
ORIGINS_PER_LAG = 16
WEIGHT_ITERATIONS = 3
# Lower bound of the fitted line as a share of the MSD; below it, weights would depend on noise.
MIN_MSD_SHARE = 0.1
# Rattling must end before this fraction (1/N) of the shortest lag, or it is not separated from diffusion.
RATTLING_DIVISOR = 10
# One-sided 95 %: D is distinguishable from zero if it exceeds this many standard errors.
ONE_SIDED_95_SIGMAS = 1.645
# An exponent within this many standard errors of 1 is compatible with diffusion.
EXPONENT_SIGMAS = 2.0
GRID = 3001
QUANTILES = (0.025, 0.5, 0.95, 0.975)
# Equally probable quantiles that represent a posterior.
N_QUANTILES = 400
NAN = float("nan")


class Posterior(NamedTuple):
    """Posterior of a diffusion coefficient, cm²/s: median, standard deviation, 95 % interval, and 95 % upper limit.

    The limit is NaN if D is distinguishable from zero.
    """

    value: float
    error: float
    low: float
    high: float
    limit: float


@dataclass(frozen=True)
class LineFit:
    """Fit of MSD = a + 6·D·t to a trajectory, without the constraint D ≥ 0.

    Attributes:
        D_cm2_s: estimate, of either sign.
        variance: (3,) coefficients of σ²(D) = v₀ + v₁·D + v₂·D², the variance of the estimate if D is the true value.
        exponent, exponent_error: exponent of MSD ∝ t^exponent over the window, and its standard error. MSD and time
            are counted from `persistence_fs`, when the ions have rattled but not yet moved.
        observations: independent observations at the shortest lag, ions × length/lag.
        floor_cm2_s: limit of three jumps (`jumps.diffusion_from_jumps`), the lowest limit a trajectory can set.
    """

    D_cm2_s: float
    variance: np.ndarray
    exponent: float
    exponent_error: float
    observations: float
    floor_cm2_s: float

    @property
    def error_cm2_s(self) -> float:
        """Standard error at the estimate."""
        return float(_sigma(self.variance, max(self.D_cm2_s, 0.0)))

    @property
    def moved(self) -> bool:
        """Whether D is distinguishable from zero and at least that of one jump."""
        return bool(self.D_cm2_s > max(ONE_SIDED_95_SIGMAS * self.error_cm2_s, self.floor_cm2_s / ZERO_COUNT_LIMIT))

    @property
    def regime(self) -> str:
        """Regime of the MSD: "diffusive" if D is distinguishable from zero and the exponent is compatible with 1."""
        if not np.isfinite(self.D_cm2_s):
            return "too few frames or ions"
        if not self.moved:
            return "not told from zero"
        if abs(self.exponent - 1) <= EXPONENT_SIGMAS * self.exponent_error:
            return "diffusive"
        return "superdiffusive" if self.exponent > 1 else "subdiffusive"

    def density(self) -> tuple[np.ndarray, np.ndarray]:
        """Grid of D (G,) in cm²/s and its posterior probabilities, which sum to one.

        p(D) ∝ N(estimate | D, σ(D))/σ(D) for D ≥ 0. The error grows with D, so the interval is wider above than
        below. The prior 1/σ is the Jeffreys prior of a scale; it is flat where σ does not depend on D.
        """
        sigma = self.error_cm2_s
        D = np.linspace(0.0, 3 * max(self.D_cm2_s, 0.0) + 12 * sigma, GRID)
        width = np.maximum(_sigma(self.variance, D), 1e-3 * sigma)
        logarithm = -0.5 * ((self.D_cm2_s - D) / width) ** 2 - 2 * np.log(width)
        weight = np.exp(logarithm - logarithm.max())
        return D, weight / weight.sum()

    def posterior(self) -> Posterior:
        """Median, error, interval and limit of D; NaN without a fit."""
        if not np.isfinite(self.D_cm2_s):
            return Posterior(NAN, NAN, NAN, NAN, NAN)
        if self.error_cm2_s == 0:
            return Posterior(0.0, 0.0, 0.0, self.floor_cm2_s, self.floor_cm2_s)
        D, weight = self.density()
        low, middle, upper, high = np.interp(QUANTILES, weight.cumsum(), D).tolist()
        mean = weight @ D
        error = float(np.sqrt(weight @ (D - mean) ** 2))
        if self.moved:
            return Posterior(middle, error, low, high, NAN)
        limit = max(upper, self.floor_cm2_s)
        return Posterior(middle, error, 0.0, max(high, limit), limit)


NO_FIT = LineFit(NAN, np.full(3, NAN), NAN, NAN, NAN, NAN)


def _sigma(variance: np.ndarray, D: np.ndarray | float) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.maximum(variance[0] + variance[1] * D + variance[2] * D**2, 0.0))
    return root


def fit_line(
    positions_A: np.ndarray, msd_A2: np.ndarray, time_fs: np.ndarray, settings: Diffusion, members: int = 1
) -> LineFit:
    """Fit of the MSD, ⟨|Δr|²⟩ = 6 D t + a, by generalised least squares, with its error.

    (The paper's eq. 4 omits t.) The weights follow McCluskey et al., J. Chem. Theory Comput. 21, 79 (2025): the
    covariance of the MSD of Brownian motion is var_i·n_i/n_j for lags i ≤ j with n independent observations. The
    error is that of these weights under the covariance of overlapping windows
    (`redoxmd.diffusion.msd.overlap_sums`), with the jump length from the variance of |Δr|². The ions are assumed to be
    independent.

    Args:
        positions_A: (T, m, 3), unwrapped, drift removed.
        msd_A2: (T,) their MSD.
        time_fs: (T,) equally spaced.
        settings: `msd_fit`, `jump_distance_A`, `persistence_fs`.
        members: number of ions in each walker (`msd.collective_coordinate`).
    """
    frames, ions = positions_A.shape[:2]
    first, last = (round(fraction * (frames - 1)) for fraction in settings.msd_fit)
    lags = np.unique(np.linspace(max(first, 1), min(last, frames - 1), FITTED_LAGS).astype(int))
    if last - first < MIN_LAGS - 1 or len(lags) < MIN_LAGS or not ions:
        return NO_FIT
    lag_fs, msd = time_fs[lags] - time_fs[0], msd_A2[lags]
    exposure = ions * float(time_fs[-1] - time_fs[0])
    observations = exposure / float(lag_fs[0])
    floor = ZERO_COUNT_LIMIT * settings.jump_distance_A**2 / (6 * exposure * members) * CM2_PER_S_PER_A2_PER_FS
    if msd.min() <= 0:
        return LineFit(0.0, np.zeros(3), NAN, NAN, observations, floor)
    squared_variance = squared_displacement_variance(positions_A, lags, ORIGINS_PER_LAG)
    overlap, overlap_squared = overlap_sums(lags, frames)
    interval = float(time_fs[1] - time_fs[0])
    # Short lags have the most observations of the excess over a Gaussian.
    excess = max(0.0, float(((squared_variance - 2 / 3 * msd**2) * msd / lag_fs).sum() / (msd**2 / lag_fs).sum()))
    line = _weighted_line(lag_fs, msd, excess)
    offset, slope = line @ msd
    gauss = 2 / 3 * overlap_squared / np.outer(lags, lags) / ions
    jumps = excess * overlap * interval / ions
    rattling_weight, travel_weight = line[1] * max(offset, 0.0), line[1] * lag_fs
    variance = np.array(
        [
            rattling_weight @ gauss @ rattling_weight,
            2 * rattling_weight @ gauss @ travel_weight + line[1] @ jumps @ line[1],
            travel_weight @ gauss @ travel_weight,
        ]
    )
    rattling = int(min(settings.persistence_fs, lag_fs[0] / RATTLING_DIVISOR) / interval)
    exponent, exponent_error = _exponent(
        lag_fs - rattling * interval,
        msd - msd_A2[rattling],
        gauss + max(slope, 0.0) * jumps / np.outer(msd, msd),
        excess,
    )
    unit = CM2_PER_S_PER_A2_PER_FS / 6
    return LineFit(
        float(slope * unit), variance * unit ** np.array([2, 1, 0]), exponent, exponent_error, observations, floor
    )


def _weighted_line(lag_fs: np.ndarray, msd_A2: np.ndarray, excess_A2: float) -> np.ndarray:
    """Weights (2, K) of the MSD at each lag in intercept and slope, iterated with the covariance of the fitted line."""
    design = np.stack([np.ones_like(lag_fs), lag_fs], axis=1)
    expected = msd_A2
    for _ in range(WEIGHT_ITERATIONS):
        line = _least_squares(design, _model_covariance(lag_fs, expected, excess_A2))
        offset, slope = line @ msd_A2
        expected = np.maximum(offset + slope * lag_fs, MIN_MSD_SHARE * msd_A2)
    return line


def _model_covariance(lag_fs: np.ndarray, expected_A2: np.ndarray, excess_A2: float) -> np.ndarray:
    """Covariance of the MSD up to a factor, positive definite for any line.

    The diagonal is var_i/n_i and the correlation √(t_i/t_j); for Brownian motion this is var_i·n_i/n_j.
    """
    deviation = np.sqrt((2 / 3 * expected_A2**2 + excess_A2 * expected_A2) * lag_fs)
    ratio = np.minimum.outer(lag_fs, lag_fs) / np.maximum.outer(lag_fs, lag_fs)
    covariance: np.ndarray = np.outer(deviation, deviation) * np.sqrt(ratio)
    return covariance / covariance.max()


def _least_squares(design: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    weighted = np.linalg.solve(covariance, design)
    solution: np.ndarray = np.linalg.solve(design.T @ weighted, weighted.T)
    return solution


def _exponent(
    lag_fs: np.ndarray, msd_A2: np.ndarray, relative_covariance: np.ndarray, excess_A2: float
) -> tuple[float, float]:
    """Slope of ln MSD over ln t and its standard error; NaN if the MSD does not rise."""
    if msd_A2.min() <= 0:
        return NAN, NAN
    design = np.stack([np.ones_like(lag_fs), np.log(lag_fs)], axis=1)
    model = _model_covariance(lag_fs, msd_A2, excess_A2) / np.outer(msd_A2, msd_A2)
    line = _least_squares(design, model)
    return float(line[1] @ np.log(msd_A2)), float(np.sqrt(line[1] @ relative_covariance @ line[1]))


def mean_of_fits(fits: Sequence[LineFit]) -> LineFit:
    """Mean fit over replicas, weighted by ion-time; its error is the larger of propagated error and scatter."""
    # The floor of a replica is three jumps over its ion-time.
    ion_time = np.array([1 / fit.floor_cm2_s for fit in fits])
    share = ion_time / ion_time.sum()
    D = np.array([fit.D_cm2_s for fit in fits])
    variance = np.sum([weight**2 * fit.variance for weight, fit in zip(share, fits, strict=True)], axis=0)
    # A replica without motion has no exponent.
    with_exponent = np.array([np.isfinite(fit.exponent) for fit in fits])
    exponent, exponent_error = weighted_mean(
        np.array([fit.exponent for fit in fits])[with_exponent],
        np.array([fit.exponent_error for fit in fits])[with_exponent],
        ion_time[with_exponent],
    )
    mean = LineFit(
        float(share @ D),
        variance,
        exponent,
        exponent_error,
        float(sum(fit.observations for fit in fits)),
        1 / float(ion_time.sum()),
    )
    _, widest = weighted_mean(D, np.zeros(len(D)), ion_time)
    if 0 < mean.error_cm2_s < widest:
        return replace(mean, variance=variance * (widest / mean.error_cm2_s) ** 2)
    return mean


def weighted_mean(values: np.ndarray, errors: np.ndarray, weights: np.ndarray) -> tuple[float, float]:
    """Weighted mean and its error, the larger of propagated errors and scatter of the values; NaN without weight."""
    if not weights.sum() > 0:
        return NAN, NAN
    share = weights / weights.sum()
    mean = float(share @ values)
    propagated = float(np.sqrt(((share * errors) ** 2).sum()))
    count = len(values)
    scatter = np.sqrt(count / (count - 1) * ((share * (values - mean)) ** 2).sum()) if count > 1 else 0.0
    return mean, propagated if np.isnan(propagated) else max(propagated, float(scatter))
