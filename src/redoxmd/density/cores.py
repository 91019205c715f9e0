"""Correct the density at the nuclei, which a grid cannot resolve, by the fitted atomic profiles.

A grid of 0.1–0.2 Å cannot integrate valence density at a nucleus: the cusp of the 3s or 2s shell is 0.02 Å wide. The
value at the grid point inside the cusp is meaningless: on an 80³ GPAW grid of Na_xV2(PO4)3 it shifts the charge of a V
by up to 0.3 e, more than the difference between V3+ and V4+; on a grid of 0.2 Å the smooth part of the core alone has
an error of 0.1 e. Therefore that point takes the value of the profile, and the profile of each atom is integrated
exactly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from redoxmd.density.grid import Density
from redoxmd.density.probes import AtomImages
from redoxmd.density.sampling import grid_points, nucleus_points, values_at
from redoxmd.density.superposition import CORE_A, Superposition
from redoxmd.model.graph import species_index

# Relative error of the electron count; repaired GPAW densities on grids of 0.11 Å are off by at most 2.4e-4.
MAX_COUNT_ERROR = 5e-4
NEIGHBOURS = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])


def repair_nuclei(density: Density, superposition: Superposition) -> Density:
    """Correct a reference density at the nuclei and keep its number of electrons.

    The grid point nearest to each nucleus gets the value of the superposition plus the mean difference between density
    and superposition at the six neighbouring points; then `integrate_cores` corrects the core integrals. If the result
    is farther from the expected number of electrons, the grid is too coarse for the profiles to describe the cores, and
    the density is returned unchanged.
    """
    images = AtomImages(density.positions_A, density.cell_A, superposition.cutoff_A)
    species = species_index(density.numbers, superposition.elements)
    nuclei = nucleus_points(density)
    neighbours = (nuclei[:, None] + NEIGHBOURS) % np.array(density.shape)
    flat = neighbours.reshape(-1, 3)
    difference = values_at(density, flat) - superposition.density_at(grid_points(density, flat), images, species)
    at_nuclei = superposition.density_at(grid_points(density, nuclei), images, species)
    grids = np.stack([density.total_e_A3, density.spin_e_A3], axis=-1).astype(float)
    grids[tuple(nuclei.T)] = at_nuclei + difference.reshape(-1, 6, 2).mean(axis=1)
    integrate_cores(grids, density.cell_A, density.positions_A, species, superposition)
    factor = density.electrons / (grids[..., 0].sum() * density.voxel_A3)
    if abs(density.correction * factor - 1) > max(abs(density.correction - 1), MAX_COUNT_ERROR):
        return density
    grids *= factor
    return replace(
        density,
        total_e_A3=grids[..., 0],
        spin_e_A3=grids[..., 1],
        moment_muB=float(grids[..., 1].sum() * density.voxel_A3),
        correction=float(density.correction * factor),
    )


def integrate_cores(
    grids: np.ndarray, cell_A: np.ndarray, positions_A: np.ndarray, species: np.ndarray, superposition: Superposition
) -> None:
    """Make the grid sum of each atom's core profile f·u equal to its integral, in place.

    ρ += (∫f·u d³r/Σf·u dV − 1)·f·u for the total; the deficit of the spin is added in the shape of the total's profile.

    Args:
        grids: (nx, ny, nz, 2) total and spin, e/Å³.
        cell_A: (3, 3).
        positions_A: (n, 3).
        species: (n,) as `species_index` gives it.
        superposition: the profiles f; u ends at CORE_A.
    """
    shape = grids.shape[:3]
    voxel = abs(np.linalg.det(cell_A)) / np.prod(shape)
    for position, element in zip(positions_A, species, strict=True):
        index, distance = sphere_points(shape, cell_A, position, CORE_A)
        core = superposition.core_profile(distance, int(element))
        summed = core.sum(axis=0) * voxel
        if summed[0] <= 0:
            continue
        deficit = superposition.core_integrals[element] - summed
        np.add.at(grids, tuple(index.T), core[:, :1] / summed[0] * deficit)


def sphere_points(
    shape: tuple[int, ...], cell_A: np.ndarray, centre_A: np.ndarray, radius_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Grid indices (P, 3), wrapped into the cell, and distances (P,) of the points within a radius of a centre."""
    inverse = np.linalg.inv(cell_A)
    size = np.array(shape)
    centre = centre_A @ inverse * size
    half = radius_A * np.linalg.norm(inverse, axis=0) * size
    ranges = [np.arange(np.ceil(c - h), np.floor(c + h) + 1) for c, h in zip(centre, half, strict=True)]
    index = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    distance = np.linalg.norm((index - centre) / size @ cell_A, axis=1)
    inside = distance < radius_A
    return index[inside].astype(int) % size, distance[inside]
