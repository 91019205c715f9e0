"""From trajectories to tables: one dataset per trajectory, then averages over replicas and fits over temperature."""

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
from redoxmd.diffusion.framework import diffusing_elements, of_elements, refuse_unfit
from redoxmd.diffusion.jumps import (
    concerted_by_chance,
    concerted_count,
    diffusion_by_axis,
    diffusion_from_jumps,
    find_jumps,
    jumps_of,
    upper_limit_of_count,
    without_drift,
)
from redoxmd.diffusion.msd_analysis import TRACER, coefficients_of_replicas, mean_fit, msd_variables
from redoxmd.diffusion.posterior import NAN, LineFit, weighted_mean
from redoxmd.diffusion.site_analysis import site_variables
from redoxmd.diffusion.site_tables import (
    SITE_SCALARS,
    concerted_table,
    event_table,
    occupancy_table,
    site_table,
    whole_counts,
)
from redoxmd.diffusion.units import with_units
from redoxmd.diffusion.van_hove_table import van_hove_table, van_hove_variables
from redoxmd.files.trajectory import Trajectory
from redoxmd.seeds import derive_rng
from redoxmd.units import FS_PER_PS

STATE = ["x", "temperature_K"]
# Attributes that are columns of trajectories.csv.
NOTES = (
    "structure",
    "end_reason",
    "diffusing_framework",
    "msd_regime",
    "sigma_regime",
    "no_haven_ratio",
    "site_origin",
    "no_sites",
)


@dataclass(frozen=True)
class Summary:
    """Tables over all trajectories; units are in the column names.

    Attributes:
        trajectories: one row per trajectory.
        diffusivities: one row per x and T, replicas averaged.
        arrhenius: one row per x: fits of D from jumps by the 3 Å rule, from jumps between sites (`sites_`) and from
            the MSD (`msd_`).
        concerted: one row per T, all x and replicas together.
        events: one row per change of site.
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
    trajectory: Trajectory, settings: Diffusion, seed: int, structures: Structures | None = None
) -> xr.Dataset:
    """Jumps, D from jumps and MSD, the concerted share, van Hove functions and the sites of one trajectory.

    Scalars carry x, temperature_K and replica as coordinates; `jump_*` list the jumps; the rest is that of
    `msd_analysis.msd_variables`, `van_hove_table.van_hove_variables` and `site_analysis.site_variables`, with the
    sites of `structures`.
    """
    refuse_unfit(trajectory)
    about, time_fs = trajectory.metadata, trajectory.time_fs
    mobile = trajectory.numbers == atomic_numbers[about["mobile_ion"]]
    diffusing = diffusing_elements(trajectory, mobile, settings.jump_distance_A)
    moving = mobile | of_elements(trajectory.numbers, diffusing)
    positions = without_drift(trajectory.positions_A, moving, atomic_masses[trajectory.numbers], of=mobile)
    duration = float(time_fs[-1] - time_fs[0]) if len(time_fs) else 0.0
    n_ions = int(mobile.sum())
    jumps = find_jumps(positions, time_fs, settings)
    by_jumps = diffusion_from_jumps(jumps, n_ions, duration, settings.jump_distance_A)
    by_axis, by_axis_error = diffusion_by_axis(jumps, n_ions, duration)
    msd_part, msd_notes = msd_variables(positions, time_fs, settings)
    window = settings.concerted_window_ps
    scalars = {
        "n_jumps": len(jumps),
        "n_ions": n_ions,
        "n_frames": len(time_fs),
        "start_fs": float(time_fs[0]) if len(time_fs) else NAN,
        "frame_interval_fs": duration / (len(time_fs) - 1) if len(time_fs) > 1 else NAN,
        "duration_ps": duration / FS_PER_PS,
        "D_jumps_cm2_s": by_jumps.value_cm2_s,
        "D_jumps_error_cm2_s": by_jumps.error_cm2_s,
        "D_jumps_limit_cm2_s": by_jumps.limit_cm2_s,
        "n_concerted": concerted_count(jumps.ion, jumps.time_fs, window),
        "n_concerted_chance": concerted_by_chance(jumps.ion, time_fs, window, derive_rng(seed, "chance")),
        "mean_temperature_K": float(trajectory.temperature_K.mean()) if len(time_fs) else NAN,
        "max_spread_eV_A": float(trajectory.spread_eV_A.max()) if len(time_fs) else NAN,
    }
    site_part, site_notes = site_variables(
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
        | msd_part
        | van_hove_variables(positions, trajectory.time_fs, trajectory.cell_A, settings)
        | site_part,
        coords={key: about[key] for key in ("x", "temperature_K", "replica")},
        attrs={key: str(about[key]) for key in ("structure", "model", "end_reason") if key in about}
        | {"diffusing_framework": " ".join(diffusing)}
        | msd_notes
        | site_notes,
    )
    return with_units(dataset)


def summarise(datasets: Sequence[xr.Dataset], settings: Diffusion) -> Summary:
    """Average over replicas, fit over temperatures; see `Summary`."""
    trajectories, diffusivities = averages(datasets, settings)
    fits = [
        {"x": x, **fits_by_method(group, [_line(datasets, *row) for row in group[STATE].to_numpy()], settings)}
        for x, group in diffusivities.groupby("x")
    ]
    return Summary(
        whole_counts(trajectories),
        whole_counts(diffusivities),
        pd.DataFrame(fits),
        whole_counts(concerted_table(trajectories)),
        event_table(datasets),
        site_table(datasets),
        occupancy_table(datasets),
        van_hove_table(datasets),
    )


def _line(datasets: Sequence[xr.Dataset], x: float, temperature_K: float) -> LineFit:
    """The fit of the MSD over the replicas of an x and T."""
    return mean_fit([one for one in datasets if (one["x"], one["temperature_K"]) == (x, temperature_K)], TRACER)


def averages(datasets: Sequence[xr.Dataset], settings: Diffusion) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trajectories and D averaged over replicas, the first two tables of `Summary`."""
    trajectories = pd.DataFrame([_row(dataset) for dataset in datasets])
    absent = [name for name in SITE_SCALARS if name not in trajectories]
    trajectories = trajectories.assign(**dict.fromkeys(absent, np.nan))
    rows = []
    for _, group in trajectories.groupby(STATE):
        of_group = [datasets[number] for number in group.index]
        row = _average(group, settings) | _by_axis(of_group) | coefficients_of_replicas(of_group)
        rows.append(row | correlation_columns(mean_fit(of_group, TRACER), row, [jumps_of(one) for one in of_group]))
    trajectories = trajectories.sort_values([*STATE, "replica"]).reset_index(drop=True)
    return trajectories, pd.DataFrame(rows)


def _row(dataset: xr.Dataset) -> dict[str, float | str]:
    scalars = {
        str(name): dataset[name].item() for name in [*dataset.coords, *dataset.data_vars] if dataset[name].ndim == 0
    }
    return {**scalars, **{name: dataset.attrs.get(name, "") for name in NOTES}}


def _average(group: pd.DataFrame, settings: Diffusion) -> dict[str, Any]:
    """Mean over replicas (the paper's final D) of what jumps give, weighted by ion-time: counts over exposure.

    Trajectories without time take no part, and those without sites take none in jumps between sites. The error is the
    larger of the scatter between replicas and what each replica's own error allows; the limit, where there are too few
    jumps to fit, is that of all replicas together.
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
    for name, count, part in (("D_jumps", row["n_jumps"], group), ("D_sites", row["n_site_jumps"], with_sites)):
        columns = (f"{name}_cm2_s", f"{name}_error_cm2_s", "ion_time_ps")
        row[columns[0]], row[columns[1]] = weighted_mean(*(part[column].to_numpy(dtype=float) for column in columns))
        row[f"{name}_limit_cm2_s"] = _limit(part, name, count, settings.min_jumps_to_fit)
    return row


def _limit(group: pd.DataFrame, name: str, count: float, enough: int) -> float:
    """95 % upper limit of D of all replicas together, from a count that is too small to fit; NaN where it is not.

    Without jumps, those of the threshold length; with some, D times how many more there may be.
    """
    ion_time = group["ion_time_ps"]
    if not count < enough or group.empty:
        return NAN
    if count == 0:
        # Each limit is three jumps over its own ion-time: together three jumps over the sum.
        return float((group[f"{name}_limit_cm2_s"] * ion_time).iloc[0] / ion_time.sum())
    together = (group[f"{name}_cm2_s"] * ion_time).sum() / ion_time.sum()
    return float(together * upper_limit_of_count(count) / count)


def _by_axis(datasets: Sequence[xr.Dataset]) -> dict[str, float]:
    """D along x, y and z of the file, from jumps and from the MSD, over replicas by ion-time."""
    columns: dict[str, float] = {}
    for name in ("jumps", "msd"):
        D = np.array([dataset[f"D_{name}_axis_cm2_s"].to_numpy() for dataset in datasets])
        ion_time = np.array([float(dataset["n_ions"] * dataset["duration_ps"]) for dataset in datasets])
        known = np.isfinite(D).all(axis=1)
        means = ion_time[known] @ D[known] / ion_time[known].sum() if known.any() else np.full(3, NAN)
        columns |= {f"D_{name}_{axis}_cm2_s": float(mean) for axis, mean in zip("xyz", means, strict=True)}
    return columns
