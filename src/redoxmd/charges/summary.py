"""Summary of electrons and ions over all trajectories: redox table, hops and states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
import pandas as pd
import xarray as xr

from redoxmd.charges.hops import finite_mean
from redoxmd.charges.oxidation import OxidationModel
from redoxmd.charges.redox import CHECK_COLUMNS, analyse_redox, oxidation_table
from redoxmd.config.sections import Charges, Structures
from redoxmd.diffusion.jumps import recorded_jumps
from redoxmd.diffusion.line_fit import weighted_mean
from redoxmd.diffusion.site_tables import TRAJECTORY_KEYS, trajectory_columns
from redoxmd.diffusion.sites import NONE
from redoxmd.structures.geometry import Sites
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import source_cell

TABLE_COLUMNS = (
    "x",
    "temperature_K",
    "n_frames",
    "n_high_mean",
    "n_high_expected",
    "charge_low_e",
    "charge_high_e",
    "bond_low_A",
    "bond_high_A",
    "bond_difference_A",
    "bond_difference_error_A",
    "vacancy_low_A",
    "vacancy_high_A",
    "n_hops",
    "resolved_ps",
    "hops_per_ps",
    "mean_cosine",
    "disagreement_share",
    *CHECK_COLUMNS,
)
STATE_NAMES = ("state", "charge_state")
STATE_COLUMNS = (
    "structure",
    *TRAJECTORY_KEYS,
    "time_fs",
    "atom",
    "charge_e",
    "moment_muB",
    "probability",
    *STATE_NAMES,
)


@dataclass(frozen=True)
class RedoxSummary:
    """Tables over all trajectories.

    Attributes:
        table: one row per x and T, averaged over replicas; see TABLE_COLUMNS.
        hops: one row per electron hop (`hop_table`).
        states: one row per redox atom and frame.
    """

    table: pd.DataFrame
    hops: pd.DataFrame
    states: pd.DataFrame


def oxidation_tables(
    charges: Sequence[xr.Dataset], model: OxidationModel | None, structures: Structures, settings: Charges
) -> list[xr.Dataset]:
    """Oxidation tables of all trajectories; an empty list if there is neither a model of charges nor a state."""
    if model is None and not all("oxidation" in dataset for dataset in charges):
        return []
    return [oxidation_table(dataset, model, structures, settings) for dataset in charges]


def summarise_redox(
    charges: Sequence[xr.Dataset],
    jumps: Sequence[xr.Dataset],
    model: OxidationModel | None,
    structures: Structures,
    settings: Charges,
) -> RedoxSummary:
    """Hops, bonds and vacancies of every trajectory, and their averages over replicas; see `RedoxSummary`.

    The expected number of atoms in the higher state is (moments_x − x) per formula unit: each removed mobile ion
    oxidises one atom.
    """
    tables = oxidation_tables(charges, model, structures, settings)
    rows, hops = [], []
    for table, analysis in zip(tables, jumps, strict=False):
        supercell = parse_name(table.attrs["structure"]).supercell
        diffusing = str(analysis.attrs.get("diffusing_framework", "")).split()
        removed = (structures.moments_x - float(table["x"])) * (structures.formula_units * prod(supercell))
        row, hops_of_trajectory = analyse_redox(
            table,
            recorded_jumps(analysis),
            Sites.of(source_cell(structures).atoms.repeat(supercell), diffusing),
            structures,
            settings,
            float(np.clip(removed, 0, table.sizes["redox"])),
        )
        charge = table["charge_e"].to_numpy()[:, table["redox_atom"].to_numpy()]
        low, high = (
            finite_mean(charge[table["state"].to_numpy() == state]) for state in table["state"].attrs["states"]
        )
        rows.append({**row, "charge_low_e": low, "charge_high_e": high})
        hops.append(hops_of_trajectory)
    states = [redox_series(table).assign(**trajectory_columns(table))[list(STATE_COLUMNS)] for table in tables]
    # One row per x and T: counts summed, means over replicas weighted by frames.
    groups = pd.DataFrame(rows).groupby(["x", "temperature_K"]) if rows else ()
    table = pd.DataFrame([_group(group) for _, group in groups], columns=list(TABLE_COLUMNS))
    return RedoxSummary(
        table.astype({"n_frames": "Int64", "n_hops": "Int64"}) if rows else table,
        pd.concat(hops, ignore_index=True)
        if hops
        else pd.DataFrame(columns=["structure", *TRAJECTORY_KEYS, "time_fs"]),
        pd.concat(states, ignore_index=True) if states else pd.DataFrame(columns=list(STATE_COLUMNS)),
    )


def redox_series(table: xr.Dataset) -> pd.DataFrame:
    """Rows of an oxidation table by redox atom and frame.

    Columns time_fs, atom, charge_e, moment_muB, probability, state, charge_state; the last is missing unless the states
    are those of the MD.
    """
    redox = table["redox_atom"].to_numpy()
    charge, moment = (table[name].to_numpy()[:, redox] for name in ("charge_e", "moment_muB"))
    shape = (len(charge), len(redox))
    states = {name: table[name].to_numpy() if name in table else np.full(shape, NONE) for name in STATE_NAMES}
    known = {name: pd.Series(values.ravel(), dtype="Int64") for name, values in states.items()}
    columns = {
        "time_fs": np.repeat(table["time_fs"].to_numpy(), len(redox)),
        "atom": np.tile(redox, len(charge)),
        "charge_e": charge.ravel(),
        "moment_muB": moment.ravel(),
        "probability": table["probability"].to_numpy().ravel(),
        **{name: values.where(values >= 0) for name, values in known.items()},
    }
    return pd.DataFrame(columns)


def _group(group: pd.DataFrame) -> dict[str, float]:
    frames = group["n_frames"].to_numpy(dtype=float)

    def mean(name: str, weight: np.ndarray = frames) -> float:
        values = group[name].to_numpy(dtype=float)
        valid = np.isfinite(values) & (weight > 0)
        return float(np.average(values[valid], weights=weight[valid])) if valid.any() else float("nan")

    averaged = ("charge_low_e", "charge_high_e", "bond_low_A", "bond_high_A", "vacancy_low_A", "vacancy_high_A")
    bonds = group[["bond_difference_A", "bond_difference_error_A", "n_frames"]].dropna().to_numpy(dtype=float).T
    resolved_ps, hops = float(group["resolved_ps"].sum()), int(group["n_hops"].sum())
    return {
        **{name: mean(name) for name in (*averaged, "bond_difference_A", "n_high_expected")},
        "bond_difference_error_A": weighted_mean(*bonds)[1],
        "x": float(group["x"].iloc[0]),
        "temperature_K": float(group["temperature_K"].iloc[0]),
        "n_frames": int(frames.sum()),
        "n_high_mean": mean("n_high"),
        "mean_cosine": mean("mean_cosine", group["n_hops"].to_numpy(dtype=float)),
        "n_hops": hops,
        "resolved_ps": resolved_ps,
        "hops_per_ps": hops / resolved_ps if resolved_ps else float("nan"),
        "disagreement_share": mean("share_disagreeing"),
        **{name: mean(name) for name in CHECK_COLUMNS},
        **{name: float(group[name].sum(min_count=1)) for name in ("charge_hops", "charge_resolved_ps")},
    }
