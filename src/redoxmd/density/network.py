"""The density network: equivariant DeepDFT, arranged so that a block of probes takes a few matrix products.

After Jørgensen and Bhowmik (npj Comput. Mater. 8, 183, 2022) and section 2.5 of the paper: atoms exchange messages as
in the potential; probes (points in space) receive messages from the atoms of every layer and send none.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from redoxmd.density.multipoles import MultipoleBasis, MultipoleMessage, Multipoles
from redoxmd.model.graph import Graph
from redoxmd.model.radial import envelope
from redoxmd.model.representation import Representation

# Below RESOLUTION_A the radial resolution is finest. Below FADE_A direction vectors vanish, which avoids a singularity
# at the nuclei.
RESOLUTION_A = 1.0
FADE_A = 0.1
# Channels and radial functions of the multipoles.
CHANNELS, MULTIPOLE_FUNCTIONS = 32, 8
# Number of scalars of a probe for each of its vectors.
VECTOR_SHARE = 4


@dataclass(frozen=True)
class ProbeBlock:
    """R probes and the C atoms within the cutoff; all periodic images of an atom are summed in one column.

    Attributes:
        columns: (C,) atom of each column.
        basis: (R, C·K) Σ_images R_k(r).
        directed: (3, R, C·K), contiguous, Σ_images R_k(r)·r̂, r̂ from the probe to the atom.
        near_columns: (N,) atom of each column of multipoles.
        multipoles: (R, N·K'·M) Σ_images R_k(r)·Y_lm(r̂) of the atoms within the multipole cutoff.
    """

    columns: Tensor
    basis: Tensor
    directed: Tensor
    near_columns: Tensor
    multipoles: Tensor


@dataclass(frozen=True)
class AtomMessages:
    """Messages of the atoms of one layer to any probe: filter weights times features, W_k∘φ.

    Attributes:
        features: (n, K, F + 3V) added to scalars and to the three components of vectors.
        directional: (n, K, V) added along the direction to the atom.
    """

    features: Tensor
    directional: Tensor


@dataclass(frozen=True)
class Encoded:
    """The atoms of a structure, encoded once for all probes.

    Attributes:
        layers: messages of each layer.
        multipoles: (n, K'·M, C).
    """

    layers: list[AtomMessages]
    multipoles: Tensor


class ProbeBasis(nn.Module):
    """Radial functions of the distance probe–atom, R_k(r) = u(r)·cos(kπ·x(r)), x = asinh(r/a)/asinh(r_c/a).

    A cosine series in a coordinate with finer resolution near nuclei; u is the envelope of the basis of the potential.
    """

    def __init__(self, size: int, cutoff_A: float) -> None:
        super().__init__()
        self.size = size
        self.cutoff_A = cutoff_A
        self._stretch = math.pi / math.asinh(cutoff_A / RESOLUTION_A)

    def forward(self, vectors_A: Tensor) -> tuple[Tensor, Tensor]:
        """Basis (…, K) of vectors (…, 3) from probes to images, and unit vectors (…, 3) that vanish at the nuclei."""
        squared = (vectors_A * vectors_A).sum(dim=-1)
        distance = torch.sqrt(squared)
        x = torch.asinh(distance / RESOLUTION_A) * self._stretch
        order = torch.arange(self.size, device=x.device, dtype=x.dtype)
        basis = torch.cos(x[..., None] * order) * envelope(distance, self.cutoff_A)[..., None]
        return basis, vectors_A / torch.sqrt(squared + FADE_A**2)[..., None]


class ProbeInteraction(nn.Module):
    """Messages to probes: Δs = Σ_j W_s∘φ_s(s_j), Δv = Σ_j W_v∘φ_v(s_j)∘Pμ_j + W_r∘φ_r(s_j) r̂_j, W = Σ_k w_k R_k(r).

    The filter weights are multiplied into the features of the atoms once per structure (`encode`); each probe then
    takes one product of its basis values with these messages. Probes have V < F vectors (P projects onto them): vectors
    dominate the cost, and the multipoles provide most of the angular resolution.
    """

    def __init__(self, features: int, vectors: int, radial_functions: int) -> None:
        super().__init__()
        self.widths = [features, vectors, vectors]
        self.phi = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, sum(self.widths)))
        self.narrow = nn.Linear(features, vectors, bias=False)
        self.filters = nn.Parameter(torch.randn(radial_functions, sum(self.widths)) / radial_functions**0.5)

    def encode(self, scalars: Tensor, vectors: Tensor) -> AtomMessages:
        """Messages of atoms with states s (n, F) and μ (n, 3, F)."""
        phi_s, phi_v, phi_r = self.phi(scalars)[:, None].split(self.widths, dim=2)
        w_s, w_v, w_r = self.filters.split(self.widths, dim=1)
        vector_messages = (w_v[:, None] * (phi_v * self.narrow(vectors))[:, None]).flatten(2)
        return AtomMessages(torch.cat([w_s * phi_s, vector_messages], dim=2), w_r * phi_r)

    def forward(
        self, scalars: Tensor, vectors: Tensor, messages: AtomMessages, block: ProbeBlock
    ) -> tuple[Tensor, Tensor]:
        """Probe states s (R, F) and v (3, R, V) with the messages added."""
        # Two separate products: batched products of this shape run at a fifth of the speed on a CPU.
        summed = block.basis @ messages.features[block.columns].flatten(0, 1)
        directional = block.directed.flatten(0, 1) @ messages.directional[block.columns].flatten(0, 1)
        features, width = self.widths[:2]
        vector_sum = summed[:, features:].unflatten(1, (3, width)).transpose(0, 1)
        return scalars + summed[:, :features], vectors + directional.view_as(vectors) + vector_sum


class ProbeUpdate(nn.Module):
    """Probe-wise update [Δs, g] = MLP(s, |w|, ⟨u, w⟩), Δv = g∘u with u = Uv and w = Wv; the last layer has no Δv."""

    def __init__(self, features: int, vectors: int, last: bool) -> None:
        super().__init__()
        self.vectors = vectors
        self.widths = [features, 0 if last else vectors]
        self.mix = nn.Linear(vectors, 2 * vectors, bias=False)
        self.gates = nn.Sequential(
            nn.Linear(features + 2 * vectors, features), nn.SiLU(), nn.Linear(features, sum(self.widths))
        )

    def forward(self, scalars: Tensor, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the updated s (R, F) and v (3, R, V)."""
        u, w = self.mix(vectors).split(self.vectors, dim=2)
        norm = torch.sqrt((w * w).sum(dim=0) + 1e-8)
        delta, gate = self.gates(torch.cat([scalars, norm, (u * w).sum(dim=0)], dim=1)).split(self.widths, dim=1)
        return scalars + delta, vectors if gate.shape[1] == 0 else vectors + gate * u


class DensityNetwork(nn.Module):
    """Total and spin density at every probe, in units of the standard deviation of the training targets.

    Args:
        elements: sorted atomic numbers of the species: of the training elements, or one for each pair of element and
            oxidation number.
        features: width F of atoms and probes.
        layers: interactions L.
        cutoff_A: cutoff of messages between atoms and to probes (Å).
        radial_functions: size K of the radial basis of atoms.
        probe_functions: size of the radial basis of probes.
        multipole_reach_A: cutoff of multipoles (Å).
        states: oxidation number of each species (`redoxmd.model.graph.atom_species`); None: the species are elements.
    """

    def __init__(
        self,
        elements: Sequence[int],
        features: int,
        layers: int,
        cutoff_A: float,
        radial_functions: int,
        probe_functions: int,
        multipole_reach_A: float = 2.5,
        states: Sequence[int] | None = None,
    ) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {
            "elements": list(elements),
            "features": features,
            "layers": layers,
            "cutoff_A": cutoff_A,
            "radial_functions": radial_functions,
            "probe_functions": probe_functions,
            "multipole_reach_A": multipole_reach_A,
        }
        if states is not None:
            self.settings["states"] = list(states)
        self.atoms = Representation(elements, features, layers, cutoff_A, radial_functions)
        self.elements, self.cutoff_A = self.atoms.elements, self.atoms.cutoff_A
        self.basis = ProbeBasis(probe_functions, cutoff_A)
        self.probe_vectors = features // VECTOR_SHARE
        self.messages = nn.ModuleList(
            ProbeInteraction(features, self.probe_vectors, probe_functions) for _ in range(layers)
        )
        self.updates = nn.ModuleList(
            ProbeUpdate(features, self.probe_vectors, layer == layers - 1) for layer in range(layers)
        )
        self.multipoles = Multipoles(features, CHANNELS, self.atoms.radial)
        self.near_basis = MultipoleBasis(MULTIPOLE_FUNCTIONS, multipole_reach_A)
        self.near_message = MultipoleMessage(CHANNELS, MULTIPOLE_FUNCTIONS)
        self.near_input = nn.Linear(CHANNELS, features)
        self.direct = nn.Linear(CHANNELS, 2)
        self.readout = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, 2))

    @property
    def states(self) -> list[int] | None:
        """Oxidation number of each species; None if the species are elements."""
        return self.settings.get("states")

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.atoms.dtype

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.atoms.device

    def encode(self, graph: Graph) -> Encoded:
        """Encode the atoms of one structure, once for all its probes."""
        states = self.atoms.node_states(graph, self.atoms.pair_tensors(graph))
        layers = [cast(ProbeInteraction, m).encode(*state) for m, state in zip(self.messages, states, strict=True)]
        return Encoded(layers, self.near_message.encode(self.multipoles(graph, states[-1][0])))

    def forward(self, encoded: Encoded, block: ProbeBlock) -> Tensor:
        """Outputs (R, 2) at the probes of a block."""
        near = block.multipoles @ encoded.multipoles[block.near_columns].flatten(0, 1)
        scalars = self.near_input(near)
        vectors = scalars.new_zeros(3, len(scalars), self.probe_vectors)
        for interaction, update, messages in zip(self.messages, self.updates, encoded.layers, strict=True):
            scalars, vectors = interaction(scalars, vectors, messages, block)
            scalars, vectors = update(scalars, vectors)
        out: Tensor = self.readout(scalars) + self.direct(near)
        return out
