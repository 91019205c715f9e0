"""Labels of a potential, the teacher, and the training on them before the first reference labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from redoxmd.aimd.warm_up import PotentialMD, find_potential, set_states
from redoxmd.config.sections import Electrons, Pretrain, Structures, Train
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines.base import package_version
from redoxmd.errors import DataError
from redoxmd.files.frames import labelled
from redoxmd.files.records import content_hash, file_sha256, plain
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.painn import Painn
from redoxmd.train.dataset import Dataset
from redoxmd.train.split import find_configurations, split
from redoxmd.train.start import reference_energies

RATTLED = "_rattled"


def teacher_hash(settings: Pretrain, root: Path = Path()) -> str:
    """Settings hash of the labels of a teacher: of its name, keywords, and version of its package or its file.

    It differs from that of every engine, so that such labels are refused wherever those of the reference are expected.
    """
    potential = find_potential(settings, root)
    version = (
        file_sha256(potential) if isinstance(potential, Path) else package_version(settings.potential.partition(".")[0])
    )
    return content_hash(["teacher", settings.potential, plain(settings.keywords), version])


def teacher_frames(
    atoms: Atoms,
    calculator: Calculator,
    settings: Pretrain,
    electrons: Electrons,
    rng: np.random.Generator,
    settings_hash: str,
    checkpoint: Checkpoint,
) -> list[Atoms]:
    """Frames of a structure labelled by the teacher: of its MD, and with randomly displaced atoms.

    The MD starts from the structure as built and has `steps` at each of `temperatures_K` in turn; its first step and
    every `frame_every`-th one become frames of the configuration with the name of the structure. The rattled copies of
    the structure are a configuration of their own. Frames have states if the teacher gives them
    (`redoxmd.aimd.warm_up.set_states`). The MD continues from `checkpoint`.

    Args:
        atoms: the structure, with its name in `info["structure"]`.
        calculator: of the teacher.
        settings: section `pretrain`.
        electrons: section `electrons`, whose levels assign the moments of the teacher.
        rng: of velocities, thermostat and displacements.
        settings_hash: of the teacher (`teacher_hash`).
        checkpoint: restart files of the MD of this structure.

    Raises:
        DataError: the MD leaves the range of the potential, or a label is not finite.
        Interrupted: SIGTERM; the state is saved.
    """
    name, levels = str(atoms.info["structure"]), OxidationLevels.of(electrons)

    def label(working: Atoms, config_id: str, step: int) -> Atoms:
        energy_eV, forces_eV_A = working.get_potential_energy(), np.asarray(working.get_forces(), dtype=float)
        if not (np.isfinite(energy_eV) and np.isfinite(forces_eV_A).all()):
            raise DataError(
                f"{config_id}: a label of {settings.potential} is not finite; lower pretrain.rattle_A or temperatures_K"
            )
        moments_muB = calculator.results.get("magmoms")
        frame = labelled(working, energy_eV, forces_eV_A, moments_muB=moments_muB, config_id=config_id, step=step)
        frame.info |= {"engine": f"teacher {settings.potential}", "settings_hash": settings_hash, "converged": True}
        set_states(frame, calculator.results, levels)
        return frame

    def visit(md: PotentialMD) -> None:
        # A count within each temperature: steps need not be a multiple of frame_every.
        if md.state is not None and md.state.step % settings.frame_every == 0:
            md.frames.append(label(md.working, name, md.step))

    thermostats = [
        Langevin(atoms.get_masses(), settings.timestep_fs, kelvin, settings.friction_per_fs)
        for kelvin in settings.temperatures_K
    ]
    md = PotentialMD(
        *(atoms, calculator, thermostats, settings.steps, rng, checkpoint),
        name=f"pretrain, {name}: the teacher {settings.potential}",
        remedy="lower pretrain.temperatures_K or timestep_fs",
        visit=visit,
    )
    run_resumable(md.run, md.save)
    rattled = []
    for number in range(settings.rattled):
        md.working.positions = atoms.positions + settings.rattle_A * md.rng.standard_normal(atoms.positions.shape)
        rattled.append(label(md.working, name + RATTLED, number))
    return [*md.frames, *rattled]


def common_teacher(frames: Sequence[Atoms]) -> str:
    """The settings hash of all frames of the teacher.

    Raises:
        DataError: they are of different versions of the teacher; the message names the structures of each.
    """
    names: dict[str, set[str]] = {}
    for frame in frames:
        names.setdefault(frame.info["settings_hash"], set()).add(frame.info["config_id"].removesuffix(RATTLED))
    if len(names) > 1:
        groups = "; ".join(", ".join(sorted(group)) for group in names.values())
        raise DataError(
            f"pretrain: labels of different versions of the teacher do not mix ({groups}); delete the files of the "
            "older ones in results/RUN/pretrain, and they are made again"
        )
    return next(iter(names))


def teacher_dataset(frames: Sequence[Atoms], structures: Structures, settings: Train, seed: int) -> Dataset:
    """Frames of the teacher, split by configuration as those of the reference (`redoxmd.train.split.split`).

    Raises:
        DataError: potentials are to distinguish states, and a frame has none.
    """
    for frame in frames:
        if settings.states == "aware" and "oxidation" not in frame.arrays:
            raise DataError(
                f"pretrain: {frame.info['engine']} gives no states, which train.states: aware needs; take a teacher "
                "with moments (CHGNet) and electrons.levels, an aware ensemble.pt, or train.states: blind"
            )
    configurations = split(frames, find_configurations(frames, structures), settings, seed)
    return Dataset(list(frames), configurations=configurations)


def pretrained_ensemble(members: Sequence[Painn], training: Sequence[Atoms]) -> Ensemble:
    """The members before a step of training on labels of the reference: weights of the teacher's labels alone.

    Args:
        members: trained on labels of the teacher; changed in place.
        training: frames of the reference, to which the reference energies of the elements are fitted.
    """
    for member in members:
        member.reference_eV.copy_(reference_energies(member, training))
    return Ensemble(members)


def pretraining_settings(train: Mapping[str, object], settings: Pretrain) -> Train:
    """Section `train` for the training on labels of the teacher.

    Args:
        train: settings of the section that the rule declares.
        settings: section `pretrain`, whose validation_fraction, learning_rate and max_steps replace those of `train`.
    """
    replaced = {key: getattr(settings, key) for key in ("validation_fraction", "learning_rate", "max_steps")}
    return Train(**{**train, **replaced})
