"""VASP as an engine, on the stand-in: every way a run can end, and what becomes of it."""

from itertools import pairwise
from pathlib import Path

import ase.io
import numpy as np
import pytest

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.aimd.records import LabelRecord
from redoxmd.config.sections import EngineSettings, Label, Vasp, VaspFiles
from redoxmd.density.store import read_densities
from redoxmd.electrons.orbitals import occupation_matrices
from redoxmd.engines import attempt_hash, get_engine, settings_hash, toy
from redoxmd.errors import EngineMissing, LabelRefused
from redoxmd.files.frames import write_frames
from redoxmd.files.records import read_json
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.label import label_frame
from tests.engines.test_engines import nvp
from tests.standin import install_standin
from tests.standin.processes import processes_in

POTCARS = {"Na": "Na_pv", "V": "V_pv"}
TETRAHEDRA = {"ISMEAR": -5}
TWO_STEPS = Label(steps=2, timestep_fs=1.0, density_every=1)
# What VASP prints of a toy energy, force and position.
ENERGY_EV, FORCE_EV_A, POSITION_A = 1e-6, 1e-6, 1e-6
# Frames of before the interruption come back from extended XYZ.
FILE_DIGITS = 1.1e-8


def settings_of(standin, **changes):
    changes = {"potcars": POTCARS, "frozen_s": 20.0, "timeout_s": 60.0} | changes
    return EngineSettings(
        name="vasp", vasp=Vasp(command=standin.command, potcar_dir=str(standin.potcar_dir), **changes)
    )


@pytest.fixture
def standin(tmp_path):
    return install_standin(tmp_path / "site")


class TestSinglePoint:
    @pytest.fixture(autouse=True)
    def _setup(self, standin, tmp_path):
        self.standin = standin
        self.engine = get_engine(settings_of(standin), (1, 1, 1), tmp_path / "work")
        self.atoms = nvp(2.5)
        # Atoms of an element apart from one another, as no POSCAR has them.
        self.atoms = self.atoms[np.random.default_rng(0).permutation(len(self.atoms))]

    def test_in_original_order_of_atoms(self):
        result = self.engine.calculate(self.atoms)
        energy, forces, stress = toy.ionic_energy(self.atoms)
        assert result.energy_eV == pytest.approx(energy, abs=ENERGY_EV)
        np.testing.assert_allclose(result.forces_eV_A, forces, atol=FORCE_EV_A)
        np.testing.assert_allclose(result.stress_eV_A3, stress, atol=1e-6)
        np.testing.assert_allclose(result.moments_muB, toy.moments(self.atoms), atol=1e-3)
        assert result.remarks == {}
        assert self.engine.provenance()["potcars"]["Na"]["title"].startswith("PAW_PBE Na_pv")
        assert self.engine.provenance()["program"].startswith("vasp")
        density = self.engine.density()
        np.testing.assert_array_equal(density.numbers, self.atoms.numbers)
        np.testing.assert_allclose(density.positions_A, self.atoms.positions)
        assert density.electrons == pytest.approx(sum(toy.VALENCE_ELECTRONS[s] for s in self.atoms.symbols))
        assert density.moment_muB == pytest.approx(toy.moments(self.atoms).sum(), abs=1e-3)

    def test_occupations_are_in_original_order(self, tmp_path):
        """The stand-in prints the first two coordinates of each V as its first occupations."""
        result = self.engine.calculate(self.atoms)
        write_frames(tmp_path / "label.extxyz", [result.label(self.atoms, config_id="a", step=0)])
        matrices = occupation_matrices(ase.io.read(tmp_path / "label.extxyz").arrays["orbital_occupations"])
        vanadium = self.atoms.symbols == "V"
        expected = self.atoms.get_scaled_positions()[vanadium, :2]
        np.testing.assert_allclose(matrices[vanadium][:, :, 0, 0], expected, atol=1e-4)
        assert matrices.shape == (39, 2, 5, 5) and not matrices[~vanadium].any()

    def test_the_next_step_starts_from_the_last(self, tmp_path):
        folder = tmp_path / "work/run"
        self.engine.calculate(self.atoms)
        assert "ISTART = 0" in (folder / "INCAR").read_text()
        moments = toy.moments(self.atoms)
        self.engine.calculate(self.atoms)
        incar = (folder / "INCAR").read_text()
        assert "ISTART = 1" in incar
        line = next(line for line in incar.splitlines() if line.startswith("MAGMOM"))
        counts = [word.split("*") for word in line.split("=")[1].split()]
        found = [float(word[-1]) for word in counts for _ in range(int(word[0]) if len(word) > 1 else 1)]
        order = np.argsort(
            [list(dict.fromkeys(self.atoms.numbers)).index(z) for z in self.atoms.numbers], kind="stable"
        )
        np.testing.assert_allclose(found, moments[order], atol=1e-3)

    def test_a_refused_run_is_not_built_upon(self, tmp_path):
        self.standin.behave("fine", "nelm", "nelm", "nelm", "nelm", "fine")
        self.engine.calculate(self.atoms)
        with pytest.raises(LabelRefused):
            self.engine.calculate(self.atoms)
        assert self.engine.density() is None
        self.engine.calculate(self.atoms)
        incar = (tmp_path / "work/run/INCAR").read_text()
        assert "ISTART = 0" in incar
        assert "ICHARG = 2" in incar

    def test_policy_of_files(self, tmp_path):
        settings = settings_of(self.standin, files=VaspFiles(chgcar="compress", vasprun="keep"))
        engine = get_engine(settings, (1, 1, 1), tmp_path / "other")
        engine.calculate(self.atoms)
        engine.calculate(self.atoms)
        names = sorted(path.name for path in engine.retained_files().iterdir())
        assert names == [f"run{n:06d}.{name}" for n in (1, 2) for name in ("CHGCAR.gz", "vasprun.xml")]


# Starts of VASP in turn, steps asked for, and: frames kept, reason (None: all went well), words of the corrections.
SCENARIOS = {
    "normal termination": (["fine"], 2, None, ""),
    "NELM reached": (["nelm"], 0, "unconverged", ""),
    "NELM reached once, then normal": (["nelm", "fine"], 2, None, "UnconvergedElectrons"),
    "NELM reached in the second step": (["fine", "nelm"], 1, "unconverged", ""),
    "unfinished": (["unfinished"], 0, "unfinished", ""),
    "hangs": (["hang"], 0, "timed_out", ""),
    "hangs and ignores SIGTERM": (["hang_deaf"], 0, "timed_out", ""),
    "hangs with a child process": (["children"], 0, "timed_out", ""),
    "writes without end": (["endless"], 0, "timed_out", ""),
    "normal, but leaves a child process": (["lingering"], 2, None, ""),
    "killed": (["killed"], 0, "unfinished", ""),
    "killed in the second step": (["fine", "killed"], 1, "unfinished", ""),
    "crash": (["crash"], 0, "unfinished", ""),
    "out of memory": (["oom"], 0, "out_of_memory", ""),
    "VASP not found in the job": (["no_start"], 0, "did_not_start", ""),
    "MPI fails": (["mpi_abort"], 0, "did_not_start", ""),
    "no start over old files": (["fine", "stale"], 1, "did_not_start", ""),
    "files of an earlier run": (["backdated"], 0, "stale_output", ""),
    "empty CONTCAR": (["empty_contcar"], 2, None, ""),
    "asterisks instead of energies": (["stars"], 0, "corrupted", ""),
    "NaN forces": (["nan_forces"], 0, "not_finite", ""),
    "a force of 999 eV/Å": (["huge_force"], 0, "force_ceiling", ""),
    "wrong order of atoms": (["wrong_order"], 0, "wrong_structure", ""),
    "wrong positions": (["wrong_positions"], 0, "wrong_structure", ""),
    "another spin state": (["wrong_moment"], 0, "wrong_moment", ""),
    "one electron more": (["wrong_charge"], 0, "wrong_settings", ""),
    "another cutoff": (["other_encut"], 0, "wrong_settings", ""),
    "BRMIX once, then normal": (["brmix", "fine"], 2, None, "brmix"),
    "BRMIX in the second step, then normal": (["fine", "brmix", "fine"], 2, None, "brmix"),
    "BRMIX in every start": (["brmix"], 0, "unfinished", ""),
    "ZPOTRF": (["zpotrf"], 0, "unfinished", ""),
    "tetrahedra fail, corrected by our smearing": (["tet", "fine"], 2, None, "tet"),
    "slow": (["slow:1"], 2, None, ""),
}


def docs_table():
    """The scenarios as docs/vasp.md shows them."""
    rows = ["| what VASP does | frames kept of 2 | recorded as |", "|---|---|---|"]
    for name, (_, frames, reason, corrections) in SCENARIOS.items():
        rows.append(
            f"| {name} | {frames} | {reason or ('labelled, corrections noted' if corrections else 'labelled')} |"
        )
    return rows


def test_the_table_in_the_docs_is_this_one():
    text = (Path(__file__).parents[3] / "docs/vasp.md").read_text()
    assert "\n".join(docs_table()) in text
    assert len(SCENARIOS) >= 20


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_end_of_a_run_has_its_record(name, standin, tmp_path):
    words, frames, reason, corrections = SCENARIOS[name]
    standin.behave(*words)
    limits = {"frozen_s": 2.0, "timeout_s": 30.0} if "hang" in words[0] or words[0] == "children" else {}
    limits = {"timeout_s": 4.0} if words[0] == "endless" else limits
    settings = settings_of(standin, **limits)
    checkpoint = Checkpoint(tmp_path / "state/label/gen0_g0f000", "any")
    engine = get_engine(settings, (1, 1, 1), checkpoint.folder)
    run = label_frame(nvp(2.5), engine, TWO_STEPS, np.random.default_rng(1), "g0f000", checkpoint)
    record = LabelRecord.of("g0f000", run, nvp(2.5), attempt_hash(settings))
    run.move_side_files(tmp_path / "refused", tmp_path / "files")
    checkpoint.clear()
    assert record.n_frames == len(run.frames) == frames
    assert record.status == ("labelled" if reason is None else "partial" if frames else "refused")
    if reason is None:
        assert record.refusal is None
        assert not (tmp_path / "refused").exists()
    else:
        assert record.refusal.reason == reason, record.refusal
        kept = read_json(tmp_path / "refused/refusal.json")
        assert (kept["reason"], kept["step"]) == (reason, frames)
        assert (tmp_path / "refused/INCAR").exists()
    assert (corrections in str(record.corrections)) if corrections else record.corrections == []
    assert processes_in(tmp_path) == []


def test_settings_changed_by_custodian_may_be_taken_with_a_mark(standin, tmp_path):
    standin.behave("tet", "fine")
    engine = get_engine(settings_of(standin, incar=TETRAHEDRA, refuse_changed=False), (1, 1, 1), tmp_path / "work")
    result = engine.calculate(nvp(2.5))
    assert "ISMEAR -5 → 0" in result.remarks["changed_settings"]
    assert "tet" in result.remarks["corrections"]


def test_settings_changed_by_custodian_are_refused(standin, tmp_path):
    standin.behave("tet", "fine")
    engine = get_engine(settings_of(standin, incar=TETRAHEDRA), (1, 1, 1), tmp_path / "work")
    with pytest.raises(LabelRefused, match=r"wrong_settings.*ISMEAR -5 → 0"):
        engine.calculate(nvp(2.5))


def test_another_run_s_output_is_stale(standin, tmp_path, monkeypatch):
    """The name of the run stands in its output: files of the right time and the right atoms are not enough."""
    engine = get_engine(settings_of(standin), (1, 1, 1), tmp_path / "work")
    engine.calculate(nvp(2.5))
    from redoxmd.engines.vasp import engine as module

    good = (tmp_path / "work/run/vasprun.xml").read_bytes()

    def instead(folder, command, limits):
        outcome = module_run(folder, command, limits)
        (folder / "vasprun.xml").write_bytes(good)
        return outcome

    module_run = module.run_under_custodian
    monkeypatch.setattr(module, "run_under_custodian", instead)
    moved = nvp(2.5)
    moved.positions[0] += 1e-5
    with pytest.raises(LabelRefused) as caught:
        engine.calculate(moved)
    assert caught.value.reason == "stale_output"


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (("", ""), ""),
        # One that VASP 5 takes without repeating it, and one that a later VASP lists although nobody set it.
        (('  <i name="VDW_CNRADIUS">     20.00000000</i>\n', '  <i type="int" name="INEWTAG">     1</i>\n'), ""),
        (('name="VDW_CNRADIUS">     20.0', 'name="VDW_CNRADIUS">     30.0'), "VDW_CNRADIUS 30.0 against 20.0"),
        (('<i name="EFIELD">      0.0', '<i name="EFIELD">      0.2'), "EFIELD 0.2 against 0.0"),
    ],
)
def test_tags_that_no_table_knows_are_compared_where_vasp_shows_them(standin, tmp_path, monkeypatch, change, refused):
    from redoxmd.engines.vasp import engine as module

    original = module.run_under_custodian

    def changed(folder, command, limits):
        outcome = original(folder, command, limits)
        text = (folder / "vasprun.xml").read_text()
        assert change[0] in text
        (folder / "vasprun.xml").write_text(text.replace(*change, 1))
        return outcome

    monkeypatch.setattr(module, "run_under_custodian", changed)
    engine = get_engine(settings_of(standin, incar={"VDW_CNRADIUS": 20.0}), (1, 1, 1), tmp_path / "work")
    if not refused:
        engine.calculate(nvp(2.5))
        return
    with pytest.raises(LabelRefused, match="wrong_settings") as caught:
        engine.calculate(nvp(2.5))
    assert refused in caught.value.detail


class TestInternalMD:
    STEPS = Label(steps=7, timestep_fs=1.0, density_every=3)

    def run(self, standin, folder, **changes):
        checkpoint = Checkpoint(folder, "any")
        settings = settings_of(standin, md="internal", md_chunk_steps=3, **changes)
        engine = get_engine(settings, (1, 1, 1), checkpoint.folder)
        return run_reference_md(nvp(2.5), engine, self.STEPS, np.random.default_rng(5), "conf", checkpoint)

    @pytest.fixture(scope="class")
    def undisturbed(self, tmp_path_factory):
        """Stand-in and its run: to be looked at, not changed."""
        folder = tmp_path_factory.mktemp("undisturbed")
        standin = install_standin(folder / "site")
        return standin, self.run(standin, folder / "state")

    def test_labels_are_those_of_their_geometries(self, undisturbed):
        standin, run = undisturbed
        assert run.refusal is None
        assert [frame.info["step"] for frame in run.frames] == list(range(7))
        for frame in run.frames:
            energy, forces, _ = toy.ionic_energy(frame)
            assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-5)
            np.testing.assert_allclose(frame.get_forces(), forces, atol=1e-5)
        # One start for each piece, one for each density.
        assert len(standin.starts()) == 3 + 3
        densities = [density for path in run.densities for density in read_densities(path).values()]
        assert len(densities) == 3
        for density, step in zip(densities, (0, 3, 6), strict=True):
            np.testing.assert_allclose(density.positions_A, run.frames[step].positions, atol=POSITION_A)

    def test_velocities_belong_to_the_positions(self, undisturbed):
        frames = undisturbed[1].frames
        kelvin = [frame.info["temperature_K"] for frame in frames]
        assert np.all((np.array(kelvin) > 400) & (np.array(kelvin) < 1800))
        moved = np.array([b.positions - a.positions for a, b in pairwise(frames)])
        assert np.abs(moved).max() < 0.1
        from redoxmd.units import ASE_TIME_PER_FS

        for index in (1, 4, 5):
            expected = (frames[index + 1].positions - frames[index - 1].positions) / 2
            np.testing.assert_allclose(frames[index].get_velocities() * ASE_TIME_PER_FS, expected, atol=1e-6)

    # In the first piece, its density, and the second piece.
    @pytest.mark.parametrize("killed_at", [1, 2, 3])
    def test_killed_and_resumed_is_the_same_trajectory(self, undisturbed, standin, tmp_path, monkeypatch, killed_at):
        whole = undisturbed[1].frames
        from redoxmd.engines.vasp import engine as module

        original, starts = module.run_under_custodian, []

        def dies(folder, command, limits):
            starts.append(folder.name)
            outcome = original(folder, command, limits)
            if len(starts) == killed_at:
                raise KeyboardInterrupt
            return outcome

        monkeypatch.setattr(module, "run_under_custodian", dies)
        with pytest.raises(KeyboardInterrupt):
            self.run(standin, tmp_path / "state")
        monkeypatch.setattr(module, "run_under_custodian", original)
        resumed = self.run(standin, tmp_path / "state")
        assert len(resumed.densities) == 3
        assert len(resumed.frames) == len(whole)
        for before, after in zip(whole, resumed.frames, strict=True):
            np.testing.assert_allclose(after.positions, before.positions, atol=FILE_DIGITS)
            np.testing.assert_allclose(after.get_forces(), before.get_forces(), atol=FILE_DIGITS)
            assert after.get_potential_energy() == pytest.approx(before.get_potential_energy(), abs=FILE_DIGITS)

    def test_frames_before_a_refused_one_are_kept(self, standin, tmp_path):
        standin.behave("fine", "fine", "nelm_once", "nelm_once", "nelm_once", "nelm_once")
        run = self.run(standin, tmp_path / "state")
        assert run.refusal.reason == "unconverged"
        assert len(run.frames) == 4

    @pytest.mark.parametrize(
        ("word", "reason"),
        [
            ("nelm", "unconverged"),
            ("no_start", "did_not_start"),
            ("oom", "out_of_memory"),
            ("wrong_moment", "wrong_moment"),
        ],
    )
    def test_a_run_that_fails_as_a_whole(self, standin, tmp_path, word, reason):
        standin.behave("fine", "fine", word)
        run = self.run(standin, tmp_path / "state")
        assert (run.refusal.reason, run.refusal.step) == (reason, 3)
        assert len(run.frames) == 3

    def test_no_state_to_go_on_from(self, standin, tmp_path):
        standin.behave("empty_contcar")
        run = self.run(standin, tmp_path / "state")
        assert run.refusal.reason == "corrupted"
        assert "CONTCAR" in run.refusal.detail
        assert len(run.frames) == 3


class TestSettings:
    def test_only_physics_makes_another_method(self, standin):
        base = settings_of(standin)
        same = [
            settings_of(standin, ranks=4),
            settings_of(standin, max_iterations=200),
            settings_of(standin, md="internal"),
            settings_of(standin, incar={"NCORE": 4, "algo": "All"}),
            settings_of(standin, files=VaspFiles(chgcar="keep")),
        ]
        assert {settings_hash(other) for other in same} == {settings_hash(base)}
        other = [
            settings_of(standin, cutoff_eV=500),
            settings_of(standin, potcars={**POTCARS, "O": "O_s"}),
            settings_of(standin, incar={"LREAL": "Auto"}),
            settings_of(standin, functional="PBEsol"),
            settings_of(standin, smearing_eV=0.1),
        ]
        assert len({settings_hash(base), *map(settings_hash, other)}) == 6

    def test_an_attempt_is_all_of_them(self, standin):
        base = settings_of(standin)
        assert attempt_hash(base) != attempt_hash(settings_of(standin, max_iterations=200))
        assert attempt_hash(base) == attempt_hash(settings_of(standin))

    def test_potcars_are_found_or_named(self, standin, tmp_path, monkeypatch):
        for name in ("PMG_VASP_PSP_DIR", "VASP_PP_PATH"):
            monkeypatch.delenv(name, raising=False)
        with pytest.raises(EngineMissing, match="potcar_dir: not set"):
            get_engine(
                settings_of(standin).model_copy(update={"vasp": Vasp(command=standin.command)}), (1, 1, 1), tmp_path
            ).calculate(nvp(2.5))
        missing = settings_of(standin, potcars={**POTCARS, "O": "O_h"})
        with pytest.raises(EngineMissing, match="no POTCAR O_h of PBE_54"):
            get_engine(missing, (1, 1, 1), tmp_path).calculate(nvp(2.5))
        monkeypatch.setenv("VASP_PP_PATH", str(standin.potcar_dir))
        plain = Vasp(command=standin.command, potcars=POTCARS)
        get_engine(EngineSettings(name="vasp", vasp=plain), (1, 1, 1), tmp_path).calculate(nvp(2.5))
