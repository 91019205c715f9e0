"""Van Hove functions of the mobile ions: self part (displacements) and distinct part (pair distances)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.site_analysis import Variables
from redoxmd.diffusion.site_tables import trajectory_columns
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

BIN_A = 0.1
MIN_RANGE_A = 6.0
ORIGINS = 2000
# Pairs of ions (origins × m²): largest number per lag, and number processed at once.
MOST_PAIRS = 500_000
BLOCK_PAIRS = 100_000
COLUMNS = ("x", "temperature_K", "lag_ps", "distance_A", "self_per_A", "distinct", "replicas")


def lags_within(lags_ps: Sequence[float], time_fs: np.ndarray) -> np.ndarray:
    """Lags (L,) in frames, unique, each at least one frame and at most half of the trajectory."""
    interval, longest = float(time_fs[1] - time_fs[0]), max(1, (len(time_fs) - 1) // 2)
    frames = np.round(np.array(lags_ps) * FS_PER_PS / interval).astype(int)
    return np.unique(np.clip(frames, 1, longest))


def self_part(positions_A: np.ndarray, lags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances r (R,), Å, and 4πr²·G_s(r, t) (L, R), 1/Å; each lag integrates to one.

    The self part is the probability density of |r(t₀ + t) − r(t₀)| over ions and origins t₀. For
    Gaussian walkers it is 4πr²(4πDt)^(−3/2) exp(−r²/4Dt); jumps appear as a second maximum at their length.

    Args:
        positions_A: (T, m, 3), unwrapped, drift removed.
        lags: (L,) frames.
    """
    lengths_by_lag = []
    for lag in lags:
        origins = _evenly_spaced_origins(len(positions_A), lag, ORIGINS)
        lengths_by_lag.append(np.linalg.norm(positions_A[origins + lag] - positions_A[origins], axis=2))
    range_A = max([MIN_RANGE_A, *(float(lengths.max(initial=0.0)) for lengths in lengths_by_lag)])
    edges = BIN_A * np.arange(int(range_A / BIN_A) + 2)
    counts = np.array([np.histogram(lengths, edges)[0] for lengths in lengths_by_lag])
    return (edges[1:] + edges[:-1]) / 2, counts / np.maximum(counts.sum(axis=1, keepdims=True), 1) / BIN_A


def _evenly_spaced_origins(frames: int, lag: int, max_origins: int) -> np.ndarray:
    origins: np.ndarray = np.unique(np.linspace(0, frames - lag - 1, max(1, max_origins)).astype(int))
    return origins


def distinct_part(positions_A: np.ndarray, lags: np.ndarray, cell_A: np.ndarray, distances_A: np.ndarray) -> np.ndarray:
    """G_d(r, t)/ρ (L, R): density of ions at distance r, after t, from the initial position of another ion, over ρ.

    ρ = (m − 1)/V. At t = 0 it is g(r) of the ions; a maximum that grows at r = 0 shows that ions move into sites that
    other ions have left. Minimum images for cells of any shape; NaN beyond the inscribed sphere of the cell and for a
    single ion.

    Args:
        positions_A: (T, m, 3), drift removed.
        lags: (L,) frames.
        cell_A: (3, 3).
        distances_A: (R,) bin centres, equally spaced; the first is half a bin width.
    """
    frames, ions = positions_A.shape[:2]
    if ions < 2:
        return np.full((len(lags), len(distances_A)), np.nan)
    width = 2 * float(distances_A[0])
    edges = np.append(distances_A - width / 2, distances_A[-1] + width / 2)
    shell = 4 / 3 * np.pi * np.diff(edges**3)
    expected = ions * (ions - 1) * shell / abs(np.linalg.det(cell_A))
    periodic, ratios, step = PeriodicCell(cell_A), [], max(1, BLOCK_PAIRS // ions)
    for lag in lags:
        origins = _evenly_spaced_origins(frames, lag, MOST_PAIRS // ions**2)
        counts = np.zeros(len(distances_A))
        for origin, first in product(origins, range(0, ions, step)):
            # Distances from the earlier position of each ion of a block to the later positions of the others.
            block = np.arange(first, min(first + step, ions))
            vectors = positions_A[origin + lag][None] - positions_A[origin][block, None]
            lengths = np.linalg.norm(periodic.minimum_image(vectors), axis=-1)
            counts += np.histogram(lengths[block[:, None] != np.arange(ions)], edges)[0]
        ratios.append(counts / (len(origins) * expected))
    inside = edges[1:] <= periodic.inscribed_radius_A
    return np.where(inside, np.array(ratios), np.nan)


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
        "van_hove_distinct": (("van_hove_lag", "van_hove_bin"), distinct_part(positions_A, lags, cell_A, distances)),
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
    ion_time_ps = dataset["n_ions"].item() * dataset["duration_ps"].item()
    return pd.DataFrame(columns).assign(**trajectory_columns(dataset), ion_time_ps=ion_time_ps)
