"""Sites of the mobile ion that are too close to be occupied together, as split sites of a CIF are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from ase import Atoms

from redoxmd.structures.source import FRAMEWORK, contacts


def overlapping_sites(full_cell: Atoms) -> list[tuple[int, int, float]]:
    """Pairs of sites (atoms of a full cell) closer than bonds are, and their distances in Å, the closest first.

    A site may be paired with itself: with its own image in a cell that is too small.
    """
    mobile = full_cell.arrays["site"] != FRAMEWORK
    pairs = zip(*(values.tolist() for values in contacts(full_cell)), strict=True)
    return sorted(((i, j, d) for i, j, d in pairs if mobile[i] and mobile[j]), key=lambda pair: pair[2])


def exclusions(full_cell: Atoms) -> dict[int, set[int]]:
    """Site → sites that are empty where it is full, for sites that overlap; numbered without the framework."""
    number = np.cumsum(full_cell.arrays["site"] != FRAMEWORK) - 1
    found: dict[int, set[int]] = {}
    for i, j, _ in overlapping_sites(full_cell):
        found.setdefault(int(number[i]), set()).add(int(number[j]))
        found.setdefault(int(number[j]), set()).add(int(number[i]))
    return found


def fill_sites(order: np.ndarray, n_ions: int, excluded: Mapping[int, set[int]]) -> np.ndarray | None:
    """The first `n_ions` sites (n_ions,) of an order, sorted, that do not exclude each other; None if it has fewer."""
    if not excluded:
        return np.sort(order[:n_ions])
    full: set[int] = set()
    for site in order.tolist():
        around = excluded.get(site, set())
        if len(full) < n_ions and site not in around and full.isdisjoint(around):
            full.add(site)
    return np.array(sorted(full), dtype=int) if len(full) == n_ions else None


def describe_overlap(full_cell: Atoms) -> str:
    """The closest pair of overlapping sites in words."""
    kinds = full_cell.arrays["site"]
    i, j, distance_A = overlapping_sites(full_cell)[0]
    return f"{kinds[i]} (atom {i}) and {kinds[j]} (atom {j}) are {distance_A:.2f} Å apart"
