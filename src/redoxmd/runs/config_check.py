"""Checks for errors in a config that a run would find late or never; one function for each kind."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from redoxmd.config.sections import Config, label_cells
from redoxmd.density.dataset import stores_of_datasets
from redoxmd.density.store import density_keys, split_key
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import engine_available, inspect_engine, settings_hash
from redoxmd.engines.base import Inspection, supercell_kpoints
from redoxmd.errors import ConfigError, RedoxmdError, StructureError
from redoxmd.files import layout
from redoxmd.neb.ends import path_ends
from redoxmd.structures.build import build_structure, cell_charges, cell_lengths_A, linear_in_x
from redoxmd.structures.describe import first_shell, formula
from redoxmd.structures.overlap import describe_overlap, overlapping_sites
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import SourceCell, full_cell, source_cell
from redoxmd.train.dataset import check_dataset_files, load_datasets
from redoxmd.train.split import find_configurations, held_out_groups, label_generation, require_known

WITH_DENSITY = ("gpaw", "toy", "vasp")
# 100 times the usual size of ensemble MD; typing errors exceed it by far.
LARGEST_CELL_ATOMS = 1_000_000
# In larger cells, plane-wave DFT takes hours per MD step.
LARGEST_REFERENCE_CELL_ATOMS = 2000
# Volume ratios that are noted and refused; bond lengths then change by 6 % and 14 %.
VOLUME_RATIO_NOTE, VOLUME_RATIO_ERROR = 1.2, 1.5
MAX_NAMES = 8


def inspect_names(config: Config, root: Path) -> Inspection:
    """Problems of datasets (missing, other reference settings) and of density.test_configurations."""
    problems = []
    for folder in config.train.datasets:
        if not (root / folder / "dataset.yaml").exists():
            problems.append(f"train.datasets: no {folder}/dataset.yaml")
            continue
        try:
            check_dataset_files([root / folder], settings_hash(config.engine))
        except RedoxmdError as error:
            problems.append(str(error))
    return Inspection(problems or _unknown_test_densities(config, root))


def _unknown_test_densities(config: Config, root: Path) -> list[str]:
    """Configurations in density.test_configurations for which the run will have no density."""
    if not config.density.enabled or not config.density.test_configurations:
        return []

    stores = [*(root / store for store in config.density.stores), *_dataset_stores(config, root)]
    try:
        available = [split_key(key)[0] for store in stores if store.exists() for key in density_keys(store)]
    except (RedoxmdError, OSError) as error:
        return [f"density.stores: {error}"]
    available += layout.aimd_structures(config) if config.aimd.density_every else []
    named = config.density.test_configurations
    missing = [name for name in named if name not in available and label_generation(name) is None]
    if not missing:
        return []
    unique = list(dict.fromkeys(available))
    more = f" and {len(unique) - MAX_NAMES} more" if len(unique) > MAX_NAMES else ""
    return [
        f"density.test_configurations: no densities of {', '.join(missing)}; there will be some of "
        f"{', '.join(unique[:MAX_NAMES])}{more}"
    ]


def inspect_orderings(config: Config, root: Path) -> Inspection:
    """Problems of test and validation configurations, and notes on orderings that repeat up to symmetry."""
    names = layout.aimd_structures(config)
    try:
        frames = [build_structure(parse_name(name), config.structures, config.seed) for name in names]
        for frame in frames:
            frame.info |= {"config_id": frame.info["structure"], "step": 0}
        frames += load_datasets([root / folder for folder in config.train.datasets], settings_hash(config.engine))
        used_frames = [frame for frame in frames if frame.info["config_id"] not in config.train.exclude]
        configurations = find_configurations(used_frames, config.structures)
        held_out_groups(configurations, config.train)
        require_known(config.train.validation_configurations, configurations, "train.validation_configurations")
        if configurations and not set(configurations) - set(config.train.test_configurations):
            raise ConfigError(
                "train.test_configurations: names all configurations, so none remains for training; name fewer"
            )
    except RedoxmdError as error:
        return Inspection([str(error)])
    first: dict[str, str] = {}
    repeats = [
        f"{item.config_id} ({first[item.group]})"
        for item in configurations.values()
        if first.setdefault(item.group, item.config_id) != item.config_id
    ]
    notes = [f"orderings: {len(configurations)} configurations to learn from, {len(first)} inequivalent"]
    notes += [f"orderings that repeat another one up to symmetry: {', '.join(repeats)}"] if repeats else []
    unknown = [item.config_id for item in configurations.values() if not item.comparable]
    notes += [f"no repeat of the source cell, so not compared by symmetry: {', '.join(unknown)}"] if unknown else []
    return Inspection(notes=notes)


def inspect_sizes(config: Config, atoms_of: Mapping[str, int], disk_gb: Mapping[str, float], root: Path) -> Inspection:
    """Problems of very large cells, and a note if the disk space does not suffice."""
    inspection = Inspection()
    structures = {
        "aimd.supercell": layout.aimd_structures(config),
        **{f"explore.phases, {phase}, supercell": names for phase, names in layout.explored_structures(config).items()},
        "neb.supercell": list(layout.neb_structures(config.neb).values()),
        "pretrain.supercell": layout.pretrain_structures(config),
        "production.supercell": layout.production_structures(config.production),
    }
    for key, names in structures.items():
        largest = max((name for name in names if name in atoms_of), key=lambda name: atoms_of[name], default=None)
        if largest is None:
            continue
        words = f"{key}: {list(layout.supercell_of(largest))} of the source cell has {atoms_of[largest]} atoms"
        if atoms_of[largest] > LARGEST_CELL_ATOMS:
            inspection.problems.append(f"{words}, more than {LARGEST_CELL_ATOMS}; give fewer repeats")
        elif not key.startswith(("production", "pretrain")) and atoms_of[largest] > LARGEST_REFERENCE_CELL_ATOMS:
            inspection.notes.append(f"{words}, many for a reference method that labels them")
    needed_gb, free_gb = sum(disk_gb.values()), shutil.disk_usage(root).free / 1e9
    if needed_gb > free_gb:
        inspection.notes.append(f"disk: about {needed_gb:.3g} GB expected, {free_gb:.3g} GB free here; not enough")
    return inspection


def inspect_volumes(config: Config, source: SourceCell) -> Inspection:
    """Volumes per formula unit, or cell lengths, that differ strongly from those of the source cell."""
    structures, own_A3 = config.structures, source.atoms.get_volume() / source.formula_units
    contents = sorted({parse_name(name).x for name in layout.all_structures(config)})
    if structures.volume_A3_per_fu is not None:
        ratios = {x: float(linear_in_x(structures.volume_A3_per_fu, x)) / own_A3 for x in contents}
        key, advice = "volume_A3_per_fu", f"volumes per formula unit, of which the cell has {source.formula_units}"
    elif structures.lengths_A is not None:
        try:
            lengths_A = {x: cell_lengths_A(x, structures) for x in contents}
        except RedoxmdError as error:
            return Inspection([str(error)])
        own_lengths_A = source.atoms.cell.lengths()
        ratios = {x: float(np.prod(lengths / own_lengths_A)) for x, lengths in lengths_A.items()}
        own = " × ".join(f"{length:.4g}" for length in own_lengths_A)
        key, advice = "lengths_A", f"a, b, c of the source cell, which has {own} Å"
    else:
        return Inspection()
    # Largest factor between both volumes, whichever is the larger; a volume below zero exceeds all limits.
    factors = {x: max(ratio, 1 / ratio) if ratio > 0 else math.inf for x, ratio in ratios.items()}
    worst = max(factors, key=lambda x: factors[x])
    words = (
        f"structures.{key}: {ratios[worst] * own_A3:.4g} Å3 at x = {worst:g}, {ratios[worst]:.3g} times the "
        f"{own_A3:.4g} Å3 of the source cell (x = {source.x_max:g})"
    )
    if factors[worst] > VOLUME_RATIO_ERROR:
        return Inspection([f"{words}; give {advice}"])
    return Inspection(notes=[f"{words}; is that meant?"] if factors[worst] > VOLUME_RATIO_NOTE else [])


def inspect_elements(config: Config, source: SourceCell) -> Inspection:
    """Doubtful formula units, a U for an absent element, and defaults of Na_xV2(PO4)3 in use for another material."""
    inspection, structures = Inspection(), config.structures
    counts = source.occupant_counts()
    units = math.gcd(*counts.values())
    if source.formula_units != units:
        unit = formula({element: count // units for element, count in counts.items()})
        inspection.notes.append(
            f"structures.formula_units: {source.formula_units}, though the cell holds {units} × {unit}; x then counts "
            f"{structures.mobile_ion} for each {units / source.formula_units:g} of these"
        )
    symbols = sorted(set(source.atoms.get_chemical_symbols()))
    chosen = getattr(config.engine, config.engine.name)
    key = f"engine.{config.engine.name}.hubbard"
    corrected = getattr(chosen, "hubbard", None)
    if corrected is not None and "hubbard" in chosen.model_fields_set:
        unknown = [element for element in corrected if element not in symbols]
        inspection.problems += [
            f"{key}: {element!r} is not in the cell, which holds {', '.join(symbols)}" for element in unknown
        ]
    if structures.source == "nvp":
        return inspection
    if structures.spin_down and not config.electrons.levels:
        inspection.notes.append(
            "structures.spin_down: without electrons.levels the total moment is that of equal redox atoms; labels in "
            "which single atoms are oxidised have another one and are refused (wrong_moment)"
        )
    if structures.redox_element is None:
        return inspection
    if corrected is not None and "hubbard" not in chosen.model_fields_set:
        inspection.notes.append(f"{key}: left out, so no U on {structures.redox_element}; give {{}} if that is meant")
    if structures.moments_muB and "moment_per_ion_muB" not in structures.model_fields_set:
        inspection.notes.append(
            f"structures.moment_per_ion_muB: left out, so each {structures.mobile_ion} adds "
            f"{structures.moment_per_ion_muB:+g} μB"
        )
    if config.density.enabled and "states" not in config.charges.model_fields_set:
        low, high = config.charges.states
        inspection.notes.append(f"charges.states: left out, so {structures.redox_element} is {low}+ or {high}+")
    if config.density.enabled or config.train.states == "aware":
        inspection.notes += _ligand_notes(config, source)
    return inspection


def _ligand_notes(config: Config, source: SourceCell) -> list[str]:
    """A note if bond lengths would be means over other ligands than the redox element has in the source cell."""
    redox = source.atoms.symbols.search(config.structures.redox_element)
    ligand, shell_A = first_shell(source.atoms, int(redox[0])) if len(redox) else ("", ())
    expected = (config.charges.ligand, config.charges.n_ligands)
    if not ligand or (ligand, len(shell_A)) == expected:
        return []
    return [
        f"charges.n_ligands: bond lengths of {config.structures.redox_element} are means over {expected[1]} "
        f"{expected[0]} (charges.ligand); in the source cell it has {len(shell_A)} {ligand} around it"
    ]


def inspect_electrons(config: Config, source: SourceCell) -> Inspection:
    """Contents that cannot be neutral with the oxidation states of `electrons`."""
    levels = OxidationLevels.of(config.electrons)
    distinguish = config.density.enabled and config.density.states == "aware"
    if config.train.states == "blind":
        without_effect = {
            "select.other_states": config.select.other_states > 0,
            "neb.electrons: frozen": config.neb.electrons == "frozen",
        }
        if given := [name for name, is_set in without_effect.items() if is_set]:
            return Inspection([f"{name} has no effect without train.states: aware; remove it" for name in given])
    if levels is None:
        aware = [*(["train"] if config.train.states == "aware" else []), *(["density"] if distinguish else [])]
        return Inspection(
            [f"{name}.states: aware needs electrons.levels, the oxidation states and their moments" for name in aware]
        )
    if distinguish and config.train.states != "aware":
        return Inspection(
            ["density.states: aware needs train.states: aware, because other trajectories have no states"]
        )
    ion, units = config.structures.mobile_ion, source.formula_units
    framework = [element for element, count in source.framework_counts().items() for _ in range(count)]
    if ion in levels.moments_muB:
        return Inspection([f"electrons.levels: {ion} is the mobile ion, whose oxidation number must be fixed"])
    try:
        total, charge = levels.neutral_total(framework), levels.neutral_total([ion])
    except ConfigError as error:
        return Inspection([str(error)])
    if not levels.redox_atoms(framework).size or not charge:
        return Inspection([f"electrons: no redox element of electrons.levels in the cell, or {ion} has no charge"])
    requests = [parse_name(name) for name in layout.all_structures(config)]
    cells = sorted({(request.x, math.prod(request.supercell)) for request in requests})
    # Sum of the redox atoms' oxidation numbers that makes a cell neutral; numbers of ions that are not whole, and cells
    # that are too large, are refused by other checks.
    needed = {
        (x, copies): copies * total + charge * round(ions)
        for x, copies in cells
        if abs((ions := x * units * copies) - round(ions)) < 1e-6 and copies * len(framework) <= LARGEST_CELL_ATOMS
    }
    possible = {copies: set(levels.reachable(framework * copies)) for _, copies in needed}
    wrong = {x: states for (x, copies), states in needed.items() if states not in possible[copies]}
    if not wrong:
        return Inspection()
    sums = levels.reachable(framework)
    low, high = sorted((states - total) / (charge * units) for states in (sums[0], sums[-1]))
    low, high = max(low, 0.0), min(high, source.x_max)
    neutral = f"neutral are {low:g} ≤ x ≤ {high:g}" if low <= high else f"no x from 0 to {source.x_max:g} is neutral"
    gaps = [f"x = {x:g} needs a sum of {states:+d}, which they lack" for x, states in wrong.items() if low <= x <= high]
    return Inspection(
        [
            f"electrons.levels: x = {', '.join(f'{x:g}' for x in wrong)} cannot be neutral with these states; "
            f"{'; '.join([neutral, *gaps])}: add a state, or leave these x out"
        ]
    )


def inspect_overlaps(config: Config, source: SourceCell, atoms_of: Mapping[str, int]) -> Inspection:
    """Sites too close to be occupied together, and structures whose ions then do not fit."""
    if not overlapping_sites(source.atoms):
        return Inspection()
    overlap = describe_overlap(source.atoms)
    note = f"structures.source: {overlap} in {config.structures.source}; orderings fill at most one of such sites"
    problems = []
    for name in layout.all_structures(config):
        if atoms_of.get(name, 0) <= LARGEST_CELL_ATOMS:
            try:
                build_structure(parse_name(name), config.structures, config.seed)
            except RedoxmdError as error:
                problems.append(str(error))
    return Inspection(problems, [note])


def inspect_charges(config: Config, source: SourceCell) -> Inspection:
    """Problems of the formal charges that the ordering `electrostatic` needs, for every content and cell."""
    charges, elements = config.structures.formal_charges or {}, set(source.atoms.symbols)
    problems = []
    if unknown := sorted(set(charges) - elements):
        problems.append(
            f"structures.formal_charges: {', '.join(unknown)} not in {config.structures.source}, which holds "
            f"{', '.join(sorted(elements))}"
        )
    if charges.get(config.structures.mobile_ion) == 0:
        problems.append(
            f"structures.formal_charges: {config.structures.mobile_ion} has the charge 0, so all orderings are equal"
        )
    requests = {request for request in map(parse_name, layout.all_structures(config)) if request.x > 0}
    ranked = {replace(request, seed=0) for request in requests if request.ordering == "electrostatic"}
    for request in sorted(ranked, key=lambda request: request.name):
        try:
            cell_charges(request, source, config.structures)
        except StructureError as error:
            problems.append(str(error))
    return Inspection(problems)


def inspect_paths(config: Config, atoms_of: Mapping[str, int], root: Path) -> Inspection:
    """Problems of NEB paths whose ends cannot be built; found early because their jobs come last."""
    problems = []
    for path in (path for path in config.neb.paths if path.event is None):
        name = layout.neb_structures(config.neb)[path.name]
        if atoms_of.get(name, 0) > LARGEST_CELL_ATOMS:
            continue
        request = parse_name(name)
        final = None if path.final is None else root / path.final
        try:
            full = full_cell(config.structures, request.supercell)
            atoms = build_structure(request, config.structures, config.seed)
            path_ends(atoms, full, path.model_copy(update={"final": final}))
        except RedoxmdError as error:
            problems.append(str(error))
    return Inspection(problems)


def inspect_engine_settings(config: Config) -> Inspection:
    """Availability of the engine, and its own checks of the elements and the source cell."""
    available, message = engine_available(config.engine)
    words = [f"engine {config.engine.name}: {message}"]
    inspection = Inspection(notes=words) if available else Inspection(words)
    try:
        cell = source_cell(config.structures).atoms
    except RedoxmdError:
        return inspection
    elements = sorted(set(cell.get_chemical_symbols()))
    engine_checks = inspect_engine(config.engine, {"the source cell": cell.cell.lengths().tolist()}, elements)
    return Inspection(inspection.problems + engine_checks.problems, inspection.notes + engine_checks.notes)


def inspect_kpoints(config: Config) -> Inspection:
    """k-point grids of all labelled cells; a problem if they do not sample the same points."""
    kpoints = getattr(getattr(config.engine, config.engine.name), "kpoints", None)
    if kpoints is None:
        return Inspection()
    key = f"engine.{config.engine.name}.kpoints"
    cells = label_cells(config.aimd, config.explore, config.neb, config.train.ensemble)
    grids = {cell: supercell_kpoints(kpoints, cell) for cell in cells}
    words = ", ".join(f"{list(grid)} in {list(cell)}" for cell, grid in grids.items())
    words += _kpoint_spacing(config, kpoints)
    # Grids of the source cell that sample the same points as the grids of the supercells.
    sampled = {tuple(k * r for k, r in zip(grid, cell, strict=True)) for cell, grid in grids.items()}
    if len(sampled) == 1:
        return Inspection(notes=[f"{key}: {list(kpoints)} of the source cell, {words}"])
    fitting = [-(-k // m) * m for k, m in zip(kpoints, (math.lcm(*r) for r in zip(*cells, strict=True)), strict=True)]
    return Inspection(
        [
            f"{key}: {list(kpoints)} of the source cell is {words}, so energies of these supercells differ by their "
            f"k-points; set {fitting}, which all of them divide, or other supercells"
        ]
    )


def _kpoint_spacing(config: Config, kpoints: Sequence[int]) -> str:
    """Distances of the k-points along the reciprocal vectors of the source cell (with 2π), as text; empty without."""
    try:
        reciprocal_per_A = source_cell(config.structures).atoms.cell.reciprocal().lengths()
    except RedoxmdError:
        return ""
    spacings = 2 * math.pi * reciprocal_per_A / np.asarray(kpoints)
    return f"; spacing {' × '.join(f'{spacing:.2f}' for spacing in spacings)} Å⁻¹ (with 2π)"


def inspect_densities(config: Config, root: Path) -> Inspection:
    """Reasons why the density model would have no training data, and density stores that do not exist."""
    if not config.density.enabled:
        return Inspection()
    problems = [f"density.stores: no file {path}" for path in config.density.stores if not (root / path).exists()]
    kept = config.aimd.density_every or config.label.density_every
    from_engine = config.has_loop and config.engine.name in WITH_DENSITY and kept
    if not (from_engine or config.density.stores or _dataset_stores(config, root)):
        problems.append(
            f"density: engine {config.engine.name} gives no density here and none is named; "
            f"{'set aimd.density_every, ' if config.has_loop else ''}name density.stores, or set density.enabled: false"
        )
    return Inspection(problems)


def _dataset_stores(config: Config, root: Path) -> list[Path]:
    """Density stores of the datasets that exist."""
    folders = [root / folder for folder in config.train.datasets if (root / folder / "dataset.yaml").exists()]
    return [Path(store) for store in stores_of_datasets(folders)]
