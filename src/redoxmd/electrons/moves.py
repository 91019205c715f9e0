"""Moves of the electrons at fixed nuclei: swaps of neighbours, descent to the lowest state, Metropolis sampling.

A state (n,) is the oxidation number of each redox atom, 0 for all other atoms. A swap exchanges the numbers of two
atoms of one element, so the number of atoms of each element in each oxidation state is conserved.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from redoxmd.electrons.shortlist import CHECK_EVERY, TOLERANCE_EV, FirstOrder, Shortlist
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import DataError, StructureError
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import BOLTZMANN_EV_PER_K

# Energies (k,) in eV of states (k, n) at fixed positions.
StateEnergies = Callable[[np.ndarray], np.ndarray]


class ElectronMove(NamedTuple):
    """A swap that was made.

    Attributes:
        donor: atom that is oxidised.
        acceptor: atom that is reduced.
        energy_eV: energy after the swap minus that before it.
    """

    donor: int
    acceptor: int
    energy_eV: float


class MovedState(NamedTuple):
    """A state, its energy, and the moves that led to it.

    Attributes:
        oxidation: (n,).
        moves: in order.
        energy_eV: of the state.
    """

    oxidation: np.ndarray
    moves: list[ElectronMove]
    energy_eV: float


def neighbour_pairs(
    oxidation: np.ndarray,
    elements: Sequence[str] | np.ndarray,
    positions_A: np.ndarray,
    cell_A: np.ndarray,
    pbc: Sequence[bool] | np.ndarray,
    reach_A: float,
) -> np.ndarray:
    """Sorted pairs (k, 2), i < j, of redox atoms of one element whose nearest images are within reach.

    Args:
        oxidation: (n,).
        elements: (n,) symbols or atomic numbers.
        positions_A: (n, 3).
        cell_A: (3, 3).
        pbc: (3,).
        reach_A: largest distance of a swap.
    """
    atoms, kinds = np.flatnonzero(oxidation), np.asarray(elements)
    positions = np.asarray(positions_A, dtype=float)[atoms]
    periodic = PeriodicCell(np.where(np.asarray(pbc)[:, None], cell_A, 0.0))
    near = (periodic.distances_A(positions, positions) <= reach_A) & (kinds[atoms][:, None] == kinds[atoms])
    pairs: np.ndarray = atoms[np.argwhere(np.triu(near, 1))].reshape(-1, 2)
    return pairs


def neighbour_swaps(oxidation: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """Pairs (m, 2) of `neighbour_pairs` (k, 2) whose atoms have different oxidation numbers, in the same order."""
    swaps: np.ndarray = pairs[oxidation[pairs[:, 0]] != oxidation[pairs[:, 1]]]
    return swaps


def swapped(oxidation: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """States (k, n) after each of the swaps (k, 2) alone."""
    states = np.tile(oxidation, (len(pairs), 1))
    rows = np.arange(len(pairs))[:, None]
    states[rows, pairs] = oxidation[pairs[:, ::-1]]
    return states


def descend(
    oxidation: np.ndarray,
    energies: StateEnergies,
    pairs: np.ndarray,
    tolerance_eV: float = TOLERANCE_EV,
    shortlist: tuple[Shortlist, FirstOrder] | None = None,
) -> MovedState:
    """The state of which no swap lowers the energy, by steepest descent: each move is the swap of lowest energy.

    Of swaps with equal energies the first one is made, so that the result is deterministic.

    Args:
        oxidation: (n,) start.
        energies: of states (k, n).
        pairs: (k, 2) from `neighbour_pairs`.
        tolerance_eV: a move must lower the energy by more.
        shortlist: the swaps that are evaluated, and their first-order changes; None: all.

    Raises:
        DataError: an energy is NaN or infinite.
    """
    present, moves = np.array(oxidation), list[ElectronMove]()
    energy = float(_finite(energies, present[None])[0])
    while len(swaps := neighbour_swaps(present, pairs)):
        states = swapped(present, swaps)

        def exact(chosen: np.ndarray, states: np.ndarray = states, energy: float = energy) -> np.ndarray:
            return _finite(energies, states[chosen]) - energy

        if shortlist is None:
            changes = exact(np.arange(len(swaps)))
        else:
            changes = shortlist[0].changes(present, swaps, shortlist[1](present, swaps), exact)
        lowest = int(changes.argmin())
        if not changes[lowest] < -tolerance_eV:
            break
        moves.append(_move(present, swaps[lowest], float(changes[lowest])))
        present, energy = states[lowest], energy + float(changes[lowest])
    return MovedState(present, moves, energy)


def acceptance(energy_eV: float, temperature_K: float) -> float:
    """Metropolis probability min(1, exp(−ΔE/kT)) of a swap."""
    return math.exp(min(0.0, -energy_eV / (BOLTZMANN_EV_PER_K * temperature_K)))


def metropolis(
    oxidation: np.ndarray,
    energies: StateEnergies,
    pairs: np.ndarray,
    temperature_K: float,
    rng: np.random.Generator,
    attempts: int | None = None,
    shortlist: tuple[Shortlist, FirstOrder] | None = None,
) -> MovedState:
    """The state after attempted swaps that sample the Boltzmann distribution of the states that swaps connect.

    Each attempt draws one of the pairs uniformly. Atoms with different oxidation numbers swap with probability
    `acceptance`; of two equal atoms nothing changes. Drawing is symmetric, so that detailed balance holds. With one
    attempt per redox atom, rates per atom do not depend on the size of the cell.

    Args:
        oxidation: (n,) start.
        energies: of states (k, n).
        pairs: (k, 2) from `neighbour_pairs`.
        temperature_K: above zero.
        rng: random stream of the electrons.
        attempts: number of attempted swaps; None: the number of atoms in the pairs.
        shortlist: rejects swaps by the lower bounds of their changes; None: by their energies.

    Raises:
        DataError: an energy is NaN or infinite.
    """
    present, moves = np.array(oxidation), list[ElectronMove]()
    energy = float(_finite(energies, present[None])[0])
    first_eV = bounds_eV = np.full(len(pairs), -np.inf)
    stale = shortlist is not None
    if attempts is None:
        attempts = len(np.unique(pairs))
    for _ in range(attempts if len(neighbour_swaps(present, pairs)) else 0):
        drawn, random = int(rng.integers(len(pairs))), rng.random()
        pair = pairs[drawn : drawn + 1]
        if present[pair[0, 0]] == present[pair[0, 1]]:
            continue
        if shortlist is not None and stale:
            first_eV, stale = shortlist[1](present, pairs), False
            bounds_eV = shortlist[0].bounds(present, pairs, first_eV)
        rejected = random >= acceptance(bounds_eV[drawn], temperature_K)
        if shortlist is not None and rejected:
            shortlist[0].turn += 1
            if shortlist[0].turn % CHECK_EVERY:
                continue
        state = swapped(present, pair)
        change = float(_finite(energies, state)[0]) - energy
        accepted = random < acceptance(change, temperature_K)
        if shortlist is not None:
            shortlist[0].learn(present, pair, np.array([change - first_eV[drawn]]))
            if rejected:
                shortlist[0].check(accepted)
        if accepted:
            moves.append(_move(present, pair[0], change))
            present, energy, stale = state[0], energy + change, shortlist is not None
    return MovedState(present, moves, energy)


def count_assignments(symbols: Sequence[str], levels: OxidationLevels) -> int:
    """Number of neutral assignments of oxidation states.

    Raises:
        ConfigError: an element has no oxidation number.
    """
    return _ways_to_sum(symbols, levels)[0][levels.neutral_total(symbols)]


def neutral_assignments(symbols: Sequence[str], levels: OxidationLevels, limit: int) -> np.ndarray:
    """All neutral states (k, n), sorted.

    Raises:
        StructureError: there is none, or there are more than `limit`.
        ConfigError: an element has no oxidation number.
    """
    left = np.array([levels.neutral_total(symbols)])
    ways = _ways_to_sum(symbols, levels)
    count = ways[0][int(left[0])]
    if not count:
        raise levels.not_neutral(symbols)
    if count > limit:
        raise StructureError(
            f"{count} neutral assignments of oxidation states to {len(levels.redox_atoms(symbols))} redox atoms are "
            f"more than the {limit} that are enumerated; take a smaller cell or descend from drawn starts"
        )
    states = np.zeros((1, len(symbols)), dtype=np.int64)
    for atom, after in zip(levels.redox_atoms(symbols), ways[1:], strict=True):
        options = sorted(levels.moments_muB[symbols[atom]])
        extended = np.repeat(states, len(options), axis=0)
        extended[:, atom] = np.tile(options, len(states))
        left = np.repeat(left, len(options)) - extended[:, atom]
        neutral = np.isin(left, list(after))
        states, left = extended[neutral], left[neutral]
    return states


def initial_assignment(symbols: Sequence[str], levels: OxidationLevels, rng: np.random.Generator) -> np.ndarray:
    """A neutral state (n,), drawn uniformly among all neutral states.

    Raises:
        StructureError: there is none.
        ConfigError: an element has no oxidation number.
    """
    left = levels.neutral_total(symbols)
    ways = _ways_to_sum(symbols, levels)
    if not ways[0][left]:
        raise levels.not_neutral(symbols)
    state = np.zeros(len(symbols), dtype=np.int64)
    for atom, before, after in zip(levels.redox_atoms(symbols), ways, ways[1:], strict=False):
        options = sorted(levels.moments_muB[symbols[atom]])
        # Integers of any size: their quotients are exact where they themselves exceed a float.
        state[atom] = rng.choice(options, p=[after[left - number] / before[left] for number in options])
        left -= int(state[atom])
    return state


def find_lowest(
    symbols: Sequence[str],
    levels: OxidationLevels,
    energies: StateEnergies,
    pairs: np.ndarray,
    rng: np.random.Generator,
    starts: int = 4,
    limit: int = 200,
    shortlist: tuple[Shortlist, FirstOrder] | None = None,
) -> MovedState:
    """The neutral state of lowest energy: exact up to `limit` neutral states, else the lowest of several descents.

    Descents conserve the number of atoms in each state, which the start determines if an element has more than two.

    Args:
        symbols: (n,) elements.
        levels: states of the elements.
        energies: of states (k, n).
        pairs: (k, 2) from `neighbour_pairs`.
        rng: draws the starts of the descents.
        starts: number of descents.
        limit: number of neutral states up to which all are evaluated, in one call of `energies`.
        shortlist: of the descents, as in `descend`.

    Raises:
        StructureError: no state is neutral.
        DataError: an energy is NaN or infinite.
        ConfigError: an element has no oxidation number.
    """
    if count_assignments(symbols, levels) <= limit:
        states = neutral_assignments(symbols, levels, limit)
        values = _finite(energies, states)
        lowest = int(values.argmin())
        return MovedState(states[lowest], [], float(values[lowest]))
    drawn = (initial_assignment(symbols, levels, rng) for _ in range(starts))
    descents = [descend(state, energies, pairs, shortlist=shortlist) for state in drawn]
    return min(descents, key=lambda descent: descent.energy_eV)


def _ways_to_sum(symbols: Sequence[str], levels: OxidationLevels) -> list[Counter[int]]:
    """For each redox atom and the end: sum → number of ways in which this atom and the later ones have this sum."""
    ways = [Counter({0: 1})]
    for atom in levels.redox_atoms(symbols)[::-1]:
        sums: Counter[int] = Counter()
        for number in levels.moments_muB[symbols[atom]]:
            for total, count in ways[-1].items():
                sums[total + number] += count
        ways.append(sums)
    return ways[::-1]


def _move(oxidation: np.ndarray, pair: np.ndarray, energy_eV: float) -> ElectronMove:
    """The move that a swap makes; the atom of the lower oxidation number is the donor."""
    donor, acceptor = pair[np.argsort(oxidation[pair])].tolist()
    return ElectronMove(donor, acceptor, energy_eV)


def _finite(energies: StateEnergies, states: np.ndarray) -> np.ndarray:
    values = np.asarray(energies(states), dtype=float)
    if not np.isfinite(values).all():
        raise DataError("the energy of a state of the electrons is NaN or infinite; the model cannot rank the states")
    return values
