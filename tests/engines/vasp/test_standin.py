"""The stand-in for VASP against the readers that everybody uses, and against the toy whose energies it writes."""

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import units
from pymatgen.io.vasp import Chgcar, Oszicar, Outcar, Poscar, Vasprun
from pymatgen.io.vasp.inputs import PotcarSingle

from redoxmd.engines import toy
from tests.standin import StandIn, install_standin, write_potcars
from tests.standin.example import DYNAMIC, STATIC, write_example
from tests.standin.inputs import Kpoints, read_poscar
from tests.standin.numbers import exponent, fixed

pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pymatgen.io.vasp.outputs.UnconvergedVASPWarning"),
]

# vasprun.xml has eight decimals; OUTCAR has six of a force, five of a stress in kB.
XML = 1e-8
OUTCAR_FORCE_EV_A = 1e-6
OUTCAR_STRESS_EV_A3 = 1e-5 / 1602
# CONTCAR has eight digits of a velocity, ten steps of a femtosecond long.
CONTINUED_A = 1e-7


def start(standin: StandIn, folder, words=("fine",)):
    standin.behave(*words)
    return subprocess.run(standin.command, shell=True, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def standin(tmp_path_factory):
    return install_standin(tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="module")
def static(tmp_path_factory, standin):
    folder = tmp_path_factory.mktemp("static")
    atoms = write_example(folder, standin, STATIC)
    done = start(standin, folder)
    assert (done.returncode, done.stderr) == (0, "")
    return folder, atoms, Vasprun(folder / "vasprun.xml"), Outcar(folder / "OUTCAR")


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory, standin):
    folder = tmp_path_factory.mktemp("dynamic")
    write_example(folder, standin, DYNAMIC | {"NSW": 10})
    assert start(standin, folder).returncode == 0
    return folder, Vasprun(folder / "vasprun.xml")


class TestSinglePoint:
    def test_energies_forces_and_stress_are_the_toys(self, static):
        folder, atoms, vasprun, _ = static
        energy, forces, stress = toy.ionic_energy(atoms)
        assert vasprun.final_energy == pytest.approx(energy, abs=XML)
        assert np.abs(np.array(vasprun.ionic_steps[0]["forces"]) - forces).max() < XML
        for name, force_error, stress_error in (
            ("vasprun.xml", XML, XML),
            ("OUTCAR", OUTCAR_FORCE_EV_A, OUTCAR_STRESS_EV_A3),
        ):
            read = ase.io.read(folder / name)
            assert read.get_potential_energy() == pytest.approx(energy, abs=XML)
            assert np.abs(read.get_forces() - forces).max() < force_error
            assert np.abs(read.get_stress(voigt=False) - stress).max() < stress_error
            assert read.get_chemical_symbols() == atoms.get_chemical_symbols()

    def test_the_three_energies_differ_as_they_do_in_vasp(self, static):
        _, _, vasprun, outcar = static
        step = vasprun.ionic_steps[0]
        assert step["e_fr_energy"] < step["e_0_energy"] < step["e_wo_entrp"]
        assert step["e_0_energy"] == pytest.approx(0.5 * (step["e_fr_energy"] + step["e_wo_entrp"]), abs=XML)
        assert outcar.final_fr_energy == step["e_fr_energy"]
        assert outcar.final_energy_wo_entrp == step["e_wo_entrp"]
        assert outcar.final_energy == step["e_0_energy"]

    def test_moments_charge_and_end(self, static):
        _, atoms, _, outcar = static
        assert [row["tot"] for row in outcar.magnetization] == toy.moments(atoms).tolist()
        assert outcar.total_mag == toy.moments(atoms).sum()
        assert outcar.nelect == 7 + 13 + 5 + 5 * 6
        assert outcar.run_stats["Elapsed time (sec)"] > 0
        assert outcar.spin

    def test_the_settings_are_there_to_be_read(self, static):
        _, _, vasprun, _ = static
        assert vasprun.vasp_version.startswith("6.2.0")
        assert vasprun.potcar_symbols[:2] == ["PAW_PBE Na_pv 19Sep2006", "PAW_PBE V_pv 07Sep2000"]
        assert vasprun.hubbards == {"Na": 0.0, "V": 4.0, "P": 0.0, "O": 0.0}
        assert vasprun.run_type == "GGA+U"
        assert vasprun.is_spin
        assert vasprun.incar["SYSTEM"] == vasprun.parameters["SYSTEM"] == "an example"
        assert vasprun.incar["LREAL"] is False and vasprun.parameters["LREAL"] is False
        read = {tag: vasprun.parameters[tag] for tag in ("ENMAX", "NELECT", "ISMEAR", "SIGMA", "NELM", "NSW", "IBRION")}
        assert read == {"ENMAX": 520, "NELECT": 55, "ISMEAR": 0, "SIGMA": 0.05, "NELM": 40, "NSW": 0, "IBRION": -1}
        assert vasprun.parameters["PREC"] == "Accura" and vasprun.parameters["LASPH"] is True
        assert vasprun.parameters["MAGMOM"] == [1.0] * 8
        assert vasprun.kpoints.kpts[0] == (2, 2, 1)
        assert vasprun.converged and vasprun.efermi == 2.0

    def test_every_parameter_of_a_real_file_keeps_its_place(self, static):
        folder, _, _, _ = static
        names = re.compile(r'<separator name="[^"]*"|name="(?:[A-Za-z_0-9]+)"')
        real = names.findall((Path(__file__).parents[2] / "standin/parameters.xml").read_text())
        text = (folder / "vasprun.xml").read_text()
        written = names.findall(text[text.index(" <parameters>") : text.index(" </parameters>")])
        assert [name for name in written if not name.startswith('name="LDAU') or name == 'name="LDAU"'] == real

    def test_electronic_steps_fall_to_the_tolerance(self, static):
        folder, _, vasprun, _ = static
        energies = np.array([step["e_fr_energy"] for step in vasprun.ionic_steps[0]["electronic_steps"]])
        changes = np.abs(np.diff(energies))
        assert (np.diff(changes) < 0).all()
        assert changes[-1] < 1e-6 < changes[-2]
        assert len(Oszicar(folder / "OSZICAR").electronic_steps[0]) == len(energies)
        assert "aborting loop because EDIFF is reached" in (folder / "OUTCAR").read_text()

    def test_the_density_holds_the_electrons_and_the_moment(self, static):
        folder, atoms, _, _ = static
        chgcar = Chgcar.from_file(folder / "CHGCAR")
        assert chgcar.data["total"].mean() == pytest.approx(55, abs=1e-6)
        assert chgcar.data["diff"].mean() == pytest.approx(toy.moments(atoms).sum(), abs=1e-6)
        density = toy.gaussian_density(atoms)
        assert np.abs(chgcar.data["total"] / atoms.get_volume() - density.total_e_A3).max() < 1e-6
        assert chgcar.structure.matches(Poscar.from_file(folder / "POSCAR").structure)


class TestDynamics:
    def test_frames_in_every_file(self, dynamic):
        folder, vasprun = dynamic
        assert vasprun.converged and vasprun.md_n_steps == 10
        for name in ("vasprun.xml", "OUTCAR", "XDATCAR"):
            frames = ase.io.read(folder / name, ":")
            assert len(frames) == 10
            assert np.abs(frames[7].get_scaled_positions() - vasprun.structures[7].frac_coords).max() < 1e-5
        steps = Oszicar(folder / "OSZICAR").ionic_steps
        assert [step["E0"] for step in steps] == pytest.approx(
            [step["e_0_energy"] for step in vasprun.ionic_steps], rel=1e-7
        )
        assert len(re.findall(r"magnetization \(x\)", (folder / "OUTCAR").read_text())) == 10

    def test_it_starts_at_its_temperature_and_from_its_poscar(self, dynamic):
        folder, vasprun = dynamic
        kinetic = 1.5 * 7 * units.kB * 600
        assert vasprun.ionic_steps[0]["kinetic"] == pytest.approx(kinetic, rel=1e-6)
        first = vasprun.structures[0].frac_coords
        assert np.abs(first - Poscar.from_file(folder / "POSCAR").structure.frac_coords % 1).max() < XML

    def test_the_same_inputs_give_the_same_files(self, dynamic, tmp_path, standin):
        folder, _ = dynamic
        for name in ("INCAR", "POSCAR", "KPOINTS", "POTCAR"):
            shutil.copy(folder / name, tmp_path)
        start(standin, tmp_path)
        for name in ("CONTCAR", "OSZICAR", "XDATCAR", "REPORT", "vasprun.xml", "OUTCAR"):
            old, new = ([line for line in self.undated(path / name)] for path in (folder, tmp_path))
            assert old == new

    @staticmethod
    def undated(path):
        return [line for line in path.read_text().splitlines() if "date" not in line and 'name="time"' not in line]

    def test_it_goes_on_from_contcar_and_seed_as_if_it_had_not_stopped(self, dynamic, tmp_path, standin):
        _, whole = dynamic
        write_example(tmp_path, standin, DYNAMIC)
        start(standin, tmp_path)
        shutil.copy(tmp_path / "CONTCAR", tmp_path / "POSCAR")
        seed = re.findall(r"RANDOM_SEED = +(\d+) +(\d+) +(\d+)", (tmp_path / "REPORT").read_text())[-1]
        tags = DYNAMIC | {"NSW": 6, "RANDOM_SEED": " ".join(seed)}
        (tmp_path / "INCAR").write_text("".join(f"{tag} = {value}\n" for tag, value in tags.items()))
        start(standin, tmp_path)
        second = Vasprun(tmp_path / "vasprun.xml")
        for continued, uninterrupted in zip(second.structures, whole.structures[4:], strict=True):
            apart = continued.frac_coords - uninterrupted.frac_coords
            assert np.abs((apart - np.round(apart)) @ continued.lattice.matrix).max() < CONTINUED_A

    def test_without_thermostat_the_energy_is_conserved_to_second_order(self, tmp_path, standin):
        drift = {}
        for timestep_fs in (0.5, 0.25):
            folder = tmp_path / str(timestep_fs)
            steps = round(10 / timestep_fs)
            tags = DYNAMIC | {"MDALGO": 0, "POTIM": timestep_fs, "NSW": steps, "TEBEG": 300, "SIGMA": 0.0}
            write_example(folder, standin, tags)
            start(standin, folder)
            total = np.array([step["total"] for step in Vasprun(folder / "vasprun.xml").ionic_steps])
            drift[timestep_fs] = np.abs(total - total[0]).max()
        # Halving the step must quarter the error; 3 leaves room for the next order.
        assert 3 < drift[0.5] / drift[0.25] < 5


class TestInputs:
    @pytest.mark.parametrize("label", ["Na_pv", "V_pv", "P", "O"])
    def test_pymatgen_reads_the_potcars(self, tmp_path, monkeypatch, label):
        valences = {"Na_pv": 7, "V_pv": 11, "P": 5, "O": 6}
        write_potcars(tmp_path, valences)
        monkeypatch.setitem(__import__("pymatgen.core", fromlist=["SETTINGS"]).SETTINGS, "PMG_VASP_PSP_DIR", tmp_path)
        potcar = PotcarSingle.from_symbol_and_functional(label, "PBE_54")
        assert potcar.zval == potcar.nelectrons == valences[label]
        assert potcar.symbol == label and potcar.element == label.partition("_")[0]
        assert potcar.functional == "PBE" and potcar.potential_type == "PAW"
        assert potcar.enmax > 200 and potcar.lexch == "PE"
        assert (tmp_path / label / "POTCAR").read_text() == potcar.data

    def test_a_contcar_has_its_velocities(self, dynamic):
        folder, _ = dynamic
        read = Poscar.from_file(folder / "CONTCAR")
        own = read_poscar((folder / "CONTCAR").read_text())
        assert np.abs(np.array(read.velocities) - own.velocities_A_fs).max() < 1e-12
        assert np.abs(own.velocities_A_fs).max() > 1e-4
        assert np.abs(read.structure.frac_coords - own.fractions).max() < 1e-12

    @pytest.mark.parametrize(
        ("tags", "said"),
        [
            ({"MAGMOM": "3*1.0"}, "Error reading item 'MAGMOM'"),
            ({"LDAUU": "4.0"}, "Error reading item 'LDAUU'"),
            ({"NSW": 5, "IBRION": 2}, "does not relax"),
        ],
    )
    def test_it_complains_of_wrong_inputs(self, tmp_path, standin, tags, said):
        write_example(tmp_path, standin, STATIC | tags)
        done = start(standin, tmp_path)
        assert done.returncode == 1 and said in done.stdout
        assert not (tmp_path / "vasprun.xml").exists()

    def test_potcars_in_another_order_are_refused(self, tmp_path, standin):
        write_example(tmp_path, standin, STATIC)
        blocks = (tmp_path / "POTCAR").read_text().split("  PAW_PBE")
        (tmp_path / "POTCAR").write_text("  PAW_PBE".join([blocks[0], *blocks[:0:-1]]))
        assert "incompatible" in start(standin, tmp_path).stdout

    @pytest.mark.parametrize(
        ("style", "divisions", "count"),
        [("Gamma", (1, 1, 1), 1), ("Gamma", (2, 2, 2), 8), ("Gamma", (3, 3, 3), 14), ("Monkhorst-Pack", (2, 2, 2), 4)],
    )
    def test_time_reversal_halves_the_k_points(self, style, divisions, count):
        kpoints = Kpoints(style, list(divisions), [0.0] * 3)
        assert len(kpoints.points) == count
        assert kpoints.weights.sum() == pytest.approx(1)

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (-6.50214658, "-.65021466E+01"),
            (0.0, "0.00000000E+00"),
            (9.99999999e-5, "0.10000000E-03"),
            (1.0, "0.10000000E+01"),
        ],
    )
    def test_numbers_look_like_vasps(self, value, text):
        assert exponent(value) == text
        assert fixed(1e12) == "*" * 16 and fixed(float("nan")).strip() == "NaN"


class TestBehaviours:
    def test_each_start_takes_the_next_word_and_the_last_repeats(self, tmp_path):
        standin = install_standin(tmp_path, ("no_start", "mpi_abort", "stale"))
        codes = [subprocess.run(standin.command, shell=True, capture_output=True).returncode for _ in range(4)]
        assert codes == [127, 1, 0, 0]
        assert [entry["word"] for entry in standin.starts()] == ["no_start", "mpi_abort", "stale", "stale"]

    def test_starts_at_the_same_time_take_a_word_each(self, tmp_path):
        standin = install_standin(tmp_path, ("no_start", "mpi_abort", "stale"))
        with ThreadPoolExecutor(3) as pool:
            done = pool.map(lambda _: subprocess.run(standin.command, shell=True, capture_output=True), range(3))
        assert sorted(one.returncode for one in done) == [0, 1, 127]

    def test_an_unknown_word_is_refused(self, tmp_path):
        with pytest.raises(ValueError, match="knows"):
            install_standin(tmp_path, ("finne",))

    def test_it_is_found_on_the_path(self, tmp_path):
        standin = install_standin(tmp_path)
        assert shutil.which("vasp_std", path=standin.env["PATH"]) == standin.command

    @pytest.mark.parametrize(
        ("word", "seen"),
        [
            ("stars", lambda run: not np.isfinite(run.xml.ionic_steps[0]["e_0_energy"])),
            ("nan_forces", lambda run: np.isnan(np.array(run.xml.ionic_steps[0]["forces"])).sum() == 1),
            ("huge_force", lambda run: np.max(run.xml.ionic_steps[0]["forces"]) == 999),
            ("wrong_order", lambda run: run.swapped),
            ("wrong_positions", lambda run: run.moved_A[0] > 0.5 and run.moved_A[1:].max() < 1e-6),
            ("wrong_moment", lambda run: run.outcar.total_mag == 0),
            ("wrong_charge", lambda run: run.xml.parameters["NELECT"] == 56 and run.outcar.nelect == 56),
            ("other_encut", lambda run: run.xml.parameters["ENMAX"] == 470),
            ("empty_contcar", lambda run: (run.folder / "CONTCAR").read_text() == ""),
            ("nelm", lambda run: not run.xml.converged and "EDIFF was not reached" in run.text),
        ],
    )
    def test_what_is_wrong_is_in_the_files(self, tmp_path, standin, word, seen):
        atoms = write_example(tmp_path, standin, STATIC)
        assert start(standin, tmp_path, (word,)).returncode == 0
        assert seen(Finished(tmp_path, atoms))

    @pytest.mark.parametrize("word", ["unfinished", "killed", "crash"])
    def test_a_cut_file_has_whole_steps_before_the_cut(self, tmp_path, standin, word):
        write_example(tmp_path, standin, DYNAMIC)
        start(standin, tmp_path, (word,))
        with pytest.raises(SyntaxError):
            Vasprun(tmp_path / "vasprun.xml")
        read = Vasprun(tmp_path / "vasprun.xml", exception_on_bad_xml=False)
        assert len(read.ionic_steps) == 2
        assert "General timing" not in (tmp_path / "OUTCAR").read_text()


class Finished:
    """A finished run, beside the atoms it was asked for."""

    def __init__(self, folder, atoms):
        self.folder = folder
        self.xml = Vasprun(folder / "vasprun.xml")
        self.outcar = Outcar(folder / "OUTCAR") if "****" not in (folder / "OUTCAR").read_text() else None
        self.text = (folder / "OUTCAR").read_text()
        apart = self.xml.structures[0].frac_coords - atoms.get_scaled_positions()
        self.moved_A = np.linalg.norm((apart - np.round(apart)) @ np.asarray(atoms.cell), axis=1)
        fractions = self.xml.structures[0].frac_coords
        self.swapped = np.abs(fractions[[1, 0]] - atoms.get_scaled_positions()[:2]).max() < 1e-6
