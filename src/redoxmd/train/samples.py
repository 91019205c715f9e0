"""Labelled structures ready for the network, and the loss."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from redoxmd.model.graph import Graph, build_graph
from redoxmd.model.painn import Painn


@dataclass(frozen=True)
class Sample:
    """A labelled structure ready for the network: graph, interaction energy (eV) and forces (n, 3) (eV/Å)."""

    graph: Graph
    energy: Tensor
    forces: Tensor


def make_sample(frame: Atoms, model: Painn, reference_eV: Tensor | None = None) -> Sample:
    """Graph and targets of a labelled frame; the target energy is the total energy minus the reference energies.

    These are the ones of the model, or given for each of its species.
    """
    graph = build_graph(frame, model.elements, model.cutoff_A, states=model.states)
    reference_eV = model.reference_eV if reference_eV is None else reference_eV
    reference = reference_eV.detach().cpu()[graph.species].sum()
    energy = torch.tensor([frame.calc.results["energy"]], dtype=torch.float64) - reference
    forces = torch.from_numpy(np.array(frame.calc.results["forces"], dtype=float))
    return Sample(graph.to("cpu", torch.float32), energy, forces)


def structure_losses(
    energy: Tensor, forces: Tensor, target_energy: Tensor, target_forces: Tensor, system: Tensor, rho: float
) -> Tensor:
    """The paper's loss (eq. 1) of each structure (S,).

    ℓ = (1 − ρ)(E − Ê)² + ρ (1/n) Σ_i |F_i − F̂_i|², with E the total energy of a structure in eV and n its atoms.

    Args:
        energy, target_energy: (S,) eV.
        forces, target_forces: (n, 3) eV/Å.
        system: (n,) structure of each atom.
        rho: weight of the forces.
    """
    squared = ((forces - target_forces) ** 2).sum(dim=1)
    zeros = squared.new_zeros(len(energy))
    atoms = zeros.index_add(0, system, torch.ones_like(squared))
    force_term = zeros.index_add(0, system, squared) / atoms
    return (1 - rho) * (energy - target_energy) ** 2 + rho * force_term
