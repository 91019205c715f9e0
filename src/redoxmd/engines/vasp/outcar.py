"""Reader of OUTCAR, line by line: for runs without vasprun.xml, and for the local moments, which vasprun.xml lacks.

ASE's reader skips unreadable lines, returns a cut last step as a complete one, and does not read electronic steps.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from ase import Atoms

from redoxmd.engines.calculation import NONCOLLINEAR, Calculation, ReadFrame
from redoxmd.engines.vasp.level import joined_titles, level_of
from redoxmd.engines.vasp.outcar_header import Header, read_header, read_rows, second_run
from redoxmd.engines.vasp.tags import DETAILS
from redoxmd.engines.vasp.text import (
    FULL_OUTPUT,
    loop_converged,
    numbers,
    opened,
    partial_stress_note,
    refuse_fixed_density,
    response_tags,
)
from redoxmd.engines.vasp.vasprun import EV_A3_PER_KBAR
from redoxmd.errors import LabelRefusal, LabelRefused

ITERATION = re.compile(r"-- Iteration\s+(\d+)\(\s*(\d+)\)")
CHANGE = re.compile(r"energy-change[^:]*:\s*(\S+?)\s*\(\s*(\S+?)\)")
ENERGY = re.compile(r"(?<!ML )energy\(sigma->0\)\s*=\s*(\S+)")
MARKS = re.compile(
    r"-- Iteration|total energy-change|number of electron |EDIFF was not reached|magnetization \(x\)|  in kB"
    r"|direct lattice vectors|TOTAL-FORCE|(?<!ML )energy\(sigma->0\)|General timing and accounting|executed on"
)
# Indices of VASP's components xx, yy, zz, xy, yz, zx in a (3, 3) tensor.
TENSOR = np.array([[0, 3, 5], [3, 1, 4], [5, 4, 2]])


@dataclass
class _Step:
    """An ionic step as far as it has been read."""

    number: int
    loops: int = 0
    change_eV: float | None = None
    contradicted: bool = False
    moments_muB: np.ndarray | None = None
    total_moment_muB: float | None = None
    stress_eV_A3: np.ndarray | None = None
    table: np.ndarray | None = None
    cell: np.ndarray | None = None
    energy_eV: float | None = None


def read_outcar(path: str | Path) -> Calculation:
    """Calculation of an OUTCAR (also .gz, .bz2, .xz): level of theory at once, frames one at a time in memory.

    Energy is energy(sigma->0) below the forces, eV. Positions (n, 3) have five decimals, forces six, cells nine. Stress
    (3, 3) in eV/Å³ with ASE's sign. Moments (n,) in μB are column tot of "magnetization (x)", in the ionic step or
    after it; None without LORBIT or with noncollinear spins. The total moment is that of the last electronic step. A
    step is converged if its loop ended below EDIFF, both in energy and in the sum of eigenvalues; the sentence on EDIFF
    is not used, because version 5.4.4 prints it at NELM, too.

    With NWRITE = 0 or 1 these changes are missing after the first ionic step; a loop shorter than NELM is then accepted
    with unknown convergence. With NWRITE = 0 the forces of all steps but the first and the last are missing, too; each
    of these steps is refused.

    Steps that VASP's own force field predicted, loops of linear response after the ground state, and the stress for
    ISIF below 2 are left out; `notes` lists them. Without the INCAR (before VASP 6) the file does not distinguish a
    meta-GGA from a GGA, so the functional is unknown.

    Raises:
        LabelRefused: did_not_start for a missing or empty file; unfinished or corrupted for a cut or unreadable header;
            not_self_consistent. The frames raise unfinished if the file ends without its timing or a step lacks forces
            or energy; corrupted for stars instead of numbers, unreadable tables, and a second run after the first.
    """
    path = Path(path)
    lines = _lines(path)
    header, first = read_header(lines, path)
    settings = header.settings
    refuse_fixed_density(settings, path)
    # An absent tag has VASP's default only if the file contains the INCAR.
    unknown = {} if header.incar else {"METAGGA": None} | {tag: None for tag in DETAILS if tag not in settings}
    titles = joined_titles(list(zip(header.elements, header.titles, strict=True)))
    level = level_of(
        settings | unknown,
        header.elements,
        titles,
        header.cell,
        header.divisions,
        incar=header.incar or None,
        valence_e=header.valence_e,
        atoms=sum(header.counts),
    )
    electrons = settings.get("NELECT")
    notes: Counter[str] = Counter()
    return Calculation(path, level, _frames(lines, first, header, path, notes), settings, electrons, notes)


def read_moments(path: str | Path) -> list[np.ndarray | None]:
    """Local moments (n,) in μB of every ionic step, None for a step without moments; see `read_spins`."""
    return [moments for moments, _ in read_spins(path)]


def read_spins(path: str | Path) -> list[tuple[np.ndarray | None, float | None]]:
    """Local moments (n,) and total moment, μB, of every ionic step, up to the end of a cut file; None if missing.

    Raises:
        LabelRefused: did_not_start or corrupted, see `read_outcar`.
    """
    spins: list[tuple[np.ndarray | None, float | None]] = []
    try:
        for frame in read_outcar(path).frames:
            spins.append((frame.moments_muB, frame.total_moment_muB))
    except LabelRefused as refused:
        if refused.reason != LabelRefusal.UNFINISHED:
            raise
    return spins


def _lines(path: Path) -> Iterator[str]:
    """Complete lines; a last line without line end is left out, because its numbers may be cut."""
    with opened(path) as stream:
        for line in stream:
            if line.endswith(b"\n"):
                yield line.decode("latin-1")


def _frames(lines: Iterator[str], first: str, header: Header, path: Path, notes: Counter[str]) -> Iterator[ReadFrame]:
    symbols, settings = header.symbols, header.settings
    verbosity = int(settings.get("NWRITE", FULL_OUTPUT))
    partial = partial_stress_note(settings)
    steps = _without_response(_steps(lines, first, header, path, notes), response_tags(settings), notes)
    for index, step in enumerate(steps):
        table, stress = step.table, step.stress_eV_A3
        if table is None or step.energy_eV is None:
            problem = f"{path}, ionic step {index} from 0: no {'forces' if table is None else 'energy'}"
            if verbosity >= FULL_OUTPUT:
                raise LabelRefused(LabelRefusal.UNFINISHED, problem)
            remedy = f"NWRITE = {verbosity} leaves them out; take the vasprun.xml, or repeat with NWRITE = 2"
            yield ReadFrame(
                Atoms(),
                index,
                np.nan,
                np.empty((0, 3)),
                refusal=LabelRefused(LabelRefusal.UNFINISHED, f"{problem}; {remedy}"),
            )
            continue
        if stress is not None and partial is not None:
            notes[partial] += 1
            stress = None
        converged: bool | None = loop_converged(step.loops, step.change_eV, settings, 0.0)
        if verbosity < FULL_OUTPUT and index > 0 and step.change_eV is None and step.loops < settings.get("NELM", 60):
            notes[f"convergence not stated (NWRITE = {verbosity}): loops shorter than NELM are accepted"] += 1
            converged = None
        noncollinear = settings.get("LNONCOLLINEAR") is True
        if noncollinear and step.moments_muB is not None:
            notes[NONCOLLINEAR] += 1
        yield ReadFrame(
            atoms=Atoms(symbols, positions=table[:, :3], cell=step.cell, pbc=True),
            step=index,
            energy_eV=step.energy_eV,
            forces_eV_A=table[:, 3:],
            stress_eV_A3=stress,
            moments_muB=None if noncollinear else step.moments_muB,
            total_moment_muB=step.total_moment_muB,
            scf_steps=step.loops,
            converged=False if step.contradicted else converged,
        )


def _steps(lines: Iterator[str], first: str, header: Header, path: Path, notes: Counter[str]) -> Iterator[_Step]:
    """Ionic steps and loops of response, each yielded at the start of the next or the end of the run.

    The moments of a step may follow its forces and energy.
    """
    step, ended, index = _Step(*_iteration(first, path)), False, 0
    cell, stress, predictions = header.cell, None, 0
    response = bool(response_tags(header.settings))
    for line in lines:
        match = MARKS.search(line)
        if match is None:
            continue
        mark, where = match[0], f"{path}, ionic step {index} from 0"
        if mark == "executed on" or (ended and mark == "-- Iteration"):
            if not ended and step.energy_eV is not None:
                yield step
            raise second_run(path)
        if mark == "General timing and accounting":
            ended = True
            yield step
        elif mark == "  in kB":
            stress = EV_A3_PER_KBAR * np.array(numbers(line.partition("kB")[2], 6, where))[TENSOR]
        elif mark == "direct lattice vectors":
            cell = read_rows(lines, 3, 6, where)[:, :3]
        elif mark == "TOTAL-FORCE":
            next(lines, None)
            table = read_rows(lines, len(header.symbols), 6, where)
            # VASP's own force field (ML) prints further tables; a step that it predicts has no other output.
            if "(ML)" in line:
                predictions += 1
            elif step.table is None:
                step.table, step.cell, step.stress_eV_A3 = table, cell, stress
        elif mark == "-- Iteration":
            number, loop = _iteration(line, path)
            repeats = number < step.number or (number == step.number and loop <= step.loops)
            if repeats and not response:
                raise second_run(path)
            if number == step.number and not repeats and not (response and step.energy_eV is not None):
                step.loops, step.change_eV = loop, None
            else:
                yield step
                step, index, stress = _Step(number, loop), index + 1, None
        elif mark == "magnetization (x)":
            moments = _moments(lines, len(header.symbols), where)
            step.moments_muB = moments if step.moments_muB is None else step.moments_muB
        else:
            _read_marked_line(step, mark, line, where)
    if predictions > index + 1:
        notes["steps that VASP's own force field predicted (ML_LMLFF) are left out"] = 1
    if not ended:
        if step.energy_eV is not None:
            yield step
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{path} ends in mid-run, in ionic step {index} from 0")


def _without_response(steps: Iterator[_Step], response: str, notes: Counter[str]) -> Iterator[_Step]:
    """Ionic steps without loops of response.

    These follow an ionic step with the same or an earlier number, or without forces and energy.
    """
    last_number = 0
    for step in steps:
        if response and last_number and (step.number <= last_number or (step.table is None and step.energy_eV is None)):
            notes[f"loops of a response ({response}) behind the ground state are left out"] = 1
            continue
        last_number = step.number
        yield step


def _iteration(line: str, path: Path) -> tuple[int, int]:
    """Ionic and electronic step of a line "Iteration i( j)"."""
    match = ITERATION.search(line)
    if match is None:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: {line.strip()[:60]!r}")
    return int(match[1]), int(match[2])


def _read_marked_line(step: _Step, mark: str, line: str, where: str) -> None:
    """Store the values of a marked line in the step."""
    if mark == "total energy-change":
        match = CHANGE.search(line)
        step.change_eV = max(_magnitude(word) for word in match.groups()) if match else None
    elif mark == "number of electron ":
        # No number without spin, three numbers with noncollinear spins.
        words = line.partition("magnetization")[2].split()
        step.total_moment_muB = numbers(words[0], 1, where)[0] if len(words) == 1 else None
    elif mark == "EDIFF was not reached":
        step.contradicted = True
    elif step.table is not None and step.energy_eV is None:
        match = ENERGY.search(line)
        step.energy_eV = numbers(match[1] if match else "", 1, where)[0]


def _magnitude(word: str) -> float:
    """Absolute value of a number; infinite for an infinite number, NaN or an unreadable word."""
    try:
        return float(np.nan_to_num(abs(float(word)), nan=np.inf))
    except ValueError:
        return float("inf")


def _moments(lines: Iterator[str], count: int, where: str) -> np.ndarray:
    """Last column (n,) of a table that begins after its line of dashes."""
    for line in islice(lines, 5):
        if line.startswith("---"):
            break
    rows = [line.split() for line in islice(lines, count)]
    if len(rows) < count:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: the file ends in the table of moments")
    return np.array([numbers(row[-1] if row else "", 1, where)[0] for row in rows])
