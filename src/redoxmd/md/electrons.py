"""Electrons in ensemble MD: oxidation states that move between steps, at fixed nuclei."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Electrons
from redoxmd.electrons.moves import MovedState, descend, find_lowest, metropolis, neighbour_pairs
from redoxmd.electrons.shortlist import Shortlist, first_order_changes
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import ConfigError
from redoxmd.md.forces import StateForces
from redoxmd.seeds import rng_from_text, rng_text


class StateCalls(NamedTuple):
    """Evaluations of a trajectory's system.

    Attributes:
        energies: positions (n, 3) and states (k, n) → energies (M, k) in eV of the members.
        forces: positions (n, 3) and state (n,) → its evaluation.
    """

    energies: Callable[[np.ndarray, np.ndarray], np.ndarray]
    forces: Callable[[np.ndarray, np.ndarray], StateForces]


class Hop(NamedTuple):
    """An electron that moved from the donor to the acceptor.

    Attributes:
        step: MD steps done when it moved.
        donor, acceptor: atoms; the donor is oxidised.
        energy_eV: change of the mean energy.
        spread_eV: standard deviation of the change between members (ddof = 1).
    """

    step: int
    donor: int
    acceptor: int
    energy_eV: float
    spread_eV: float


class _Calls:
    """Evaluations at fixed positions; `known` has the energies (M,) of all states evaluated so far."""

    def __init__(self, positions_A: np.ndarray, states: StateCalls) -> None:
        self.positions_A, self.states = positions_A, states
        self.known: dict[bytes, np.ndarray] = {}

    def energies(self, oxidation: np.ndarray) -> np.ndarray:
        """Mean energies (k,) of states (k, n)."""
        new = [state for state in oxidation if state.tobytes() not in self.known]
        if new:
            values = self.states.energies(self.positions_A, np.array(new))
            self.known |= {state.tobytes(): values[:, k] for k, state in enumerate(new)}
        return np.array([self.known[state.tobytes()].mean() for state in oxidation])

    def first_order(self, oxidation: np.ndarray, swaps: np.ndarray) -> np.ndarray:
        """First-order changes (m,) of swaps (m, 2) of a state (n,)."""
        result = self.states.forces(self.positions_A, oxidation)
        return first_order_changes(result.species_gradient_eV, result.species, swaps)


class ElectronMD:
    """Electrons of one trajectory.

    Args:
        settings: section `electrons`; `md` names the way they move.
        atoms: structure, with the array `oxidation` if its state is given.
        temperature_K: of the ions.
        timestep_fs: of the MD.

    Attributes:
        oxidation: (n,) present state.
        hops: all moves so far.
        every: steps between moves.
        shortlist: of the moves.
        rng: random stream of the electrons. It is not that of the ions, whose noise on a device must not depend on
            random numbers drawn on the host.

    Raises:
        StructureError: no state of the structure is neutral, or the given one is not.
        ConfigError: the config has no levels.
    """

    def __init__(self, settings: Electrons, atoms: Atoms, temperature_K: float, timestep_fs: float) -> None:
        levels = OxidationLevels.of(settings)
        if levels is None:
            raise ConfigError("electrons.levels: needed for MD with a potential of oxidation states; give them")
        self.symbols, self.cell, self.pbc = list(atoms.symbols), atoms.cell.array, atoms.pbc
        self.temperature_K = temperature_K
        self.every = max(1, round(settings.move_every_fs / timestep_fs))
        self.settings, self.levels = settings, levels.occupied(self.symbols)
        self.given = "oxidation" in atoms.arrays
        self.oxidation = np.array(atoms.arrays["oxidation"]) if self.given else levels.first_neutral(self.symbols)
        levels.require_neutral(self.symbols, self.oxidation)
        self.hops: list[Hop] = []
        self.shortlist = Shortlist(atoms.numbers)
        self.rng: np.random.Generator

    def start(self, positions_A: np.ndarray, states: StateCalls, rng: np.random.Generator) -> None:
        """Take the state that the structure gives, or the lowest one found; `rng` is their random stream from here."""
        self.rng = rng
        if self.given:
            return
        calls = _Calls(positions_A, states)
        found = find_lowest(
            self.symbols,
            self.levels,
            calls.energies,
            self._pairs(positions_A),
            rng,
            shortlist=(self.shortlist, calls.first_order),
        )
        self.oxidation = found.oxidation

    def move(self, step: int, positions_A: np.ndarray, states: StateCalls) -> StateForces | None:
        """Move the electrons if a move is due; the evaluation of the new state, or None if the state is the same."""
        if self.settings.md == "frozen" or step % self.every:
            return None
        pairs, calls = self._pairs(positions_A), _Calls(positions_A, states)
        # The evaluation of the last step, which the evaluator has stored.
        calls.known[self.oxidation.tobytes()] = states.forces(positions_A, self.oxidation).energies_eV
        moved: MovedState
        shortlist = self.shortlist, calls.first_order
        if self.settings.md == "lowest":
            moved = descend(self.oxidation, calls.energies, pairs, shortlist=shortlist)
        else:
            moved = metropolis(self.oxidation, calls.energies, pairs, self.temperature_K, self.rng, shortlist=shortlist)
        present = self.oxidation
        for donor, acceptor, energy_eV in moved.moves:
            after = present.copy()
            after[[donor, acceptor]] = present[[acceptor, donor]]
            change = calls.known[after.tobytes()] - calls.known[present.tobytes()]
            self.hops.append(Hop(step, donor, acceptor, energy_eV, float(change.std(ddof=1))))
            present = after
        self.oxidation = moved.oxidation
        return states.forces(positions_A, moved.oxidation) if moved.moves else None

    def hops_at(self, step: int) -> list[Hop]:
        """Hops after this number of steps."""
        return list(takewhile(lambda hop: hop.step == step, reversed(self.hops)))

    def record(self) -> dict[str, np.ndarray]:
        """Arrays for a restart file."""
        hops = np.array(self.hops, dtype=float).reshape(-1, len(Hop._fields))
        stream = np.array(rng_text(self.rng))
        return {"oxidation": self.oxidation, "hops": hops, "electrons_rng": stream, **self.shortlist.record()}

    def restore(self, record: Mapping[str, np.ndarray]) -> None:
        """Continue from `record`."""
        self.oxidation = np.array(record["oxidation"])
        self.hops = [Hop(*map(int, row[:3]), *row[3:]) for row in np.asarray(record["hops"]).tolist()]
        self.rng = rng_from_text(str(record["electrons_rng"]))
        self.shortlist.restore(record)

    def _pairs(self, positions_A: np.ndarray) -> np.ndarray:
        return neighbour_pairs(self.oxidation, self.symbols, positions_A, self.cell, self.pbc, self.settings.reach_A)
