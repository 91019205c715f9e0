"""Activation energies from D at several temperatures."""

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
from redoxmd.diffusion.jumps import NONE_SEEN_LIMIT
from redoxmd.diffusion.posterior import LineFit
from redoxmd.units import BOLTZMANN_EV_PER_K, CM2_PER_S_PER_A2_PER_FS, FS_PER_PS

NAN = float("nan")
# Activation energies are sought between minus and plus this.
LARGEST_EA_EV = 10.0
# To which the ends of an interval are found.
END_EV = 1e-5
# Twice the fall of ln L at the ends of a 95 % interval.
WITHIN_95 = Z_95**2
# Regimes of an MSD that measure D: too small to be told from zero is a measurement too.
MEASURED = ("diffusive", "not told from zero")
# ln D on which quasi-likelihoods are tabulated, and from which the likeliest D0 is refined.
LOG_POINTS, LOG_D0_POINTS, LOG_ROOM, EA_POINTS = 2000, 200, 15.0, 101


@dataclass(frozen=True)
class ArrheniusFit:
    """ln D = ln D0 − Ea/(k_B T), or the reason why there is none.

    Attributes:
        Ea_eV, Ea_error_eV: activation energy and standard error.
        Ea_low_eV, Ea_high_eV: 95 % interval.
        log10_D0, log10_D0_error: of D0 in cm²/s.
        deviance, dof: how well the line describes the points: χ²-distributed with that many degrees of freedom.
        fitted: whether there is a fit.
        reason: why not; "" when there is one.
        n_temperatures: points used.
        left_out: temperatures that take no part, each with why; "" where all do.
    """

    Ea_eV: float
    Ea_error_eV: float
    Ea_low_eV: float
    Ea_high_eV: float
    log10_D0: float
    log10_D0_error: float
    deviance: float
    dof: int
    fitted: bool
    reason: str
    n_temperatures: int
    left_out: str = ""


def _refused(reason: str, points: int, left_out: str = "") -> ArrheniusFit:
    return ArrheniusFit(NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, False, reason, points, left_out)


def _left_out(temperature_K: np.ndarray, why: Sequence[str]) -> str:
    """Temperatures with a reason, which is "" for those that take part, in words."""
    return ", ".join(f"{kelvin:g} K: {words}" for kelvin, words in zip(temperature_K, why, strict=True) if words)


def fits_by_method(diffusivities: pd.DataFrame, lines: Sequence[LineFit], settings: Diffusion) -> dict[str, object]:
    """Fits of one x as columns: by the 3 Å rule without a prefix, between sites with `sites_`, of the MSD with `msd_`.

    Args:
        diffusivities: rows of one x: temperature_K, ion_time_ps, sites_ion_time_ps, D_<method>_cm2_s,
            D_<method>_error_cm2_s, n_jumps, n_site_jumps, jumps_no_transport, sites_no_transport.
        lines: of each row the fit of its MSD over all replicas (`msd_analysis.mean_fit`).
        settings: how many temperatures a fit needs.
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
    """Ea of greatest Poisson likelihood of the jumps counted, temperatures without any included.

    A jump adds the same to D at all temperatures, ⟨d²⟩/(6·ion-time) with ⟨d²⟩ of all jumps, so D is a count in that
    unit. For given Ea the likeliest D0 gives the total, and ln L(Ea) is that of sharing it among the temperatures. The
    error is that of the curvature of ln L, the interval of 95 % where ln L has fallen by 1.92.

    Args:
        temperature_K: (K,).
        D_cm2_s, D_error_cm2_s: (K,) from jumps; NaN where none could be counted.
        n_jumps: (K,) counted.
        settings: `min_temperatures_to_fit`.
        ion_time_ps: (K,) ions × time in which they were; None: equal ones.
        transport: (K,) False where jumps lead nowhere, so that their D is none.
    """
    exposure = np.ones(len(temperature_K)) if ion_time_ps is None else ion_time_ps
    known = np.isfinite([n_jumps, D_cm2_s, D_error_cm2_s]).all(axis=0) & (exposure > 0)
    usable = known if transport is None else known & transport
    points, needed = int(usable.sum()), settings.min_temperatures_to_fit
    untold = np.where(known, "jumps make no transport", "no jumps could be counted")
    left_out = _left_out(temperature_K, np.where(usable, "", untold).tolist())
    if points < needed:
        lost = int((known & ~usable).sum())
        why = f", at {lost} jumps make no transport" if lost else ""
        return _refused(
            f"{points} of {len(temperature_K)} temperatures can be fitted, {needed} are needed{why}", points, left_out
        )
    inverse, time = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable]), exposure[usable]
    D, jumps = D_cm2_s[usable], n_jumps[usable]
    if (jumps > 0).sum() < 2:
        return _refused(f"jumps at {(jumps > 0).sum()} of {points} temperatures, 2 are needed", points, left_out)
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
    low, high = (_end(lambda value: deviance(value) - least - WITHIN_95, Ea, end) for end in (-1, 1))
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


def _end(excess: Callable[[float], float], Ea_eV: float, side: int) -> float:
    """Where a deviance, counted from that of the end of an interval, is zero on one side of Ea; infinite if nowhere."""
    far = side * LARGEST_EA_EV
    return float(brentq(excess, Ea_eV, far, xtol=END_EV)) if excess(far) > 0 else side * float("inf")


def fit_msd(
    temperature_K: np.ndarray, lines: Sequence[LineFit], settings: Diffusion, squared_jump_A2: float = 0.0
) -> ArrheniusFit:
    """Ea of greatest quasi-likelihood of the slopes of the MSD, those not told from zero included.

    The slope of the MSD estimates D without bias, of either sign, with variance σ²(D) = v₀ + v₁·D + v₂·D². For each
    temperature Q(D) = ∫ (D̂ − u)/σ²(u) du takes the place of ln L; it is that of a Poisson count where v₁ alone
    matters (McCullagh and Nelder, Generalized Linear Models, ch. 9). v₁ is D of one jump at least, so that a
    trajectory in which nothing moved excludes what makes three jumps, and no less. An MSD that grows otherwise than
    as time does measures no D, and is left out.

    Args:
        temperature_K: (K,).
        lines: (K,) fits of the MSD.
        settings: `min_temperatures_to_fit`.
        squared_jump_A2: ⟨d²⟩ of jumps; that of the threshold length at least.
    """
    regimes = [line.regime for line in lines]
    usable = np.array([regime in MEASURED for regime in regimes], dtype=bool)
    left_out = _left_out(temperature_K, [("" if regime in MEASURED else regime) for regime in regimes])
    points, moved = int(usable.sum()), regimes.count("diffusive")
    if points < settings.min_temperatures_to_fit or moved < 2:
        return _refused(
            f"{moved} of {len(temperature_K)} temperatures have an MSD that is diffusive, {points - moved} one that is "
            f"not told from zero; {settings.min_temperatures_to_fit} are needed, two of them diffusive",
            points,
            left_out,
        )
    part = [line for line in lines if line.regime in MEASURED]
    inverse = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable])
    log_likelihoods = [_quasi_likelihood(line, _variance(line, squared_jump_A2, settings)) for line in part]
    peaks = [(np.log(line.D_cm2_s), beta) for line, beta in zip(part, inverse, strict=True) if line.moved]

    def total(log_D0: np.ndarray | float, Ea_eV: float) -> np.ndarray:
        terms = [log_of(log_D0 - Ea_eV * beta) for log_of, beta in zip(log_likelihoods, inverse, strict=True)]
        summed: np.ndarray = np.sum(terms, axis=0)
        return summed

    def likeliest(Ea_eV: float) -> tuple[float, float]:
        """Most likely ln D0 for an Ea, and the deviance there."""
        own = [log_D + Ea_eV * beta for log_D, beta in peaks]
        grid = np.linspace(min(own) - LOG_ROOM, max(own), LOG_D0_POINTS)
        best, step = grid[total(grid, Ea_eV).argmax()], grid[1] - grid[0]
        found = minimize_scalar(lambda log_D0: -2 * float(total(log_D0, Ea_eV)), bounds=(best - step, best + step))
        return float(found.x), float(found.fun)

    activations = np.linspace(-LARGEST_EA_EV, LARGEST_EA_EV, EA_POINTS)
    nearest = activations[np.argmin([likeliest(Ea)[1] for Ea in activations])]
    step = activations[1] - activations[0]
    Ea = float(minimize_scalar(lambda value: likeliest(value)[1], bounds=(nearest - step, nearest + step)).x)
    log_D0, least = likeliest(Ea)
    low, high = (_end(lambda value: likeliest(value)[1] - least - WITHIN_95, Ea, end) for end in (-1, 1))
    D = np.exp(log_D0 - Ea * inverse)
    variances = np.array(
        [_variance(line, squared_jump_A2, settings) @ [1, d, d**2] for line, d in zip(part, D, strict=True)]
    )
    design = np.stack([np.ones(points), -inverse], axis=1)
    errors = np.sqrt(np.diag(np.linalg.inv(design.T @ ((D**2 / variances)[:, None] * design))))
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


def _variance(line: LineFit, squared_jump_A2: float, settings: Diffusion) -> np.ndarray:
    """(3,) σ²(D) of a slope of the MSD, with the jumps of all temperatures."""
    jumps = max(1.0, squared_jump_A2 / settings.jump_distance_A**2) * line.floor_cm2_s / NONE_SEEN_LIMIT
    return np.array([line.variance[0], max(line.variance[1], jumps), line.variance[2]])


def _quasi_likelihood(line: LineFit, variance: np.ndarray) -> Callable[[np.ndarray | float], np.ndarray]:
    """Q as a function of ln D, zero where it is largest; see `fit_msd`."""
    log_D = np.log(variance[1]) + np.linspace(
        -LOG_ROOM, np.log(max(line.D_cm2_s / variance[1], 1)) + LOG_ROOM, LOG_POINTS
    )
    D = np.exp(log_D)
    score = (line.D_cm2_s - D) / (variance[0] + variance[1] * D + variance[2] * D**2) * D
    values = cumulative_trapezoid(score, log_D, initial=0.0)
    table = CubicHermiteSpline(log_D, values - values.max(), score)

    def of(at: np.ndarray | float) -> np.ndarray:
        within: np.ndarray = table(np.clip(at, log_D[0], log_D[-1])) + score[-1] * np.maximum(at - log_D[-1], 0.0)
        return within

    return of
