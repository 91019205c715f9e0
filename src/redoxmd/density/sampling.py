"""Random grid points of a density, in the whole cell or near chosen atoms, and the density values at grid points.

The grid point nearest to each nucleus is excluded: it may lie in a cusp narrower than any grid spacing (see `cores`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from redoxmd.config.sections import DensitySettings as Settings
from redoxmd.density.grid import Density
from redoxmd.density.probes import AtomImages, ProbePairs, brick_pairs, scattered_pairs
from redoxmd.model.graph import Graph, build_graph, species_index


def nucleus_points(density: Density) -> np.ndarray:
    """Grid indices (n, 3) of the points nearest to the nuclei."""
    fractional = density.positions_A @ np.linalg.inv(density.cell_A)
    nearest: np.ndarray = np.round(fractional * density.shape).astype(int) % np.array(density.shape)
    return nearest


def points_uniform(density: Density, count: int, rng: np.random.Generator) -> np.ndarray:
    """Grid indices (about count, 3), uniform over the cell without the points at nuclei."""
    index = np.stack([rng.integers(0, size, count) for size in density.shape], axis=1)
    return index[~_at_nucleus(density, index)]


def points_near(
    density: Density, centres_A: np.ndarray, radius_A: float, count: int, rng: np.random.Generator
) -> np.ndarray:
    """Grid indices (about count, 3), uniform in spheres around centres (m, 3), without the points at nuclei."""
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1)[:, None]
    offset = direction * (radius_A * rng.random(count) ** (1 / 3))[:, None]
    points = centres_A[rng.integers(0, len(centres_A), count)] + offset
    index = np.round(points @ np.linalg.inv(density.cell_A) * density.shape).astype(int) % np.array(density.shape)
    return index[~_at_nucleus(density, index)]


def _at_nucleus(density: Density, index: np.ndarray) -> np.ndarray:
    flat, nuclei = (np.ravel_multi_index(tuple(i.T), density.shape) for i in (index, nucleus_points(density)))
    return np.isin(flat, nuclei)


def grid_points(density: Density, index: np.ndarray) -> np.ndarray:
    """Cartesian positions (P, 3) in Å of grid indices (P, 3)."""
    points: np.ndarray = index / np.array(density.shape) @ density.cell_A
    return points


def values_at(density: Density, index: np.ndarray) -> np.ndarray:
    """Total and spin (P, 2) in e/Å³ at grid indices (P, 3)."""
    points = tuple(index.T)
    return np.stack([density.total_e_A3[points], density.spin_e_A3[points]], axis=1).astype(float)


class PointPool:
    """One structure with a pool of its grid points in memory, drawn from the whole cell and near the redox atoms.

    Args:
        elements, states: atomic number and oxidation number of each species of the network, see `atom_species`.
        cutoff_A: cutoff of the network.
        device: where graph, points, values and images of the atoms stay.
        redox: (m,) indices of atoms around which extra points are drawn; if empty, all points are uniform.
    """

    def __init__(
        self,
        density: Density,
        elements: Sequence[int],
        cutoff_A: float,
        redox: np.ndarray,
        settings: Settings,
        rng: np.random.Generator,
        states: Sequence[int] | None = None,
        device: str = "cpu",
    ) -> None:
        count = settings.points_per_density
        groups = [points_uniform(density, count, rng)]
        if len(redox):
            groups.append(points_near(density, density.positions_A[redox], settings.redox_radius_A, count, rng))
        self.sizes = [len(group) for group in groups]
        index = np.concatenate(groups)
        self.points_A = grid_points(density, index)
        self.values_e_A3 = torch.from_numpy(values_at(density, index)).to(device)
        graph: Graph = build_graph(density.atoms, elements, cutoff_A, states=states)
        self.graph = graph.to(device, torch.float32)
        self.images = AtomImages(density.positions_A, density.cell_A, cutoff_A)
        # Atomic densities are superposed by element, whatever its state.
        self.species = torch.from_numpy(species_index(density.numbers, sorted(set(elements)))).to(device)
        self._on_device: tuple[Tensor, Tensor, Tensor] | None = None
        if self.species.is_cuda:
            arrays = (self.images.wrapped(self.points_A), self.images.positions_A, self.images.atom)
            points, images, atoms = (torch.from_numpy(array).to(device) for array in arrays)
            self._on_device = points, images, atoms

    def draw(self, count: int, near_fraction: float, rng: np.random.Generator) -> np.ndarray:
        """Random indices of pool points; a share `near_fraction` lies near the redox atoms if there are any."""
        near = round(count * near_fraction) if len(self.sizes) > 1 else 0
        chosen = [rng.integers(0, self.sizes[0], count - near)]
        if near:
            chosen.append(self.sizes[0] + rng.integers(0, self.sizes[1], near))
        return np.concatenate(chosen)

    def pairs(self, chosen: Tensor, cutoff_A: float) -> ProbePairs:
        """Pairs of the chosen points (P,), on their device, with atoms within the cutoff."""
        if self._on_device is None:
            return scattered_pairs(self.points_A[chosen.numpy()], self.images, cutoff_A)
        points, images, atoms = self._on_device
        return brick_pairs(points[chosen], images, atoms, cutoff_A)
