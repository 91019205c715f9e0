"""The potential: atomic energies from the states of the atoms, forces by autograd (PaiNN, Schütt et al., ICML 2021)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from redoxmd.model.graph import Graph
from redoxmd.model.representation import PairTensors, Representation
from redoxmd.model.repulsion import CoreRepulsion


class Painn(Representation):
    """Energy of structures as a sum over atoms, E = Σ_i (σ·e(s_i) + ε_species) + E_core, with forces and stress.

    Args:
        elements: sorted atomic numbers of the species: of the training elements, or one for each pair of element and
            oxidation number.
        features: width F.
        layers: number of interactions L.
        cutoff_A: cutoff of neighbours (Å).
        radial_functions: size K of the radial basis.
        core_repulsion: whether `CoreRepulsion` is added.
        states: oxidation number of each species (`redoxmd.model.graph.atom_species`); None: the species are elements.
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
        states: Sequence[int] | None = None,
    ) -> None:
        super().__init__(elements, features, layers, cutoff_A, radial_functions)
        if states is not None:
            self.settings["states"] = list(states)
        self.settings["core_repulsion"] = core_repulsion
        self.core = CoreRepulsion(elements) if core_repulsion else None
        self.readout = nn.Sequential(nn.Linear(features, features // 2), nn.SiLU(), nn.Linear(features // 2, 1))
        self.register_buffer("reference_eV", torch.zeros(len(elements), dtype=torch.float64))
        self.register_buffer("scale_eV", torch.ones(()))

    @property
    def states(self) -> list[int] | None:
        """Oxidation number of each species; None if the species are elements."""
        return self.settings.get("states")

    def _core_energy(self, graph: Graph, distance_A: Tensor) -> Tensor | None:
        return self.core(graph, distance_A) if self.core is not None else None

    def node_scalars(self, graph: Graph, pairs: PairTensors, mixture: Tensor | None = None) -> Tensor:
        """Final scalar features (n, F) of the atoms, the descriptor in `select`; `mixture` as in `first_scalars`."""
        return self.node_states(graph, pairs, mixture)[-1][0]

    def interaction_energy(
        self, graph: Graph, pairs: PairTensors | None = None, mixture: Tensor | None = None
    ) -> Tensor:
        """Energies (S,) without the references of the elements, in the precision of the weights.

        With a `mixture` of species (`first_scalars`) the energy is continuous in the species; the core repulsion stays
        that of `graph.species`.
        """
        pairs = pairs or self.pair_tensors(graph)
        per_atom = self.readout(self.node_scalars(graph, pairs, mixture)).squeeze(1) * self.scale_eV
        energy = per_atom.new_zeros(graph.n_systems).index_add(0, graph.system, per_atom)
        return energy if pairs.core_eV is None else energy + pairs.core_eV

    def reference_energy(self, graph: Graph) -> Tensor:
        """Σ_i ε_species per structure (S,), in double precision."""
        per_atom = self.reference_eV[graph.species]
        return per_atom.new_zeros(graph.n_systems).index_add(0, graph.system, per_atom)

    def forward(self, graph: Graph, create_graph: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Energies (S,) eV in double precision, forces (n, 3) eV/Å, stress (S, 3, 3) eV/Å³.

        F_i = −∂E/∂r_i by autograd through the pair vectors; stress = Σ_pairs r ⊗ ∂E/∂r / V, symmetrised.
        With `create_graph` the forces are differentiable, for training.
        """
        vectors = graph.vectors_A if graph.vectors_A.requires_grad else graph.vectors_A.detach().requires_grad_()
        graph = graph.with_vectors(vectors)
        energy = self.interaction_energy(graph)
        (gradient,) = torch.autograd.grad(energy.sum(), vectors, create_graph=create_graph)
        forces, stress = forces_and_stress(graph, gradient)
        return energy.double() + self.reference_energy(graph), forces, stress


def pair_forces(graph: Graph, gradient: Tensor) -> Tensor:
    """Forces (n, 3) from ∂E/∂(pair vectors) (E, 3)."""
    zeros = gradient.new_zeros(len(graph.species), 3)
    return zeros.index_add(0, graph.receiver, gradient).index_add(0, graph.sender, -gradient)


def forces_and_stress(graph: Graph, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Forces (n, 3) and stress (S, 3, 3) from ∂E/∂(pair vectors) (E, 3)."""
    forces = pair_forces(graph, gradient)
    virial = gradient.new_zeros(graph.n_systems, 3, 3).index_add(
        0, graph.system[graph.receiver], graph.vectors_A[:, :, None] * gradient[:, None, :]
    )
    virial = 0.5 * (virial + virial.transpose(1, 2))
    return forces, virial / graph.volume_A3[:, None, None]
