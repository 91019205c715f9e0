"""The density network: equivariant DeepDFT, written so that a block of probes is a few matrix products.

After Jørgensen and Bhowmik (npj Comput. Mater. 8, 183, 2022) and section 2.5 of the paper: atoms exchange messages as
in the potential; probes, points in space, receive messages from the atoms of every layer and send none.
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

# Length below which the radial resolution is finest, Å; and below which directions fade, so that a probe on top of a
# nucleus is no singularity.
RESOLUTION_A = 1.0
FADE_A = 0.1
# Channels and radial functions of the multipoles.
CHANNELS, MULTIPOLE_FUNCTIONS = 32, 8
# A probe has a vector for every so many scalars.
VECTOR_SHARE = 4


@dataclass(frozen=True)
class ProbeBlock:
    """R probes and the C atoms in their reach, every image of an atom summed into its column.

    Attributes:
        columns: (C,) atom of each column.
        basis: (R, C·K) Σ_images R_k(r).
        directed: (3, R, C·K), contiguous, Σ_images R_k(r)·r̂, r̂ from the probe to the atom.
        near_columns: (N,) atom of each column of multipoles.
        multipoles: (R, N·K'·M) Σ_images R_k(r)·Y_lm(r̂) of the atoms close by.
    """

    columns: Tensor
    basis: Tensor
    directed: Tensor
    near_columns: Tensor
    multipoles: Tensor


@dataclass(frozen=True)
class Sent:
    """What the atoms of one layer send to any probe: filter weights times features, W_k∘φ.

    Attributes:
        carried: (n, K, F + 3V) to scalars and to the three components of vectors.
        directions: (n, K, V) along the direction to the atom.
    """

    carried: Tensor
    directions: Tensor


@dataclass(frozen=True)
class Encoded:
    """The atoms of a structure, encoded once for all probes.

    Attributes:
        layers: messages of each layer.
        multipoles: (n, K'·M, C).
    """

    layers: list[Sent]
    multipoles: Tensor


class ProbeBasis(nn.Module):
    """Radial functions of the distance probe–atom, R_k(r) = u(r)·cos(kπ·x(r)), x = asinh(r/a)/asinh(r_c/a).

    A cosine series in a coordinate that is finer near nuclei; u is the envelope of the potential's basis.
    """

    def __init__(self, size: int, cutoff_A: float) -> None:
        super().__init__()
        self.size = size
        self.cutoff_A = cutoff_A
        self._stretch = math.pi / math.asinh(cutoff_A / RESOLUTION_A)

    def forward(self, vectors_A: Tensor) -> tuple[Tensor, Tensor]:
        """Basis (…, K) of vectors (…, 3) from probes to atom images, and the faded unit vectors (…, 3)."""
        squared = (vectors_A * vectors_A).sum(dim=-1)
        distance = torch.sqrt(squared)
        x = torch.asinh(distance / RESOLUTION_A) * self._stretch
        order = torch.arange(self.size, device=x.device, dtype=x.dtype)
        basis = torch.cos(x[..., None] * order) * envelope(distance, self.cutoff_A)[..., None]
        return basis, vectors_A / torch.sqrt(squared + FADE_A**2)[..., None]


class ProbeInteraction(nn.Module):
    """Messages to probes: Δs = Σ_j W_s∘φ_s(s_j), Δv = Σ_j W_v∘φ_v(s_j)∘Pμ_j + W_r∘φ_r(s_j) r̂_j, W = Σ_k w_k R_k(r).

    The filter weights are multiplied into the atoms' features once per structure (`encode`); what is left for each
    probe is one product of its basis values with them. Probes carry V < F vectors (P projects onto them): most of the
    cost is in vectors, most of the angular resolution in the multipoles.
    """

    def __init__(self, features: int, vectors: int, radial_functions: int) -> None:
        super().__init__()
        self.widths = [features, vectors, vectors]
        self.phi = nn.Sequential(nn.Linear(features, features), nn.SiLU(), nn.Linear(features, sum(self.widths)))
        self.narrow = nn.Linear(features, vectors, bias=False)
        self.filters = nn.Parameter(torch.randn(radial_functions, sum(self.widths)) / radial_functions**0.5)

    def encode(self, scalars: Tensor, vectors: Tensor) -> Sent:
        """What atoms with states s (n, F) and μ (n, 3, F) send."""
        phi_s, phi_v, phi_r = self.phi(scalars)[:, None].split(self.widths, dim=2)
        w_s, w_v, w_r = self.filters.split(self.widths, dim=1)
        along = (w_v[:, None] * (phi_v * self.narrow(vectors))[:, None]).flatten(2)
        return Sent(torch.cat([w_s * phi_s, along], dim=2), w_r * phi_r)

    def forward(self, scalars: Tensor, vectors: Tensor, sent: Sent, block: ProbeBlock) -> tuple[Tensor, Tensor]:
        """Probe states s (R, F) and v (3, R, V) with the messages added."""
        # Two plain products: batched ones of this shape run at a fifth of the speed on a CPU.
        carried = block.basis @ sent.carried[block.columns].flatten(0, 1)
        along = block.directed.flatten(0, 1) @ sent.directions[block.columns].flatten(0, 1)
        features, width = self.widths[:2]
        carried_v = carried[:, features:].unflatten(1, (3, width)).transpose(0, 1)
        return scalars + carried[:, :features], vectors + along.view_as(vectors) + carried_v


class ProbeUpdate(nn.Module):
    """The probe-wise update: with u = Uv and w = Wv, [Δs, g] = MLP(s, |w|, ⟨u, w⟩) and Δv = g∘u; no Δv in the last."""

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
    """Two numbers at every probe, total and spin, in units of the training targets' spread.

    Args:
        elements: sorted atomic numbers the model knows.
        features: width F of atoms and probes.
        layers: interactions L.
        cutoff_A: reach of messages, between atoms and to probes (Å).
        radial_functions: size K of the atoms' radial basis.
        probe_functions: size of the probes' radial basis.
        multipole_reach_A: how far multipoles shape the density (Å).
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
        self.atoms = Representation(elements, features, layers, cutoff_A, radial_functions)
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
    def elements(self) -> list[int]:
        """Atomic numbers the model knows, sorted."""
        return self.atoms.elements

    @property
    def cutoff_A(self) -> float:
        """Reach of messages in Å."""
        return self.atoms.cutoff_A

    @property
    def dtype(self) -> torch.dtype:
        """Precision of the weights."""
        return self.atoms.dtype

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
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
        for message, update, sent in zip(self.messages, self.updates, encoded.layers, strict=True):
            scalars, vectors = message(scalars, vectors, sent, block)
            scalars, vectors = update(scalars, vectors)
        out: Tensor = self.readout(scalars) + self.direct(near)
        return out
