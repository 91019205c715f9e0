"""Energies of the orderings relaxed by basin hopping, and the energy cost of empty preferred sites."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import pandas as pd

from redoxmd.structures.request import cell_name, parse_name

COLUMNS = (
    "x",
    "supercell",
    "ordering",
    "preferred_empty",
    "preferred_sites",
    "visits",
    "energy_eV",
    "spread_eV_A",
    "above_lowest_meV_fu",
)


def ordering_table(
    visits: Mapping[str, pd.DataFrame], sites: Mapping[str, Sequence[str]], preferred: str, formula_units: int
) -> pd.DataFrame:
    """Lowest energy of every ordering, relative to the lowest ordering of the same x and cell.

    Args:
        visits: structure name → `redoxmd.basins.hopping.BasinsRun.visits`; refused rows are omitted.
        sites: structure name → kind of each site of its full cell, in the order of the bits of an ordering.
        preferred: kind of site of which the empty ones are counted.
        formula_units: of the source cell.

    Returns:
        Columns of `COLUMNS`; energies above the lowest in meV per formula unit.
    """
    tables = []
    for name, table in visits.items():
        request = parse_name(name)
        accepted = table[table["refused"].fillna("") == ""]
        tables.append(
            accepted.assign(
                x=request.x,
                supercell=cell_name(request.supercell),
                units=formula_units * prod(request.supercell),
                preferred_sites=list(sites[name]).count(preferred),
                preferred_empty=[_empty(str(ordering), sites[name], preferred) for ordering in accepted["ordering"]],
            )
        )
    relaxed = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()
    if relaxed.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    lowest_eV = relaxed.groupby(["x", "supercell"])["energy_eV"].transform("min")
    above_meV_fu = 1000 * (relaxed["energy_eV"] - lowest_eV) / relaxed["units"]
    same = relaxed.groupby(["x", "supercell", "ordering"])["energy_eV"]
    relaxed = relaxed.assign(visits=same.transform("size"), above_lowest_meV_fu=above_meV_fu)
    best = relaxed.loc[same.idxmin(), list(COLUMNS)]
    return best.sort_values(["x", "supercell", "energy_eV"], ignore_index=True)


def _empty(ordering: str, sites: Sequence[str], preferred: str) -> int:
    """Number of empty preferred sites of an ordering."""
    occupied = int(ordering, 16)
    return sum(kind == preferred and not occupied >> site & 1 for site, kind in enumerate(sites))


def vacancy_costs(table: pd.DataFrame) -> pd.DataFrame:
    """Energy cost of empty preferred sites per formula unit, for each x, cell and number of empty preferred sites.

    The cost is the lowest energy with that number of empty preferred sites minus the lowest with none, at the same x
    and in the same cell.

    Args:
        table: from `ordering_table`.

    Returns:
        x, supercell, empty_share (of the preferred sites), cost_meV_fu.
    """
    rows = []
    for (x, cell), group in table.groupby(["x", "supercell"]):
        lowest = group.groupby("preferred_empty")["above_lowest_meV_fu"].min()
        sites = int(group["preferred_sites"].iloc[0])
        if 0 in lowest.index:
            rows += [(x, cell, empty / sites, lowest[empty] - lowest[0]) for empty in lowest.index if empty]
    return pd.DataFrame(rows, columns=["x", "supercell", "empty_share", "cost_meV_fu"])
