"""From trajectories to tables: one dataset per trajectory, then averages over replicas and fits over temperature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.config.sections import Diffusion, Structures
from redoxmd.diffusion.arrhenius import fit_arrhenius
from redoxmd.diffusion.jumps import (
    concerted_by_chance,
    concerted_count,
    diffusion_from_jumps,
    find_jumps,
    without_drift,
)
from redoxmd.diffusion.msd import diffusion_from_msd, squared_displacements
from redoxmd.diffusion.site_analysis import site_variables
from redoxmd.diffusion.site_tables import (
    SITE_SCALARS,
    concerted_table,
    event_table,
    mean_of_replicas,
    occupancy_table,
    site_table,
)
from redoxmd.seeds import derive_rng
from redoxmd.trajectory import Trajectory
from redoxmd.units import FS_PER_PS

MSD_LAGS = 200
# Of two endings that fit, the first counts.
UNITS = {"cm2_s": "cm2/s", "per_ps": "1/ps", "ps": "ps", "fs": "fs", "A2": "angstrom2", "A": "angstrom", "K": "K"}


@dataclass(frozen=True)
class Summary:
    """Tables over all trajectories; units are in the column names.

    Attributes:
        trajectories: one row per trajectory.
        diffusivities: one row per x and T, replicas averaged.
        arrhenius: one row per x.
        concerted: one row per T, all x and replicas together.
        events: one row per change of site.
        sites: one row per x, T and kind of site.
        occupancy: one row per trajectory, kind of site and time.
    """

    trajectories: pd.DataFrame
    diffusivities: pd.DataFrame
    arrhenius: pd.DataFrame
    concerted: pd.DataFrame
    events: pd.DataFrame
    sites: pd.DataFrame
    occupancy: pd.DataFrame


def analyse_trajectory(
    trajectory: Trajectory, settings: Diffusion, seed: int, structures: Structures | None = None
) -> xr.Dataset:
    """Jumps, D from jumps, D from the MSD, the concerted share and the sites of one trajectory.

    Scalars carry x, temperature_K and replica as coordinates; `jump_*` list the jumps, `msd_A2` the mean squared
    displacement over `lag_fs`; the rest is that of `site_analysis.site_variables`, with the sites of `structures`.
    """
    about = trajectory.metadata
    mobile = trajectory.numbers == atomic_numbers[about["mobile_ion"]]
    masses = atomic_masses[trajectory.numbers]
    positions = without_drift(trajectory.positions_A, mobile, masses)
    duration = float(trajectory.time_fs[-1] - trajectory.time_fs[0]) if len(trajectory.time_fs) else 0.0
    n_ions = int(mobile.sum())
    jumps = find_jumps(positions, trajectory.time_fs, settings)
    by_jumps = diffusion_from_jumps(jumps, n_ions, duration, settings.jump_distance_A)
    displacements = squared_displacements(positions)
    by_msd = diffusion_from_msd(displacements, trajectory.time_fs, settings.msd_fit, derive_rng(seed, "bootstrap"))
    window = settings.concerted_window_ps
    scalars = {
        "n_jumps": len(jumps),
        "n_ions": n_ions,
        "duration_ps": duration / FS_PER_PS,
        "D_jumps_cm2_s": by_jumps.value_cm2_s,
        "D_jumps_error_cm2_s": by_jumps.error_cm2_s,
        "D_jumps_limit_cm2_s": by_jumps.limit_cm2_s,
        "D_msd_cm2_s": by_msd.value_cm2_s,
        "D_msd_error_cm2_s": by_msd.error_cm2_s,
        "n_concerted": concerted_count(jumps.ion, jumps.time_fs, window),
        "n_concerted_chance": concerted_by_chance(jumps.ion, duration, window, derive_rng(seed, "chance")),
        "mean_temperature_K": float(trajectory.temperature_K.mean()) if len(trajectory.time_fs) else float("nan"),
        "max_spread_eV_A": float(trajectory.spread_eV_A.max(initial=0.0)),
    }
    lags = np.unique(np.linspace(0, len(trajectory.time_fs) - 1, MSD_LAGS).astype(int)) if duration else np.array([0])
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
            "msd_A2": ("lag", displacements[lags].mean(axis=1) if n_ions else np.zeros(len(lags))),
            "lag_fs": ("lag", trajectory.time_fs[lags] - trajectory.time_fs[0] if duration else np.zeros(len(lags))),
        }
        | site_part,
        coords={key: about[key] for key in ("x", "temperature_K", "replica")},
        attrs={key: str(about[key]) for key in ("structure", "model", "end_reason") if key in about} | site_notes,
    )
    for name, variable in dataset.variables.items():
        suffix = next((unit for ending, unit in UNITS.items() if str(name).endswith("_" + ending)), None)
        if suffix:
            variable.attrs["units"] = suffix
    return dataset


def summarise(datasets: Sequence[xr.Dataset], settings: Diffusion) -> Summary:
    """Average over replicas, fit over temperatures; see `Summary`."""
    trajectories = pd.DataFrame([_row(dataset) for dataset in datasets])
    absent = [name for name in SITE_SCALARS if name not in trajectories]
    trajectories = trajectories.assign(**dict.fromkeys(absent, np.nan))
    trajectories = trajectories.sort_values(["x", "temperature_K", "replica"]).reset_index(drop=True)
    groups = trajectories.groupby(["x", "temperature_K"])
    diffusivities = pd.DataFrame([_average(group) for _, group in groups])
    arrhenius = pd.DataFrame([_fit(x, group, settings) for x, group in diffusivities.groupby("x")])
    return Summary(
        trajectories,
        diffusivities,
        arrhenius,
        concerted_table(trajectories),
        event_table(datasets),
        site_table(datasets),
        occupancy_table(datasets),
    )


def _row(dataset: xr.Dataset) -> dict[str, float | str]:
    scalars = {
        str(name): dataset[name].item() for name in [*dataset.coords, *dataset.data_vars] if dataset[name].ndim == 0
    }
    return {**scalars, **{name: dataset.attrs.get(name, "") for name in ("end_reason", "site_origin", "no_sites")}}


def _average(group: pd.DataFrame) -> dict[str, float]:
    """Mean over replicas (the paper's final D).

    The error is the larger of the scatter between replicas and what each replica's own error allows; the limit is
    that of all replicas together.
    """
    row = {
        "x": float(group["x"].iloc[0]),
        "temperature_K": float(group["temperature_K"].iloc[0]),
        "replicas": len(group),
        "n_jumps": int(group["n_jumps"].sum()),
        "n_site_jumps": float(group["n_site_jumps"].sum(skipna=False)),
        "time_ps": float(group["duration_ps"].sum()),
    }
    for name in ("D_jumps", "D_msd", "D_sites"):
        values, errors = group[f"{name}_cm2_s"].to_numpy(), group[f"{name}_error_cm2_s"].to_numpy()
        row[f"{name}_cm2_s"], row[f"{name}_error_cm2_s"] = mean_of_replicas(values, errors)
    row["D_jumps_limit_cm2_s"] = _limit(group, "D_jumps", row["n_jumps"])
    row["D_sites_limit_cm2_s"] = _limit(group, "D_sites", row["n_site_jumps"])
    return row


def _limit(group: pd.DataFrame, name: str, seen: float) -> float:
    """Each limit is three jumps over its own exposure: together three jumps over the sum."""
    exposure = group["n_ions"] * group["duration_ps"]
    if seen != 0 or exposure.sum() <= 0:
        return float("nan")
    return float((group[f"{name}_limit_cm2_s"] * exposure).iloc[0] / exposure.sum())


def _fit(x: object, group: pd.DataFrame, settings: Diffusion) -> dict[str, object]:
    fit = fit_arrhenius(
        group["temperature_K"].to_numpy(),
        group["D_jumps_cm2_s"].to_numpy(),
        group["D_jumps_error_cm2_s"].to_numpy(),
        group["n_jumps"].to_numpy(),
        settings,
    )
    return {"x": x, **asdict(fit)}
