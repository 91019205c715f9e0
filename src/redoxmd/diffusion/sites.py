"""Reference sites of the mobile ion: those of the source cell with their kinds, or a tree to look any points up in."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from scipy.spatial import cKDTree

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.geometry import Sites, framework_drift
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import FRAMEWORK, source_cell

NONE = -1
# A lattice vector and a site in one integer: 16 bits for each component, the rest for the site.
SHIFT_BITS = 16
CHUNK_POINTS = 200_000
# Ligands of a site are the atoms up to this multiple of the shortest distance: 6 O around Na(1) and 8 around Na(2).
LIGAND_SHELL = 1.25
LIGAND_SEARCH_A = 8.0


@dataclass(frozen=True)
class SiteMap:
    """Where the mobile ion may sit in a trajectory's cell.

    Attributes:
        fractional: (s, 3), in the frame of the trajectory with its drift removed.
        kind: (s,) names.
        coordination: (s,) ligands around each; 0 without a framework.
        cell_A: (3, 3).
        origin: "source" (cell) or "visited" (positions).
    """

    fractional: np.ndarray
    kind: np.ndarray
    coordination: np.ndarray
    cell_A: np.ndarray
    origin: str

    def __len__(self) -> int:
        return len(self.fractional)

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds, sorted."""
        return sorted(set(self.kind.tolist()))

    def distances_A(self) -> np.ndarray:
        """(s, s) shortest distances between sites."""
        places = self.fractional @ self.cell_A
        return PeriodicCell(self.cell_A).distances_A(places, places)


class SiteTree:
    """Points of a periodic cell of any shape, with the images that lie within a radius of it, as a KD-tree.

    Args:
        fractional: (s, 3) points.
        cell_A: (3, 3).
        radius_A: farthest a point may be to count as the nearest.
    """

    def __init__(self, fractional: np.ndarray, cell_A: np.ndarray, radius_A: float) -> None:
        self.fractional, self.cell_A, self.radius_A = np.asarray(fractional), np.asarray(cell_A), radius_A
        self._inverse = np.linalg.inv(self.cell_A)
        home = np.floor(self.fractional)
        # Distance between lattice planes, not the edge, says how many images a radius reaches.
        margin = radius_A * np.linalg.norm(self._inverse, axis=0)
        shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in np.ceil(margin).astype(int)))))
        images = (self.fractional - home)[:, None] + shifts
        near = ((images >= -margin) & (images <= 1 + margin)).all(axis=2)
        self._site, which = np.nonzero(near)
        self._shift = shifts[which] - home[self._site].astype(int)
        self._tree = cKDTree(images[near] @ self.cell_A)

    def keys(self, positions_A: np.ndarray) -> np.ndarray:
        """Unwrapped nearest site of every position (T, m, 3) as keys (T, m), −1 beyond the radius; by blocks of frames.

        The same site in another image of the cell has another key, so unwrapped paths keep their length.
        """
        frames, ions = positions_A.shape[:2]
        keys = np.full((frames, ions), NONE, dtype=np.int64)
        block = max(1, CHUNK_POINTS // max(ions, 1))
        for start in range(0, frames, block):
            part = positions_A[start : start + block]
            keys[start : start + block] = self._keys(part.reshape(-1, 3)).reshape(part.shape[:2])
        return keys

    def _keys(self, points_A: np.ndarray) -> np.ndarray:
        fractional = points_A @ self._inverse
        cell = np.floor(fractional)
        distance, image = self._tree.query((fractional - cell) @ self.cell_A, distance_upper_bound=self.radius_A)
        found = np.isfinite(distance)
        keys = np.full(len(points_A), NONE, dtype=np.int64)
        shift = cell[found].astype(np.int64) + self._shift[image[found]]
        keys[found] = _encode(self._site[image[found]], shift)
        return keys

    def places_A(self, keys: np.ndarray) -> np.ndarray:
        """Unwrapped positions (…, 3) of sites by key."""
        places: np.ndarray = (self.fractional[site_of(keys)] + _shift_of(keys)) @ self.cell_A
        return places

    def closest(self) -> tuple[float, int, int]:
        """Distance (Å) and numbers of the two points that are nearest to each other; infinite with one point."""
        places = (self.fractional - np.floor(self.fractional)) @ self.cell_A
        distance, image = self._tree.query(places, k=2)
        one = int(distance[:, 1].argmin())
        if not np.isfinite(distance[one, 1]):
            return float("inf"), one, one
        return float(distance[one, 1]), one, int(self._site[image[one, 1]])

    def numbers_within(self, centres_A: np.ndarray, reach: float) -> np.ndarray:
        """Points (images counted apart) around each centre, up to `reach` times the shortest distance."""
        fractional = centres_A @ self._inverse
        centres = (fractional - np.floor(fractional)) @ self.cell_A
        shortest, _ = self._tree.query(centres)
        counts: np.ndarray = self._tree.query_ball_point(centres, reach * shortest, return_length=True)
        return counts


def _encode(site: np.ndarray, shift: np.ndarray) -> np.ndarray:
    half = 1 << (SHIFT_BITS - 1)
    keys = site.astype(np.int64)
    for axis in range(3):
        keys = (keys << SHIFT_BITS) | (shift[:, axis] + half)
    return keys


def site_of(keys: np.ndarray) -> np.ndarray:
    """Index of the site behind a key, whatever the image of the cell."""
    sites: np.ndarray = keys >> (3 * SHIFT_BITS)
    return sites


def _shift_of(keys: np.ndarray) -> np.ndarray:
    mask, half = (1 << SHIFT_BITS) - 1, 1 << (SHIFT_BITS - 1)
    return np.stack([((keys >> (SHIFT_BITS * place)) & mask) - half for place in (2, 1, 0)], axis=-1)


def coordination(
    sites_A: np.ndarray, framework_A: np.ndarray, framework_symbols: np.ndarray, cell_A: np.ndarray
) -> np.ndarray:
    """Ligands (s,) of each site: atoms of its nearest element within 1.25 of the shortest distance to that element.

    Na(1) of NASICON has 6 O, Na(2) has 8 (paper, section 1).
    """
    inverse = np.linalg.inv(cell_A)
    if not len(framework_A):
        return np.zeros(len(sites_A), dtype=int)
    distances = PeriodicCell(cell_A).distances_A(sites_A, framework_A)
    nearest = framework_symbols[distances.argmin(axis=1)]
    counts = np.zeros(len(sites_A), dtype=int)
    for symbol in set(nearest.tolist()):
        ligands = framework_A[framework_symbols == symbol]
        tree = SiteTree(ligands @ inverse, cell_A, LIGAND_SEARCH_A)
        around = nearest == symbol
        counts[around] = tree.numbers_within(sites_A[around], LIGAND_SHELL)
    return counts


def source_sites(trajectory: Trajectory, structures: Structures, diffusing: Sequence[str] = ()) -> SiteMap:
    """The sites of the source cell, repeated as the trajectory's structure says, where its framework is.

    Args:
        trajectory: in whose cell.
        structures: with the source cell.
        diffusing: elements besides the mobile ion that do not stay at their places.

    Raises:
        StructureError: the trajectory does not say which structure it is of, or its framework is another one.
    """
    name = str(trajectory.metadata.get("structure", ""))
    source, repeats = source_cell(structures).atoms, parse_name(name).supercell
    full = source.repeat(repeats)
    symbols = np.array(chemical_symbols)[trajectory.numbers]
    mobile = symbols == structures.mobile_ion
    fixed = full.arrays["site"] == FRAMEWORK
    if not np.array_equal(symbols[~mobile], np.array(full.get_chemical_symbols())[fixed]):
        raise StructureError(
            f"{name}: its framework is not that of structures.source {structures.source}; name the cell it was made "
            "from, or set diffusion.site_reference: visited"
        )
    sites, cell_A = Sites.of(full, diffusing), np.asarray(trajectory.cell_A)
    drift = framework_drift(trajectory.positions_A[:1, ~mobile], sites, PeriodicCell(cell_A))[0]
    counts = np.tile(_source_coordination(source, cell_A / np.array(repeats)[:, None]), int(np.prod(repeats)))
    places = sites.mobile + drift @ np.linalg.inv(cell_A)
    return SiteMap(places, full.arrays["site"][~fixed], counts, cell_A, "source")


def _source_coordination(source: Atoms, cell_A: np.ndarray) -> np.ndarray:
    """Ligands of the sites of one source cell, of the size it has in the trajectory."""
    sites = Sites.of(source)
    symbols = np.array(source.get_chemical_symbols())[source.arrays["site"] == FRAMEWORK]
    return coordination(sites.mobile @ cell_A, sites.framework @ cell_A, symbols, cell_A)
