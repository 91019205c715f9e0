"""Force evaluators for MD: on the host by compiled kernels or PyTorch, and the choice between host and device."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Literal

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from redoxmd.arrays import Arrays
from redoxmd.md.forces import SKIN_A, ForceEvaluator, MemberForces, StateForces
from redoxmd.md.frame_gate import closest_contact
from redoxmd.model.ensemble import BoundEnsemble, Ensemble, Prediction
from redoxmd.model.neighbours import find_pairs

logger = logging.getLogger("redoxmd")

Backend = Literal["auto", "host", "device"]


class HostEvaluator:
    """Evaluation in NumPy arrays: compiled kernels or plain PyTorch, as `Ensemble.evaluation` says."""

    arrays = Arrays()
    searches_during_steps = True
    generation = 0

    def __init__(self, ensemble: Ensemble, skin_A: float = SKIN_A, reason: str = "") -> None:
        self.ensemble, self.skin_A, self.reason = ensemble, skin_A, reason
        self.n_members = len(ensemble.members)
        self.moves_electrons = ensemble.states is not None
        self._systems: dict[int, _HostSystem] = {}

    @property
    def description(self) -> str:
        """The kind of evaluation, for logs and trajectories, with the reason of an automatic choice."""
        return ", ".join(filter(None, [self.ensemble.path, self.reason]))

    def allocate(self, systems: int, atoms: int) -> None:
        """Empty all slots."""
        self._systems = {}

    def enter(self, slot: int, atoms: Atoms) -> np.ndarray:
        """Put a system into a slot and return the species (n,) of its atoms."""
        self._systems[slot] = _HostSystem(self.ensemble, atoms.copy(), self.skin_A)
        return self.ensemble.species_of(atoms)

    def state_energies(self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray) -> np.ndarray:
        """Energies (M, k) in eV of the members for the oxidation states (k, n) of a system at positions (n, 3)."""
        species = np.stack([self.species_of(slot, state) for state in oxidation])
        return self._systems[slot].predict.energies(positions_A, species)

    def state_forces(self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray) -> StateForces:
        """Evaluation of a system in the state (n,) at positions (n, 3); that of the last step is not repeated."""
        species = self.species_of(slot, oxidation)
        prediction, _ = self._systems[slot].evaluate(positions_A, species)
        gradient = prediction.species_gradient_eV
        assert gradient is not None
        return StateForces(prediction.energies_eV, prediction.forces_eV_A, species, gradient)

    def species_of(self, slot: int, oxidation: np.ndarray) -> np.ndarray:
        """Species (n,) of the atoms of a system in oxidation states (n,)."""
        atoms = self._systems[slot].atoms
        atoms.set_array("oxidation", oxidation)
        return self.ensemble.species_of(atoms)

    def leave(self, slot: int) -> None:
        """Empty a slot."""
        self._systems.pop(slot, None)

    def search(self, slots: Sequence[int], positions_A: np.ndarray) -> None:
        """Search the pairs of some systems at unwrapped positions (b, A, 3)."""
        for slot, positions in zip(slots, positions_A, strict=True):
            self._systems[slot].search(positions)

    def __call__(self, positions_A: np.ndarray, species: np.ndarray) -> MemberForces:
        """Evaluate all systems at unwrapped positions (B, A, 3) with species (B, A)."""
        slots, atoms = species.shape
        result = MemberForces(
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
        self.predict: BoundEnsemble
        self._latest: tuple[np.ndarray, np.ndarray, Prediction, float] | None = None

    def search(self, positions_A: np.ndarray) -> None:
        """Search the pairs at positions of which the first n are used."""
        atoms = self.atoms
        cell, radii = np.asarray(atoms.cell), covalent_radii[atoms.numbers]
        pairs = find_pairs(positions_A[: len(atoms)], cell, atoms.pbc, self.ensemble.cutoff_A + self.skin_A)
        self._pairs, self.predict = pairs, self.ensemble.bind(atoms, pairs)
        self._radius_sums_A, self._latest = radii[pairs.receiver] + radii[pairs.sender], None

    def evaluate(self, positions_A: np.ndarray, species: np.ndarray) -> tuple[Prediction, float]:
        """Prediction, with the gradient by species where electrons move, and closest contact."""
        aware = self.ensemble.states is not None
        if self._latest is not None:
            positions, kinds, prediction, contact = self._latest
            if np.array_equal(positions, positions_A) and np.array_equal(kinds, species):
                return prediction, contact
        vectors = self._pairs.vectors_A(positions_A, np.asarray(self.atoms.cell))
        contact = float(closest_contact(vectors, self._radius_sums_A))
        prediction = self.predict(positions_A, species, aware)
        if aware:
            self._latest = np.array(positions_A), np.array(species), prediction, contact
        return prediction, contact


def force_evaluator(ensemble: Ensemble, backend: Backend = "host", atoms: Atoms | None = None) -> ForceEvaluator:
    """Evaluator for MD on the host, or on the device of the ensemble (`compute.md`).

    `auto` takes the device if it is a GPU that computes the forces of `atoms` correctly (`batched.self_test`),
    otherwise the host; the ensemble leaves a GPU that fails. The description of the evaluator gives the reason. With
    `atoms`, a GPU takes fused kernels for the messages if they compute these forces correctly (`tested_kernels`).
    """
    if backend == "host":
        return HostEvaluator(ensemble)
    if backend == "auto" and ensemble.members[0].device.type != "cuda":
        return HostEvaluator(ensemble, reason="because no GPU is used")
    # Imported late: a job on the host does not need it.
    from redoxmd.md.batched.evaluation import DeviceEvaluator
    from redoxmd.md.batched.self_test import TOLERANCE, force_error, tested_kernels

    if backend == "device":
        return DeviceEvaluator(ensemble, kernels=None if atoms is None else tested_kernels(ensemble, atoms))
    assert atoms is not None
    try:
        error = force_error(ensemble, atoms)
        failure = "" if error <= TOLERANCE else f"its forces are wrong by {error:.1e} of the largest"
    except RuntimeError as cuda_error:
        failure = str(cuda_error).splitlines()[0]
    if not failure:
        reason = f"because the GPU passed its self-test (forces within {error:.0e} of the largest)"
        return DeviceEvaluator(ensemble, reason=reason, kernels=tested_kernels(ensemble, atoms))
    logger.warning("the GPU failed its self-test (%s): MD on the host", failure)
    return HostEvaluator(ensemble.to("cpu"), reason="because the GPU failed its self-test")
