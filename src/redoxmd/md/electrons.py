"""Electrons in ensemble MD: oxidation states that move between steps, at fixed nuclei."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import takewhile
from typing import NamedTuple

import numpy as np
from ase import Atoms

from redoxmd.config.sections import Electrons
from redoxmd.electrons.moves import MovedState, descend, find_lowest, metropolis, neighbour_pairs
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import ConfigError, StructureError

# Energies (M, k) in eV of the members for states (k, n), at positions (n, 3).
StateEvaluation = Callable[[np.ndarray, np.ndarray], np.ndarray]


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
        if int(self.oxidation.sum()) != levels.neutral_total(self.symbols):
            raise StructureError(
                f"oxidation states of a sum of {int(self.oxidation.sum()):+d}, where neutrality asks for "
                f"{levels.neutral_total(self.symbols):+d}; give a neutral state, or none"
            )
        self.hops: list[Hop] = []

    def start(self, positions_A: np.ndarray, energies: StateEvaluation, rng: np.random.Generator) -> None:
        """Take the state that the structure gives, or the lowest one found."""
        if self.given:
            return
        found = find_lowest(
            self.symbols,
            self.levels,
            lambda states: energies(positions_A, states).mean(axis=0),
            self._pairs(positions_A),
            rng,
        )
        self.oxidation = found.oxidation

    def move(self, step: int, positions_A: np.ndarray, energies: StateEvaluation, rng: np.random.Generator) -> bool:
        """Move the electrons if a move is due; whether the state changed."""
        if self.settings.md == "frozen" or step % self.every:
            return False
        values: dict[bytes, np.ndarray] = {}

        def mean_energies(states: np.ndarray) -> np.ndarray:
            found = energies(positions_A, states)
            values.update({state.tobytes(): found[:, k] for k, state in enumerate(states)})
            return found.mean(axis=0)

        pairs = self._pairs(positions_A)
        moved: MovedState
        if self.settings.md == "lowest":
            moved = descend(self.oxidation, mean_energies, pairs)
        else:
            moved = metropolis(self.oxidation, mean_energies, pairs, self.temperature_K, rng, attempts=1)
        present = self.oxidation
        for donor, acceptor, energy_eV in moved.moves:
            after = present.copy()
            after[[donor, acceptor]] = present[[acceptor, donor]]
            change = values[after.tobytes()] - values[present.tobytes()]
            self.hops.append(Hop(step, donor, acceptor, energy_eV, float(change.std(ddof=1))))
            present = after
        self.oxidation = moved.oxidation
        return bool(moved.moves)

    def hops_at(self, step: int) -> list[Hop]:
        """Hops after this number of steps."""
        return list(takewhile(lambda hop: hop.step == step, reversed(self.hops)))

    def record(self) -> dict[str, np.ndarray]:
        """Arrays for a restart file."""
        hops = np.array(self.hops, dtype=float).reshape(-1, len(Hop._fields))
        return {"oxidation": self.oxidation, "hops": hops}

    def restore(self, record: Mapping[str, np.ndarray]) -> None:
        """Continue from `record`."""
        self.oxidation = np.array(record["oxidation"])
        self.hops = [Hop(*map(int, row[:3]), *row[3:]) for row in np.asarray(record["hops"]).tolist()]

    def _pairs(self, positions_A: np.ndarray) -> np.ndarray:
        return neighbour_pairs(self.oxidation, self.symbols, positions_A, self.cell, self.pbc, self.settings.reach_A)
