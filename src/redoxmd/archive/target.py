"""Dataset folder written by an import, which adds its own files to an existing dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ase import Atoms
from ase.io import iread

from redoxmd import __version__
from redoxmd.archive.levels import Group, level_record, read_level
from redoxmd.archive.reading import SAME_ENERGY_eV, find_oxidation
from redoxmd.archive.report import ImportReport
from redoxmd.electrons.orbitals import OCCUPATIONS
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import DataError, LabelRefused
from redoxmd.files.records import atomic_path, file_sha256, write_text
from redoxmd.train.dataset import frame_identity, read_dataset_card

CARD = "dataset.yaml"
FRAMES, DENSITIES, REFUSED = "frames", "densities", "refused"


class KnownFrames:
    """Labels of a dataset by geometry, level and oxidation states, among which repeats are found.

    One geometry in two states is two labels. A label without states repeats every label of its geometry, and is
    repeated by every one.
    """

    def __init__(self) -> None:
        # Identity of geometry and level → states, location and energy (eV) of each label.
        self._labels: dict[str, list[tuple[bytes, str, float]]] = {}

    def add(self, label: Atoms, location: str) -> None:
        """Record a label under its location."""
        identity, states = _identity(label)
        self._labels.setdefault(identity, []).append((states, location, label.calc.results["energy"]))

    def twin_of(self, label: Atoms) -> str:
        """Location and relative energy of the label that this one repeats; empty if there is none."""
        identity, states = _identity(label)
        for known, location, energy_eV in self._labels.get(identity, []):
            if known and states and known != states:
                continue
            detail = f"the same geometry as {location}"
            difference_eV = label.calc.results["energy"] - energy_eV
            if abs(difference_eV) > SAME_ENERGY_eV:
                detail += f", but {difference_eV:+.3f} eV from it: another electronic state? compare the two"
                if not (known and states):
                    detail += ", or keep both by their oxidation states (electrons.levels)"
            return detail
        return ""


def _identity(label: Atoms) -> tuple[str, bytes]:
    """Identity of geometry and level, and the oxidation states, empty if there are none."""
    geometry = label.copy()
    states = geometry.arrays.pop("oxidation", None)
    identity = f"{frame_identity(geometry)} {label.info.get('settings_hash')}"
    return identity, b"" if states is None else states.astype("<i8").tobytes()


@dataclass
class Target:
    """Dataset folder of an import.

    Attributes:
        folder: of the dataset.
        card: content of the existing card; empty for a new dataset.
        number: of the import; part of its file names, except for the first import.
        frame_keys: (config_id, step) of the existing frames.
        known: existing frames, to find repeats.
    """

    folder: Path
    card: dict[str, Any] = field(default_factory=dict)
    number: int = 1
    frame_keys: list[tuple[str, int]] = field(default_factory=list)
    known: KnownFrames = field(default_factory=KnownFrames)

    @classmethod
    def open(cls, folder: Path, *, append: bool, levels: OxidationLevels | None = None) -> Target:
        """A new dataset, or an existing one to append to; a folder without a card counts as new (interrupted import).

        With `levels`, existing frames have the oxidation states of their moments; those in a wrong state are not known.

        Raises:
            DataError: the dataset exists and `append` is false, is no folder, or differs from its checksums.
        """
        if folder.exists() and not folder.is_dir():
            raise DataError(f"{folder}: a file; a dataset is a folder")
        if not (folder / CARD).exists():
            return cls(folder)
        if not append:
            raise DataError(f"{folder}: exists already; --append adds to it, or choose another name")
        target = cls(folder, read_dataset_card(folder))
        while target._name(FRAMES, ".extxyz") in target.card["files"]:
            target.number += 1
        target._index(levels)
        return target

    @property
    def group(self) -> Group | None:
        """The level of the dataset; None for a new dataset."""
        if not self.card:
            return None
        record = self.card.get("level", {"code": self.card["engine"]})
        return Group(read_level(record), str(self.card["settings_hash"]))

    @property
    def refused_name(self) -> str:
        """File name of the refusals of this import."""
        return self._name(REFUSED, ".csv")

    def add(self, frames: Path, densities: Path | None) -> None:
        """Move the files of an import into the folder, and add their checksums to the card."""
        files = self.card.setdefault("files", {})
        for source, name in ((frames, self._name(FRAMES, ".extxyz")), (densities, self._name(DENSITIES, ".h5"))):
            if source is None:
                continue
            with atomic_path(self.folder / name) as temporary:
                source.replace(temporary)
            files[name] = file_sha256(self.folder / name)

    def write_card(self, group: Group, report: ImportReport) -> None:
        """Write the card, which makes the folder a dataset."""
        card = {
            "title": "imported calculations",
            "engine": group.level.code or "unknown",
            "settings_hash": group.settings_hash,
            "level": level_record(group.level),
            "files": {},
            "source": f"redoxmd import, version {__version__}",
        } | self.card
        card["frames"] = card.get("frames", 0) + report.frames
        card["densities"] = card.get("densities", 0) + len(report.densities)
        card["configurations"] = sorted({*card.get("configurations", []), *report.accepted})
        old = card.get("refused", {})
        counts = report.counts()
        card["refused"] = {key: old.get(key, 0) + counts.get(key, 0) for key in sorted({*old, *counts})}
        write_text(self.folder / CARD, yaml.safe_dump(card, sort_keys=False, allow_unicode=True))

    def _name(self, stem: str, suffix: str) -> str:
        return f"{stem}{suffix}" if self.number == 1 else f"{stem}-{self.number}{suffix}"

    def _index(self, levels: OxidationLevels | None) -> None:
        for name, checksum in self.card["files"].items():
            path = self.folder / name
            if not path.exists() or file_sha256(path) != checksum:
                raise DataError(f"{path}: missing or not as in its checksum; restore it before adding to the dataset")
        for frame in dataset_frames(self.folder, self.card):
            info = frame.info
            self.frame_keys.append((str(info["config_id"]), int(info["step"])))
            location = f"{info['config_id']} step {info['step']} of {self.folder}"
            moments = frame.calc.results.get("magmoms")
            if levels is not None and moments is not None:
                try:
                    occupations = frame.arrays.get(OCCUPATIONS)
                    states = find_oxidation(frame, moments, info.get("total_moment_muB"), levels, occupations)
                except LabelRefused:
                    continue
                frame.set_array("oxidation", states)
            self.known.add(frame, location)


def dataset_frames(folder: Path, card: dict[str, Any]) -> Iterator[Atoms]:
    """Frames of a dataset folder, one at a time."""
    for name in card["files"]:
        if name.endswith(".extxyz"):
            yield from iread(folder / name, index=":", format="extxyz")
