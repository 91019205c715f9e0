"""Import of calculations into a dataset folder: check, comparison of levels, and output frame by frame."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms

from redoxmd.archive.densities import PendingChgcar, import_chgcars
from redoxmd.archive.levels import Group, group_levels, level_differences
from redoxmd.archive.reading import FrameChecks, FrameVerdict, judge_calculation, open_calculation
from redoxmd.archive.report import ImportReport
from redoxmd.archive.sources import FrameNames, Source, find_sources
from redoxmd.archive.target import KnownFrames, Target
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines.calculation import Level
from redoxmd.errors import DataError, LabelRefusal, LabelRefused
from redoxmd.files.frames import frame_text
from redoxmd.files.records import write_text

FORCE_CEILING_EV_A = 100.0
CARRIED_INFO = ("time_fs", "temperature_K", "md")


@dataclass(frozen=True)
class RequiredLevel:
    """The level of theory that all frames must have.

    Attributes:
        level: of theory; states its settings hash only if the rest is unknown.
        settings_hash: of the imported frames.
        trust: assign this level to files that state none.
        initial_moments: atoms → moments (n,), μB: the spin state that frames must have, see `judge_moments`.
    """

    level: Level
    settings_hash: str
    trust: bool = False
    initial_moments: Callable[[Atoms], np.ndarray] | None = None


def import_archive(
    paths: Sequence[str | Path],
    into: str | Path,
    required: RequiredLevel | None = None,
    levels: OxidationLevels | None = None,
    *,
    force_ceiling_eV_A: float = FORCE_CEILING_EV_A,
    append: bool = False,
    config_id: str | None = None,
) -> ImportReport:
    """Import every calculation of these files and folders into a dataset folder.

    The level of theory is the required one, else that of the dataset appended to, else the most frequent one.
    Calculations of another level are refused as a whole. With `levels`, frames with moments get the array `oxidation`,
    and those in a wrong electronic state are refused. Memory holds one calculation at a time, and a window of frames
    of a run. A damaged file does not affect others. The card is written last, because without it the folder is no
    dataset.

    Raises:
        DataError: the dataset exists and `append` is false, a path is missing, or there is nothing to import.
    """
    target = Target.open(Path(into), append=append, levels=levels)
    contents = find_sources(paths, leave_out=target.folder)
    report = ImportReport(
        files=sum(source.files for source in contents.sources) + len(contents.without_vasprun),
        unrelated_files=contents.unrelated_files,
    )
    for path, reason in contents.skipped.items():
        report.note(path, {reason: 1})
    demanded = target.group if required is None else Group(required.level, required.settings_hash)
    theory = [_level(source, report) for source in contents.sources]
    groups = group_levels(theory, demanded, trust=required is not None and required.trust)
    names = FrameNames(target.frame_keys, config_id)
    initial_moments = None if required is None else required.initial_moments
    checks = FrameChecks(force_ceiling_eV_A, initial_moments, levels)
    frame_import = _FrameImport(groups, report, names, checks, target.known)
    target.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.folder, prefix=".import.") as scratch:
        frames = Path(scratch) / "frames.extxyz"
        with frames.open("w", encoding="utf-8") as stream:
            frame_import.write(contents.sources, stream)
        for path, (reason, detail) in contents.without_vasprun.items():
            report.refuse(path, None, reason, detail)
        if report.frames:
            densities = import_chgcars(frame_import.chgcars, Path(scratch) / "densities.h5", report)
            target.add(frames, densities)
    write_text(target.folder / target.refused_name, report.csv())
    if report.frames:
        target.write_card(groups[0], report)
    return report


def _level(source: Source, report: ImportReport) -> Level | None:
    """Level of a calculation, whose file is closed again; None if it is refused, which the report lists."""
    try:
        calculation = open_calculation(source)
    except LabelRefused as refusal:
        report.refuse(source.path, None, refusal.reason, refusal.detail)
        return None
    if isinstance(calculation.frames, Generator):
        calculation.frames.close()
    return calculation.level


@dataclass
class _FrameImport:
    """Second pass of an import: reads every calculation of the level frame by frame; arguments of `import_archive`."""

    groups: list[Group]
    report: ImportReport
    names: FrameNames
    checks: FrameChecks
    known: KnownFrames
    chgcars: list[PendingChgcar] = field(default_factory=list)

    def write(self, sources: Sequence[Source], stream: IO[str]) -> None:
        """Write the accepted frames and add refusals to the report."""
        group_of = {index: group for group in self.groups for index in group.members}
        for index, source in enumerate(sources):
            if index not in group_of:
                continue
            group, wanted = group_of[index], self.groups[0]
            if group is wanted:
                stream.writelines(self._accepted(source, group))
            else:
                differences = level_differences(group.level, wanted.level, wanted.settings_hash)
                self.report.refuse(source.path, None, LabelRefusal.WRONG_SETTINGS, "; ".join(differences))

    def _accepted(self, source: Source, group: Group) -> Iterator[str]:
        """Accepted labels of one source as extended XYZ."""
        name = self.names.configuration(source.name)
        last: FrameVerdict | None = None
        key: tuple[str, int] | None = None
        notes: Counter[str] = Counter()
        for last in judge_calculation(source, group.settings_hash, self.checks, notes):
            key = None
            if last.frame is None or last.result is None:
                refusal = last.refusal or LabelRefused(LabelRefusal.CORRUPTED, "no result")
                step = None if last.frame is None else last.frame.step
                self.report.refuse(source.path, step, refusal.reason, refusal.detail)
                continue
            step = last.frame.step
            label = _label(last, source, group, name, step)
            if twin := self.known.twin_of(label):
                self.report.refuse(source.path, step, "duplicate", twin)
                continue
            new = self.names.of_frame(name, last.frame)
            label.info |= {"config_id": new[0], "step": new[1]}
            try:
                text = frame_text(label, source.path.name)
            except DataError as error:
                self.report.refuse(source.path, step, LabelRefusal.CORRUPTED, str(error))
                continue
            key = new
            self.known.add(label, f"{source.path} step {step}")
            self.report.accepted[key[0]] += 1
            self.report.spin_unknown += not last.spin_judged
            self.report.state_unknown += not last.state_judged
            yield text
        self.report.note(source.path, notes)
        if source.chgcar is not None:
            frame, result = (None, None) if last is None else (last.frame, last.result)
            oxidation = None if result is None else result.oxidation
            self.chgcars.append(PendingChgcar(source.chgcar, frame, key, oxidation))


def _label(item: FrameVerdict, source: Source, group: Group, config_id: str, step: int) -> Atoms:
    frame, result = item.frame, item.result
    assert frame is not None and result is not None
    carried = {key: frame.atoms.info[key] for key in CARRIED_INFO if key in frame.atoms.info}
    if source.is_run and not item.md:
        # Steps of a relaxation are not consecutive in time.
        carried["md"] = False
    return result.label(
        frame.atoms,
        config_id=config_id,
        step=step,
        engine=group.level.code or "unknown",
        settings_hash=group.settings_hash,
        converged=True,
        source=str(source.path),
        **carried,
    )
