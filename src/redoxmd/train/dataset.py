"""The training set of a generation: joined, checked, split by configuration."""

from __future__ import annotations

import difflib
import hashlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms

from redoxmd.config.sections import Structures, Train
from redoxmd.electrons.states import OxidationLevels, set_oxidation
from redoxmd.errors import ConfigError, DataError, LabelRefusal, LabelRefused, StructureError
from redoxmd.files.frames import read_frames
from redoxmd.files.records import file_sha256
from redoxmd.train.audit import check_labelled, too_short, work_imbalances
from redoxmd.train.records import DatasetRecord
from redoxmd.train.split import Configuration, find_configurations, held_out_groups, label_generation, split

logger = logging.getLogger("redoxmd")

IDENTITY_A = 1e-4
SETS = ("train", "validation", "test")
TEST_ORDERING = ("test_ordering", "starts in the ordering of a test configuration, or in a symmetry copy of it")
CARD_KEYS = ("engine", "settings_hash", "files")


@dataclass(frozen=True)
class Dataset:
    """Frames of one generation; `info["set"]` of each says train, validation or test.

    Attributes:
        frames: every frame once.
        duplicates: number of frames dropped because an earlier frame has the same geometry.
        left_out: {"config_id", "step", "reason", "detail"} of each frame that contradicts its run, is excluded, or
            labels the ordering of a test configuration.
        hops: {"config_id", "step", "before", "after"} of each frame whose oxidation states differ from those of the
            frame one step earlier; states of the redox atoms in order.
        configurations: by id, with their sets.
        too_short: check of the audit → configurations with too few frames for it (`redoxmd.train.audit.too_short`).
        work_imbalances: of each run that is long enough (`redoxmd.train.audit.work_imbalances`).
    """

    frames: list[Atoms]
    duplicates: int = 0
    left_out: list[dict[str, Any]] = field(default_factory=list)
    hops: list[dict[str, Any]] = field(default_factory=list)
    configurations: dict[str, Configuration] = field(default_factory=dict)
    too_short: dict[str, list[str]] = field(default_factory=dict)
    work_imbalances: list[dict[str, Any]] = field(default_factory=list)

    def subset(self, name: str) -> list[Atoms]:
        """Frames of one set."""
        return [frame for frame in self.frames if frame.info["set"] == name]

    def counts(self) -> dict[str, int]:
        """Number of frames in each set."""
        return {name: len(self.subset(name)) for name in SETS}

    def record(self, teacher: str | None) -> DatasetRecord:
        """The data set as `dataset.json` has it; `teacher` of the networks trained on it, if they are pretrained."""
        values = {name: value for name, value in vars(self).items() if name != "frames"} | self.counts()
        return DatasetRecord(**values | {"configurations": list(self.configurations.values())}, teacher=teacher)


def build_dataset(
    frames: Iterable[Atoms],
    settings: Train,
    seed: int,
    settings_hash: str,
    structures: Structures | None = None,
    levels: OxidationLevels | None = None,
) -> Dataset:
    """Join labelled frames into the data set of a generation and split it.

    The configurations named in `settings.test_configurations` form the test set; `redoxmd.train.split.split` chooses
    the validation set among the others. Frames that contradict their run (`redoxmd.train.audit.check_run`) or are named
    in `settings.exclude` are left out, and so are labels that start in the ordering of a test configuration or a
    symmetry copy of it, and runs whose work imbalance exceeds `settings.work_imbalance_meV`. With `levels`, the array
    `oxidation` of every frame is set from its moments, and frames in a wrong electronic state are left out.

    Args:
        frames: all labelled frames.
        settings: section `train`.
        seed: determines the validation configurations.
        settings_hash: of the reference settings that every frame must have.
        structures: section `structures`, whose source cell determines which orderings are symmetry copies; None:
            symmetry copies are not identified.
        levels: of the redox elements; None: oxidation states are neither assigned nor checked.

    Raises:
        DataError: a frame is unlabelled, unconverged, not finite or of other reference settings, a test or validation
            configuration or excluded frame does not exist, a copy of a test configuration would be trained on, or no
            training frame remains.
    """
    frames = list(frames)
    _check_excluded(frames, settings.exclude)
    distinct: list[Atoms] = []
    identities: set[str] = set()
    duplicates = 0
    wrong_states: list[dict[str, Any]] = []
    for frame in frames:
        _check(frame, settings_hash)
        try:
            if levels is not None:
                set_oxidation(frame, levels)
        except (StructureError, ConfigError) as error:
            place = f"frame {frame.info.get('config_id')} step {frame.info.get('step')}"
            raise DataError(f"{place}: {error}") from error
        except LabelRefused as refused:
            wrong_states.append(_left_out(frame, refused.reason, refused.detail))
            continue
        identity = frame_identity(frame)
        if identity in identities:
            duplicates += 1
            continue
        identities.add(identity)
        distinct.append(frame)
    consistent, left_out = _leave_out(distinct, settings.exclude)
    imbalances = work_imbalances(consistent)
    unconverged = _unconverged_runs(imbalances, settings.work_imbalance_meV)
    for name, reason in unconverged.items():
        logger.warning("%s is left out, %s: %s", name, LabelRefusal.UNCONVERGED, reason)
    for key in ("test_configurations", "validation_configurations"):
        if named := [name for name in getattr(settings, key) if name in unconverged]:
            raise DataError(f"train.{key}: {named[0]} would be left out as unconverged, {unconverged[named[0]]}")
    left_out += [
        _left_out(frame, LabelRefusal.UNCONVERGED, unconverged[name])
        for frame in consistent
        if (name := str(frame.info["config_id"])) in unconverged
    ]
    consistent = [frame for frame in consistent if str(frame.info["config_id"]) not in unconverged]
    configurations = find_configurations(consistent, structures)
    held_out = held_out_groups(configurations, settings)
    copies = {name for name, item in configurations.items() if item.generation is not None and item.group in held_out}
    left_out += [_left_out(frame, *TEST_ORDERING) for frame in consistent if frame.info["config_id"] in copies]
    accepted = [frame for frame in consistent if frame.info["config_id"] not in copies]
    remaining = {name: item for name, item in configurations.items() if name not in copies}
    sets = split(accepted, remaining, settings, seed)
    hops = _find_hops(accepted, levels)
    left_out = wrong_states + left_out
    dataset = Dataset(accepted, duplicates, left_out, hops, sets, too_short(distinct), imbalances)
    if not dataset.subset("train"):
        raise DataError("nothing to train on: run aimd or name train.datasets")
    return dataset


def _find_hops(frames: Sequence[Atoms], levels: OxidationLevels | None) -> list[dict[str, Any]]:
    """Changes of oxidation states between frames of a run one step apart."""
    if levels is None:
        return []
    states = {}
    for frame in frames:
        if "oxidation" in frame.arrays:
            redox = levels.redox_atoms(list(frame.symbols))
            states[str(frame.info["config_id"]), int(frame.info["step"])] = frame.arrays["oxidation"][redox].tolist()
    return [
        {"config_id": name, "step": step, "before": before, "after": after}
        for (name, step), after in states.items()
        if (before := states.get((name, step - 1), after)) != after
    ]


def _left_out(frame: Atoms, reason: str, detail: str) -> dict[str, Any]:
    return {
        "config_id": str(frame.info["config_id"]),
        "step": int(frame.info["step"]),
        "reason": reason,
        "detail": detail,
    }


def _leave_out(frames: Sequence[Atoms], exclude: Sequence[str]) -> tuple[list[Atoms], list[dict[str, Any]]]:
    """Frames that pass the audit and are not excluded, and a record of each other frame."""
    findings = check_labelled(frames)
    consistent, left_out = [], []
    for frame in frames:
        config_id, step = str(frame.info["config_id"]), int(frame.info["step"])
        named = f"{config_id}/{step}" in exclude or config_id in exclude
        excluded = ("excluded", "named in train.exclude") if named else None
        finding = excluded or findings.get((config_id, step))
        if finding is None:
            consistent.append(frame)
            continue
        left_out.append(_left_out(frame, *finding))
        if excluded is None:
            logger.warning("%s step %d is left out, %s: %s", config_id, step, *finding)
    return consistent, left_out


def _unconverged_runs(imbalances: Sequence[dict[str, Any]], limit_meV: float | None) -> dict[str, str]:
    """Run → reason for those whose mean imbalance exceeds the limit by more than two standard errors."""
    return {
        run["config_id"]: f"energies and work of the forces differ by {run['mean_meV']:+.1f} ± {run['error_meV']:.1f} "
        f"meV a step (train.work_imbalance_meV {limit_meV:g}); use stricter convergence criteria in the engine"
        for run in imbalances
        if limit_meV is not None and abs(run["mean_meV"]) - 2 * run["error_meV"] > limit_meV
    }


def _check_excluded(frames: Sequence[Atoms], exclude: Sequence[str]) -> None:
    names = {f"{frame.info.get('config_id')}/{frame.info.get('step')}" for frame in frames}
    names |= {str(frame.info.get("config_id")) for frame in frames}
    labelled = {generation for name in names if (generation := label_generation(name)) is not None}
    for name in exclude:
        generation = label_generation(name)
        if name not in names and (generation is None or generation in labelled):
            near = difflib.get_close_matches(name, sorted(names), n=3) or sorted(names)[:3]
            kind = "frame" if "/" in name else "configuration"
            raise DataError(f"train.exclude: no {kind} {name}; near it there are {', '.join(near)}")


def exclusions(exclude: Sequence[str], generation: int) -> list[str]:
    """The names of `train.exclude` that can occur in the training set of a generation."""
    return [name for name in exclude if (labelled := label_generation(name)) is None or labelled < generation]


def _check(frame: Atoms, settings_hash: str) -> None:
    info = frame.info
    name = f"frame {info.get('config_id', '?')} step {info.get('step', '?')}"
    if frame.calc is None or "forces" not in frame.calc.results or "energy" not in frame.calc.results:
        raise DataError(f"{name}: has no energy and forces; only labelled frames can be trained on")
    if not info.get("converged", False):
        raise DataError(f"{name}: not marked as converged; it must not be trained on")
    results = frame.calc.results
    if not (np.isfinite(results["energy"]) and np.isfinite(results["forces"]).all()):
        raise DataError(f"{name}: energy or forces are not finite; remove it")
    if info.get("settings_hash") != settings_hash:
        raise DataError(
            f"{name}: labelled with settings {info.get('settings_hash')} but this run uses {settings_hash}; "
            "data of different reference settings do not mix: use another run name, or the same engine settings"
        )


def frame_identity(frame: Atoms) -> str:
    """Hash of a geometry: species, cell and wrapped positions to 1e-4 Å, and periodicity unless it is full.

    Two oxidation states of one geometry are two labels.
    """
    digest = hashlib.sha256(frame.numbers.astype("<i8").tobytes())
    if not frame.pbc.all():
        digest.update(frame.pbc.tobytes())
    if "oxidation" in frame.arrays:
        digest.update(frame.arrays["oxidation"].astype("<i8").tobytes())
    for lengths_A in (np.asarray(frame.cell), frame.get_positions(wrap=True)):
        # Hashed as integers, which have no negative zero.
        digest.update(np.round(lengths_A / IDENTITY_A).astype("<i8").tobytes())
    return digest.hexdigest()[:16]


def load_datasets(folders: Sequence[Path], settings_hash: str) -> list[Atoms]:
    """Frames of datasets; each is a folder with `dataset.yaml` and the files listed in it.

    Raises:
        DataError: a file is missing or differs from its checksum, or the reference settings are not this run's.
    """
    check_dataset_files(list(map(Path, folders)), settings_hash)
    files = [Path(folder) / name for folder in folders for name in read_dataset_card(Path(folder))["files"]]
    return [frame for file in files if file.suffix == ".extxyz" for frame in read_frames(file)]


def read_dataset_card(folder: Path) -> dict[str, Any]:
    """The `dataset.yaml` of a dataset folder.

    Raises:
        DataError: the card is missing or lacks a key.
    """
    card = folder / "dataset.yaml"
    if not card.exists():
        raise DataError(f"train.datasets: {folder} has no dataset.yaml; see resources/README.md for its form")
    content = yaml.safe_load(card.read_text(encoding="utf-8"))
    lacking = [key for key in CARD_KEYS if not isinstance(content, dict) or key not in content]
    if lacking:
        raise DataError(f"{card}: lacks {', '.join(lacking)}; see resources/README.md for its form")
    return dict(content)


def check_dataset_files(folders: Sequence[Path], settings_hash: str) -> None:
    """Verify dataset folders against their cards.

    Raises:
        DataError: a file is missing or differs from its checksum, or the reference settings are not this run's.
    """
    for folder in folders:
        card = read_dataset_card(folder)
        if card["settings_hash"] != settings_hash:
            raise DataError(
                f"train.datasets: {folder} was made with settings {card['settings_hash']} ({card['engine']}), this run "
                f"uses {settings_hash}; set the engine section as in {folder}/dataset.yaml or leave the dataset out"
            )
        for name, checksum in card["files"].items():
            path = folder / name
            if not path.exists():
                raise DataError(f"{path}: listed in dataset.yaml but missing; fetch it again")
            if file_sha256(path) != checksum:
                raise DataError(f"{path}: content differs from its checksum in dataset.yaml; fetch it again")


def find_species(
    frames: Sequence[Atoms], states: str, setting: str = "train.states"
) -> tuple[list[int], list[int] | None]:
    """Species of a model: atomic number and oxidation number of each, sorted.

    Args:
        frames: of the data set, with the array `oxidation` if `states` is aware.
        states: aware, or blind: the species are the elements, and there are no oxidation numbers (None).
        setting: key of `states` in the config.

    Raises:
        DataError: a frame has no oxidation numbers.
    """
    if states == "blind":
        return sorted({int(z) for frame in frames for z in frame.numbers}), None
    for frame in frames:
        if "oxidation" not in frame.arrays:
            raise DataError(
                f"frame {frame.info['config_id']} step {frame.info['step']}: no oxidation states, which {setting}: "
                "aware needs; give electrons.levels, and frames with moments"
            )
    pairs = np.concatenate([np.stack([frame.numbers, frame.arrays["oxidation"]], axis=1) for frame in frames])
    elements, oxidation = np.unique(pairs, axis=0).T.tolist()
    return elements, oxidation


def fit_element_energies(
    frames: Sequence[Atoms], species: Sequence[int], interaction_eV: Sequence[float] | float = 0.0
) -> np.ndarray:
    """Energies ε (eV) of the elements from a least-squares fit of the total energies, E ≈ Σ_i ε_element.

    With interaction energies of the frames, which a network gives, the fit is that of the total energies above these.

    The fit has minimal norm about the mean energy per atom, so that it is defined also for a single composition.
    The oxidation states of an element share one energy, because neutrality makes their numbers depend on the others.
    Returns one value per species, whose atomic numbers are given, in order.
    """
    elements = sorted(set(species))
    counts = np.array([[(frame.numbers == z).sum() for z in elements] for frame in frames], dtype=float)
    energies = np.array([frame.calc.results["energy"] for frame in frames]) - np.asarray(interaction_eV)
    per_atom = (energies / counts.sum(axis=1)).mean()
    residual = energies - per_atom * counts.sum(axis=1)
    solution, *_ = np.linalg.lstsq(counts, residual, rcond=1e-8)
    by_element = dict(zip(elements, solution + per_atom, strict=True))
    return np.array([by_element[z] for z in species])


def force_scale(frames: Sequence[Atoms]) -> float:
    """Root mean square of all force components in eV/Å; 1 when there are none."""
    squares = np.concatenate([frame.calc.results["forces"].ravel() ** 2 for frame in frames])
    return float(np.sqrt(squares.mean())) or 1.0
