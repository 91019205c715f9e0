"""Activation energies from D at several temperatures."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from redoxmd.config.sections import Diffusion
from redoxmd.units import BOLTZMANN_EV_PER_K


@dataclass(frozen=True)
class ArrheniusFit:
    """ln D = ln D0 − Ea/(k_B T), or the reason why there is none.

    Attributes:
        Ea_eV, Ea_error_eV: activation energy and standard error.
        log10_D0, log10_D0_error: of D0 in cm²/s.
        fitted: whether there is a fit.
        reason: why not; "" when there is one.
        n_temperatures: points used.
    """

    Ea_eV: float
    Ea_error_eV: float
    log10_D0: float
    log10_D0_error: float
    fitted: bool
    reason: str
    n_temperatures: int


def fits_by_method(diffusivities: pd.DataFrame, settings: Diffusion) -> dict[str, object]:
    """Fits of one x as columns: by the 3 Å rule without a prefix, between sites with `sites_`, of the MSD with `msd_`.

    Args:
        diffusivities: rows of one x: temperature_K, D_<method>_cm2_s, D_<method>_error_cm2_s, n_jumps, n_site_jumps,
            msd_regime.
        settings: how many jumps and temperatures a fit needs.
    """
    few = settings.min_jumps_to_fit
    diffusive = np.where(diffusivities["msd_regime"] == "diffusive", few, 0)
    columns: dict[str, object] = {}
    for prefix, name, events, demand in (
        ("", "D_jumps", diffusivities["n_jumps"].to_numpy(), f"{few} or more jumps"),
        ("sites_", "D_sites", diffusivities["n_site_jumps"].to_numpy(), f"{few} or more jumps between sites"),
        ("msd_", "D_msd", diffusive, "an MSD that is diffusive"),
    ):
        coefficient, error = (diffusivities[f"{name}_{part}cm2_s"].to_numpy() for part in ("", "error_"))
        kelvin = diffusivities["temperature_K"].to_numpy()
        fit = fit_arrhenius(kelvin, coefficient, error, events, settings, demand)
        columns |= {f"{prefix}{key}": value for key, value in asdict(fit).items()}
    return columns


def fit_arrhenius(
    temperature_K: np.ndarray,
    D_cm2_s: np.ndarray,
    D_error_cm2_s: np.ndarray,
    n_jumps: np.ndarray,
    settings: Diffusion,
    demand: str = "",
) -> ArrheniusFit:
    """Weighted least squares of ln D against 1/(k_B T) (eq. 3 of the paper), weights from the errors of D.

    Points with fewer than `min_jumps_to_fit` jumps, with D ≤ 0 or without a finite error take no part; with fewer
    than `min_temperatures_to_fit` points left the fit is refused. Errors follow from those of D. `demand` names in the
    refusal what a point needs, if not that many jumps.
    """
    usable = (n_jumps >= settings.min_jumps_to_fit) & (D_cm2_s > 0) & np.isfinite(D_error_cm2_s) & (D_error_cm2_s > 0)
    points = int(usable.sum())
    if points < settings.min_temperatures_to_fit:
        reason = (
            f"{points} of {len(temperature_K)} temperatures have "
            f"{demand or f'{settings.min_jumps_to_fit} or more jumps'}, "
            f"{settings.min_temperatures_to_fit} are needed"
        )
        nan = float("nan")
        return ArrheniusFit(nan, nan, nan, nan, False, reason, points)
    inverse = 1 / (BOLTZMANN_EV_PER_K * temperature_K[usable])
    log_d = np.log(D_cm2_s[usable])
    weight = (D_cm2_s[usable] / D_error_cm2_s[usable]) ** 2
    design = np.stack([np.ones(points), -inverse], axis=1)
    covariance = np.linalg.inv(design.T @ (weight[:, None] * design))
    log_d0, activation = covariance @ design.T @ (weight * log_d)
    error_d0, error_activation = np.sqrt(np.diag(covariance))
    return ArrheniusFit(
        float(activation),
        float(error_activation),
        float(log_d0 / np.log(10)),
        float(error_d0 / np.log(10)),
        True,
        "",
        points,
    )
