"""Table of the oxidation states of finished calculations, and its summary."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from redoxmd.archive.reading import open_calculation, read_calculation
from redoxmd.archive.sources import FrameNames, find_sources
from redoxmd.electrons.states import OxidationLevels, assign_oxidation, describe_faults, states_text
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import DataError, LabelRefused

COLUMNS = ["config_id", "step", "neutral", "states", "margin_muB2", "total_moment_muB", "refusal"]


def tabulate_states(paths: Sequence[str | Path], levels: OxidationLevels) -> pd.DataFrame:
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
    return pd.DataFrame(list(_rows(paths, levels)), columns=COLUMNS)


def _rows(paths: Sequence[str | Path], levels: OxidationLevels) -> Iterator[tuple[object, ...]]:
    names = FrameNames()
    for source in find_sources(paths).sources:
        config_id = names.configuration(source.name)
        try:
            calculation = open_calculation(source)
        except LabelRefused as refusal:
            raise DataError(f"{source.path}: {refusal.detail}") from refusal
        for frame in read_calculation(calculation, source):
            if isinstance(frame, LabelRefused):
                raise DataError(f"{source.path}: {frame.detail}")
            yield *names.of_frame(config_id, frame), *_state_of(frame, levels)


def _state_of(frame: ReadFrame, levels: OxidationLevels) -> tuple[object, ...]:
    symbols = list(frame.atoms.symbols)
    if frame.moments_muB is None:
        return "", "", np.nan, frame.total_moment_muB, "no moments"
    assignment = assign_oxidation(symbols, frame.moments_muB, levels)
    atoms = levels.redox_atoms(symbols)
    states = assignment.oxidation[atoms]
    faults = describe_faults(assignment, symbols, frame.moments_muB, frame.total_moment_muB, levels)
    neutral = states_text([symbols[atom] for atom in atoms], states)
    return neutral, " ".join(map(str, states)), assignment.margin_muB2, frame.total_moment_muB, faults


def summarise_states(table: pd.DataFrame) -> list[str]:
    """One line per configuration: frames, states asked for, frames in a clean state, hops, and the first refusal."""
    lines = []
    for name, rows in table.groupby("config_id", sort=False):
        clean = rows["refusal"] == ""
        text = (
            f"{name}: {clean.sum()} of {len(rows)} frames in a clean neutral state ({rows['neutral'].iloc[0] or '?'})"
        )
        changes = hops(rows)
        if changes:
            text += f"; {len(changes)} changes of state, at step {', '.join(map(str, changes))}"
        if not clean.all():
            first = rows[~clean].iloc[0]
            text += f"; step {first['step']}: {first['refusal']}"
        lines.append(text)
    refused = (table["refusal"] != "").sum()
    return [*lines, f"{len(table)} frames, {refused} not in a clean neutral state"]


def hops(rows: pd.DataFrame) -> list[int]:
    """Steps of a configuration at which the assigned states differ from those one step before."""
    known = rows[rows["states"] != ""]
    steps, states = known["step"].to_numpy(), known["states"].to_numpy()
    return [int(steps[k]) for k in range(1, len(steps)) if steps[k] == steps[k - 1] + 1 and states[k] != states[k - 1]]
