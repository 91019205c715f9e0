"""Framework sites of mixed occupancy: one element for each, in the numbers that the occupancies give."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from ase.data import atomic_numbers

from redoxmd.errors import StructureError
from redoxmd.seeds import derive_rng

# Written occupancies are rounded: 0.333 of 12 sites are 4 atoms, 0.3 of 12 sites are no whole number.
WHOLE_TOLERANCE = 0.05
# Species of mixed sites, for the symmetry, are numbered from here: above all atomic numbers.
FIRST_MIXED_SPECIES = 1000


def species_numbers(numbers: np.ndarray, occupancies: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Species (n,) by which symmetry distinguishes atoms: atomic numbers, and one number for each mixture.

    Args:
        numbers: (n,) atomic numbers, on mixed sites of any of the elements.
        occupancies: element → share, of each site; {} of a site with one element.
    """
    mixtures = sorted({tuple(sorted(mixture.items())) for mixture in occupancies if mixture})
    species = numbers.copy()
    for site, mixture in enumerate(occupancies):
        if mixture:
            species[site] = FIRST_MIXED_SPECIES + mixtures.index(tuple(sorted(mixture.items())))
    return species


def draw_elements(
    numbers: np.ndarray, groups: np.ndarray, occupancies: Sequence[Mapping[str, float]], seed: int, path: str
) -> np.ndarray:
    """Atomic numbers (n,) in which each mixed site has one element, drawn at random.

    Of equivalent sites each element has the number that its occupancy gives, rounded to whole atoms.

    Args:
        numbers: (n,) atomic numbers of all atoms.
        groups: (n,) equal for equivalent sites.
        occupancies: element → share, of each site; {} of a site with one element.
        seed: of the choice.
        path: file, for messages.

    Raises:
        StructureError: a number of atoms is not whole.
    """
    drawn = numbers.copy()
    mixed = [site for site, mixture in enumerate(occupancies) if mixture]
    for group in dict.fromkeys(groups[mixed].tolist()):
        sites = np.array([site for site in mixed if groups[site] == group])
        counts = {element: share * len(sites) for element, share in sorted(occupancies[sites[0]].items())}
        if not all(map(_is_whole, counts.values())) or sum(map(round, counts.values())) != len(sites):
            content = ", ".join(f"{element} {count:.4g}" for element, count in counts.items())
            raise StructureError(
                f"structures.cell_matrix: {len(sites)} equivalent sites of {path} would hold {content} atoms; give a "
                "cell_matrix whose cell holds whole numbers, or an ordered file"
            )
        elements = [atomic_numbers[element] for element, count in counts.items() for _ in range(round(count))]
        drawn[sites] = derive_rng(seed, "framework", int(group)).permutation(elements)
    return drawn


def _is_whole(count: float) -> bool:
    """Whether a number of atoms is whole within the rounding of occupancies, and not zero."""
    return round(count) > 0 and abs(count - round(count)) <= WHOLE_TOLERANCE
