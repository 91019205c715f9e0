"""Which atoms the probes can see: a search through periodic images, linear in atoms and probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from redoxmd.density.network import DensityNetwork, ProbeBlock


class AtomImages:
    """All periodic images of the atoms that a point inside the cell can have within `radius_A`.

    Args:
        positions_A: (n, 3), anywhere.
        cell_A: (3, 3), any shape.
        radius_A: largest distance to be asked for.
    """

    def __init__(self, positions_A: np.ndarray, cell_A: np.ndarray, radius_A: float) -> None:
        inverse = np.linalg.inv(cell_A)
        # A point in the cell reaches this far along each axis, in fractions of it.
        margin = radius_A * np.linalg.norm(inverse, axis=0)
        fractional = positions_A @ inverse
        fractional -= np.floor(fractional)
        ranges = [np.arange(-np.ceil(m), np.ceil(m) + 1) for m in margin]
        shifts = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
        images = fractional[:, None] + shifts
        near = ((images >= -margin) & (images <= 1 + margin)).all(axis=2)
        self.atom = np.nonzero(near)[0]
        self.positions_A = images[near] @ cell_A
        self._tree = cKDTree(self.positions_A)
        self._inverse, self._cell = inverse, cell_A

    def wrapped(self, points_A: np.ndarray) -> np.ndarray:
        """Points moved into the cell."""
        fractional = points_A @ self._inverse
        wrapped: np.ndarray = (fractional - np.floor(fractional)) @ self._cell
        return wrapped

    def pairs(self, points_A: np.ndarray, radius_A: float) -> tuple[np.ndarray, np.ndarray]:
        """(point, image) of all pairs closer than a radius; points of the cell."""
        squared = cdist(points_A, self.positions_A, "sqeuclidean")
        point, image = np.nonzero(squared < radius_A**2)
        return point, image

    def near(self, centre_A: np.ndarray, radius_A: float) -> np.ndarray:
        """Indices of the images within a radius of a point of the cell, sorted by atom."""
        found = np.asarray(self._tree.query_ball_point(centre_A, radius_A), dtype=int)
        order: np.ndarray = np.sort(found)
        return order


@dataclass(frozen=True)
class ProbePairs:
    """Pairs of probes and atoms within reach, images included.

    Attributes:
        n_probes: number of probes.
        probe, atom: (E,) indices, in order of the probes.
        vectors_A: (E, 3) from the probe to the atom's image, double precision.
    """

    n_probes: int
    probe: Tensor
    atom: Tensor
    vectors_A: Tensor


def scattered_pairs(points_A: np.ndarray, images: AtomImages, radius_A: float) -> ProbePairs:
    """Pairs of points anywhere."""
    points = images.wrapped(points_A)
    probe, image = images.pairs(points, radius_A)
    vectors = torch.from_numpy(images.positions_A[image] - points[probe])
    return ProbePairs(len(points), torch.from_numpy(probe), torch.from_numpy(images.atom[image]), vectors)


def scattered_block(pairs: ProbePairs, n_atoms: int, network: DensityNetwork) -> ProbeBlock:
    """Block with a column for every atom; pairs beyond the cutoff cost nothing."""
    vectors = pairs.vectors_A.to(network.device, network.dtype)
    slot = (pairs.probe * n_atoms + pairs.atom).to(network.device)
    values, unit = network.basis(vectors)
    summed = values.new_zeros(4, pairs.n_probes * n_atoms, values.shape[1])
    summed[0].index_add_(0, slot, values)
    for axis in range(3):
        summed[axis + 1].index_add_(0, slot, values * unit[:, axis, None])
    flat = summed.view(4, pairs.n_probes, -1)
    near = (vectors * vectors).sum(dim=1) < network.near_basis.reach_A**2
    shaped = network.near_basis(vectors[near])
    multipoles = shaped.new_zeros(pairs.n_probes * n_atoms, shaped.shape[1]).index_add_(0, slot[near], shaped)
    columns = torch.arange(n_atoms, device=network.device)
    return ProbeBlock(columns, flat[0], flat[1:], columns, multipoles.view(pairs.n_probes, -1))


def local_block(vectors_A: Tensor, atom: np.ndarray, near: np.ndarray, network: DensityNetwork) -> ProbeBlock:
    """Block of probes that lie together, every probe with every image in their reach; no searching, no scattering.

    Args:
        vectors_A: (R, I, 3) from probes to images, where and as precise as the network.
        atom: (I,) atom of each image, sorted.
        near: (J,) which of the images are close enough for multipoles.
        network: whose bases to evaluate.
    """
    values, unit = network.basis(vectors_A)
    columns, place = np.unique(atom, return_inverse=True)
    parts = [values, *(values * unit[..., axis, None] for axis in range(3))]
    merged = torch.stack([_merged(part, place, len(columns)).flatten(1) for part in parts])
    near_columns, near_place = np.unique(atom[near], return_inverse=True)
    shaped = _merged(network.near_basis(vectors_A[:, near]), near_place, len(near_columns)).flatten(1)
    device = network.device
    return ProbeBlock(
        torch.from_numpy(columns).to(device),
        merged[0],
        merged[1:],
        torch.from_numpy(near_columns).to(device),
        shaped,
    )


def _merged(values: Tensor, place: np.ndarray, count: int) -> Tensor:
    """Images (R, I, K) summed into their atoms' columns (R, C, K)."""
    if count == len(place):
        return values
    index = torch.from_numpy(place).to(values.device)
    return values.new_zeros(len(values), count, values.shape[2]).index_add_(1, index, values)
