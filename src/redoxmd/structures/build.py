"""Structures built from the source cell: supercell, ordering, volume and initial moments."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.seeds import derive_rng
from redoxmd.structures.electrostatic import SiteEnergies, formal_charges, ranked_ordering
from redoxmd.structures.overlap import describe_overlap, excluded_sites
from redoxmd.structures.request import StructureRequest
from redoxmd.structures.source import FRAMEWORK, SourceCell, source_cell
from redoxmd.structures.symmetry import distinct_ordering, site_symmetry

INTEGER_TOLERANCE = 1e-6


def build_structure(request: StructureRequest, settings: Structures, root_seed: int) -> Atoms:
    """Structure with a supercell, an ordering, a volume or cell lengths linear in x, and initial moments.

    Ordering `random` occupies a random choice of all sites; `preferred` fills the preferred site first and the others
    at random (paper, section 2.3). Of these, seed k selects the k-th of a random sequence of orderings that are not
    symmetry copies of each other (`distinct_ordering`); the sequence depends on `root_seed`, x, the kind of ordering
    and the supercell. Of `electrostatic`, seed k selects the k-th in the order of the electrostatic energies of formal
    charges, the lowest first (`ranked_ordering`). If there are fewer such orderings, seeds beyond the last start again
    at the first. Of sites that overlap only one is filled.

    Raises:
        StructureError: more ions than sites, or no integer number of ions; the message lists values of x that work.
    """
    source = source_cell(settings)
    n_ions = count_ions(request, source)
    atoms = source.atoms.repeat(request.supercell)
    mobile = np.flatnonzero(atoms.arrays["site"] != FRAMEWORK)
    ranked = request.ordering == "electrostatic" and n_ions > 0
    energies = _site_energies(request, source, settings) if ranked else None
    preferred = atoms.arrays["site"][mobile] == settings.preferred_site if request.ordering == "preferred" else None
    symmetry, excluded = site_symmetry(settings, request.supercell), excluded_sites(atoms)
    rng = derive_rng(root_seed, "structures", replace(request, seed=0).name)
    try:
        if energies is not None:
            occupied = ranked_ordering(energies, n_ions, request.seed, symmetry, rng, excluded)
        else:
            occupied = distinct_ordering(n_ions, request.seed, symmetry, preferred, rng, excluded)
    except StructureError as error:
        raise StructureError(
            f"{request.name}: {error}; {describe_overlap(atoms)} in {settings.source}. Lower x, or leave one of such "
            "sites out of the file"
        ) from error
    del atoms[np.delete(mobile, occupied)]
    _set_cell(atoms, request, source, settings)
    set_initial_moments(atoms, settings)
    atoms.info = {"structure": request.name, "x": request.x}
    return atoms


def count_ions(request: StructureRequest, source: SourceCell) -> int:
    """Number of mobile ions of a requested structure.

    Raises:
        StructureError: see `build_structure`.
    """
    units = source.formula_units * math.prod(request.supercell)
    sites = int((source.atoms.arrays["site"] != "-").sum()) * math.prod(request.supercell)
    n_ions = request.x * units
    if request.x < 0 or n_ions > sites + INTEGER_TOLERANCE:
        raise StructureError(
            f"{request.name}: {n_ions:g} ions asked for, the cell has {sites} sites; x may be 0 to {sites / units:g}"
        )
    if abs(n_ions - round(n_ions)) > INTEGER_TOLERANCE:
        below, above = math.floor(n_ions) / units, math.ceil(n_ions) / units
        raise StructureError(
            f"{request.name}: x = {request.x:g} is {n_ions:g} ions in {units} formula units; x = {below:g} or "
            f"{above:g} would work here{_larger_cell(request, source)}"
        )
    return round(n_ions)


def _larger_cell(request: StructureRequest, source: SourceCell) -> str:
    """Hint for an error message: the smallest n × n × n supercell in which x is an integer number of ions."""
    for n in range(2, 7):
        ions = request.x * source.formula_units * n**3
        if abs(ions - round(ions)) < INTEGER_TOLERANCE:
            return f", and a supercell [{n}, {n}, {n}] holds x = {request.x:g}"
    return ""


def cell_charges(request: StructureRequest, source: SourceCell, settings: Structures) -> dict[str, float]:
    """Formal charge of each element in the cell of a requested structure (`formal_charges`).

    Raises:
        StructureError: the charges are unknown or not neutral; the message names the structure.
    """
    cells, ion = math.prod(request.supercell), settings.mobile_ion
    counts = {element: cells * count for element, count in source.framework_counts().items()}
    counts[ion] = counts.get(ion, 0) + count_ions(request, source)
    try:
        return formal_charges(counts, settings)
    except StructureError as error:
        raise StructureError(f"{request.name}: {error}") from error


def _site_energies(request: StructureRequest, source: SourceCell, settings: Structures) -> SiteEnergies:
    """Electrostatic energies of the sites in the cell of a requested structure."""
    full_cell = source.atoms.repeat(request.supercell)
    _set_cell(full_cell, request, source, settings)
    return SiteEnergies(full_cell, cell_charges(request, source, settings))


def _set_cell(atoms: Atoms, request: StructureRequest, source: SourceCell, settings: Structures) -> None:
    """Scale a repeated source cell, with its atoms, to the volume or the lengths at x."""
    _set_volume(atoms, request.x, source.formula_units * math.prod(request.supercell), settings)
    if settings.lengths_A is not None:
        ratio = cell_lengths_A(request.x, settings) / source.atoms.cell.lengths()
        atoms.set_cell(atoms.cell.array * ratio[:, None], scale_atoms=True)


def _set_volume(atoms: Atoms, x: float, formula_units: int, settings: Structures) -> None:
    if settings.volume_A3_per_fu is None:
        return
    volume = formula_units * float(linear_in_x(settings.volume_A3_per_fu, x))
    if volume <= 0:
        raise StructureError(
            f"structures.volume_A3_per_fu: the line gives {volume:g} Å3 at x = {x:g}; check both points"
        )
    factor = (volume / atoms.get_volume()) ** (1 / 3)
    atoms.set_cell(np.asarray(atoms.cell) * factor, scale_atoms=True)


def linear_in_x(points: Mapping[float, float | tuple[float, ...]], x: float) -> np.ndarray:
    """Value at a content x on the line through two points {x: value}."""
    (x1, first), (x2, second) = sorted(points.items())
    value: np.ndarray = np.asarray(first) + (np.asarray(second) - first) * (x - x1) / (x2 - x1)
    return value


def cell_lengths_A(x: float, settings: Structures) -> np.ndarray:
    """Lengths (3,) of the source cell at a content x, on the line through the two of `lengths_A`.

    Raises:
        StructureError: a length is not positive there.
    """
    assert settings.lengths_A is not None
    lengths = linear_in_x(settings.lengths_A, x)
    if lengths.min() <= 0:
        raise StructureError(
            f"structures.lengths_A: the line gives {lengths.min():g} Å at x = {x:g}; check both points"
        )
    return lengths


def set_initial_moments(atoms: Atoms, settings: Structures) -> None:
    """Set the initial moments of atoms, also zeros: calculations are spin-polarised if moments_muB is not empty."""
    atoms.set_initial_magnetic_moments(initial_moments(atoms, settings) if settings.moments_muB else None)


def initial_moments(atoms: Atoms, settings: Structures) -> np.ndarray:
    """Initial moments (n,) in μB of a start or a later frame of the same material.

    With parallel spins the total is Σ moments_muB over the atoms plus moment_per_ion_muB for each mobile ion beyond
    moments_x. The second term is distributed over the atoms of the redox element, which a removed ion oxidises. The
    number of formula units follows from the number of redox atoms. Atoms of `spin_down` have the opposite sign.

    Raises:
        StructureError: with `spin_down`, framework atoms that are not in the order of the source cell.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    moments = np.array([settings.moments_muB.get(symbol, 0.0) for symbol in symbols])
    redox = symbols == settings.redox_element
    if not settings.moments_muB or not (redox.any() or settings.spin_down):
        return moments
    source = source_cell(settings)
    signs = _spin_signs(symbols, source, settings) if settings.spin_down else 1.0
    if not redox.any():
        return moments * signs
    per_unit = (source.atoms.numbers == atomic_numbers[settings.redox_element]).sum() / source.formula_units
    units = redox.sum() / per_unit
    extra = (symbols == settings.mobile_ion).sum() - settings.moments_x * units
    moments[redox] += settings.moment_per_ion_muB * extra / redox.sum()
    return moments * signs


def _spin_signs(symbols: np.ndarray, source: SourceCell, settings: Structures) -> np.ndarray:
    """Signs (n,) of the moments of a frame, whose framework atoms are those of the source cell, repeated."""
    signs, fixed = np.ones(len(symbols)), symbols != settings.mobile_ion
    framework = source.atoms.arrays["site"] == FRAMEWORK
    cells, rest = divmod(int(fixed.sum()), int(framework.sum()))
    expected = np.tile(np.array(source.atoms.get_chemical_symbols())[framework], cells)
    if rest or not np.array_equal(symbols[fixed], expected):
        raise StructureError(
            "structures.spin_down: the framework atoms of a frame are not in the order of the source cell; sort them "
            f"as in {settings.source}"
        )
    signs[fixed] = np.tile(np.where(source.spin_down[framework], -1.0, 1.0), cells)
    return signs
