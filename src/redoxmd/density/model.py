"""The density model (network, superposed atoms, scales and valences) and its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms

from redoxmd.density.network import DensityNetwork, Encoded
from redoxmd.density.probes import AtomImages, probe_block, scattered_pairs
from redoxmd.density.superposition import Superposition
from redoxmd.errors import DataError, StructureError
from redoxmd.model.files import choose_device, load_record, save_record
from redoxmd.model.graph import build_graph, species_index

FORMAT = 1


class DensityModel:
    """Total and spin density ρ(p) = ρ₀(p) + σ∘network(p) at any point, in e/Å³; ρ₀: superposed atomic densities.

    Args:
        network: equivariant DeepDFT.
        superposition: the superposed atomic densities.
        scale_e_A3: σ (2,), standard deviation of the training targets for total and spin.
        valence_e: valence electrons by atomic number.
        plain: the network gives the density itself, ρ₀ = 0 (the paper's target).
    """

    def __init__(
        self,
        network: DensityNetwork,
        superposition: Superposition,
        scale_e_A3: np.ndarray,
        valence_e: Mapping[int, float],
        plain: bool = False,
    ) -> None:
        self.network = network
        self.superposition = superposition
        self.scale_e_A3 = np.asarray(scale_e_A3, dtype=float)
        self.plain = plain
        self.valence_e = {int(z): float(value) for z, value in valence_e.items()}

    def valence_of(self, numbers: np.ndarray) -> np.ndarray:
        """Valence electrons (n,) of atoms."""
        return np.array([self.valence_e[int(z)] for z in numbers])


class EncodedAtoms:
    """One structure, encoded once for all its probes.

    Raises:
        DataError: the model was not trained on an element or an oxidation state of the structure, or the structure has
            no oxidation states although the model distinguishes them.
    """

    def __init__(self, model: DensityModel, atoms: Atoms) -> None:
        network = model.network
        try:
            graph = build_graph(atoms, network.elements, network.cutoff_A, states=network.states)
        except (ValueError, StructureError) as error:
            raise DataError(f"the density model cannot take {atoms.symbols}: {error}") from error
        self.model = model
        self.atoms = atoms
        self.species = species_index(atoms.numbers, model.superposition.elements)
        self.cell_A = np.asarray(atoms.cell)
        with torch.no_grad():
            self.encoding: Encoded = network.encode(graph.to(network.device, network.dtype))

    def density_at(self, points_A: np.ndarray) -> np.ndarray:
        """Total and spin density (P, 2) in e/Å³ at arbitrary points (P, 3)."""
        return self.density_and_superposition_at(points_A)[0]

    def density_and_superposition_at(self, points_A: np.ndarray, chunk: int = 1000) -> tuple[np.ndarray, np.ndarray]:
        """Total and spin density (P, 2) of the model and of its superposed atoms in e/Å³ at arbitrary points (P, 3)."""
        images = AtomImages(self.atoms.positions, self.cell_A, self.model.network.cutoff_A)
        values = np.zeros((2, len(points_A), 2))
        for start in range(0, len(points_A), chunk):
            values[:, start : start + chunk] = self._chunk(points_A[start : start + chunk], images)
        return values[0], values[1]

    @torch.no_grad()
    def _chunk(self, points_A: np.ndarray, images: AtomImages) -> tuple[np.ndarray, np.ndarray]:
        network = self.model.network
        pairs = scattered_pairs(points_A, images, network.cutoff_A)
        out = network(self.encoding, probe_block(pairs, len(self.atoms), network))
        residual = out.cpu().double().numpy() * self.model.scale_e_A3
        superposed = self.model.superposition.sum(pairs, self.species)
        return residual if self.model.plain else residual + superposed, superposed


def clip_to_physical(values_e_A3: np.ndarray) -> np.ndarray:
    """Total and spin (…, 2), clipped so that both spin densities are non-negative: total ≥ 0, |spin| ≤ total."""
    total = np.maximum(values_e_A3[..., 0], 0.0)
    return np.stack([total, np.clip(values_e_A3[..., 1], -total, total)], axis=-1)


def save_density_model(path: str | Path, model: DensityModel, metadata: dict[str, Any]) -> None:
    """Write a model atomically; `metadata` is plain data: checksums, history, errors."""
    state = {key: value.detach().cpu().clone() for key, value in model.network.state_dict().items()}
    record = {
        "format": FORMAT,
        "settings": model.network.settings,
        "state": state,
        "superposition": model.superposition.record(),
        "scale_e_A3": model.scale_e_A3.tolist(),
        "valence_e": model.valence_e,
        "plain": model.plain,
        "about": metadata,
    }
    save_record(path, record)


def load_density_model(path: str | Path, device: str = "auto") -> tuple[DensityModel, dict[str, Any]]:
    """Read a model and its metadata; `device` "auto" uses a GPU if one is available.

    Raises:
        DataError: the file is missing, truncated or of another format.
    """
    record = load_record(path)
    if record.get("format") != FORMAT or "superposition" not in record:
        raise DataError(f"{path}: not a density model of format {FORMAT}; train it again")
    network = DensityNetwork(**record["settings"])
    network.load_state_dict(record["state"])
    network.eval().requires_grad_(False).to(choose_device(device))
    superposition = Superposition.from_record(record["superposition"])
    model = DensityModel(network, superposition, np.array(record["scale_e_A3"]), record["valence_e"], record["plain"])
    return model, record["about"]
