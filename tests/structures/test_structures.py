import numpy as np
import pytest
from ase import Atoms
from ase.io import write
from ase.neighborlist import neighbor_list

from redoxmd.config.sections import Structures
from redoxmd.errors import StructureError
from redoxmd.structures.build import build_structure, initial_moments
from redoxmd.structures.nvp import nvp_cell
from redoxmd.structures.request import parse_name, structure_name
from redoxmd.structures.source import source_cell

NVP = Structures()


def made(name, settings=NVP, seed=1):
    return build_structure(parse_name(name), settings, seed)


def bonds(atoms, a, b, cutoff):
    first, distance = neighbor_list("id", atoms, {(a, b): cutoff})
    return first, distance


class TestNvp:
    def test_composition_and_sites(self):
        atoms = nvp_cell()
        assert atoms.get_chemical_formula() == "Na8O24P6V4"
        sites = atoms.arrays["site"]
        assert ((sites == "Na1").sum(), (sites == "Na2").sum(), (sites == "-").sum()) == (2, 6, 34)

    def test_bond_lengths_of_the_literature(self):
        atoms = nvp_cell()
        _, v_o = bonds(atoms, "V", "O", 2.5)
        _, p_o = bonds(atoms, "P", "O", 2.0)
        assert len(v_o) / 2 == 4 * 6 and len(p_o) / 2 == 6 * 4
        np.testing.assert_allclose([v_o.min(), v_o.max()], [1.98, 2.04], atol=0.01)
        np.testing.assert_allclose([p_o.min(), p_o.max()], [1.52, 1.54], atol=0.01)

    def test_neighbours_of_the_sodium_sites(self):
        atoms = nvp_cell()
        centre, _ = bonds(atoms, "Na", "O", 2.9)
        counts = np.bincount(centre, minlength=len(atoms))
        assert set(counts[atoms.arrays["site"] == "Na1"]) == {6}
        assert set(counts[atoms.arrays["site"] == "Na2"]) == {8}


class TestNames:
    @pytest.mark.parametrize("x", [0, 1, 2.5, 2.125, 2.0625])
    def test_round_trip(self, x):
        name = structure_name(x, "random", 3, (2, 2, 2))
        assert parse_name(name).name == name
        assert parse_name(name).x == x

    @pytest.mark.parametrize("name", ["x2_random0_1x1x1", "x2.000_sorted0_1x1x1", "x2.000_random0_1x1", "structure"])
    def test_other_names_are_refused(self, name):
        with pytest.raises(StructureError, match="not a structure name"):
            parse_name(name)


class TestBuild:
    def test_supercell_of_the_paper(self):
        assert len(made("x3.000_random0_1x1x1")) == 40
        assert len(made("x3.000_random0_2x2x2")) == 320

    def test_same_seed_same_ordering(self):
        first, again = made("x2.500_random3_1x1x1"), made("x2.500_random3_1x1x1")
        assert np.array_equal(first.positions, again.positions)
        others = [made(f"x1.500_random{seed}_1x1x1") for seed in range(12)]
        orderings = {tuple(np.round(a.positions[a.symbols == "Na"].ravel(), 3)) for a in others}
        assert len(orderings) > 6

    def test_random_visits_both_sites(self):
        sites = np.concatenate([made(f"x1.000_random{seed}_1x1x1").arrays["site"] for seed in range(40)])
        ions = sites[sites != "-"]
        # A quarter of the sites are Na1.
        assert (ions == "Na1").mean() == pytest.approx(0.25, abs=4 * np.sqrt(0.25 * 0.75 / len(ions)))

    @pytest.mark.parametrize(("x", "first", "second"), [(0.5, 1, 0), (1.0, 2, 0), (2.5, 2, 3)])
    def test_preferred_site_first(self, x, first, second):
        sites = made(f"x{x:.3f}_preferred4_1x1x1").arrays["site"]
        assert ((sites == "Na1").sum(), (sites == "Na2").sum()) == (first, second)

    @pytest.mark.parametrize("x", [1.0, 2.0, 3.0, 3.5])
    def test_volume_is_linear(self, x):
        settings = NVP.model_copy(update={"volume_A3_per_fu": {1.0: 220.0, 3.0: 240.0}})
        atoms = made(f"x{x:.3f}_random0_1x1x1", settings)
        assert atoms.get_volume() == pytest.approx(2 * (220 + 10 * (x - 1)))
        _, p_o = bonds(atoms, "P", "O", 2.0)
        assert len(p_o) == 48

    @pytest.mark.parametrize(("x", "total"), [(3.0, 8.0), (2.5, 7.0), (1.0, 4.0), (4.0, 10.0)])
    def test_moments_count_the_redox(self, x, total):
        atoms = made(f"x{x:.3f}_random0_1x1x1")
        moments = atoms.get_initial_magnetic_moments()
        assert moments.sum() == pytest.approx(total)
        assert np.ptp(moments[atoms.symbols == "V"]) == 0 and not moments[~(atoms.symbols == "V")].any()
        np.testing.assert_allclose(initial_moments(atoms.repeat((2, 1, 1)), NVP).sum(), 2 * total)

    def test_impossible_fraction_names_those_that_work(self):
        with pytest.raises(StructureError, match=r"4\.25 ions.*x = 2 or 2\.5 would work.*\[2, 2, 2\] holds x = 2\.125"):
            made("x2.125_random0_1x1x1")

    def test_more_ions_than_sites(self):
        with pytest.raises(StructureError, match=r"10 ions asked for, the cell has 8 sites; x may be 0 to 4"):
            made("x5.000_random0_1x1x1")


class TestOwnMaterial:
    @pytest.fixture
    def poscar(self, tmp_path):
        """A layered Na2Mn2O4 cell with two inequivalent Na."""
        scaled = [
            [0, 0, 0.25],
            [0.5, 0.5, 0.3],
            [0, 0, 0],
            [0.5, 0.5, 0],
            [0.5, 0, 0.12],
            [0, 0.5, 0.12],
            [0.5, 0, 0.9],
            [0, 0.5, 0.88],
        ]
        atoms = Atoms("Na2Mn2O4", scaled_positions=scaled, cell=[5, 5, 11], pbc=True)
        path = tmp_path / "POSCAR"
        write(path, atoms, format="vasp")
        return path

    def settings(self, path, **changes):
        base = {"source": str(path), "redox_element": "Mn", "moments_muB": {"Mn": 4.0}, "moments_x": 1.0}
        base |= {"mobile_ion": "Na", "formula_units": 2, "preferred_site": "Na1"}
        return Structures(**{**base, "moment_per_ion_muB": 1.0, **changes})

    def test_named_sites(self, poscar):
        settings = self.settings(poscar, sites={"A": (0,), "B": (1,)}, preferred_site="B")
        atoms = build_structure(parse_name("x0.500_preferred0_1x1x1"), settings, 1)
        assert list(atoms.arrays["site"][atoms.symbols == "Na"]) == ["B"]
        assert atoms.get_initial_magnetic_moments().sum() == pytest.approx(7.0)

    def test_sites_by_symmetry(self, poscar):
        assert source_cell(self.settings(poscar)).site_names == ["Na1", "Na2"]

    def test_nvp_written_as_cif_is_found_again(self, tmp_path):
        path = tmp_path / "nvp.cif"
        write(path, nvp_cell())
        cell = source_cell(Structures(**{**NVP.model_dump(), "source": str(path)}))
        sites = cell.atoms.arrays["site"]
        assert ((sites == "Na1").sum(), (sites == "Na2").sum()) == (2, 6)

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"source": "nowhere.cif"}, "no file nowhere.cif"),
            ({"mobile_ion": "Li"}, "holds no Li"),
            ({"preferred_site": "Na7"}, r"no site 'Na7'; the cell has \['Na1', 'Na2'\]"),
            ({"sites": {"A": (2,)}, "preferred_site": "A"}, "2 is not a Na atom"),
            ({"sites": {"A": (0,)}, "preferred_site": "A"}, r"atoms \[1\] belong to no site"),
        ],
    )
    def test_refusals(self, poscar, changes, message):
        with pytest.raises(StructureError, match=message):
            source_cell(self.settings(poscar).model_copy(update=changes))

    def test_disorder_in_the_framework_is_refused_and_on_ion_sites_filled(self, tmp_path):
        cif = (
            "data_x\n_cell_length_a 4\n_cell_length_b 4\n_cell_length_c 4\n_cell_angle_alpha 90\n_cell_angle_beta 90\n"
            "_cell_angle_gamma 90\n_symmetry_space_group_name_H-M 'P 1'\nloop_\n"
            "_atom_site_label\n_atom_site_type_symbol\n_atom_site_fract_x\n_atom_site_fract_y\n_atom_site_fract_z\n_atom_site_occupancy\n"
            "NaA Na 0 0 0 0.6\nO1 O 0.5 0.5 0.5 {}\n"
        )
        good, bad = tmp_path / "good.cif", tmp_path / "bad.cif"
        good.write_text(cif.format("1.0"))
        bad.write_text(cif.format("0.5"))
        own = {"redox_element": "O", "moments_muB": {}, "formula_units": 1}
        settings = self.settings(good, **own, sites={"A": ("NaA",)}, preferred_site="A")
        assert (source_cell(settings).atoms.arrays["site"] == "A").sum() == 1
        with pytest.raises(StructureError, match="disordered at O1"):
            source_cell(settings.model_copy(update={"source": str(bad)}))
