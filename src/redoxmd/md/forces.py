"""The seam between MD and potentials: energies and forces of every ensemble member for a batch of systems."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from ase import Atoms

from redoxmd.arrays import Array, Arrays

SKIN_A = 0.5


class MemberForces(NamedTuple):
    """Results of M members for B systems of A places.

    Attributes:
        energies_eV: (M, B) energy of each member.
        member_forces_eV_A: (M, B, A, 3), zero at empty places.
        contact: (B,) smallest pair distance in units of the summed covalent radii (`closest_contact`).
    """

    energies_eV: Array
    member_forces_eV_A: Array
    contact: Array

    @property
    def forces_eV_A(self) -> Array:
        """Mean forces (B, A, 3)."""
        return self.member_forces_eV_A.mean(0)

    @property
    def energy_eV(self) -> Array:
        """Mean energies (B,)."""
        return self.energies_eV.T.mean(-1)


class ForceEvaluator(Protocol):
    """Energies and forces of an ensemble for a batch of B systems of A places, whose pairs it keeps.

    The MD loop decides when pairs are searched: before an atom has moved half of `skin_A` since the last search. A call
    names positions and species, so that species may change from call to call, and several species of the same
    positions may be asked for one after another, without a new search.

    Attributes:
        n_members: M.
        arrays: kind of the arrays that are passed and returned.
        skin_A: pairs are complete until an atom has moved half of it.
        searches_during_steps: whether pairs may be searched in the middle of a step; otherwise, on a device, the loop
            searches between stretches of steps.
    """

    n_members: int
    arrays: Arrays
    skin_A: float
    searches_during_steps: bool

    @property
    def generation(self) -> int:
        """Raised when buffers that a captured step uses were replaced."""

    @property
    def description(self) -> str:
        """The kind of evaluation, for logs."""

    def allocate(self, systems: int, atoms: int) -> None:
        """Make room for so many systems of so many places; all are empty."""

    def enter(self, slot: int, atoms: Atoms) -> np.ndarray:
        """Put a system into a slot and return the species (n,) of its atoms; its pairs come with `search`."""

    def leave(self, slot: int) -> None:
        """Empty a slot."""

    def search(self, slots: Sequence[int], positions_A: Array) -> None:
        """Search the pairs of some systems at unwrapped positions (b, A, 3)."""

    def __call__(self, positions_A: Array, species: Array) -> MemberForces:
        """Evaluate all systems at unwrapped positions (B, A, 3) with species (B, A)."""


class StateForces(NamedTuple):
    """Evaluation of one system of n atoms in one oxidation state.

    Attributes:
        energies_eV: (M,) of the members.
        forces_eV_A: (n, 3) mean.
        species: (n,).
        species_gradient_eV: (n, S) as in `model.ensemble.Prediction`.
    """

    energies_eV: np.ndarray
    forces_eV_A: np.ndarray
    species: np.ndarray
    species_gradient_eV: np.ndarray


@runtime_checkable
class StateEvaluator(Protocol):
    """What a force evaluator offers beside, if electrons can move in its MD.

    Attributes:
        moves_electrons: whether its members distinguish oxidation states.
    """

    moves_electrons: bool

    def state_energies(self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray) -> np.ndarray:
        """Energies (M, k) in eV of the members for the oxidation states (k, n) of a system at positions (n, 3)."""

    def state_forces(self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray) -> StateForces:
        """Evaluation of a system in the state (n,) at positions (n, 3), equal to that of the batch."""

    def species_of(self, slot: int, oxidation: np.ndarray) -> np.ndarray:
        """Species (n,) of the atoms of a system in oxidation states (n,)."""
