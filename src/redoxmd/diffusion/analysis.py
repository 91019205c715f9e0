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
from redoxmd.diffusion.jumps import (
    concerted_by_chance,
    concerted_count,
    diffusion_from_jumps,
    find_jumps,
    upper_limit_of_count,
    without_drift,
)
from redoxmd.diffusion.msd_analysis import coefficients_of_replicas, msd_variables
from redoxmd.diffusion.site_analysis import site_variables
from redoxmd.diffusion.site_tables import (
    SITE_SCALARS,
    concerted_table,
    event_table,
    mean_of_replicas,
    occupancy_table,
    site_table,
)
from redoxmd.diffusion.van_hove_table import van_hove_table, van_hove_variables
from redoxmd.seeds import derive_rng
from redoxmd.trajectory import Trajectory
from redoxmd.units import FS_PER_PS

# Of two endings that fit, the first counts.
UNITS = {"cm2_s": "cm2/s", "per_ps": "1/ps", "ps": "ps", "fs": "fs", "A2": "angstrom2", "A": "angstrom", "K": "K"}
# Attributes that are columns of trajectories.csv.
NOTES = ("end_reason", "msd_regime", "sigma_regime", "no_haven_ratio", "site_origin", "no_sites")


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
    about = trajectory.metadata
    mobile = trajectory.numbers == atomic_numbers[about["mobile_ion"]]
    masses = atomic_masses[trajectory.numbers]
    positions = without_drift(trajectory.positions_A, mobile, masses)
    duration = float(trajectory.time_fs[-1] - trajectory.time_fs[0]) if len(trajectory.time_fs) else 0.0
    n_ions = int(mobile.sum())
    jumps = find_jumps(positions, trajectory.time_fs, settings)
    by_jumps = diffusion_from_jumps(jumps, n_ions, duration, settings.jump_distance_A)
    msd_part, msd_notes = msd_variables(positions, trajectory.time_fs, settings)
    window = settings.concerted_window_ps
    scalars = {
        "n_jumps": len(jumps),
        "n_ions": n_ions,
        "duration_ps": duration / FS_PER_PS,
        "D_jumps_cm2_s": by_jumps.value_cm2_s,
        "D_jumps_error_cm2_s": by_jumps.error_cm2_s,
        "D_jumps_limit_cm2_s": by_jumps.limit_cm2_s,
        "n_concerted": concerted_count(jumps.ion, jumps.time_fs, window),
        "n_concerted_chance": concerted_by_chance(jumps.ion, duration, window, derive_rng(seed, "chance")),
        "mean_temperature_K": float(trajectory.temperature_K.mean()) if len(trajectory.time_fs) else float("nan"),
        "max_spread_eV_A": float(trajectory.spread_eV_A.max(initial=0.0)),
    }
    site_part, site_notes = site_variables(
        trajectory, positions, mobile, structures, settings, derive_rng(seed, "site_chance")
    )
    dataset = xr.Dataset(
        {name: ((), value) for name, value in scalars.items()}
        | {
            "jump_ion": ("jump", jumps.ion),
            "jump_time_fs": ("jump", jumps.time_fs),
            "jump_start_A": (("jump", "axis"), jumps.start_A),
            "jump_end_A": (("jump", "axis"), jumps.end_A),
        }
        | msd_part
        | van_hove_variables(positions, trajectory.time_fs, trajectory.cell_A, settings)
        | site_part,
        coords={key: about[key] for key in ("x", "temperature_K", "replica")},
        attrs={key: str(about[key]) for key in ("structure", "model", "end_reason") if key in about}
        | msd_notes
        | site_notes,
    )
    for name, variable in dataset.variables.items():
        suffix = next((unit for ending, unit in UNITS.items() if str(name).endswith("_" + ending)), None)
        if suffix:
            variable.attrs["units"] = suffix
    return dataset


def summarise(datasets: Sequence[xr.Dataset], settings: Diffusion) -> Summary:
    """Average over replicas, fit over temperatures; see `Summary`."""
    trajectories, diffusivities = averages(datasets, settings)
    fits = [{"x": x, **fits_by_method(group, settings)} for x, group in diffusivities.groupby("x")]
    return Summary(
        trajectories,
        diffusivities,
        pd.DataFrame(fits),
        concerted_table(trajectories),
        event_table(datasets),
        site_table(datasets),
        occupancy_table(datasets),
        van_hove_table(datasets),
    )


def averages(datasets: Sequence[xr.Dataset], settings: Diffusion) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Trajectories and D averaged over replicas, the first two tables of `Summary`."""
    trajectories = pd.DataFrame([_row(dataset) for dataset in datasets])
    absent = [name for name in SITE_SCALARS if name not in trajectories]
    trajectories = trajectories.assign(**dict.fromkeys(absent, np.nan))
    trajectories = trajectories.sort_values(["x", "temperature_K", "replica"]).reset_index(drop=True)
    rows = []
    for key, group in trajectories.groupby(["x", "temperature_K"]):
        of_group = [dataset for dataset in datasets if (dataset["x"].item(), dataset["temperature_K"].item()) == key]
        rows.append(_average(group, settings) | coefficients_of_replicas(of_group))
    return trajectories, pd.DataFrame(rows)


def _row(dataset: xr.Dataset) -> dict[str, float | str]:
    scalars = {
        str(name): dataset[name].item() for name in [*dataset.coords, *dataset.data_vars] if dataset[name].ndim == 0
    }
    return {**scalars, **{name: dataset.attrs.get(name, "") for name in NOTES}}


def _average(group: pd.DataFrame, settings: Diffusion) -> dict[str, Any]:
    """Mean over replicas (the paper's final D) of what jumps give.

    The error is the larger of the scatter between replicas and what each replica's own error allows; the limit, where
    there are too few jumps to fit, is that of all replicas together.
    """
    row = {
        "x": float(group["x"].iloc[0]),
        "temperature_K": float(group["temperature_K"].iloc[0]),
        "replicas": len(group),
        "n_jumps": int(group["n_jumps"].sum()),
        "n_site_jumps": float(group["n_site_jumps"].sum(skipna=False)),
        "time_ps": float(group["duration_ps"].sum()),
    }
    for name, count in (("D_jumps", row["n_jumps"]), ("D_sites", row["n_site_jumps"])):
        values, errors = group[f"{name}_cm2_s"].to_numpy(), group[f"{name}_error_cm2_s"].to_numpy()
        row[f"{name}_cm2_s"], row[f"{name}_error_cm2_s"] = mean_of_replicas(values, errors)
        row[f"{name}_limit_cm2_s"] = _limit(group, name, count, settings.min_jumps_to_fit)
    return row


def _limit(group: pd.DataFrame, name: str, count: float, enough: int) -> float:
    """95 % upper limit of D of all replicas together, from a count that is too small to fit; NaN where it is not.

    Without jumps, those of the threshold length; with some, D times how many more there may be.
    """
    exposure = group["n_ions"] * group["duration_ps"]
    if not count < enough or exposure.sum() <= 0:
        return float("nan")
    if count == 0:
        # Each limit is three jumps over its own exposure: together three jumps over the sum.
        return float((group[f"{name}_limit_cm2_s"] * exposure).iloc[0] / exposure.sum())
    together = (group[f"{name}_cm2_s"] * exposure).sum() / exposure.sum()
    return float(together * upper_limit_of_count(count) / count)
