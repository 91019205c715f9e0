"""The ensemble: mean prediction, spread between members, calibration of the spread, files."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from redoxmd.errors import DataError
from redoxmd.model.graph import Graph, build_graph
from redoxmd.model.neighbours import Pairs, VerletList
from redoxmd.model.painn import Painn, forces_and_stress
from redoxmd.records import atomic_path, file_sha256

FORMAT = 1


@dataclass(frozen=True)
class Prediction:
    """What an ensemble of M members says of one structure of n atoms.

    Attributes:
        energies_eV: (M,) energy of each member.
        member_forces_eV_A: (M, n, 3) forces of each member.
        stress_eV_A3: (3, 3) mean stress.
        scale: factor that turns the spread into a standard error, by calibration; 1 when not calibrated.
    """

    energies_eV: np.ndarray
    member_forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray
    scale: float = 1.0

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


def force_spread(member_forces_eV_A: np.ndarray) -> np.ndarray:
    """Spread σ_i = sqrt(Σ_m |F_i^m − F̄_i|² / (M − 1)) of the forces of M members, in eV/Å.

    The quantity of the gate (the paper's force variance, section 2.6), not calibrated.

    Args:
        member_forces_eV_A: (M, n, 3).

    Returns:
        (n,) spread per atom; not finite where a member's force is not.

    Raises:
        ValueError: fewer than two members have no spread.
    """
    members = len(member_forces_eV_A)
    if members < 2:
        raise ValueError(f"a spread needs at least two members, got {members}")
    with np.errstate(invalid="ignore", over="ignore"):
        deviation = member_forces_eV_A - member_forces_eV_A.mean(axis=0)
        spread: np.ndarray = np.sqrt((deviation**2).sum(axis=(0, 2)) / (members - 1))
    return spread


class Ensemble:
    """Several potentials with the same elements, cutoff and radial basis, evaluated on shared pairs.

    Args:
        members: the potentials.
        calibration: {"scale", "identity"} of `redoxmd.model.calibration`; one made for other members is forgotten.
    """

    def __init__(self, members: Sequence[Painn], calibration: dict[str, Any] | None = None) -> None:
        if not members:
            raise ValueError("an ensemble needs members")
        shared = {
            (tuple(member.elements), member.cutoff_A, member.radial.size, member.core is not None) for member in members
        }
        if len(shared) > 1:
            raise DataError(
                f"members differ in elements, cutoff, radial basis or core repulsion: {sorted(shared)}; "
                "train them together"
            )
        self.members = [member.eval().requires_grad_(False) for member in members]
        fits = calibration is not None and calibration["identity"] == self.identity
        self.calibration = calibration if fits else None

    @property
    def identity(self) -> str:
        """Hash of all weights: what a calibration belongs to."""
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
        """Atomic numbers the members know."""
        return self.members[0].elements

    @property
    def cutoff_A(self) -> float:
        """Cutoff of the pairs in Å."""
        return self.members[0].cutoff_A

    def to(self, device: torch.device | str, dtype: torch.dtype | None = None) -> Ensemble:
        """Move all members."""
        for member in self.members:
            member.to(device=device, dtype=dtype)
            member.reference_eV = member.reference_eV.double()
        return self

    def graph(self, atoms: Atoms, pairs: Pairs | None = None) -> Graph:
        """Graph of a structure where the members are."""
        graph = build_graph(atoms, self.elements, self.cutoff_A, pairs)
        return graph.to(self.members[0].device, self.members[0].dtype)

    def predict(self, atoms: Atoms, pairs: Pairs | None = None) -> Prediction:
        """Energies, forces of every member, mean stress; `pairs` may hold more than the cutoff needs."""
        return self.predict_graph(self.graph(atoms, pairs))

    def predict_graph(self, graph: Graph) -> Prediction:
        """As `predict`, for one structure already turned into a graph."""
        graph = graph.with_vectors(graph.vectors_A.detach().requires_grad_())
        tensors = self.members[0].pair_tensors(graph)
        energies, forces, stresses = [], [], []
        for number, member in enumerate(self.members):
            energy = member.interaction_energy(graph, tensors)
            (gradient,) = torch.autograd.grad(
                energy.sum(), graph.vectors_A, retain_graph=number < len(self.members) - 1
            )
            with torch.no_grad():
                force, stress = forces_and_stress(graph, gradient)
                energies.append(energy.detach().double() + member.reference_energy(graph))
            forces.append(force)
            stresses.append(stress[0])
        return Prediction(
            _numpy(torch.cat(energies)),
            _numpy(torch.stack(forces)),
            _numpy(torch.stack(stresses).mean(dim=0)),
            self.scale,
        )

    @torch.no_grad()
    def descriptor(self, atoms: Atoms) -> np.ndarray:
        """Mean node scalars over atoms of all members (ΣF,): where `select` measures distances."""
        graph = self.graph(atoms)
        tensors = self.members[0].pair_tensors(graph)
        return np.concatenate([_numpy(member.node_scalars(graph, tensors).mean(dim=0)) for member in self.members])


class EnsembleForces:
    """Forces for MD of one structure: keeps the pairs in a Verlet list from step to step."""

    def __init__(self, ensemble: Ensemble, atoms: Atoms, skin_A: float = 0.5) -> None:
        self.ensemble = ensemble
        self._atoms = atoms.copy()
        self._list = VerletList(ensemble.cutoff_A, skin_A)
        self._graph: Graph | None = None
        self._generation = -1

    @property
    def pairs(self) -> Pairs:
        """Pairs of the last call; some may lie beyond the cutoff."""
        return self._list.pairs

    @property
    def list_positions_A(self) -> np.ndarray:
        """Where the pairs were last searched: with `rebuild_list` a restart meets the same pairs in the same order."""
        return self._list.searched_at_A

    def rebuild_list(self, positions_A: np.ndarray) -> None:
        """Search the pairs at these positions, as `list_positions_A` recorded them."""
        self._list.update(positions_A, np.asarray(self._atoms.cell), self._atoms.pbc)

    def __call__(self, positions_A: np.ndarray) -> Prediction:
        """Predict at (unwrapped) positions (n, 3)."""
        cell = np.asarray(self._atoms.cell)
        pairs = self._list.update(positions_A, cell, self._atoms.pbc)
        self._atoms.positions = positions_A
        if self._graph is None or self._generation != self._list.generation:
            self._graph = self.ensemble.graph(self._atoms, pairs)
            self._generation = self._list.generation
        vectors = torch.from_numpy(pairs.vectors_A(positions_A, cell)).to(self._graph.vectors_A)
        return self.ensemble.predict_graph(self._graph.with_vectors(vectors))


def save_ensemble(path: str | Path, ensemble: Ensemble) -> None:
    """Write all members and the calibration into one file, atomically."""
    record = {
        "format": FORMAT,
        "members": [member_record(member) for member in ensemble.members],
        "calibration": ensemble.calibration,
    }
    save_record(path, record)


def load_ensemble(path: str | Path, device: str = "auto") -> Ensemble:
    """Read an ensemble; `device` auto takes a GPU when there is one.

    Raises:
        DataError: the file is missing, truncated or of another format.
    """
    record = load_record(path)
    if record.get("format") != FORMAT or "members" not in record:
        raise DataError(f"{path}: not an ensemble of format {FORMAT}; train it again")
    ensemble = Ensemble([member_from_record(item) for item in record["members"]], record["calibration"])
    return ensemble.to(choose_device(device))


def save_record(path: str | Path, record: dict[str, Any]) -> None:
    """Write plain data and tensors, atomically; by way of memory, for torch's own writer hides why it failed."""
    buffer = io.BytesIO()
    torch.save(record, buffer)
    with atomic_path(path) as temporary:
        temporary.write_bytes(buffer.getbuffer())


def load_record(path: str | Path) -> dict[str, Any]:
    """Read back what `save_record` wrote."""
    try:
        record: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such model") from error
    except Exception as error:
        raise DataError(f"{path}: not readable ({error}); delete it and run again") from error
    return record


def member_record(member: Painn) -> dict[str, Any]:
    """Settings and weights of one member."""
    state = {key: value.detach().cpu().clone() for key, value in member.state_dict().items()}
    return {"settings": member.settings, "state": state}


def member_from_record(record: dict[str, Any]) -> Painn:
    """Rebuild a member from `member_record`."""
    member = Painn(**record["settings"])
    member.load_state_dict(record["state"])
    return member


def choose_device(device: str) -> str:
    """Resolve "auto"; asking for a GPU that is not there is an error."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise DataError("train.device: cuda asked for, but torch sees no GPU; use auto or cpu")
    return device


def ensemble_identity(path: str | Path) -> str:
    """Checksum of an ensemble file: what trajectories record."""
    return file_sha256(path)[:16]


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
