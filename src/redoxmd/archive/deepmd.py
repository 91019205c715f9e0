"""Export to folders of DeePMD-kit: one system for each order of atoms, with its frames in sets of NumPy files."""

from __future__ import annotations

from collections import Counter
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
    rows: dict[str, list[np.ndarray]] = field(default_factory=dict)
    sets: int = 0
    files: list[Path] = field(default_factory=list)

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
    frame without stress goes to a system without virial. All systems have the same type map, so that a model can read
    all of them.

    Raises:
        DataError: a frame has no cell.
    """
    systems: dict[tuple[tuple[str, ...], bool], _System] = {}
    formulas: Counter[str] = Counter()
    for count, frame in enumerate(frames):
        if not frame.cell.rank == 3:
            raise DataError(f"frame {count}: has no cell; DeePMD's box needs one")
        results = frame.calc.results
        key = (tuple(frame.symbols), "stress" in results)
        if key not in systems:
            formula = frame.get_chemical_formula(mode="metal")
            formulas[formula] += 1
            folder = to / (formula if formulas[formula] == 1 else f"{formula}-{formulas[formula]}")
            systems[key] = _System(folder, list(frame.symbols))
        row = {
            "coord": frame.positions.ravel(),
            "box": np.asarray(frame.cell).ravel(),
            "energy": np.asarray(float(results["energy"])),
            "force": np.asarray(results["forces"], float).ravel(),
        }
        if "stress" in results:
            row["virial"] = (-frame.get_volume() * frame.get_stress(voigt=False)).ravel()
        for name, values in row.items():
            systems[key].rows.setdefault(name, []).append(values)
        if len(systems[key].rows["energy"]) >= SET_FRAMES:
            systems[key].flush()
    elements = sorted({symbol for system in systems.values() for symbol in system.symbols})
    for system in systems.values():
        system.flush()
        types = [str(elements.index(symbol)) for symbol in system.symbols]
        for name, words in (("type_map.raw", elements), ("type.raw", types)):
            write_text(system.folder / name, "\n".join(words) + "\n")
            system.files.append(system.folder / name)
    return [path for system in systems.values() for path in system.files]
