"""Labelled frames as extended XYZ, the contract between stages and with other codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from redoxmd.errors import DataError, reason_of
from redoxmd.records import atomic_path

# What every labelled frame says of itself, beside energy [eV], forces (N, 3) [eV/Å] and, where there are any,
# stress (3, 3) [eV/Å³] and magmoms (N,) [μB].
INFO_KEYS = ("config_id", "step", "time_fs", "temperature_K", "engine", "settings_hash", "converged")
KEPT_ARRAYS = ("numbers", "positions", "momenta", "initial_magmoms", "site")


def labelled(
    atoms: Atoms,
    energy_eV: float,
    forces_eV_A: np.ndarray,
    stress_eV_A3: np.ndarray | None = None,
    moments_muB: np.ndarray | None = None,
    **info: Any,
) -> Atoms:
    """A copy of `atoms` that carries the results and the given `info` keys, and nothing else."""
    frame = bare(atoms)
    results: dict[str, Any] = {"energy": float(energy_eV), "forces": np.asarray(forces_eV_A)}
    if stress_eV_A3 is not None:
        # Symmetric to the last bit, as it comes back from a file.
        results["stress"] = 0.5 * (np.asarray(stress_eV_A3) + np.transpose(stress_eV_A3))
    if moments_muB is not None:
        results["magmoms"] = np.asarray(moments_muB)
    frame.calc = SinglePointCalculator(frame, **results)
    frame.info.update(info)
    return frame


def bare(atoms: Atoms) -> Atoms:
    """Numbers, positions, cell, periodicity, momenta and initial moments, without results or info."""
    frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for key in KEPT_ARRAYS[2:]:
        if key in atoms.arrays:
            frame.set_array(key, atoms.arrays[key].copy())
    return frame


def write_frames(path: str | Path, frames: Sequence[Atoms]) -> None:
    """Write frames as extended XYZ, atomically; an empty sequence writes an empty file."""
    # Imported late: every parse of the workflow passes here, and ase.io takes half a second.
    from ase.io import write

    with atomic_path(path) as temporary:
        if frames:
            write(temporary, list(frames), format="extxyz")


def read_frames(path: str | Path) -> list[Atoms]:
    """Read all frames of an extended XYZ file; an empty file holds none.

    Raises:
        DataError: the file is missing or cannot be parsed to its end.
    """
    from ase.io import read

    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file of frames")
    if path.stat().st_size == 0:
        return []
    try:
        frames = list(read(path, ":", format="extxyz"))
    except Exception as error:
        raise DataError(
            f"{path}: not readable as extended XYZ ({reason_of(error)}); restore it or delete it and run again"
        ) from error
    # ASE writes words it has read in another width than those of NumPy, and a file is to survive being read.
    for frame in frames:
        for name, values in frame.arrays.items():
            if values.dtype == object:
                frame.arrays[name] = values.astype(str)
    return frames
