"""Predict densities on grids in blocks of points (bricks): bounded memory, cost linear in atoms and in grid points."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from ase import Atoms

from redoxmd.density.cores import integrate_cores, sphere_points
from redoxmd.density.grid import Density
from redoxmd.density.model import DensityModel, EncodedAtoms, clip_to_physical
from redoxmd.density.probes import AtomImages, brick_pairs, probe_block

# Edge of a brick in grid points; the probes of a brick share their neighbours. A GPU needs larger bricks for full load.
BRICK_POINTS = {"cpu": 8, "cuda": 20}


@dataclass(frozen=True)
class Region:
    """Region of interest of the paper: the network is evaluated inside, superposed atoms are used outside.

    Attributes:
        atoms: (m,) indices of the atoms of interest.
        radius_A: radius of the sphere around each of them.
    """

    atoms: np.ndarray
    radius_A: float


def grid_shape(cell_A: np.ndarray, spacing_A: float) -> tuple[int, int, int]:
    """Smallest even numbers of grid points whose spacing along each axis is at most `spacing_A`, not below 4."""
    lengths = np.linalg.norm(cell_A, axis=1)
    a, b, c = (max(4, 2 * int(np.ceil(length / spacing_A / 2))) for length in lengths)
    return a, b, c


def predict_density(
    model: DensityModel,
    atoms: Atoms,
    shape: tuple[int, int, int],
    region: Region | None = None,
    exact_electrons: bool = True,
    moment_muB: float | None = None,
) -> Density:
    """Total and spin density of a periodic structure on a grid.

    The cores are integrated exactly (`cores.integrate_cores`), both spin densities are clipped to non-negative values,
    and a factor, recorded as `correction`, corrects the remaining error of the number of electrons.

    Args:
        atoms: structure; its elements must be those of the training set, and so must be its states (array
            `oxidation`) if the model distinguishes them.
        shape: grid points along each axis; see `grid_shape`.
        region: region in which the network is evaluated; None: everywhere.
        exact_electrons: scale to the number of valence electrons, with a region only outside of it.
        moment_muB: total moment, to which the spin is corrected in proportion to |spin|. None: as predicted.
    """
    encoded = EncodedAtoms(model, atoms)
    grids = np.empty((*shape, 2))
    inside = None if region is None else region_mask(atoms, shape, region)
    images = AtomImages(atoms.positions, encoded.cell_A, _image_cutoff(model, shape, encoded.cell_A))
    for brick in _bricks(shape, BRICK_POINTS[model.network.device.type]):
        _fill(grids, brick, encoded, images, inside)
    grids = clip_to_physical(grids)
    integrate_cores(grids, encoded.cell_A, atoms.positions, encoded.species, model.superposition)
    voxel = abs(np.linalg.det(encoded.cell_A)) / np.prod(shape)
    valence = model.valence_of(atoms.numbers)
    correction = float(valence.sum() / (grids[..., 0].sum() * voxel))
    if exact_electrons:
        _scale(grids, valence.sum() / voxel, inside)
    if moment_muB is not None:
        weight = np.abs(grids[..., 1])
        grids[..., 1] += (moment_muB / voxel - grids[..., 1].sum()) * weight / max(weight.sum(), 1e-30)
    return Density(
        grids[..., 0],
        grids[..., 1],
        encoded.cell_A,
        atoms.positions.copy(),
        atoms.numbers.copy(),
        valence,
        float(valence.sum()),
        float(grids[..., 1].sum() * voxel),
        correction,
        "redoxmd density model",
        oxidation=atoms.arrays.get("oxidation"),
    )


def _scale(grids: np.ndarray, target_sum: float, inside: np.ndarray | None) -> None:
    """Scale the density to a sum, in place; with a region only outside, where superposed atoms err by a percent."""
    if inside is None:
        grids *= target_sum / grids[..., 0].sum()
        return
    sum_inside = grids[inside, 0].sum()
    grids[~inside] *= (target_sum - sum_inside) / max(grids[~inside, 0].sum(), 1e-30)


def region_mask(atoms: Atoms, shape: tuple[int, int, int], region: Region) -> np.ndarray:
    """Whether each grid point (nx, ny, nz) lies in a region."""
    mask = np.zeros(shape, dtype=bool)
    for atom in region.atoms:
        index, _ = sphere_points(shape, np.asarray(atoms.cell), atoms.positions[atom], region.radius_A)
        mask[tuple(index.T)] = True
    return mask


def grid_filler(encoded: EncodedAtoms, shape: tuple[int, int, int], bricks: int) -> tuple[Callable[[], object], int]:
    """A function that predicts the first bricks of a grid, and their number of points, for benchmarks."""
    grids = np.empty((*shape, 2))
    images = AtomImages(encoded.atoms.positions, encoded.cell_A, _image_cutoff(encoded.model, shape, encoded.cell_A))
    chosen = list(_bricks(shape, BRICK_POINTS[encoded.model.network.device.type]))[:bricks]
    points = sum(int(np.prod([s.stop - s.start for s in brick])) for brick in chosen)

    def fill() -> None:
        for brick in chosen:
            _fill(grids, brick, encoded, images, None)

    return fill, points


def _bricks(shape: tuple[int, int, int], edge: int) -> Iterator[tuple[slice, ...]]:
    slices = [[slice(start, min(start + edge, size)) for start in range(0, size, edge)] for size in shape]
    yield from product(*slices)


def _image_cutoff(model: DensityModel, shape: tuple[int, int, int], cell_A: np.ndarray) -> float:
    """Cutoff of the network plus the largest distance of a grid point of a brick from the centre of the brick."""
    edge = BRICK_POINTS[model.network.device.type]
    signs = np.array([[1, a, b] for a in (1, -1) for b in (1, -1)])
    half = signs * (edge - 1) / 2 / np.array(shape) @ cell_A
    return model.network.cutoff_A + float(np.linalg.norm(half, axis=1).max())


@torch.no_grad()
def _fill(
    grids: np.ndarray,
    brick: tuple[slice, ...],
    encoded: EncodedAtoms,
    images: AtomImages,
    inside: np.ndarray | None,
) -> None:
    """Predict one brick of the grid."""
    network, superposition = encoded.model.network, encoded.model.superposition
    index = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in brick], indexing="ij"), axis=-1).reshape(-1, 3)
    points = index / np.array(grids.shape[:3]) @ encoded.cell_A
    centre = (points[0] + points[-1]) / 2
    radius = float(np.linalg.norm(points - centre, axis=1).max())
    near_images = images.near(centre, network.cutoff_A + radius)
    probes, sources, atom = (
        torch.from_numpy(array).to(network.device)
        for array in (points, images.positions_A[near_images], images.atom[near_images])
    )
    pairs = brick_pairs(probes, sources, atom, network.cutoff_A)
    values = superposition.sum(pairs, encoded.species)
    chosen = np.ones(len(points), dtype=bool) if inside is None else inside[brick].ravel()
    if chosen.any():
        if not chosen.all():
            pairs = pairs.at(torch.from_numpy(chosen).to(network.device))
        block = probe_block(pairs, len(encoded.species), network)
        residual = network(encoded.encoding, block).cpu().double().numpy() * encoded.model.scale_e_A3
        values[chosen] = residual if encoded.model.plain else values[chosen] + residual
    grids[brick] = values.reshape(*[s.stop - s.start for s in brick], 2)
