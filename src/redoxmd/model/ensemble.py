"""The ensemble: mean prediction, spread between members, calibration of the spread, files."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from redoxmd.arrays import Array, namespace
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import DataError
from redoxmd.files.records import file_sha256
from redoxmd.model.fast.potential import FastMembers, HalfPairs, applies
from redoxmd.model.files import choose_device, load_record, member_from_record, member_record, save_record
from redoxmd.model.graph import Graph, atom_species, build_graph, volume_A3
from redoxmd.model.neighbours import Pairs, find_pairs
from redoxmd.model.painn import Painn, forces_and_stress

FORMAT = 1
EvaluationMode = Literal["auto", "plain"]


@dataclass(frozen=True)
class Prediction:
    """Prediction of an ensemble of M members for one structure of n atoms.

    Attributes:
        energies_eV: (M,) energy of each member.
        member_forces_eV_A: (M, n, 3) forces of each member.
        stress_eV_A3: (3, 3) mean stress.
        scale: factor that turns the spread into a standard error, by calibration; 1 when not calibrated.
        species_gradient_eV: (n, S) mean of ∂E/∂w by the weights w of the S species of each atom, where an atom is a
            mixture of species (`Representation.first_scalars`); None unless it was asked for.
    """

    energies_eV: np.ndarray
    member_forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray
    scale: float = 1.0
    species_gradient_eV: np.ndarray | None = None

    @property
    def energy_eV(self) -> float:
        """Mean energy."""
        return float(self.energies_eV.mean())

    @property
    def energy_spread_eV(self) -> float:
        """Standard deviation of the energy between members (ddof = 1)."""
        return float(self.energies_eV.std(ddof=1))

    @property
    def forces_eV_A(self) -> np.ndarray:
        """Mean forces (n, 3)."""
        mean: np.ndarray = self.member_forces_eV_A.mean(axis=0)
        return mean

    @property
    def force_spread_eV_A(self) -> np.ndarray:
        """Spread of each atom's force (n,); see `force_spread`."""
        return force_spread(self.member_forces_eV_A)


def force_spread(member_forces_eV_A: Array) -> Array:
    """Spread σ_i = sqrt(Σ_m |F_i^m − F̄_i|² / (M − 1)) of the forces of M members, in eV/Å.

    The quantity of the gate (the paper's force variance, section 2.6), not calibrated.

    Args:
        member_forces_eV_A: (M, …, n, 3), NumPy or torch.

    Returns:
        (…, n) spread per atom; not finite where a member's force is not.

    Raises:
        ValueError: fewer than two members have no spread.
    """
    members = len(member_forces_eV_A)
    if members < 2:
        raise ValueError(f"a spread needs at least two members, got {members}")
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = member_forces_eV_A - member_forces_eV_A.mean(0)
        return namespace(deviation).sqrt((deviation**2).sum((0, -1)) / (members - 1))


class Ensemble:
    """Several potentials with the same species, cutoff and radial basis, evaluated on shared pairs.

    Args:
        members: the potentials; their weights stay as they are from here on.
        calibration: {"scale", "ratios", "identity"} of `redoxmd.train.calibration`; that of other members is
            forgotten.
        evaluation: auto takes compiled kernels wherever they apply (`redoxmd.model.fast`), plain never.
        levels: of the oxidation states of its training frames; None if they are unknown, or not distinguished.
    """

    def __init__(
        self,
        members: Sequence[Painn],
        calibration: dict[str, Any] | None = None,
        evaluation: EvaluationMode = "auto",
        levels: OxidationLevels | None = None,
    ) -> None:
        if not members:
            raise ValueError("an ensemble needs members")
        shared = {
            (tuple(member.elements), str(member.states), member.cutoff_A, member.radial.size, member.core is not None)
            for member in members
        }
        if len(shared) > 1:
            raise DataError(
                f"members differ in elements, oxidation states, cutoff, radial basis or core repulsion: "
                f"{sorted(shared)}; train them together"
            )
        self.members = [member.eval().requires_grad_(False) for member in members]
        fits = calibration is not None and calibration["identity"] == self.identity
        self.calibration = calibration if fits else None
        self.evaluation, self.levels = evaluation, levels

    @property
    def identity(self) -> str:
        """Hash of all weights, by which a calibration is matched to its ensemble."""
        digest = hashlib.sha256()
        for member in self.members:
            for name, value in member.state_dict().items():
                digest.update(name.encode() + value.detach().cpu().double().numpy().tobytes())
        return digest.hexdigest()[:16]

    @property
    def scale(self) -> float:
        """Factor from spread to standard error; 1 without calibration."""
        return float(self.calibration["scale"]) if self.calibration else 1.0

    @property
    def elements(self) -> list[int]:
        """Atomic number of each species that the members know."""
        return self.members[0].elements

    @property
    def states(self) -> list[int] | None:
        """Oxidation number of each species; None if the members do not distinguish oxidation states."""
        return self.members[0].states

    def species_of(self, atoms: Atoms) -> np.ndarray:
        """Species (n,) of the atoms; errors as `redoxmd.model.graph.atom_species`."""
        return atom_species(atoms, self.elements, self.states)

    @property
    def cutoff_A(self) -> float:
        """Cutoff of the pairs in Å."""
        return self.members[0].cutoff_A

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Ensemble:
        """Move all members."""
        for member in self.members:
            member.to(device=device, dtype=dtype)
            member.reference_eV = member.reference_eV.double()
        self.__dict__.pop("_fast", None)
        return self

    @cached_property
    def _fast(self) -> FastMembers | None:
        return FastMembers(self.members) if self.evaluation == "auto" and applies(self.members) else None

    @property
    def path(self) -> str:
        """How it is evaluated, for logs: by compiled kernels, or by PyTorch and where."""
        return "compiled kernels" if self._fast is not None else f"PyTorch on {self.members[0].device.type}"

    def graph(self, atoms: Atoms, pairs: Pairs | None = None) -> Graph:
        """Graph of a structure where the members are."""
        graph = build_graph(atoms, self.elements, self.cutoff_A, pairs, states=self.states)
        return graph.to(self.members[0].device, self.members[0].dtype)

    def predict(self, atoms: Atoms, pairs: Pairs | None = None) -> Prediction:
        """Energies, forces of every member, mean stress; `pairs` may hold more than the cutoff needs."""
        return self.bind(atoms, pairs)(atoms.positions, self.species_of(atoms))

    def bind(self, atoms: Atoms, pairs: Pairs | None = None) -> BoundEnsemble:
        """The prediction as a function of unwrapped positions and species, for given pairs.

        It holds as long as the pairs include every one within the cutoff.
        """
        if pairs is None:
            pairs = find_pairs(atoms.positions, np.asarray(atoms.cell), atoms.pbc, self.cutoff_A)
        return _BoundPlain(self, atoms, pairs) if self._fast is None else _BoundFast(self, self._fast, atoms, pairs)

    def predict_graph(self, graph: Graph, by_species: bool = False) -> Prediction:
        """As `predict`, for a structure already turned into a graph: the plain path, which the fast one is held to."""
        graph = graph.with_vectors(graph.vectors_A.detach().requires_grad_())
        tensors = self.members[0].pair_tensors(graph)
        mixture = None
        if by_species:
            mixture = torch.nn.functional.one_hot(graph.species, len(self.elements)).to(graph.vectors_A)
            mixture.requires_grad_()
        variables = [graph.vectors_A] if mixture is None else [graph.vectors_A, mixture]
        energies, forces, stresses, weights = [], [], [], []
        for number, member in enumerate(self.members):
            energy = member.interaction_energy(graph, tensors, mixture)
            gradient, *by_weight = torch.autograd.grad(
                energy.sum(), variables, retain_graph=number < len(self.members) - 1
            )
            with torch.no_grad():
                force, stress = forces_and_stress(graph, gradient)
                energies.append(energy.detach().double() + member.reference_energy(graph))
            forces.append(force)
            stresses.append(stress[0])
            weights += [each.double() + member.reference_eV for each in by_weight]
        return Prediction(
            _numpy(torch.cat(energies)),
            _numpy(torch.stack(forces)),
            _numpy(torch.stack(stresses).mean(dim=0)),
            self.scale,
            _numpy(torch.stack(weights).mean(dim=0)) if by_species else None,
        )

    def descriptor(self, atoms: Atoms) -> np.ndarray:
        """Mean node scalars over atoms of all members (ΣF,): where `select` measures distances."""
        return self.atom_descriptors(atoms).mean(axis=0)

    @torch.no_grad()
    def atom_descriptors(self, atoms: Atoms) -> np.ndarray:
        """Node scalars of each atom of all members (n, ΣF)."""
        graph = self.graph(atoms)
        tensors = self.members[0].pair_tensors(graph)
        return np.concatenate([_numpy(member.node_scalars(graph, tensors)) for member in self.members], axis=1)


class BoundEnsemble(Protocol):
    """Predictions of an ensemble for one structure with given pairs."""

    def __call__(self, positions_A: np.ndarray, species: np.ndarray, by_species: bool = False) -> Prediction:
        """Prediction at positions (n, 3) with species (n,); `by_species`: with the gradient by species."""

    def energies(self, positions_A: np.ndarray, species: np.ndarray) -> np.ndarray:
        """Energies (M, k) in eV of the members at positions (n, 3) with species (k, n); no forces."""


class _BoundPlain:
    """By PyTorch."""

    def __init__(self, ensemble: Ensemble, atoms: Atoms, pairs: Pairs) -> None:
        self.ensemble, self.pairs, self.cell = ensemble, pairs, np.array(atoms.cell)
        self.template = ensemble.graph(atoms, pairs)

    def graph(self, positions_A: np.ndarray, species: np.ndarray) -> Graph:
        """The graph at other positions and with other species."""
        vectors = torch.from_numpy(self.pairs.vectors_A(positions_A, self.cell)).to(self.template.vectors_A)
        return replace(self.template, species=torch.from_numpy(species).to(self.template.species), vectors_A=vectors)

    def __call__(self, positions_A: np.ndarray, species: np.ndarray, by_species: bool = False) -> Prediction:
        return self.ensemble.predict_graph(self.graph(positions_A, species), by_species)

    @torch.no_grad()
    def energies(self, positions_A: np.ndarray, species: np.ndarray) -> np.ndarray:
        values = np.empty((len(self.ensemble.members), len(species)))
        for number, state in enumerate(species):
            graph = self.graph(positions_A, state)
            tensors = self.ensemble.members[0].pair_tensors(graph)
            for row, member in zip(values, self.ensemble.members, strict=True):
                energy = member.interaction_energy(graph, tensors).double() + member.reference_energy(graph)
                row[number] = energy.item()
        return values


class _BoundFast:
    """By compiled kernels."""

    def __init__(self, ensemble: Ensemble, fast: FastMembers, atoms: Atoms, pairs: Pairs) -> None:
        self.fast, self.half, self.volume_A3 = fast, HalfPairs.of(pairs, atoms), volume_A3(atoms)
        self.scale = ensemble.scale
        self.references_eV = np.stack([member.reference_eV.numpy() for member in ensemble.members])

    def __call__(self, positions_A: np.ndarray, species: np.ndarray, by_species: bool = False) -> Prediction:
        energies, forces, virials, gradient = self.fast.evaluate(species, self.half, positions_A, by_species)
        if gradient is not None:
            gradient = (gradient + self.references_eV[:, None]).mean(axis=0)
        energies = energies + self.references_eV[:, species].sum(axis=1)
        return Prediction(energies, forces, virials.mean(axis=0) / self.volume_A3, self.scale, gradient)

    def energies(self, positions_A: np.ndarray, species: np.ndarray) -> np.ndarray:
        return self.fast.energies(species, self.half, positions_A) + self.references_eV[:, species].sum(axis=2)


def save_ensemble(path: str | Path, ensemble: Ensemble, teacher: str | None = None) -> None:
    """Write all members, the calibration and the levels of oxidation states into one file, atomically.

    Args:
        teacher: name of the potential on whose labels the members were trained first; None without pretraining.
    """
    record = {
        "format": FORMAT,
        "members": [member_record(member) for member in ensemble.members],
        "calibration": ensemble.calibration,
    }
    if ensemble.levels is not None:
        levels = ensemble.levels
        moments, initial = (
            {element: dict(states) for element, states in table.items()}
            for table in (levels.moments_muB, levels.initial_muB)
        )
        record["levels"] = {"moments_muB": moments, "fixed": dict(levels.fixed), "initial_muB": initial}
    if teacher is not None:
        record["teacher"] = teacher
    save_record(path, record)


def load_ensemble(path: str | Path, device: str = "auto", evaluation: EvaluationMode = "auto") -> Ensemble:
    """Read an ensemble; `device` auto takes a GPU when there is one; `evaluation` as in `Ensemble`.

    Raises:
        DataError: the file is missing, truncated or of another format.
    """
    record = load_record(path)
    if record.get("format") != FORMAT or "members" not in record:
        raise DataError(f"{path}: not an ensemble of format {FORMAT}; train it again")
    levels = OxidationLevels(**record["levels"], source="the ensemble's file") if "levels" in record else None
    members = [member_from_record(item) for item in record["members"]]
    ensemble = Ensemble(members, record["calibration"], evaluation, levels)
    return ensemble.to(choose_device(device))


def given_ensemble(path: str | Path, states: str) -> Ensemble:
    """The ensemble of `train.ensemble`, which must distinguish oxidation states as `train.states` asks (aware, blind).

    Raises:
        DataError: it does not; or as `load_ensemble`.
    """
    ensemble = load_ensemble(path, "cpu")
    own = "blind" if ensemble.states is None else "aware"
    if own != states:
        raise DataError(f"{path}: the ensemble needs train.states: {own}, the config has {states}")
    return ensemble


def ensemble_teacher(path: str | Path) -> str | None:
    """The potential on whose labels the members in an ensemble's file were trained first; None if it names none."""
    teacher: str | None = load_record(path).get("teacher")
    return teacher


def ensemble_identity(path: str | Path) -> str:
    """Checksum of an ensemble file, recorded in trajectories."""
    return file_sha256(path)[:16]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
