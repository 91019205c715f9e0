"""Plan of a run from its config: jobs per stage, reference calculations, disk space, and problems."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from redoxmd.config.sections import Config
from redoxmd.errors import RedoxmdError
from redoxmd.figures.catalogue import figures_of
from redoxmd.files import layout
from redoxmd.structures.request import parse_name
from redoxmd.units import FS_PER_PS

# Further imports are local, to keep the import of this module fast.
if TYPE_CHECKING:
    from redoxmd.structures.source import SourceCell

FRAME_BYTES_PER_ATOM = 180
TRAJECTORY_BYTES_PER_ATOM = 12
# Charge, moment and position of an atom.
CHARGES_BYTES_PER_ATOM = 5 * 8
GRID_SPACING_A = 0.11
# Total and spin in single precision; an 80³ grid of GPAW compresses to 1.83 MB.
DENSITY_BYTES_PER_POINT = 2 * 4 * 0.45


@dataclass(frozen=True)
class Plan:
    """Plan of a run.

    Attributes:
        jobs: stage → number of jobs; those of the loop are per generation.
        reference_calls: stage → reference calculations (MD steps of the engine).
        disk_gb: kind → expected size.
        material: description of the material as read from the config, in lines.
        problems: problems that would stop the run.
        notes: observations that do not stop the run.
    """

    jobs: dict[str, int]
    reference_calls: dict[str, int]
    disk_gb: dict[str, float]
    material: list[str]
    problems: list[str]
    notes: list[str]


def make_plan(config: Config, root: Path = Path()) -> Plan:
    """Plan of a run: numbers of jobs and reference calculations, disk space, and problems that would stop it.

    Checks that every structure can be built, that the files named in the config exist and that the engine is available.
    No calculation is started.
    """
    from redoxmd.engines import settings_hash
    from redoxmd.engines.base import Inspection
    from redoxmd.runs import config_check
    from redoxmd.structures.source import source_cell

    problems: list[str] = []
    notes: list[str] = []
    atoms_of: dict[str, int] = {}
    inspections = []
    material: list[str] = []
    try:
        source = source_cell(config.structures)
    except RedoxmdError as error:
        problems.append(str(error))
    else:
        for name in layout.all_structures(config):
            atoms_of[name] = _count_atoms(name, source, problems)
        material = _material(config, source, atoms_of)
        inspections += [
            config_check.inspect_volumes(config, source),
            config_check.inspect_elements(config, source),
            config_check.inspect_overlaps(config, source, atoms_of) if not problems else Inspection(),
        ]
    disk_gb = _disk_gb(config, atoms_of)
    inspections += [
        config_check.inspect_names(config, root),
        config_check.inspect_sizes(config, atoms_of, disk_gb, root),
        config_check.inspect_densities(config, root),
        Inspection(_neb_problems(config, atoms_of, root)),
    ]
    if not problems and not any(inspection.problems for inspection in inspections):
        inspections.append(config_check.inspect_orderings(config, root))
    inspections += [config_check.inspect_engine_settings(config), config_check.inspect_kpoints(config)]
    for inspection in inspections:
        problems += inspection.problems
        notes += inspection.notes
    notes.append(f"reference settings: {settings_hash(config.engine)} (what a dataset to be joined must carry)")
    notes.append(
        "GPU: nvidia-smi found" if shutil.which("nvidia-smi") else "GPU: none found, the ensemble runs on the CPU"
    )
    problems = list(dict.fromkeys(problems))
    return Plan(_jobs(config), _reference_calls(config), disk_gb, material, problems, notes)


def _material(config: Config, source: SourceCell, atoms_of: Mapping[str, int]) -> list[str]:
    """Description of the material as read from the config."""
    from redoxmd.runs.config_check import LARGEST_CELL_ATOMS
    from redoxmd.structures.describe import describe_material

    names = [name for name, count in atoms_of.items() if count <= LARGEST_CELL_ATOMS]
    return describe_material(config.structures, source, names, config.seed)


def _neb_problems(config: Config, atoms_of: Mapping[str, int], root: Path) -> list[str]:
    """Problems of NEB paths whose ends cannot be built; checked early because their jobs come last."""
    if not config.neb.paths:
        return []
    from redoxmd.neb.ends import path_ends
    from redoxmd.runs.config_check import LARGEST_CELL_ATOMS
    from redoxmd.structures.build import build_structure
    from redoxmd.structures.source import full_cell

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
    return list(dict.fromkeys(problems))


def _count_atoms(name: str, source: SourceCell, problems: list[str]) -> int:
    from redoxmd.structures.build import count_ions

    request = parse_name(name)
    framework = int((source.atoms.arrays["site"] == "-").sum())
    a, b, c = request.supercell
    try:
        return framework * a * b * c + count_ions(request, source)
    except RedoxmdError as error:
        problems.append(str(error))
        return framework * a * b * c


def _jobs(config: Config) -> dict[str, int]:
    trajectories = len(layout.trajectories(config.production))
    jobs = {
        "structures": len(layout.all_structures(config)),
        "aimd": len(layout.aimd_structures(config.aimd)),
        "per generation: dataset": 1,
        "per generation: train": len(config.train.members),
        "per generation: ensemble": 1,
    }
    for phase in config.explore.phases:
        jobs[f"per generation: explore ({phase.name})"] = len(layout.phase_structures(phase, 0))
    for name in config.neb.train_phases:
        jobs[f"per generation: neb ({name})"] = len(layout.neb_structures(config.neb))
    return jobs | {
        "per generation: select": 1,
        "per generation: gate": 1,
        "per generation: label (at most)": config.select.budget,
        "per generation: labels": 1,
        **({"train: folds": config.train.folds} if config.train.folds else {}),
        **({"basins": len(layout.production_structures(config.production))} if config.basins.enabled else {}),
        "production": _production_jobs(config),
        "diffusion": trajectories + 1,
        **_neb_jobs(config),
        **({"density": 3, "charges": trajectories + 3} if config.density.enabled else {}),
        "figures": len(figures_of(config)) + 1,
    }


def _production_jobs(config: Config) -> int:
    batch = config.compute.batch if config.compute.md == "device" else 1
    return len(layout.trajectory_batches(config.production, batch))


def _neb_jobs(config: Config) -> dict[str, int]:
    """Number of NEB jobs: a band per path, its event and reference calculation if requested, and the table."""
    paths = len(config.neb.paths)
    events = sum(path.event is not None for path in config.neb.paths)
    return {"neb": paths * (2 if config.neb.reference else 1) + events + 1} if paths else {}


def _reference_calls(config: Config) -> dict[str, int]:
    runs = len(layout.aimd_structures(config.aimd))
    return {
        "aimd": runs * config.aimd.steps,
        "label, per generation (at most)": config.select.budget * config.label.steps,
        **({"neb": len(config.neb.paths) * config.neb.images} if config.neb.paths and config.neb.reference else {}),
    }


def _disk_gb(config: Config, atoms_of: dict[str, int]) -> dict[str, float]:
    from redoxmd.engines import engine_disk_gb
    from redoxmd.runs.config_check import WITH_DENSITY

    source = 40
    label_names = [name for phase in config.explore.phases for name in layout.phase_structures(phase, 0)]
    label_names += layout.neb_structures(config.neb).values() if config.neb.train_phases else []
    # Labels have the cells of the exploration.
    largest = max((atoms_of.get(name, source) for name in label_names), default=source)
    aimd_names = layout.aimd_structures(config.aimd)
    aimd_atoms = [atoms_of.get(name, source) for name in aimd_names]
    label_frames = config.select.budget * config.label.steps
    frames = sum(aimd_atoms) * config.aimd.steps + largest * label_frames
    densities = sum(
        _density_bytes(n) * _stored_densities(config.aimd.steps, config.aimd.density_every) for n in aimd_atoms
    )
    densities += (
        config.select.budget
        * _density_bytes(largest)
        * _stored_densities(config.label.steps, config.label.density_every)
    )
    runs = [(n, config.aimd.steps) for n in aimd_atoms] + [(largest, config.label.steps)] * config.select.budget
    lengths_fs = [
        (atoms_of.get(name, source), length_ps * FS_PER_PS)
        for (name, _), length_ps in layout.trajectory_lengths_ps(config.production).items()
    ]
    saved = sum(atoms * length_fs for atoms, length_fs in lengths_fs) / config.production.save_every_fs
    has_density = config.engine.name in WITH_DENSITY
    around_jumps = config.charges.max_jumps * 2 * config.charges.jump_window_fs / config.production.save_every_fs
    per_fs = 1 / config.charges.every_fs if config.charges.every_fs else 0.0
    charged = sum(atoms * (length_fs * per_fs + around_jumps) for atoms, length_fs in lengths_fs)
    return {
        "frames (aimd and one generation of labels)": frames * FRAME_BYTES_PER_ATOM / 1e9,
        "densities (aimd and one generation of labels)": densities / 1e9 if has_density else 0.0,
        **engine_disk_gb(config.engine, runs, source),
        "trajectories": saved * TRAJECTORY_BYTES_PER_ATOM / 1e9,
        **({"charges (at most)": charged * CHARGES_BYTES_PER_ATOM / 1e9} if config.density.enabled else {}),
    }


def _stored_densities(steps: int, every: int) -> int:
    return -(-steps // every) if every else 0


def _density_bytes(atoms: int) -> float:
    volume_A3 = 12.0 * atoms
    return volume_A3 / GRID_SPACING_A**3 * DENSITY_BYTES_PER_POINT


def describe_plan(config: Config, plan: Plan) -> str:
    """Plan as text."""
    sizes = ", ".join(f"{member.features}×{member.layers}" for member in config.train.members)
    lines = [
        f"run {config.run}: {config.structures.source} with engine {config.engine.name}, "
        f"ensemble {sizes} (width × layers)",
        "",
        *(["material", *plan.material, ""] if plan.material else []),
        "jobs",
        *_table({name: f"{count}" for name, count in plan.jobs.items()}),
        f"  up to {config.gate.max_generations} generations; one run may take all or stop after the first",
        "",
        "reference calculations",
        *_table({name: f"{count}" for name, count in plan.reference_calls.items()}),
        "",
        "disk",
        *_table({name: f"{size:.3g} GB" for name, size in plan.disk_gb.items()}),
        "",
        *plan.notes,
    ]
    lines += (
        ["", "this run would stop:", *(f"  {problem}" for problem in plan.problems)] if plan.problems else ["", "ready"]
    )
    return "\n".join(lines)


def _table(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {value:>8}" for name, value in rows.items()]
