"""Units of the variables of an analysis by name."""

from __future__ import annotations

import xarray as xr

COEFFICIENTS = [
    *(f"D_{name}{suffix}_cm2_s" for name in ("jumps", "sites") for suffix in ("", "_error", "_limit")),
    *(
        f"D_{name}_{prefix}cm2_s"
        for name in ("msd", "sigma")
        for prefix in ("", "error_", "low_", "high_", "limit_", "line_", "floor_")
    ),
    *(f"D_{name}_axis_cm2_s" for name in ("jumps", "msd")),
    "D_jumps_axis_error_cm2_s",
]
NAMES: dict[str, list[str]] = {
    "cm2/s": COEFFICIENTS,
    "1/ps": [f"site_rate_{prefix}per_ps" for prefix in ("", "error_", "limit_")],
    "ps": ["duration_ps"],
    "fs": [
        "start_fs",
        "frame_interval_fs",
        "jump_time_fs",
        "lag_fs",
        "van_hove_lag_fs",
        "occupancy_time_fs",
        "event_time_fs",
        "event_delay_fs",
        "exchange_delay_fs",
    ],
    "angstrom": ["jump_start_A", "jump_end_A", "event_distance_A", "van_hove_distance_A"],
    "angstrom2": ["msd_A2", "sigma_A2"],
    "1/angstrom": ["van_hove_self_per_A"],
    "eV/angstrom": ["max_spread_eV_A"],
    "K": ["temperature_K", "mean_temperature_K"],
}
UNITS = {name: unit for unit, names in NAMES.items() for name in names}
VARIANCE = "variance of D as v0 + v1*D + v2*D^2: v0 in (cm2/s)^2, v1 in cm2/s, v2 without unit"


def with_units(dataset: xr.Dataset) -> xr.Dataset:
    """Set the attribute `units` of every variable with a unit; the others are numbers, names or counts."""
    for name, variable in dataset.variables.items():
        if str(name) in UNITS:
            variable.attrs["units"] = UNITS[str(name)]
    for name in ("D_msd_variance", "D_sigma_variance"):
        dataset[name].attrs["long_name"] = VARIANCE
    return dataset
