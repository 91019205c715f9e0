"""Text description of a material: source cell, sites, and moments and volumes from the config."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.neighborlist import neighbor_list

from redoxmd.config.sections import Structures
from redoxmd.electrons.states import OxidationLevels, states_text
from redoxmd.errors import RedoxmdError, StructureError
from redoxmd.structures.build import build_structure, cell_charges
from redoxmd.structures.request import StructureRequest, cell_name, parse_name
from redoxmd.structures.source import FRAMEWORK, SourceCell

# Largest distance of a pair of elements that is described.
CUTOFF_A = 4.0
PAIRS_NAMED = 6
# First shell of a site: up to this multiple of its shortest distance.
SHELL = 1.25


def describe_material(
    settings: Structures, source: SourceCell, names: Sequence[str], seed: int, levels: OxidationLevels | None = None
) -> list[str]:
    """Lines on the source cell, its sites and shortest distances, then formula, moment, states and volume at each x.

    Args:
        source: its source cell.
        names: structures of the run; of each x the smallest is described.
        levels: oxidation states; None: they are not described.
    """
    atoms, units, ion = source.atoms, source.formula_units, settings.mobile_ion
    kinds, counts = np.unique(atoms.arrays["site"][atoms.arrays["site"] != FRAMEWORK], return_counts=True)
    sites = ", ".join(
        f"{count} {kind} ({_surroundings(atoms, kind)})" for kind, count in zip(kinds, counts, strict=True)
    )
    framework = formula({element: count // units for element, count in source.occupant_counts().items()})
    volume_A3 = atoms.get_volume() / units
    lines = [
        f"  full cell: {_content(atoms, ion)}, {units} × {ion}x{framework} (x up to {source.x_max:g}), "
        f"{volume_A3:.4g} Å3 each",
        f"  sites of {ion}: {sites} in the cell; {settings.preferred_site} is preferred",
        f"  shortest distances: {_shortest(atoms)}",
    ]
    by_size = sorted(map(parse_name, names), key=lambda request: -math.prod(request.supercell))
    smallest = {request.x: request for request in by_size}
    ranked = {request.x for request in by_size if request.ordering == "electrostatic" and request.x > 0}
    for x in sorted(smallest):
        line = _content_line(smallest[x], settings, seed, units, levels)
        lines.append(line + (f", {_charges(smallest[x], source, settings)}" if x in ranked else ""))
    return lines


def _content_line(
    request: StructureRequest, settings: Structures, seed: int, units: int, levels: OxidationLevels | None
) -> str:
    try:
        atoms = build_structure(request, settings, seed)
    except StructureError:
        # The plan lists it among the problems.
        return f"  x = {request.x:g}: cannot be built"
    volume_A3 = atoms.get_volume() / units / math.prod(request.supercell)
    content, cell = _content(atoms, settings.mobile_ion), cell_name(request.supercell)
    moment = f"total moment {atoms.get_initial_magnetic_moments().sum():.4g} μB"
    if not settings.moments_muB:
        moment = "no spin"
    states = "" if levels is None else f", {_states(atoms, levels)}"
    if settings.lengths_A is not None:
        states += f", cell of {' × '.join(f'{length:.4g}' for length in atoms.cell.lengths())} Å"
    return f"  x = {request.x:g}: {content} in {cell}, {moment}{states}, {volume_A3:.4g} Å3 per formula unit"


def _charges(request: StructureRequest, source: SourceCell, settings: Structures) -> str:
    """Formal charges by which the orderings of this content are ranked."""
    try:
        charges = cell_charges(request, source, settings)
    except StructureError:
        # The plan lists it among the problems.
        return "no formal charges"
    return f"formal charges {', '.join(f'{element} {charge:+.4g}' for element, charge in charges.items())}"


def _states(atoms: Atoms, levels: OxidationLevels) -> str:
    """Numbers of redox atoms in each oxidation state of a neutral cell; of several elements one possibility."""
    symbols = list(atoms.symbols)
    try:
        oxidation, redox = levels.first_neutral(symbols), levels.redox_atoms(symbols)
    except RedoxmdError:
        # The plan lists it among the problems.
        return "no neutral states"
    elements = [symbols[atom] for atom in redox]
    return f"{'such as ' if len(set(elements)) > 1 else ''}{states_text(elements, oxidation[redox])}"


def _surroundings(atoms: Atoms, kind: str) -> str:
    """Text of the first shell of a site of a kind."""
    ligand, shell_A = first_shell(atoms, int(np.flatnonzero(atoms.arrays["site"] == kind)[0]))
    if not ligand:
        return f"no framework atom within {CUTOFF_A:g} Å"
    return f"{len(shell_A)} {ligand} at {shell_A.min():.2f} to {shell_A.max():.2f} Å"


def first_shell(atoms: Atoms, atom: int) -> tuple[str, np.ndarray]:
    """Nearest framework element of an atom, and its distances within SHELL times the shortest; "" if none is near."""
    first, second, distances_A = neighbor_list("ijd", atoms, CUTOFF_A)
    around = (first == atom) & (atoms.arrays["site"][second] == FRAMEWORK)
    if not around.any():
        return "", np.empty(0)
    nearest_A = distances_A[around].min()
    ligand = atoms.numbers[second[around][distances_A[around].argmin()]]
    shell_A = distances_A[around & (atoms.numbers[second] == ligand) & (distances_A <= SHELL * nearest_A)]
    return chemical_symbols[ligand], shell_A


def formula(counts: Mapping[str, int] | Mapping[str, Fraction]) -> str:
    """Chemical formula with elements in the given order: Li2Fe4P4O16, Ni1/3Mn2/3O2."""
    return "".join(f"{element}{count if count != 1 else ''}" for element, count in counts.items() if count)


def _content(atoms: Atoms, ion: str) -> str:
    """Formula of a cell, the ion first."""
    symbols = atoms.get_chemical_symbols()
    return formula({element: symbols.count(element) for element in dict.fromkeys([ion, *symbols])})


def _shortest(atoms: Atoms) -> str:
    """Shortest distance of each pair of elements, the closest first."""
    first, second, distances_A = neighbor_list("ijd", atoms, CUTOFF_A)
    symbols = atoms.get_chemical_symbols()
    shortest: dict[str, float] = {}
    for i, j, distance_A in zip(first, second, distances_A, strict=True):
        pair = "–".join(sorted((symbols[i], symbols[j])))
        shortest[pair] = min(distance_A, shortest.get(pair, CUTOFF_A))
    closest = sorted(shortest.items(), key=lambda item: item[1])[:PAIRS_NAMED]
    return ", ".join(f"{pair} {distance_A:.2f} Å" for pair, distance_A in closest) or f"none below {CUTOFF_A:g} Å"
