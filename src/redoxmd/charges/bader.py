"""Bader charges and moments: partition the electrons and the spin of a density among its atoms."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from redoxmd.charges.numba_setup import load_numba
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


def partition(density: Density, code: Literal["redoxmd", "baderkit"] = "redoxmd") -> Partition:
    """Bader charges and moments by the weight method; the basins are those of the total density.

    A maximum away from the atoms belongs to the nearest atom. Both codes solve the same equations (see
    `charges.weight_method`). Baderkit is the independent reference: ten times slower, with minutes of compilation in
    its first run.
    """
    grids_e = np.array([density.total_e_A3, density.spin_e_A3]) * density.voxel_A3
    if code == "redoxmd":
        maxima, sums = basin_integrals(density.total_e_A3, grids_e, density.cell_A)
    else:
        maxima, sums = _baderkit_integrals(density, grids_e)
    distance = PeriodicCell(density.cell_A).distances_A(maxima @ density.cell_A, density.positions_A)
    owner, n = distance.argmin(axis=1), len(density.numbers)
    population, moment = (np.bincount(owner, column, n) for column in sums.T)
    own_maxima = np.bincount(owner, distance.min(axis=1) < OWN_MAXIMUM_A, n)
    empty = np.flatnonzero(own_maxima == 0)
    _warn_of_empty(density, empty)
    charge = density.valence_e - population
    charge[empty] = moment[empty] = np.nan
    return Partition(population, charge, moment, empty)


def _warn_of_empty(density: Density, empty: np.ndarray) -> None:
    if not len(empty):
        return
    names = ", ".join(f"{chemical_symbols[density.numbers[index]]} {index}" for index in empty)
    spacing = max(np.linalg.norm(density.cell_A, axis=1) / density.shape)
    log.warning(
        "%s: no basin for %s on a grid of %.2f Å; no charge there, and wrong ones for the neighbours. Use a finer grid",
        density.source,
        names,
        spacing,
    )


def _baderkit_integrals(density: Density, grids_e: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Result of `basin_integrals` from one run of baderkit per grid."""
    from pymatgen.core import Lattice, Structure

    with untouched_root_logger():
        baderkit = _load_baderkit()
        structure = Structure(Lattice(density.cell_A), density.numbers, density.positions_A, coords_are_cartesian=True)
        # Grids of baderkit hold electrons per cell, as in a CHGCAR.
        points = grids_e[0].size
        reference, *grids = (
            baderkit.Grid(structure, {"total": grid}) for grid in (grids_e[0] * points, *grids_e * points)
        )
        runs = [
            baderkit.Bader(charge_grid=grid, reference_grid=reference, method="weight", vacuum_tol=False)
            for grid in grids
        ]
        sums = np.stack([run.basin_charges for run in runs], axis=1)
        return np.asarray(runs[0].maxima_frac), sums


def _load_baderkit() -> ModuleType:
    load_numba()
    import baderkit

    module: ModuleType = baderkit
    return module


@contextmanager
def untouched_root_logger() -> Iterator[None]:
    """Shield the root logger from baderkit, which reconfigures it at import and logs every step of a run to it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Without a handler, the first message would install one.
    root.handlers = handlers or [logging.NullHandler()]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
