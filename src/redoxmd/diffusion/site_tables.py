"""Tables of sites, site changes, occupancies and concerted jumps over all trajectories."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from redoxmd.diffusion.line_fit import weighted_mean
from redoxmd.diffusion.site_analysis import CONCERTED_COUNTS
from redoxmd.diffusion.sites import NONE
from redoxmd.units import FS_PER_PS

TRAJECTORY_KEYS = ["x", "temperature_K", "replica"]
# Scalars of a trajectory that enter the tables; NaN if its sites could not be assigned.
SITE_SCALARS = (
    "at_sites_fraction",
    "at_no_site_fraction",
    "n_site_changes",
    "n_returned",
    "n_site_jumps",
    "site_rate_per_ps",
    "site_rate_error_per_ps",
    "site_rate_limit_per_ps",
    "D_sites_cm2_s",
    "D_sites_error_cm2_s",
    "D_sites_limit_cm2_s",
    *CONCERTED_COUNTS,
    *(f"{name}_chance" for name in CONCERTED_COUNTS),
    "n_leaving_first",
    "n_entering_first",
    "n_together",
    "exchange_delay_fs",
)
EVENT_COLUMNS = (
    "structure",
    *TRAJECTORY_KEYS,
    "number",
    "time_fs",
    "ion",
    "from_site",
    "to_site",
    "from_kind",
    "to_kind",
    "distance_A",
    "returned",
    "concerted",
    "neighbouring",
    "exchange",
    "delay_fs",
)
SITE_COLUMNS = ("x", "temperature_K", "kind", "sites", "coordination", "occupancy", "occupancy_error")
OCCUPANCY_COLUMNS = ("structure", *TRAJECTORY_KEYS, "time_ps", "kind", "occupancy")


def with_integer_counts(table: pd.DataFrame) -> pd.DataFrame:
    """Table with counts as integers; unknown counts are missing values, in CSV empty fields."""
    counts = [name for name in table if str(name).startswith("n_") and not str(name).endswith("_chance")]
    return table.astype(dict.fromkeys([*counts, *({"replica", "replicas"} & set(table))], "Int64"))


def event_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Site changes, one per row; `number` and `exchange` index site changes and exchanges within a trajectory."""
    tables = []
    for dataset in datasets:
        if "event" in dataset.dims:
            kind = dataset["site_kind"].to_numpy()
            names = (name for name in EVENT_COLUMNS if f"event_{name}" in dataset.data_vars)
            columns = {name: dataset[f"event_{name}"].to_numpy() for name in names}
            kinds = {f"{side}_kind": kind[columns[f"{side}_site"].astype(int)] for side in ("from", "to")}
            tables.append(_table(dataset, {"number": range(dataset.sizes["event"]), **columns, **kinds}))
    table = _concatenate(tables, EVENT_COLUMNS)
    exchange = table["exchange"].astype("Int64")
    return table.assign(exchange=exchange.where(exchange != NONE))


def trajectory_columns(dataset: xr.Dataset) -> dict[str, float | str]:
    """Values that identify the trajectory of a dataset: structure, x, temperature_K, replica."""
    return {"structure": dataset.attrs.get("structure", ""), **{key: dataset[key].item() for key in TRAJECTORY_KEYS}}


def _table(dataset: xr.Dataset, columns: dict[str, Any]) -> pd.DataFrame:
    """Table of columns with the columns that identify the trajectory."""
    return pd.DataFrame(columns).assign(**trajectory_columns(dataset))


def _concatenate(tables: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    # An empty table has no column types and would change those of the result.
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True)[list(columns)] if filled else pd.DataFrame(columns=list(columns))


def occupancy_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Ions per site of each kind along each trajectory."""
    tables = []
    for dataset in datasets:
        if "kind" in dataset.dims:
            columns = {
                "time_ps": np.repeat(dataset["occupancy_time_fs"].to_numpy() / FS_PER_PS, dataset.sizes["kind"]),
                "kind": np.tile(dataset["kind"].to_numpy(), dataset.sizes["occupancy_bin"]),
                "occupancy": dataset["occupancy"].to_numpy().ravel(),
            }
            tables.append(_table(dataset, columns))
    return _concatenate(tables, OCCUPANCY_COLUMNS)


def site_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Kinds of site: number, coordination, occupancy; means over replicas weighted by time, with the error as for D."""
    names = ("sites", "coordination", "occupancy", "occupancy_error")
    tables = []
    for dataset in datasets:
        if "kind" in dataset.dims:
            columns = {name: dataset[f"kind_{name}"].to_numpy() for name in names}
            columns |= {"kind": dataset["kind"].to_numpy(), "duration_ps": dataset["duration_ps"].item()}
            tables.append(_table(dataset, columns))
    replicas = _concatenate(tables, (*SITE_COLUMNS, "duration_ps"))
    rows = []
    for _, group in replicas.groupby(["x", "temperature_K", "kind"]):
        measured = (group[name].to_numpy() for name in ("occupancy", "occupancy_error", "duration_ps"))
        mean, error = weighted_mean(*measured)
        rows.append({**group.iloc[0].to_dict(), "occupancy": mean, "occupancy_error": error})
    return pd.DataFrame(rows, columns=list(SITE_COLUMNS))


def concerted_table(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Concerted jumps by temperature, over all x and replicas, with the chance level of each share.

    Counts are by the 3 Å rule and between sites: within the window, of neighbours, and in exchanges. Errors of shares
    are binomial.
    """
    counted = trajectories.assign(delay_sum=trajectories["exchange_delay_fs"] * trajectories["n_exchanges"])
    order_columns = ["n_leaving_first", "n_entering_first", "n_together", "delay_sum"]
    columns = ["n_jumps", "n_concerted", "n_concerted_chance", "n_site_jumps"]
    columns += [f"{name}{suffix}" for name in CONCERTED_COUNTS for suffix in ("", "_chance")] + order_columns
    table = counted.groupby("temperature_K", as_index=False)[columns].sum(min_count=1)
    table["exchange_delay_fs"] = table.pop("delay_sum") / table["n_exchanges"].where(table["n_exchanges"] > 0)
    # An exchange consists of two jumps.
    for name, counts, jumps, members in (
        ("concerted", "n_concerted", "n_jumps", 1),
        ("sites_concerted", "n_sites_concerted", "n_site_jumps", 1),
        ("neighbouring", "n_neighbouring", "n_site_jumps", 1),
        ("exchange", "n_exchanges", "n_site_jumps", 2),
    ):
        total = table[jumps].where(table[jumps] > 0)
        share = members * table[counts] / total
        table[f"{name}_fraction"] = share
        table[f"{name}_error"] = np.sqrt(share * (1 - share) / total)
        table[f"{name}_chance"] = members * table[f"{counts}_chance"] / total
    return table
