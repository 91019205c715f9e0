"""From a request to a structure."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.seeds import derive_rng
from redoxmd.structures.overlap import describe_overlap, exclusions
from redoxmd.structures.request import StructureRequest
from redoxmd.structures.source import FRAMEWORK, SourceCell, source_cell
from redoxmd.structures.symmetry import distinct_ordering, site_symmetry

WHOLE = 1e-6


def build(request: StructureRequest, settings: Structures, root_seed: int) -> Atoms:
    """The structure of a request: supercell, ordering by seed, volume linear in x, initial moments.

    Ordering `random` leaves the ions on a random choice of all sites; `preferred` fills the preferred site first
    and the others at random (paper, section 2.3). Seed k stands for the k-th of a random sequence of orderings that are
    no symmetry copies of each other (`distinct_ordering`); the sequence follows from `root_seed`, x, the kind of
    ordering and the supercell. Where there are fewer such orderings, seeds beyond the last start again at the first.
    Sites that overlap are not both filled.

    Raises:
        StructureError: more ions than sites, or no whole number of ions; the message lists what would work.
    """
    source = source_cell(settings)
    n_ions = count_ions(request, source)
    atoms = source.atoms.repeat(request.supercell)
    mobile = np.flatnonzero(atoms.arrays["site"] != FRAMEWORK)
    preferred = atoms.arrays["site"][mobile] == settings.preferred_site if request.ordering == "preferred" else None
    symmetry = site_symmetry(settings, request.supercell)
    rng = derive_rng(root_seed, "structures", replace(request, seed=0).name)
    try:
        occupied = distinct_ordering(n_ions, request.seed, symmetry, preferred, rng, exclusions(atoms))
    except StructureError as error:
        raise StructureError(
            f"{request.name}: {error}; {describe_overlap(atoms)} in {settings.source}. Lower x, or leave one of such "
            "sites out of the file"
        ) from error
    del atoms[np.delete(mobile, occupied)]
    _set_volume(atoms, request.x, source.formula_units * math.prod(request.supercell), settings)
    set_initial_moments(atoms, settings)
    atoms.info = {"structure": request.name, "x": request.x}
    return atoms


def count_ions(request: StructureRequest, source: SourceCell) -> int:
    """Mobile ions of a request.

    Raises:
        StructureError: see `build`.
    """
    units = source.formula_units * math.prod(request.supercell)
    sites = int((source.atoms.arrays["site"] != "-").sum()) * math.prod(request.supercell)
    wanted = request.x * units
    if request.x < 0 or wanted > sites + WHOLE:
        raise StructureError(
            f"{request.name}: {wanted:g} ions asked for, the cell has {sites} sites; x may be 0 to {sites / units:g}"
        )
    if abs(wanted - round(wanted)) > WHOLE:
        below, above = math.floor(wanted) / units, math.ceil(wanted) / units
        raise StructureError(
            f"{request.name}: x = {request.x:g} is {wanted:g} ions in {units} formula units; x = {below:g} or "
            f"{above:g} would work here{_larger_cell(request, source)}"
        )
    return round(wanted)


def _larger_cell(request: StructureRequest, source: SourceCell) -> str:
    """The first n × n × n supercell that holds x, as a hint."""
    for n in range(2, 7):
        ions = request.x * source.formula_units * n**3
        if abs(ions - round(ions)) < WHOLE:
            return f", and a supercell [{n}, {n}, {n}] holds x = {request.x:g}"
    return ""


def _set_volume(atoms: Atoms, x: float, formula_units: int, settings: Structures) -> None:
    if settings.volume_A3_per_fu is None:
        return
    (x1, v1), (x2, v2) = sorted(settings.volume_A3_per_fu.items())
    volume = formula_units * (v1 + (v2 - v1) * (x - x1) / (x2 - x1))
    if volume <= 0:
        raise StructureError(
            f"structures.volume_A3_per_fu: the line gives {volume:g} Å3 at x = {x:g}; check both points"
        )
    factor = (volume / atoms.get_volume()) ** (1 / 3)
    atoms.set_cell(np.asarray(atoms.cell) * factor, scale_atoms=True)


def set_initial_moments(atoms: Atoms, settings: Structures) -> None:
    """Give atoms their initial moments, zeros too: calculations are spin-polarised wherever moments_muB names any."""
    atoms.set_initial_magnetic_moments(initial_moments(atoms, settings) if settings.moments_muB else None)


def initial_moments(atoms: Atoms, settings: Structures) -> np.ndarray:
    """Ferromagnetic initial moments (n,) in μB, for a start or for any later frame of the same material.

    The total is Σ moments_muB over the elements plus moment_per_ion_muB for each mobile ion beyond moments_x, with
    the difference shared by the atoms of the redox element: a removed ion oxidises it. Formula units are counted by
    the redox element.
    """
    symbols = np.array(atoms.get_chemical_symbols())
    moments = np.array([settings.moments_muB.get(symbol, 0.0) for symbol in symbols])
    redox = symbols == settings.redox_element
    if not redox.any() or not settings.moments_muB:
        return moments
    source = source_cell(settings)
    per_unit = (source.atoms.numbers == atomic_numbers[settings.redox_element]).sum() / source.formula_units
    units = redox.sum() / per_unit
    extra = (symbols == settings.mobile_ion).sum() - settings.moments_x * units
    moments[redox] += settings.moment_per_ion_muB * extra / redox.sum()
    return moments
