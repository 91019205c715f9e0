"""The potential: an equivariant message-passing network of the PaiNN type (Schütt et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from redoxmd.model.graph import Blocks, Graph
from redoxmd.model.radial import RadialBasis
from redoxmd.model.repulsion import CoreRepulsion


@dataclass(frozen=True)
class PairTensors:
    """What the layers need of the pairs: basis and directions, as they are or scattered into blocks.

    Attributes:
        basis: (E, K) R_k(r_ij), or (B, C, R·K) in blocks.
        directed: (E, 3K) R_k(r_ij)·r̂_ij, or (B, C, R·3K) in blocks.
        core_eV: (S,) energy of the core repulsion; None without one.
    """

    basis: Tensor
    directed: Tensor
    receiver: Tensor
    sender: Tensor
    blocks: Blocks | None
    core_eV: Tensor | None


def _scatter(values: Tensor, blocks: Blocks) -> Tensor:
    number, width = blocks.columns.shape
    rows = blocks.rows_per_block
    flat = values.new_zeros(number * width * rows, values.shape[1])
    return flat.index_add(0, blocks.slot, values).view(number, width, rows * values.shape[1])


class Interaction(nn.Module):
    """One message: Δs_i = Σ_j W_s(r_ij)∘φ_s(s_j), Δμ_i = Σ_j W_v(r_ij)∘φ_v(s_j)∘μ_j + W_r(r_ij)∘φ_r(s_j) r̂_ij.

    The filters W = Σ_k w_k R_k(r) are linear in the radial basis, so the sum over neighbours is taken first, per
    basis function, as a matrix product over blocks (`Blocks`), and the filter weights come after. Without blocks
    the same sums run pair by pair: the plain form that tests hold the fast one to.

    Shapes: s (n, F), μ (n, 3, F) or None when all vectors are zero.
    """

    def __init__(self, features: int, radial_functions: int) -> None:
        super().__init__()
        self.features = features
        self.radial_functions = radial_functions
        self.phi = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, 3 * features))
        # Rows: basis functions; columns: filters of scalars (s), old vectors (v) and directions (r).
        self.filters = nn.Parameter(torch.randn(radial_functions, 3 * features) / radial_functions**0.5)

    def forward(self, scalars: Tensor, vectors: Tensor | None, pairs: PairTensors) -> tuple[Tensor, Tensor]:
        """Return Δs (n, F) and Δμ (n, 3, F)."""
        phi_s, phi_v, phi_r = self.phi(scalars).split(self.features, dim=1)
        carried = phi_s[:, None] if vectors is None else torch.cat([phi_s[:, None], phi_v[:, None] * vectors], dim=1)
        if pairs.blocks is None:
            return self._by_pairs(carried, phi_r, pairs)
        return self._by_blocks(carried, phi_r, pairs, pairs.blocks)

    def _by_pairs(self, carried: Tensor, phi_r: Tensor, pairs: PairTensors) -> tuple[Tensor, Tensor]:
        w_s, w_v, w_r = self.filters.split(self.features, dim=1)
        zeros = carried.new_zeros(len(carried), self.features)
        along = pairs.directed.view(-1, 3, self.radial_functions) @ w_r * phi_r[pairs.sender][:, None]
        delta_s = zeros.index_add(0, pairs.receiver, pairs.basis @ w_s * carried[pairs.sender, 0])
        if carried.shape[1] > 1:
            along = along + (pairs.basis @ w_v)[:, None] * carried[pairs.sender, 1:]
        delta_v = zeros[:, None].expand(-1, 3, -1).contiguous().index_add(0, pairs.receiver, along)
        return delta_s, delta_v

    def _by_blocks(self, carried: Tensor, phi_r: Tensor, pairs: PairTensors, blocks: Blocks) -> tuple[Tensor, Tensor]:
        parts = carried.shape[1]
        w_s, w_v, w_r = self.filters.split(self.features, dim=1)
        weights = w_s[:, None] if parts == 1 else torch.stack([w_s, w_v, w_v, w_v], dim=1)
        summed = self._block_sum(pairs.basis, carried.flatten(1), blocks)
        summed = summed.view(-1, self.radial_functions, parts, self.features)
        delta = (summed * weights).sum(dim=1)[blocks.row]
        along = self._block_sum(pairs.directed, phi_r, blocks).view(-1, 3, self.radial_functions, self.features)
        delta_v = (along * w_r).sum(dim=2)[blocks.row]
        if parts > 1:
            delta_v = delta_v + delta[:, 1:]
        return delta[:, 0], delta_v

    @staticmethod
    def _block_sum(scattered: Tensor, values: Tensor, blocks: Blocks) -> Tensor:
        """Σ_c a(c, r·k) x(c, f) in every block: (B·R·K, f)."""
        return torch.bmm(scattered.transpose(1, 2), values[blocks.columns]).flatten(0, 1)


class Update(nn.Module):
    """The atom-wise update: scalars and vectors mix through Uμ, Vμ, |Vμ| and ⟨Uμ, Vμ⟩."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.features = features
        self.mix = nn.Linear(features, 2 * features, bias=False)
        self.gates = nn.Sequential(nn.Linear(2 * features, features), nn.SiLU(), nn.Linear(features, 3 * features))

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updated s (n, F) and μ (n, 3, F)."""
        u, v = self.mix(vectors).split(self.features, dim=2)
        norm = torch.sqrt((v * v).sum(dim=1) + 1e-8)
        a_ss, a_sv, a_vv = self.gates(torch.cat([scalars, norm], dim=1)).split(self.features, dim=1)
        return scalars + a_ss + a_sv * (u * v).sum(dim=1), vectors + a_vv[:, None] * u


class Painn(nn.Module):
    """Energy of structures as a sum over atoms, E = Σ_i (σ·e(s_i) + ε_species) + E_core, with forces and stress.

    Args:
        elements: sorted atomic numbers the model knows.
        features: width F.
        layers: number of interactions L.
        cutoff_A: neighbours within this distance (Å).
        radial_functions: size K of the radial basis.
        core_repulsion: whether `CoreRepulsion` is added.
    """

    reference_eV: Tensor
    scale_eV: Tensor

    def __init__(
        self,
        elements: Sequence[int],
        features: int,
        layers: int,
        cutoff_A: float,
        radial_functions: int,
        core_repulsion: bool = True,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "elements": list(elements),
            "features": features,
            "layers": layers,
            "cutoff_A": cutoff_A,
            "radial_functions": radial_functions,
            "core_repulsion": core_repulsion,
        }
        self.embedding = nn.Embedding(len(elements), features)
        self.radial = RadialBasis(radial_functions, cutoff_A)
        self.core = CoreRepulsion(elements) if core_repulsion else None
        self.interactions = nn.ModuleList(Interaction(features, radial_functions) for _ in range(layers))
        self.updates = nn.ModuleList(Update(features) for _ in range(layers))
        self.readout = nn.Sequential(nn.Linear(features, features // 2), nn.SiLU(), nn.Linear(features // 2, 1))
        self.register_buffer("reference_eV", torch.zeros(len(elements), dtype=torch.float64))
        self.register_buffer("scale_eV", torch.ones(()))

    @property
    def elements(self) -> list[int]:
        """Atomic numbers the model knows, sorted."""
        return list(self.settings["elements"])

    @property
    def cutoff_A(self) -> float:
        """Cutoff of the pairs in Å."""
        return float(self.settings["cutoff_A"])

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.embedding.weight.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.embedding.weight.device

    def pair_tensors(self, graph: Graph) -> PairTensors:
        """Evaluate what depends on the pairs alone: shared by all layers, and by members with the same basis."""
        distance = graph.vectors_A.norm(dim=1)
        basis = self.radial(distance)
        unit = graph.vectors_A / distance[:, None]
        directed = (unit[:, :, None] * basis[:, None, :]).flatten(1)
        if graph.blocks is not None:
            basis, directed = (_scatter(values, graph.blocks) for values in (basis, directed))
        core = self.core(graph, distance) if self.core is not None else None
        return PairTensors(basis, directed, graph.receiver, graph.sender, graph.blocks, core)

    def node_scalars(self, graph: Graph, pairs: PairTensors) -> Tensor:
        """Final scalar features of the atoms (n, F): the descriptor of `select`."""
        scalars: Tensor = self.embedding(graph.species)
        vectors: Tensor | None = None
        for interaction, update in zip(self.interactions, self.updates, strict=True):
            delta_s, delta_v = interaction(scalars, vectors, pairs)
            vectors = delta_v if vectors is None else vectors + delta_v
            scalars, vectors = update(scalars + delta_s, vectors)
        return scalars

    def interaction_energy(self, graph: Graph, pairs: PairTensors | None = None) -> Tensor:
        """Energies (S,) without the per-element references, in the precision of the weights."""
        pairs = pairs or self.pair_tensors(graph)
        per_atom = self.readout(self.node_scalars(graph, pairs)).squeeze(1) * self.scale_eV
        energy = per_atom.new_zeros(graph.n_systems).index_add(0, graph.system, per_atom)
        return energy if pairs.core_eV is None else energy + pairs.core_eV

    def reference_energy(self, graph: Graph) -> Tensor:
        """Σ_i ε_species per structure (S,), in double precision."""
        per_atom = self.reference_eV[graph.species]
        return per_atom.new_zeros(graph.n_systems).index_add(0, graph.system, per_atom)

    def forward(self, graph: Graph, create_graph: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (S,) eV in double precision, forces (n, 3) eV/Å, stress (S, 3, 3) eV/Å³.

        F_i = −∂E/∂r_i by autograd through the pair vectors; stress = Σ_pairs r ⊗ ∂E/∂r / V, symmetrised.
        `create_graph` keeps the derivative differentiable, for training.
        """
        vectors = graph.vectors_A if graph.vectors_A.requires_grad else graph.vectors_A.detach().requires_grad_()
        graph = graph.with_vectors(vectors)
        energy = self.interaction_energy(graph)
        (gradient,) = torch.autograd.grad(energy.sum(), vectors, create_graph=create_graph)
        forces, stress = forces_and_stress(graph, gradient)
        return energy.double() + self.reference_energy(graph), forces, stress


def forces_and_stress(graph: Graph, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Forces (n, 3) and stress (S, 3, 3) from ∂E/∂(pair vectors) (E, 3)."""
    zeros = gradient.new_zeros(len(graph.species), 3)
    forces = zeros.index_add(0, graph.receiver, gradient).index_add(0, graph.sender, -gradient)
    virial = gradient.new_zeros(graph.n_systems, 3, 3).index_add(
        0, graph.system[graph.receiver], graph.vectors_A[:, :, None] * gradient[:, None, :]
    )
    virial = 0.5 * (virial + virial.transpose(1, 2))
    return forces, virial / graph.volume_A3[:, None, None]
