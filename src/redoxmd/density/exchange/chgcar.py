"""Read and write densities in CHGCAR format: ρ·V on the grid, x fastest, total first, then spin."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from redoxmd.density.exchange.text import format_numbers, parse_numbers, read_unpacked, write_bytes
from redoxmd.density.exchange.valence import find_electrons, find_valences
from redoxmd.density.grid import Density, accept_density
from redoxmd.errors import DensityRefusal, DensityRefused

GRIDS = ("total", "spin")
# The grids of VASP integrate to the number of electrons with many digits; a larger difference is a charge of the cell.
CHARGE_E = 0.5
# "Na", "Na_pv", "V/2a4c…", "H.5": the name of a potential starts with its element.
ELEMENT = re.compile(r"([A-Z][a-z]?)(?![A-Za-z])")
AUGMENTATION = b"augmentation"
# A negative number that fills its field follows the previous number without a blank.
FUSED = re.compile(rb"(?<=\d)(?=[-+]\d*\.)")


def read_chgcar(
    path: str | Path, valence: Mapping[str, float] | None = None, *, spin_optional: bool = False
) -> Density:
    """Read a CHGCAR, plain or compressed, with total and spin; with `spin_optional` a missing spin is zero.

    The expected number of electrons is NELECT of the OUTCAR or vasprun.xml in the same folder, else the sum of the
    valence electrons (see `find_valences`).

    Raises:
        DensityRefused: unreadable, no_spin, wrong_shape (also non-collinear), not_finite, wrong_electrons.
    """
    path = Path(path)
    atoms, grids_e = read_chgcar_grids(path)
    if len(grids_e) > len(GRIDS):
        raise DensityRefused(
            DensityRefusal.WRONG_SHAPE, f"{path}: {len(grids_e)} grids; non-collinear densities are not read"
        )
    if len(grids_e) == 1 and not spin_optional:
        raise DensityRefused(
            DensityRefusal.NO_SPIN, f"{path}: one grid only; repeat the run spin-polarised (ISPIN = 2)"
        )
    valences = find_valences(path, atoms.get_chemical_symbols(), valence)
    electrons = find_electrons(path)
    if electrons is None:
        electrons = _neutral_electrons(path, float(valences.sum()), float(grids_e[0].mean()))
    volume_A3 = abs(np.linalg.det(atoms.cell.array))
    total = grids_e[0] / volume_A3
    spin = grids_e[1] / volume_A3 if len(grids_e) > 1 else np.zeros_like(total)
    return accept_density(total, spin, atoms.cell.array, atoms.positions, atoms.numbers, valences, electrons, str(path))


def _neutral_electrons(path: Path, valence_e: float, grid_e: float) -> float:
    """Electrons of the neutral cell; a charge that the relative check of a large cell would miss is refused."""
    if CHARGE_E < abs(grid_e - valence_e) < np.inf:
        raise DensityRefused(
            DensityRefusal.WRONG_ELECTRONS,
            f"{path}: the density holds {grid_e:.3f} electrons, its atoms bring {valence_e:g}; correct --valence or, "
            "for a charged cell, put OUTCAR or vasprun.xml of the run beside it",
        )
    return valence_e


def read_chgcar_grids(path: str | Path) -> tuple[Atoms, list[np.ndarray]]:
    """Atoms and grids (nx, ny, nz) of ρ·V in e, of all grids of a file; augmentation occupancies are skipped.

    Raises:
        DensityRefused: unreadable, wrong_shape, or not_finite (asterisks).
    """
    path = Path(path)
    stream = io.BytesIO(read_unpacked(path))
    atoms, shape = _read_header(stream, path)
    shape_line = rb"\n[ \t]*%d[ \t]+%d[ \t]+%d[ \t]*\r?(?=\n|\Z)" % shape
    blocks = re.split(shape_line, b"\n" + stream.read())
    if AUGMENTATION in blocks[-1]:
        _check_augmentation(blocks[-1], path)
    elif not blocks[-1].endswith(b"\n"):
        # The last number may have lost digits as well.
        raise _ends_early(path, len(blocks), "in mid-line")
    return atoms, [_read_grid(block, shape, len(atoms), path, index) for index, block in enumerate(blocks, start=1)]


def _read_grid(block: bytes, shape: tuple[int, int, int], n_atoms: int, path: Path, index: int) -> np.ndarray:
    text = block.partition(AUGMENTATION)[0]
    points = int(np.prod(shape))
    if len(text.split()) < points:
        text = FUSED.sub(b" ", text)
    words = text.split()
    if len(words) < points:
        raise _ends_early(path, index, f"after {len(words)} of {points} values")
    # Some codes pad the last line with zeros; files without augmentation occupancies may end with local moments.
    columns = len(text.strip().partition(b"\n")[0].split())
    padding = words[points : points + -points % columns]
    padded = padding and not parse_numbers(padding, f"{path}: {_name(index)}").any()
    extra_words = {0, n_atoms} | ({len(padding), len(padding) + n_atoms} if padded else set())
    if len(words) - points not in extra_words:
        raise DensityRefused(
            DensityRefusal.UNREADABLE, f"{path}: {_name(index)} has {len(words)} values for {points} points"
        )
    values = parse_numbers(words[:points], f"{path}: {_name(index)}")
    return values.reshape(shape, order="F")


def _check_augmentation(block: bytes, path: Path) -> None:
    """Refuse a block with fewer occupancies than VASP announces: the file is truncated and may lack its spin grid."""
    last = block.rpartition(AUGMENTATION)[2]
    counts = re.match(rb"[^\n\d]*\d+[ \t]+(\d+)[ \t\r]*\n", last)
    if counts and len(last[counts.end() :].split()) < int(counts[1]):
        raise DensityRefused(
            DensityRefusal.UNREADABLE, f"{path}: ends early, in augmentation occupancies; copy the file again"
        )


def _name(index: int) -> str:
    return f"grid {index} ({GRIDS[index - 1] if index <= len(GRIDS) else 'non-collinear'})"


def _ends_early(path: Path, index: int, position: str) -> DensityRefused:
    return DensityRefused(
        DensityRefusal.UNREADABLE, f"{path}: {_name(index)} ends early, {position}; copy the file again"
    )


def _read_header(stream: io.BytesIO, path: Path) -> tuple[Atoms, tuple[int, int, int]]:
    """Atoms and numbers of grid points along the axes; reads up to the first line of grid points."""

    def words() -> list[str]:
        line = stream.readline()
        if not line:
            raise ValueError("the file ends in its header")
        return line.decode(errors="replace").split()

    try:
        words()
        scale, cell = np.array(words(), float), np.array([words() for _ in range(3)], float)
        factor = _length_factor(scale, cell)
        symbols = _symbols(words(), words(), path)
        mode = words()[0].lower()
        mode = words()[0].lower() if mode.startswith("s") else mode
        rows = [words()[:3] for _ in symbols]
        shape = words() or words()
        if any(len(row) < 3 for row in rows) or len(shape) != 3 or not all(word.isdigit() for word in shape):
            raise DensityRefused(
                DensityRefusal.WRONG_SHAPE, f"{path}: {len(symbols)} atoms announced, but not as many positions"
            )
        positions = np.array(rows, float)
        cartesian_A = positions * factor if mode[0] in "ck" else positions @ (cell * factor)
        atoms = Atoms(symbols, cartesian_A, cell=cell * factor, pbc=True)
        return atoms, (int(shape[0]), int(shape[1]), int(shape[2]))
    except (ValueError, IndexError) as error:
        raise DensityRefused(
            DensityRefusal.UNREADABLE, f"{path}: the header is not that of a CHGCAR ({error})"
        ) from error


def _length_factor(scale: np.ndarray, cell: np.ndarray) -> np.ndarray:
    """Factor on all lengths, or on x, y and z; a single negative number is the cell volume, Å³."""
    if cell.shape != (3, 3) or not abs(np.linalg.det(cell)) > 0:
        raise ValueError("the cell has no volume")
    if len(scale) == 1 and scale[0] < 0:
        return np.cbrt(-scale / abs(np.linalg.det(cell)))
    if len(scale) not in (1, 3) or not (scale > 0).all():
        raise ValueError("the scaling factor is not positive")
    return scale


def _symbols(names: list[str], counts: list[str], path: Path) -> list[str]:
    """Element of every atom from the lines of elements and of atom counts."""
    if all(name.isdigit() for name in names):
        raise ValueError("no line of elements, as in VASP 4; add one above the line of atom counts")
    elements = [match[1] if (match := ELEMENT.match(name)) else name for name in names]
    unknown = [name for name, element in zip(names, elements, strict=True) if element not in chemical_symbols[1:]]
    if unknown:
        raise ValueError(f"{' '.join(unknown)[:40]}: not an element")
    atoms = [int(count) for count in counts]
    if len(atoms) != len(elements) or sum(atoms) < 1 or min(atoms) < 0:
        raise DensityRefused(DensityRefusal.WRONG_SHAPE, f"{path}: {len(elements)} elements with {atoms} atoms")
    return [element for element, count in zip(elements, atoms, strict=True) for _ in range(count)]


def write_chgcar(path: str | Path, density: Density) -> None:
    """Write total and spin as a CHGCAR, compressed according to the suffix.

    Atoms are grouped by element in the order of first occurrence, so that mixed elements change the order of atoms. The
    columns are those of VASP, because Bader codes read the header by columns: cell and positions have six decimals. The
    file has no augmentation occupancies, so VASP cannot start from it.
    """
    numbers = list(density.numbers)
    elements = list(dict.fromkeys(numbers))
    order = np.array(sorted(range(len(numbers)), key=lambda atom: elements.index(numbers[atom])))
    # Wrapped into the cell, as VASP writes them: Bader codes leave no room for a sign.
    fractional = (density.positions_A @ np.linalg.inv(density.cell_A) % 1.0)[order]
    lines = [
        "redoxmd: " + " ".join(density.source.split()),
        "   1.00000000000000",
        *(f" {x:12.6f}{y:12.6f}{z:12.6f}" for x, y, z in density.cell_A),
        "".join(f"   {chemical_symbols[element]:<2}" for element in elements),
        "".join(f"{numbers.count(element):6d}" for element in elements),
        "Direct",
        *(f"{x:10.6f}{y:10.6f}{z:10.6f}" for x, y, z in fractional),
        "",
    ]
    shape = "".join(f"{points:5d}" for points in density.shape) + "\n"
    blocks = ["\n".join(lines).encode() + b"\n"]
    for grid_e_A3 in (density.total_e_A3, density.spin_e_A3):
        values_e = (grid_e_A3.astype(float) * density.volume_A3).ravel(order="F")
        blocks += [shape.encode(), format_numbers(values_e, " %17.10E", 5)]
    write_bytes(path, b"".join(blocks))
