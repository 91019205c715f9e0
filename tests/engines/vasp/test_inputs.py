"""What VASP is asked, and what `redoxmd check` says of it beforehand; pymatgen reads what was written."""

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar, Potcar

from redoxmd.config.sections import EngineSettings, Hubbard, Label, Vasp, VaspFiles
from redoxmd.engines import engine_disk_gb, inspect_engine, level_of_config
from redoxmd.engines.base import supercell_kpoints
from redoxmd.engines.vasp.inputs import (
    internal_md,
    poscar_text,
    read_end_state,
    single_point,
    vasp_order,
    write_inputs,
)
from redoxmd.engines.vasp.large_files import file_bytes, retained_bytes
from redoxmd.engines.vasp.potcars import load_potcars
from redoxmd.errors import EngineMissing
from redoxmd.units import ASE_TIME_PER_FS
from tests.engines.test_engines import nvp
from tests.standin import write_potcars

POTCARS = {"Na": "Na_pv", "V": "V_pv"}


@pytest.fixture
def settings(tmp_path):
    write_potcars(tmp_path / "potcars", {"Na_pv": 7, "V_pv": 13, "P": 5, "O": 6})
    return Vasp(potcar_dir=str(tmp_path / "potcars"), potcars=POTCARS)


def shuffled(x=2.5):
    atoms = nvp(x)
    atoms = atoms[np.random.default_rng(0).permutation(len(atoms))]
    atoms.set_velocities(np.random.default_rng(1).standard_normal((len(atoms), 3)) * 0.01 / ASE_TIME_PER_FS)
    return atoms


def asked(settings, atoms, tmp_path, **changes):
    chosen = settings.model_copy(update=changes)
    moments = atoms.get_initial_magnetic_moments() if atoms.has("initial_magmoms") else None
    inputs = single_point(chosen, atoms, moments, (2, 2, 2), restart=False)
    write_inputs(tmp_path / "run", inputs, load_potcars(set(atoms.symbols), chosen))
    return inputs, tmp_path / "run"


def test_files_say_what_the_config_says(settings, tmp_path):
    atoms = shuffled()
    inputs, folder = asked(settings, atoms, tmp_path)
    incar = Incar.from_file(folder / "INCAR")
    poscar = Poscar.from_file(folder / "POSCAR")
    types = [site.element.symbol if hasattr(site, "element") else str(site) for site in poscar.site_symbols]
    assert (incar["ENCUT"], incar["GGA"].upper(), incar["ISPIN"], incar["LASPH"]) == (400, "PE", 2, True)
    assert dict(zip(types, incar["LDAUU"], strict=True)) == {"Na": 0, "V": 4.2, "P": 0, "O": 0}
    assert dict(zip(types, incar["LDAUL"], strict=True)) == {"Na": -1, "V": 2, "P": -1, "O": -1}
    assert (incar["LDAUTYPE"], incar["LMAXMIX"], incar["NSW"], incar["IBRION"]) == (2, 4, 0, -1)
    np.testing.assert_allclose(incar["MAGMOM"], atoms.get_initial_magnetic_moments()[inputs.order], atol=1e-3)
    assert [single.element for single in Potcar.from_file(folder / "POTCAR")] == types
    assert Kpoints.from_file(folder / "KPOINTS").kpts[0] == (2, 2, 2)
    np.testing.assert_allclose(poscar.structure.cart_coords, atoms.positions[inputs.order], atol=1e-10)
    np.testing.assert_allclose(poscar.velocities, atoms.get_velocities()[inputs.order] * ASE_TIME_PER_FS, atol=1e-10)


def test_order_and_back():
    atoms = shuffled()
    order = vasp_order(atoms.numbers)
    changes = np.count_nonzero(np.diff(atoms.numbers[order]))
    assert changes == len(set(atoms.numbers)) - 1
    inputs = single_point(Vasp(), atoms, None, (1, 1, 1), restart=False)
    np.testing.assert_array_equal(inputs.in_original_order(atoms.positions[order]), atoms.positions)


def test_own_tags_go_before_all_others(settings, tmp_path):
    _, folder = asked(settings, shuffled(), tmp_path, incar={"algo": "All", "NCORE": 4, "LREAL": "Auto"})
    incar = Incar.from_file(folder / "INCAR")
    assert (incar["ALGO"], incar["NCORE"], incar["LREAL"]) == ("All", 4, "Auto")


def test_without_moments_or_hubbard_there_are_no_such_tags(settings, tmp_path):
    atoms = shuffled()
    atoms.set_initial_magnetic_moments(None)
    _, folder = asked(settings, atoms, tmp_path, hubbard={})
    incar = Incar.from_file(folder / "INCAR")
    assert incar["ISPIN"] == 1
    assert not {"MAGMOM", "LDAU", "LDAUU", "LMAXMIX"} & set(incar)


def test_low_spin_ions_are_no_calculation_without_spin(settings, tmp_path):
    atoms = shuffled()
    atoms.set_initial_magnetic_moments(np.zeros(len(atoms)))
    _, folder = asked(settings, atoms, tmp_path)
    incar = Incar.from_file(folder / "INCAR")
    assert incar["ISPIN"] == 2 and not any(incar["MAGMOM"])


def test_f_electrons_are_mixed_too(settings):
    inputs = single_point(Vasp(hubbard={"V": Hubbard(orbital="f")}), nvp(2.5), None, (1, 1, 1), restart=False)
    assert inputs.incar["LMAXMIX"] == 6


@pytest.mark.parametrize(
    ("functional", "tags"), [("PBEsol", {"GGA": "PS"}), ("SCAN", {"METAGGA": "SCAN"}), ("LDA", {})]
)
def test_functionals(functional, tags):
    incar = single_point(Vasp(functional=functional), nvp(2.5), None, (1, 1, 1), restart=False).incar
    assert {tag: incar[tag] for tag in ("GGA", "METAGGA") if tag in incar} == tags


def test_thermostats():
    md_settings = Label(timestep_fs=0.5, temperature_K=900.0, friction_per_fs=0.02)
    common = {"md": md_settings, "steps": 10, "seed": 2**62}
    md = internal_md(Vasp(), nvp(2.5), None, (1, 1, 1), restart=True, **common).incar
    assert (md["MDALGO"], md["LANGEVIN_GAMMA"], md["POTIM"], md["TEBEG"]) == (3, [20.0] * 4, 0.5, 900.0)
    assert 0 <= md["RANDOM_SEED"][0] < 900_000_000
    assert md["ISTART"] == 1
    nose = internal_md(Vasp(thermostat="nose", nose_mass=0.5), nvp(2.5), None, (1, 1, 1), restart=False, **common).incar
    assert (nose["MDALGO"], nose["SMASS"]) == (2, 0.5)
    assert "LANGEVIN_GAMMA" not in nose


@pytest.mark.parametrize(("repeats", "grid"), [((1, 1, 1), (2, 3, 4)), ((2, 2, 2), (1, 2, 2)), ((3, 1, 4), (1, 3, 1))])
def test_kpoints_of_supercells(repeats, grid):
    assert supercell_kpoints((2, 3, 4), repeats) == grid


def test_the_token_names_the_run():
    atoms = nvp(2.5)
    token = single_point(Vasp(), atoms, None, (1, 1, 1), restart=False).token
    moved = atoms.copy()
    moved.positions[0, 0] += 1e-6
    assert single_point(Vasp(), atoms, None, (1, 1, 1), restart=False).token == token
    assert single_point(Vasp(), moved, None, (1, 1, 1), restart=False).token != token
    assert single_point(Vasp(cutoff_eV=500), atoms, None, (1, 1, 1), restart=False).token != token


@pytest.mark.parametrize("direct", [False, True])
def test_end_state_of_a_contcar(tmp_path, direct):
    atoms = shuffled()
    atoms = atoms[vasp_order(atoms.numbers)]
    text = poscar_text(atoms, "x")
    if direct:
        text = Poscar.from_str(text).get_str(significant_figures=14)
    (tmp_path / "CONTCAR").write_text(text)
    positions, velocities = read_end_state(tmp_path / "CONTCAR")
    shift = (positions - atoms.positions) @ np.linalg.inv(np.asarray(atoms.cell))
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-8)
    np.testing.assert_allclose(velocities, atoms.get_velocities() * ASE_TIME_PER_FS, atol=1e-8)
    cut = "\n".join(text.splitlines()[:-3])
    (tmp_path / "CONTCAR").write_text(cut)
    with pytest.raises(ValueError, match="it is cut"):
        read_end_state(tmp_path / "CONTCAR")


class TestPotcars:
    def test_any_layout(self, settings, tmp_path):
        text = load_potcars(["Na"], settings)["Na"].text
        plain = tmp_path / "release/Na_pv"
        plain.mkdir(parents=True)
        (plain / "POTCAR").write_text(text)
        found = load_potcars(["Na"], settings.model_copy(update={"potcar_dir": str(tmp_path / "release")}))
        assert found["Na"].sha256 == load_potcars(["Na"], settings)["Na"].sha256
        assert (found["Na"].label, found["Na"].valence_e) == ("Na_pv", 7)

    def test_a_file_in_the_wrong_place_is_named(self, settings, tmp_path):
        folder = tmp_path / "mixed"
        for label, source in (("Na_pv", "O"), ("V_pv", "V")):
            (folder / label).mkdir(parents=True)
            other = settings.model_copy(update={"potcars": {"V": "V_pv"}})
            (folder / label / "POTCAR").write_text(load_potcars([source], other)[source].text)
        wrong = settings.model_copy(update={"potcar_dir": str(folder)})
        with pytest.raises(EngineMissing, match=r"its title is 'PAW_PBE O .*expected PAW_PBE Na_pv"):
            load_potcars(["Na"], wrong)
        assert load_potcars(["V"], wrong)["V"].label == "V_pv"

    def test_a_broken_one_is_named(self, tmp_path, settings):
        (tmp_path / "broken/Na_pv").mkdir(parents=True)
        (tmp_path / "broken/Na_pv/POTCAR").write_text("nothing\n")
        with pytest.raises(EngineMissing, match="not readable as a POTCAR"):
            load_potcars(["Na"], settings.model_copy(update={"potcar_dir": str(tmp_path / "broken")}))


class TestCheck:
    ELEMENTS = ("Na", "V", "P", "O")

    def found(self, settings, lengths=(8.7, 8.7, 8.7), **changes):
        engine = EngineSettings(name="vasp", vasp=settings.model_copy(update=changes))
        return inspect_engine(engine, {"the source cell": lengths}, self.ELEMENTS)

    def test_a_sound_one(self, settings):
        found = self.found(settings, ranks=16, incar={"NCORE": 4, "KPAR": 2})
        assert found.problems == []
        assert len(found.notes) == 1
        assert all(title in found.notes[0] for title in ("PAW_PBE Na_pv", "PAW_PBE V_pv", "PAW_PBE O"))

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"ranks": 6, "incar": {"NCORE": 4}}, "does not divide engine.vasp.ranks 6"),
            ({"ranks": 16, "incar": {"KPAR": 16}}, "KPAR 16 exceeds the 8 k-points"),
            ({"potcars": {"Na": "Na_sv"}}, "no POTCAR Na_sv"),
            ({"functional": "LDA"}, "does not match POTCARs of PBE_54"),
            ({"potcar_dir": "/no/such"}, "no folder /no/such"),
        ],
    )
    def test_problems(self, settings, changes, words):
        assert any(words in problem for problem in self.found(settings, **changes).problems)

    @pytest.mark.parametrize(
        ("lengths", "kpoints", "words"),
        [
            ((8.7, 8.7, 8.7), (1, 1, 1), None),
            ((5.0, 8.7, 8.7), (1, 2, 2), "reaches 5.0 Å"),
            ((8.7, 8.7, 8.7), (8, 8, 8), "denser than needed for converged energies"),
            ((5.0, 20.0, 20.0), (4, 3, 3), "uneven"),
        ],
    )
    def test_kpoints(self, settings, lengths, kpoints, words):
        notes = self.found(settings, lengths, kpoints=kpoints).notes
        assert [note for note in notes if "kpoints" in note and (words is None or words not in note)] == []
        assert any(words in note for note in notes) if words else len(notes) == 1

    def test_a_cutoff_below_what_the_potcars_ask_for(self, settings):
        assert any("below the ENMAX" in note for note in self.found(settings, cutoff_eV=150.0).notes)

    def test_level(self, settings):
        level = level_of_config(EngineSettings(name="vasp", vasp=settings), self.ELEMENTS, (8.7, 8.7, 8.7))
        assert (level.functional, level.cutoff_eV, level.spin, level.hubbard) == ("PBE", 400, None, {"V": ("d", 4.2)})
        assert level.kpoint_reach_A == pytest.approx(17.4)
        assert level.potentials["Na"].startswith("PAW_PBE Na_pv")


def test_forecast_of_a_campaign():
    engine = EngineSettings(name="vasp", vasp=Vasp(files=VaspFiles(vasprun="keep")))
    one = file_bytes(engine.vasp, 40, 40)["vasprun"] / 1e9
    kept = "VASP's files, kept (engine.vasp.files)"
    assert engine_disk_gb(engine, [(40, 500), (40, 25)], 40)[kept] == pytest.approx(525 * one)
    internal = engine.model_copy(update={"vasp": engine.vasp.model_copy(update={"md": "internal"})})
    assert engine_disk_gb(internal, [(40, 500), (40, 25)], 40)[kept] == pytest.approx(11 * one)
    assert engine_disk_gb(EngineSettings(name="toy"), [(40, 500)], 40) == {}


def test_disk():
    settings = Vasp()
    size = file_bytes(settings, 40, 40)
    # An NVP cell of 480 Å³ has a fine grid of about 84³ points at 400 eV, two numbers of 18 bytes each.
    assert size["chgcar"] == pytest.approx(84**3 * 36, rel=0.25)
    assert retained_bytes(settings, 40, 40) == 0
    kept = settings.model_copy(update={"files": VaspFiles(chgcar="keep", wavecar="keep")})
    assert retained_bytes(kept, 40, 40) == pytest.approx(size["chgcar"] + size["wavecar"])
    # A supercell divides the k-points and multiplies bands and plane waves.
    assert file_bytes(settings, 320, 40)["wavecar"] == pytest.approx(size["wavecar"] * 64 / 4, rel=0.01)
