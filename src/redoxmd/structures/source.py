"""The source cell, with all mobile-ion sites occupied and named, from which structures are made."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import covalent_radii

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError, reason_of
from redoxmd.structures.cif_symmetry import check_space_group
from redoxmd.structures.disorder import draw_elements, species_numbers
from redoxmd.structures.nvp import FORMULA_UNITS, nvp_cell

FRAMEWORK = "-"
SYMMETRY_TOLERANCE_A = 0.01
# File formats, by ASE's names, that can contain partly occupied sites.
WITH_OCCUPANCIES = ("proteindatabank", "res", "castep-cell")
# Occupancies of a mixed site, written with two decimals, sum to one within this: thirds are 0.99.
FULL_TOLERANCE = 0.011
# Each structure of a CIF has one loop of atoms; pymatgen reads the first structure.
CIF_ATOMS = re.compile(r"^\s*_atom_site_fract_x\s", re.MULTILINE | re.IGNORECASE)
# Fraction of the sum of covalent radii below which atoms overlap: the default of explore.min_distance_fraction, which
# ends an MD.
CONTACT_FRACTION = 0.6
# Atoms that a message lists.
MAX_LISTED = 12


@dataclass(frozen=True)
class SourceCell:
    """The source cell.

    Attributes:
        atoms: array `site` holds the site name of every mobile ion and "-" for the framework.
        formula_units: number of formula units.
        spin_down: (n,) whether the initial moment of an atom is reversed.
        occupants: (n,) element of each site in the file, or the elements of a mixed one: "(Mn,Ni)".
    """

    atoms: Atoms
    formula_units: int
    spin_down: np.ndarray
    occupants: np.ndarray

    @property
    def site_names(self) -> list[str]:
        """Names of the mobile-ion sites, sorted."""
        return sorted(set(self.atoms.arrays["site"].tolist()) - {FRAMEWORK})

    @property
    def x_max(self) -> float:
        """Content x of the source cell, the largest possible."""
        return float((self.atoms.arrays["site"] != FRAMEWORK).sum()) / self.formula_units

    def framework_counts(self) -> dict[str, int]:
        """Element → number of its framework atoms."""
        return self._counts(np.array(self.atoms.get_chemical_symbols()))

    def occupant_counts(self) -> dict[str, int]:
        """Element, or elements of mixed sites → number of framework sites, of which each formula unit has the same."""
        return self._counts(self.occupants)

    def _counts(self, names: np.ndarray) -> dict[str, int]:
        fixed = names[self.atoms.arrays["site"] == FRAMEWORK].tolist()
        return {name: fixed.count(name) for name in dict.fromkeys(fixed)}


def source_cell(settings: Structures) -> SourceCell:
    """The source cell of a config: built in (`nvp`), or read from a CIF or POSCAR; in multiples by `cell_matrix`.

    Sites are named by `settings.sites` (indices or CIF labels) or else by symmetry: Na1, Na2, … in order of increasing
    multiplicity. A partly occupied site of the mobile ion counts as occupied. A framework site that several elements
    fill completely obtains one of them (`draw_elements`); other disorder is refused.

    Raises:
        StructureError: the file, a site or the preferred site does not exist, the framework is disordered or its atoms
            are too close, or an element, the formula units or moments_x do not match the cell.
    """
    copies = 1 if settings.cell_matrix is None else round(np.linalg.det(settings.cell_matrix))
    if settings.source == "nvp":
        atoms, units = nvp_cell(), FORMULA_UNITS * copies
        labels, mixtures = list(atoms.get_chemical_symbols()), [dict[str, float]()] * len(atoms)
        if settings.mobile_ion != "Na" or settings.formula_units != units:
            raise StructureError(f"structures: source nvp has mobile_ion Na and {units} formula_units; set them so")
    else:
        atoms, labels, mixtures = _read(Path(settings.source), settings.mobile_ion)
        needed = settings.sites is None or any(mixtures)
        orbits = _orbits(atoms, species_numbers(atoms.numbers, mixtures)) if needed else np.arange(len(atoms))
        atoms.set_array("site", np.array(_site_names(atoms, orbits, labels, settings)))
        _check_contacts(atoms, labels, settings)
    spin_down = np.zeros(len(atoms), dtype=bool)
    for member in settings.spin_down:
        spin_down[_members(member, labels, atoms.arrays["site"] == FRAMEWORK, "spin_down", settings)] = True
    if settings.cell_matrix is not None:
        # Imported late: few configs need it.
        from ase.build import make_supercell

        atoms = make_supercell(atoms, np.array(settings.cell_matrix))
    if any(mixtures):
        groups = np.tile(orbits, copies)
        atoms.numbers = draw_elements(
            atoms.numbers, groups, mixtures * copies, settings.framework_seed, settings.source
        )
    occupants = [
        f"({','.join(sorted(mixture))})" if mixture else symbol
        for mixture, symbol in zip(mixtures * copies, atoms.symbols, strict=True)
    ]
    cell = SourceCell(atoms, settings.formula_units, np.tile(spin_down, copies), np.array(occupants))
    faults = [*_element_faults(cell, settings), *_spin_faults(cell, settings), *_unit_faults(cell, settings)]
    if faults:
        raise StructureError("\n  ".join(faults))
    return cell


def _check_contacts(atoms: Atoms, labels: list[str], settings: Structures) -> None:
    """Refuse framework atoms closer than a bond to another atom; two sites of the mobile ion may be (see `build`)."""
    first, second, distances_A = contacts(atoms)
    framework = atoms.arrays["site"] == FRAMEWORK
    for i, j, distance_A in sorted(zip(first, second, distances_A, strict=True), key=lambda pair: pair[2]):
        if framework[i] or framework[j]:
            pair = " and ".join(f"{labels[k]} (atom {k})" for k in (i, j))
            raise StructureError(
                f"structures.source: {pair} of {settings.source} are {distance_A:.2f} Å apart, closer than bonds are; "
                "correct the file (its cell, its coordinates, or a site listed twice)"
            )


def _element_faults(cell: SourceCell, settings: Structures) -> Iterator[str]:
    """Messages for sites and elements that the config names and the cell lacks."""
    if settings.preferred_site not in cell.site_names:
        yield f"structures.preferred_site: no site {settings.preferred_site!r}; the cell has {cell.site_names}"
    symbols = sorted(set(cell.atoms.get_chemical_symbols()))
    for key, elements in (("redox_element", [settings.redox_element]), ("moments_muB", [*settings.moments_muB])):
        for element in filter(None, elements):
            if element not in symbols:
                yield f"structures.{key}: {element!r} is not in {settings.source}, which holds {', '.join(symbols)}"


def _spin_faults(cell: SourceCell, settings: Structures) -> Iterator[str]:
    """Messages for reversed moments of atoms that have none."""
    for name in sorted(set(cell.occupants[cell.spin_down])):
        if not settings.moments_muB.keys() & set(name.strip("()").split(",")):
            yield f"structures.spin_down: names {name} atoms, which have no moment in structures.moments_muB"


def _unit_faults(cell: SourceCell, settings: Structures) -> Iterator[str]:
    """Messages for formula units that do not divide the framework, and for moments_x above the number of sites."""
    counts = cell.occupant_counts()
    if any(count % cell.formula_units for count in counts.values()):
        largest = math.gcd(*counts.values())
        fitting = " or ".join(str(n) for n in range(1, largest + 1) if largest % n == 0)
        content = " ".join(f"{element}{count}" for element, count in counts.items())
        yield (
            f"structures.formula_units: {cell.formula_units} does not divide {content} of {settings.source}; {fitting} "
            "would"
        )
    elif settings.moments_muB and settings.moments_x > cell.x_max + 1e-9:
        yield (
            f"structures.moments_x: {settings.moments_x:g} is more than the sites of {settings.source} hold (x up to "
            f"{cell.x_max:g}); give the x at which moments_muB holds"
        )


def contacts(atoms: Atoms) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs of atoms (i, j) closer than CONTACT_FRACTION of the sum of their covalent radii, and distances (Å)."""
    # Imported late: most stages need no contacts, and it takes half a second.
    from ase.neighborlist import neighbor_list

    radii_A = CONTACT_FRACTION * covalent_radii[atoms.numbers]
    first, second, distances_A = neighbor_list("ijd", atoms, radii_A.tolist(), self_interaction=False)
    once = first <= second
    return first[once], second[once], distances_A[once]


def full_cell(settings: Structures, supercell: Sequence[int]) -> Atoms:
    """The source cell, repeated, with every site of the mobile ion occupied."""
    return source_cell(settings).atoms.repeat(supercell)


def _read(path: Path, ion: str) -> tuple[Atoms, list[str], list[dict[str, float]]]:
    """Atoms, labels and mixtures of a file; the mixture of a site (element → share) is empty for a single element."""
    # Imported late: most stages need only the names of sites from this module, and pymatgen takes half a second.
    from ase.io.formats import filetype
    from monty.io import zopen
    from pymatgen.core import Structure

    if not path.exists():
        raise StructureError(f"structures.source: no file {path}; give nvp, a CIF or a POSCAR")
    if path.is_dir():
        raise StructureError(f"structures.source: {path} is a folder; give nvp, a CIF or a POSCAR")
    try:
        if filetype(str(path)) != "cif":
            atoms, labels = _read_ordered(path)
            return atoms, labels, [{}] * len(atoms)
        with zopen(path, "rt", encoding="utf-8", errors="replace") as stream:
            text = str(stream.read())
        count = len(CIF_ATOMS.findall(text))
        if count > 1:
            raise StructureError(f"structures.source: {path} holds {count} structures; give a file with one of them")
        with warnings.catch_warnings(record=True) as caught:
            # About rounded coordinates and missing keys as well; `redoxmd check` describes the material as read.
            warnings.simplefilter("always", UserWarning)
            structure = Structure.from_str(text, fmt="cif")
        check_space_group(text, str(path), [str(warning.message) for warning in caught])
    except StructureError:
        raise
    except Exception as error:
        # A POSCAR of VASP 4.
        nameless = "chemical symbols" in str(error)
        advice = "write a line with the elements above the counts of atoms" if nameless else "correct the file"
        raise StructureError(f"structures.source: {path} is not readable ({reason_of(error)}); {advice}") from error
    symbols, mixtures = [], []
    for site in structure:
        shares: dict[str, float] = {}
        for element, share in site.species.items():
            shares[element.symbol] = shares.get(element.symbol, 0.0) + share
        mixed, filled = len(shares) > 1, sum(shares.values())
        if (mixed and ion in shares) or (ion not in shares and abs(filled - 1) > (FULL_TOLERANCE if mixed else 1e-6)):
            raise StructureError(
                f"structures.source: {path} is disordered at {site.label} ({site.species_string}); only sites of {ion} "
                "may be partly occupied, and other elements may share a site that they fill. Write an ordered file"
            )
        symbols.append(max(shares, key=lambda element: shares[element]))
        mixtures.append(shares if mixed else {})
    atoms = Atoms(symbols, positions=structure.cart_coords, cell=structure.lattice.matrix, pbc=True)
    return atoms, [site.label for site in structure], mixtures


def _read_ordered(path: Path) -> tuple[Atoms, list[str]]:
    """Atoms and labels of a file in another format than CIF, read by ASE.

    Raises:
        StructureError: it has no cell, too many positions, or a format with occupancies, which ASE drops.
    """
    from ase.io import read
    from ase.io.formats import filetype

    form = filetype(str(path))
    if form == "vasp":
        _check_position_count(path)
    atoms = read(path)
    if form in WITH_OCCUPANCIES or "occupancy" in {*atoms.info, *atoms.arrays}:
        raise StructureError(
            f"structures.source: {path} can hold partly occupied sites, which are read from a CIF only; give a CIF"
        )
    if atoms.cell.rank < 3:
        raise StructureError(f"structures.source: {path} has no cell; give a CIF or a POSCAR")
    return Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True), list(atoms.get_chemical_symbols())


def _check_position_count(path: Path) -> None:
    """Refuse a POSCAR with more positions than its counts of atoms; velocities follow an empty line."""
    from monty.io import zopen

    with zopen(path, "rt", encoding="utf-8", errors="replace") as stream:
        lines = str(stream.read()).splitlines()
    mode = next((n for n in range(6, len(lines)) if lines[n].strip()[:1] in set("dDcCkK")), None)
    if mode is None:
        raise StructureError(
            f"structures.source: {path} has no line Direct or Cartesian before its positions; correct the file"
        )
    selective = lines[mode - 1].strip()[:1].lower() == "s"
    before = mode - 2 if selective else mode - 1
    count = sum(int(word) for word in lines[before].split() if word.isdigit())
    following = lines[mode + 1 + count].split() if len(lines) > mode + 1 + count else []
    more = len(following) >= 3 and all(re.fullmatch(r"[-+.\deE]+", word) for word in following[:3])
    if more:
        raise StructureError(
            f"structures.source: {path} has more positions than its counts of atoms ({lines[before].strip()}) say; "
            "correct the file"
        )


def _site_names(atoms: Atoms, orbits: np.ndarray, labels: list[str], settings: Structures) -> list[str]:
    mobile = np.array(atoms.get_chemical_symbols()) == settings.mobile_ion
    if not mobile.any():
        elements = ", ".join(sorted(set(atoms.get_chemical_symbols())))
        raise StructureError(
            f"structures.mobile_ion: {settings.source} holds no {settings.mobile_ion}; it holds {elements}"
        )
    names = _named(labels, settings, mobile) if settings.sites else _by_symmetry(orbits, mobile, settings.mobile_ion)
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
            for index in _members(member, labels, mobile, f"sites.{name}", settings):
                names[index] = name
    return names


def _members(
    member: int | str, labels: list[str], allowed: np.ndarray, key: str, settings: Structures
) -> Sequence[int]:
    """Atoms of the file that an index or a CIF label names, all of them mobile or all of the framework."""
    indices = [member] if isinstance(member, int) else [i for i, label in enumerate(labels) if label == member]
    if not indices or not all(0 <= index < len(labels) and allowed[index] for index in indices):
        kind = "framework" if key == "spin_down" else settings.mobile_ion
        known = ", ".join(f"{index} ({labels[index]})" for index in np.flatnonzero(allowed)[:MAX_LISTED].tolist())
        raise StructureError(
            f"structures.{key}: {member!r} is not a {kind} atom of {settings.source}, which has the atoms {known}"
            + (" …" if allowed.sum() > MAX_LISTED else "")
        )
    return indices


def _orbits(atoms: Atoms, species: np.ndarray) -> np.ndarray:
    """For each atom (n,) the first atom that is equivalent to it by symmetry."""
    import spglib

    cell = (np.asarray(atoms.cell), atoms.get_scaled_positions(), species)
    dataset = spglib.get_symmetry_dataset(cell, symprec=SYMMETRY_TOLERANCE_A)
    orbits: np.ndarray = dataset.equivalent_atoms if dataset is not None else np.arange(len(atoms))
    return orbits


def _by_symmetry(orbits: np.ndarray, mobile: np.ndarray, ion: str) -> list[str]:
    groups = sorted({int(orbit) for orbit in orbits[mobile]}, key=lambda orbit: ((orbits == orbit).sum(), orbit))
    names = {orbit: f"{ion}{number}" for number, orbit in enumerate(groups, start=1)}
    return [names[int(orbit)] if is_mobile else FRAMEWORK for orbit, is_mobile in zip(orbits, mobile, strict=True)]
