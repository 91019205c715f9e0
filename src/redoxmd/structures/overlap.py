"""Sites of the mobile ion that are too close to be occupied together, as split sites of a CIF are."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from redoxmd.errors import StructureError
from redoxmd.structures.source import FRAMEWORK, contacts

ATTEMPTS = 500


def overlapping_sites(full_cell: Atoms) -> list[tuple[int, int, float]]:
    """Pairs of sites (atoms of a full cell) closer than bonds are, and their distances in Å, the closest first.

    A site may be paired with itself: with its own image in a cell that is too small.
    """
    mobile = full_cell.arrays["site"] != FRAMEWORK
    pairs = zip(*(values.tolist() for values in contacts(full_cell)), strict=True)
    return sorted(((i, j, d) for i, j, d in pairs if mobile[i] and mobile[j]), key=lambda pair: pair[2])


def avoid_overlaps(
    full_cell: Atoms, order: np.ndarray, n_ions: int, rng: np.random.Generator, preferred: str | None = None
) -> np.ndarray:
    """Sites (n,) in an order whose first `n_ions` do not overlap; unchanged where no sites do.

    Sites are filled in the given order, those next to a full one left out. Where that ends before all ions have a
    place, the order is drawn anew, sites of the kind `preferred` still first.

    Raises:
        StructureError: no place for so many ions was found; the message names the closest pair of sites.
    """
    pairs = overlapping_sites(full_cell)
    if not pairs:
        return order
    neighbours: dict[int, set[int]] = {site: set() for site in order.tolist()}
    for i, j, _ in pairs:
        neighbours[i].add(j)
        neighbours[j].add(i)
    for _ in range(ATTEMPTS):
        full: list[int] = []
        for site in order.tolist():
            if len(full) < n_ions and neighbours[site].isdisjoint(full) and site not in neighbours[site]:
                full.append(site)
        if len(full) == n_ions:
            return np.array([*full, *(site for site in order.tolist() if site not in set(full))], dtype=int)
        order = rng.permutation(order)
        if preferred is not None:
            order = order[np.argsort(full_cell.arrays["site"][order] != preferred, kind="stable")]
    raise StructureError(
        f"{n_ions} ions find no place among {len(order)} sites of which neighbours exclude each other: "
        f"{describe_overlap(full_cell, pairs[0])}; lower x, or leave one of these sites out of the file"
    )


def describe_overlap(full_cell: Atoms, pair: tuple[int, int, float]) -> str:
    """A pair of sites in words."""
    kinds = full_cell.arrays["site"]
    i, j, distance_A = pair
    return f"{kinds[i]} (atom {i}) and {kinds[j]} (atom {j}) are {distance_A:.2f} Å apart"
