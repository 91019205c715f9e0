"""Sites of the mobile ion that are too close to be occupied together, as split sites of a CIF are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms

from redoxmd.structures.source import FRAMEWORK, contacts


def overlapping_sites(full_cell: Atoms) -> list[tuple[int, int, float]]:
    """Pairs of sites (atoms of a full cell) closer than a bond, and their distances in Å, the closest first.

    In a cell that is too small a site is paired with its own image.
    """
    mobile = full_cell.arrays["site"] != FRAMEWORK
    pairs = zip(*(values.tolist() for values in contacts(full_cell)), strict=True)
    return sorted(((i, j, d) for i, j, d in pairs if mobile[i] and mobile[j]), key=lambda pair: pair[2])


def excluded_sites(full_cell: Atoms) -> dict[int, set[int]]:
    """Site → overlapping sites, which must be empty when it is occupied; numbered without the framework."""
    number = np.cumsum(full_cell.arrays["site"] != FRAMEWORK) - 1
    excluded: dict[int, set[int]] = {}
    for i, j, _ in overlapping_sites(full_cell):
        excluded.setdefault(int(number[i]), set()).add(int(number[j]))
        excluded.setdefault(int(number[j]), set()).add(int(number[i]))
    return excluded


def fill_sites(order: np.ndarray, n_ions: int, excluded: Mapping[int, set[int]]) -> np.ndarray | None:
    """The first `n_ions` sites (n_ions,) of an order that do not exclude each other, sorted; None if it has fewer."""
    if not excluded:
        return np.sort(order[:n_ions])
    occupied: set[int] = set()
    for site in order.tolist():
        overlapping = excluded.get(site, set())
        if len(occupied) < n_ions and site not in overlapping and occupied.isdisjoint(overlapping):
            occupied.add(site)
    return np.array(sorted(occupied), dtype=int) if len(occupied) == n_ions else None


def describe_overlap(full_cell: Atoms) -> str:
    """Text that names the closest pair of overlapping sites and their distance."""
    kinds = full_cell.arrays["site"]
    i, j, distance_A = overlapping_sites(full_cell)[0]
    return f"{kinds[i]} (atom {i}) and {kinds[j]} (atom {j}) are {distance_A:.2f} Å apart"
