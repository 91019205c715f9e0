"""Names of structures, trajectories and files of a run, shared by rules, status and plan."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Config, Neb, NebEvent, NebPath, Phase, Production, Repeats, Start
from redoxmd.errors import ConfigError
from redoxmd.structures.request import parse_name, structure_name


def supercell_of(name: str) -> tuple[int, int, int]:
    """Repeats of the source cell in a structure's name."""
    return parse_name(name).supercell


def structure_names(starts: Sequence[Start], supercell: Repeats) -> list[str]:
    """Names of the structures of `starts`, in order, without repetition."""
    names = [structure_name(start.x, start.ordering, seed, supercell) for start in starts for seed in start.seeds]
    return list(dict.fromkeys(names))


def aimd_structures(config: Config) -> list[str]:
    """Structures that reference MD starts from; none for a run with an ensemble of its own."""
    return structure_names(config.aimd.starts, config.aimd.supercell) if config.has_loop else []


def explored_structures(config: Config) -> dict[str, list[str]]:
    """Structures that generation 0 would explore, by phase; none for a run with an ensemble of its own."""
    return {phase.name: phase_structures(phase, 0) for phase in config.explore.phases if config.has_loop}


def pretrain_structures(config: Config) -> list[str]:
    """Structures that the teacher labels; none without pretraining or with members of an earlier run."""
    teacher = config.pretrain
    labels = teacher.enabled and teacher.members is None
    return structure_names(teacher.starts, teacher.supercell) if labels else []


def pretrain_folder(config: Config, results: Path) -> Path:
    """Folder of the members trained on labels of the teacher, and of these labels; `results` is that of the run."""
    return config.pretrain.members or results / "pretrain"


def replayed_files(config: Config, root: Path = Path()) -> list[Path]:
    """Frames of the teacher that are in the batches of the training; none without `train.replay`.

    Raises:
        ConfigError: the folder of the members of an earlier run, relative to `root`, has no frames.
    """
    folder = pretrain_folder(config, Path("results") / config.run)
    if not config.train.replay:
        return []
    if config.pretrain.members is None:
        return [folder / f"{name}.extxyz" for name in pretrain_structures(config)]
    if files := sorted((root / folder).glob("*.extxyz")):
        return files
    raise ConfigError(f"train.replay: {folder} has no frames of the teacher (*.extxyz); set train.replay: 0")


def trajectory_lengths_ps(production: Production) -> dict[tuple[str, str], float]:
    """Length of each production trajectory by (structure, temperature)."""
    return {
        (structure_name(x, production.ordering, replica, grid.supercell), f"{kelvin:g}"): (
            grid.length_ps or production.length_ps
        )
        for grid in production.grids
        for x in grid.x
        for kelvin in grid.temperatures_K
        for replica in range(grid.replicas)
    }


def trajectory_settings(production: Production, length_ps: float) -> dict[str, Any]:
    """Settings of a production trajectory of that length, as plain values; all trajectories share the others."""
    return settings_for("production", production) | {"length_ps": length_ps}


def trajectories(production: Production) -> list[tuple[str, str]]:
    """(structure, temperature) of every production trajectory."""
    return list(trajectory_lengths_ps(production))


def trajectory_batches(production: Production, size: int) -> list[list[tuple[str, str]]]:
    """Production trajectories in groups of at most `size`, all of a group in one cell size and of one length.

    Groups are filled replica by replica, so that more replicas make new groups and leave full ones as they are.
    """
    lengths = trajectory_lengths_ps(production)
    alike: dict[tuple[Repeats, float], list[tuple[str, str]]] = {}
    for trajectory, length_ps in lengths.items():
        alike.setdefault((supercell_of(trajectory[0]), length_ps), []).append(trajectory)
    batches = []
    for names in alike.values():
        names.sort(key=lambda name: parse_name(name[0]).seed)
        batches += [names[start : start + size] for start in range(0, len(names), size)]
    return batches


def grid_trajectories(production: Production) -> list[tuple[str, str]]:
    """Trajectories in the supercell of the main grid, which are averaged and fitted together."""
    return [(name, kelvin) for name, kelvin in trajectories(production) if supercell_of(name) == production.supercell]


def production_structures(production: Production) -> list[str]:
    """Structures that production starts from, each once."""
    return list(dict.fromkeys(name for name, _ in trajectories(production)))


def neb_structures(neb: Neb) -> dict[str, str]:
    """Name of each path between sites or to a file → name of the structure that it starts from."""
    return {
        path.name: structure_name(path.x, path.ordering, path.seed, neb.supercell)
        for path in neb.paths
        if path.x is not None and path.event is None
    }


def event_trajectories(production: Production, path: NebPath) -> list[tuple[str, str]]:
    """Trajectories that are searched for the event of a path."""
    event = path.event
    if isinstance(event, NebEvent):
        name = structure_name(event.x, production.ordering, event.replica, production.supercell)
        return [(name, f"{event.temperature_K:g}")]
    return [(name, kelvin) for name, kelvin in trajectories(production) if path.x in (None, parse_name(name).x)]


def phase_structures(phase: Phase, generation: int) -> list[str]:
    """Structures that a generation explores in a phase; each generation has its own seeds, and so its own orderings.

    The seeds of a start are shifted by their range (seeds 4 and 5 become 6 and 7 in generation 1), so that convergence
    is judged on orderings without labels of earlier generations, as long as the cell has such orderings.
    """
    moved = []
    for start in phase.starts:
        shift = generation * (max(start.seeds) - min(start.seeds) + 1)
        moved.append(start.model_copy(update={"seeds": tuple(seed + shift for seed in start.seeds)}))
    return structure_names(moved, phase.supercell)


def all_structures(config: Config) -> list[str]:
    """Every structure of a run; of explore those of generation 0, because later ones differ in their seeds only."""
    names = aimd_structures(config) + pretrain_structures(config)
    for explored in explored_structures(config).values():
        names += explored
    names += production_structures(config.production)
    names += neb_structures(config.neb).values()
    return list(dict.fromkeys(names))


def state_of(output: str, stage: str) -> Path:
    """Folder of the restart files of a job whose only output is `results/RUN/FOLDER/NAME.extxyz`."""
    path = Path(output)
    return path.parents[1] / "state" / stage / path.stem


def beside_state(state: str, kind: str) -> Path:
    """Folder for undeclared outputs of a kind (refused, files) of a job, from the path of its state folder."""
    *parents, stage, job = Path(state).parts
    return Path(*parents[:-1]) / kind / stage / job
