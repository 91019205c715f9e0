"""Screened nuclear repulsion, which keeps atoms apart at distances that no training frame covers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor, nn

from redoxmd.model.constant import Constant
from redoxmd.model.graph import Graph
from redoxmd.model.radial import envelope

COULOMB_EV_A = 14.399645
# Universal screening function and length of Ziegler, Biersack and Littmark (1985).
WEIGHTS = (0.18175, 0.50986, 0.28022, 0.02817)
RATES = (3.19980, 0.94229, 0.40290, 0.20162)
SCREENING_A = 0.46850
SCREENING_POWER = 0.23
# Cutoff in units of the summed covalent radii; it excludes bonds.
REACH = 0.9


class CoreRepulsion(nn.Module):
    """Universal repulsion energy of all close pairs.

    E = ½ Σ_ij k_e·Z_i·Z_j/r·φ(r/a_ij)·u(r/r_ij),  φ(x) = Σ_k w_k exp(−c_k x),  a_ij = 0.4685 Å/(Z_i^0.23 + Z_j^0.23),

    after Ziegler, Biersack and Littmark (1985); the envelope u ends it smoothly at r_ij, 0.9 of the summed covalent
    radii. The network learns the remaining energy. Without training frames of close contacts, the network alone may
    predict attraction, and MD then collapses into such contacts before the members disagree.

    Args:
        elements: sorted atomic numbers of the training elements.
    """

    def __init__(self, elements: Sequence[int]) -> None:
        super().__init__()
        numbers = np.asarray(elements)
        self._number = Constant(torch.from_numpy(numbers.astype(np.float64)))
        self._radius_A = Constant(torch.from_numpy(REACH * covalent_radii[numbers]))

    @property
    def charges(self) -> np.ndarray:
        """Nuclear charge Z of each element."""
        return self._number.values.numpy()

    @property
    def shrinking_per_A(self) -> np.ndarray:
        """Z^0.23/0.4685 Å of each element; 1/a_ij is the sum over both atoms."""
        shrinking: np.ndarray = self.charges**SCREENING_POWER / SCREENING_A
        return shrinking

    @property
    def reach_A(self) -> np.ndarray:
        """Contribution of each element to the cutoff r_ij, which is the sum over both atoms."""
        return self._radius_A.values.numpy()

    def forward(self, graph: Graph, distance_A: Tensor) -> Tensor:
        """Repulsion energies (S,) in eV of structures with pair distances (E,)."""
        first, second = graph.species[graph.receiver], graph.species[graph.sender]
        number, radius = self._number.like(distance_A), self._radius_A.like(distance_A)
        reach = radius[first] + radius[second]
        # A GPU would wait for the number of close pairs; beyond `reach` the energy is exactly zero.
        close: Tensor | slice = slice(None)
        if not distance_A.is_cuda:
            close = torch.nonzero(distance_A.detach() < reach).squeeze(1)
        r, reach = distance_A[close], reach[close]
        z_i, z_j = number[first[close]], number[second[close]]
        energy = pair_energy(z_i, z_j, reach, r)
        total = r.new_zeros(graph.n_systems)
        return total.index_add(0, graph.system[graph.receiver[close]], energy)


def pair_energy(z_i: Tensor, z_j: Tensor, reach_A: Tensor, distance_A: Tensor) -> Tensor:
    """Repulsion energy of directed pairs (half of each pair) in eV; exactly zero beyond `reach_A`."""
    x = distance_A * (z_i**SCREENING_POWER + z_j**SCREENING_POWER) / SCREENING_A
    screening = sum(weight * torch.exp(-rate * x) for weight, rate in zip(WEIGHTS, RATES, strict=True))
    energy: Tensor = 0.5 * COULOMB_EV_A * z_i * z_j / distance_A * screening * envelope(distance_A / reach_A, 1.0)
    return energy
