"""Table of the oxidation states of finished calculations, and its summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from redoxmd.archive.reading import open_calculation, read_calculation
from redoxmd.archive.sources import FrameNames, Source, find_sources
from redoxmd.electrons.states import OxidationLevels, assign_oxidation, describe_faults, states_text
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefused

COLUMNS = ["config_id", "step", "neutral", "states", "margin_muB2", "total_moment_muB", "refusal"]


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

    Raises:
        DataError: a path is missing, or there is no calculation in it.
        StructureError: a composition cannot be neutral.
        ConfigError: an element has no oxidation number.
    """
    contents, names = find_sources(paths), FrameNames()
    rows: list[tuple[object, ...]] = []
    not_read = [f"{path}: {detail}" for path, (_, detail) in contents.without_vasprun.items()]
    for source in contents.sources:
        config_id = names.configuration(source.name)
        for frame in _frames(source):
            if isinstance(frame, LabelRefused):
                not_read.append(f"{source.path}: {frame.detail}")
            else:
                rows.append((*names.of_frame(config_id, frame), *_state_of(frame, levels)))
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
    faults = describe_faults(assignment, symbols, frame.moments_muB, frame.total_moment_muB, levels)
    neutral = states_text([symbols[atom] for atom in atoms], states)
    return neutral, " ".join(map(str, states)), assignment.margin_muB2, frame.total_moment_muB, faults


def summarise_states(report: StatesReport) -> list[str]:
    """A line per configuration (frames in a clean state, changes, first refusal) and per file not read, and a total."""
    lines, table = [], report.table
    for name, rows in table.groupby("config_id", sort=False):
        clean = rows["refusal"] == ""
        text = (
            f"{name}: {clean.sum()} of {len(rows)} frames in a clean neutral state ({rows['neutral'].iloc[0] or '?'})"
        )
        changes = find_state_changes(rows)
        if changes:
            text += f"; states change at step {', '.join(map(str, changes))}"
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
