"""Surroundings of an atom in a periodic cell: ligands, and vacant sites of the mobile ion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms

from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.source import FRAMEWORK


@dataclass(frozen=True)
class Sites:
    """Where the mobile ion may sit, and the framework that says where that is.

    Attributes:
        mobile: (s, 3) fractional positions of all sites, full or not.
        framework: (f, 3) fractional positions of the framework, in the order of a trajectory's other atoms.
        masses_amu: (f,) of the framework; 0 for atoms that diffuse and say nothing of its place, unless all do.
    """

    mobile: np.ndarray
    framework: np.ndarray
    masses_amu: np.ndarray

    @classmethod
    def of(cls, full_cell: Atoms, diffusing: Sequence[str] = ()) -> Sites:
        """The sites of a (repeated) source cell, whose array `site` is "-" for the framework.

        `diffusing` names elements of it that do not stay at their places.
        """
        fixed = full_cell.arrays["site"] == FRAMEWORK
        fractional = full_cell.get_scaled_positions(wrap=False)
        still = ~np.isin(full_cell.get_chemical_symbols(), list(diffusing))
        if not still[fixed].any():
            still[fixed] = True
        return cls(fractional[~fixed], fractional[fixed], (still * full_cell.get_masses())[fixed])


def framework_drift(framework_A: np.ndarray, sites: Sites, periodic: PeriodicCell) -> np.ndarray:
    """Drift (T, 3) of the framework's centre of mass from its reference place, Å, up to a cell vector.

    Args:
        framework_A: (T, f, 3) unwrapped framework atoms; single ones may have been wrapped before the first frame.
        sites: their reference.
    """
    away = framework_A[0] - sites.framework @ periodic.cell_A
    # Taken relative to one atom, a drift of half a cell does not tear the framework apart.
    anchor = away[np.argmax(sites.masses_amu > 0)]
    at_start = anchor + periodic.minimum_image(away - anchor)
    weights = sites.masses_amu / sites.masses_amu.sum()
    drift: np.ndarray = np.einsum("tfd,f->td", framework_A - framework_A[0] + at_start, weights)
    return drift


def vacancy_distances(redox_A: np.ndarray, ions_A: np.ndarray, sites: Sites, periodic: PeriodicCell) -> np.ndarray:
    """Distance (T, m) in Å from every redox atom to the nearest vacant site; NaN in a frame without vacancies.

    Each ion is at its nearest site; a site with no ion is vacant (paper: V near an Na vacancy is V4+).

    Args:
        redox_A: (T, m, 3) redox atoms, drift removed.
        ions_A: (T, k, 3) mobile ions, drift removed.
        sites: all sites.
    """
    places = sites.mobile @ periodic.cell_A
    result = np.full(redox_A.shape[:2], np.nan)
    for frame, (redox, ions) in enumerate(zip(redox_A, ions_A, strict=True)):
        vacant = np.ones(len(places), dtype=bool)
        if len(ions):
            vacant[periodic.distances_A(ions, places).argmin(axis=1)] = False
        if vacant.any():
            result[frame] = periodic.distances_A(redox, places[vacant]).min(axis=1)
    return result


def bond_lengths(redox_A: np.ndarray, ligands_A: np.ndarray, periodic: PeriodicCell, number: int = 6) -> np.ndarray:
    """Mean distance (T, m) in Å from every redox atom to its `number` nearest ligands; NaN with fewer in the cell."""
    result = np.full(redox_A.shape[:2], np.nan)
    if ligands_A.shape[1] < number:
        return result
    for frame, (redox, ligands) in enumerate(zip(redox_A, ligands_A, strict=True)):
        distance = periodic.distances_A(redox, ligands)
        result[frame] = np.partition(distance, number - 1, axis=1)[:, :number].mean(axis=1)
    return result
