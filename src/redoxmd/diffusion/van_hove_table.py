"""Van Hove functions as dataset variables, and their means over replicas as a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.site_analysis import Variables
from redoxmd.diffusion.van_hove import distinct_part, lags_within, self_part
from redoxmd.units import FS_PER_PS

COLUMNS = ("x", "temperature_K", "lag_ps", "distance_A", "self_per_A", "distinct", "replicas")


def van_hove_variables(
    positions_A: np.ndarray, time_fs: np.ndarray, cell_A: np.ndarray, settings: Diffusion
) -> Variables:
    """Van Hove variables for `analysis.analyse_trajectory`; none with fewer than two frames or without ions.

    Dimensions: `van_hove_lag`, `van_hove_bin`.

    Args:
        positions_A: (T, m, 3) mobile ions, drift removed.
        time_fs: (T,).
        cell_A: (3, 3).
        settings: `van_hove_lags_ps`.
    """
    if len(time_fs) < 2 or not positions_A.shape[1]:
        return {}
    lags = lags_within(settings.van_hove_lags_ps, time_fs)
    distances, self_densities = self_part(positions_A, lags)
    return {
        "van_hove_lag_fs": ("van_hove_lag", time_fs[lags] - time_fs[0]),
        "van_hove_distance_A": ("van_hove_bin", distances),
        "van_hove_self_per_A": (("van_hove_lag", "van_hove_bin"), self_densities),
        "van_hove_distinct": (
            ("van_hove_lag", "van_hove_bin"),
            distinct_part(positions_A, lags, cell_A, distances),
        ),
    }


def van_hove_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Means over replicas by x, T, lag and distance, weighted by ion-time; distances without ions count as zero."""
    tables = [_rows(dataset) for dataset in datasets if "van_hove_bin" in dataset.dims]
    if not tables:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = pd.concat(tables, ignore_index=True)
    lag = ["x", "temperature_K", "lag_ps"]
    distinct_ion_time = rows["ion_time_ps"].where(rows["distinct"].notna())
    rows = rows.assign(
        self_per_A=rows["self_per_A"] * rows["ion_time_ps"],
        distinct=rows["distinct"] * distinct_ion_time,
        distinct_ion_time=distinct_ion_time,
    )
    table = rows.groupby([*lag, "distance_A"], as_index=False)[["self_per_A", "distinct", "distinct_ion_time"]].sum(
        min_count=1
    )
    replicas = rows.drop_duplicates([*lag, "structure", "replica"]).groupby(lag, as_index=False)
    table = table.merge(replicas.agg(replicas=("replica", "size"), ion_time_ps=("ion_time_ps", "sum")), on=lag)
    table["self_per_A"] /= table["ion_time_ps"]
    table["distinct"] /= table["distinct_ion_time"]
    return table[list(COLUMNS)]


def _rows(dataset: xr.Dataset) -> pd.DataFrame:
    lags, bins = dataset.sizes["van_hove_lag"], dataset.sizes["van_hove_bin"]
    columns = {
        "lag_ps": np.repeat(dataset["van_hove_lag_fs"].to_numpy() / FS_PER_PS, bins).round(9),
        "distance_A": np.tile(dataset["van_hove_distance_A"].to_numpy(), lags).round(6),
        "self_per_A": dataset["van_hove_self_per_A"].to_numpy().ravel(),
        "distinct": dataset["van_hove_distinct"].to_numpy().ravel(),
    }
    columns_of_trajectory = {name: dataset[name].item() for name in ("x", "temperature_K", "replica")}
    columns_of_trajectory |= {
        "structure": dataset.attrs.get("structure", ""),
        "ion_time_ps": dataset["n_ions"].item() * dataset["duration_ps"].item(),
    }
    return pd.DataFrame(columns).assign(**columns_of_trajectory)
