"""Activation energies from D at several temperatures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
from scipy.optimize import brentq

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.counting import Z_95
from redoxmd.units import BOLTZMANN_EV_PER_K

NAN = float("nan")
# Activation energies are sought between minus and plus this.
LARGEST_EA_EV = 10.0
# To which the ends of an interval are found.
END_EV = 1e-5
# Twice the fall of ln L at the ends of a 95 % interval.
WITHIN_95 = Z_95**2


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


def _refused(reason: str, points: int) -> ArrheniusFit:
    return ArrheniusFit(NAN, NAN, NAN, NAN, NAN, NAN, NAN, 0, False, reason, points)


def fits_by_method(diffusivities: pd.DataFrame, settings: Diffusion) -> dict[str, object]:
    """Fits of one x as columns: by the 3 Å rule without a prefix, between sites with `sites_`, of the MSD with `msd_`.

    Args:
        diffusivities: rows of one x: temperature_K, ion_time_ps, D_<method>_cm2_s, D_<method>_error_cm2_s,
            n_jumps, n_site_jumps, jumps_no_transport, sites_no_transport, msd_regime.
        settings: how many temperatures a fit needs.
    """
    kelvin = diffusivities["temperature_K"].to_numpy(dtype=float)
    columns: dict[str, object] = {}
    for prefix, name, counted in (("", "jumps", "n_jumps"), ("sites_", "sites", "n_site_jumps")):
        fit = fit_arrhenius(
            kelvin,
            diffusivities[f"D_{name}_cm2_s"].to_numpy(dtype=float),
            diffusivities[f"D_{name}_error_cm2_s"].to_numpy(dtype=float),
            diffusivities[counted].to_numpy(dtype=float, na_value=NAN),
            settings,
            diffusivities["ion_time_ps"].to_numpy(dtype=float),
            diffusivities[f"{name}_no_transport"].fillna("").to_numpy() == "",
        )
        columns |= {f"{prefix}{key}": value for key, value in asdict(fit).items()}
    fit = fit_diffusive(
        kelvin,
        diffusivities["D_msd_cm2_s"].to_numpy(dtype=float),
        diffusivities["D_msd_error_cm2_s"].to_numpy(dtype=float),
        diffusivities["msd_regime"].to_numpy() == "diffusive",
        settings,
    )
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
    if points < needed:
        lost = int((known & ~usable).sum())
        why = f", at {lost} jumps make no transport" if lost else ""
        return _refused(
            f"{points} of {len(temperature_K)} temperatures can be fitted, {needed} are needed{why}", points
        )
    inverse, time = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable]), exposure[usable]
    D, jumps = D_cm2_s[usable], n_jumps[usable]
    if (jumps > 0).sum() < 2:
        return _refused(f"jumps at {(jumps > 0).sum()} of {points} temperatures, 2 are needed", points)
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
    )


def _end(excess: Callable[[float], float], Ea_eV: float, side: int) -> float:
    """Where a deviance, counted from that of the end of an interval, is zero on one side of Ea; infinite if nowhere."""
    far = side * LARGEST_EA_EV
    return float(brentq(excess, Ea_eV, far, xtol=END_EV)) if excess(far) > 0 else side * float("inf")


def fit_diffusive(
    temperature_K: np.ndarray,
    D_cm2_s: np.ndarray,
    D_error_cm2_s: np.ndarray,
    diffusive: np.ndarray,
    settings: Diffusion,
) -> ArrheniusFit:
    """Weighted least squares of ln D from the MSD against 1/(k_B T) (eq. 3 of the paper), weights from the errors of D.

    Points whose MSD is not diffusive, with D ≤ 0 or without a finite error take no part; with fewer than
    `min_temperatures_to_fit` points left the fit is refused. Errors follow from those of D.
    """
    usable = diffusive & (D_cm2_s > 0) & np.isfinite(D_error_cm2_s) & (D_error_cm2_s > 0)
    points = int(usable.sum())
    if points < settings.min_temperatures_to_fit:
        return _refused(
            f"{points} of {len(temperature_K)} temperatures have an MSD that is diffusive, "
            f"{settings.min_temperatures_to_fit} are needed",
            points,
        )
    inverse = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable])
    log_d = np.log(D_cm2_s[usable])
    weight = (D_cm2_s[usable] / D_error_cm2_s[usable]) ** 2
    design = np.stack([np.ones(points), -inverse], axis=1)
    covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
    log_d0, activation = covariance @ design.T @ (weight * log_d)
    error_d0, error_activation = np.sqrt(np.diag(covariance))
    reach = np.sqrt(WITHIN_95) * error_activation
    return ArrheniusFit(
        float(activation),
        float(error_activation),
        float(activation - reach),
        float(activation + reach),
        float(log_d0 / np.log(10)),
        float(error_d0 / np.log(10)),
        float(weight @ (log_d - design @ [log_d0, activation]) ** 2),
        points - 2,
        True,
        "",
        points,
    )
