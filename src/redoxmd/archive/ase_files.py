"""Calculations in the files of ASE and GPAW: extended XYZ, trajectories, .gpw and logs; GPAW itself is not needed."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from ase import Atoms
from ase.io import read
from ase.io.trajectory import Trajectory
from ase.stress import voigt_6_to_full_3x3_stress

from redoxmd.archive.gpaw_files import gpaw_level, log_level, read_gpw, read_log
from redoxmd.calculation import Calculation, Level, ReadFrame
from redoxmd.density.exchange.text import COMPRESSED
from redoxmd.errors import LabelRefused
from redoxmd.frames import bare

# What a frame says of itself and keeps through an import; the rest of `info` is left behind.
KEPT_INFO = ("config_id", "step", "time_fs", "temperature_K", "settings_hash")
# Some potentials ask for their own names, so that ASE does not take the labels for results.
TRUE_WORDS = ("true", "t", "1")
ENERGY_KEYS, FORCE_KEYS, STRESS_KEYS = ("REF_energy",), ("REF_forces",), ("REF_stress",)


def read_ase(path: Path, kind: str) -> Calculation:
    """A calculation in a file of ASE or GPAW, its frames unread.

    Raises:
        LabelRefused: corrupted when the file cannot even be opened, unfinished when it is empty.
    """
    if path.stat().st_size == 0:
        raise LabelRefused("unfinished", f"{path}: empty")
    readers = {"extxyz": _extxyz, "traj": _trajectory, "gpw": _gpw, "gpaw log": _log}
    return readers[kind](path)


def _extxyz(path: Path) -> Calculation:
    level = next((_info_level(atoms) for atoms in _xyz_frames(path)), Level(""))
    return Calculation(path, level, (_frame(atoms, step) for step, atoms in enumerate(_xyz_frames(path))))


def _xyz_frames(path: Path) -> Iterator[Atoms]:
    """Frame by frame: ASE's own reader gives none of the frames before a cut."""
    with COMPRESSED.get(path.suffix, open)(path, "rt", encoding="utf-8", errors="replace") as stream:
        step = 0
        while (first := stream.readline()).strip():
            yield _xyz_frame(first, stream, f"{path}: frame {step}")
            step += 1
        if first and stream.read().strip():
            raise LabelRefused("corrupted", f"{path}: an empty line after frame {step - 1}, and more below it")


def _xyz_frame(first: str, stream: IO[str], where: str) -> Atoms:
    try:
        count = int(first)
    except ValueError as error:
        raise LabelRefused("corrupted", f"{where}: begins with {first.strip()[:40]!r}, no number of atoms") from error
    lines = [stream.readline() for _ in range(count + 1)]
    if not lines[-1]:
        raise LabelRefused("unfinished", f"{where}: ends after {sum(map(bool, lines[1:]))} of {count} atoms")
    try:
        return read(io.StringIO("".join([first, *lines])), index=0, format="extxyz")
    except Exception as error:
        reason = "unfinished" if not lines[-1].endswith("\n") else "corrupted"
        raise LabelRefused(reason, f"{where}: {error}") from error


def _info_level(atoms: Atoms) -> Level:
    """What a frame's `info` says of its method: seldom more than an engine and a hash."""
    given = atoms.info.get("settings_hash")
    code = str(atoms.info.get("engine", ""))
    return Level(code, details={} if given is None else {"settings_hash": str(given)})


def _trajectory(path: Path) -> Calculation:
    try:
        with Trajectory(path) as trajectory:
            first = trajectory[0]
    except Exception as error:
        raise LabelRefused("corrupted", f"{path}: no readable ASE trajectory ({error})") from error
    parameters = getattr(first.calc, "parameters", {})
    # Results without their calculator are of one called unknown.
    name = (getattr(first.calc, "name", None) or "").replace("unknown", "")
    level = gpaw_level(first, parameters) if name == "gpaw" and parameters else _info_level(first)
    return Calculation(path, level if level.code else Level(name, details=level.details), _trajectory_frames(path))


def _trajectory_frames(path: Path) -> Iterator[ReadFrame]:
    with Trajectory(path) as trajectory:
        for step in range(len(trajectory)):
            try:
                atoms = trajectory[step]
            except Exception as error:
                raise LabelRefused("corrupted", f"{path}: frame {step} of {len(trajectory)}: {error}") from error
            yield _frame(atoms, step)


def _gpw(path: Path) -> Calculation:
    atoms, level, converged = read_gpw(path)
    return Calculation(path, level, iter([_frame(atoms, 0, converged)]))


def _log(path: Path) -> Calculation:
    def frames() -> Iterator[ReadFrame]:
        for step, (atoms, converged) in enumerate(read_log(path)):
            yield _frame(atoms, step, converged)

    return Calculation(path, log_level(path), frames())


def _frame(atoms: Atoms, step: int, converged: bool | None = None) -> ReadFrame:
    """Results where ASE puts them, or under the names potentials use; without forces an empty array."""
    results: dict[str, Any] = getattr(atoms.calc, "results", {})
    geometry = bare(atoms)
    geometry.info = {key: atoms.info[key] for key in KEPT_INFO if key in atoms.info}
    if not isinstance(geometry.info.get("step", 0), int | np.integer):
        del geometry.info["step"]
    energy = _first(results.get("energy"), atoms.info, ENERGY_KEYS)
    forces = _first(results.get("forces"), atoms.arrays, FORCE_KEYS)
    stress = _first(results.get("stress"), atoms.info, STRESS_KEYS)
    said = atoms.info.get("converged", converged)
    return ReadFrame(
        geometry,
        step,
        np.nan if energy is None else float(energy),
        np.empty((0, 3)) if forces is None or energy is None else np.asarray(forces, float),
        None if stress is None else _full_stress(np.asarray(stress, float)),
        results.get("magmoms"),
        converged=None if said is None else str(said).lower() in TRUE_WORDS,
        total_moment_muB=results.get("magmom"),
    )


def _first(found: Any, store: dict[str, Any], keys: tuple[str, ...]) -> Any:
    return found if found is not None else next((store[key] for key in keys if key in store), None)


def _full_stress(stress_eV_A3: np.ndarray) -> np.ndarray:
    full: np.ndarray = stress_eV_A3 if stress_eV_A3.size != 6 else voigt_6_to_full_3x3_stress(stress_eV_A3)
    return full.reshape(3, 3) if full.size == 9 else full
