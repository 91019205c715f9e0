"""Orderings of the mobile ions that are equivalent under the symmetry of the source cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations, product

import numpy as np
import spglib
from ase import Atoms

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.structures.overlap import fill_sites
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.source import FRAMEWORK, SYMMETRY_TOLERANCE_A, SourceCell, source_cell

# A cell counts as a repeat of the source cell up to this strain, and a framework as its framework up to this r.m.s.
# displacement: a phosphate at 1500 K stays below both, another structure does not.
STRAIN_TOLERANCE = 0.12
ANGLE_TOLERANCE_DEG = 6.0
FRAMEWORK_TOLERANCE_A = 0.7
# Draws in a row without a new ordering that end a sequence.
PATIENCE = 1000


class SiteSymmetry:
    """Permutations of the mobile-ion sites under the space group of the full, repeated source cell.

    Sites are numbered as in `source.atoms.repeat(supercell)` without the framework.

    Args:
        source: the source cell, every site occupied.
        supercell: repeats along its axes.

    Attributes:
        permutations: (p, s) site that each symmetry operation moves each site to.
    """

    def __init__(self, source: SourceCell, supercell: Sequence[int]) -> None:
        moves = list(_site_moves(source, supercell, supercell))
        self.permutations = np.unique(np.concatenate(moves), axis=0)
        self._inverse = np.argsort(self.permutations, axis=1)

    @property
    def n_sites(self) -> int:
        """Number of sites."""
        return self.permutations.shape[1]

    def key(self, occupied: Sequence[int] | np.ndarray) -> str:
        """Identifier of the equivalence class of an ordering, equal for symmetry copies only."""
        filled = np.zeros(self.n_sites, dtype=bool)
        filled[np.asarray(occupied, dtype=int)] = True
        return min(row.tobytes() for row in np.packbits(filled[self._inverse], axis=1)).hex()


def _site_moves(source: SourceCell, supercell: Sequence[int], target: Sequence[int]) -> Iterator[np.ndarray]:
    """Sites (t, s) of the target supercell that the sites of a supercell go to, for its t lattice translations.

    One array for each symmetry operation that turns the one supercell into the other.
    """
    repeats, target_repeats = np.asarray(supercell), np.asarray(target)
    cells = np.array(list(product(*map(range, repeats))))
    translations = np.array(list(product(*map(range, target_repeats))))
    for rotation, images, shifts in _site_operations(source):
        scaled = rotation * repeats / target_repeats[:, None]
        if np.any(np.abs(scaled - np.round(scaled)) > 1e-9):
            continue
        # Site i of cell m goes to site images[i] of cell R m + shifts[i] + t, for every lattice translation t.
        turned = cells @ rotation.T
        cell = (turned[None, :, None] + shifts[None, None] + translations[:, None, None]) % target_repeats
        cell_index = (cell[..., 0] * target_repeats[1] + cell[..., 1]) * target_repeats[2] + cell[..., 2]
        yield (cell_index * len(images) + images).reshape(len(translations), -1)


def _site_operations(source: SourceCell) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rotation (3, 3), image (s,) and lattice shift (s, 3) of every site under each operation of the source cell."""
    atoms = source.atoms
    fractional = atoms.get_scaled_positions(wrap=False)
    symmetry = spglib.get_symmetry(
        (np.asarray(atoms.cell), fractional, atoms.numbers), symprec=SYMMETRY_TOLERANCE_A
    ) or {"rotations": [np.eye(3, dtype=int)], "translations": [np.zeros(3)]}
    cell = PeriodicCell(atoms.cell.array)
    sites = fractional[atoms.arrays["site"] != FRAMEWORK]
    for rotation, translation in zip(symmetry["rotations"], symmetry["translations"], strict=True):
        moved = sites @ np.asarray(rotation).T + translation
        images = cell.distances_A(moved @ cell.cell_A, sites @ cell.cell_A).argmin(axis=1)
        yield np.asarray(rotation), images, np.round(moved - sites[images]).astype(int)


def distinct_ordering(
    n_ions: int,
    number: int,
    symmetry: SiteSymmetry,
    preferred: np.ndarray | None,
    rng: np.random.Generator,
    excluded: Mapping[int, set[int]] | None = None,
) -> np.ndarray:
    """The `number`-th (from 0) of a random sequence of symmetry-inequivalent orderings: occupied sites, sorted.

    Orderings are drawn one after the other and symmetry copies of earlier ones skipped, so that two numbers of one
    sequence never give copies of each other while there are other orderings. The sequence ends after
    `PATIENCE` draws in a row without a new one; a number beyond its end starts again at the front.

    Args:
        n_ions: sites to fill.
        number: which one.
        preferred: (s,) whether a site is filled before the others; None: all equal.
        rng: at the start of the sequence.
        excluded: site → sites that are empty where it is full.

    Raises:
        StructureError: in no draw all ions fit beside the sites that must be empty.
    """
    orderings: dict[str, np.ndarray] = {}
    draws_since_new = 0
    while len(orderings) <= number and draws_since_new < PATIENCE:
        order = rng.permutation(symmetry.n_sites)
        if preferred is not None:
            order = order[np.argsort(~preferred[order], kind="stable")]
        occupied = fill_sites(order, n_ions, excluded or {})
        if occupied is None:
            draws_since_new += 1
            continue
        key = symmetry.key(occupied)
        draws_since_new = draws_since_new + 1 if key in orderings else 0
        orderings.setdefault(key, occupied)
    if not orderings:
        raise StructureError(f"{n_ions} ions find no place on {symmetry.n_sites} sites, some of which exclude others")
    return list(orderings.values())[number % len(orderings)]


@cache
def _source(settings_json: str) -> SourceCell:
    return source_cell(Structures.model_validate_json(settings_json))


@cache
def _symmetry(settings_json: str, supercell: tuple[int, ...]) -> SiteSymmetry:
    return SiteSymmetry(_source(settings_json), supercell)


def site_symmetry(settings: Structures, supercell: Sequence[int]) -> SiteSymmetry:
    """The site symmetry of a config's source cell, repeated; computed once per process."""
    return _symmetry(settings.model_dump_json(), tuple(map(int, supercell)))


def ordering_class(frame: Atoms, settings: Structures) -> str | None:
    """Class of the ordering of a frame, the same for symmetry copies; None where the frame is no repeat of the source.

    Every mobile ion is at the site that makes the sum of squared distances smallest, one ion to a site. Atoms may be
    in any order and the origin anywhere; the cell must have the axes of the source cell, repeated, in its order.

    Args:
        frame: a frame of MD, at any orientation and strained by up to `STRAIN_TOLERANCE`.
    """
    settings_json = settings.model_dump_json()
    source = _source(settings_json)
    repeats = _repeats(frame, source)
    if repeats is None:
        return None
    # Imported late: it takes half a second, and few stages come here.
    from scipy.optimize import linear_sum_assignment

    full = source.atoms.repeat(repeats)
    mobile = full.arrays["site"] != FRAMEWORK
    ions = frame.numbers == full.numbers[mobile][0]
    if ions.sum() > mobile.sum() or sorted(frame.numbers[~ions]) != sorted(full.numbers[~mobile]):
        return None
    ideal = full.get_scaled_positions(wrap=False)
    origin = _origin(frame, ~ions, ideal[~mobile], full.numbers[~mobile], math.prod(repeats))
    if origin is None:
        return None
    cell_A = np.asarray(frame.cell)
    ions_fractional = frame.get_scaled_positions(wrap=False)[ions] - origin
    distances_A = PeriodicCell(cell_A).distances_A(ions_fractional @ cell_A, ideal[mobile] @ cell_A)
    _, occupied = linear_sum_assignment(distances_A**2)
    smallest, occupied = _smallest_repeat(repeats, occupied, mobile.sum())
    supercell, site = _standard_supercell(settings_json, smallest)
    return f"{'x'.join(map(str, supercell))}:{_symmetry(settings_json, supercell).key(site[occupied])}"


def _smallest_repeat(
    supercell: tuple[int, ...], occupied: np.ndarray, n_sites: int
) -> tuple[tuple[int, ...], np.ndarray]:
    """The supercell cut along each axis to the shortest length after which the ordering repeats; its occupied sites."""
    filled = np.zeros(n_sites, dtype=bool)
    filled[occupied] = True
    filled = filled.reshape(*supercell, -1)
    for axis, length in enumerate(supercell):
        period = next(n for n in range(1, length + 1) if np.array_equal(filled, np.roll(filled, n, axis)))
        filled = filled.take(range(period), axis)
    return filled.shape[:3], np.flatnonzero(filled)


@cache
def _standard_supercell(settings_json: str, supercell: tuple[int, ...]) -> tuple[tuple[int, ...], np.ndarray]:
    """The supercell with the longest of the equivalent axes first, and the site (s,) of it that each site goes to."""
    for target in sorted(set(permutations(supercell)), reverse=True):
        moves = next(_site_moves(_source(settings_json), supercell, target), None)
        if moves is not None:
            return target, moves[0]
    raise AssertionError("the identity turns a supercell into itself")


def _repeats(frame: Atoms, source: SourceCell) -> tuple[int, int, int] | None:
    """Repeats of the source cell that make the cell of a frame."""
    if not frame.pbc.all():
        return None
    cell, single = frame.cell.cellpar(), source.atoms.cell.cellpar()
    ratio = cell[:3] / single[:3]
    repeats = np.maximum(np.round(ratio), 1)
    strained = np.abs(ratio / repeats - 1) > STRAIN_TOLERANCE
    if strained.any() or np.any(np.abs(cell[3:] - single[3:]) > ANGLE_TOLERANCE_DEG):
        return None
    a, b, c = repeats.astype(int).tolist()
    return a, b, c


def _origin(frame: Atoms, fixed: np.ndarray, ideal: np.ndarray, numbers: np.ndarray, cells: int) -> np.ndarray | None:
    """Fractional shift (3,) of the framework against the ideal framework; None if it is another framework.

    Each ideal atom of the rarest element in the first of the repeated cells is tried for its first atom in the frame;
    the other cells give the same up to a lattice translation.
    """
    elements, counts = np.unique(numbers, return_counts=True)
    rarest = elements[counts.argmin()]
    cell = PeriodicCell(frame.cell.array)
    fractional = frame.get_scaled_positions(wrap=False)
    anchor = fractional[fixed & (frame.numbers == rarest)][0]
    best, best_A = None, FRAMEWORK_TOLERANCE_A
    for ideal_atom in ideal[numbers == rarest][: counts.min() // cells]:
        shift = anchor - ideal_atom
        for _ in range(2):
            rms_A, mean = _misfit(fractional, frame.numbers, fixed, ideal, numbers, shift, cell)
            shift = shift + mean
        if rms_A < best_A:
            best, best_A = shift, rms_A
    return best


def _misfit(
    fractional: np.ndarray,
    frame_numbers: np.ndarray,
    fixed: np.ndarray,
    ideal: np.ndarray,
    numbers: np.ndarray,
    shift: np.ndarray,
    cell: PeriodicCell,
) -> tuple[float, np.ndarray]:
    """R.m.s. distance in Å from each framework atom to the nearest ideal atom of its element, and the mean vector."""
    vectors = []
    for element in np.unique(numbers):
        difference = fractional[fixed & (frame_numbers == element)][:, None] - shift - ideal[numbers == element]
        difference_A = cell.minimum_image(difference @ cell.cell_A)
        nearest = np.linalg.norm(difference_A, axis=2).argmin(axis=1)
        vectors.append(difference_A[np.arange(len(difference_A)), nearest])
    stacked_A = np.concatenate(vectors)
    mean_A = stacked_A.mean(axis=0)
    rms_A = float(np.sqrt(((stacked_A - mean_A) ** 2).sum(axis=1).mean()))
    return rms_A, mean_A @ np.linalg.inv(cell.cell_A)
