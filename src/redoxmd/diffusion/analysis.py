"""Analyse each trajectory into a dataset, average over replicas and fit over temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.config.sections import Diffusion, Structures
from redoxmd.diffusion.arrhenius import fits_by_method
from redoxmd.diffusion.correlation import correlation_columns
from redoxmd.diffusion.framework import diffusing_elements, element_mask, refuse_unfit
from redoxmd.diffusion.jumps import (
    concerted_by_chance,
    concerted_count,
    diffusion_by_axis,
    diffusion_from_jumps,
    find_jumps,
    recorded_jumps,
    upper_limit_of_count,
    without_drift,
)
from redoxmd.diffusion.line_fit import NAN, weighted_mean
from redoxmd.diffusion.msd_analysis import TRACER, coefficients_of_replicas, mean_fit, msd_variables
from redoxmd.diffusion.site_analysis import site_variables
from redoxmd.diffusion.site_tables import (
    SITE_SCALARS,
    concerted_table,
    event_table,
    occupancy_table,
    site_table,
    with_integer_counts,
)
from redoxmd.diffusion.sites import SiteMap
from redoxmd.diffusion.van_hove import van_hove_table, van_hove_variables
from redoxmd.files.trajectory import Trajectory
from redoxmd.seeds import derive_rng
from redoxmd.structures.request import cell_name, parse_name
from redoxmd.units import FS_PER_PS

CONDITION_COLUMNS = ["x", "temperature_K"]
# Dataset attributes that become columns of trajectories.csv.
ATTRIBUTE_COLUMNS = (
    "structure",
    "end_reason",
    "diffusing_framework",
    "msd_regime",
    "sigma_regime",
    "no_haven_ratio",
    "site_origin",
    "no_sites",
)
# Unit of a variable by the end of its name, the longer ends first; variables without one are numbers, names or counts.
UNITS = {
    "_cm2_s": "cm2/s",
    "_eV_A": "eV/angstrom",
    "_per_ps": "1/ps",
    "_per_A": "1/angstrom",
    "_ps": "ps",
    "_fs": "fs",
    "_A2": "angstrom2",
    "_A": "angstrom",
    "_K": "K",
}
VARIANCE = "variance of D as v0 + v1*D + v2*D^2: v0 in (cm2/s)^2, v1 in cm2/s, v2 without unit"


@dataclass(frozen=True)
class Summary:
    """Tables over all trajectories; column names carry the units.

    Attributes:
        trajectories: one row per trajectory.
        diffusivities: one row per x and T, replicas averaged.
        arrhenius: one row per x: fits of D from jumps by the 3 Å rule (no prefix), from jumps between sites
            (`sites_`) and from the MSD (`msd_`).
        concerted: one row per T over all x and replicas.
        events: one row per site change.
        sites: one row per x, T and kind of site.
        occupancy: one row per trajectory, kind of site and time.
        van_hove: one row per x, T, lag and distance, replicas averaged.
    """

    trajectories: pd.DataFrame
    diffusivities: pd.DataFrame
    arrhenius: pd.DataFrame
    concerted: pd.DataFrame
    events: pd.DataFrame
    sites: pd.DataFrame
    occupancy: pd.DataFrame
    van_hove: pd.DataFrame


def analyse_trajectory(
    trajectory: Trajectory,
    settings: Diffusion,
    seed: int,
    structures: Structures | SiteMap | None = None,
    diffusing: Sequence[str] | None = None,
) -> xr.Dataset:
    """Jumps, D from jumps and MSD, concerted jumps, van Hove functions and sites of one trajectory.

    Coordinates are x, temperature_K and replica; `jump_*` list the jumps. Further variables come from
    `msd_analysis.msd_variables`, `van_hove.van_hove_variables` and `site_analysis.site_variables`.

    Args:
        trajectory: with x, temperature_K, replica and mobile_ion in its metadata.
        settings: distances, times and fits.
        seed: of the chance levels.
        structures: section with the source cell that defines the sites, or the sites; None: from the density of visits.
        diffusing: elements besides the mobile ion outside the framework; None: those that `diffusing_elements` finds.
    """
    refuse_unfit(trajectory)
    metadata, time_fs = trajectory.metadata, trajectory.time_fs
    mobile = trajectory.numbers == atomic_numbers[metadata["mobile_ion"]]
    if diffusing is None:
        diffusing = diffusing_elements(trajectory, mobile, settings.jump_distance_A)
    not_framework = mobile | element_mask(trajectory.numbers, diffusing)
    positions = without_drift(trajectory.positions_A, not_framework, atomic_masses[trajectory.numbers], selected=mobile)
    duration = float(time_fs[-1] - time_fs[0]) if len(time_fs) else 0.0
    n_ions = int(mobile.sum())
    jumps = find_jumps(positions, time_fs, settings)
    D, D_error, D_limit = diffusion_from_jumps(jumps, n_ions, duration, settings.jump_distance_A)
    by_axis, by_axis_error = diffusion_by_axis(jumps, n_ions, duration)
    msd_data, msd_attributes = msd_variables(positions, time_fs, settings)
    window = settings.concerted_window_ps
    scalars = {
        "n_jumps": len(jumps),
        "n_ions": n_ions,
        "n_frames": len(time_fs),
        "start_fs": float(time_fs[0]) if len(time_fs) else NAN,
        "frame_interval_fs": duration / (len(time_fs) - 1) if len(time_fs) > 1 else NAN,
        "duration_ps": duration / FS_PER_PS,
        "D_jumps_cm2_s": D,
        "D_jumps_error_cm2_s": D_error,
        "D_jumps_limit_cm2_s": D_limit,
        "n_concerted": concerted_count(jumps.ion, jumps.time_fs, window),
        "n_concerted_chance": concerted_by_chance(jumps.ion, time_fs, window, derive_rng(seed, "chance")),
        "mean_temperature_K": float(trajectory.temperature_K.mean()) if len(time_fs) else NAN,
        "max_spread_eV_A": float(trajectory.spread_eV_A.max()) if len(time_fs) else NAN,
    }
    site_data, site_attributes = site_variables(
        trajectory, positions, mobile, diffusing, structures, settings, derive_rng(seed, "site_chance")
    )
    dataset = xr.Dataset(
        {name: ((), value) for name, value in scalars.items()}
        | {
            "jump_ion": ("jump", jumps.ion),
            "jump_time_fs": ("jump", jumps.time_fs),
            "jump_start_A": (("jump", "axis"), jumps.start_A),
            "jump_end_A": (("jump", "axis"), jumps.end_A),
            "D_jumps_axis_cm2_s": ("axis", by_axis),
            "D_jumps_axis_error_cm2_s": ("axis", by_axis_error),
        }
        | msd_data
        | van_hove_variables(positions, trajectory.time_fs, trajectory.cell_A, settings)
        | site_data,
        coords={key: metadata[key] for key in ("x", "temperature_K", "replica")},
        attrs={key: str(metadata[key]) for key in ("structure", "model", "end_reason") if key in metadata}
        | {"diffusing_framework": " ".join(diffusing)}
        | msd_attributes
        | site_attributes,
    )
    for name, variable in dataset.variables.items():
        for suffix, unit in UNITS.items():
            if str(name).endswith(suffix):
                variable.attrs["units"] = unit
                break
    for name in ("D_msd_variance", "D_sigma_variance"):
        dataset[name].attrs["long_name"] = VARIANCE
    return dataset


def summarise(datasets: Sequence[xr.Dataset], settings: Diffusion) -> Summary:
    """Tables of all trajectories (`Summary`): averages over replicas, Arrhenius fits over temperatures."""
    trajectories, diffusivities = averages(datasets, settings)
    fits = []
    for x, group in diffusivities.groupby("x"):
        of_x = [dataset for dataset in datasets if dataset["x"] == x]
        lines = [
            mean_fit([dataset for dataset in of_x if dataset["temperature_K"] == kelvin], TRACER)
            for kelvin in group["temperature_K"]
        ]
        fits.append({"x": x, **fits_by_method(group, lines, settings)})
    return Summary(
        with_integer_counts(trajectories),
        with_integer_counts(diffusivities),
        pd.DataFrame(fits),
        with_integer_counts(concerted_table(trajectories)),
        event_table(datasets),
        site_table(datasets),
        occupancy_table(datasets),
        van_hove_table(datasets),
    )


def averages(datasets: Sequence[xr.Dataset], settings: Diffusion) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables of trajectories and of D averaged over replicas, the first two of `Summary`."""
    rows = []
    for dataset in datasets:
        names = [name for name in (*dataset.coords, *dataset.data_vars) if dataset[name].ndim == 0]
        attributes = {name: dataset.attrs.get(name, "") for name in ATTRIBUTE_COLUMNS}
        rows.append({**{str(name): dataset[name].item() for name in names}, **attributes})
    trajectories = pd.DataFrame(rows)
    absent = [name for name in SITE_SCALARS if name not in trajectories]
    trajectories = trajectories.assign(**dict.fromkeys(absent, np.nan))
    rows = []
    for _, group in trajectories.groupby(CONDITION_COLUMNS):
        replicas = [datasets[number] for number in group.index]
        row = _average(group, settings) | _by_axis(replicas) | coefficients_of_replicas(replicas)
        rows.append(
            row
            | correlation_columns(mean_fit(replicas, TRACER), row, [recorded_jumps(dataset) for dataset in replicas])
        )
    trajectories = trajectories.sort_values([*CONDITION_COLUMNS, "replica"]).reset_index(drop=True)
    return trajectories, pd.DataFrame(rows)


def diffusivities_by_cell(analyses: Sequence[xr.Dataset], settings: Diffusion) -> pd.DataFrame:
    """D by x, temperature and cell: columns of `Summary.diffusivities` and `supercell` (2x2x1).

    Args:
        analyses: datasets of all trajectories (`analyse_trajectory`) with the attribute `structure`.
    """
    cells: dict[tuple[int, ...], list[xr.Dataset]] = {}
    for dataset in analyses:
        cells.setdefault(parse_name(dataset.attrs["structure"]).supercell, []).append(dataset)
    tables = [averages(group, settings)[1].assign(supercell=cell_name(cell)) for cell, group in sorted(cells.items())]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _average(group: pd.DataFrame, settings: Diffusion) -> dict[str, Any]:
    """Mean over replicas of D from jumps (the paper's final D), weighted by ion-time.

    Trajectories of zero length are excluded; those without sites are excluded from D of jumps between sites. The error
    is the larger of the scatter between replicas and the propagated error of the replicas. Where jumps are too few to
    fit, the limit is that of all replicas together.
    """
    group = group.assign(ion_time_ps=group["n_ions"] * group["duration_ps"])
    row: dict[str, Any] = {"x": float(group["x"].iloc[0]), "temperature_K": float(group["temperature_K"].iloc[0])}
    group = group[group["ion_time_ps"] > 0]
    row |= {
        "replicas": len(group),
        "n_jumps": int(group["n_jumps"].sum()),
        "n_site_jumps": float(group["n_site_jumps"].sum(min_count=1)),
        "time_ps": float(group["duration_ps"].sum()),
        "ion_time_ps": float(group["ion_time_ps"].sum()),
    }
    with_sites = group[group["n_site_jumps"].notna()]
    row["sites_ion_time_ps"] = float(with_sites["ion_time_ps"].sum())
    for name, count, counted in (("D_jumps", row["n_jumps"], group), ("D_sites", row["n_site_jumps"], with_sites)):
        columns = (f"{name}_cm2_s", f"{name}_error_cm2_s", "ion_time_ps")
        row[columns[0]], row[columns[1]] = weighted_mean(*(counted[column].to_numpy(dtype=float) for column in columns))
        row[f"{name}_limit_cm2_s"] = _upper_limit(counted, name, count, settings.min_jumps_to_fit)
    return row


def _upper_limit(group: pd.DataFrame, name: str, count: float, min_jumps: int) -> float:
    """95 % upper limit of D over all replicas where the count is below `min_jumps`; otherwise NaN.

    Without jumps the limit assumes jumps of the threshold length; with jumps it is D scaled by the upper limit of the
    count.
    """
    ion_time = group["ion_time_ps"]
    if not count < min_jumps or group.empty:
        return NAN
    if count == 0:
        # The limit of a replica is three jumps over its ion-time; that of all is three jumps over the summed ion-time.
        return float((group[f"{name}_limit_cm2_s"] * ion_time).iloc[0] / ion_time.sum())
    mean_D = (group[f"{name}_cm2_s"] * ion_time).sum() / ion_time.sum()
    return float(mean_D * upper_limit_of_count(count) / count)


def _by_axis(datasets: Sequence[xr.Dataset]) -> dict[str, float]:
    """D along x, y and z of the file, from jumps and from the MSD; means over replicas weighted by ion-time."""
    columns: dict[str, float] = {}
    for name in ("jumps", "msd"):
        D = np.array([dataset[f"D_{name}_axis_cm2_s"].to_numpy() for dataset in datasets])
        ion_time = np.array([float(dataset["n_ions"] * dataset["duration_ps"]) for dataset in datasets])
        measured = np.isfinite(D).all(axis=1)
        means = ion_time[measured] @ D[measured] / ion_time[measured].sum() if measured.any() else np.full(3, NAN)
        columns |= {f"D_{name}_{axis}_cm2_s": float(mean) for axis, mean in zip("xyz", means, strict=True)}
    return columns
