"""Labelled frames as extended XYZ, the contract between stages and with other codes."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import voigt_6_to_full_3x3_stress

from redoxmd.errors import DataError, reason_of, system_errno
from redoxmd.files.records import atomic_path

# Decimals of the columns (positions, forces, …), as ASE writes them.
COLUMN_DECIMALS = 8
TRUTH_VALUES = ("T", "F", "true", "false", "True", "False", "TRUE", "FALSE")
KEPT_ARRAYS = ("numbers", "positions", "momenta", "initial_magmoms", "site", "oxidation")


def labelled(
    atoms: Atoms,
    energy_eV: float,
    forces_eV_A: np.ndarray,
    stress_eV_A3: np.ndarray | None = None,
    moments_muB: np.ndarray | None = None,
    **info: Any,
) -> Atoms:
    """A copy of `atoms` with only these results and `info` keys."""
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
    """Numbers, positions, cell, periodicity and the arrays `KEPT_ARRAYS`, without results or info."""
    frame = Atoms(numbers=atoms.numbers, positions=atoms.positions, cell=atoms.cell, pbc=atoms.pbc)
    for key in KEPT_ARRAYS[2:]:
        if key in atoms.arrays:
            values = atoms.arrays[key]
            # ASE reads text columns as objects, and writes objects with another width than text.
            frame.set_array(key, values.astype(str) if values.dtype == object else values.copy())
    return frame


def write_frames(path: str | Path, frames: Iterable[Atoms]) -> None:
    """Write frames as extended XYZ, atomically; no frames make an empty file.

    Raises:
        DataError: a frame does not read back equal (`frame_text`); the file stays as it was.
    """
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8") as stream:
        for number, frame in enumerate(frames):
            stream.write(frame_text(frame, f"{path}: frame {number}"))


def frame_text(frame: Atoms, name: str = "frame") -> str:
    """One frame as extended XYZ, read back and found equal: info, arrays, results, cell, periodicity, constraints.

    Columns (positions, forces, …) have eight decimals; cell, energy, stress and `info` have all digits. Text in `info`
    that a reader takes for numbers or truth values ("007", "1e5", "T") is written as JSON, which ASE reads as text.

    Args:
        frame: with any calculator that holds its results.
        name: of the frame in error messages.

    Raises:
        DataError: a value does not read back equal: None, an empty text, a type or a shape that the format lacks.
    """
    try:
        text, lost = _written(frame)
    except Exception as error:
        text, lost = "", _unwritable(frame) or str(error)
    if lost:
        place = ", ".join(f"{key} {frame.info[key]}" for key in ("config_id", "step") if key in frame.info)
        raise DataError(
            f"{name}{place and f' ({place})'}: {lost} does not read back equal from extended XYZ; leave it out or give "
            "another value"
        )
    return text


def _written(frame: Atoms) -> tuple[str, str]:
    """A frame as extended XYZ, and the first value, `info['key'] = …`, that is read as another one; "" for none."""
    # Imported late: every parse of the workflow passes here, and ase.io takes half a second.
    from ase.io.extxyz import write_xyz

    stored = frame.copy()
    stored.calc = frame.calc
    stored.info = {key: _unambiguous(value) for key, value in frame.info.items()}
    stream = io.StringIO()
    write_xyz(stream, stored)
    (back,) = _parse(io.StringIO(stream.getvalue()))
    for (owner, before), after in zip(_contents(frame).items(), _contents(back).values(), strict=True):
        for key in {**before, **after}:
            if not (key in before and key in after and _equal(before[key], after[key])):
                return stream.getvalue(), _named(owner, key, before.get(key))
    return stream.getvalue(), ""


def _unwritable(frame: Atoms) -> str:
    """The entry of info or arrays that cannot be read even when it is written alone; "" for none."""
    entries = [("info", *item) for item in frame.info.items()] + [("arrays", *item) for item in frame.arrays.items()]
    for owner, key, value in entries:
        alone = Atoms(frame.numbers, frame.positions)
        getattr(alone, owner)[key] = value
        try:
            lost = _written(alone)[1]
        except Exception:
            lost = _named(owner, key, value)
        if lost:
            return lost
    return ""


def _named(owner: str, key: Any, value: Any) -> str:
    return f"{owner}[{key!r}] = {' '.join(repr(value).split()):.60}"


def read_frames(path: str | Path) -> list[Atoms]:
    """Read all frames of an extended XYZ file; an empty file holds none.

    Raises:
        DataError: the file is missing or cannot be parsed to its end.
        OSError: the file system does not deliver it now.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"{path}: no such file of frames")
    if path.stat().st_size == 0:
        return []
    try:
        with path.open(encoding="utf-8") as stream:
            return _parse(stream)
    except Exception as error:
        if system_errno(error) is not None:
            raise
        raise DataError(
            f"{path}: not readable as extended XYZ ({reason_of(error)}); restore it or delete it and run again"
        ) from error


def _parse(stream: TextIO) -> list[Atoms]:
    from ase.io.extxyz import read_xyz

    frames = list(read_xyz(stream, slice(None)))
    # ASE reads text columns as objects and writes objects with another width, so a file would change when rewritten.
    for frame in frames:
        for name, values in frame.arrays.items():
            if values.dtype == object:
                frame.arrays[name] = values.astype(str)
    return frames


def _unambiguous(value: Any) -> Any:
    """Text as JSON if a reader of extended XYZ would take it for numbers or truth values; other values unchanged."""
    words = re.findall(r"[^\s,]+", value) if isinstance(value, str) else []
    try:
        [float(word) for word in words if word not in TRUTH_VALUES]
    except ValueError:
        return value
    return f"_JSON {json.dumps(value, ensure_ascii=False)}" if words else value


def _contents(frame: Atoms) -> dict[str, dict[str, Any]]:
    """The parts of a frame that must be read back equal: info, arrays, results, cell, periodicity, constraints."""
    stored = {} if frame.calc is None else frame.calc.results
    results = {key: value for key, value in stored.items() if value is not None}
    if np.shape(results.get("stress", ())) == (6,):
        results["stress"] = voigt_6_to_full_3x3_stress(results["stress"])
    atoms = {"cell": frame.cell.array, "pbc": frame.pbc, "constraints": [str(item) for item in frame.constraints]}
    return {"info": frame.info, "arrays": frame.arrays, "results": results, "atoms": atoms}


def _equal(before: Any, after: Any) -> bool:
    """Whether a value is read back with the same type, shape and content; floats of columns to their decimals."""
    if before is None or isinstance(before, str | dict):
        return isinstance(after, str | dict) and bool(before == after)
    old, new = np.asarray(before), np.asarray(after)
    if old.shape != new.shape or old.dtype.kind.replace("u", "i") != new.dtype.kind:
        return False
    if old.dtype.kind != "f":
        return bool(np.array_equal(old, new))
    decimals = 0.51 * 10.0**-COLUMN_DECIMALS if old.ndim else 0.0
    return bool(np.allclose(old, new.astype(old.dtype), rtol=1e-15, atol=decimals, equal_nan=True))
