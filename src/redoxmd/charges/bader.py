"""Bader charges and moments: partition the electrons and the spin of a density among its atoms."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols

from redoxmd.charges.weight_method import basin_integrals
from redoxmd.density.grid import Density
from redoxmd.structures.periodic_cell import PeriodicCell

log = logging.getLogger(__name__)

# The density maximum of an atom lies in its semi-core; the nearest other maximum is a bond length away.
OWN_MAXIMUM_A = 0.8


@dataclass(frozen=True)
class Partition:
    """Electrons, charge and moment of each of n atoms.

    Attributes:
        population_e: (n,) electrons in the basin of the atom; their sum is that of the density.
        charge_e: (n,) valence electrons − population; NaN for atoms without a basin.
        moment_muB: (n,) spin in the same basin; NaN for atoms without a basin.
        empty: indices of atoms without a basin: the grid is too coarse to show their maximum, and their electrons
            belong to the basin of a neighbour.
    """

    population_e: np.ndarray
    charge_e: np.ndarray
    moment_muB: np.ndarray
    empty: np.ndarray


def partition(density: Density) -> Partition:
    """Bader charges and moments by the weight method (`charges.weight_method`), in the basins of the total density.

    A maximum away from the atoms belongs to the nearest atom.
    """
    grids_e = np.array([density.total_e_A3, density.spin_e_A3]) * density.voxel_A3
    maxima, sums = basin_integrals(density.total_e_A3, grids_e, density.cell_A)
    distance = PeriodicCell(density.cell_A).distances_A(maxima @ density.cell_A, density.positions_A)
    owner, n = distance.argmin(axis=1), len(density.numbers)
    population, moment = (np.bincount(owner, column, n) for column in sums.T)
    own_maxima = np.bincount(owner, distance.min(axis=1) < OWN_MAXIMUM_A, n)
    empty = np.flatnonzero(own_maxima == 0)
    if len(empty):
        log.warning(
            "%s: no basin for %s on a grid of %.2f Å; no charge there, and wrong ones for the neighbours. Use a finer "
            "grid",
            density.source,
            ", ".join(f"{chemical_symbols[density.numbers[index]]} {index}" for index in empty),
            max(np.linalg.norm(density.cell_A, axis=1) / density.shape),
        )
    charge = density.valence_e - population
    charge[empty] = moment[empty] = np.nan
    return Partition(population, charge, moment, empty)
