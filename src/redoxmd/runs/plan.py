"""Plan of a run from its config: jobs per stage, reference calculations, disk space, and problems."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from redoxmd.config.sections import Config
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import engine_disk_gb, settings_hash
from redoxmd.engines.base import Inspection
from redoxmd.errors import RedoxmdError
from redoxmd.figures.catalogue import figures_of
from redoxmd.files import layout
from redoxmd.runs import config_check, model_check
from redoxmd.structures.build import count_ions
from redoxmd.structures.describe import describe_material
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import source_cell
from redoxmd.units import FS_PER_PS

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
    problems: list[str] = []
    atoms_of: dict[str, int] = {}
    inspections = []
    material: list[str] = []
    try:
        source = source_cell(config.structures)
    except RedoxmdError as error:
        problems.append(str(error))
    else:
        framework = int((source.atoms.arrays["site"] == "-").sum())
        for name in layout.all_structures(config):
            request = parse_name(name)
            a, b, c = request.supercell
            atoms_of[name] = framework * a * b * c
            try:
                atoms_of[name] += count_ions(request, source)
            except RedoxmdError as error:
                problems.append(str(error))
        described = [name for name, count in atoms_of.items() if count <= config_check.LARGEST_CELL_ATOMS]
        levels = OxidationLevels.of(config.electrons)
        material = describe_material(config.structures, source, described, config.seed, levels)
        inspections += [
            config_check.inspect_volumes(config, source),
            config_check.inspect_electrons(config, source),
            config_check.inspect_elements(config, source),
            model_check.inspect_given(config, source, root),
            config_check.inspect_overlaps(config, source, atoms_of) if not problems else Inspection(),
            config_check.inspect_charges(config, source),
        ]
    disk_gb = _disk_gb(config, atoms_of)
    inspections += [
        config_check.inspect_names(config, root),
        config_check.inspect_sizes(config, atoms_of, disk_gb, root),
        config_check.inspect_densities(config, root),
        config_check.inspect_paths(config, atoms_of, root),
        model_check.inspect_potentials(config, root),
    ]
    if not problems and not any(inspection.problems for inspection in inspections):
        inspections.append(config_check.inspect_orderings(config, root))
    inspections += [config_check.inspect_engine_settings(config), config_check.inspect_kpoints(config)]
    problems += [problem for inspection in inspections for problem in inspection.problems]
    notes = [note for inspection in inspections for note in inspection.notes]
    notes.append(f"reference settings: {settings_hash(config.engine)} (what a dataset to be joined must carry)")
    notes.append(
        "GPU: nvidia-smi found" if shutil.which("nvidia-smi") else "GPU: none found, the ensemble runs on the CPU"
    )
    aimd_runs = len(layout.aimd_structures(config))
    reference_calls = {"aimd": aimd_runs * config.aimd.steps}
    if config.has_loop:
        reference_calls["label, per generation (at most)"] = config.select.budget * config.label.steps
    if config.neb.paths and config.neb.reference:
        reference_calls["neb"] = len(config.neb.paths) * config.neb.images
    return Plan(_jobs(config), reference_calls, disk_gb, material, list(dict.fromkeys(problems)), notes)


def _jobs(config: Config) -> dict[str, int]:
    trajectories = len(layout.trajectories(config.production))
    batch = config.compute.batch if config.compute.md == "device" else 1
    jobs = {"structures": len(layout.all_structures(config)), "aimd": len(layout.aimd_structures(config))}
    jobs |= _loop_jobs(config) if config.has_loop else {"dataset": 1, "ensemble (given)": 1}
    if config.aimd.warm_up.steps and config.has_loop:
        jobs["warm_up"] = jobs["aimd"]
    if layout.pretrain_structures(config):
        jobs["pretrain: frames"] = len(layout.pretrain_structures(config))
        jobs["pretrain: members"] = len(config.train.members)
    if config.train.folds:
        jobs["train: folds"] = config.train.folds
    if config.basins.enabled:
        jobs["basins"] = len(layout.production_structures(config.production))
    jobs |= {"production": len(layout.trajectory_batches(config.production, batch)), "diffusion": trajectories + 1}
    if paths := config.neb.paths:
        # A band per path, its event and its reference calculation if requested, and the table.
        events = sum(path.event is not None for path in paths)
        jobs["neb"] = len(paths) * (2 if config.neb.reference else 1) + events + 1
    if config.electrons.moments.enabled:
        # The network, its errors and folds; with states in MD a check of each trajectory, and the table of checks.
        checks = trajectories + 1 if config.train.states == "aware" else 0
        jobs["electrons: moments"] = 2 + config.electrons.moments.folds + checks
    if config.density.enabled:
        jobs |= {"density": 3, "charges": trajectories + 3}
    return jobs | {"figures": len(figures_of(config)) + 1}


def _loop_jobs(config: Config) -> dict[str, int]:
    per_generation = {"dataset": 1, "train": len(config.train.members), "ensemble": 1}
    per_generation |= {f"explore ({phase})": len(names) for phase, names in layout.explored_structures(config).items()}
    per_generation |= {f"neb ({name})": len(layout.neb_structures(config.neb)) for name in config.neb.train_phases}
    per_generation |= {"select": 1, "gate": 1, "label (at most)": config.select.budget, "labels": 1}
    return {f"per generation: {job}": count for job, count in per_generation.items()}


def _disk_gb(config: Config, atoms_of: dict[str, int]) -> dict[str, float]:
    source = 40
    aimd, label, production, charges = config.aimd, config.label, config.production, config.charges
    label_names = [name for names in layout.explored_structures(config).values() for name in names]
    label_names += layout.neb_structures(config.neb).values() if config.neb.train_phases else []
    # Labels have the cells of the exploration.
    largest = max((atoms_of.get(name, source) for name in label_names), default=source)
    runs = [(atoms_of.get(name, source), aimd.steps, aimd.density_every) for name in layout.aimd_structures(config)]
    runs += [(largest, label.steps, label.density_every)] * (config.select.budget if config.has_loop else 0)
    frames = sum(atoms * steps for atoms, steps, _ in runs)
    # 12 Å3 an atom.
    points_per_atom = 12.0 / GRID_SPACING_A**3
    density_points = sum(atoms * points_per_atom * -(-steps // every) for atoms, steps, every in runs if every)
    has_density = config.engine.name in config_check.WITH_DENSITY
    lengths_fs = [
        (atoms_of.get(name, source), length_ps * FS_PER_PS)
        for (name, _), length_ps in layout.trajectory_lengths_ps(production).items()
    ]
    saved = sum(atoms * length_fs for atoms, length_fs in lengths_fs) / production.save_every_fs
    disk_gb = {
        "frames (aimd and one generation of labels)": frames * FRAME_BYTES_PER_ATOM / 1e9,
        "densities (aimd and one generation of labels)": density_points * DENSITY_BYTES_PER_POINT / 1e9 * has_density,
        **engine_disk_gb(config.engine, [(atoms, steps) for atoms, steps, _ in runs], source),
        "trajectories": saved * TRAJECTORY_BYTES_PER_ATOM / 1e9,
    }
    if config.density.enabled:
        around_jumps = charges.max_jumps * 2 * charges.jump_window_fs / production.save_every_fs
        per_fs = 1 / charges.every_fs if charges.every_fs else 0.0
        charged = sum(atoms * (length_fs * per_fs + around_jumps) for atoms, length_fs in lengths_fs)
        disk_gb["charges (at most)"] = charged * CHARGES_BYTES_PER_ATOM / 1e9
    return disk_gb


def describe_plan(config: Config, plan: Plan) -> str:
    """Plan as text."""
    sizes = ", ".join(f"{member.features}×{member.layers}" for member in config.train.members) + " (width × layers)"
    generations = f"  up to {config.gate.max_generations} generations; one run may take all or stop after the first"
    return "\n".join(
        [
            f"run {config.run}: {config.structures.source} with engine {config.engine.name}, "
            f"ensemble {sizes if config.has_loop else f'{config.train.ensemble} (given)'}",
            "",
            *(["material", *plan.material, ""] if plan.material else []),
            "jobs",
            *_table({name: f"{count}" for name, count in plan.jobs.items()}),
            *([generations] if config.has_loop else []),
            "",
            "reference calculations",
            *_table({name: f"{count}" for name, count in plan.reference_calls.items()}),
            "",
            "disk",
            *_table({name: f"{size:.3g} GB" for name, size in plan.disk_gb.items()}),
            "",
            *plan.notes,
            "",
            "this run would stop:" if plan.problems else "ready",
            *(f"  {problem}" for problem in plan.problems),
        ]
    )


def _table(rows: dict[str, str]) -> list[str]:
    width = max(map(len, rows))
    return [f"  {name:{width}}  {value:>8}" for name, value in rows.items()]
