"""D*, D_σ and Haven ratio of one trajectory and of replicas, as variables of datasets and columns of tables."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.collective import haven_ratio
from redoxmd.diffusion.msd import collective_coordinate, mean_squared_displacement
from redoxmd.diffusion.posterior import NO_FIT, LineFit, fit_line, mean_of_fits
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
        settings: section `diffusion`.
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
        posterior = fit.posterior()
        row |= {
            f"D_{name}_cm2_s": posterior.value,
            f"D_{name}_error_cm2_s": posterior.error,
            f"D_{name}_low_cm2_s": posterior.low,
            f"D_{name}_high_cm2_s": posterior.high,
            f"D_{name}_limit_cm2_s": posterior.limit,
            f"{name}_exponent": fit.exponent,
            f"{name}_exponent_error": fit.exponent_error,
            f"{name}_observations": fit.observations,
            f"{name}_regime": fit.regime,
        }
    haven = haven_ratio(tracer, charge)
    return row | {
        "haven_ratio": haven.value,
        "haven_ratio_error": haven.error,
        "haven_ratio_low": haven.low,
        "haven_ratio_high": haven.high,
        "no_haven_ratio": haven.reason,
    }


def coefficients_of_replicas(datasets: Sequence[xr.Dataset]) -> dict[str, float | str]:
    """Columns of `coefficients` over replicas at one x and temperature; trajectories too short to fit are excluded."""
    return coefficients(*(mean_fit(datasets, name) for name in (TRACER, CHARGE)))


def mean_fit(datasets: Sequence[xr.Dataset], name: str) -> LineFit:
    """Mean fit of `TRACER` or `CHARGE` over trajectories, weighted by ion-time; those too short are excluded."""
    fits = [_recorded_fit(dataset, name) for dataset in datasets]
    fitted = [fit for fit in fits if np.isfinite(fit.D_cm2_s)]
    return mean_of_fits(fitted) if fitted else NO_FIT


def _recorded_fit(dataset: xr.Dataset, name: str) -> LineFit:
    """Line fit stored in a dataset."""
    return LineFit(
        float(dataset[f"D_{name}_line_cm2_s"]),
        dataset[f"D_{name}_variance"].to_numpy(),
        float(dataset[f"{name}_exponent"]),
        float(dataset[f"{name}_exponent_error"]),
        float(dataset[f"{name}_observations"]),
        float(dataset[f"D_{name}_floor_cm2_s"]),
    )
