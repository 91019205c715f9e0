"""Readers of calculations in extended XYZ, ASE trajectories, .gpw files and GPAW logs, without GPAW itself."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator, all_properties
from ase.io import read, ulm
from ase.io.trajectory import Trajectory, read_atoms

from redoxmd.archive.labels import parse_comment, read_labels
from redoxmd.density.exchange.text import COMPRESSED
from redoxmd.electrons.orbitals import OCCUPATIONS, are_occupations
from redoxmd.engines.calculation import Calculation, Level, ReadFrame
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.files.frames import bare

# Keys of `info` that an import copies; it drops all others.
IMPORTED_INFO = ("config_id", "step", "time_fs", "temperature_K", "settings_hash", "md")
TRUE_WORDS = ("true", "t", "1")
# Setups such as ":d,4.2" or "paw:d,4.2,0;p,2.0": type, then orbital and U [eV] of each corrected shell.
SETUP_U = re.compile(r"[:;]([spdf]),([\d.]+)")
LOG_U = re.compile(r"^  (\w+):\n(?:    .*\n|      .*\n)*?    Hubbard: \{U: ([\d.]+),[^\n]*\n\s+l: (\d)", re.MULTILINE)
ORBITALS = "spdf"
# Length of the head of a log, which holds the settings.
HEAD_BYTES = 200_000


def read_ase(path: Path, kind: str) -> Calculation:
    """A calculation in a file of ASE or GPAW; its frames are read on iteration.

    Raises:
        LabelRefused: corrupted if the file cannot be opened, unfinished if it is empty.
    """
    if path.stat().st_size == 0:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{path}: empty")
    readers = {"extxyz": _extxyz, "traj": _trajectory, "gpw": _gpw, "gpaw log": _log}
    return readers[kind](path)


def _extxyz(path: Path) -> Calculation:
    level = next((_info_level(atoms) for atoms in _xyz_frames(path) if isinstance(atoms, Atoms)), Level(""))
    notes: Counter[str] = Counter()
    frames = (_frame(atoms, step, notes) for step, atoms in enumerate(_xyz_frames(path)))
    return Calculation(path, level, frames, notes=notes)


def _xyz_frames(path: Path) -> Iterator[Atoms | LabelRefused]:
    """Frames one at a time, a damaged frame as its refusal; ASE's own reader returns no frame of a cut file."""
    with COMPRESSED.get(path.suffix, open)(path, "rt", encoding="utf-8", errors="replace") as stream:
        step = 0
        while (first := stream.readline()).strip():
            yield _xyz_frame(first, stream, f"{path}: frame {step}")
            step += 1
        if first and stream.read().strip():
            raise LabelRefused(
                LabelRefusal.CORRUPTED, f"{path}: an empty line after frame {step - 1}, and more below it"
            )


def _xyz_frame(first: str, stream: IO[str], where: str) -> Atoms | LabelRefused:
    try:
        count = int(first)
    except ValueError as error:
        raise LabelRefused(
            LabelRefusal.CORRUPTED, f"{where}: begins with {first.strip()[:40]!r}, no number of atoms"
        ) from error
    lines = [stream.readline() for _ in range(count + 1)]
    if not lines[-1]:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: ends after {sum(map(bool, lines[1:]))} of {count} atoms")
    try:
        return read(io.StringIO("".join([first, *lines])), index=0, format="extxyz", properties_parser=parse_comment)
    except Exception as error:
        if not lines[-1].endswith("\n"):
            raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: {error}") from error
        return LabelRefused(LabelRefusal.CORRUPTED, f"{where}: {error}")


def _info_level(atoms: Atoms) -> Level:
    """Level of theory from the engine and settings hash in a frame's `info`."""
    settings_hash = atoms.info.get("settings_hash")
    code = str(atoms.info.get("engine", ""))
    return Level(code, details={} if settings_hash is None else {"settings_hash": str(settings_hash)})


def _trajectory(path: Path) -> Calculation:
    try:
        with Trajectory(path) as trajectory:
            first = trajectory[0]
    except Exception as error:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: no readable ASE trajectory ({error})") from error
    parameters = getattr(first.calc, "parameters", {})
    # ASE names the calculator of results without one "unknown".
    name = (getattr(first.calc, "name", None) or "").replace("unknown", "")
    level = _gpaw_level(first, parameters) if name == "gpaw" and parameters else _info_level(first)
    notes: Counter[str] = Counter()
    level = level if level.code else Level(name, details=level.details)
    return Calculation(path, level, _trajectory_frames(path, notes), notes=notes)


def _trajectory_frames(path: Path, notes: Counter[str]) -> Iterator[ReadFrame]:
    with Trajectory(path) as trajectory:
        for step in range(len(trajectory)):
            try:
                atoms = trajectory[step]
            except Exception as error:
                raise LabelRefused(
                    LabelRefusal.CORRUPTED, f"{path}: frame {step} of {len(trajectory)}: {error}"
                ) from error
            yield _frame(atoms, step, notes)


def _gpw(path: Path) -> Calculation:
    try:
        with ulm.open(path) as reader:
            atoms = read_atoms(reader.atoms, _try_except=False)
            results = {key: value for key, value in reader.results.asdict().items() if key in all_properties}
            atoms.calc = SinglePointCalculator(atoms, **results)
            parameters = reader.parameters.asdict()
            scf = reader.scf.asdict() if "scf" in reader else {}
    except Exception as error:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: no readable .gpw file ({error})") from error
    notes: Counter[str] = Counter()
    frame = _frame(atoms, 0, notes, scf.get("converged"))
    return Calculation(path, _gpaw_level(atoms, parameters), iter([frame]), notes=notes)


def _log(path: Path) -> Calculation:
    notes: Counter[str] = Counter()
    frames = (_frame(atoms, step, notes, converged) for step, (atoms, converged) in enumerate(_log_images(path)))
    return Calculation(path, _log_level(path), frames, notes=notes)


def _frame(atoms: Atoms | LabelRefused, step: int, notes: Counter[str], converged: bool | None = None) -> ReadFrame:
    """A frame with its labels, or with its refusal."""
    refused = ReadFrame(Atoms(), step, np.nan, np.empty((0, 3)))
    if isinstance(atoms, LabelRefused):
        return replace(refused, refusal=atoms)
    geometry = bare(atoms)
    geometry.info = {key: atoms.info[key] for key in IMPORTED_INFO if key in atoms.info}
    if not isinstance(geometry.info.get("step", 0), int | np.integer):
        del geometry.info["step"]
    states = geometry.arrays.get("oxidation")
    if states is not None and (states.ndim != 1 or states.dtype.kind not in "iu"):
        del geometry.arrays["oxidation"]
        notes["oxidation left out: not one integer for each atom"] += 1
    try:
        frame = read_labels(atoms, step, notes)
    except LabelRefused as refusal:
        return replace(refused, atoms=geometry, refusal=refusal)
    stated = atoms.info.get("converged", converged)
    return replace(
        frame,
        atoms=geometry,
        converged=None if stated is None else str(stated).lower() in TRUE_WORDS,
        orbital_occupations=_orbital_occupations(atoms, notes),
    )


def _orbital_occupations(atoms: Atoms, notes: Counter[str]) -> np.ndarray | None:
    """Occupation matrices in a frame of redoxmd; None, with a note, if the array of that name is something else."""
    table = atoms.arrays.get(OCCUPATIONS)
    if table is not None and not are_occupations(table):
        notes[f"{OCCUPATIONS} left out: not m(m + 1) finite numbers for each atom, m orbitals"] += 1
        return None
    return table


def _gpaw_level(atoms: Atoms, parameters: Mapping[str, Any]) -> Level:
    """Level of theory from GPAW's input parameters; parameters with GPAW's defaults are not stated."""
    mode = parameters.get("mode", {})
    xc = parameters.get("xc", "LDA")
    setups = parameters.get("setups", {})
    spin = parameters.get("spinpol")
    setups = setups if isinstance(setups, dict) else {}
    shells = {str(element): SETUP_U.findall(str(setup)) for element, setup in setups.items()}
    return Level(
        code="gpaw",
        functional=str(xc.get("name", xc)) if isinstance(xc, dict) else str(xc),
        cutoff_eV=float(mode["ecut"]) if isinstance(mode, dict) and "ecut" in mode else None,
        spin=None if spin is None else bool(spin),
        hubbard={element: (found[0][0], float(found[0][1])) for element, found in shells.items() if found},
        kpoint_reach_A=_reach(atoms, parameters.get("kpts")),
    )


def _reach(atoms: Atoms, kpts: Any) -> float | None:
    size = kpts.get("size") if isinstance(kpts, dict) else kpts
    if size is None or np.shape(size) != (3,):
        return None
    return float((np.asarray(size) * atoms.cell.lengths()).min())


def _log_level(path: Path) -> Level:
    """Level of theory from the head of a log."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(HEAD_BYTES)
    atoms, _ = next(_log_images(path))

    def first_match(pattern: str) -> str | None:
        match = re.search(pattern, head, re.MULTILINE)
        return match[1] if match else None

    cutoff = first_match(r"^ *Cutoff energy: ([\d.]+) eV")
    grid = re.search(r"^\d+ k-points?: (\d+) x (\d+) x (\d+)", head, re.MULTILINE)
    only_gamma = first_match(r"^(1) k-point \(Gamma\)")
    size = [int(number) for number in grid.groups()] if grid else [1, 1, 1] if only_gamma else None
    spin = first_match(r"^(Spin-(?:polarized|paired)) calculation")
    return Level(
        code="gpaw",
        functional=first_match(r"^ *Using the (\S+) Exchange-Correlation functional") or "",
        cutoff_eV=None if cutoff is None else float(cutoff),
        spin=None if spin is None else spin == "Spin-polarized",
        hubbard={element: (ORBITALS[int(shell)], float(u)) for element, u, shell in LOG_U.findall(head)},
        kpoint_reach_A=_reach(atoms, size),
    )


def _log_images(path: Path) -> Iterator[tuple[Atoms, bool]]:
    """Geometries with their results, and whether the SCF of each converged.

    Raises:
        LabelRefused: did_not_start without a geometry, unfinished if the log ends early, corrupted if ASE cannot read
            it.
    """
    block = ""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for block, last in _blocks(stream):
            try:
                atoms = read(io.StringIO(block), format="gpaw-out", index=0)
            except Exception as error:
                raise LabelRefused(
                    LabelRefusal.UNFINISHED if last else LabelRefusal.CORRUPTED,
                    f"{path}: a step not readable ({error})",
                ) from error
            yield atoms, "Converged after" in block
    if not block:
        raise LabelRefused(LabelRefusal.DID_NOT_START, f"{path}: no geometry in it")


def _blocks(lines: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Text from each geometry to the next, and whether it is the last."""
    block: list[str] = []
    for line in lines:
        if line.startswith("Positions:"):
            if block:
                yield "".join(block), False
            block = [line]
        elif block:
            block.append(line)
    if block:
        yield "".join(block), True
