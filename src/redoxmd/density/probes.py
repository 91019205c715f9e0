"""Search for the periodic images of atoms near probes, linear in atoms and probes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial import cKDTree
from scipy.spatial.distance import cdist
from torch import Tensor

from redoxmd.density.network import DensityNetwork, ProbeBlock


class AtomImages:
    """All periodic images of the atoms within `cutoff_A` of any point of the cell.

    Args:
        positions_A: (n, 3), wrapped or not.
        cell_A: (3, 3), any shape.
        cutoff_A: largest radius of a search.
    """

    def __init__(self, positions_A: np.ndarray, cell_A: np.ndarray, cutoff_A: float) -> None:
        inverse = np.linalg.inv(cell_A)
        # Cutoff along each axis in fractional coordinates.
        margin = cutoff_A * np.linalg.norm(inverse, axis=0)
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
        """Points wrapped into the cell."""
        fractional = points_A @ self._inverse
        wrapped: np.ndarray = (fractional - np.floor(fractional)) @ self._cell
        return wrapped

    def pairs(self, points_A: np.ndarray, radius_A: float) -> tuple[np.ndarray, np.ndarray]:
        """Indices (point, image) of all pairs closer than a radius; the points must lie in the cell."""
        squared = cdist(points_A, self.positions_A, "sqeuclidean")
        point, image = np.nonzero(squared < radius_A**2)
        return point, image

    def near(self, centre_A: np.ndarray, radius_A: float) -> np.ndarray:
        """Indices of the images within a radius of a point of the cell, sorted by atom."""
        indices = np.asarray(self._tree.query_ball_point(centre_A, radius_A), dtype=int)
        return np.sort(indices)


@dataclass(frozen=True)
class ProbePairs:
    """Pairs of probes and atoms within a cutoff, periodic images included.

    Attributes:
        n_probes: number of probes.
        probe, atom: (E,) indices, in order of the probes.
        vectors_A: (E, 3) from the probe to the atom's image, double precision.
    """

    n_probes: int
    probe: Tensor
    atom: Tensor
    vectors_A: Tensor


def scattered_pairs(points_A: np.ndarray, images: AtomImages, cutoff_A: float) -> ProbePairs:
    """Pairs of arbitrary points with atoms within a cutoff."""
    points = images.wrapped(points_A)
    probe, image = images.pairs(points, cutoff_A)
    vectors = torch.from_numpy(images.positions_A[image] - points[probe])
    return ProbePairs(len(points), torch.from_numpy(probe), torch.from_numpy(images.atom[image]), vectors)


def scattered_block(pairs: ProbePairs, n_atoms: int, network: DensityNetwork) -> ProbeBlock:
    """Probe block with a column for every atom; only pairs within the cutoff are evaluated."""
    vectors = pairs.vectors_A.to(network.device, network.dtype)
    slot = (pairs.probe * n_atoms + pairs.atom).to(network.device)
    values, unit = network.basis(vectors)
    summed = values.new_zeros(4, pairs.n_probes * n_atoms, values.shape[1])
    summed[0].index_add_(0, slot, values)
    for axis in range(3):
        summed[axis + 1].index_add_(0, slot, values * unit[:, axis, None])
    flat = summed.view(4, pairs.n_probes, -1)
    near = (vectors * vectors).sum(dim=1) < network.near_basis.reach_A**2
    terms = network.near_basis(vectors[near])
    multipoles = terms.new_zeros(pairs.n_probes * n_atoms, terms.shape[1]).index_add_(0, slot[near], terms)
    columns = torch.arange(n_atoms, device=network.device)
    return ProbeBlock(columns, flat[0], flat[1:], columns, multipoles.view(pairs.n_probes, -1))


def local_block(vectors_A: Tensor, atom: np.ndarray, near: np.ndarray, network: DensityNetwork) -> ProbeBlock:
    """Block of neighbouring probes, each paired with every image within the common cutoff, without a search.

    Args:
        vectors_A: (R, I, 3) from probes to images, on the device and in the precision of the network.
        atom: (I,) atom of each image, sorted.
        near: (J,) indices of the images within the multipole cutoff.
        network: network whose bases are evaluated.
    """
    values, unit = network.basis(vectors_A)
    columns, column = np.unique(atom, return_inverse=True)
    channels = [values, *(values * unit[..., axis, None] for axis in range(3))]
    merged = torch.stack([_merged(channel, column, len(columns)).flatten(1) for channel in channels])
    near_columns, near_column = np.unique(atom[near], return_inverse=True)
    multipoles = _merged(network.near_basis(vectors_A[:, near]), near_column, len(near_columns)).flatten(1)
    device = network.device
    return ProbeBlock(
        torch.from_numpy(columns).to(device),
        merged[0],
        merged[1:],
        torch.from_numpy(near_columns).to(device),
        multipoles,
    )


def _merged(values: Tensor, column: np.ndarray, count: int) -> Tensor:
    """Values of images (R, I, K) summed over the images of each atom (R, C, K)."""
    if count == len(column):
        return values
    index = torch.from_numpy(column).to(values.device)
    return values.new_zeros(len(values), count, values.shape[2]).index_add_(1, index, values)
