"""Arrhenius fits: activation energies from D at several temperatures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.integrate import cumulative_trapezoid
from scipy.interpolate import CubicHermiteSpline
from scipy.optimize import brentq, minimize_scalar

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.counting import Z_95
from redoxmd.diffusion.jumps import ZERO_COUNT_LIMIT
from redoxmd.diffusion.line_fit import LineFit
from redoxmd.units import BOLTZMANN_EV_PER_K, CM2_PER_S_PER_A2_PER_FS, FS_PER_PS

NAN = float("nan")
# The search for the activation energy runs from minus to plus this value.
LARGEST_EA_EV = 10.0
# Absolute tolerance of the ends of an interval.
END_EV = 1e-5
# Rise of the deviance, −2 ln L, from its minimum to the ends of a 95 % interval.
DEVIANCE_RISE_95 = Z_95**2
# MSD regimes that measure D; a slope indistinguishable from zero is a measurement too.
MEASURED_REGIMES = ("diffusive", "not told from zero")
# Points of ln D in a tabulated quasi-likelihood, of ln D0 and Ea in the grid searches, and the margin in ln D.
LOG_POINTS, LOG_D0_POINTS, LOG_MARGIN, EA_POINTS = 2000, 200, 15.0, 101


@dataclass(frozen=True)
class ArrheniusFit:
    """Fit of ln D = ln D0 − Ea/(k_B T), or the reason why there is none.

    Attributes:
        Ea_eV, Ea_error_eV: activation energy and standard error.
        Ea_low_eV, Ea_high_eV: 95 % interval.
        log10_D0, log10_D0_error: of D0 in cm²/s.
        deviance, dof: goodness of fit; the deviance is χ²-distributed with `dof` degrees of freedom.
        fitted: whether there is a fit.
        reason: why there is no fit; "" if there is one.
        n_temperatures: temperatures used.
        left_out: excluded temperatures, each with its reason; "" if none is excluded.
    """

    Ea_eV: float = NAN
    Ea_error_eV: float = NAN
    Ea_low_eV: float = NAN
    Ea_high_eV: float = NAN
    log10_D0: float = NAN
    log10_D0_error: float = NAN
    deviance: float = NAN
    dof: int = 0
    fitted: bool = False
    reason: str = ""
    n_temperatures: int = 0
    left_out: str = ""


def _describe_exclusions(temperature_K: np.ndarray, reasons: Sequence[str]) -> str:
    """Excluded temperatures with their reasons as text; the reason of a temperature in use is ""."""
    return ", ".join(f"{kelvin:g} K: {reason}" for kelvin, reason in zip(temperature_K, reasons, strict=True) if reason)


def fits_by_method(diffusivities: pd.DataFrame, lines: Sequence[LineFit], settings: Diffusion) -> dict[str, object]:
    """Fits at one x as columns: jumps by the 3 Å rule without prefix, jumps between sites `sites_`, MSD `msd_`.

    Args:
        diffusivities: rows of one x: temperature_K, ion_time_ps, sites_ion_time_ps, D_<method>_cm2_s,
            D_<method>_error_cm2_s, n_jumps, n_site_jumps, jumps_no_transport, sites_no_transport.
        lines: MSD fit over all replicas of each row (`msd_analysis.mean_fit`).
        settings: `min_temperatures_to_fit`, `jump_distance_A`.
    """
    kelvin = diffusivities["temperature_K"].to_numpy(dtype=float)
    columns: dict[str, object] = {}
    for prefix, name, counted, time in (
        ("", "jumps", "n_jumps", "ion_time_ps"),
        ("sites_", "sites", "n_site_jumps", "sites_ion_time_ps"),
    ):
        fit = fit_arrhenius(
            kelvin,
            diffusivities[f"D_{name}_cm2_s"].to_numpy(dtype=float),
            diffusivities[f"D_{name}_error_cm2_s"].to_numpy(dtype=float),
            diffusivities[counted].to_numpy(dtype=float, na_value=NAN),
            settings,
            diffusivities[time].to_numpy(dtype=float),
            diffusivities[f"{name}_no_transport"].fillna("").to_numpy() == "",
        )
        columns |= {f"{prefix}{key}": value for key, value in asdict(fit).items()}
    jumps = float(diffusivities["n_jumps"].sum())
    squares_A2 = 6 * diffusivities["D_jumps_cm2_s"] / CM2_PER_S_PER_A2_PER_FS * diffusivities["ion_time_ps"] * FS_PER_PS
    fit = fit_msd(kelvin, lines, settings, float(squares_A2.sum()) / jumps if jumps else 0.0)
    return columns | {f"msd_{key}": value for key, value in asdict(fit).items()}


def fit_arrhenius(
    temperature_K: np.ndarray,
    D_cm2_s: np.ndarray,
    D_error_cm2_s: np.ndarray,
    n_jumps: np.ndarray,
    settings: Diffusion,
    ion_time_ps: np.ndarray | None = None,
    transport: np.ndarray | None = None,
) -> ArrheniusFit:
    """Maximum-likelihood Ea from Poisson counts of jumps; temperatures without jumps are included.

    Each jump contributes ⟨d²⟩/(6·ion-time) to D, with ⟨d²⟩ over the jumps of all temperatures, so D in this unit is a
    count. For a given Ea the most likely D0 reproduces the total count, and ln L(Ea) is that of its distribution over
    the temperatures. The error follows from the curvature of ln L; the 95 % interval ends where ln L is 1.92 below its
    maximum.

    Args:
        temperature_K: (K,).
        D_cm2_s, D_error_cm2_s: (K,) from jumps; NaN where jumps could not be counted.
        n_jumps: (K,) number of jumps.
        settings: `min_temperatures_to_fit`.
        ion_time_ps: (K,) ions × observation time; None: equal at all temperatures.
        transport: (K,) False where jumps do not contribute to transport, so that they do not measure D.
    """
    exposure = np.ones(len(temperature_K)) if ion_time_ps is None else ion_time_ps
    counted = np.isfinite([n_jumps, D_cm2_s, D_error_cm2_s]).all(axis=0) & (exposure > 0)
    usable = counted if transport is None else counted & transport
    points, needed = int(usable.sum()), settings.min_temperatures_to_fit
    reasons = np.where(counted, "jumps make no transport", "no jumps could be counted")
    left_out = _describe_exclusions(temperature_K, np.where(usable, "", reasons).tolist())
    if points < needed:
        no_transport = int((counted & ~usable).sum())
        note = f", at {no_transport} jumps make no transport" if no_transport else ""
        reason = f"{points} of {len(temperature_K)} temperatures can be fitted, {needed} are needed{note}"
        return ArrheniusFit(reason=reason, n_temperatures=points, left_out=left_out)
    inverse, time = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable]), exposure[usable]
    D, jumps = D_cm2_s[usable], n_jumps[usable]
    if (jumps > 0).sum() < 2:
        reason = f"jumps at {(jumps > 0).sum()} of {points} temperatures, 2 are needed"
        return ArrheniusFit(reason=reason, n_temperatures=points, left_out=left_out)
    unit = (D * time).sum() / jumps.sum() / time
    counts = D / unit

    def expected(Ea_eV: float) -> np.ndarray:
        weight = np.exp(-Ea_eV * (inverse - inverse.min())) / unit
        shared: np.ndarray = counts.sum() * weight / weight.sum()
        return shared

    def deviance(Ea_eV: float) -> float:
        mean = np.maximum(expected(Ea_eV), 1e-300)
        return float(2 * (counts * np.log(np.maximum(counts, 1e-300) / mean)).sum())

    def slope(Ea_eV: float) -> float:
        return float((expected(Ea_eV) - counts) @ inverse)

    Ea = float(brentq(slope, -LARGEST_EA_EV, LARGEST_EA_EV))
    mean, least = expected(Ea), deviance(Ea)
    centre = float(mean @ inverse / mean.sum())
    error = 1 / np.sqrt(mean @ (inverse - centre) ** 2)
    low, high = (_interval_end(lambda value: deviance(value) - least - DEVIANCE_RISE_95, Ea, end) for end in (-1, 1))
    log_D0 = np.log(counts.sum()) - np.log((np.exp(-Ea * inverse) / unit).sum())
    return ArrheniusFit(
        Ea,
        float(error),
        low,
        high,
        float(log_D0 / np.log(10)),
        float(np.hypot(1 / np.sqrt(counts.sum()), centre * error) / np.log(10)),
        least,
        points - 2,
        True,
        "",
        points,
        left_out,
    )


def _interval_end(excess: Callable[[float], float], Ea_eV: float, side: int) -> float:
    """Zero of the excess deviance on one side of Ea, an end of the 95 % interval; infinite without a zero."""
    bound = side * LARGEST_EA_EV
    return float(brentq(excess, Ea_eV, bound, xtol=END_EV)) if excess(bound) > 0 else side * float("inf")


def fit_msd(
    temperature_K: np.ndarray, lines: Sequence[LineFit], settings: Diffusion, squared_jump_A2: float = 0.0
) -> ArrheniusFit:
    """Maximum-quasi-likelihood Ea from MSD slopes; slopes indistinguishable from zero are included.

    The slope of the MSD is an unbiased estimate of D, of either sign, with variance σ²(D) = v₀ + v₁·D + v₂·D². At
    each temperature Q(D) = ∫ (D̂ − u)/σ²(u) du replaces ln L; it equals ln L of a Poisson count if only v₁ is nonzero
    (McCullagh and Nelder, Generalized Linear Models, ch. 9). v₁ is at least D of one jump, so that a trajectory
    without motion excludes a D of three jumps or more and no smaller D. An MSD that is not linear in time does not
    measure D and is excluded.

    Args:
        temperature_K: (K,).
        lines: (K,) MSD fits.
        settings: `min_temperatures_to_fit`.
        squared_jump_A2: ⟨d²⟩ of the jumps; at least the squared threshold length is used.
    """
    regimes = [line.regime for line in lines]
    usable = np.isin(regimes, MEASURED_REGIMES)
    left_out = _describe_exclusions(temperature_K, np.where(usable, "", regimes).tolist())
    points, moved = int(usable.sum()), regimes.count("diffusive")
    if points < settings.min_temperatures_to_fit or moved < 2:
        reason = (
            f"{moved} of {len(temperature_K)} temperatures have an MSD that is diffusive, {points - moved} one that is "
            f"not told from zero; {settings.min_temperatures_to_fit} are needed, two of them diffusive"
        )
        return ArrheniusFit(reason=reason, n_temperatures=points, left_out=left_out)
    measured = [line for line, is_measured in zip(lines, usable, strict=True) if is_measured]
    # v₁ is at least that of the jumps of all temperatures.
    jump_lengths = max(1.0, squared_jump_A2 / settings.jump_distance_A**2)
    least_v1 = [jump_lengths * line.floor_cm2_s / ZERO_COUNT_LIMIT for line in measured]
    variances = [
        np.array([line.variance[0], max(line.variance[1], least), line.variance[2]])
        for line, least in zip(measured, least_v1, strict=True)
    ]
    inverse = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable])
    log_likelihoods = [_quasi_likelihood(*pair) for pair in zip(measured, variances, strict=True)]
    peaks = [(np.log(line.D_cm2_s), beta) for line, beta in zip(measured, inverse, strict=True) if line.moved]

    def total(log_D0: np.ndarray | float, Ea_eV: float) -> np.ndarray:
        terms = [log_of(log_D0 - Ea_eV * beta) for log_of, beta in zip(log_likelihoods, inverse, strict=True)]
        summed: np.ndarray = np.sum(terms, axis=0)
        return summed

    def likeliest(Ea_eV: float) -> tuple[float, float]:
        """Most likely ln D0 at an Ea, and its deviance."""
        log_D0s = [log_D + Ea_eV * beta for log_D, beta in peaks]
        grid = np.linspace(min(log_D0s) - LOG_MARGIN, max(log_D0s), LOG_D0_POINTS)
        best, step = grid[total(grid, Ea_eV).argmax()], grid[1] - grid[0]
        minimum = minimize_scalar(lambda log_D0: -2 * float(total(log_D0, Ea_eV)), bounds=(best - step, best + step))
        return float(minimum.x), float(minimum.fun)

    activations = np.linspace(-LARGEST_EA_EV, LARGEST_EA_EV, EA_POINTS)
    nearest = activations[np.argmin([likeliest(Ea)[1] for Ea in activations])]
    step = activations[1] - activations[0]
    Ea = float(minimize_scalar(lambda value: likeliest(value)[1], bounds=(nearest - step, nearest + step)).x)
    log_D0, least = likeliest(Ea)
    low, high = (
        _interval_end(lambda value: likeliest(value)[1] - least - DEVIANCE_RISE_95, Ea, end) for end in (-1, 1)
    )
    D = np.exp(log_D0 - Ea * inverse)
    variance_of_D = (np.array(variances) * np.stack([np.ones(points), D, D**2], axis=1)).sum(axis=1)
    design = np.stack([np.ones(points), -inverse], axis=1)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ ((D**2 / variance_of_D)[:, None] * design))))
    return ArrheniusFit(
        Ea,
        float(errors[1]),
        low,
        high,
        float(log_D0 / np.log(10)),
        float(errors[0] / np.log(10)),
        max(least, 0.0),
        points - 2,
        True,
        "",
        points,
        left_out,
    )


def _quasi_likelihood(line: LineFit, variance: np.ndarray) -> Callable[[np.ndarray | float], np.ndarray]:
    """Q as a function of ln D, with its maximum at zero; see `fit_msd`."""
    log_D = np.log(variance[1]) + np.linspace(
        -LOG_MARGIN, np.log(max(line.D_cm2_s / variance[1], 1)) + LOG_MARGIN, LOG_POINTS
    )
    D = np.exp(log_D)
    score = (line.D_cm2_s - D) / (variance[0] + variance[1] * D + variance[2] * D**2) * D
    values = cumulative_trapezoid(score, log_D, initial=0.0)
    table = CubicHermiteSpline(log_D, values - values.max(), score)

    def quasi_likelihood(value: np.ndarray | float) -> np.ndarray:
        tabulated: np.ndarray = table(np.clip(value, log_D[0], log_D[-1]))
        beyond: np.ndarray = score[-1] * np.maximum(value - log_D[-1], 0.0)
        return tabulated + beyond

    return quasi_likelihood
