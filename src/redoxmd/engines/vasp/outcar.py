"""Reader of the moments in an OUTCAR, which vasprun.xml lacks; energy and positions identify each ionic step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from redoxmd.engines.vasp.text import numbers, opened

MARKS = re.compile(
    r"-- Iteration\s+(\d+)\(|number of electron |magnetization \(x\)|TOTAL-FORCE(?!.*\(ML\))"
    r"|(?<!ML )energy\(sigma->0\)\s*=\s*(\S+)"
)


@dataclass
class SpinStep:
    """Moments of one ionic step, None where the file has none.

    Attributes:
        positions_A: (n, 3), five decimals; None without forces (NWRITE = 0).
        energy_eV: extrapolated to zero smearing, below the forces.
        moments_muB: (n,) column tot of "magnetization (x)"; None without LORBIT.
        total_moment_muB: of the cell after the last electronic step; None without spin or with noncollinear spins.
    """

    positions_A: np.ndarray | None = None
    energy_eV: float | None = None
    moments_muB: np.ndarray | None = None
    total_moment_muB: float | None = None


def read_spins(path: Path) -> Iterator[SpinStep]:
    """Ionic steps of an OUTCAR (also .gz, .bz2, .xz), one at a time in memory, up to the end of a cut file.

    Loops of linear response after the ground state are steps without positions. Tables that VASP's own force field (ML)
    predicted are left out. A last line without line end is left out, because its numbers may be cut.

    Raises:
        LabelRefused: did_not_start for a missing or empty file; unfinished for a cut compressed file; corrupted for
            stars instead of numbers.
    """
    step: SpinStep | None = None
    number, index = "", -1
    with opened(path) as stream:
        lines = (line.decode("latin-1") for line in stream if line.endswith(b"\n"))
        for line in lines:
            match = MARKS.search(line)
            if match is None:
                continue
            where = f"{path}, ionic step {index} from 0"
            if match[1]:
                # A loop behind the energy belongs to the next step; the moments of a step may follow its energy.
                if step is None or match[1] != number or step.energy_eV is not None:
                    if step is not None:
                        yield step
                    step, number, index = SpinStep(), match[1], index + 1
            elif step is None:
                continue
            elif match[0] == "number of electron ":
                # No number without spin, three numbers with noncollinear spins.
                words = line.partition("magnetization")[2].split()
                step.total_moment_muB = numbers(words[0], 1, where)[0] if len(words) == 1 else None
            elif match[2]:
                if step.positions_A is not None and step.energy_eV is None:
                    step.energy_eV = numbers(match[2], 1, where)[0]
            elif (table := _table(lines)) is None:
                return
            elif match[0] == "TOTAL-FORCE":
                if step.positions_A is None:
                    step.positions_A = np.array([numbers(row, 6, where)[:3] for row in table])
            elif step.moments_muB is None:
                step.moments_muB = np.array([numbers(row.split()[-1], 1, where)[0] for row in table])
    if step is not None:
        yield step


def _table(lines: Iterator[str]) -> list[str] | None:
    """Rows between a line of dashes and the next such or empty line; None if the file ends before."""
    rows: list[str] | None = None
    for line in lines:
        if line.strip().startswith("---"):
            if rows is not None:
                return rows
            rows = []
        elif rows is not None:
            if not line.strip():
                return rows
            rows.append(line)
    return None
