"""Table of the oxidation states of finished calculations, and its summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from redoxmd.archive.reading import open_calculation, read_calculation
from redoxmd.archive.sources import FrameNames, Source, find_sources
from redoxmd.electrons.orbitals import ORBITAL_CHANGE, orbital_changes
from redoxmd.electrons.states import OxidationLevels, assign_oxidation, describe_faults, states_text
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefused

COLUMNS = [
    *("config_id", "step", "neutral", "states", "margin_muB2", "total_moment_muB", "refusal"),
    *("orbital_change", "changed_orbitals"),
]


class StatesReport(NamedTuple):
    """Result of `tabulate_states`.

    Attributes:
        table: one row per frame, see there.
        not_read: file and reason, for every file or rest of a file that could not be read.
    """

    table: pd.DataFrame
    not_read: list[str]


def tabulate_states(paths: Sequence[str | Path], levels: OxidationLevels) -> StatesReport:
    """States of every frame of the calculations in these files and folders, in the order of the files.

    Columns:
        config_id, step: of the frame.
        neutral: the states that charge neutrality asks for, as counts ("two V4+").
        states: assigned oxidation number of each redox atom in order ("3 4 4 3"); empty without moments.
        margin_muB2: cost of the next neutral assignment minus that of this one (`StateAssignment`).
        total_moment_muB: of the cell; NaN if the file does not state it.
        refusal: why the frame is not in a clean state, or why it has none; empty if it is.
        orbital_change: largest change of an orbital order (`orbitals.orbital_changes`) since the frame one step before,
            among redox atoms whose assigned state is the same in both; NaN if either has no occupations or states.
        changed_orbitals: the atoms where it exceeds `orbitals.ORBITAL_CHANGE` ("V 26, V 30").

    Raises:
        DataError: a path is missing, or there is no calculation in it.
        StructureError: a composition cannot be neutral.
        ConfigError: an element has no oxidation number.
    """
    contents, names = find_sources(paths), FrameNames()
    rows: list[tuple[object, ...]] = []
    not_read = [f"{path}: {detail}" for path, (_, detail) in contents.without_vasprun.items()]
    for source in contents.sources:
        config_id, before = names.configuration(source.name), None
        for frame in _frames(source):
            if isinstance(frame, LabelRefused):
                not_read.append(f"{source.path}: {frame.detail}")
                continue
            key, state = names.of_frame(config_id, frame), _state_of(frame, levels)
            now = _Step(*key, str(state[1]), frame)
            rows.append((*key, *state, *_orbital_change(before, now, levels)))
            before = now
    return StatesReport(pd.DataFrame(rows, columns=COLUMNS), not_read)


def _frames(source: Source) -> Iterator[ReadFrame | LabelRefused]:
    try:
        calculation = open_calculation(source)
    except LabelRefused as refusal:
        yield refusal
        return
    yield from read_calculation(calculation, source)


def _state_of(frame: ReadFrame, levels: OxidationLevels) -> tuple[object, ...]:
    symbols = list(frame.atoms.symbols)
    if frame.refusal is not None or frame.moments_muB is None:
        reason = "no moments" if frame.refusal is None else frame.refusal.detail
        return "", "", np.nan, frame.total_moment_muB, reason
    if not np.isfinite(frame.moments_muB).all():
        return "", "", np.nan, frame.total_moment_muB, "moments with NaN or infinite numbers"
    assignment = assign_oxidation(symbols, frame.moments_muB, levels)
    atoms = levels.redox_atoms(symbols)
    states = assignment.oxidation[atoms]
    faults = describe_faults(
        assignment,
        symbols,
        frame.moments_muB,
        frame.total_moment_muB,
        levels,
        orbital_occupations=frame.orbital_occupations,
    )
    neutral = states_text([symbols[atom] for atom in atoms], states)
    return neutral, " ".join(map(str, states)), assignment.margin_muB2, frame.total_moment_muB, faults


class _Step(NamedTuple):
    """A frame with its place in a run and its assigned states."""

    config_id: str
    step: int
    states: str
    frame: ReadFrame


def _orbital_change(before: _Step | None, now: _Step, levels: OxidationLevels) -> tuple[float, str]:
    """Columns `orbital_change` and `changed_orbitals` of a frame."""
    if before is None or (now.config_id, now.step) != (before.config_id, before.step + 1):
        return np.nan, ""
    tables = [step.frame.orbital_occupations for step in (before, now)]
    states = [np.array(step.states.split()) for step in (before, now)]
    if tables[0] is None or tables[1] is None or tables[0].shape != tables[1].shape or not all(map(len, states)):
        return np.nan, ""
    symbols = list(now.frame.atoms.symbols)
    atoms = levels.redox_atoms(symbols)[states[0] == states[1]]
    changes = orbital_changes(tables[0], tables[1])[atoms]
    changed = atoms[changes > ORBITAL_CHANGE]
    return float(changes.max(initial=0.0)), ", ".join(f"{symbols[atom]} {atom}" for atom in changed)


def summarise_states(report: StatesReport) -> list[str]:
    """Lines: one per configuration (clean frames, changes, first refusal) and per file not read, and a total."""
    lines, table = [], report.table
    for name, rows in table.groupby("config_id", sort=False):
        clean = rows["refusal"] == ""
        text = (
            f"{name}: {clean.sum()} of {len(rows)} frames in a clean neutral state ({rows['neutral'].iloc[0] or '?'})"
        )
        changes = find_state_changes(rows)
        if changes:
            text += f"; states change at step {', '.join(map(str, changes))}"
        changed = rows[rows["changed_orbitals"] != ""]
        if len(changed):
            steps = (f"{row.step} ({row.changed_orbitals})" for row in changed.itertuples())
            text += f"; orbital order changes at step {', '.join(steps)}"
        if not clean.all():
            first = rows[~clean].iloc[0]
            text += f"; step {first['step']}: {first['refusal']}"
        lines.append(text)
    refused = (table["refusal"] != "").sum()
    lines += [f"not read: {file}" for file in report.not_read]
    return [*lines, f"{len(table)} frames, {refused} not in a clean neutral state"]


def find_state_changes(rows: pd.DataFrame) -> list[int]:
    """Steps of a configuration at which the assigned states differ from those one step before."""
    known = rows[rows["states"] != ""]
    steps, states = known["step"].to_numpy(), known["states"].to_numpy()
    return [int(steps[k]) for k in range(1, len(steps)) if steps[k] == steps[k - 1] + 1 and states[k] != states[k - 1]]
