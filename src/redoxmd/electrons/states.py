"""Oxidation states of the redox atoms of a frame, from their magnetic moments under charge neutrality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms

from redoxmd.electrons.orbitals import LEAST_GAP, OCCUPATIONS, shared_orbitals
from redoxmd.errors import ConfigError, DataError, LabelRefusal, LabelRefused, StructureError

if TYPE_CHECKING:
    from redoxmd.config.sections import Electrons

# A moment is between two levels if it is farther from the nearer one than this share of their distance.
BETWEEN_LEVELS = 0.35
# Smearing at 0.1 eV shifts the total moment of an insulator by less than this from the integer.
INTEGER_TOLERANCE_MUB = 0.1
# Shift of moments by which orders are chosen, small against the distance of levels: states are as equal as can be.
ORDER_SHIFT_MUB = 0.1
NUMERALS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclass(frozen=True)
class OxidationLevels:
    """Possible oxidation states of the redox elements and fixed oxidation numbers of all other elements.

    Attributes:
        moments_muB: element → oxidation number → |on-site moment| in μB.
        fixed: element → oxidation number.
        initial_muB: element → oxidation number → initial moment; the rounded levels where it is missing.
        source: what sets the levels, for error messages.
        least_orbital_gap: see `redoxmd.electrons.orbitals.shared_orbitals`; None: occupations are not judged.
    """

    moments_muB: Mapping[str, Mapping[int, float]]
    fixed: Mapping[str, int]
    initial_muB: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    source: str = "--levels and --oxidation"
    least_orbital_gap: float | None = LEAST_GAP

    @classmethod
    def of(cls, settings: Electrons) -> OxidationLevels | None:
        """Levels of the section `electrons`; None if it has none."""
        if not settings.levels:
            return None
        moments = {
            element: {number: state.moment_muB for number, state in states.items()}
            for element, states in settings.levels.items()
        }
        initial = {}
        for element, states in settings.levels.items():
            starts = {number: state.start_muB for number, state in states.items()}
            if len(set(starts.values())) < len(starts):
                given = {number: state.initial_muB for number, state in states.items()}
                starts = {n: states[n].moment_muB if moment is None else moment for n, moment in given.items()}
            initial[element] = starts
        source = "electrons.levels and electrons.fixed"
        return cls(moments, settings.fixed, initial, source, settings.least_orbital_gap)

    def first_neutral(self, symbols: Sequence[str]) -> np.ndarray:
        """A neutral state (n,), as `neutral_order` with equal scores: the last atoms have the highest numbers."""
        return self.neutral_order(symbols, np.zeros(len(symbols)))

    def neutral_order(self, symbols: Sequence[str], scores: np.ndarray) -> np.ndarray:
        """A neutral state (n,), near the mean level of each element, in which higher scores have higher numbers.

        Args:
            symbols: (n,) elements.
            scores: (n,); of equal ones the later atom counts as higher.

        Raises:
            StructureError: no state is neutral.
            ConfigError: an element has no oxidation number.
        """
        moments = np.zeros(len(symbols))
        for element, states in self.moments_muB.items():
            atoms = np.flatnonzero([symbol == element for symbol in symbols])
            rank = scores[atoms].argsort(kind="stable").argsort() / max(len(atoms), 1) - 0.5
            towards_highest = np.sign(states[max(states)] - states[min(states)])
            moments[atoms] = np.mean(list(states.values())) + ORDER_SHIFT_MUB * towards_highest * rank
        return assign_oxidation(symbols, moments, self).oxidation

    def occupied(self, symbols: Sequence[str]) -> OxidationLevels:
        """Levels with only the states of `first_neutral`: those without disproportionation.

        Raises:
            StructureError, ConfigError: as `neutral_order`.
        """
        present = {(symbols[k], int(state)) for k, state in enumerate(self.first_neutral(symbols)) if state}
        moments = {
            element: {state: moment for state, moment in states.items() if (element, state) in present}
            for element, states in self.moments_muB.items()
        }
        return replace(self, moments_muB={element: states for element, states in moments.items() if states})

    def initial_moments(self, symbols: Sequence[str], oxidation: np.ndarray, before_muB: np.ndarray) -> np.ndarray:
        """Initial moments (n,), μB: `before_muB`, on redox atoms those of their states with its signs if both occur."""
        moments, starts, atoms = np.array(before_muB, float), self.of_starts().moments_muB, self.redox_atoms(symbols)
        signs = 1 - 2 * ((moments[atoms] < 0) & (moments[atoms] > 0).any())
        moments[atoms] = signs * [starts[symbols[atom]][int(oxidation[atom])] for atom in atoms]
        return moments

    def start_in(self, atoms: Atoms, oxidation: np.ndarray) -> None:
        """Set the array `oxidation` of atoms to a state (n,), and their initial moments to those of the state."""
        before_muB = atoms.get_initial_magnetic_moments()
        atoms.set_initial_magnetic_moments(self.initial_moments(list(atoms.symbols), oxidation, before_muB))
        atoms.set_array("oxidation", oxidation)

    def of_starts(self) -> OxidationLevels:
        """Levels whose moments are those that calculations start from (`initial_moments`)."""
        starts = {
            element: {
                state: self.initial_muB.get(element, {}).get(state, round(moment)) for state, moment in states.items()
            }
            for element, states in self.moments_muB.items()
        }
        return replace(self, moments_muB=starts)

    def redox_atoms(self, symbols: Sequence[str]) -> np.ndarray:
        """Indices (m,) of the redox atoms."""
        return np.flatnonzero([symbol in self.moments_muB for symbol in symbols])

    def neutral_total(self, symbols: Sequence[str]) -> int:
        """Sum of the redox atoms' oxidation numbers in a neutral cell.

        Raises:
            ConfigError: an element has no oxidation number.
        """
        total = 0
        for symbol, count in Counter(symbols).items():
            if symbol in self.moments_muB:
                continue
            if symbol not in self.fixed:
                raise ConfigError(f"{symbol} has no oxidation number; give it, or its states, in {self.source}")
            total -= self.fixed[symbol] * count
        return total

    def require_neutral(self, symbols: Sequence[str], oxidation: np.ndarray) -> None:
        """Refuse a state (n,) with which the cell is charged.

        Raises:
            StructureError: it is.
            ConfigError: an element has no oxidation number.
        """
        found, neutral = int(np.sum(oxidation)), self.neutral_total(symbols)
        if found != neutral:
            raise StructureError(
                f"oxidation states of a sum of {found:+d}, where neutrality asks for {neutral:+d}; give a neutral "
                "state, or none"
            )

    def reachable(self, symbols: Sequence[str]) -> list[int]:
        """Sums of oxidation numbers that the redox atoms can have at all, lowest to highest."""
        lowest, sums = 0, 1
        for states in (self.moments_muB[symbol] for symbol in symbols if symbol in self.moments_muB):
            # Bit k of `sums`: the sum lowest + k.
            lowest += min(states)
            sums = reduce(or_, (sums << (state - min(states)) for state in states))
        return [lowest + k for k, bit in enumerate(reversed(f"{sums:b}")) if bit == "1"]

    def not_neutral(self, symbols: Sequence[str]) -> StructureError:
        """The error for a cell without a neutral assignment; it states the sum needed and the sums possible."""
        allowed = self.reachable(symbols)
        return StructureError(
            f"no oxidation states make {''.join(sorted(set(symbols)))} of {len(symbols)} atoms neutral: its redox "
            f"atoms would have to sum to {self.neutral_total(symbols):+d}, and can to {allowed[0]:+d} … "
            f"{allowed[-1]:+d}; change {self.source}"
        )


@dataclass(frozen=True)
class StateAssignment:
    """The neutral assignment nearest to the moments.

    Attributes:
        oxidation: (n,) oxidation number of each redox atom, 0 for all other atoms.
        deviations_muB: (m,) |moment| minus the level of the assigned state, of the redox atoms in order.
        nearest: (m,) oxidation number whose level is nearest to the moment, without regard to neutrality.
        margin_muB2: sum of squared deviations of the next neutral assignment minus that of this one; infinite if there
            is no other.
    """

    oxidation: np.ndarray
    deviations_muB: np.ndarray
    nearest: np.ndarray
    margin_muB2: float


def assign_oxidation(symbols: Sequence[str], moments_muB: np.ndarray, levels: OxidationLevels) -> StateAssignment:
    """Neutral assignment of oxidation states with the least Σ (|moment| − level)² over the redox atoms.

    Exact for any number of states and redox elements: dynamic programming over the sum of oxidation numbers, forwards
    for the assignment and backwards as well for the margin.

    Args:
        symbols: (n,) elements.
        moments_muB: (n,) on-site moments; their signs are ignored.
        levels: states of the elements.

    Raises:
        StructureError: no assignment is neutral.
        DataError: a moment is NaN or infinite.
        ConfigError: an element has no oxidation number.
    """
    atoms = levels.redox_atoms(symbols)
    total = levels.neutral_total(symbols)
    moments = np.abs(np.asarray(moments_muB, dtype=float)[atoms])
    if not np.isfinite(moments).all():
        raise DataError("moments with NaN or infinite numbers have no oxidation states")
    states = [np.array(list(levels.moments_muB[symbols[atom]])) for atom in atoms]
    heights = [np.array(list(levels.moments_muB[symbols[atom]].values())) for atom in atoms]
    costs = [(moment - height) ** 2 for moment, height in zip(moments, heights, strict=True)]
    chosen, margin = _cheapest(states, costs, total)
    if chosen is None:
        raise levels.not_neutral(symbols)
    oxidation = np.zeros(len(symbols), dtype=np.int64)
    oxidation[atoms] = [state[k] for state, k in zip(states, chosen, strict=True)]
    return StateAssignment(
        oxidation=oxidation,
        deviations_muB=moments - np.array([height[k] for height, k in zip(heights, chosen, strict=True)]),
        nearest=np.array([state[cost.argmin()] for state, cost in zip(states, costs, strict=True)], dtype=np.int64),
        margin_muB2=margin,
    )


def judge_state(
    symbols: Sequence[str],
    moments_muB: np.ndarray,
    total_moment_muB: float | None,
    levels: OxidationLevels,
    strict: bool = True,
    orbital_occupations: np.ndarray | None = None,
) -> StateAssignment:
    """The assignment of a label in a clean electronic state; arguments as for `describe_faults`.

    Raises:
        LabelRefused: wrong_electronic_state, with the text of `describe_faults`, or for moments that are not finite.
        StructureError, ConfigError: as `assign_oxidation`.
    """
    if not np.isfinite(moments_muB).all():
        raise LabelRefused(LabelRefusal.WRONG_ELECTRONIC_STATE, "moments with NaN or infinite numbers")
    assignment = assign_oxidation(symbols, moments_muB, levels)
    faults = describe_faults(assignment, symbols, moments_muB, total_moment_muB, levels, strict, orbital_occupations)
    if faults:
        raise LabelRefused(LabelRefusal.WRONG_ELECTRONIC_STATE, faults)
    return assignment


def set_oxidation(frame: Atoms, levels: OxidationLevels) -> None:
    """Set the array `oxidation` (n,) of a labelled frame from its moments; a frame without moments has none.

    Raises:
        LabelRefused, StructureError, DataError, ConfigError: as `judge_state`.
    """
    moments = None if frame.calc is None else frame.calc.results.get("magmoms")
    if moments is None:
        # A state that was asked for, or that a file claims, is none that the moments show.
        frame.arrays.pop("oxidation", None)
        return
    total = frame.info.get("total_moment_muB")
    assignment = judge_state(
        list(frame.symbols),
        moments,
        None if total is None else float(total),
        levels,
        orbital_occupations=frame.arrays.get(OCCUPATIONS),
    )
    frame.set_array("oxidation", assignment.oxidation)


def redox_states(frame: Atoms) -> list[int] | None:
    """Oxidation states of the redox atoms of a frame, in order; None if the frame has none."""
    oxidation = frame.arrays.get("oxidation")
    return None if oxidation is None else [int(state) for state in oxidation if state]


def describe_faults(
    assignment: StateAssignment,
    symbols: Sequence[str],
    moments_muB: np.ndarray,
    total_moment_muB: float | None,
    levels: OxidationLevels,
    strict: bool = True,
    orbital_occupations: np.ndarray | None = None,
) -> str:
    """Why a frame is not in a clean electronic state; empty if it is.

    The nearest states are not neutral, a moment lies between two levels, the electrons of an atom whose moment is near
    its level are spread over more orbitals than they can fill (`redoxmd.electrons.orbitals.shared_orbitals`), or the
    total moment is not an integer within 0.1 μB.

    Args:
        assignment: of the frame, by `assign_oxidation`.
        symbols: (n,) elements.
        moments_muB: (n,) on-site moments.
        total_moment_muB: of the cell; None if it is unknown.
        levels: states of the elements.
        strict: whether a moment between two levels is a fault.
        orbital_occupations: columns (n, m(m + 1)) of the frame; None if they are unknown.
    """
    atoms = levels.redox_atoms(symbols)
    neutral = assignment.oxidation[atoms]
    faults = []
    if (assignment.nearest != neutral).any():
        rest = np.delete(np.asarray(moments_muB, dtype=float), atoms).sum()
        elements = [symbols[atom] for atom in atoms]
        faults.append(
            f"{states_text(elements, assignment.nearest, neutral)} and {rest:+.1f} μB on the other atoms; neutrality "
            f"asks for {states_text(elements, neutral, assignment.nearest)}"
        )
    between = []
    for atom, state, deviation in zip(atoms, neutral, assignment.deviations_muB, strict=True):
        heights = levels.moments_muB[symbols[atom]]
        gap = min((abs(heights[state] - other) for k, other in heights.items() if k != state), default=np.inf)
        between.append(abs(deviation) > BETWEEN_LEVELS * gap)
        if strict and between[-1]:
            moment = heights[state] + deviation
            faults.append(f"|moment| {moment:.2f} μB on {symbols[atom]} {atom}, {heights[state]:g} for {state}+")
    if orbital_occupations is not None and levels.least_orbital_gap is not None:
        # An electron that two atoms share is in half-filled orbitals of both, and their moments are between levels.
        near = ~np.array(between, dtype=bool)
        moments = np.asarray(moments_muB, dtype=float)[atoms]
        ions = (atoms[near], neutral[near], moments[near])
        faults += shared_orbitals(orbital_occupations, symbols, *ions, levels.least_orbital_gap)
    if total_moment_muB is not None and not abs(total_moment_muB - round(total_moment_muB)) <= INTEGER_TOLERANCE_MUB:
        faults.append(f"total moment {total_moment_muB:.2f} μB is not an integer")
    return "; ".join(faults)


def states_text(elements: Sequence[str], states: np.ndarray, others: np.ndarray | None = None) -> str:
    """Numbers of atoms in each state, as "two V3+ and two V4+"; with `others` only those that differ from these."""
    counts = Counter(zip(elements, map(int, states), strict=True))
    reference = Counter() if others is None else Counter(zip(elements, map(int, others), strict=True))
    named = sorted(key for key in counts | reference if counts[key] != reference[key])
    if others is not None:
        # The lowest state of an element takes the atoms that are left over.
        lowest = {element: min(state for name, state in named if name == element) for element, _ in named}
        named = [key for key in named if key[1] != lowest[key[0]]] or named
    return " and ".join(
        f"{NUMERALS[counts[key]] if counts[key] < len(NUMERALS) else counts[key]} {key[0]}{key[1]}+" for key in named
    )


def _cheapest(states: Sequence[np.ndarray], costs: Sequence[np.ndarray], total: int) -> tuple[list[int] | None, float]:
    """Choice of one state per atom of least cost whose numbers sum to `total`, and the next choice's extra cost.

    None and infinity if there is none.
    """
    lowest = [int(state.min()) for state in states]
    steps = [state - low for state, low in zip(states, lowest, strict=True)]
    target, size = total - sum(lowest), sum(int(step.max()) for step in steps) + 1
    if not 0 <= target < size:
        return None, np.inf

    def add(partial: np.ndarray, step: int, cost: float) -> np.ndarray:
        moved = np.full(size, np.inf)
        moved[step:] = partial[: size - step] + cost
        return moved

    start = np.where(np.arange(size) == 0, 0.0, np.inf)
    before, after = [start], [start]
    for step, cost in zip(steps, costs, strict=True):
        before.append(np.min([add(before[-1], d, c) for d, c in zip(step, cost, strict=True)], axis=0))
    for step, cost in zip(reversed(steps), reversed(costs), strict=True):
        after.append(np.min([add(after[-1], d, c) for d, c in zip(step, cost, strict=True)], axis=0))
    after.reverse()
    least = before[-1][target]
    if not np.isfinite(least):
        return None, np.inf
    chosen, left = [], target
    for i in reversed(range(len(states))):
        reached = [before[i][left - d] if d <= left else np.inf for d in steps[i]]
        chosen.append(int(np.argmin(reached + costs[i])))
        left -= int(steps[i][chosen[-1]])
    chosen.reverse()
    # The next choice differs in one atom at least: the cheapest of all choices through each state not chosen.
    others = [
        (add(before[i], d, c)[: target + 1] + after[i + 1][target::-1]).min()
        for i in range(len(states))
        for k, (d, c) in enumerate(zip(steps[i], costs[i], strict=True))
        if k != chosen[i]
    ]
    return chosen, float(min(others, default=np.inf) - least)
