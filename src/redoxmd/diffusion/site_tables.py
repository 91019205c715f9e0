"""Tables of sites, site changes, occupancies and concerted jumps over all trajectories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from redoxmd.diffusion.posterior import weighted_mean
from redoxmd.diffusion.sites import NONE
from redoxmd.units import FS_PER_PS

TRAJECTORY_KEYS = ["x", "temperature_K", "replica"]
CONCERTED_COUNTS = ("n_sites_concerted", "n_neighbouring", "n_exchanges")
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
INTEGER_COLUMNS = (
    "replica",
    "replicas",
    "n_ions",
    "n_frames",
    "n_jumps",
    "n_concerted",
    "n_site_changes",
    "n_returned",
    "n_site_jumps",
    *CONCERTED_COUNTS,
    "n_leaving_first",
    "n_entering_first",
    "n_together",
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
    return table.astype({name: "Int64" for name in INTEGER_COLUMNS if name in table})


def event_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Site changes, one per row; `number` and `exchange` index site changes and exchanges within a trajectory."""
    table = _concatenate([_events(dataset) for dataset in datasets if "event" in dataset.dims], EVENT_COLUMNS)
    exchange = table["exchange"].astype("Int64")
    return table.assign(exchange=exchange.where(exchange != NONE))


def _events(dataset: xr.Dataset) -> pd.DataFrame:
    kind = dataset["site_kind"].to_numpy()
    columns = {
        name: dataset[f"event_{name}"].to_numpy() for name in EVENT_COLUMNS if f"event_{name}" in dataset.data_vars
    }
    kinds = {f"{side}_kind": kind[columns[f"{side}_site"].astype(int)] for side in ("from", "to")}
    return pd.DataFrame({"number": range(dataset.sizes["event"]), **columns, **kinds}).assign(
        **_trajectory_columns(dataset)
    )


def _trajectory_columns(dataset: xr.Dataset) -> dict[str, float | str]:
    return {"structure": dataset.attrs.get("structure", ""), **{name: dataset[name].item() for name in TRAJECTORY_KEYS}}


def _concatenate(tables: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    # An empty table has no column types and would change those of the result.
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True)[list(columns)] if filled else pd.DataFrame(columns=list(columns))


def occupancy_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Ions per site of each kind along each trajectory."""
    return _concatenate([_occupancy(dataset) for dataset in datasets if "kind" in dataset.dims], OCCUPANCY_COLUMNS)


def _occupancy(dataset: xr.Dataset) -> pd.DataFrame:
    bins, kinds = dataset.sizes["occupancy_bin"], dataset.sizes["kind"]
    columns = {
        "time_ps": np.repeat(dataset["occupancy_time_fs"].to_numpy() / FS_PER_PS, kinds),
        "kind": np.tile(dataset["kind"].to_numpy(), bins),
        "occupancy": dataset["occupancy"].to_numpy().ravel(),
    }
    return pd.DataFrame(columns).assign(**_trajectory_columns(dataset))


def site_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Kinds of site: number, coordination, occupancy; means over replicas weighted by time, with the error as for D."""
    tables = [_kinds(dataset) for dataset in datasets if "kind" in dataset.dims]
    rows = _concatenate(tables, (*SITE_COLUMNS, "duration_ps"))
    keys = ["x", "temperature_K", "kind"]
    return pd.DataFrame([_mean_kind(group) for _, group in rows.groupby(keys)], columns=list(SITE_COLUMNS))


def _kinds(dataset: xr.Dataset) -> pd.DataFrame:
    names = ("sites", "coordination", "occupancy", "occupancy_error")
    columns = {name: dataset[f"kind_{name}"].to_numpy() for name in names}
    columns_of_trajectory = {**_trajectory_columns(dataset), "duration_ps": dataset["duration_ps"].item()}
    return pd.DataFrame({"kind": dataset["kind"].to_numpy(), **columns}).assign(**columns_of_trajectory)


def _mean_kind(group: pd.DataFrame) -> dict[str, object]:
    mean, error = weighted_mean(*(group[name].to_numpy() for name in ("occupancy", "occupancy_error", "duration_ps")))
    first = group[["x", "temperature_K", "kind", "sites", "coordination"]].iloc[0]
    return {**{str(name): value for name, value in first.items()}, "occupancy": mean, "occupancy_error": error}


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
    _shares(table, "n_concerted", "n_jumps", "concerted")
    _shares(table, "n_sites_concerted", "n_site_jumps", "sites_concerted")
    _shares(table, "n_neighbouring", "n_site_jumps", "neighbouring")
    # An exchange consists of two jumps.
    _shares(table, "n_exchanges", "n_site_jumps", "exchange", members=2)
    return table


def _shares(table: pd.DataFrame, counts: str, jumps: str, name: str, members: int = 1) -> None:
    total = table[jumps].where(table[jumps] > 0)
    share = members * table[counts] / total
    table[f"{name}_fraction"] = share
    table[f"{name}_error"] = np.sqrt(share * (1 - share) / total)
    table[f"{name}_chance"] = members * table[f"{counts}_chance"] / total
