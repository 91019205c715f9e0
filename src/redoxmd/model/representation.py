"""How a network sees atoms: equivariant message passing of the PaiNN type (Schütt et al., ICML 2021).

Shared by the potential (`painn`) and the density model (`redoxmd.density.network`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from redoxmd.model.graph import Blocks, Graph
from redoxmd.model.radial import RadialBasis


@dataclass(frozen=True)
class PairTensors:
    """Basis functions and directions of the pairs, one row per pair or scattered into blocks.

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


def _filtered_sum(pairs: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Σ_(c, k) a(b, c, r, k) x(b, c, f) w(k, f), (B·R, F), of pairs (B, C, R·K), values (B, C, F), weights (K, F)."""
    functions, width = weights.shape
    summed = torch.bmm(pairs.transpose(1, 2), values).view(-1, functions, width)
    return (summed * weights).sum(dim=1)


class Interaction(nn.Module):
    """One message: Δs_i = Σ_j W_s(r_ij)∘φ_s(s_j), Δμ_i = Σ_j W_v(r_ij)∘φ_v(s_j)∘μ_j + W_r(r_ij)∘φ_r(s_j) r̂_ij.

    The filters W = Σ_k w_k R_k(r) are linear in the radial basis, so the sum over neighbours is taken first, per
    basis function, as a matrix product over blocks (`Blocks`), and the filter weights come after. Without blocks
    the same sums run pair by pair; tests compare the two.

    Shapes: s (n, F), μ (n, 3, F) or None when all vectors are zero.
    """

    def __init__(self, features: int, radial_functions: int) -> None:
        super().__init__()
        self.features = features
        self.radial_functions = radial_functions
        self.phi = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, 3 * features))
        # Rows: basis functions; columns: filters of scalars (s), old vectors (v) and directions (r).
        self.filters = nn.Parameter(torch.randn(radial_functions, 3 * features) / radial_functions**0.5)

    def forward(
        self, scalars: Tensor, vectors: Tensor | None, pairs: PairTensors, sent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return Δs (n, F) and Δμ (n, 3, F); `sent` (n, 3F) replaces φ(s)."""
        phi_s, phi_v, phi_r = (self.phi(scalars) if sent is None else sent).split(self.features, dim=1)
        carried = phi_s[:, None] if vectors is None else torch.cat([phi_s[:, None], phi_v[:, None] * vectors], dim=1)
        if pairs.blocks is None:
            return self._by_pairs(carried, phi_r, pairs)
        return self._by_blocks(carried, phi_r, pairs, pairs.blocks)

    def _by_pairs(self, carried: Tensor, phi_r: Tensor, pairs: PairTensors) -> tuple[Tensor, Tensor]:
        w_s, w_v, w_r = self.filters.split(self.features, dim=1)
        zeros = torch.zeros_like(phi_r)
        along = pairs.directed.view(-1, 3, self.radial_functions) @ w_r * phi_r[pairs.sender][:, None]
        delta_s = zeros.index_add(0, pairs.receiver, pairs.basis @ w_s * carried[pairs.sender, 0])
        if carried.shape[1] > 1:
            along = along + (pairs.basis @ w_v)[:, None] * carried[pairs.sender, 1:]
        delta_v = zeros[:, None].expand(-1, 3, -1).contiguous().index_add(0, pairs.receiver, along)
        return delta_s, delta_v

    def _by_blocks(self, carried: Tensor, phi_r: Tensor, pairs: PairTensors, blocks: Blocks) -> tuple[Tensor, Tensor]:
        parts = carried.shape[1]
        w_s, w_v, w_r = self.filters.split(self.features, dim=1)
        weights = w_s if parts == 1 else torch.cat([w_s, w_v, w_v, w_v], dim=1)
        delta = _filtered_sum(pairs.basis, carried.flatten(1)[blocks.columns], weights)
        delta = delta.view(-1, parts, self.features)[blocks.row]
        delta_v = _filtered_sum(pairs.directed, phi_r[blocks.columns], w_r).view(-1, 3, self.features)[blocks.row]
        if parts > 1:
            delta_v = delta_v + delta[:, 1:]
        return delta[:, 0], delta_v


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


class Representation(nn.Module):
    """States of the atoms after each of L interactions: scalars s (n, F) and vectors μ (n, 3, F).

    Args:
        elements: sorted atomic numbers the model knows.
        features: width F.
        layers: number of interactions L.
        cutoff_A: neighbours within this distance (Å).
        radial_functions: size K of the radial basis.
    """

    def __init__(
        self, elements: Sequence[int], features: int, layers: int, cutoff_A: float, radial_functions: int
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "elements": list(elements),
            "features": features,
            "layers": layers,
            "cutoff_A": cutoff_A,
            "radial_functions": radial_functions,
        }
        self.embedding = nn.Embedding(len(elements), features)
        self.radial = RadialBasis(radial_functions, cutoff_A)
        self.interactions = nn.ModuleList(Interaction(features, radial_functions) for _ in range(layers))
        self.updates = nn.ModuleList(Update(features) for _ in range(layers))

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
        """Evaluate the functions of the pairs, which all layers and all members with the same basis share."""
        distance = graph.vectors_A.norm(dim=1)
        basis = self.radial(distance)
        unit = graph.vectors_A / distance[:, None]
        directed = (unit[:, :, None] * basis[:, None, :]).flatten(1)
        if graph.blocks is not None:
            basis, directed = (_scatter(values, graph.blocks) for values in (basis, directed))
        return PairTensors(
            basis, directed, graph.receiver, graph.sender, graph.blocks, self._core_energy(graph, distance)
        )

    def _core_energy(self, graph: Graph, distance_A: Tensor) -> Tensor | None:
        """Pair energy that a potential adds; none here."""
        return None

    def first_scalars(self, species: Tensor, mixture: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Scalars (n, F) of the atoms before the first interaction, and what they send in it; None: φ(s).

        With a `mixture` (n, S) of species, both are means over the species with these weights: continuous functions,
        equal to those of a species where its weight is one.
        """
        if mixture is None:
            return self.embedding(species), None
        sent = cast(Interaction, self.interactions[0]).phi(self.embedding.weight)
        return mixture @ self.embedding.weight, mixture @ sent

    def node_states(
        self, graph: Graph, pairs: PairTensors, mixture: Tensor | None = None
    ) -> list[tuple[Tensor, Tensor]]:
        """Scalars (n, F) and vectors (n, 3, F) after each interaction; `mixture` as in `first_scalars`."""
        scalars, sent = self.first_scalars(graph.species, mixture)
        vectors: Tensor | None = None
        states = []
        for interaction, update in zip(self.interactions, self.updates, strict=True):
            delta_s, delta_v = interaction(scalars, vectors, pairs, sent)
            sent = None
            vectors = delta_v if vectors is None else vectors + delta_v
            scalars, vectors = update(scalars + delta_s, vectors)
            states.append((scalars, vectors))
        return states
