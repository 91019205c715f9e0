"""Assignment of the mobile ions of a structure to the sites of the source cell."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms

from redoxmd.structures.geometry import Sites, framework_drift
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.source import FRAMEWORK


def site_labels(kinds: Sequence[str]) -> list[str]:
    """Name of each site: its kind and its number within that kind (Na2:0, Na2:1, …)."""
    return [f"{kind}:{list(kinds[:site]).count(kind)}" for site, kind in enumerate(kinds)]


class Occupation:
    """Mobile-ion sites of the source cell in the cell of a structure made from it by removing ions.

    Args:
        atoms: the structure; array `site` is "-" for the framework, whose atoms are those of `full_cell`, in order.
        full_cell: the source cell, repeated; its cell may be strained relative to that of `atoms`.

    Attributes:
        ions: (k,) indices of the mobile ions in `atoms`.
        names: (s,) kind of each site (Na1, Na2, …), in the order of `full_cell`.
        labels: (s,) name of each site (`site_labels`).
    """

    def __init__(self, atoms: Atoms, full_cell: Atoms) -> None:
        mobile = atoms.arrays["site"] != FRAMEWORK
        self.ions, self._framework = np.flatnonzero(mobile), np.flatnonzero(~mobile)
        self._sites = Sites.of(full_cell)
        self._periodic = PeriodicCell(np.asarray(atoms.cell))
        kinds = full_cell.arrays["site"]
        self.names: list[str] = kinds[kinds != FRAMEWORK].tolist()
        self.labels = site_labels(self.names)

    def site_positions_A(self, positions_A: np.ndarray) -> np.ndarray:
        """Positions (s, 3) of the sites, shifted by the drift of the framework's centre of mass."""
        drift = framework_drift(positions_A[self._framework][None], self._sites, self._periodic)[0]
        positions: np.ndarray = self._sites.mobile @ self._periodic.cell_A + drift
        return positions

    def sites_of(self, positions_A: np.ndarray) -> np.ndarray:
        """The site (k,) nearest to each mobile ion."""
        distances = self._periodic.distances_A(positions_A[self.ions], self.site_positions_A(positions_A))
        nearest: np.ndarray = distances.argmin(axis=1)
        return nearest

    def empty(self, positions_A: np.ndarray) -> np.ndarray:
        """Sites that are not the nearest site of any ion."""
        return np.setdiff1d(np.arange(len(self.names)), self.sites_of(positions_A))

    def move(self, positions_A: np.ndarray, ion: int, site: int) -> None:
        """Move an ion (index in the structure) to a site by the minimum-image displacement, in place."""
        displacement = self._periodic.minimum_image(self.site_positions_A(positions_A)[site] - positions_A[ion])
        positions_A[ion] = positions_A[ion] + displacement

    def ordering(self, positions_A: np.ndarray) -> str:
        """The occupied sites as a hexadecimal number, in which bit i is site i."""
        return f"{sum(1 << int(site) for site in set(self.sites_of(positions_A).tolist())):x}"

    def with_current_sites(self, atoms: Atoms) -> Atoms:
        """A copy whose array `site` names the kind of site nearest to each ion."""
        copy = atoms.copy()
        sites = copy.arrays["site"].astype(object)
        sites[self.ions] = [self.names[site] for site in self.sites_of(copy.positions)]
        copy.arrays["site"] = sites.astype(str)
        return copy
