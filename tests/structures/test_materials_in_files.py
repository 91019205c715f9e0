"""Other materials from a CIF to the structure file, against pymatgen and counts by hand."""

from typing import ClassVar

import numpy as np
import pytest
import yaml
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Lattice, Structure

from redoxmd.cli import main
from redoxmd.config import load_config
from redoxmd.config.declared import read_settings, settings_for
from redoxmd.config.sections import Structures
from redoxmd.electrons.states import OxidationLevels
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.structures.build import build_structure, set_initial_moments
from redoxmd.structures.request import parse_name
from tests.runs.test_materials import NAMNO2_STRUCTURES


def cif(a, c, gamma, sites, group="P 1"):
    """A CIF whose sites are rows of label, element, x, y, z, occupancy."""
    names = ["label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy"]
    angles = zip(("alpha", "beta", "gamma"), (90, 90, gamma), strict=True)
    head = [f"_cell_length_{axis} {length}" for axis, length in zip("abc", (a, a, c), strict=True)]
    head += [f"_cell_angle_{name} {angle}" for name, angle in angles]
    head += [f"_symmetry_space_group_name_H-M '{group}'", "loop_", *(f"_atom_site_{name}" for name in names)]
    return "\n".join(["data_x", *head, *sites]) + "\n"


# P2-NaxMO2, hexagonal, two formula units; M is mixed or not.
def layered(*metals):
    return cif(
        2.9,
        11.2,
        120,
        ["Na1 Na 0.3333333 0.6666667 0.75 1", *metals, "O1 O 0.3333333 0.6666667 0.09 1"],
        "P 63/m m c",
    )


MIXED = layered("M1 Ni 0 0 0 0.3333", "M1 Mn 0 0 0 0.6667")
# Rock-salt-like planes of NaFeO2 along c: Fe of both planes named, so that they can be antiparallel.
PLANES = cif(
    2.9,
    9.2,
    90,
    [
        *("Fe1 Fe 0 0 0 1", "Na1 Na 0 0 0.25 1", "O1 O 0.5 0.5 0 1", "O2 O 0.5 0.5 0.25 1"),
        *("Fe2 Fe 0 0 0.5 1", "Na2 Na 0 0 0.75 1", "O3 O 0.5 0.5 0.5 1", "O4 O 0.5 0.5 0.75 1"),
    ],
)
POSCAR_PLANES = """planes
1.0
2.9 0 0
0 2.9 0
0 0 9.2
Fe Na O
2 2 4
Direct
0 0 0
0 0 0.5
0 0 0.25
0 0 0.75
0.5 0.5 0
0.5 0.5 0.25
0.5 0.5 0.5
0.5 0.5 0.75
"""
OWN = {**NAMNO2_STRUCTURES, "formula_units": 2}


class Case:
    """A config with a structure file in a folder: `redoxmd check`, and the structures that the rule writes."""

    def __init__(self, folder, capsys):
        self.folder, self.capsys = folder, capsys

    def check(self, text, x, supercell=(1, 1, 1), sections=None, file="cell.cif", **structures):
        (self.folder / file).write_text(text)
        cell = {"supercell": list(supercell), "starts": [{"x": x}]}
        raw = {
            "run": "own",
            "structures": {**OWN, "source": str(self.folder / file), **structures},
            "engine": {"name": "toy"},
            "aimd": cell,
            "explore": {"phases": [{"name": "small", **cell}]},
            "production": {"x": [x], "supercell": list(supercell), "temperatures_K": [600], "replicas": 1},
            "density": {"enabled": False},
        } | (sections or {})
        (self.folder / "config.yaml").write_text(yaml.safe_dump(raw))
        status = main(["check", str(self.folder / "config.yaml")])
        captured = self.capsys.readouterr()
        return status, captured.out + captured.err

    def made(self, name):
        """The structure file of a name, by the parameters of the rule, and the section."""
        config = load_config(self.folder / "config.yaml")
        settings = read_settings(Structures, "structure", settings_for("structure", config.structures))
        assert settings == config.structures
        path = self.folder / "made.extxyz"
        write_frames(path, [build_structure(parse_name(name), settings, config.seed)])
        return read_frames(path)[0], settings

    def read(self):
        """The file as pymatgen reads it."""
        return Structure.from_file(self.folder / "cell.cif")


@pytest.fixture
def case(tmp_path, capsys):
    return Case(tmp_path, capsys)


def pymatgen_of(atoms):
    return Structure(
        Lattice(atoms.cell.array), atoms.get_chemical_symbols(), atoms.positions, coords_are_cartesian=True
    )


class TestMixedFramework:
    MATRIX = ((3, 0, 0), (0, 3, 0), (0, 0, 1))

    def test_elements_in_whole_numbers_on_the_sites_of_the_file(self, case):
        status, text = case.check(MIXED, 1.0, cell_matrix=self.MATRIX, formula_units=18)
        assert status == 0, text
        # 18 sites, a third of them Ni.
        assert "18 × Nax(Mn,Ni)O2 (x up to 1)" in text and "x = 1: Na18" in text
        atoms, _ = case.made("x1.000_random0_1x1x1")
        counts = {element: int((atoms.symbols == element).sum()) for element in ("Na", "Ni", "Mn", "O")}
        assert counts == {"Na": 18, "Ni": 6, "Mn": 12, "O": 36}
        # The same crystal as pymatgen's supercell of the file, once Ni and Mn are not distinguished.
        ideal = case.read()
        ideal.replace_species({"Ni": "Mn"})
        made = pymatgen_of(atoms)
        made.replace_species({"Ni": "Mn"})
        ideal.make_supercell(self.MATRIX)
        assert StructureMatcher(primitive_cell=False, scale=False).fit(ideal, made)
        np.testing.assert_allclose(atoms.cell.array, ideal.lattice.matrix, atol=1e-6)

    def test_seeds_give_other_arrangements_and_sites_keep_their_names(self, case):
        found = set()
        for seed in range(4):
            case.check(MIXED, 1.0, cell_matrix=self.MATRIX, formula_units=18, framework_seed=seed)
            atoms, _ = case.made("x1.000_random0_1x1x1")
            found.add(tuple(np.flatnonzero(atoms.symbols == "Ni")))
            assert (atoms.arrays["site"] == "Na1").sum() == 18
        assert len(found) == 4
        again, _ = case.made("x1.000_random0_1x1x1")
        assert tuple(np.flatnonzero(again.symbols == "Ni")) in found

    @pytest.mark.parametrize(
        ("metals", "matrix", "words"),
        [
            (("M1 Ni 0 0 0 0.3333", "M1 Mn 0 0 0 0.6667"), None, "would hold Mn 1.333, Ni 0.6666 atoms"),
            (("M1 Ni 0 0 0 0.02", "M1 Mn 0 0 0 0.98"), None, "would hold Mn 1.96, Ni 0.04 atoms"),
            (("M1 Ni 0 0 0 0.3", "M1 Mn 0 0 0 0.6"), MATRIX, "is disordered at M1"),
            (("M1 Na 0 0 0 0.3333", "M1 Mn 0 0 0 0.6667"), MATRIX, "is disordered at M1"),
            (("M1 Mn 0 0 0 0.6667",), MATRIX, "is disordered at M1"),
        ],
        ids=["not whole", "none of one element", "not full", "mobile ion", "vacancies"],
    )
    def test_what_has_no_ordered_cell_is_refused(self, case, metals, matrix, words):
        status, text = case.check(layered(*metals), 1.0, cell_matrix=matrix, formula_units=18 if matrix else 2)
        assert status == 1 and words in text and "cell.cif" in text

    def test_a_mixed_valence_of_one_element_is_no_disorder(self, case):
        text = layered("Mn1 Mn3+ 0 0 0 0.5", "Mn2 Mn4+ 0 0 0 0.5")
        assert case.check(text, 1.0)[0] == 0
        assert case.made("x1.000_random0_1x1x1")[0].get_chemical_formula() == "Mn2Na2O4"


class TestCell:
    MATRIX = ((2, 1, 0), (0, 2, 0), (0, 0, 1))

    def test_a_matrix_gives_the_crystal_that_pymatgen_gives(self, case):
        status, text = case.check(layered("M1 Mn 0 0 0 1"), 0.5, cell_matrix=self.MATRIX, formula_units=8)
        assert status == 0 and "x = 0.5: Na4Mn8O16 in 1x1x1, total moment 28 μB" in text
        atoms, _ = case.made("x1.000_random0_1x1x1")
        ideal = case.read()
        ideal.make_supercell(self.MATRIX)
        assert len(ideal) == len(atoms) == 32
        np.testing.assert_allclose(atoms.cell.array, ideal.lattice.matrix, atol=1e-6)
        assert StructureMatcher(primitive_cell=False, scale=False).fit(ideal, pymatgen_of(atoms))

    def test_a_matrix_that_is_left_handed_is_refused(self, case):
        status, text = case.check(layered("M1 Mn 0 0 0 1"), 1.0, cell_matrix=((0, 1, 0), (1, 0, 0), (0, 0, 1)))
        assert status == 1 and "structures.cell_matrix" in text and "determinant -1" in text

    @pytest.mark.parametrize(("x", "a", "c"), [(1.0, 2.9, 11.0), (0.5, 2.85, 11.3), (0.75, 2.875, 11.15)])
    def test_lengths_are_linear_in_x(self, case, x, a, c):
        """The c axis of a layered oxide grows where a shrinks."""
        lengths = {1.0: (2.9, 2.9, 11.0), 0.5: (2.85, 2.85, 11.3)}
        status, text = case.check(layered("M1 Mn 0 0 0 1"), x, (2, 2, 1), lengths_A=lengths)
        assert status == 0 and f"cell of {2 * a:.4g} × {2 * a:.4g} × {c:.4g} Å" in text, text
        atoms, _ = case.made(f"x{x:.3f}_random0_2x2x1")
        np.testing.assert_allclose(atoms.cell.cellpar(), [2 * a, 2 * a, c, 90, 90, 120], rtol=1e-7)
        # Atoms keep their places in the cell: M at the origin of each, O at z = 0.09 of the file.
        metals = atoms.get_scaled_positions()[atoms.symbols == "Mn"]
        np.testing.assert_allclose((metals * [2, 2, 2] + 1e-6) % 1, 1e-6, atol=1e-5)

    @pytest.mark.parametrize(
        ("lengths", "words"),
        [
            ({1.0: (2.9, 2.9, 11.0)}, "needs exactly two values of x"),
            (
                {1.0: (2.9, 2.9, 11.0), 0.5: (5.8, 5.8, 22.4)},
                "a, b, c of the source cell, which has 2.9 × 2.9 × 11.2 Å",
            ),
            ({1.0: (2.9, 2.9, 11.0), 0.9: (2.9, 2.9, 1.0)}, "structures.lengths_A: the line gives -39 Å at x = 0.5"),
        ],
        ids=["one point", "supercell", "negative"],
    )
    def test_lengths_that_cannot_be_are_refused(self, case, lengths, words):
        status, text = case.check(layered("M1 Mn 0 0 0 1"), 0.5, lengths_A=lengths)
        assert status == 1 and words in text, text

    def test_lengths_beside_a_volume_are_refused(self, case):
        lengths = {1.0: (2.9, 2.9, 11.0), 0.5: (2.9, 2.9, 11.2)}
        status, text = case.check(
            layered("M1 Mn 0 0 0 1"), 0.5, lengths_A=lengths, volume_A3_per_fu={1.0: 40.0, 0.5: 41.0}
        )
        assert status == 1 and "lengths_A and volume_A3_per_fu both give the cell" in text

    def test_two_mobile_ions_are_refused_with_what_to_do(self, case):
        status, text = case.check(layered("M1 Mn 0 0 0 1"), 0.5, mobile_ion=["Na", "K"])
        assert status == 1 and "structures.mobile_ion: is one element, got Na, K" in text and "redoxmd analyse" in text


class TestAntiferromagnet:
    STRUCTURES: ClassVar = {"redox_element": "Fe", "moments_muB": {"Fe": 5.0}, "moment_per_ion_muB": 1.0}
    LEVELS: ClassVar = {"Fe": {3: {"moment_muB": 4.1}, 4: {"moment_muB": 3.1}}}
    ELECTRONS: ClassVar = {"levels": LEVELS, "fixed": {"Na": 1, "O": -2}}

    @pytest.mark.parametrize(("file", "member"), [("cell.cif", "Fe2"), ("POSCAR", 1)])
    def test_planes_alternate_and_the_total_is_zero(self, case, file, member):
        text = PLANES if file == "cell.cif" else POSCAR_PLANES
        status, text = case.check(text, 1.0, (2, 2, 1), file=file, spin_down=[member], **self.STRUCTURES)
        assert status == 0 and "Na8Fe8O16 in 2x2x1, total moment 0 μB" in text, text
        atoms, settings = case.made("x1.000_random0_2x2x1")
        moments, heights = atoms.get_initial_magnetic_moments(), atoms.get_scaled_positions()[:, 2]
        iron = atoms.symbols == "Fe"
        # The second plane of Fe is at half of c.
        assert {*moments[iron & (heights > 0.4)]} == {-5.0} and {*moments[iron & (heights < 0.1)]} == {5.0}
        # A frame that is labelled later gets them from its geometry, also with ions removed.
        removed = atoms[[k for k in range(len(atoms)) if k != int(np.flatnonzero(atoms.symbols == "Na")[0])]]
        removed.set_initial_magnetic_moments(None)
        set_initial_moments(removed, settings)
        np.testing.assert_allclose(
            removed.get_initial_magnetic_moments()[removed.symbols == "Fe"], np.sign(moments[iron]) * (5 - 1 / 8)
        )

    def test_oxidation_states_keep_the_signs(self, case):
        """Of four Fe3+ and Fe4+ in two planes, a state decides the size of a moment and the plane its sign."""
        sections = {"electrons": self.ELECTRONS}
        status, text = case.check(PLANES, 0.75, (2, 1, 1), sections, spin_down=["Fe2"], **self.STRUCTURES)
        assert status == 0 and "three Fe3+ and one Fe4+" in text, text
        atoms, _ = case.made("x0.750_random0_2x1x1")
        levels = OxidationLevels.of(load_config(case.folder / "config.yaml").electrons)
        iron = np.flatnonzero(atoms.symbols == "Fe")
        down = atoms.get_scaled_positions()[iron, 2] > 0.4
        oxidation = np.zeros(len(atoms), dtype=int)
        oxidation[iron] = [4, 3, 3, 3]
        start = levels.initial_moments(list(atoms.symbols), oxidation, atoms.get_initial_magnetic_moments())
        assert start[iron].tolist() == [
            sign * size for sign, size in zip(np.where(down, -1, 1), (3, 4, 4, 4), strict=True)
        ]

    def test_without_states_the_total_moment_is_in_doubt(self, case):
        assert (
            "structures.spin_down: without electrons.levels"
            in case.check(PLANES, 0.5, spin_down=["Fe2"], **self.STRUCTURES)[1]
        )

    @pytest.mark.parametrize(
        ("member", "words"),
        [
            ("Na1", "'Na1' is not a framework atom of"),
            ("Fe7", "'Fe7' is not a framework atom of"),
            (99, "99 is not a framework atom of"),
            ("O3", "names O atoms, which have no moment in structures.moments_muB"),
        ],
        ids=str,
    )
    def test_atoms_without_a_moment_are_refused(self, case, member, words):
        status, text = case.check(PLANES, 1.0, spin_down=[member], **self.STRUCTURES)
        assert status == 1 and f"structures.spin_down: {words}" in text


class TestSolidElectrolyte:
    # Na3PS4-like: no element changes its state.
    CELL = cif(
        7.0,
        7.0,
        90,
        [
            *("P1 P 0 0 0 1", "P2 P 0.5 0.5 0.5 1"),
            *(f"S{k} S {x} {y} {z} 1" for k, (x, y, z) in enumerate([(0.17, 0.17, 0.17), (0.67, 0.67, 0.67)])),
            *(f"Na{k} Na {x} {y} {z} 1" for k, (x, y, z) in enumerate([(0.5, 0, 0), (0, 0.5, 0), (0, 0, 0.5)])),
        ],
    )
    NONE: ClassVar = {"mobile_ion": "Na", "redox_element": None, "formula_units": 1, "preferred_site": "Na1"}

    def without_moments(self, case, x, sections=None):
        (case.folder / "cell.cif").write_text(self.CELL)
        cell = {"starts": [{"x": x}]}
        raw = {
            "run": "own",
            "structures": {**self.NONE, "source": str(case.folder / "cell.cif")},
            "engine": {"name": "gpaw"},
            "aimd": cell,
            "explore": {"phases": [cell]},
            "production": {"x": [x], "temperatures_K": [600], "supercell": [1, 1, 1]},
        } | (sections or {})
        (case.folder / "config.yaml").write_text(yaml.safe_dump(raw))
        status = main(["check", str(case.folder / "config.yaml")])
        captured = case.capsys.readouterr()
        return status, captured.out + captured.err

    def test_needs_no_moments_and_has_no_spin(self, case):
        status, text = self.without_moments(case, 2.0, {"density": {"enabled": False}})
        assert status == 0, text
        assert "x = 2: Na2P2S2 in 1x1x1, no spin" in text and "no U on" not in text and "charges.states" not in text
        atoms, _ = case.made("x2.000_random0_1x1x1")
        assert not atoms.has("initial_magmoms") and atoms.get_chemical_formula() == "Na2P2S2"

    def test_charges_of_no_element_are_refused(self, case):
        status, text = self.without_moments(case, 2.0)
        assert status == 1 and "density.enabled: structures.redox_element is null" in text


def test_the_surroundings_of_a_site_are_those_of_pymatgen(case):
    status, text = case.check(layered("M1 Mn 0 0 0 1"), 1.0)
    assert status == 0
    structure = case.read()
    sodium = next(site for site in structure if site.specie.symbol == "Na")
    oxygen = sorted(site.nn_distance for site in structure.get_neighbors(sodium, 4.0) if site.specie.symbol == "O")
    # A prism of six; the next oxygen is much farther.
    assert oxygen[5] == pytest.approx(oxygen[0]) and oxygen[6] > 1.25 * oxygen[0]
    assert f"2 Na1 (6 O at {oxygen[0]:.2f} to {oxygen[5]:.2f} Å) in the cell" in text


def test_one_of_two_redox_elements_keeps_its_state(case):
    """Na2/3 Ni1/3 Mn2/3 O2 is Ni2+ Mn4+: 12 + 6·2 + 12·4 = 36·2. At x = 1/3 it is Ni3+, at x = 1 Ni+, not in levels."""
    nickel = {2: {"moment_muB": 1.7}, 3: {"moment_muB": 0.9}, 4: {"moment_muB": 0.1}}
    sections = {"electrons": {"levels": {"Ni": nickel}, "fixed": {"Na": 1, "Mn": 4, "O": -2}}}
    own = {"cell_matrix": TestMixedFramework.MATRIX, "formula_units": 18, "moments_muB": {"Ni": 2.0, "Mn": 3.0}}
    own |= {"redox_element": "Ni", "moments_x": "2/3"}
    for x, state, total in (("2/3", "six Ni2+", 48), ("1/3", "six Ni3+", 42)):
        status, text = case.check(MIXED, x, sections=sections, **own)
        assert status == 0 and f"total moment {total} μB, {state}, " in text, text
    status, text = case.check(MIXED, 1.0, sections=sections, **own)
    assert status == 1 and "x = 1 cannot be neutral with these states" in text
