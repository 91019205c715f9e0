"""Reference sites of the mobile ion with their kinds, and the search for the nearest site of a position."""

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
# A key encodes a lattice vector and a site in one integer: 16 bits per component, the remaining bits for the site.
SHIFT_BITS = 16
CHUNK_POINTS = 200_000
# Ligands of a site are the atoms up to this multiple of the shortest distance: 6 O around Na(1) and 8 around Na(2).
LIGAND_SHELL = 1.25
LIGAND_SEARCH_A = 8.0


@dataclass(frozen=True)
class SiteMap:
    """Sites of the mobile ion in the cell of a trajectory.

    Attributes:
        fractional: (s, 3), in the coordinates of the trajectory with its drift removed.
        kind: (s,) names of the kinds.
        coordination: (s,) number of ligands; 0 without a framework.
        cell_A: (3, 3).
        origin: "source" for sites of the source cell, "visited" for maxima of the visit density.
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
        """Minimum-image distances (s, s) between sites."""
        sites_A = self.fractional @ self.cell_A
        return PeriodicCell(self.cell_A).distances_A(sites_A, sites_A)


class SiteTree:
    """KD-tree of the points of a periodic cell of any shape, with their images within a radius of the cell.

    Args:
        fractional: (s, 3) points.
        cell_A: (3, 3).
        radius_A: largest distance at which a point counts as the nearest.
    """

    def __init__(self, fractional: np.ndarray, cell_A: np.ndarray, radius_A: float) -> None:
        self.fractional, self.cell_A, self.radius_A = np.asarray(fractional), np.asarray(cell_A), radius_A
        self._inverse = np.linalg.inv(self.cell_A)
        lattice_shift = np.floor(self.fractional)
        # The distance between lattice planes, not the edge length, determines the images within a radius.
        margin = radius_A * np.linalg.norm(self._inverse, axis=0)
        shifts = np.array(list(itertools.product(*(range(-n, n + 1) for n in np.ceil(margin).astype(int)))))
        images = (self.fractional - lattice_shift)[:, None] + shifts
        near = ((images >= -margin) & (images <= 1 + margin)).all(axis=2)
        self._site, image = np.nonzero(near)
        self._shift = shifts[image] - lattice_shift[self._site].astype(int)
        self._tree = cKDTree(images[near] @ self.cell_A)

    def keys(self, positions_A: np.ndarray) -> np.ndarray:
        """Keys (T, m) of the nearest unwrapped site of each position (T, m, 3), −1 beyond the radius.

        Images of one site have different keys, so unwrapped paths keep their length. Frames are processed in blocks.
        """
        frames, ions = positions_A.shape[:2]
        keys = np.full((frames, ions), NONE, dtype=np.int64)
        block = max(1, CHUNK_POINTS // max(ions, 1))
        for start in range(0, frames, block):
            fractional = positions_A[start : start + block].reshape(-1, 3) @ self._inverse
            cell = np.floor(fractional)
            distance, image = self._tree.query((fractional - cell) @ self.cell_A, distance_upper_bound=self.radius_A)
            within = np.isfinite(distance)
            shift = cell[within].astype(np.int64) + self._shift[image[within]]
            keys[start : start + block].reshape(-1)[within] = _encode(self._site[image[within]], shift)
        return keys

    def site_positions_A(self, keys: np.ndarray) -> np.ndarray:
        """Unwrapped positions (…, 3) of the sites of keys."""
        positions: np.ndarray = (self.fractional[site_of(keys)] + _shift_of(keys)) @ self.cell_A
        return positions

    def closest(self) -> tuple[float, int, int]:
        """Distance (Å) and indices of the closest pair of points; infinite distance for a single point."""
        points_A = (self.fractional - np.floor(self.fractional)) @ self.cell_A
        distance, image = self._tree.query(points_A, k=2)
        site = int(distance[:, 1].argmin())
        if not np.isfinite(distance[site, 1]):
            return float("inf"), site, site
        return float(distance[site, 1]), site, int(self._site[image[site, 1]])

    def numbers_within(self, centres_A: np.ndarray, distance_factor: float) -> np.ndarray:
        """Number of points, images included, within `distance_factor` times the shortest distance of each centre."""
        fractional = centres_A @ self._inverse
        centres = (fractional - np.floor(fractional)) @ self.cell_A
        shortest, _ = self._tree.query(centres)
        counts: np.ndarray = self._tree.query_ball_point(centres, distance_factor * shortest, return_length=True)
        return counts


def _encode(site: np.ndarray, shift: np.ndarray) -> np.ndarray:
    half = 1 << (SHIFT_BITS - 1)
    keys = site.astype(np.int64)
    for axis in range(3):
        keys = (keys << SHIFT_BITS) | (shift[:, axis] + half)
    return keys


def site_of(keys: np.ndarray) -> np.ndarray:
    """Site index of a key, regardless of the image of the cell."""
    sites: np.ndarray = keys >> (3 * SHIFT_BITS)
    return sites


def _shift_of(keys: np.ndarray) -> np.ndarray:
    mask, half = (1 << SHIFT_BITS) - 1, 1 << (SHIFT_BITS - 1)
    return np.stack([((keys >> (SHIFT_BITS * position)) & mask) - half for position in (2, 1, 0)], axis=-1)


def coordination(
    sites_A: np.ndarray, framework_A: np.ndarray, framework_symbols: np.ndarray, cell_A: np.ndarray
) -> np.ndarray:
    """Coordination numbers (s,): atoms of the nearest element within 1.25 times the shortest distance to it.

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
        of_element = nearest == symbol
        counts[of_element] = tree.numbers_within(sites_A[of_element], LIGAND_SHELL)
    return counts


def source_sites(trajectory: Trajectory, structures: Structures, diffusing: Sequence[str] = ()) -> SiteMap:
    """Sites of the source cell, repeated as the trajectory's structure and aligned with its framework.

    Args:
        trajectory: trajectory whose cell and framework are used.
        structures: section with the source cell.
        diffusing: elements besides the mobile ion that do not belong to the framework.

    Raises:
        StructureError: the trajectory does not name its structure, its framework differs from the source cell, or no
            element of the framework stays at its places.
    """
    name = str(trajectory.metadata.get("structure", ""))
    source, repeats = source_cell(structures).atoms, parse_name(name).supercell
    supercell = source.repeat(repeats)
    symbols = np.array(chemical_symbols)[trajectory.numbers]
    mobile = symbols == structures.mobile_ion
    framework = supercell.arrays["site"] == FRAMEWORK
    if not np.array_equal(symbols[~mobile], np.array(supercell.get_chemical_symbols())[framework]):
        raise StructureError(
            f"{name}: its framework is not that of structures.source {structures.source}; name the cell it was made "
            "from, or set diffusion.site_reference: visited"
        )
    moving = set(symbols[~mobile].tolist())
    if moving <= set(diffusing):
        raise StructureError(
            f"atoms of every element of the framework ({', '.join(sorted(moving))}) go farther than "
            "diffusion.jump_distance_A: it melts or falls apart in this trajectory; look at the trajectory, lower the "
            "temperature, or label more structures"
        )
    sites, cell_A = Sites.of(supercell, diffusing), np.asarray(trajectory.cell_A)
    drift = framework_drift(trajectory.positions_A[:1, ~mobile], sites, PeriodicCell(cell_A))[0]
    return repeated_sites(source, repeats, cell_A, drift @ np.linalg.inv(cell_A))


def repeated_sites(source: Atoms, repeats: Sequence[int], cell_A: np.ndarray, shift: np.ndarray) -> SiteMap:
    """Sites of a repeated source cell in a cell (3, 3), all shifted by a fraction (3,) of that cell."""
    supercell = source.repeat(repeats)
    # Coordination numbers are those of the source cell, scaled to its size in the trajectory.
    of_source, source_A = Sites.of(source), cell_A / np.array(repeats)[:, None]
    ligands = np.array(source.get_chemical_symbols())[source.arrays["site"] == FRAMEWORK]
    counts = coordination(of_source.mobile @ source_A, of_source.framework @ source_A, ligands, source_A)
    kind = supercell.arrays["site"][supercell.arrays["site"] != FRAMEWORK]
    return SiteMap(Sites.of(supercell).mobile + shift, kind, np.tile(counts, int(np.prod(repeats))), cell_A, "source")
