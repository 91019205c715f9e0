"""The cell everything is made from: all mobile-ion sites occupied and named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import spglib
from ase import Atoms
from ase.io import read
from pymatgen.core import Structure

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.structures.nvp import FORMULA_UNITS, nvp_cell

FRAMEWORK = "-"
SYMMETRY_TOLERANCE_A = 0.01


@dataclass(frozen=True)
class SourceCell:
    """A full cell.

    Attributes:
        atoms: array `site` holds the site name of every mobile ion and "-" for the framework.
        formula_units: formula units in it.
    """

    atoms: Atoms
    formula_units: int

    @property
    def site_names(self) -> list[str]:
        """Names of the mobile-ion sites, sorted."""
        return sorted(set(self.atoms.arrays["site"].tolist()) - {FRAMEWORK})


def source_cell(settings: Structures) -> SourceCell:
    """The source cell of a config: built in (`nvp`), or from a CIF or POSCAR.

    Sites are named by `settings.sites` (indices or CIF labels) or else by symmetry: Na1, Na2, … in order of rising
    multiplicity. A partly occupied site of the mobile ion counts as full; disorder elsewhere is refused.

    Raises:
        StructureError: the file, a site or the preferred site is not there, or the framework is disordered.
    """
    if settings.source == "nvp":
        cell = SourceCell(nvp_cell(), FORMULA_UNITS)
        if settings.mobile_ion != "Na" or settings.formula_units != FORMULA_UNITS:
            raise StructureError("structures: source nvp has mobile_ion Na and 2 formula_units; leave them as they are")
    else:
        atoms, labels = _read(Path(settings.source), settings.mobile_ion)
        atoms.set_array("site", np.array(_site_names(atoms, labels, settings)))
        cell = SourceCell(atoms, settings.formula_units)
    if settings.preferred_site not in cell.site_names:
        raise StructureError(
            f"structures.preferred_site: no site {settings.preferred_site!r}; the cell has {cell.site_names}"
        )
    return cell


def full_cell(settings: Structures, supercell: Sequence[int]) -> Atoms:
    """The source cell, repeated, with every site of the mobile ion occupied."""
    return source_cell(settings).atoms.repeat(supercell)


def _read(path: Path, ion: str) -> tuple[Atoms, list[str]]:
    if not path.exists():
        raise StructureError(f"structures.source: no file {path}; give nvp, a CIF or a POSCAR")
    try:
        if path.suffix.lower() != ".cif":
            atoms = read(path)
            return _plain(atoms), list(atoms.get_chemical_symbols())
        structure = Structure.from_file(path)
    except Exception as error:
        raise StructureError(f"structures.source: {path} is not readable ({error})") from error
    symbols = []
    for site in structure:
        elements = [element.symbol for element in site.species.elements]
        if len(elements) > 1 or (elements[0] != ion and not site.is_ordered):
            raise StructureError(
                f"structures.source: {path} is disordered at {site.label} ({site.species_string}); only sites of "
                f"{ion} may be partly occupied. Write an ordered file"
            )
        symbols.append(elements[0])
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    return atoms, [site.label for site in structure]


def _plain(atoms: Atoms) -> Atoms:
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True)


def _site_names(atoms: Atoms, labels: list[str], settings: Structures) -> list[str]:
    mobile = np.array(atoms.get_chemical_symbols()) == settings.mobile_ion
    if not mobile.any():
        raise StructureError(f"structures.mobile_ion: {settings.source} holds no {settings.mobile_ion}")
    names = _named(labels, settings, mobile) if settings.sites else _by_symmetry(atoms, mobile, settings.mobile_ion)
    nameless = [index for index in np.flatnonzero(mobile).tolist() if names[index] == FRAMEWORK]
    if nameless:
        raise StructureError(
            f"structures.sites: {settings.mobile_ion} atoms {nameless} belong to no site; name them all"
        )
    return names


def _named(labels: list[str], settings: Structures, mobile: np.ndarray) -> list[str]:
    names = [FRAMEWORK] * len(labels)
    for name, members in (settings.sites or {}).items():
        for member in members:
            found = [member] if isinstance(member, int) else [i for i, label in enumerate(labels) if label == member]
            if not found or not all(0 <= index < len(labels) and mobile[index] for index in found):
                raise StructureError(
                    f"structures.sites.{name}: {member!r} is no {settings.mobile_ion} atom of {settings.source}"
                )
            for index in found:
                names[index] = name
    return names


def _by_symmetry(atoms: Atoms, mobile: np.ndarray, ion: str) -> list[str]:
    cell = (np.asarray(atoms.cell), atoms.get_scaled_positions(), atoms.numbers)
    dataset = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_TOLERANCE_A)
    orbits = dataset.equivalent_atoms if dataset is not None else np.arange(len(atoms))
    groups = sorted({int(orbit) for orbit in orbits[mobile]}, key=lambda orbit: ((orbits == orbit).sum(), orbit))
    names = {orbit: f"{ion}{number}" for number, orbit in enumerate(groups, start=1)}
    return [names[int(orbit)] if is_mobile else FRAMEWORK for orbit, is_mobile in zip(orbits, mobile, strict=True)]
