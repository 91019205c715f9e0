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

    def at(self, chosen: Tensor) -> ProbePairs:
        """Pairs of the chosen probes (a mask); their new numbers leave out the other probes."""
        kept, number = chosen[self.probe], chosen.cumsum(0) - 1
        return ProbePairs(int(chosen.sum()), number[self.probe[kept]], self.atom[kept], self.vectors_A[kept])


def scattered_pairs(points_A: np.ndarray, images: AtomImages, cutoff_A: float) -> ProbePairs:
    """Pairs of arbitrary points with atoms within a cutoff."""
    points = images.wrapped(points_A)
    probe, image = images.pairs(points, cutoff_A)
    vectors = torch.from_numpy(images.positions_A[image] - points[probe])
    return ProbePairs(len(points), torch.from_numpy(probe), torch.from_numpy(images.atom[image]), vectors)


def brick_pairs(points_A: Tensor, images_A: Tensor, atom: Tensor, cutoff_A: float) -> ProbePairs:
    """Pairs of neighbouring points (R, 3) with images (I, 3) of the atoms (I,) within a cutoff, on their device."""
    distance_A = torch.cdist(points_A, images_A, compute_mode="donot_use_mm_for_euclid_dist")
    probe, image = torch.nonzero(distance_A < cutoff_A, as_tuple=True)
    return ProbePairs(len(points_A), probe, atom[image], images_A[image] - points_A[probe])


def probe_block(pairs: ProbePairs, n_atoms: int, network: DensityNetwork) -> ProbeBlock:
    """Probe block of pairs with atoms of a structure of `n_atoms`; atoms without a pair have no column."""
    vectors = pairs.vectors_A.to(network.device, network.dtype)
    probe, atom = pairs.probe.to(network.device), pairs.atom.to(network.device)
    columns, column = _columns(atom, n_atoms)
    slot, size = probe * len(columns) + column, pairs.n_probes * len(columns)
    values, unit = network.basis(vectors)
    summed = values.new_zeros(4, size, values.shape[1])
    summed[0].index_add_(0, slot, values)
    for axis in range(3):
        summed[axis + 1].index_add_(0, slot, values * unit[:, axis, None])
    flat = summed.view(4, pairs.n_probes, len(columns) * values.shape[1])
    near = torch.nonzero((vectors * vectors).sum(dim=1) < network.near_basis.reach_A**2)[:, 0]
    near_columns, near_column = _columns(atom[near], n_atoms)
    terms = network.near_basis(vectors[near])
    multipoles = terms.new_zeros(pairs.n_probes * len(near_columns), terms.shape[1])
    multipoles.index_add_(0, probe[near] * len(near_columns) + near_column, terms)
    multipoles = multipoles.view(pairs.n_probes, len(near_columns) * terms.shape[1])
    return ProbeBlock(columns, flat[0], flat[1:], near_columns, multipoles)


def _columns(atom: Tensor, n_atoms: int) -> tuple[Tensor, Tensor]:
    """Sorted atoms (C,) that occur among those of pairs (E,), and the index (E,) of the atom of each pair in them."""
    occurs = atom.new_zeros(n_atoms).index_fill_(0, atom, 1)
    return occurs.nonzero()[:, 0], (occurs.cumsum(0) - 1)[atom]
