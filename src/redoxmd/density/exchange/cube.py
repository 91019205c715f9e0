"""Read and write densities as pairs of Gaussian cube files (total and spin): Bohr, e/Bohr³, z fastest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from ase.data import chemical_symbols
from ase.units import Bohr

from redoxmd.density.exchange.text import (
    COMPRESSED,
    format_numbers,
    parse_numbers,
    plain_name,
    read_unpacked,
    write_bytes,
)
from redoxmd.density.exchange.valence import find_valences
from redoxmd.density.grid import Density, accept_density
from redoxmd.errors import DensityRefusal, DensityRefused

COMMENT_LINES = 2
HEADER_LINES = 6
HEADER_TOLERANCE_A = 1e-4  # each file rounds separately


def spin_cube(total_path: str | Path) -> Path:
    """Path of the spin of NAME.cube: NAME_spin.cube in any compression, by default in that of NAME.cube."""
    path = Path(total_path)
    plain = Path(plain_name(path))
    compression = path.name.removeprefix(plain.name)
    suffixes = (compression, "", *COMPRESSED)
    candidates = [path.with_name(f"{plain.stem}_spin{plain.suffix}{suffix}") for suffix in suffixes]
    return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def is_cube(path: Path) -> bool:
    """Whether a file has the name of a cube, NAME.cube or NAME.cube.gz (.bz2, .xz)."""
    return Path(plain_name(path)).suffix == ".cube"


def read_cube(
    total_path: str | Path, spin_path: str | Path | None, valence: Mapping[str, float] | None = None
) -> Density:
    """Read total and spin from two cube files whose grid spans a periodic cell.

    Valence electrons are those of `valence`, else the charge column of an atom if it lies in (0, Z], else those of
    `find_valences`.

    Raises:
        DensityRefused: unreadable, no_spin, wrong_shape, not_finite or wrong_electrons.
    """
    path = Path(total_path)
    if spin_path is None or not Path(spin_path).is_file():
        raise DensityRefused(
            DensityRefusal.NO_SPIN, f"{path}: no spin density in the folder; write it to {spin_cube(path).name}"
        )
    total, cell, atoms = _read(path)
    spin, spin_cell, spin_atoms = _read(Path(spin_path))
    if not _agree(cell, spin_cell) or not _agree(atoms[:, [0, 2, 3, 4]], spin_atoms[:, [0, 2, 3, 4]]):
        raise DensityRefused(DensityRefusal.WRONG_SHAPE, f"{path}: cell or atoms differ from those of {spin_path}")
    valences = _valences(path, atoms, valence)
    numbers = atoms[:, 0].astype(int)
    return accept_density(
        total, spin, cell, atoms[:, 2:], numbers, valences, float(valences.sum()), f"{path} and {Path(spin_path).name}"
    )


def _agree(total: np.ndarray, spin: np.ndarray) -> bool:
    return total.shape == spin.shape and np.allclose(total, spin, rtol=0, atol=HEADER_TOLERANCE_A)


def _valences(path: Path, atoms: np.ndarray, by_element: Mapping[str, float] | None) -> np.ndarray:
    """Valence electrons (n,) by element, else from the charge column, else from `find_valences`."""
    symbols = np.array([chemical_symbols[int(number)] for number in atoms[:, 0]])
    valences = np.where((atoms[:, 1] > 0) & (atoms[:, 1] <= atoms[:, 0]), atoms[:, 1], np.nan)
    valences[np.isin(symbols, list(by_element or {}))] = np.nan
    missing = np.isnan(valences)
    valences[missing] = find_valences(path, symbols[missing].tolist(), by_element)
    return valences


def _read(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid (e/Å³), cell (Å) and atoms (n, 5): number, charge column, position from the origin of the grid (Å)."""
    lines = read_unpacked(path).split(b"\n", HEADER_LINES)
    try:
        count, *origin = (float(word) for word in lines[COMMENT_LINES].split()[:4])
        axes = np.array([line.split()[:4] for line in lines[COMMENT_LINES + 1 : HEADER_LINES]], float)
        points = axes[:, 0].astype(int)
        if not count.is_integer() or (points < 1).any():
            raise ValueError("the file holds orbitals, or the grid has other units than Bohr")
        *rows, values = lines[HEADER_LINES].split(b"\n", max(int(count), 0))
        atoms = np.array([row.split() for row in rows], float).reshape(-1, 5)
    except (ValueError, IndexError) as error:
        raise DensityRefused(
            DensityRefusal.UNREADABLE, f"{path}: the header is not that of a density cube ({error})"
        ) from error
    if count < 1 or len(atoms) != count or not set(atoms[:, 0]) <= set(range(1, len(chemical_symbols))):
        raise DensityRefused(
            DensityRefusal.WRONG_SHAPE, f"{path}: {count:g} atoms announced, {len(atoms)} valid ones found"
        )
    atoms[:, 2:] = (atoms[:, 2:] - origin) * Bohr
    return _grid(values.split(), points, path) / Bohr**3, axes[:, 1:] * axes[:, :1] * Bohr, atoms


def _grid(words: list[bytes], points: np.ndarray, path: Path) -> np.ndarray:
    size = int(points.prod())
    if len(words) != size:
        prefix = "ends early, " if len(words) < size else ""
        raise DensityRefused(
            DensityRefusal.UNREADABLE, f"{path}: {prefix}{len(words)} values for {size} points; write it again"
        )
    return parse_numbers(words, str(path)).reshape(points)


def write_cube(path: str | Path, density: Density, component: str = "total") -> None:
    """Write the total or the spin density; the charge column of an atom holds its valence electrons."""
    grid_e_A3 = {"total": density.total_e_A3, "spin": density.spin_e_A3}[component]
    atoms = zip(density.numbers, density.valence_e, density.positions_A / Bohr, strict=True)
    lines = [
        f"redoxmd: {component} density, e/Bohr^3, of " + " ".join(density.source.split()),
        "OUTER LOOP: X, MIDDLE LOOP: Y, INNER LOOP: Z",
        _header_line(len(density.numbers), np.zeros(3)),
        *(_header_line(n, vector / n / Bohr) for n, vector in zip(density.shape, density.cell_A, strict=True)),
        *(_header_line(number, [charge, *position]) for number, charge, position in atoms),
        "",
    ]
    rows = (grid_e_A3.astype(float) * Bohr**3).reshape(-1, density.shape[2])
    write_bytes(path, "\n".join(lines).encode() + b"".join(format_numbers(row, " %12.5E", 6) for row in rows))


def _header_line(count: int, numbers: Iterable[float]) -> str:
    return f"{count:5d}" + "".join(f"{number:12.6f}" for number in numbers)
