"""Bader charges and moments: a density's electrons and spin, shared out among its atoms."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Literal

import numpy as np
from ase.data import chemical_symbols

from redoxmd.charges.compiled import load_numba
from redoxmd.charges.uphill import basin_integrals
from redoxmd.density.grid import Density
from redoxmd.structures.periodic_cell import PeriodicCell

log = logging.getLogger(__name__)

# An atom's own maximum lies in its semi-core; the nearest foreign one is a bond away.
OWN_MAXIMUM_A = 0.8


@dataclass(frozen=True)
class Partition:
    """What each of n atoms holds of a density.

    Attributes:
        population_e: (n,) electrons in its basin; they sum to the density's.
        charge_e: (n,) valence electrons − population; NaN where the basin was lost.
        moment_muB: (n,) spin in the same basin; NaN where it was lost.
        empty: indices of atoms without a basin: the grid is too coarse to show their maximum, and a neighbour holds
            their electrons.
    """

    population_e: np.ndarray
    charge_e: np.ndarray
    moment_muB: np.ndarray
    empty: np.ndarray


def partition(density: Density, method: Literal["uphill", "baderkit"] = "uphill") -> Partition:
    """Bader charges and moments by the weight method, spin and electrons by the one partition of the total.

    A maximum away from the atoms counts for the nearest. Both methods solve the same equations (see `charges.uphill`);
    baderkit is the independent reference: an order slower, and minutes of compilation when it first runs.
    """
    held = np.array([density.total_e_A3, density.spin_e_A3]) * density.voxel_A3
    if method == "uphill":
        maxima, sums = basin_integrals(density.total_e_A3, held, density.cell_A)
    else:
        maxima, sums = _by_baderkit(density, held)
    distance = PeriodicCell(density.cell_A).distances_A(maxima @ density.cell_A, density.positions_A)
    owner, n = distance.argmin(axis=1), len(density.numbers)
    population, moment = (np.bincount(owner, column, n) for column in sums.T)
    near = np.bincount(owner, distance.min(axis=1) < OWN_MAXIMUM_A, n)
    empty = np.flatnonzero(near == 0)
    _warn(density, empty)
    charge = density.valence_e - population
    charge[empty] = moment[empty] = np.nan
    return Partition(population, charge, moment, empty)


def _warn(density: Density, empty: np.ndarray) -> None:
    if not len(empty):
        return
    names = ", ".join(f"{chemical_symbols[density.numbers[index]]} {index}" for index in empty)
    spacing = max(np.linalg.norm(density.cell_A, axis=1) / density.shape)
    log.warning(
        "%s: no basin for %s on a grid of %.2f Å; it gets no charge, and its neighbours' are off. Use a finer grid",
        density.source,
        names,
        spacing,
    )


def _by_baderkit(density: Density, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """As `basin_integrals`, one run of baderkit for each grid."""
    from pymatgen.core import Lattice, Structure

    with untouched_root_logger():
        baderkit = _load_baderkit()
        structure = Structure(Lattice(density.cell_A), density.numbers, density.positions_A, coords_are_cartesian=True)
        # Its grids hold electrons per cell, as a CHGCAR does.
        reference, *grids = (
            baderkit.Grid(structure, {"total": grid}) for grid in (held[0] * held[0].size, *held * held[0].size)
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
    """Keep baderkit off the root logger: it reconfigures it at import and tells every step of a run there."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Without any handler, a first message would install one.
    root.handlers = handlers or [logging.NullHandler()]
    root.setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
