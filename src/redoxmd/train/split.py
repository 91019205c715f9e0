"""Training, validation and test sets, split by configuration."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from ase import Atoms

from redoxmd.config.sections import Structures, Train
from redoxmd.errors import DataError
from redoxmd.seeds import derive_seed

# With fewer inequivalent configurations the validation set is made of the last frames of each run.
FEWEST_CONFIGURATIONS = 4


@dataclass(frozen=True)
class Configuration:
    """A reference MD run, or the label made from one frame.

    Attributes:
        config_id: its name in the frames.
        group: class of the ordering it starts in, the same for symmetry copies; its own name if the cell is not a
            repeat of the source cell.
        frames: number of its frames.
        set: train, validation or test; "mixed" if its last frames are in the validation set.
    """

    config_id: str
    group: str
    frames: int
    set: str = ""

    @property
    def generation(self) -> int | None:
        """Generation that labelled it; None for reference MD and datasets."""
        return label_generation(self.config_id)

    @property
    def comparable(self) -> bool:
        """Whether its ordering was recognised, so that its symmetry copies can be identified."""
        return self.group != self.config_id

    def record(self) -> dict[str, Any]:
        """The configuration as a JSON-like record."""
        return asdict(self)


def label_generation(name: str) -> int | None:
    """Generation that labelled a configuration or frame, from its name; None for those of aimd and datasets."""
    match = re.match(r"g(\d+)f\d+(/|$)", name)
    return int(match[1]) if match else None


def find_configurations(frames: Sequence[Atoms], structures: Structures | None) -> dict[str, Configuration]:
    """The configurations of frames by id, each grouped with the symmetry copies of the ordering it starts in.

    Args:
        frames: of any configurations, with `info` config_id and step.
        structures: section `structures`; None groups every configuration with itself.
    """
    # Imported late: every parse of the workflow imports this module, and spglib and SciPy take half a second.
    from redoxmd.structures.symmetry import ordering_class

    runs: dict[str, list[Atoms]] = {}
    for frame in frames:
        runs.setdefault(str(frame.info["config_id"]), []).append(frame)
    configurations = {}
    for config_id, run in runs.items():
        first = min(run, key=lambda frame: int(frame.info["step"]))
        ordering = None if structures is None else ordering_class(first, structures)
        configurations[config_id] = Configuration(config_id, ordering or config_id, len(run))
    return configurations


def held_out_groups(configurations: Mapping[str, Configuration], settings: Train) -> set[str]:
    """Groups of the test configurations, which are never trained on.

    Raises:
        DataError: a test configuration has no frames, or a symmetry copy of it would be trained on.
    """
    named = settings.test_configurations
    require_known(named, configurations, "train.test_configurations")
    groups = {configurations[name].group: name for name in named}
    for item in configurations.values():
        if item.group in groups and item.config_id not in named and item.generation is None:
            raise DataError(
                f"train.test_configurations: {groups[item.group]} is a symmetry copy of {item.config_id} (both start "
                f"in ordering {item.group}), which is trained on; hold both out, exclude one (train.exclude) or choose "
                "another test configuration"
            )
    return set(groups)


def require_known(names: Sequence[str], configurations: Mapping[str, Configuration], key: str) -> None:
    """Refuse names without frames.

    Raises:
        DataError: the message names the config's key and the existing configurations.
    """
    missing = sorted(set(names) - set(configurations))
    if missing:
        raise DataError(f"{key}: no frames of {missing}; there are {sorted(configurations)}")


def split(
    frames: Sequence[Atoms], configurations: Mapping[str, Configuration], settings: Train, seed: int
) -> dict[str, Configuration]:
    """Set `info["set"]` of every frame to train, validation or test; return the configurations with their sets.

    The validation set consists of whole groups of symmetry copies: those of `validation_configurations`, or groups in
    an order determined by the seed until `validation_fraction` of the frames of reference MD and datasets is reached.
    Labels join the set of their group; labels of new groups are assigned to validation with probability
    `validation_fraction`. A configuration therefore keeps its set in later generations. With fewer than
    `FEWEST_CONFIGURATIONS` groups the last frames of each run are the validation set instead; they are correlated with
    the training frames before them.

    Raises:
        DataError: a validation configuration has no frames or is a copy of a test configuration.
    """
    test = {configurations[name].group for name in settings.test_configurations}
    initial = [item for item in configurations.values() if item.generation is None and item.group not in test]
    validation = _validation_groups(initial, configurations, settings, test, seed)
    if validation is None:
        return _ends_of_runs(frames, configurations, test, settings.validation_fraction)
    sets = {}
    initial_groups = {item.group for item in initial}
    for item in configurations.values():
        drawn = item.group not in initial_groups and _random_rank(seed, item.group) < settings.validation_fraction
        name = "test" if item.group in test else "validation" if item.group in validation or drawn else "train"
        sets[item.config_id] = replace(item, set=name)
    for frame in frames:
        frame.info["set"] = sets[str(frame.info["config_id"])].set
    return sets


def _random_rank(seed: int, group: str) -> float:
    return derive_seed(seed, "validation", group) / 2**63


def _validation_groups(
    initial: Sequence[Configuration],
    configurations: Mapping[str, Configuration],
    settings: Train,
    test: set[str],
    seed: int,
) -> set[str] | None:
    """Groups of the validation set; None with fewer than `FEWEST_CONFIGURATIONS` groups."""
    if settings.validation_configurations:
        key = "train.validation_configurations"
        require_known(settings.validation_configurations, configurations, key)
        named = {configurations[name].group for name in settings.validation_configurations}
        if named & test:
            raise DataError(f"{key}: one of them is a test configuration or a symmetry copy of one; choose another")
        return named
    groups = sorted({item.group for item in initial}, key=lambda group: _random_rank(seed, group))
    if len(groups) < FEWEST_CONFIGURATIONS:
        return None
    enough_frames = settings.validation_fraction * sum(item.frames for item in initial)
    chosen: set[str] = set()
    for group in groups[: len(groups) // 2]:
        chosen.add(group)
        if sum(item.frames for item in initial if item.group in chosen) >= enough_frames:
            break
    return chosen


def _ends_of_runs(
    frames: Sequence[Atoms], configurations: Mapping[str, Configuration], test: set[str], fraction: float
) -> dict[str, Configuration]:
    sets = {}
    runs: dict[str, list[Atoms]] = {name: [] for name in configurations}
    for frame in frames:
        frame.info["set"] = "test" if configurations[str(frame.info["config_id"])].group in test else "train"
        runs[str(frame.info["config_id"])].append(frame)
    other_runs = [run for name, run in runs.items() if configurations[name].group not in test]
    for run in other_runs:
        run.sort(key=lambda frame: int(frame.info["step"]))
        for frame in run[len(run) - round(fraction * len(run)) :]:
            frame.info["set"] = "validation"
    longest = max(other_runs, key=len, default=[])
    if len(longest) > 1 and not any(frame.info["set"] == "validation" for run in other_runs for frame in run):
        longest[-1].info["set"] = "validation"
    for name, item in configurations.items():
        sets_of_frames = {frame.info["set"] for frame in runs[name]}
        sets[name] = replace(item, set=sets_of_frames.pop() if len(sets_of_frames) == 1 else "mixed")
    return sets


def fold_of(configurations: Mapping[str, Configuration], folds: int, seed: int) -> dict[str, int]:
    """Cross-validation fold of every configuration outside the test set.

    Groups of symmetry copies are assigned to the folds in turn, in an order determined by the seed; with as many folds
    as groups this is leave-one-group-out.
    """
    items = [item for item in configurations.values() if item.set != "test"]
    groups = sorted({item.group for item in items}, key=lambda group: _random_rank(seed, group))
    return {item.config_id: groups.index(item.group) % folds for item in items}
