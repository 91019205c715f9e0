"""Screened nuclear repulsion: what keeps atoms apart where no frame has taught the network to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from ase.data import covalent_radii
from torch import Tensor, nn

from redoxmd.model.graph import Graph
from redoxmd.model.radial import envelope

COULOMB_EV_A = 14.399645
# Universal screening function and length of Ziegler, Biersack and Littmark (1985).
WEIGHTS = (0.18175, 0.50986, 0.28022, 0.02817)
RATES = (3.19980, 0.94229, 0.40290, 0.20162)
SCREENING_A = 0.46850
SCREENING_POWER = 0.23
# Bonds stay untouched: the longest one that counts as a contact, in units of the summed covalent radii.
REACH = 0.9


class CoreRepulsion(nn.Module):
    """Energy of the universal repulsion between all close pairs.

    E = ½ Σ_ij k_e·Z_i·Z_j/r·φ(r/a_ij)·u(r/r_ij),  φ(x) = Σ_k w_k exp(−c_k x),  a_ij = 0.4685 Å/(Z_i^0.23 + Z_j^0.23),

    after Ziegler, Biersack and Littmark (1985), ended smoothly by the envelope u at r_ij, 0.9 of the summed radii.
    The network learns what is left above it; without frames of close contacts the network alone may find them
    attractive, and MD then falls into them before the members disagree.

    Args:
        elements: sorted atomic numbers the model knows.
    """

    def __init__(self, elements: Sequence[int]) -> None:
        super().__init__()
        numbers = np.asarray(elements)
        # Constants, not buffers: a model that passes through single precision keeps them exact.
        self._number = torch.from_numpy(numbers.astype(np.float64))
        self._radius_A = torch.from_numpy(REACH * covalent_radii[numbers])

    @property
    def charges(self) -> np.ndarray:
        """Z, for each element."""
        return self._number.numpy()

    @property
    def shrinking_per_A(self) -> np.ndarray:
        """Z^0.23/0.4685 Å, for each element: 1/a_ij is the sum of the two."""
        shrinking: np.ndarray = self.charges**SCREENING_POWER / SCREENING_A
        return shrinking

    @property
    def reach_A(self) -> np.ndarray:
        """Half of r_ij, for each element: a pair is close within the sum of the two."""
        return self._radius_A.numpy()

    def forward(self, graph: Graph, distance_A: Tensor) -> Tensor:
        """Energies (S,) in eV of structures with pair distances (E,)."""
        first, second = graph.species[graph.receiver], graph.species[graph.sender]
        number, radius = self._number.to(distance_A), self._radius_A.to(distance_A)
        reach = radius[first] + radius[second]
        close = torch.nonzero(distance_A.detach() < reach).squeeze(1)
        r, reach = distance_A[close], reach[close]
        z_i, z_j = number[first[close]], number[second[close]]
        energy = pair_energy(z_i, z_j, reach, r)
        total = r.new_zeros(graph.n_systems)
        return total.index_add(0, graph.system[graph.receiver[close]], energy)


def pair_energy(z_i: Tensor, z_j: Tensor, reach_A: Tensor, distance_A: Tensor) -> Tensor:
    """Half the repulsion of pairs in eV, the part of one direction; exactly zero from `reach_A` on."""
    x = distance_A * (z_i**SCREENING_POWER + z_j**SCREENING_POWER) / SCREENING_A
    screening = sum(weight * torch.exp(-rate * x) for weight, rate in zip(WEIGHTS, RATES, strict=True))
    energy: Tensor = 0.5 * COULOMB_EV_A * z_i * z_j / distance_A * screening * envelope(distance_A / reach_A, 1.0)
    return energy
