"""Tables of sites, changes of site and what goes together, over all trajectories."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import xarray as xr

from redoxmd.diffusion.posterior import weighted_mean
from redoxmd.diffusion.sites import NONE
from redoxmd.units import FS_PER_PS

ABOUT = ["x", "temperature_K", "replica"]
COMPANY = ("n_sites_concerted", "n_neighbouring", "n_exchanges")
# Scalars of a trajectory that tables are made of; NaN where no sites were had.
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
    *COMPANY,
    *(f"{name}_chance" for name in COMPANY),
    "n_leaving_first",
    "n_entering_first",
    "n_together",
    "exchange_delay_fs",
)
COUNTS = (
    "replica",
    "replicas",
    "n_ions",
    "n_frames",
    "n_jumps",
    "n_concerted",
    "n_site_changes",
    "n_returned",
    "n_site_jumps",
    *COMPANY,
    "n_leaving_first",
    "n_entering_first",
    "n_together",
)
EVENT_COLUMNS = (
    "structure",
    *ABOUT,
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
OCCUPANCY_COLUMNS = ("structure", *ABOUT, "time_ps", "kind", "occupancy")


def whole_counts(table: pd.DataFrame) -> pd.DataFrame:
    """The table with whole numbers where it counts; what is not known is missing, in CSV an empty field."""
    return table.astype({name: "Int64" for name in COUNTS if name in table})


def event_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Every change of site; `number` counts them, `exchange` the exchanges of a trajectory, missing without a part."""
    table = _joined([_events(dataset) for dataset in datasets if "event" in dataset.dims], EVENT_COLUMNS)
    exchange = table["exchange"].astype("Int64")
    return table.assign(exchange=exchange.where(exchange != NONE))


def _events(dataset: xr.Dataset) -> pd.DataFrame:
    kind = dataset["site_kind"].to_numpy()
    columns = {
        name: dataset[f"event_{name}"].to_numpy() for name in EVENT_COLUMNS if f"event_{name}" in dataset.data_vars
    }
    kinds = {f"{side}_kind": kind[columns[f"{side}_site"].astype(int)] for side in ("from", "to")}
    return pd.DataFrame({"number": range(dataset.sizes["event"]), **columns, **kinds}).assign(**_about(dataset))


def _about(dataset: xr.Dataset) -> dict[str, float | str]:
    return {"structure": dataset.attrs.get("structure", ""), **{name: dataset[name].item() for name in ABOUT}}


def _joined(tables: list[pd.DataFrame], columns: Sequence[str]) -> pd.DataFrame:
    # An empty table has no types, and would take them from the others.
    filled = [table for table in tables if len(table)]
    return pd.concat(filled, ignore_index=True)[list(columns)] if filled else pd.DataFrame(columns=list(columns))


def occupancy_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Ions per site of each kind along each trajectory."""
    return _joined([_occupancy(dataset) for dataset in datasets if "kind" in dataset.dims], OCCUPANCY_COLUMNS)


def _occupancy(dataset: xr.Dataset) -> pd.DataFrame:
    bins, kinds = dataset.sizes["occupancy_bin"], dataset.sizes["kind"]
    columns = {
        "time_ps": np.repeat(dataset["occupancy_time_fs"].to_numpy() / FS_PER_PS, kinds),
        "kind": np.tile(dataset["kind"].to_numpy(), bins),
        "occupancy": dataset["occupancy"].to_numpy().ravel(),
    }
    return pd.DataFrame(columns).assign(**_about(dataset))


def site_table(datasets: Sequence[xr.Dataset]) -> pd.DataFrame:
    """Kinds of sites: how many, ligands, ions per site; mean over replicas by their time, its error as that of D."""
    parts = [_kinds(dataset) for dataset in datasets if "kind" in dataset.dims]
    rows = _joined(parts, (*SITE_COLUMNS, "duration_ps"))
    keys = ["x", "temperature_K", "kind"]
    return pd.DataFrame([_mean_kind(group) for _, group in rows.groupby(keys)], columns=list(SITE_COLUMNS))


def _kinds(dataset: xr.Dataset) -> pd.DataFrame:
    names = ("sites", "coordination", "occupancy", "occupancy_error")
    columns = {name: dataset[f"kind_{name}"].to_numpy() for name in names}
    about = {**_about(dataset), "duration_ps": dataset["duration_ps"].item()}
    return pd.DataFrame({"kind": dataset["kind"].to_numpy(), **columns}).assign(**about)


def _mean_kind(group: pd.DataFrame) -> dict[str, object]:
    mean, error = weighted_mean(*(group[name].to_numpy() for name in ("occupancy", "occupancy_error", "duration_ps")))
    first = group[["x", "temperature_K", "kind", "sites", "coordination"]].iloc[0]
    return {**{str(name): value for name, value in first.items()}, "occupancy": mean, "occupancy_error": error}


def concerted_table(trajectories: pd.DataFrame) -> pd.DataFrame:
    """Concerted jumps by temperature, all x and replicas together, each share with that of random times beside it.

    By the 3 Å rule, then between sites: within the window, neighbours too, and in exchanges. Binomial errors of shares.
    """
    counted = trajectories.assign(delay_sum=trajectories["exchange_delay_fs"] * trajectories["n_exchanges"])
    orders = ["n_leaving_first", "n_entering_first", "n_together", "delay_sum"]
    columns = ["n_jumps", "n_concerted", "n_concerted_chance", "n_site_jumps"]
    columns += [f"{name}{suffix}" for name in COMPANY for suffix in ("", "_chance")] + orders
    table = counted.groupby("temperature_K", as_index=False)[columns].sum(min_count=1)
    table["exchange_delay_fs"] = table.pop("delay_sum") / table["n_exchanges"].where(table["n_exchanges"] > 0)
    _shares(table, "n_concerted", "n_jumps", "concerted")
    _shares(table, "n_sites_concerted", "n_site_jumps", "sites_concerted")
    _shares(table, "n_neighbouring", "n_site_jumps", "neighbouring")
    # Two jumps to an exchange.
    _shares(table, "n_exchanges", "n_site_jumps", "exchange", members=2)
    return table


def _shares(table: pd.DataFrame, counts: str, of: str, name: str, members: int = 1) -> None:
    total = table[of].where(table[of] > 0)
    share = members * table[counts] / total
    table[f"{name}_fraction"] = share
    table[f"{name}_error"] = np.sqrt(share * (1 - share) / total)
    table[f"{name}_chance"] = members * table[f"{counts}_chance"] / total
