"""Readers of GPAW's files without GPAW: .gpw by ASE's container format, logs by ASE's reader."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import ase.io.ulm as ulm
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator, all_properties
from ase.io import read
from ase.io.trajectory import read_atoms

from redoxmd.engines.calculation import Level
from redoxmd.errors import LabelRefusal, LabelRefused

# Setups such as ":d,4.2" or "paw:d,4.2,0;p,2.0": type, then orbital and U [eV] of each corrected shell.
SETUP_U = re.compile(r"[:;]([spdf]),([\d.]+)")
LOG_U = re.compile(r"^  (\w+):\n(?:    .*\n|      .*\n)*?    Hubbard: \{U: ([\d.]+),[^\n]*\n\s+l: (\d)", re.MULTILINE)
ORBITALS = "spdf"
# Length of the head of a log, which holds the settings and the first geometry.
HEAD_BYTES = 200_000


def read_gpw(path: Path) -> tuple[Atoms, Level, bool | None]:
    """Geometry with results, level of theory, and whether its SCF converged.

    Raises:
        LabelRefused: corrupted if the file is cut or no .gpw file.
    """
    try:
        with ulm.open(path) as reader:
            atoms = read_atoms(reader.atoms, _try_except=False)
            results = {key: value for key, value in reader.results.asdict().items() if key in all_properties}
            atoms.calc = SinglePointCalculator(atoms, **results)
            parameters = reader.parameters.asdict()
            scf = reader.scf.asdict() if "scf" in reader else {}
    except Exception as error:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: no readable .gpw file ({error})") from error
    return atoms, gpaw_level(atoms, parameters), scf.get("converged")


def gpaw_level(atoms: Atoms, parameters: Mapping[str, Any]) -> Level:
    """Level of theory from GPAW's input parameters; parameters with GPAW's defaults are not stated."""
    mode = parameters.get("mode", {})
    xc = parameters.get("xc", "LDA")
    setups = parameters.get("setups", {})
    spin = parameters.get("spinpol")
    return Level(
        code="gpaw",
        functional=str(xc.get("name", xc)) if isinstance(xc, dict) else str(xc),
        cutoff_eV=float(mode["ecut"]) if isinstance(mode, dict) and "ecut" in mode else None,
        spin=None if spin is None else bool(spin),
        hubbard=_hubbard(setups if isinstance(setups, dict) else {}),
        kpoint_reach_A=_reach(atoms, parameters.get("kpts")),
    )


def _hubbard(setups: Mapping[str, Any]) -> dict[str, tuple[str, float]]:
    shells = {str(element): SETUP_U.findall(str(setup)) for element, setup in setups.items()}
    return {element: (corrected[0][0], float(corrected[0][1])) for element, corrected in shells.items() if corrected}


def _reach(atoms: Atoms, kpts: Any) -> float | None:
    size = kpts.get("size") if isinstance(kpts, dict) else kpts
    if size is None or np.shape(size) != (3,):
        return None
    return float((np.asarray(size) * atoms.cell.lengths()).min())


def log_level(path: Path) -> Level:
    """Level of theory from the head of a log."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        head = stream.read(HEAD_BYTES)
    blocks = _blocks(head.splitlines(keepends=True))
    atoms = next((_image(block, path, last=False) for block, last in blocks), None)

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
        kpoint_reach_A=None if atoms is None else _reach(atoms, size),
    )


def read_log(path: Path) -> Iterator[tuple[Atoms, bool]]:
    """Geometries with their results, and whether the SCF of each converged.

    Raises:
        LabelRefused: did_not_start without a geometry, unfinished if the log ends early, corrupted if ASE cannot read
            it.
    """
    empty = True
    with path.open(encoding="utf-8", errors="replace") as stream:
        for block, last in _blocks(stream):
            empty = False
            yield _image(block, path, last), "Converged after" in block
    if empty:
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


def _image(block: str, path: Path, last: bool) -> Atoms:
    """One geometry with its results."""
    try:
        return read(io.StringIO(block), format="gpaw-out", index=0)
    except Exception as error:
        raise LabelRefused(
            LabelRefusal.UNFINISHED if last else LabelRefusal.CORRUPTED, f"{path}: a step not readable ({error})"
        ) from error
