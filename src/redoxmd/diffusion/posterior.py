"""D from the mean squared displacement: generalised least squares, and what is then believed about D ≥ 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.covariance import overlap_sums, spread_of_squares
from redoxmd.diffusion.jumps import NONE_SEEN_LIMIT
from redoxmd.diffusion.msd import BLOCK_POINTS
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS

FITTED_LAGS = 24
FEWEST_LAGS = 3
ORIGINS_PER_LAG = 16
ROUNDS = 3
# A fitted line is not believed below this part of the MSD itself, or weights would lean on noise.
LEAST_SHARE = 0.1
# Rattling is over well before the window begins, or is not told apart.
RATTLING_PART = 10
# One-sided 95 %: a D this many errors above zero has been seen to move.
SEEN = 1.645
# Two standard errors of the exponent.
EXPONENT_SIGMAS = 2.0
GRID = 3001
QUANTILES = (0.025, 0.5, 0.95, 0.975)
NAN = float("nan")


@dataclass(frozen=True)
class Posterior:
    """What is believed about a diffusion coefficient, cm²/s.

    Attributes:
        value: median.
        error: standard deviation.
        low, high: 95 % interval.
        limit: 95 % upper limit where D cannot be told from zero, else NaN.
    """

    value: float
    error: float
    low: float
    high: float
    limit: float


@dataclass(frozen=True)
class LineFit:
    """MSD = a + 6·D·t fitted to a trajectory, before D ≥ 0 is asked for.

    Attributes:
        D_cm2_s: estimate, of either sign.
        variance: (3,) σ²(D) = v₀ + v₁·D + v₂·D²: what the estimate would vary by if D were the true one.
        exponent, exponent_error: of MSD ∝ t^exponent over the window, both counted from `persistence_fs` on, when
            the ions have rattled but not yet moved; and standard error.
        observations: independent ones at the shortest lag, ions × length/lag.
        floor_cm2_s: limit of three jumps (`jumps.diffusion_from_jumps`): no trajectory excludes less.
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
        """Whether D is told from zero, and is that of one jump at least."""
        return bool(self.D_cm2_s > max(SEEN * self.error_cm2_s, self.floor_cm2_s / NONE_SEEN_LIMIT))

    @property
    def regime(self) -> str:
        """What the MSD shows: "diffusive" where D is told from zero and the exponent is compatible with 1."""
        if not np.isfinite(self.D_cm2_s):
            return "too few frames or ions"
        if not self.moved:
            return "not told from zero"
        if abs(self.exponent - 1) <= EXPONENT_SIGMAS * self.exponent_error:
            return "diffusive"
        return "superdiffusive" if self.exponent > 1 else "subdiffusive"

    def density(self) -> tuple[np.ndarray, np.ndarray]:
        """D (G,) in cm²/s and the posterior probability of each, which sums to one.

        p(D) ∝ N(estimate | D, σ(D))/σ(D) for D ≥ 0. The error grows with D, so the interval reaches farther up than
        down; the prior 1/σ is Jeffreys' of a scale, and flat where σ does not depend on D.
        """
        sigma = self.error_cm2_s
        D = np.linspace(0.0, 3 * max(self.D_cm2_s, 0.0) + 12 * sigma, GRID)
        width = np.maximum(_sigma(self.variance, D), 1e-3 * sigma)
        logarithm = -0.5 * ((self.D_cm2_s - D) / width) ** 2 - 2 * np.log(width)
        weight = np.exp(logarithm - logarithm.max())
        return D, weight / weight.sum()

    def posterior(self) -> Posterior:
        """Median, error and interval of D; NaN where nothing could be fitted."""
        if not np.isfinite(self.D_cm2_s):
            return Posterior(NAN, NAN, NAN, NAN, NAN)
        if self.error_cm2_s == 0:
            return Posterior(0.0, 0.0, 0.0, self.floor_cm2_s, self.floor_cm2_s)
        D, weight = self.density()
        low, middle, most, high = np.interp(QUANTILES, weight.cumsum(), D)
        mean = weight @ D
        error = float(np.sqrt(weight @ (D - mean) ** 2))
        if self.moved:
            return Posterior(float(middle), error, float(low), float(high), NAN)
        limit = max(float(most), self.floor_cm2_s)
        return Posterior(float(middle), error, 0.0, max(float(high), limit), limit)


NO_FIT = LineFit(NAN, np.full(3, NAN), NAN, NAN, NAN, NAN)


def _sigma(variance: np.ndarray, D: np.ndarray | float) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.maximum(variance[0] + variance[1] * D + variance[2] * D**2, 0.0))
    return root


def fit_line(
    positions_A: np.ndarray, msd_A2: np.ndarray, time_fs: np.ndarray, settings: Diffusion, members: int = 1
) -> LineFit:
    """The straight line through the MSD, ⟨|Δr|²⟩ = 6 D t + a, by generalised least squares, and its error.

    (The paper's eq. 4 prints no t.) After McCluskey et al., J. Chem. Theory Comput. 21, 79 (2025), whose covariance of
    the MSD of Brownian motion, var_i·n_i/n_j for lags i ≤ j with n independent observations, gives the weights. The
    error is that of these weights under the covariance of overlapping windows (`covariance.overlap_sums`), with the
    length of jumps from the spread of |Δr|². It takes ions for independent.

    Args:
        positions_A: (T, m, 3), unwrapped, drift removed.
        msd_A2: (T,) their MSD.
        time_fs: (T,) equally spaced.
        settings: `msd_fit`, `jump_distance_A`, `persistence_fs`.
        members: ions that each walker is the sum of (`msd.summed`).
    """
    frames, ions = positions_A.shape[:2]
    first, last = (round(fraction * (frames - 1)) for fraction in settings.msd_fit)
    lags = np.unique(np.linspace(max(first, 1), min(last, frames - 1), FITTED_LAGS).astype(int))
    if last - first < FEWEST_LAGS - 1 or len(lags) < FEWEST_LAGS or not ions:
        return NO_FIT
    lag_fs, msd = time_fs[lags] - time_fs[0], msd_A2[lags]
    exposure = ions * float(time_fs[-1] - time_fs[0])
    observations = exposure / float(lag_fs[0])
    floor = NONE_SEEN_LIMIT * settings.jump_distance_A**2 / (6 * exposure * members) * CM2_PER_S_PER_A2_PER_FS
    if msd.min() <= 0:
        return LineFit(0.0, np.zeros(3), NAN, NAN, observations, floor)
    spread = spread_of_squares(positions_A, lags, ORIGINS_PER_LAG, BLOCK_POINTS)
    overlap, overlap_squared = overlap_sums(lags, frames)
    interval = float(time_fs[1] - time_fs[0])
    # Short lags have many observations of what exceeds a Gaussian.
    excess = max(0.0, float(((spread - 2 / 3 * msd**2) * msd / lag_fs).sum() / (msd**2 / lag_fs).sum()))
    line = _weighted_line(lag_fs, msd, excess)
    offset, slope = line @ msd
    gauss = 2 / 3 * overlap_squared / np.outer(lags, lags) / ions
    jumps = excess * overlap * interval / ions
    rattle, travel = line[1] * max(offset, 0.0), line[1] * lag_fs
    variance = np.array(
        [rattle @ gauss @ rattle, 2 * rattle @ gauss @ travel + line[1] @ jumps @ line[1], travel @ gauss @ travel]
    )
    rattling = int(min(settings.persistence_fs, lag_fs[0] / RATTLING_PART) / interval)
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
    """(2, K) what intercept and slope take of the MSD at each lag; weights from the line itself, in some rounds."""
    design = np.stack([np.ones_like(lag_fs), lag_fs], axis=1)
    expected = msd_A2
    for _ in range(ROUNDS):
        line = _least_squares(design, _model_covariance(lag_fs, expected, excess_A2))
        offset, slope = line @ msd_A2
        expected = np.maximum(offset + slope * lag_fs, LEAST_SHARE * msd_A2)
    return line


def _model_covariance(lag_fs: np.ndarray, expected_A2: np.ndarray, excess_A2: float) -> np.ndarray:
    """Covariance of the MSD up to a factor, positive definite whatever the line.

    var_i/n_i on the diagonal, correlated by √(t_i/t_j): for Brownian motion that is var_i·n_i/n_j.
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
    """Slope of ln MSD over ln t and its standard error; NaN where the MSD does not rise."""
    if msd_A2.min() <= 0:
        return NAN, NAN
    design = np.stack([np.ones_like(lag_fs), np.log(lag_fs)], axis=1)
    model = _model_covariance(lag_fs, msd_A2, excess_A2) / np.outer(msd_A2, msd_A2)
    line = _least_squares(design, model)
    return float(line[1] @ np.log(msd_A2)), float(np.sqrt(line[1] @ relative_covariance @ line[1]))


def mean_of_fits(fits: Sequence[LineFit]) -> LineFit:
    """The mean over replicas, by ion-time, as one fit: errors theirs, or their scatter where that is larger."""
    # Each floor is that of three jumps over its own ion-time.
    ion_time = np.array([1 / fit.floor_cm2_s for fit in fits])
    share = ion_time / ion_time.sum()
    D = np.array([fit.D_cm2_s for fit in fits])
    variance = np.sum([part**2 * fit.variance for part, fit in zip(share, fits, strict=True)], axis=0)
    # Where nothing moved there is no exponent.
    grown = np.array([np.isfinite(fit.exponent) for fit in fits])
    exponent, exponent_error = weighted_mean(
        np.array([fit.exponent for fit in fits])[grown],
        np.array([fit.exponent_error for fit in fits])[grown],
        ion_time[grown],
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
    """Mean, and its error: the larger of the scatter of the values and what their own errors allow; NaN of none."""
    if not weights.sum() > 0:
        return NAN, NAN
    share = weights / weights.sum()
    mean = float(share @ values)
    own = float(np.sqrt(((share * errors) ** 2).sum()))
    count = len(values)
    scatter = np.sqrt(count / (count - 1) * ((share * (values - mean)) ** 2).sum()) if count > 1 else 0.0
    return mean, own if np.isnan(own) else max(own, float(scatter))
