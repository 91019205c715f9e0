"""D*, D_σ and Haven ratio of one trajectory and of replicas, as variables of datasets and columns of tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.line_fit import N_QUANTILES, NO_FIT, LineFit, fit_line, mean_of_fits
from redoxmd.diffusion.msd import collective_coordinate, mean_squared_displacement
from redoxmd.diffusion.site_analysis import Variables

MSD_LAGS = 200
# Names of the MSDs: single ions (tracer), and the collective coordinate of all ions (charge).
TRACER, CHARGE = "msd", "sigma"


def msd_variables(
    positions_A: np.ndarray, time_fs: np.ndarray, settings: Diffusion
) -> tuple[Variables, dict[str, str]]:
    """MSDs, line fits and coefficients: variables and attributes for `analysis.analyse_trajectory`.

    Dimensions: `lag` of the MSDs, `power` of D in σ²(D) (`posterior.LineFit`).

    Args:
        positions_A: (T, m, 3) mobile ions, drift removed.
        time_fs: (T,).
    """
    ions = positions_A.shape[1]
    walkers = {TRACER: (positions_A, 1), CHARGE: (collective_coordinate(positions_A), ions)}
    lags = np.unique(np.linspace(0, max(len(time_fs) - 1, 0), MSD_LAGS).astype(int))
    variables: Variables = {"lag_fs": ("lag", time_fs[lags] - time_fs[0] if len(time_fs) else np.full(1, np.nan))}
    fits = {}
    for name, (paths, members) in walkers.items():
        msd = mean_squared_displacement(paths)
        fits[name] = fit_line(paths, msd, time_fs, settings, members) if ions else NO_FIT
        variables[f"{name}_A2"] = ("lag", msd[lags] if len(msd) else np.full(1, np.nan))
        variables[f"D_{name}_line_cm2_s"] = ((), fits[name].D_cm2_s)
        variables[f"D_{name}_variance"] = ("power", fits[name].variance)
        variables[f"D_{name}_floor_cm2_s"] = ((), fits[name].floor_cm2_s)
    # MSD = 2·D·t along one axis; the line fit assumes 6·D·t.
    axis_paths = [positions_A[:, :, axis : axis + 1] for axis in range(3)]
    variables["D_msd_axis_cm2_s"] = (
        "axis",
        [3 * fit_line(path, mean_squared_displacement(path), time_fs, settings).D_cm2_s for path in axis_paths],
    )
    row = coefficients(fits[TRACER], fits[CHARGE])
    scalars = {key: value for key, value in row.items() if not isinstance(value, str)}
    attributes = {key: value for key, value in row.items() if isinstance(value, str)}
    return variables | {key: ((), value) for key, value in scalars.items()}, attributes


def coefficients(tracer: LineFit, charge: LineFit) -> dict[str, float | str]:
    """Columns of D*, D_σ, the exponents and regimes of their MSDs, and the Haven ratio."""
    row: dict[str, float | str] = {}
    for name, fit in ((TRACER, tracer), (CHARGE, charge)):
        columns = (f"D_{name}_{part}cm2_s" for part in ("", "error_", "low_", "high_", "limit_"))
        row |= dict(zip(columns, fit.posterior(), strict=True))
        row |= {
            f"{name}_exponent": fit.exponent,
            f"{name}_exponent_error": fit.exponent_error,
            f"{name}_observations": fit.observations,
            f"{name}_regime": fit.regime,
        }
    return row | haven_ratio(tracer, charge)


def haven_ratio(tracer: LineFit, charge: LineFit) -> dict[str, float | str]:
    """Columns of H_R = D*/D_σ: 1 for independent ions, 1/m if all m move together, above 1 if ions exchange places.

    haven_ratio and haven_ratio_error are the median and half of the 68 % interval, haven_ratio_low and haven_ratio_high
    the 95 % interval; no_haven_ratio is the reason why there is no value, or "". The ratio is taken over all pairs of
    equally probable values of D* and D_σ, as if the two were independent. They are correlated because the same ions
    determine both, so the error is overestimated rather than underestimated.

    Args:
        tracer: fit of the MSD of single ions.
        charge: fit of the MSD of the collective coordinate (`msd.collective_coordinate`).
    """
    low = below = middle = above = high = np.nan
    unknown = [f"{name}: {fit.regime}" for name, fit in (("D*", tracer), ("D_σ", charge)) if np.isnan(fit.D_cm2_s)]
    reason = unknown[0] if unknown else ""
    if not reason and (not tracer.moved or charge.error_cm2_s == 0):
        reason = "no ion's diffusion is told from zero"
    if not reason:
        probability = (np.arange(N_QUANTILES) + 0.5) / N_QUANTILES
        # Avoid division by zero: replace D = 0 by the next grid value.
        tracer_D, charge_D = (
            np.maximum(np.interp(probability, weight.cumsum(), D), D[1])
            for D, weight in (tracer.density(), charge.density())
        )
        ratios = np.divide.outer(tracer_D, charge_D)
        low, below, middle, above, high = np.quantile(ratios, [0.025, 0.1587, 0.5, 0.8413, 0.975]).tolist()
    return {
        "haven_ratio": middle,
        "haven_ratio_error": (above - below) / 2,
        "haven_ratio_low": low,
        "haven_ratio_high": high,
        "no_haven_ratio": reason,
    }


def coefficients_of_replicas(datasets: Sequence[xr.Dataset]) -> dict[str, float | str]:
    """Columns of `coefficients` over replicas at one x and temperature; trajectories too short to fit are excluded."""
    return coefficients(*(mean_fit(datasets, name) for name in (TRACER, CHARGE)))


def mean_fit(datasets: Sequence[xr.Dataset], name: str) -> LineFit:
    """Mean fit of `TRACER` or `CHARGE` over trajectories, weighted by ion-time; those too short are excluded."""
    fits = [
        LineFit(
            float(dataset[f"D_{name}_line_cm2_s"]),
            dataset[f"D_{name}_variance"].to_numpy(),
            float(dataset[f"{name}_exponent"]),
            float(dataset[f"{name}_exponent_error"]),
            float(dataset[f"{name}_observations"]),
            float(dataset[f"D_{name}_floor_cm2_s"]),
        )
        for dataset in datasets
    ]
    fitted = [fit for fit in fits if np.isfinite(fit.D_cm2_s)]
    return mean_of_fits(fitted) if fitted else NO_FIT
