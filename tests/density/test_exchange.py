import bz2
import gzip
import lzma
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from ase import Atoms
from ase.io.cube import read_cube as ase_read_cube
from ase.io.cube import write_cube as ase_write_cube
from ase.units import Bohr
from pymatgen.io.vasp.outputs import Chgcar

from redoxmd.cli import main
from redoxmd.config.sections import EngineSettings
from redoxmd.density.exchange.archive import import_densities
from redoxmd.density.exchange.chgcar import read_chgcar, read_chgcar_grids, write_chgcar
from redoxmd.density.exchange.cube import read_cube, write_cube
from redoxmd.density.exchange.valence import find_electrons, find_valences, parse_valences
from redoxmd.density.grid import ELECTRON_TOLERANCE
from redoxmd.density.store import density_keys, read_densities, write_densities
from redoxmd.engines.toy import VALENCE_ELECTRONS, ToyEngine
from redoxmd.errors import ConfigError, DataError, DensityRefused
from tests.conftest import rock

DATA = Path(__file__).parents[1] / "data/chgcar"
VALENCE = ",".join(f"{symbol}={electrons:g}" for symbol, electrons in VALENCE_ELECTRONS.items())
CHGCAR_DIGITS = 1e-9  # relative to the largest value, of eleven digits
CUBE_DIGITS = 2e-5  # of six digits and of axes in 1e-6 Bohr
HEADER_DIGITS_A = 1e-5  # of six decimals in fractional coordinates
SINGLE = 1e-6

OUTCAR = """
 POTCAR:    PAW_PBE V 08Apr2002
   VRHFIN =V: 4p5d4s1
   TITEL  = PAW_PBE V_pv 07Sep2000
   POMASS =   50.941; ZVAL   =   11.000    mass and valenz
   TITEL  = PAW_PBE Na_pv 19Sep2006
   POMASS =   22.990; ZVAL   =    7.000    mass and valenz
   ZVAL   =  11.00  7.00
   NELECT =     {electrons}    total number of electrons
"""
VASPRUN = """
 <i name="NELECT">    {electrons}</i>
 <rc><c>   2</c><c>V </c><c>     50.94100000</c><c>     11.00000000</c><c>  PAW_PBE V_pv 07Sep2000   </c></rc>
 <rc><c>   1</c><c>Na</c><c>     22.99000000</c><c>      7.00000000</c><c>  PAW_PBE Na_pv 19Sep2006  </c></rc>
"""


def toy(seed=1):
    engine = ToyEngine(EngineSettings(name="toy"))
    engine.calculate(rock(seed))
    return engine.density()


@pytest.fixture(scope="module")
def density():
    return toy()


@pytest.fixture
def chgcar(tmp_path, density):
    path = tmp_path / "run/CHGCAR"
    write_chgcar(path, density)
    return path


def edit(path, old, new, count=1):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, count))
    return path


def grouped(density):
    """Atoms as a CHGCAR orders them."""
    first = list(dict.fromkeys(density.numbers.tolist()))
    return np.array(sorted(range(len(density.numbers)), key=lambda atom: first.index(density.numbers[atom])))


def assert_grids_agree(found, expected, digits):
    for name in ("total_e_A3", "spin_e_A3"):
        grid = getattr(expected, name)
        np.testing.assert_allclose(getattr(found, name), grid, rtol=0, atol=digits * abs(grid).max())


def refusal(path, valence=VALENCE_ELECTRONS, **options):
    with pytest.raises(DensityRefused) as caught:
        read_chgcar(path, valence, **options)
    assert path.name in caught.value.detail
    return caught.value


@pytest.mark.parametrize("name", ["CHGCAR", "CHGCAR.gz"])
def test_chgcar_round_trip(tmp_path, density, name):
    write_chgcar(tmp_path / name, density)
    read = read_chgcar(tmp_path / name, VALENCE_ELECTRONS)
    order = grouped(density)
    assert_grids_agree(read, density, CHGCAR_DIGITS)
    np.testing.assert_array_equal(read.numbers, density.numbers[order])
    np.testing.assert_array_equal(read.valence_e, density.valence_e[order])
    shift = (read.positions_A - density.positions_A[order]) @ np.linalg.inv(density.cell_A)
    np.testing.assert_allclose(shift, np.round(shift), atol=HEADER_DIGITS_A)
    assert read.electrons == density.electrons
    assert read.moment_muB == pytest.approx(density.moment_muB, abs=1e-6)


def test_the_same_density_gives_the_same_bytes(tmp_path, density):
    write_chgcar(tmp_path / "a/CHGCAR.gz", density)
    write_chgcar(tmp_path / "b/CHGCAR.gz", density)
    assert (tmp_path / "a/CHGCAR.gz").read_bytes() == (tmp_path / "b/CHGCAR.gz").read_bytes()


@pytest.mark.parametrize("name", ["CHGCAR", "CHGCAR.gz"])
def test_pymatgen_reads_what_we_write(tmp_path, density, name):
    write_chgcar(tmp_path / name, density)
    theirs = Chgcar.from_file(tmp_path / name)
    volume_A3 = density.volume_A3
    np.testing.assert_allclose(theirs.data["total"] / volume_A3, density.total_e_A3, atol=1e-6)
    np.testing.assert_allclose(theirs.data["diff"] / volume_A3, density.spin_e_A3, atol=1e-6)
    np.testing.assert_allclose(theirs.structure.lattice.matrix, density.cell_A, atol=1e-6)
    assert [site.specie.Z for site in theirs.structure] == density.numbers[grouped(density)].tolist()


def test_we_read_what_pymatgen_writes(tmp_path, chgcar, density):
    Chgcar.from_file(chgcar).write_file(tmp_path / "CHGCAR")
    assert_grids_agree(read_chgcar(tmp_path / "CHGCAR", VALENCE_ELECTRONS), density, CHGCAR_DIGITS)


def test_the_header_has_the_columns_that_bader_codes_read(chgcar, density):
    # Fortran 3F13.6 for the cell, 3(2X,F8.6) for positions.
    lines = chgcar.read_text().splitlines()
    columns = [[float(line[start : start + 13]) for start in (0, 13, 26)] for line in lines[2:5]]
    np.testing.assert_allclose(columns, density.cell_A, atol=1e-6)
    for line in lines[8 : 8 + len(density.numbers)]:
        assert all(0 <= float(line[start + 2 : start + 10]) <= 1 for start in (0, 10, 20))
    assert max(map(len, lines[-9:])) == 90


def test_a_density_without_spin_is_written_with_both_grids(tmp_path, density):
    write_chgcar(tmp_path / "CHGCAR", replace(density, spin_e_A3=np.zeros(density.shape), moment_muB=0.0))
    read = read_chgcar(tmp_path / "CHGCAR", VALENCE_ELECTRONS)
    assert not read.spin_e_A3.any()


@pytest.mark.parametrize("name", ["CHGCAR", "CHGCAR.spin", "CHGCAR.relaxed.xz"])
def test_real_files_agree_with_pymatgen_value_by_value(tmp_path, name):
    atoms, grids = read_chgcar_grids(DATA / name)
    theirs = Chgcar.from_file(DATA / name)
    for grid, key in zip(grids, theirs.data, strict=True):
        np.testing.assert_array_equal(grid, theirs.data[key])
    np.testing.assert_allclose(atoms.cell.array, theirs.structure.lattice.matrix)
    np.testing.assert_allclose(atoms.positions, theirs.structure.cart_coords, atol=1e-12)
    assert atoms.get_chemical_symbols() == [site.specie.symbol for site in theirs.structure]


def test_a_real_density_of_silicon():
    read = read_chgcar(DATA / "CHGCAR.relaxed.xz", {"Si": 4.0}, spin_optional=True)
    assert read.shape == (32, 32, 32)
    assert read.electrons == 8
    assert read.correction == pytest.approx(1, abs=1e-6)
    assert not read.spin_e_A3.any()
    assert refusal(DATA / "CHGCAR.relaxed.xz", {"Si": 4.0}).reason == "no_spin"


def test_dummies_are_no_densities():
    assert refusal(DATA / "CHGCAR.spin", {"Ni": 10.0}).reason == "wrong_electrons"


def as_vasp(chgcar, density, moments=True):
    """The same file with what VASP writes between and after the grids."""
    occupancies = "".join(
        f"augmentation occupancies {atom + 1:3d}   7\n"
        + "  0.1234567E+00 -0.1234567E-01" * 2
        + "\n"
        + " 0.1E+00" * 3
        + "\n"
        for atom in range(len(density.numbers))
    )
    local = "".join(f"{0.1 * atom:12.8f}" for atom in range(len(density.numbers))) + "\n"
    shape = "".join(f"{points:5d}" for points in density.shape) + "\n"
    head, total, spin = chgcar.read_text().split(shape)
    between = occupancies + (local if moments else "")
    chgcar.write_text(head + shape + total + between + shape + spin + occupancies)
    return chgcar


@pytest.mark.parametrize("moments", [True, False])
def test_augmentation_and_moments_are_passed_over(chgcar, density, moments):
    read = read_chgcar(as_vasp(chgcar, density, moments), VALENCE_ELECTRONS)
    assert_grids_agree(read, density, CHGCAR_DIGITS)
    np.testing.assert_array_equal(
        read.total_e_A3, Chgcar.from_file(chgcar).data["total"] / abs(np.linalg.det(read.cell_A)) * read.correction
    )


def test_moments_without_augmentation(chgcar, density):
    shape = "".join(f"{points:5d}" for points in density.shape) + "\n"
    head, total, spin = chgcar.read_text().split(shape)
    local = " 1.00000" * len(density.numbers) + "\n"
    chgcar.write_text(head + shape + total + local + shape + spin)
    assert_grids_agree(read_chgcar(chgcar, VALENCE_ELECTRONS), density, CHGCAR_DIGITS)


def test_header_variants(chgcar, density):
    plain = read_chgcar(chgcar, VALENCE_ELECTRONS)
    head = chgcar.read_text().splitlines()
    half = [" {:.12f} {:.12f} {:.12f}".format(*row) for row in (plain.cell_A / 2)]
    direct, cartesian = head[8:16], [" {:.12f} {:.12f} {:.12f}".format(*row) for row in plain.positions_A / 2]
    variants = {
        "volume": [head[0], f"  {-density.volume_A3:.10f}", *head[2:]],
        "factor": [head[0], "  2.0", *half, *head[5:]],
        "three factors": [head[0], "  2.0 2.0 2.0", *half, *head[5:]],
        "names of potentials": [*head[:5], "  Na_pv/6fb0 O_s V/d32aec23f4 P.25 ", *head[6:]],
        "selective": [*head[:7], "Selective dynamics", "direct", *(f"{row} T F T" for row in direct), *head[16:]],
        "cartesian": [head[0], "  2.0", *half, *head[5:7], "Cartesian", *cartesian, *head[16:]],
    }
    for name, lines in variants.items():
        chgcar.write_text("\n".join(lines) + "\n")
        read = read_chgcar(chgcar, VALENCE_ELECTRONS)
        np.testing.assert_allclose(read.cell_A, plain.cell_A, rtol=1e-6, atol=1e-9, err_msg=name)
        np.testing.assert_allclose(read.positions_A, plain.positions_A, rtol=1e-6, atol=1e-6, err_msg=name)
        np.testing.assert_array_equal(read.numbers, plain.numbers, err_msg=name)
        assert_grids_agree(read, plain, CHGCAR_DIGITS)


def test_fortran_leaves_the_letter_out_of_a_long_exponent(chgcar, density):
    spin = chgcar.read_text().splitlines()[-1].split()[-1]
    read = read_chgcar(edit(chgcar, spin + "\n", "0.1234567890-102\n"), VALENCE_ELECTRONS)
    assert read.spin_e_A3[-1, -1, -1] == pytest.approx(0.123456789e-102 / density.volume_A3, rel=1e-6)


def rewritten(path, density, form, columns=5):
    """The same file with other numbers: each as `form` writes it, so many in a line."""
    shape = "".join(f"{points:5d}" for points in density.shape) + "\n"
    head, *grids = path.read_text().split(shape)
    lines = []
    for grid in grids:
        words = [form(float(word)) for word in grid.split()]
        lines.append("".join("".join(words[n : n + columns]) + "\n" for n in range(0, len(words), columns)))
    path.write_text(shape.join([head, *lines]))
    return path


@pytest.mark.parametrize("columns", [5, 7, 10])
@pytest.mark.parametrize("moments", [True, False])
def test_zeros_that_fill_the_last_line_are_passed_over(chgcar, density, columns, moments):
    points = int(np.prod(density.shape))
    filling = -points % columns
    assert filling or columns != 7
    rewritten(chgcar, density, lambda value: f" {value:.12E}", columns)
    shape = "".join(f"{points:5d}" for points in density.shape) + "\n"
    head, *grids = chgcar.read_text().split(shape)
    grids = [grid[:-1] + filling * " 0.000000000000E+00" + "\n" for grid in grids]
    grids[0] += len(density.numbers) * " 1.00000" + "\n" if moments else ""
    chgcar.write_text(shape.join([head, *grids]))
    assert_grids_agree(read_chgcar(chgcar, VALENCE_ELECTRONS), density, CHGCAR_DIGITS)
    if filling:
        chgcar.write_text(shape.join([head, *grids]).replace("0.000000000000E+00\n", "0.000000000001E+00\n"))
        assert refusal(chgcar).reason == "unreadable"


def fortran(value):
    """E18.11 of Fortran: 0.ddd, the letter left out of three digits; a minus sign fills the field."""
    if value == 0:
        return " 0.00000000000E+00"
    exponent = int(np.floor(np.log10(abs(value)))) + 1
    end = f"E{exponent:+03d}" if abs(exponent) < 100 else f"{exponent:+04d}"
    return f"{value / 10.0**exponent:.11f}{end}".rjust(18)


def test_negative_numbers_that_fill_their_fields(chgcar, density):
    rewritten(chgcar, density, fortran)
    assert re.search(r"\d-0\.", chgcar.read_text())
    assert_grids_agree(read_chgcar(chgcar, VALENCE_ELECTRONS), density, CHGCAR_DIGITS)
    short = re.sub(r"(?<=\n)( 0|-0)\.\d{11}E...", "-0.12345678901-104", chgcar.read_text().rstrip("\n"))
    start = short.rindex("-0.12345678901-104")
    chgcar.write_text(short[:start].rpartition("-0.12345678901-104")[0] + short[start:] + "\n")
    assert "ends early" in refusal(chgcar).detail


def test_three_digits_of_exponent_in_numbers_that_touch(chgcar, density):
    rewritten(chgcar, density, fortran)
    lines = chgcar.read_text().splitlines()
    lines[-2] = "-0.12345678901-104-0.12345678901-104" + lines[-2][36:]
    chgcar.write_text("\n".join(lines) + "\n")
    grid = read_chgcar_grids(chgcar)[1][1].ravel(order="F")
    last = len(lines[-1]) // 18
    np.testing.assert_allclose(grid[-last - 5 : -last - 3], -0.12345678901e-104, rtol=1e-12)


def test_density_of_a_charged_cell_whose_grid_is_padded(tmp_path):
    """216 points in lines of five, 319 e in the grid and in the OUTCAR, a potential named with its hash (VASP 6)."""
    rng = np.random.default_rng(0)
    values = np.append(np.full(216, 319.0), np.zeros(4)).reshape(-1, 5)
    grid = "    6    6    6\n" + "".join(" " + " ".join(f"{x:.11E}" for x in row) + "\n" for row in values)
    positions = "".join("".join(f"{x:10.6f}" for x in row) + "\n" for row in rng.random((40, 3)))
    cell = " 12.0 0.0 0.0\n 0.0 12.0 0.0\n 0.0 0.0 12.0\n"
    (tmp_path / "CHGCAR").write_text(f"case\n 1.0\n{cell}   Fe_pv/9b1c2d3e\n    40\nDirect\n{positions} \n{grid}{grid}")
    assert "holds 319.000 electrons, its atoms bring 320" in refusal(tmp_path / "CHGCAR", {"Fe": 8.0}).detail
    (tmp_path / "OUTCAR").write_text(OUTCAR.format(electrons=319.0))
    assert read_chgcar(tmp_path / "CHGCAR", {"Fe": 8.0}).electrons == 319


def test_an_element_in_two_blocks(chgcar, density):
    """Na O Na in the header: atoms keep the order of the file."""
    lines = chgcar.read_text().splitlines(keepends=True)
    names, counts = lines[5].split(), [int(count) for count in lines[6].split()]
    assert max(counts) > 1
    split = int(np.argmax(counts))
    lines[5] = "   ".join([*names, names[split]]) + "\n"
    before, rows = sum(counts[:split]), lines[8 : 8 + sum(counts)]
    moved = rows.pop(before)
    lines[8 : 8 + sum(counts)] = [*rows, moved]
    counts[split] -= 1
    lines[6] = "   ".join(map(str, [*counts, 1])) + "\n"
    plain = read_chgcar(chgcar, VALENCE_ELECTRONS)
    chgcar.write_text("".join(lines))
    read = read_chgcar(chgcar, VALENCE_ELECTRONS)
    order = [*(n for n in range(len(plain.numbers)) if n != before), before]
    np.testing.assert_array_equal(read.numbers, plain.numbers[order])
    np.testing.assert_array_equal(read.positions_A, plain.positions_A[order])
    theirs = Chgcar.from_file(chgcar)
    assert [site.specie.Z for site in theirs.structure] == read.numbers.tolist()


# Reason, what the message says, and what is done to the parts of a sound file.
DAMAGES = {
    "missing spin": ("no_spin", "ISPIN", lambda f: f.head + f.shape + f.total),
    "cut in the first grid": (
        "unreadable",
        r"grid 1 \(total\) ends early",
        lambda f: (f.head + f.shape + f.total)[:-5000],
    ),
    "cut in the second grid": ("unreadable", r"grid 2 \(spin\) ends early", lambda f: f.text[:-5000]),
    "cut in the last number": ("unreadable", r"grid 2 \(spin\) ends early", lambda f: f.text[:-2]),
    "cut in the header": ("unreadable", "header", lambda f: "".join(f.lines[:11])),
    "NaN": ("not_finite", "NaN", lambda f: f.text.replace(f.number, "NaN", 1)),
    "infinite": ("not_finite", "infinite", lambda f: f.text.replace(f.number, "Infinity", 1)),
    "stars": ("not_finite", r"grid 1 \(total\): \*\*\*", lambda f: f.text.replace(f.number, "*" * 16, 1)),
    "run together": ("unreadable", "is not a number", lambda f: f.text.replace(f.number, "0.12E+01-0.12E+01", 1)),
    "a value too many": ("unreadable", "points", lambda f: f.head + f.shape + f.total + " 1.0\n" + f.shape + f.spin),
    "fewer atoms": ("wrong_shape", "positions", lambda f: f.text.replace(f.lines[6], "  1  4  1  1\n", 1)),
    "more atoms": ("wrong_shape", "positions", lambda f: f.text.replace(f.lines[6], "  1  6  1  1\n", 1)),
    "zero atoms": ("wrong_shape", "atoms", lambda f: f.text.replace(f.lines[6], "  0  0  0  0\n", 1)),
    "an element too many": ("wrong_shape", "4 elements", lambda f: f.text.replace(f.lines[6], "  1  5  1\n", 1)),
    "an unknown element": ("unreadable", "Xq: not an element", lambda f: f.text.replace("Na", "Xq", 1)),
    "VASP 4": ("unreadable", "VASP 4", lambda f: "".join(f.lines[:5] + f.lines[6:])),
    "no volume": ("unreadable", "no volume", lambda f: "".join(f.lines[:3] + f.lines[2:3] + f.lines[4:])),
    "non-collinear": ("wrong_shape", "non-collinear", lambda f: f.head + 2 * (f.shape + f.total + f.shape + f.spin)),
    "no CHGCAR": ("unreadable", "header", lambda f: "# Notes\n\nsome words\n" * 20),
    "empty": ("unreadable", "header", lambda f: ""),
}


def parts(path, density):
    text = path.read_text()
    shape = "".join(f"{points:5d}" for points in density.shape) + "\n"
    head, total, spin = text.split(shape)
    lines = text.splitlines(keepends=True)
    return SimpleNamespace(
        text=text, lines=lines, shape=shape, head=head, total=total, spin=spin, number=total.split()[7]
    )


@pytest.mark.parametrize("damage", DAMAGES)
def test_refusals(chgcar, density, damage):
    reason, message, change = DAMAGES[damage]
    chgcar.write_text(change(parts(chgcar, density)))
    refused = refusal(chgcar)
    assert refused.reason == reason
    assert re.search(message, refused.detail), refused.detail


def test_a_file_cut_before_its_spin_is_not_taken_for_one_without(chgcar, density):
    file = parts(as_vasp(chgcar, density), density)
    total = file.head + file.shape + file.total.rpartition(" 0.1E+00")[0] + "\n"
    chgcar.write_text(total[: total.rindex("augmentation") + 60])
    assert "augmentation" in refusal(chgcar, spin_optional=True).detail


@pytest.mark.parametrize("name", ["CHGCAR.gz", "CHGCAR.bz2", "CHGCAR.xz"])
def test_a_cut_or_damaged_archive(tmp_path, chgcar, name):
    pack = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}[Path(name).suffix]
    packed = pack(chgcar.read_bytes())
    path = tmp_path / name
    path.write_bytes(packed)
    read_chgcar(path, VALENCE_ELECTRONS)
    for content in (packed[: len(packed) // 2], packed[:40] + b"damage" + packed[46:], b"no archive"):
        path.write_bytes(content)
        assert refusal(path).reason == "unreadable"
    path.unlink()
    assert refusal(path).reason == "unreadable"


def scaled(density, factor):
    return replace(density, total_e_A3=density.total_e_A3 * factor, spin_e_A3=density.spin_e_A3 * factor)


def test_a_small_error_is_corrected_and_recorded(tmp_path, density):
    write_chgcar(tmp_path / "CHGCAR", scaled(density, 1.001))
    read = read_chgcar(tmp_path / "CHGCAR", VALENCE_ELECTRONS)
    assert read.correction == pytest.approx(1 / 1.001, rel=1e-6)
    assert_grids_agree(read, density, CHGCAR_DIGITS)


def test_wrong_electrons(tmp_path, density):
    write_chgcar(tmp_path / "CHGCAR", scaled(density, 1.006))
    # With NELECT the relative check decides, without it half an electron.
    assert refusal(tmp_path / "CHGCAR").reason == "wrong_electrons"
    (tmp_path / "OUTCAR").write_text(OUTCAR.format(electrons=density.electrons))
    assert refusal(tmp_path / "CHGCAR").reason == "wrong_electrons"


def test_a_charged_cell_needs_its_outcar(tmp_path):
    # One electron of 312: within 0.5 %, so that the relative check alone would take it for an error of the grid.
    engine = ToyEngine(EngineSettings(name="toy"))
    engine.calculate(rock(1).repeat((2, 2, 1)))
    neutral = engine.density()
    assert 1 / neutral.electrons < ELECTRON_TOLERANCE
    write_chgcar(tmp_path / "CHGCAR", scaled(neutral, 1 - 1 / neutral.electrons))
    assert "OUTCAR" in refusal(tmp_path / "CHGCAR").detail
    (tmp_path / "OUTCAR").write_text(OUTCAR.format(electrons=neutral.electrons - 1))
    assert read_chgcar(tmp_path / "CHGCAR", VALENCE_ELECTRONS).electrons == neutral.electrons - 1


# Density, files beside it with the electrons they say, and the electrons expected of it.
PAIRS = {
    "by suffix": ("CHGCAR.1", {"OUTCAR": 320, "OUTCAR.1": 319, "OUTCAR.2": 318}, 319),
    "by suffix, compressed": ("CHGCAR.relax1.gz", {"OUTCAR.gz": 320, "OUTCAR.relax1.gz": 319}, 319),
    "by suffix, another separator": ("CHGCAR_1", {"OUTCAR": 320, "vasprun_1.xml": 319}, 319),
    "by prefix": ("run000002.CHGCAR.gz", {"run000001.vasprun.xml": 320, "run000002.vasprun.xml": 319}, 319),
    "not with that of a tag": ("CHGCAR", {"OUTCAR.1": 319}, None),
    "plain ones of the only density": ("CHGCAR.spin", {"OUTCAR": 320}, 320),
    "plain ones of a plain density": ("CHGCAR.1", {"OUTCAR": 320, "CHGCAR": 0}, None),
    "cores are no other run": ("CHGCAR", {"OUTCAR": 320, "AECCAR0": 0}, 320),
    "no plain one beside one of the tag": ("CHGCAR.1", {"vasprun.xml": 320, "OUTCAR.1": None}, None),
}


@pytest.mark.parametrize("case", PAIRS)
def test_electrons_are_those_of_the_run_of_the_density(tmp_path, case):
    name, beside, expected = PAIRS[case]
    for other, electrons in beside.items():
        text = "" if electrons is None else (VASPRUN if "xml" in other else OUTCAR).format(electrons=float(electrons))
        (tmp_path / other).write_bytes(gzip.compress(text.encode()) if other.endswith(".gz") else text.encode())
    assert find_electrons(tmp_path / name) == expected


@pytest.mark.parametrize("name", ["OUTCAR", "OUTCAR.gz", "vasprun.xml", "vasprun.xml.gz", "POTCAR"])
def test_valences_from_the_files_beside(tmp_path, name):
    text = (VASPRUN if "xml" in name else OUTCAR).format(electrons=29.0)
    content = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (tmp_path / name).write_bytes(content)
    assert find_valences(tmp_path / "CHGCAR", ["Na", "V", "V"], None).tolist() == [7, 11, 11]
    assert find_valences(tmp_path / "CHGCAR", ["Na", "V"], {"V": 13.0}).tolist() == [7, 13]
    assert find_electrons(tmp_path / "CHGCAR") == 29
    with pytest.raises(DensityRefused, match="of O, P unknown; give --valence O=…,P=…"):
        find_valences(tmp_path / "CHGCAR", ["Na", "P", "O"], None)


def test_unknown_or_ambiguous_valences(tmp_path, chgcar):
    assert refusal(chgcar, {"Na": 7.0}).reason == "wrong_electrons"
    assert "--valence O=…,P=…,V=…" in refusal(chgcar, {"Na": 7.0}).detail
    two = OUTCAR + "TITEL = PAW_PBE V_sv 01Jan2001\n ZVAL = 13.000"
    (tmp_path / "OUTCAR").write_text(two.format(electrons=31.0))
    with pytest.raises(DensityRefused, match="V has 11 and 13 valence electrons"):
        find_valences(tmp_path / "CHGCAR", ["V"], None)


def test_valences_on_the_command_line():
    assert parse_valences("Na=7, V=13,") == {"Na": 7.0, "V": 13.0}
    assert parse_valences("") == {}
    for text in ("Na", "Na=x", "Xq=3", "Na=12", "Na=0", "Na=nan"):
        with pytest.raises(ConfigError, match="--valence"):
            parse_valences(text)


@pytest.fixture
def cubes(tmp_path, density):
    paths = tmp_path / "run/frame.cube", tmp_path / "run/frame_spin.cube"
    for path, which in zip(paths, ("total", "spin"), strict=True):
        write_cube(path, density, which)
    return paths


def test_cube_round_trip(cubes, density):
    read = read_cube(*cubes)
    assert_grids_agree(read, density, CUBE_DIGITS)
    np.testing.assert_allclose(read.cell_A, density.cell_A, atol=2e-5)
    np.testing.assert_allclose(read.positions_A, density.positions_A, atol=1e-6)
    np.testing.assert_array_equal(read.valence_e, density.valence_e)
    np.testing.assert_array_equal(read.numbers, density.numbers)
    assert read.electrons == density.electrons
    assert read.moment_muB == pytest.approx(density.moment_muB, rel=CUBE_DIGITS)


def test_ase_reads_our_cubes(cubes, density):
    for path, grid in zip(cubes, (density.total_e_A3, density.spin_e_A3), strict=True):
        with path.open() as file:
            theirs = ase_read_cube(file)
        np.testing.assert_allclose(theirs["data"] / Bohr**3, grid, rtol=0, atol=CUBE_DIGITS * abs(grid).max())
        np.testing.assert_allclose(theirs["atoms"].cell, density.cell_A, atol=2e-5)
        np.testing.assert_allclose(theirs["atoms"].positions, density.positions_A, atol=1e-6)


def test_we_read_cubes_of_ase(tmp_path, density):
    atoms = Atoms(numbers=density.numbers, positions=density.positions_A, cell=density.cell_A)
    for name, grid in (("a", density.total_e_A3), ("a_spin", density.spin_e_A3)):
        with (tmp_path / f"{name}.cube").open("w") as file:
            ase_write_cube(file, atoms, grid * Bohr**3)
    paths = tmp_path / "a.cube", tmp_path / "a_spin.cube"
    assert_grids_agree(read_cube(*paths, VALENCE_ELECTRONS), density, CUBE_DIGITS)
    # ASE writes 0 into the charge column.
    with pytest.raises(DensityRefused, match="valence electrons of Na, O, P, V unknown"):
        read_cube(*paths)


CUBE_DAMAGES = {
    "truncated": ("unreadable", "ends early", lambda text: text[:-3000]),
    "too long": ("unreadable", "values for", lambda text: text + " 0.1\n"),
    "stars": ("not_finite", r"\*\*", lambda text: text[:-14] + " ***********\n"),
    "orbitals": ("wrong_shape", "-8 atoms", lambda text: text.replace("    8    0.000000", "   -8    0.000000", 1)),
    "other units": ("unreadable", "units", lambda text: text.replace("\n   18", "\n  -18", 1)),
    "no cube": ("unreadable", "header", lambda text: "words\n" * 30),
}


@pytest.mark.parametrize("damage", CUBE_DAMAGES)
def test_refusals_of_cubes(cubes, damage):
    reason, message, change = CUBE_DAMAGES[damage]
    text = cubes[0].read_text()
    cubes[0].write_text(change(text))
    assert cubes[0].read_text() != text
    with pytest.raises(DensityRefused, match=message) as caught:
        read_cube(*cubes)
    assert caught.value.reason == reason
    assert "frame.cube" in caught.value.detail


PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("both", [True, False])
def test_compressed_cubes(tmp_path, cubes, density, suffix, both):
    for path in cubes if both else cubes[:1]:
        path.with_name(path.name + suffix).write_bytes(PACK[suffix](path.read_bytes()))
        path.unlink()
    store = tmp_path / "all.h5"
    report = import_densities([tmp_path / "run"], store)
    assert (len(report.accepted), report.refused) == (1, [])
    assert_grids_agree(read_densities(store)["run/step00000"], density, CUBE_DIGITS)
    total = cubes[0].with_name(cubes[0].name + suffix)
    total.write_bytes(total.read_bytes()[:-200])
    assert [item.reason for item in import_densities([total], tmp_path / "cut.h5").refused] == ["unreadable"]


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("name", ["CHGCAR", "a.cube"])
def test_exported_files_are_compressed_as_their_names_say(tmp_path, density, name, suffix):
    store, target = tmp_path / "all.h5", tmp_path / (name + suffix)
    write_densities(store, {"a/step00003": density})
    assert main(["density", "export", str(store), "a/step00003", "--to", str(target)]) == 0
    unpack = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}[suffix]
    assert unpack(target.read_bytes()).startswith(b"redoxmd")
    assert import_densities([target], tmp_path / "again.h5", VALENCE_ELECTRONS).refused == []


def test_folders_are_searched_for_chgcars_of_any_ending(tmp_path, chgcar):
    folder = chgcar.parent
    for name in ("CHGCAR.1", "CHGCAR.static", "run1_CHGCAR", "CHGCAR.relax2.gz"):
        content = chgcar.read_bytes()
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for name in ("CHGCAR.py", "CHGCAR.png", "MYCHGCAR"):
        (folder / name).write_text("no density")
    report = import_densities([folder], tmp_path / "all.h5", VALENCE_ELECTRONS)
    assert (len(report.accepted), [item.reason for item in report.refused]) == (1, ["duplicate"] * 4)


def test_packed_densities_are_refused_by_name(tmp_path):
    for name in ("CHGCAR.zst", "a.cube.tar", "notes.zip"):
        (tmp_path / name).write_bytes(b"packed")
    report = import_densities([tmp_path], tmp_path / "new/all.h5", VALENCE_ELECTRONS)
    assert [(item.path.name, item.reason) for item in report.refused] == [
        ("CHGCAR.zst", "unreadable"),
        ("a.cube.tar", "unreadable"),
    ]
    assert "unpack it" in report.refused[0].detail


def test_cubes_must_be_a_pair(cubes, density):
    write_cube(cubes[1], toy(2), "spin")
    with pytest.raises(DensityRefused, match="cell or atoms differ") as caught:
        read_cube(*cubes)
    assert caught.value.reason == "wrong_shape"
    cubes[1].unlink()
    for spin in (cubes[1], None):
        with pytest.raises(DensityRefused, match=r"frame_spin\.cube") as caught:
            read_cube(cubes[0], spin)
        assert caught.value.reason == "no_spin"


@pytest.fixture
def archive(tmp_path):
    """Two folders of one name: CHGCARs and a cube pair, a twin, a file without spin and a cut one."""
    folder = tmp_path / "archive"
    for seed, name in ((1, "a/my run/CHGCAR.9.gz"), (2, "a/my run/CHGCAR.10.gz"), (3, "b/my run/CHGCAR")):
        write_chgcar(folder / name, toy(seed))
    write_cube(folder / "b/cubes/x.cube", toy(4))
    write_cube(folder / "b/cubes/x_spin.cube", toy(4), "spin")
    (folder / "c").mkdir()
    shutil.copy(folder / "b/my run/CHGCAR", folder / "c/CHGCAR")
    (folder / "d").mkdir()
    (folder / "d/CHGCAR.gz").write_bytes((folder / "a/my run/CHGCAR.9.gz").read_bytes()[:-200])
    shutil.copy(DATA / "CHGCAR", folder / "d/CHGCAR")
    (folder / "d/notes.txt").write_text("no density")
    return folder


def test_import_of_an_archive(tmp_path, archive):
    store = tmp_path / "stores/all.h5"
    report = import_densities([archive], store, VALENCE_ELECTRONS)
    expected = ["cubes/step00000", "my_run-2/step00000", "my_run/step00000", "my_run/step00001"]
    assert sorted(report.accepted) == expected
    assert {item.path.parent.name + "/" + item.path.name: item.reason for item in report.refused} == {
        "c/CHGCAR": "duplicate",
        "d/CHGCAR": "no_spin",
        "d/CHGCAR.gz": "unreadable",
    }
    stored = read_densities(store)
    assert sorted(stored) == expected
    # In the order of numbers, 9 before 10.
    assert_grids_agree(stored["my_run/step00000"], toy(1), SINGLE)
    assert_grids_agree(stored["my_run/step00001"], toy(2), SINGLE)
    assert stored["my_run/step00000"].source.endswith("CHGCAR.9.gz")
    assert sorted(path.name for path in store.parent.iterdir()) == ["all.h5"]


def test_append_keeps_what_was_there(tmp_path, archive):
    store = tmp_path / "all.h5"
    import_densities([archive / "a/my run/CHGCAR.9.gz"], store, VALENCE_ELECTRONS)
    before = store.read_bytes()
    with pytest.raises(DataError, match=r"all\.h5: exists already"):
        import_densities([archive], store, VALENCE_ELECTRONS)
    assert store.read_bytes() == before
    report = import_densities([archive / "a"], store, VALENCE_ELECTRONS, append=True)
    # The first of the folder is there already, and its number stays unused.
    assert density_keys(store) == ["my_run-2/step00001", "my_run/step00000"]
    assert [item.reason for item in report.refused] == ["duplicate"]


def test_one_configuration_for_all_counts_on(tmp_path, archive):
    store = tmp_path / "all.h5"
    import_densities([archive / "a", archive / "a/my run"], store, VALENCE_ELECTRONS, "x2.50 o0")
    assert density_keys(store) == ["x2.50_o0/step00000", "x2.50_o0/step00001"]
    files = [archive / "b/cubes/x.cube", archive / "b/cubes/x_spin.cube"]
    import_densities(files, store, VALENCE_ELECTRONS, "x2.50 o0", append=True)
    assert density_keys(store)[-1] == "x2.50_o0/step00002"


def test_nothing_accepted_leaves_no_store(tmp_path, archive):
    report = import_densities([archive / "d"], tmp_path / "new/none.h5", VALENCE_ELECTRONS)
    assert (len(report.accepted), len(report.refused)) == (0, 2)
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(DataError, match="nowhere: no such file or folder"):
        import_densities([tmp_path / "nowhere"], tmp_path / "none.h5")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: no CHGCAR"):
        import_densities([tmp_path / "empty"], tmp_path / "none.h5")


def test_commands(tmp_path, archive, capsys):
    store = str(tmp_path / "all.h5")
    assert main(["density", "import", str(archive), "--into", store, "--valence", VALENCE]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^my_run/step00001 +\d+×\d+×\d+ +\d+ e +\S+ μB +[+-]0\.000 %$", printed, re.MULTILINE)
    assert "refused, no_spin: " in printed
    assert printed.endswith("4 accepted, 3 refused\n")
    assert main(["density", "import", str(archive / "d"), "--into", store, "--append", "--valence", VALENCE]) == 1
    capsys.readouterr()
    assert main(["density", "list", store]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == density_keys(store)
    assert listed[0].endswith("x.cube and x_spin.cube")


def test_export(tmp_path, density, capsys):
    store = tmp_path / "all.h5"
    write_densities(store, {"a/step00003": density})
    for name in ("CHGCAR", "CHGCAR_a.gz", "a.cube"):
        assert main(["density", "export", str(store), "a/step00003", "--to", str(tmp_path / name)]) == 0
    theirs = Chgcar.from_file(tmp_path / "CHGCAR")
    np.testing.assert_allclose(theirs.data["total"] / density.volume_A3, density.total_e_A3, atol=1e-6)
    np.testing.assert_allclose(theirs.data["diff"] / density.volume_A3, density.spin_e_A3, atol=1e-6)
    assert_grids_agree(read_chgcar(tmp_path / "CHGCAR_a.gz", VALENCE_ELECTRONS), density, SINGLE)
    assert_grids_agree(read_cube(tmp_path / "a.cube", tmp_path / "a_spin.cube"), density, CUBE_DIGITS)
    assert main(["density", "export", str(store), "a/step00004", "--to", str(tmp_path / "CHGCAR")]) == 1
    assert "no density a/step00004; `redoxmd density list" in capsys.readouterr().err
    assert main(["density", "export", str(store), "a/step00003", "--to", str(tmp_path / "a.xyz")]) == 1
    assert "the format follows the name" in capsys.readouterr().err
