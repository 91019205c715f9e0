"""CIFs that name a space group without its operations: accepted where the symbol says everything."""

import numpy as np
import pytest
import spglib

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.structures.source import source_cell

HALL_NUMBER_OF_ORIGIN_2 = 526
# LiMn2O4, coordinates of origin 2: Li 8a, Mn 16d, O 32e; read with those of origin 1 it becomes Li2MnO4.
SPINEL = "Li1 Li 0.125 0.125 0.125 1\nMn1 Mn 0.5 0.5 0.5 1\nO1 O 0.2632 0.2632 0.2632 1\n"
LAYERED = "Li1 Li 0 0 0 1\nMn1 Mn 0 0 0.5 1\nO1 O 0 0 0.24 1\n"
MONOCLINIC = "Li1 Li 0.1 0.2 0.3 1\nMn1 Mn 0.6 0.4 0.1 1\nO1 O 0.3 0.7 0.6 1\n"


def operations():
    """Those of F d -3 m in origin 2, from spglib's table."""
    database = spglib.get_symmetry_from_database(HALL_NUMBER_OF_ORIGIN_2)
    rows = []
    for rotation, translation in zip(database["rotations"], database["translations"], strict=True):
        terms = [
            "".join(f"{'+' if factor > 0 else '-'}{axis}" for factor, axis in zip(row, "xyz", strict=True) if factor)
            for row in rotation
        ]
        rows.append(",".join(f"{term}+{shift:.6g}" for term, shift in zip(terms, translation, strict=True)))
    return "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{row}'\n" for row in rows)


@pytest.fixture
def cell_of(tmp_path):
    """The source cell of a file with these lines."""

    def read(symmetry, sites, a=8.2476, c=8.2476, angles=(90, 90, 90), units=1):
        lengths = f"_cell_length_a {a}\n_cell_length_b {a}\n_cell_length_c {c}\n"
        names = ("alpha", "beta", "gamma")
        degrees = "".join(f"_cell_angle_{name} {angle}\n" for name, angle in zip(names, angles, strict=True))
        columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
        loop = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns)
        path = tmp_path / "cell.cif"
        path.write_text(f"data_x\n{lengths}{degrees}{symmetry}\n{loop}{sites}")
        return source_cell(
            Structures(
                source=str(path),
                mobile_ion="Li",
                redox_element="Mn",
                formula_units=units,
                preferred_site="Li1",
                moments_muB={"Mn": 3.0},
                moments_x=0.5,
            )
        )

    return read


def name_of(group, number=None):
    row = f"_symmetry_space_group_name_H-M '{group}'\n"
    return row + (f"_symmetry_Int_Tables_number {number}\n" if number else "")


@pytest.mark.parametrize("symmetry", [name_of("F d -3 m"), name_of("F d -3 m :2", 227), name_of("Fd-3m:2")], ids=str)
def test_a_group_of_two_origins_needs_its_operations(cell_of, symmetry):
    with pytest.raises(StructureError, match=r"F ?d ?-3 ?m.* two origins, and lists no symmetry operations"):
        cell_of(symmetry, SPINEL, units=8)


def test_operations_in_the_file_decide(cell_of):
    """8 × LiMn2O4, and six O at (u-1/4 ≈ 0.0132): d² = a²((1/2 - u)² + 2 (u - 1/4)²) of a spinel."""
    cell = cell_of(name_of("F d -3 m") + operations(), SPINEL, units=8).atoms
    assert cell.get_chemical_formula() == "Li8Mn16O32"
    manganese = cell.symbols.search("Mn")[0]
    oxygen_A = np.sort(cell.get_distances(manganese, cell.symbols.search("O"), mic=True))[:6]
    assert oxygen_A == pytest.approx(8.2476 * np.sqrt((0.5 - 0.2632) ** 2 + 2 * 0.0132**2), rel=1e-6)


def test_hexagonal_axes_are_those_of_the_symbol(cell_of):
    hexagonal = cell_of(name_of("R -3 m"), LAYERED, a=2.81126, c=13.90946, angles=(90, 90, 120), units=3)
    assert hexagonal.atoms.get_chemical_formula() == "Li3Mn3O6"
    with pytest.raises(StructureError, match="R -3 m, whose symbol stands for hexagonal axes"):
        cell_of(name_of("R -3 m", 166), LAYERED, a=4.91, c=4.91, angles=(33.25, 33.25, 33.25))


@pytest.mark.parametrize("number", [None, 14])
def test_a_symbol_that_the_reader_does_not_know_is_refused(cell_of, number):
    """P 21/n, which is read as P 1, or with its number as P 21/c."""
    with pytest.raises(StructureError, match="P 21/n, a symbol that is not known"):
        cell_of(name_of("P 21/n", number), MONOCLINIC, angles=(90, 95, 90))


def test_a_file_without_any_symmetry_is_the_whole_cell(cell_of):
    assert len(cell_of("", MONOCLINIC).atoms) == 3
