"""Orderings of the mobile ions by the electrostatic energy of formal charges."""

from __future__ import annotations

import heapq
import json
import math
import warnings
from collections.abc import Mapping
from functools import cache
from itertools import combinations

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.structures.overlap import fill_sites
from redoxmd.structures.source import FRAMEWORK
from redoxmd.structures.symmetry import SiteSymmetry

# Up to this number of orderings all are compared, beyond it those that so many descents find.
ALL_ORDERINGS = 20_000
SEARCHES = 200
# Energies closer than this are equal; above the error of the Ewald sums.
TOLERANCE_EV = 1e-6
# Å: the Ewald sums are made at the density of a solid.
UNIT_LENGTH = 2.2
NEUTRAL = 1e-6
# Atoms of a formula whose oxidation states are guessed.
LARGEST_FORMULA = 60
# Elements with several common oxidation states; if a formula has two, neutrality does not determine them.
MIXED = ("V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Mo", "W", "Ru", "Ir")


def formal_charges(counts: Mapping[str, int], settings: Structures) -> dict[str, float]:
    """Formal charge of each element of a neutral cell, in elementary charges.

    `structures.formal_charges`, in which the redox element may be left out: it has the charge that makes the cell
    neutral. Without this setting, the likely oxidation states by pymatgen (`Composition.oxi_state_guesses`) of the
    formula with a whole number of mobile ions.

    Args:
        counts: number of atoms of each element in the cell with its mobile ions.

    Raises:
        StructureError: no charges are known, one is missing, or the cell is not neutral.
    """
    redox = settings.redox_element
    if settings.formal_charges is None:
        likely, source = _likely_charges(tuple(counts.items()), settings.mobile_ion), "likely charges by pymatgen"
        charges = {element: charge for element, charge in likely.items() if element != redox}
    else:
        charges, source = dict(settings.formal_charges), "structures.formal_charges"
    missing = [element for element in counts if element not in charges and element != redox]
    if missing:
        raise StructureError(f"structures.formal_charges: the charge of {', '.join(missing)} is missing")
    if redox is not None and redox in counts and redox not in charges:
        rest = sum(count * charges[element] for element, count in counts.items() if element != redox)
        charges[redox] = -rest / counts[redox]
    total = sum(count * charges[element] for element, count in counts.items())
    if abs(total) > NEUTRAL:
        free = "" if redox is None else ", or leave out that of the redox element"
        raise StructureError(
            f"{source}: the cell of {dict(counts)} has the charge {total:+g} with {charges}; set "
            f"structures.formal_charges to other charges{free}"
        )
    return {element: charges[element] for element in counts}


@cache
def _likely_charges(counts: tuple[tuple[str, int], ...], ion: str) -> dict[str, float]:
    """Likely oxidation states of the formula with a whole number of ions.

    Raises:
        StructureError: there are none, two elements have several, or the formula is large.
    """
    remedy = "set structures.formal_charges, such as {Na: 1, P: 5, O: -2}"
    mixed = [element for element, _ in counts if element in MIXED]
    if len(mixed) > 1:
        raise StructureError(
            f"ordering electrostatic: {' and '.join(mixed)} have several oxidation states each; {remedy}"
        )
    # Imported late: it takes a second, and only this ordering needs it.
    from pymatgen.core import Composition

    whole = dict(counts)
    units = math.gcd(*(count for element, count in counts if element != ion))
    if ion in whole and units:
        whole[ion] = max(1, round(whole[ion] / units)) * units
    with warnings.catch_warnings():
        # One of the library about itself.
        warnings.simplefilter("ignore", FutureWarning)
        composition = Composition(whole).reduced_composition
        # The search is over all distributions of states: hours for a large formula.
        guesses = composition.oxi_state_guesses() if composition.num_atoms <= LARGEST_FORMULA else ()
    if not guesses or not any(guesses[0].values()):
        name = composition.reduced_formula
        raise StructureError(f"ordering electrostatic: no neutral oxidation states of {name} are known; {remedy}")
    return dict(guesses[0])


class SiteEnergies:
    """Electrostatic energy of an ordering, E = Σᵢ hᵢ nᵢ + Σᵢⱼ Jᵢⱼ nᵢ nⱼ with nᵢ = 1 on occupied sites, else 0.

    h and J are Ewald sums of point charges (`pymatgen.analysis.ewald`); E is relative to the empty framework.

    Args:
        full_cell: framework and all sites of the mobile ion.
        charges: by element.

    Attributes:
        sites_eV: h (s,), with the energy of an ion and its own images.
        pairs_eV: J (s, s), symmetric, zero on the diagonal.
    """

    def __init__(self, full_cell: Atoms, charges: Mapping[str, float]) -> None:
        charge = np.array([charges[symbol] for symbol in full_cell.symbols])
        length_A = (full_cell.get_volume() / len(full_cell)) ** (1 / 3)
        cell = np.round(full_cell.cell.array / length_A, 10).tolist()
        scaled = np.round(full_cell.get_scaled_positions(), 10).tolist()
        matrix_eV = _unit_matrix(json.dumps([cell, scaled])) * np.outer(charge, charge) / length_A
        mobile = full_cell.arrays["site"] != FRAMEWORK
        pairs_eV = matrix_eV[np.ix_(mobile, mobile)]
        framework_eV = matrix_eV[np.ix_(mobile, ~mobile)].sum(axis=1) + matrix_eV[np.ix_(~mobile, mobile)].sum(axis=0)
        self.sites_eV = framework_eV + np.diag(pairs_eV)
        self.pairs_eV = (pairs_eV + pairs_eV.T) / 2
        np.fill_diagonal(self.pairs_eV, 0.0)

    def energies_eV(self, orderings: np.ndarray) -> np.ndarray:
        """E (o,) of occupied sites (o, n)."""
        n = np.zeros((len(orderings), len(self.sites_eV)))
        np.put_along_axis(n, orderings, 1.0, axis=1)
        energies: np.ndarray = n @ self.sites_eV + ((n @ self.pairs_eV) * n).sum(axis=1)
        return energies

    def moves_eV(self, occupied: np.ndarray, excluded: Mapping[int, set[int]]) -> np.ndarray:
        """Changes (s, s) of E if the ion at site i moves to site j; infinite where it cannot.

        Args:
            occupied: sites (n,).
            excluded: site → sites that are empty where it is full.
        """
        filled = np.zeros(len(self.sites_eV), dtype=bool)
        filled[occupied] = True
        site_eV = self.sites_eV + 2 * self.pairs_eV @ filled
        # The ion at j no longer meets the one at i.
        changes_eV: np.ndarray = site_eV[None, :] - site_eV[:, None] - 2 * self.pairs_eV
        changes_eV[~filled] = np.inf
        changes_eV[:, filled] = np.inf
        for j, others in excluded.items():
            near = [i for i in others if filled[i]]
            if near:
                # Only the ion that excludes the site can move there, if it is the only one.
                allowed = changes_eV[near[0], j] if len(near) == 1 else np.inf
                changes_eV[:, j] = np.inf
                changes_eV[near[0], j] = allowed
        return changes_eV


@cache
def _unit_matrix(geometry: str) -> np.ndarray:
    """Energies (n, n) in eV of unit charges in a cell of 1 Å³ per atom, whose sum is that of the cell.

    Six seconds for 336 atoms on a free core, growing faster than the square of their number; the same at every content
    unless `lengths_A` changes the shape of the cell.

    Args:
        geometry: cell in Å and scaled positions as JSON.
    """
    from pymatgen.analysis.ewald import EwaldSummation
    from pymatgen.core import Structure

    cell, scaled = json.loads(geometry)
    charged = Structure(np.array(cell) * UNIT_LENGTH, ["H"] * len(scaled), scaled)
    charged.add_oxidation_state_by_site([1.0] * len(scaled))
    matrix: np.ndarray = np.asarray(EwaldSummation(charged).total_energy_matrix) * UNIT_LENGTH
    return matrix


def ranked_ordering(
    energies: SiteEnergies,
    n_ions: int,
    number: int,
    symmetry: SiteSymmetry,
    rng: np.random.Generator,
    excluded: Mapping[int, set[int]],
) -> np.ndarray:
    """The `number`-th (from 0) of the symmetry-inequivalent orderings by energy, the lowest first: occupied sites.

    All orderings are compared where there are at most `ALL_ORDERINGS`. Otherwise the lowest ends of `SEARCHES` descents
    from random orderings come first, and each ordering that is taken adds those that differ by one ion to the choice; a
    lower ordering can then be missed. A number beyond the last starts again at the first.

    Args:
        n_ions: sites to fill.
        rng: of the random orderings.
        excluded: site → sites that are empty where it is full.

    Raises:
        StructureError: no ordering was found without excluded neighbours.
    """
    starts = _first_orderings(energies, n_ions, symmetry.n_sites, rng, excluded)
    if not starts:
        raise StructureError(f"{n_ions} ions find no place on {symmetry.n_sites} sites, some of which exclude others")
    searched = math.comb(symmetry.n_sites, n_ions) > ALL_ORDERINGS
    # Of equal energies in the order of the sites, which does not depend on rounding.
    steps = np.round(energies.energies_eV(np.array(starts, dtype=int)) / TOLERANCE_EV).tolist()
    choice = list(zip(steps, starts, strict=True))
    heapq.heapify(choice)
    seen, distinct = set(starts), dict[str, np.ndarray]()
    while choice and len(distinct) <= number:
        step, sites = heapq.heappop(choice)
        occupied = np.array(sites, dtype=int)
        key = symmetry.key(occupied)
        if key in distinct:
            continue
        distinct[key] = occupied
        moves_eV = energies.moves_eV(occupied, excluded) if searched else np.empty((0, 0))
        for i, j in np.argwhere(np.isfinite(moves_eV)).tolist():
            moved = tuple(sorted({*sites, j} - {i}))
            if moved not in seen:
                seen.add(moved)
                heapq.heappush(choice, (step + round(moves_eV[i, j] / TOLERANCE_EV), moved))
    return list(distinct.values())[number % len(distinct)]


def _first_orderings(
    energies: SiteEnergies, n_ions: int, n_sites: int, rng: np.random.Generator, excluded: Mapping[int, set[int]]
) -> list[tuple[int, ...]]:
    """All orderings, or the ends of descents: in each step the ion moves that lowers E most."""
    if math.comb(n_sites, n_ions) <= ALL_ORDERINGS:
        every = combinations(range(n_sites), n_ions)
        return [sites for sites in every if not any(excluded.get(site, set()).intersection(sites) for site in sites)]
    ends = set()
    for _ in range(SEARCHES):
        occupied = fill_sites(rng.permutation(n_sites), n_ions, excluded)
        while occupied is not None:
            moves_eV = energies.moves_eV(occupied, excluded)
            i, j = np.unravel_index(moves_eV.argmin(), moves_eV.shape)
            if not moves_eV[i, j] < -TOLERANCE_EV:
                ends.add(tuple(occupied.tolist()))
                break
            occupied = np.sort(np.append(occupied[occupied != i], j))
    return sorted(ends)
