"""Reader of moments and occupations in an OUTCAR; energy and positions identify each ionic step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from redoxmd.electrons.orbitals import occupation_columns
from redoxmd.engines.vasp.text import FUSED, numbers, opened

MARKS = re.compile(
    r"-- Iteration\s+(\d+)\(|number of electron |magnetization \(x\)|TOTAL-FORCE(?!.*\(ML\))"
    r"|^\s*atom =\s*(?P<atom>\d+)\s+type =\s*\d+\s+l =\s*(?P<l>\d)"
    r"|(?<!ML )energy\(sigma->0\)\s*=\s*(?P<energy>\S+)"
)


@dataclass
class SpinStep:
    """Moments of one ionic step, None where the file has none.

    Attributes:
        positions_A: (n, 3), five decimals; None without forces (NWRITE = 0).
        energy_eV: extrapolated to zero smearing, below the forces.
        moments_muB: (n,) column tot of "magnetization (x)"; None without LORBIT.
        total_moment_muB: of the cell after the last electronic step; None without spin or with noncollinear spins.
        occupations: atom → (2, 2l + 1, 2l + 1) "onsite density matrix" of each spin after the last electronic step;
            empty without LDAUPRINT, without spin or with noncollinear spins.
    """

    positions_A: np.ndarray | None = None
    energy_eV: float | None = None
    moments_muB: np.ndarray | None = None
    total_moment_muB: float | None = None
    occupations: dict[int, np.ndarray] = field(default_factory=dict)

    def occupation_columns(self, n_atoms: int) -> np.ndarray | None:
        """The occupations as columns of a frame (`electrons.orbitals.occupation_columns`); None without any."""
        if not self.occupations:
            return None
        size = max(len(matrices[0]) for matrices in self.occupations.values())
        return occupation_columns(self.occupations, n_atoms, size)


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
            elif match["energy"]:
                if step.positions_A is not None and step.energy_eV is None:
                    step.energy_eV = numbers(match["energy"], 1, where)[0]
            elif match["atom"]:
                matrices = _onsite_matrices(lines, 2 * int(match["l"]) + 1)
                # Behind the energy it belongs to linear response.
                if matrices is not None and step.energy_eV is None:
                    step.occupations[int(match["atom"]) - 1] = matrices
            elif (table := _table(lines)) is None:
                return
            elif match[0] == "TOTAL-FORCE":
                if step.positions_A is None:
                    step.positions_A = np.array([numbers(row, 6, where)[:3] for row in table])
            elif step.moments_muB is None:
                step.moments_muB = np.array([numbers(row.split()[-1], 1, where)[0] for row in table])
    if step is not None:
        yield step


def _onsite_matrices(lines: Iterator[str], size: int) -> np.ndarray | None:
    """Matrices (2, size, size) of one atom, up to the list of their eigenvalues; None for another form of block."""
    rows: list[list[float]] = []
    for line in lines:
        if line.strip().startswith(("onsite density matrix", "spin component")):
            continue
        try:
            row = [float(word) for word in FUSED.sub(" -", line).split()]
        except ValueError:
            break
        if row:
            rows.append(row)
    is_whole = len(rows) == 2 * size and all(len(row) == size for row in rows)
    return np.array(rows).reshape(2, size, size) if is_whole else None


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
