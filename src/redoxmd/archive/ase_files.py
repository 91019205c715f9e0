"""Readers of calculations in extended XYZ, ASE trajectories, .gpw files and GPAW logs, without GPAW itself."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.trajectory import Trajectory

from redoxmd.archive.gpaw_files import gpaw_level, log_level, read_gpw, read_log
from redoxmd.archive.labels import parse_comment, read_labels
from redoxmd.density.exchange.text import COMPRESSED
from redoxmd.engines.calculation import Calculation, Level, ReadFrame
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.files.frames import bare

# Keys of `info` that an import copies; it drops all others.
IMPORTED_INFO = ("config_id", "step", "time_fs", "temperature_K", "settings_hash", "md")
TRUE_WORDS = ("true", "t", "1")


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
    level = gpaw_level(first, parameters) if name == "gpaw" and parameters else _info_level(first)
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
    atoms, level, converged = read_gpw(path)
    notes: Counter[str] = Counter()
    return Calculation(path, level, iter([_frame(atoms, 0, notes, converged)]), notes=notes)


def _log(path: Path) -> Calculation:
    notes: Counter[str] = Counter()
    frames = (_frame(atoms, step, notes, converged) for step, (atoms, converged) in enumerate(read_log(path)))
    return Calculation(path, log_level(path), frames, notes=notes)


def _frame(atoms: Atoms | LabelRefused, step: int, notes: Counter[str], converged: bool | None = None) -> ReadFrame:
    """A frame with its labels, or with its refusal."""
    empty = np.empty((0, 3))
    if isinstance(atoms, LabelRefused):
        return ReadFrame(Atoms(), step, np.nan, empty, refusal=atoms)
    geometry = bare(atoms)
    geometry.info = {key: atoms.info[key] for key in IMPORTED_INFO if key in atoms.info}
    if not isinstance(geometry.info.get("step", 0), int | np.integer):
        del geometry.info["step"]
    try:
        labels = read_labels(atoms, notes)
    except LabelRefused as refusal:
        return ReadFrame(geometry, step, np.nan, empty, refusal=refusal)
    stated = atoms.info.get("converged", converged)
    return ReadFrame(
        geometry,
        step,
        labels.energy_eV,
        labels.forces_eV_A,
        labels.stress_eV_A3,
        labels.moments_muB,
        converged=None if stated is None else str(stated).lower() in TRUE_WORDS,
        total_moment_muB=labels.total_moment_muB,
    )
