"""Sites of a reference structure in the cell of a trajectory, whatever its repeats, origin and order of atoms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.geometry import cell_to_cellpar

from redoxmd.config.sections import Structures
from redoxmd.diffusion.framework import element_mask, mean_framework
from redoxmd.diffusion.sites import NONE, SiteMap, SiteTree, repeated_sites, site_of
from redoxmd.errors import StructureError
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.source import FRAMEWORK, source_cell

# Mean positions of framework atoms are this near to those of the reference, after scaling to the cell.
MATCH_A = 1.0
LENGTH_TOLERANCE = 0.08
ANGLE_TOLERANCE_DEG = 4.0


def reference_sites(trajectory: Trajectory, reference: Path, ion: str, outside: Sequence[str] = ()) -> SiteMap:
    """Sites of the ion in a CIF or POSCAR that contains all of them, in the coordinates of the trajectory.

    Kinds are named by symmetry (Na1, Na2, …). The vectors of the trajectory's cell are multiples of those of the
    reference; the origins may differ, and so may the order of atoms.

    Args:
        trajectory: unwrapped.
        reference: the file.
        ion: element of the sites.
        outside: elements besides the ion that do not belong to the framework.

    Raises:
        StructureError: the cell is no repeat of that of the reference, or the frameworks differ.
    """
    settings = Structures(
        source=str(reference),
        mobile_ion=ion,
        redox_element=ion,
        formula_units=1,
        preferred_site=f"{ion}1",
        moments_muB={},
        moments_x=0.0,
    )
    try:
        cell = source_cell(settings)
    except StructureError as error:
        text = str(error).replace("structures.source", "--structure").replace("structures.cell_matrix", "--structure")
        raise StructureError(text) from error
    if mixed := sorted({name for name in cell.occupants if name.startswith("(")}):
        raise StructureError(f"--structure: {reference} is disordered, {mixed[0]} on a site; give an ordered file")
    source = cell.atoms
    cell_A = np.asarray(trajectory.cell_A)
    source = source[~np.isin(source.get_chemical_symbols(), list(outside))]
    repeats = _repeats(source.cell.array, cell_A, trajectory.source, reference)
    supercell = source.repeat(repeats)
    framework = supercell[supercell.arrays["site"] == FRAMEWORK]
    moving = element_mask(trajectory.numbers, [ion, *outside])
    numbers, positions_A = trajectory.numbers[~moving], mean_framework(trajectory, moving)
    if sorted(numbers.tolist()) != sorted(framework.numbers.tolist()):
        formulas = " and ".join(str(Atoms(item).symbols.formula.reduce()[0]) for item in (numbers, framework.numbers))
        raise StructureError(
            f"{reference}: the frameworks of {trajectory.source} and of the file differ ({formulas}, {len(numbers)} "
            f"and {len(framework)} atoms); give the structure of this material, or leave out --structure"
        )
    shift = _shift(positions_A, numbers, framework, cell_A) if len(numbers) else None
    if shift is None:
        raise StructureError(
            f"{reference}: its framework does not match that of {trajectory.source} within {MATCH_A:g} Å at any "
            "origin; write it with the cell vectors of the trajectory, or leave out --structure"
        )
    return repeated_sites(source, repeats, cell_A, shift)


def _repeats(source_A: np.ndarray, cell_A: np.ndarray, name: str, reference: Path) -> tuple[int, int, int]:
    """Multiples of the source vectors that make the cell, with equal angles."""
    source, cell = cell_to_cellpar(source_A), cell_to_cellpar(cell_A)
    ratio = cell[:3] / source[:3]
    repeats = np.maximum(np.round(ratio).astype(int), 1)
    if (np.abs(ratio / repeats - 1) > LENGTH_TOLERANCE).any() or (
        np.abs(cell[3:] - source[3:]) > ANGLE_TOLERANCE_DEG
    ).any():
        texts = [" ".join(f"{value:.4g}" for value in values) for values in (cell, source)]
        raise StructureError(
            f"{reference}: the cell of {name} ({texts[0]}: lengths in Å, angles) is no repeat of its cell ({texts[1]}) "
            "along a, b and c; write it with the cell vectors of the trajectory, or leave out --structure"
        )
    return int(repeats[0]), int(repeats[1]), int(repeats[2])


def _shift(positions_A: np.ndarray, numbers: np.ndarray, framework: Atoms, cell_A: np.ndarray) -> np.ndarray | None:
    """Fractional shift (3,) that moves the framework of the reference onto positions; None if there is none.

    One atom of the rarest element is placed on each of its kind in turn; the shift with the smallest scatter of the
    displacements of all atoms is refined by their mean.
    """
    fractional, best = framework.get_scaled_positions(wrap=False), (np.inf, None)
    elements, counts = np.unique(numbers, return_counts=True)
    rarest = elements[counts.argmin()]
    anchor = positions_A[numbers == rarest][0] @ np.linalg.inv(cell_A)
    for candidate in anchor - fractional[framework.numbers == rarest]:
        displacements = []
        for element in elements:
            tree = SiteTree(fractional[framework.numbers == element] + candidate, cell_A, MATCH_A)
            atoms_A = positions_A[numbers == element]
            keys = tree.keys(atoms_A[None])[0]
            if (keys == NONE).any() or len(np.unique(site_of(keys))) < len(keys):
                break
            displacements.append(atoms_A - tree.site_positions_A(keys))
        else:
            joined = np.concatenate(displacements)
            scatter = float(joined.var(axis=0).sum())
            if scatter < best[0]:
                best = (scatter, candidate + joined.mean(axis=0) @ np.linalg.inv(cell_A))
    return best[1]
