"""Orderings of the mobile ions that basin hopping has relaxed, and what it costs to leave a preferred site empty."""

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
    """The lowest energy of every ordering of a content and cell, above the lowest of them all.

    Args:
        visits: of each structure by its name, as `redoxmd.basins.hopping.BasinsRun.visits`; refused ones are left out.
        sites: kind of each site of the full cell of each structure, in the order of the bits of an ordering.
        preferred: kind of site whose empty ones are counted.
        formula_units: of the source cell.

    Returns:
        Columns of `COLUMNS`; energies above the lowest in meV per formula unit.
    """
    parts = []
    for name, table in visits.items():
        request = parse_name(name)
        kept = table[table["refused"].fillna("") == ""]
        parts.append(
            kept.assign(
                x=request.x,
                supercell=cell_name(request.supercell),
                units=formula_units * prod(request.supercell),
                preferred_sites=list(sites[name]).count(preferred),
                preferred_empty=[_empty(str(ordering), sites[name], preferred) for ordering in kept["ordering"]],
            )
        )
    rows = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if rows.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    found = []
    for _, group in rows.groupby(["x", "supercell"]):
        lowest = group["energy_eV"].min()
        for ordering, same in group.groupby("ordering"):
            best = same.nsmallest(1, "energy_eV").iloc[0]
            above = 1000 * (best["energy_eV"] - lowest) / best["units"]
            kept_keys = ("x", "supercell", "preferred_empty", "preferred_sites", "energy_eV", "spread_eV_A")
            columns = {key: best[key] for key in kept_keys}
            found.append({**columns, "ordering": ordering, "visits": len(same), "above_lowest_meV_fu": above})
    table = pd.DataFrame(found, columns=list(COLUMNS))
    return table.sort_values(["x", "supercell", "energy_eV"], ignore_index=True)


def _empty(ordering: str, sites: Sequence[str], preferred: str) -> int:
    occupied = int(ordering, 16)
    return sum(kind == preferred and not occupied >> place & 1 for place, kind in enumerate(sites))


def vacancy_costs(table: pd.DataFrame) -> pd.DataFrame:
    """Energy per formula unit that empty preferred sites cost, for each content, cell and number of empty ones.

    The lowest ordering with that many empty preferred sites above the lowest with none, in the same content and cell.

    Args:
        table: of `ordering_table`.

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
