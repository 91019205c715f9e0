"""Checks of the potentials and models that a config names."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ase import Atoms
from ase.data import atomic_numbers, chemical_symbols

from redoxmd.aimd.warm_up import find_potential
from redoxmd.config.sections import Config
from redoxmd.density.model import load_density_model
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines.base import Inspection
from redoxmd.errors import RedoxmdError
from redoxmd.files import layout
from redoxmd.model.ensemble import Ensemble, given_ensemble, load_ensemble
from redoxmd.model.painn import Painn
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import SourceCell
from redoxmd.train.trainer import load_member


def inspect_given(config: Config, source: SourceCell, root: Path) -> Inspection:
    """Whether a given ensemble and density model can be read, know the elements and are of the config's kind."""
    problems, elements = [], set(source.atoms.numbers.tolist())
    levels = OxidationLevels.of(config.electrons)
    try:
        if config.train.ensemble is not None:
            ensemble = given_ensemble(root / config.train.ensemble, config.train.states)
            problems += [f"train.ensemble: {problem}" for problem in _ensemble_problems(ensemble, elements, levels)]
            if not config.train.datasets:
                problems.append("train.ensemble: name the data on which its errors are measured in train.datasets")
        if config.density.enabled and config.density.model is not None:
            network = load_density_model(root / config.density.model, "cpu")[0].network
            kind = "blind" if network.states is None else "aware"
            if problem := _unknown_elements(network.elements, elements):
                problems.append(f"density.model: {problem}")
            if kind != config.density.states:
                problems.append(f"density.model: the model needs density.states: {kind}")
    except RedoxmdError as error:
        problems.append(str(error))
    return Inspection(problems)


def _ensemble_problems(ensemble: Ensemble, elements: set[int], levels: OxidationLevels | None) -> list[str]:
    problems = [_unknown_elements(ensemble.elements, elements)]
    if len(ensemble.members) < 2:
        problems.append("one member has no spread, so nothing shows where it is wrong")
    problems.append(_unknown_states(ensemble, levels))
    return [problem for problem in problems if problem]


def _unknown_states(network: Ensemble | Painn, levels: OxidationLevels | None) -> str:
    if network.states is None or levels is None:
        return ""
    own_species = set(zip(network.elements, network.states, strict=True))
    asked = {(atomic_numbers[element], state) for element, states in levels.moments_muB.items() for state in states}
    words = ", ".join(f"{chemical_symbols[number]}{state}+" for number, state in sorted(asked - own_species))
    return f"it does not know {words} of electrons.levels" if words else ""


def _unknown_elements(known: Collection[int], elements: set[int]) -> str:
    missing = ", ".join(chemical_symbols[number] for number in sorted(elements - set(known)))
    return f"it does not know {missing}" if missing else ""


def inspect_potentials(config: Config, root: Path) -> Inspection:
    """Whether the potentials of `aimd.warm_up` and `pretrain` exist, and the teacher gives the states needed."""
    inspection, warm, teacher = Inspection(), config.aimd.warm_up, config.pretrain
    taught = f"pretrain: generation 0 starts from members trained on {teacher.potential}"
    for settings, used, note in (
        (warm, warm.steps > 0, f"aimd: {warm.steps} steps of MD with {warm.potential} before each reference MD"),
        (teacher, teacher.enabled and teacher.members is None, taught),
    ):
        if used:
            try:
                find_potential(settings, root)
                inspection.notes.append(note)
            except RedoxmdError as error:
                inspection.problems.append(str(error))
    if teacher.enabled and teacher.members is not None:
        inspection.notes.append(f"{taught}, of {teacher.members}")
        inspection.problems.extend(_pretrained_problems(config, teacher.members, root))
    elif teacher.enabled and config.train.states == "aware" and not inspection.problems:
        inspection.problems.extend(_teacher_problems(config, root))
    return inspection


def _pretrained_problems(config: Config, folder: Path, root: Path) -> list[str]:
    """Why members of an earlier pretraining are no start: missing, or of other sizes, states, teacher or elements."""
    problems, aware = [], config.train.states == "aware"
    try:
        built = [_built(config, name) for name in layout.aimd_structures(config)]
        layout.replayed_files(config, root)
    except RedoxmdError as error:
        return [str(error)]
    elements, levels = (
        {int(number) for atoms in built for number in atoms.numbers},
        OxidationLevels.of(config.electrons),
    )
    for number, size in enumerate(config.train.members):
        path = root / folder / f"member{number}.pt"
        try:
            member, record = load_member(path)
        except RedoxmdError as error:
            problems.append(f"pretrain.members: {error}")
            continue
        wanted = config.train.model_dump(exclude={"states"}) | size.model_dump()
        other = [f"{key} {value}" for key, value in member.settings.items() if wanted.get(key, value) != value]
        if other:
            problems.append(f"pretrain.members: {path} has {', '.join(other)}; set this in train")
        unknown = _unknown_elements(member.elements, elements), _unknown_states(member, levels)
        problems += [f"pretrain.members: {path}: {words}" for words in unknown if words]
        if (member.states is not None) != aware:
            problems.append(f"pretrain.members: {path} is of the other kind than train.states: {config.train.states}")
        teacher = record.get("about", {}).get("teacher")
        if teacher != config.pretrain.potential:
            problems.append(f"pretrain.members: {path} is of pretrain.potential: {teacher}; name the same")
    return problems


def _teacher_problems(config: Config, root: Path) -> list[str]:
    """Why a teacher cannot teach states: it gives none, or its structures lack those of the reference MD."""
    potential, name = find_potential(config.pretrain, root), config.pretrain.potential
    try:
        if isinstance(potential, Path):
            gives_states = load_ensemble(potential, "cpu").states is not None
        else:
            gives_states = "magmoms" in getattr(potential, "implemented_properties", ())
        if not gives_states:
            return [f"pretrain.potential: {name} gives no states or moments, which train.states: aware needs"]
        levels = OxidationLevels.of(config.electrons)
        if levels is None:
            return []
        taught, needed = (
            {state for structure in names for state in _neutral_states(config, structure, levels)}
            for names in (layout.pretrain_structures(config), layout.aimd_structures(config))
        )
    except RedoxmdError as error:
        return [str(error)]
    missing = ", ".join(f"{element}{state}+" for element, state in sorted(needed - taught))
    return [f"pretrain.starts: no structure has {missing}, as some of aimd.starts have"] if missing else []


def _built(config: Config, structure: str) -> Atoms:
    return build_structure(parse_name(structure), config.structures, config.seed)


def _neutral_states(config: Config, structure: str, levels: OxidationLevels) -> set[tuple[str, int]]:
    """Elements and oxidation numbers of a neutral state of a structure."""
    symbols = list(_built(config, structure).symbols)
    states = levels.first_neutral(symbols)
    return {(symbols[atom], int(states[atom])) for atom in levels.redox_atoms(symbols)}
