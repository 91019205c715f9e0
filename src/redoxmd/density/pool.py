"""Grid points of a structure held in memory, from which training draws."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from redoxmd.config.sections import Density as Settings
from redoxmd.density.grid import Density
from redoxmd.density.probes import AtomImages, ProbePairs, scattered_pairs
from redoxmd.density.sampling import grid_points, points_near, points_uniform, values_at
from redoxmd.model.graph import Graph, build_graph, species_index


class PointPool:
    """One structure with a pool of its grid points in memory: everywhere and near the redox atoms.

    Args:
        density: reference.
        elements: of the network.
        cutoff_A: of the network.
        redox: (m,) indices of the atoms whose surroundings are favoured; none leaves all points uniform.
        settings: section `density`.
        rng: draws the pool.
    """

    def __init__(
        self,
        density: Density,
        elements: Sequence[int],
        cutoff_A: float,
        redox: np.ndarray,
        settings: Settings,
        rng: np.random.Generator,
    ) -> None:
        count = settings.points_per_density
        parts = [points_uniform(density, count, rng)]
        if len(redox):
            parts.append(points_near(density, density.positions_A[redox], settings.redox_radius_A, count, rng))
        self.sizes = [len(part) for part in parts]
        index = np.concatenate(parts)
        self.points_A = grid_points(density, index)
        self.values_e_A3 = values_at(density, index)
        self.graph: Graph = build_graph(density.atoms, elements, cutoff_A).to("cpu", torch.float32)
        self.images = AtomImages(density.positions_A, density.cell_A, cutoff_A)
        self.species = species_index(density.numbers, elements)

    def draw(self, count: int, near_fraction: float, rng: np.random.Generator) -> np.ndarray:
        """Indices of points: a share of them near the redox atoms, where there are any."""
        near = round(count * near_fraction) if len(self.sizes) > 1 else 0
        parts = [rng.integers(0, self.sizes[0], count - near)]
        if near:
            parts.append(self.sizes[0] + rng.integers(0, self.sizes[1], near))
        return np.concatenate(parts)

    def pairs(self, chosen: np.ndarray, radius_A: float) -> ProbePairs:
        """Pairs of the chosen points with the atoms."""
        return scattered_pairs(self.points_A[chosen], self.images, radius_A)
