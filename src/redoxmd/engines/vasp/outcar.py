"""OUTCAR alone, line by line: for runs that left no vasprun.xml, and for the local moments, which that file lacks.

ASE's reader skips what it cannot read, gives a cut last step as a whole one, and knows no electronic steps.
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
# xx, yy, zz, xy, yz, zx of VASP in a (3, 3).
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
    """Level of theory at once, frames as they are asked for; memory for one ionic step. Also .gz, .bz2, .xz.

    Energy is energy(sigma->0) below the forces, eV. Positions (n, 3) have five decimals, forces six, cells nine. Stress
    (3, 3) in eV/Å³ with ASE's sign. Moments (n,) in μB are column tot of "magnetization (x)", from the ionic step or
    behind it; None without LORBIT or with noncollinear spins. The total moment is that of the last electronic step. A
    step is converged if its loop ended below EDIFF, both in energy and in the sum of eigenvalues, whatever the sentence
    on EDIFF says (5.4.4 says it at NELM too).

    NWRITE of 0 or 1 leaves these changes out behind the first ionic step: a loop shorter than NELM is believed then.
    NWRITE of 0 also leaves out forces of all steps but the first and the last; these are refused one by one.

    Steps that VASP's own force field predicted are left out, as are loops of linear response behind the ground state
    and the stress of ISIF below 2; `notes` says so. Without the INCAR in it (before VASP 6) the file does not
    tell a meta-GGA from a GGA, so the functional is not known.

    Raises:
        LabelRefused: did_not_start for no file or an empty one; unfinished or corrupted for a header that is cut or
            unreadable; not_self_consistent. The frames raise unfinished where the file ends without its timing or a
            step lacks forces or energy; corrupted for numbers of stars, unreadable tables, and another run behind the
            first.
    """
    path = Path(path)
    lines = _lines(path)
    header, first = read_header(lines, path)
    settings = header.settings
    refuse_fixed_density(settings, path)
    # Only with the INCAR in the file does a tag that is absent have VASP's default.
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
    """Local moments (n,) in μB of every ionic step, None where a step has none; see `read_spins`."""
    return [moments for moments, _ in read_spins(path)]


def read_spins(path: str | Path) -> list[tuple[np.ndarray | None, float | None]]:
    """Local moments (n,) and total moment, μB, of every ionic step before the end of a cut file; None where not there.

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
    """Whole lines; a last one without its end is left out, as its numbers may be cut."""
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
            what = f"{path}, ionic step {index} from 0: no {'forces' if table is None else 'energy'}"
            if verbosity >= FULL_OUTPUT:
                raise LabelRefused(LabelRefusal.UNFINISHED, what)
            cure = f"NWRITE = {verbosity} leaves them out; take the vasprun.xml, or repeat with NWRITE = 2"
            yield ReadFrame(
                Atoms(),
                index,
                np.nan,
                np.empty((0, 3)),
                refusal=LabelRefused(LabelRefusal.UNFINISHED, f"{what}; {cure}"),
            )
            continue
        if stress is not None and partial is not None:
            notes[partial] += 1
            stress = None
        converged: bool | None = loop_converged(step.loops, step.change_eV, settings, 0.0)
        if verbosity < FULL_OUTPUT and index > 0 and step.change_eV is None and step.loops < settings.get("NELM", 60):
            notes[f"convergence not stated (NWRITE = {verbosity}): loops shorter than NELM are believed"] += 1
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
    """Ionic steps and loops of response, each given when the next begins or the run ends, as moments may come late."""
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
            # Of VASP's own force field (ML) there are further tables; of steps it predicts, nothing else.
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
            _take(step, mark, line, where)
    if predictions > index + 1:
        notes["steps that VASP's own force field predicted (ML_LMLFF) are left out"] = 1
    if not ended:
        if step.energy_eV is not None:
            yield step
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{path} ends in mid-run, in ionic step {index} from 0")


def _without_response(steps: Iterator[_Step], response: str, notes: Counter[str]) -> Iterator[_Step]:
    """Ionic steps; loops of a response follow them, under the same or an earlier number, or without forces."""
    done = 0
    for step in steps:
        if response and done and (step.number <= done or (step.table is None and step.energy_eV is None)):
            notes[f"loops of a response ({response}) behind the ground state are left out"] = 1
            continue
        done = step.number
        yield step


def _iteration(line: str, path: Path) -> tuple[int, int]:
    """Ionic and electronic step of a line "Iteration i( j)"."""
    match = ITERATION.search(line)
    if match is None:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: {line.strip()[:60]!r}")
    return int(match[1]), int(match[2])


def _take(step: _Step, mark: str, line: str, where: str) -> None:
    """What a marked line says of a step."""
    if mark == "total energy-change":
        match = CHANGE.search(line)
        step.change_eV = max(_size(word) for word in match.groups()) if match else None
    elif mark == "number of electron ":
        # Nothing without spin, three numbers with noncollinear ones.
        words = line.partition("magnetization")[2].split()
        step.total_moment_muB = numbers(words[0], 1, where)[0] if len(words) == 1 else None
    elif mark == "EDIFF was not reached":
        step.contradicted = True
    elif step.table is not None and step.energy_eV is None:
        match = ENERGY.search(line)
        step.energy_eV = numbers(match[1] if match else "", 1, where)[0]


def _size(word: str) -> float:
    """Size of a number; infinite for one without end or meaning."""
    try:
        return float(np.nan_to_num(abs(float(word)), nan=np.inf))
    except ValueError:
        return float("inf")


def _moments(lines: Iterator[str], count: int, where: str) -> np.ndarray:
    """Last column of a table that begins behind its line of dashes."""
    for line in islice(lines, 5):
        if line.startswith("---"):
            break
    rows = [line.split() for line in islice(lines, count)]
    if len(rows) < count:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: the file ends in the table of moments")
    return np.array([numbers(row[-1] if row else "", 1, where)[0] for row in rows])
