"""Export to folders of DeePMD-kit: one system for each order of atoms, with its frames in sets of NumPy files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from ase import Atoms

from redoxmd.errors import DataError
from redoxmd.files.records import atomic_path, write_text

# Frames of a set, which is held in memory until it is full.
SET_FRAMES = 2000


@dataclass
class _System:
    """Frames with one order of atoms; `rows` holds the set that is not yet full."""

    folder: Path
    symbols: list[str]
    labels: frozenset[str]
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    sets: int = 0
    files: list[Path] = field(default_factory=list)

    def add(self, frame: Atoms) -> None:
        for name, row in _row(frame).items():
            self.rows.setdefault(name, []).append(row)
        if len(self.rows["energy"]) >= SET_FRAMES:
            self.flush()

    def flush(self) -> None:
        """Write the set and begin the next."""
        for name, rows in self.rows.items():
            path = self.folder / f"set.{self.sets:03d}" / f"{name}.npy"
            with atomic_path(path) as temporary, temporary.open("wb") as stream:
                np.save(stream, np.array(rows))
            self.files.append(path)
        self.sets += bool(self.rows)
        self.rows = {}


def export_deepmd(frames: Iterable[Atoms], to: Path) -> list[Path]:
    """Write coord [Å], box [Å], energy [eV], force [eV/Å] and virial [eV] of labelled frames.

    The virial is −V·σ = −dE/dε with ASE's stress σ (positive under tension): positive where the cell would expand. A
    frame without stress goes to a system without virial.

    Raises:
        DataError: a frame has no cell.
    """
    systems: dict[tuple[tuple[str, ...], bool], _System] = {}
    for count, frame in enumerate(frames):
        if not frame.cell.rank == 3:
            raise DataError(f"frame {count}: has no cell; DeePMD's box needs one")
        symbols = list(frame.symbols)
        key = (tuple(symbols), "stress" in frame.calc.results)
        if key not in systems:
            systems[key] = _System(to / _folder_name(frame, systems, to), symbols, frozenset(frame.calc.results))
        systems[key].add(frame)
    elements = sorted({symbol for system in systems.values() for symbol in system.symbols})
    for system in systems.values():
        system.flush()
        _write_types(system, elements)
    return [path for system in systems.values() for path in system.files]


def _folder_name(frame: Atoms, systems: dict[tuple[tuple[str, ...], bool], _System], to: Path) -> str:
    formula = frame.get_chemical_formula(mode="metal")
    taken = {system.folder.name for system in systems.values()}
    candidates = (formula if count == 1 else f"{formula}-{count}" for count in range(1, len(taken) + 2))
    return next(name for name in candidates if name not in taken)


def _write_types(system: _System, elements: list[str]) -> None:
    """Write the same type map for all systems, so that a model can read all of them."""
    for name, words in (
        ("type_map.raw", elements),
        ("type.raw", [str(elements.index(symbol)) for symbol in system.symbols]),
    ):
        write_text(system.folder / name, "\n".join(words) + "\n")
        system.files.append(system.folder / name)


def _row(frame: Atoms) -> dict[str, np.ndarray]:
    results = frame.calc.results
    row = {
        "coord": frame.positions.ravel(),
        "box": np.asarray(frame.cell).ravel(),
        "energy": np.asarray(float(results["energy"])),
        "force": np.asarray(results["forces"], float).ravel(),
    }
    if "stress" in results:
        row["virial"] = (-frame.get_volume() * frame.get_stress(voigt=False)).ravel()
    return row
