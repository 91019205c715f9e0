"""The seam between MD and potentials: energies and forces of every ensemble member for a batch of systems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from redoxmd.arrays import Array, Arrays
from redoxmd.md.frame_gate import closest_contact
from redoxmd.model.ensemble import Ensemble, Prediction
from redoxmd.model.graph import species_index
from redoxmd.model.neighbours import find_pairs

SKIN_A = 0.5
Backend = Literal["host", "device"]


class Evaluation(NamedTuple):
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

    def __call__(self, positions_A: Array, species: Array) -> Evaluation:
        """Evaluate all systems at unwrapped positions (B, A, 3) with species (B, A)."""


class HostEvaluator:
    """Evaluation in NumPy arrays: compiled kernels or plain PyTorch, as `Ensemble.evaluation` says."""

    arrays = Arrays()
    searches_during_steps = True
    generation = 0

    def __init__(self, ensemble: Ensemble, skin_A: float = SKIN_A) -> None:
        self.ensemble, self.skin_A = ensemble, skin_A
        self.n_members = len(ensemble.members)
        self._systems: dict[int, _HostSystem] = {}

    @property
    def description(self) -> str:
        """The kind of evaluation, for logs."""
        return self.ensemble.path

    def allocate(self, systems: int, atoms: int) -> None:
        """Empty all slots."""
        self._systems = {}

    def enter(self, slot: int, atoms: Atoms) -> np.ndarray:
        """Put a system into a slot and return the species (n,) of its atoms."""
        self._systems[slot] = _HostSystem(self.ensemble, atoms.copy(), self.skin_A)
        return species_index(atoms.numbers, self.ensemble.elements)

    def leave(self, slot: int) -> None:
        """Empty a slot."""
        self._systems.pop(slot, None)

    def search(self, slots: Sequence[int], positions_A: np.ndarray) -> None:
        """Search the pairs of some systems at unwrapped positions (b, A, 3)."""
        for slot, positions in zip(slots, positions_A, strict=True):
            self._systems[slot].search(positions)

    def __call__(self, positions_A: np.ndarray, species: np.ndarray) -> Evaluation:
        """Evaluate all systems at unwrapped positions (B, A, 3) with species (B, A)."""
        slots, atoms = species.shape
        result = Evaluation(
            np.zeros((self.n_members, slots)),
            np.zeros((self.n_members, slots, atoms, 3)),
            np.full(slots, np.inf),
        )
        for slot, system in self._systems.items():
            n = len(system.atoms)
            prediction, result.contact[slot] = system.evaluate(positions_A[slot, :n], species[slot, :n])
            result.energies_eV[:, slot] = prediction.energies_eV
            result.member_forces_eV_A[:, slot, :n] = prediction.member_forces_eV_A
        return result


class _HostSystem:
    """One system of a `HostEvaluator` with the pairs of its last search."""

    def __init__(self, ensemble: Ensemble, atoms: Atoms, skin_A: float) -> None:
        self.ensemble, self.atoms, self.skin_A = ensemble, atoms, skin_A
        self._predict: Callable[[np.ndarray, np.ndarray], Prediction]

    def search(self, positions_A: np.ndarray) -> None:
        """Search the pairs at positions of which the first n are used."""
        atoms = self.atoms
        cell, radii = np.asarray(atoms.cell), covalent_radii[atoms.numbers]
        pairs = find_pairs(positions_A[: len(atoms)], cell, atoms.pbc, self.ensemble.cutoff_A + self.skin_A)
        self._pairs, self._offsets_A = pairs, pairs.shift @ cell
        self._radius_sums_A = radii[pairs.receiver] + radii[pairs.sender]
        self._predict = self.ensemble.bind(atoms, pairs)

    def evaluate(self, positions_A: np.ndarray, species: np.ndarray) -> tuple[Prediction, float]:
        """Prediction and closest contact."""
        vectors = positions_A[self._pairs.sender] - positions_A[self._pairs.receiver] + self._offsets_A
        return self._predict(positions_A, species), float(closest_contact(vectors, self._radius_sums_A))


def force_evaluator(ensemble: Ensemble, backend: Backend = "host") -> ForceEvaluator:
    """Evaluator for MD step by step on the host, or on the device of the ensemble (`compute.md`)."""
    if backend == "host":
        return HostEvaluator(ensemble)
    from redoxmd.md.batched.evaluation import DeviceEvaluator

    return DeviceEvaluator(ensemble)
