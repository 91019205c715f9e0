"""Sites from the density of visits of the mobile ions, for structures without known sites."""

from __future__ import annotations

import numpy as np
from ase.data import chemical_symbols
from scipy.ndimage import gaussian_filter, maximum_filter

from redoxmd.diffusion.site_jumps import find_stays
from redoxmd.diffusion.sites import CHUNK_POINTS, NONE, SiteMap, SiteTree, coordination, site_of
from redoxmd.errors import StructureError
from redoxmd.structures.periodic_cell import PeriodicCell

SPACING_A = 0.4
SMOOTHING_A = 0.5
# Ions that vibrate by 0.6 Å along each axis are within 1.5 Å of their site 90 % of the time; ions of a liquid are
# within 1.5 Å of the densest positions 50 to 75 % of the time.
MIN_TIME_AT_SITES = 0.8


def visited_sites(
    positions_A: np.ndarray,
    framework_A: np.ndarray,
    framework_numbers: np.ndarray,
    cell_A: np.ndarray,
    radius_A: float,
    window: int,
) -> SiteMap:
    """Sites at maxima of the visit density where an ion has stayed; kinds by coordination number ("6-fold").

    Args:
        positions_A: (T, m, 3) mobile ions, drift removed, unwrapped.
        framework_A: (f, 3) mean positions of the other atoms.
        framework_numbers: (f,) atomic numbers.
        cell_A: (3, 3).
        radius_A: maxima closer than this are one site; an ion within this distance is at the site.
        window: minimum length of a stay in frames.

    Raises:
        StructureError: there are fewer sites than ions, or the ions are at sites too rarely, as in a liquid.
    """
    centres = _maxima(positions_A, cell_A, radius_A)
    tree = SiteTree(centres, cell_A, radius_A)
    keys = tree.keys(positions_A)
    held = np.unique(site_of(find_stays(keys, window).key))
    remedy = "name the sites (structures.sites) or change diffusion.site_radius_A"
    ions, time_at_sites = positions_A.shape[1], float((keys != NONE).mean()) if keys.size else 0.0
    if len(held) < max(ions, 1):
        raise StructureError(f"{len(held)} places where an ion has stayed for {ions} ions; {remedy}")
    if time_at_sites < MIN_TIME_AT_SITES:
        raise StructureError(
            f"the ions are at the places they visit for {time_at_sites:.0%} of the time, as in a liquid; {remedy}"
        )
    fractional = _mean_positions(positions_A, keys, tree, held)
    counts = coordination(fractional @ cell_A, framework_A, np.array(chemical_symbols)[framework_numbers], cell_A)
    return SiteMap(fractional, np.array([f"{count}-fold" for count in counts]), counts, cell_A, "visited")


def visit_density(positions_A: np.ndarray, cell_A: np.ndarray, smoothing_A: float = SMOOTHING_A) -> np.ndarray:
    """Probability density (1/Å³) of an ion on a grid of the cell, averaged over ions and frames; it integrates to one.

    The histogram is smoothed by a Gaussian with periodic boundaries; its first bin begins at the origin.

    Args:
        positions_A: (T, m, 3), wrapped or unwrapped.
        cell_A: (3, 3), any shape.
        smoothing_A: standard deviation of the Gaussian.
    """
    edges = np.linalg.norm(cell_A, axis=1)
    shape = np.maximum(np.round(edges / SPACING_A).astype(int), 1)
    inverse, visits = np.linalg.inv(cell_A), np.zeros(int(shape.prod()))
    block = max(1, CHUNK_POINTS // max(positions_A.shape[1], 1))
    for start in range(0, len(positions_A), block):
        voxel = np.floor(positions_A[start : start + block].reshape(-1, 3) @ inverse * shape).astype(int) % shape
        visits += np.bincount(np.ravel_multi_index(tuple(voxel.T), tuple(shape)), minlength=visits.size)
    counts: np.ndarray = gaussian_filter(visits.reshape(shape), smoothing_A * shape / edges, mode="wrap")
    return counts / max(counts.sum() * abs(np.linalg.det(cell_A)) / counts.size, 1e-300)


def _maxima(positions_A: np.ndarray, cell_A: np.ndarray, radius_A: float) -> np.ndarray:
    """Fractional maxima of the visit density, highest first; none lies within the radius of a higher maximum."""
    density = visit_density(positions_A, cell_A)
    shape = np.array(density.shape)
    peak = (density == maximum_filter(density, size=3, mode="wrap")) & (density > 0)
    voxels = np.argwhere(peak)
    voxels = voxels[np.argsort(-density[peak], kind="stable")]
    fractional = (voxels + 0.5) / shape
    near = PeriodicCell(cell_A).distances_A(fractional @ cell_A, fractional @ cell_A) < radius_A
    separate: list[int] = []
    for maximum in range(len(fractional)):
        if not near[maximum, separate].any():
            separate.append(maximum)
    return fractional[separate]


def _mean_positions(positions_A: np.ndarray, keys: np.ndarray, tree: SiteTree, held: np.ndarray) -> np.ndarray:
    """Mean fractional position of the visits to each occupied site."""
    count, total = np.zeros(len(tree.fractional)), np.zeros((len(tree.fractional), 3))
    block = max(1, CHUNK_POINTS // max(positions_A.shape[1], 1))
    for start in range(0, len(keys), block):
        block_keys = keys[start : start + block]
        at_site = block_keys != NONE
        offset = positions_A[start : start + block][at_site] - tree.site_positions_A(block_keys[at_site])
        number = site_of(block_keys[at_site])
        count += np.bincount(number, minlength=len(count))
        total += np.stack([np.bincount(number, offset[:, axis], minlength=len(count)) for axis in range(3)], axis=1)
    refined: np.ndarray = tree.fractional[held] + total[held] / count[held, None] @ np.linalg.inv(tree.cell_A)
    return refined
