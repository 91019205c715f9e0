"""Every way the stand-in for VASP can end, under custodian: reason, corrections, and no process left."""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from custodian.vasp.handlers import VaspErrorHandler
from pymatgen.io.vasp.inputs import Incar, Kpoints

from redoxmd.engines.vasp.custodian_run import (
    Limits,
    alters_energies,
    changed_inputs,
    read_inputs,
    run_under_custodian,
)
from redoxmd.engines.vasp.handlers import MD_ERRORS, NOT_IN_MD
from redoxmd.engines.vasp.job import MOVED_ASIDE
from redoxmd.errors import Interrupted, LabelRefusal
from tests.standin import WORDS, install_standin
from tests.standin.example import DYNAMIC, STATIC, write_example
from tests.standin.processes import processes_in

# pymatgen warns of POTCARs that it does not know, and of what the stand-in does on purpose.
pytestmark = [
    pytest.mark.filterwarnings("ignore::UserWarning"),
    pytest.mark.filterwarnings("ignore::pymatgen.io.vasp.outputs.UnconvergedVASPWarning"),
]

ROOT = Path(__file__).parents[3]
LIMITS = {"timeout_s": 60.0, "frozen_s": 30.0, "max_errors": 4, "grace_s": 0.3}
SHORT = {"frozen_s": 1.0}
WAIT_S = 30.0

# word → (reason at this level, limits); None: custodian is content, and the files are for the reader to judge.
SINGLE = {
    "fine": (None, {}),
    "slow:1": (None, {}),
    "nelm": ("unconverged", {"max_errors": 2}),
    "nelm_once": ("unconverged", {"max_errors": 1}),
    "unfinished": ("unfinished", {}),
    "hang": ("timed_out", SHORT),
    "hang_deaf": ("timed_out", SHORT),
    "endless": ("timed_out", {"timeout_s": 2.0}),
    "children": ("timed_out", SHORT),
    "lingering": (None, {}),
    "killed": ("unfinished", {}),
    "crash": ("unfinished", {}),
    "oom": ("out_of_memory", {}),
    "brmix": ("unfinished", {"max_errors": 2}),
    "zpotrf": ("unfinished", {}),
    "tet": ("unfinished", {"max_errors": 1}),
    "no_start": ("did_not_start", {}),
    "mpi_abort": ("did_not_start", {}),
    "stale": ("did_not_start", {}),
    "backdated": ("stale_output", {}),
    **dict.fromkeys(("empty_contcar", "stars", "nan_forces", "huge_force", "wrong_order"), (None, {})),
    **dict.fromkeys(("wrong_positions", "wrong_moment", "wrong_charge", "other_encut"), (None, {})),
}


@pytest.fixture
def standin(tmp_path):
    """The stand-in, and the proof that nothing of it is left."""
    yield install_standin(tmp_path)
    assert processes_in(tmp_path) == []


@pytest.fixture
def run(tmp_path, standin):
    def run(*words, tags=STATIC, **limits):
        standin.behave(*words)
        if not (tmp_path / "run/INCAR").exists():
            write_example(tmp_path / "run", standin, tags)
        md = tags.get("IBRION") == 0
        return run_under_custodian(
            tmp_path / "run", standin.command, Limits(**{**LIMITS, "molecular_dynamics": md, **limits})
        )

    return run


def test_the_table_has_every_word():
    assert {word.partition(":")[0] for word in SINGLE} == set(WORDS)


@pytest.mark.parametrize("word", SINGLE)
def test_each_behaviour_alone(run, standin, word):
    reason, limits = SINGLE[word]
    begun = time.monotonic()
    outcome = run(word, **limits)
    assert time.monotonic() - begun < WAIT_S
    assert (outcome.failure and outcome.failure[0]) == reason
    assert reason is None or reason in set(LabelRefusal)
    assert outcome.starts == len(standin.starts())


def test_a_failed_mixing_is_mended_without_touching_the_physics(run, standin):
    outcome = run("brmix", "fine")
    assert outcome.failure is None
    (correction,) = outcome.corrections
    assert (correction["handler"], correction["errors"]) == ("VaspErrorHandler", ["brmix"])
    assert outcome.changed == {"ISTART": (None, 1)}
    assert outcome.physical == {}
    assert [start["word"] for start in standin.starts()] == ["brmix", "fine"]


def test_electrons_that_do_not_converge_get_another_algorithm(run):
    outcome = run("nelm", "fine")
    assert outcome.failure is None
    assert [item["errors"] for item in outcome.corrections] == [["Unconverged"]]
    assert outcome.changed == {"ALGO": ("Normal", "All"), "ISEARCH": (None, 1)}
    assert outcome.physical == {}


def test_two_failures_of_different_kinds_are_both_mended(run):
    outcome = run("brmix", "nelm", "fine")
    assert outcome.failure is None and outcome.starts == 3
    assert [item["handler"] for item in outcome.corrections] == ["VaspErrorHandler", "UnconvergedElectrons"]


def test_a_mended_run_that_then_hangs_is_timed_out(run):
    outcome = run("nelm", "hang", frozen_s=3.0)
    assert outcome.failure[0] == "timed_out"
    assert outcome.starts == 2


def test_a_frozen_job_with_algo_fast_is_tried_with_normal(run):
    outcome = run("hang", "fine", tags=STATIC | {"ALGO": "Fast"}, frozen_s=3.5)
    assert outcome.failure is None
    assert outcome.changed == {"ALGO": ("Fast", "Normal")}


def test_another_smearing_is_seen_as_physics(run):
    outcome = run("tet", "fine", tags=STATIC | {"ISMEAR": -5})
    assert outcome.failure is None
    assert set(outcome.physical) == {"ISMEAR"}
    assert outcome.physical["ISMEAR"] == (-5, 0)


def test_outputs_of_the_attempt_before_do_not_count(run, tmp_path):
    """The second start writes nothing; what the first wrote must not pass for its result."""
    outcome = run("nelm", "stale")
    assert outcome.failure[0] == "did_not_start"
    assert not (tmp_path / "run/vasprun.xml").exists()


def test_killed_twice_then_fine(run, tmp_path):
    """A kill is no error that custodian mends: the caller starts again, in the same folder."""
    reasons = []
    for word in ("killed", "killed", "fine"):
        outcome = run(word)
        reasons.append(outcome.failure and outcome.failure[0])
    assert reasons == ["unfinished", "unfinished", None]
    assert (tmp_path / "run" / MOVED_ASIDE / "OUTCAR").exists()


def test_old_outputs_are_moved_aside_and_restart_files_kept(run, tmp_path):
    run("fine")
    folder = tmp_path / "run"
    assert (folder / "WAVECAR").exists()
    old = (folder / "vasprun.xml").read_text()
    (folder / "STOPCAR").write_text("LSTOP = .TRUE.\n")
    outcome = run("stale")
    assert outcome.failure[0] == "did_not_start"
    assert (folder / MOVED_ASIDE / "vasprun.xml").read_text() == old
    assert not (folder / "vasprun.xml").exists()
    assert not (folder / "STOPCAR").exists()
    assert (folder / "WAVECAR").exists() and (folder / "CHGCAR").exists()
    assert (folder / "CHGCAR").stat().st_mtime < outcome.started_at_s


@pytest.mark.parametrize("command", ["no_such_program_here", "{folder}/no_permission"])
def test_a_command_that_cannot_be_started(run, tmp_path, standin, command):
    write_example(tmp_path / "run", standin, STATIC)
    (tmp_path / "no_permission").write_text("")
    outcome = run_under_custodian(tmp_path / "run", command.format(folder=tmp_path), Limits(**LIMITS))
    assert outcome.failure[0] == "did_not_start"
    assert "engine.vasp.command" in outcome.failure[1]


def test_a_wrong_input_is_reported_as_vasp_reports_it(run):
    outcome = run("fine", tags=STATIC | {"MAGMOM": "3*1.0"})
    assert outcome.failure[0] == "unfinished"
    assert "read_error" in outcome.failure[1]


class TestMolecularDynamics:
    def test_fine(self, run):
        outcome = run("fine", tags=DYNAMIC)
        assert outcome.failure is None and outcome.corrections == [] and outcome.changed == {}

    def test_electrons_are_mended(self, run):
        outcome = run("nelm", "fine", tags=DYNAMIC)
        assert outcome.failure is None
        assert set(outcome.changed) == {"ALGO", "ISEARCH"}

    def test_a_frozen_one_does_not_go_on_from_its_contcar(self, run, tmp_path):
        outcome = run("hang", tags=DYNAMIC, frozen_s=3.0)
        assert (tmp_path / "run/CONTCAR").exists()
        assert outcome.failure[0] == "timed_out"
        assert outcome.changed == {}

    def test_an_error_whose_mending_changes_the_time_step_is_left_alone(self, run):
        outcome = run("zpotrf", tags=DYNAMIC)
        assert outcome.failure[0] == "unfinished"
        assert outcome.corrections == [] and outcome.changed == {}

    KEPT = ("POTIM", "IBRION", "NSW", "TEBEG", "TEEND", "ENCUT", "ISMEAR", "SIGMA", "LREAL", "PREC", "ISIF", "SMASS")

    def mended(self, tmp_path, standin, error):
        """The inputs after custodian mended an error three times, with a CONTCAR of another geometry at hand."""
        tags = DYNAMIC | {"ALGO": "Fast", "LREAL": "Auto", "PREC": "Normal", "ISYM": 2, "ISMEAR": -5}
        atoms = write_example(tmp_path, standin, tags)
        (tmp_path / "OUTCAR").write_text("")
        (tmp_path / "OSZICAR").write_text("")
        atoms.positions += 0.2
        text = (tmp_path / "POSCAR").read_text().splitlines()
        rows = [" ".join(map(str, row)) for row in atoms.get_scaled_positions()]
        (tmp_path / "CONTCAR").write_text("\n".join(text[:8] + rows) + "\n")
        before = read_inputs(tmp_path)
        handler = VaspErrorHandler("vasp.out")
        (tmp_path / "vasp.out").write_text("")
        for _ in range(3):
            handler.errors = {error}
            try:
                handler.correct(str(tmp_path))
            except Exception:
                # It wants an OUTCAR; under custodian that ends the run.
                break
        return before, read_inputs(tmp_path)

    @pytest.mark.parametrize("error", MD_ERRORS)
    def test_no_mending_touches_geometry_time_or_method(self, tmp_path, standin, error):
        before, after = self.mended(tmp_path, standin, error)
        changed = changed_inputs(before, after)
        assert "POSCAR" not in changed
        assert set(changed) & set(self.KEPT) == set()

    @pytest.mark.parametrize("error", ["brions", "zbrent", "fexcf", "eddrmm", "edddav", "zheev", "tet", "real_optlay"])
    def test_what_is_left_out_would_touch_them(self, tmp_path, standin, error):
        """So that the test above is known to see such changes."""
        before, after = self.mended(tmp_path, standin, error)
        changed = changed_inputs(before, after)
        assert error not in MD_ERRORS
        assert set(changed) & {"POSCAR", *self.KEPT}

    def test_every_known_error_was_considered(self):
        """A new custodian may know more errors: each must be put into one of the lists."""
        considered = [*MD_ERRORS, *(error for errors in NOT_IN_MD.values() for error in errors)]
        assert sorted(considered) == sorted(VaspErrorHandler.error_msgs)


class TestEnding:
    def test_the_process_is_left_as_it_was(self, run):
        root = logging.getLogger()
        before = (Path.cwd(), list(root.handlers), root.level, dict(os.environ), signal.getsignal(signal.SIGTERM))
        run("brmix", "fine")
        after = (Path.cwd(), list(root.handlers), root.level, dict(os.environ), signal.getsignal(signal.SIGTERM))
        assert after == before

    def when_started(self, standin, act):
        def wait():
            while not standin.starts():
                time.sleep(0.05)
            time.sleep(0.5)
            act()

        threading.Thread(target=wait, daemon=True).start()

    def test_sigterm_ends_the_run_and_reaches_the_callers_handler(self, run, standin):
        seen = []
        previous = signal.signal(signal.SIGTERM, lambda *_: seen.append("asked"))
        try:
            standin.behave("hang_deaf")
            self.when_started(standin, lambda: os.kill(os.getpid(), signal.SIGTERM))
            with pytest.raises(Interrupted, match="asked to stop while VASP ran"):
                run("hang_deaf")
            assert seen == ["asked"]
        finally:
            signal.signal(signal.SIGTERM, previous)

    def test_keyboard_interrupt_ends_the_run(self, run, standin):
        standin.behave("children")
        self.when_started(standin, lambda: os.kill(os.getpid(), signal.SIGINT))
        # A shell that starts pytest in the background makes it ignore this signal.
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                run("children")
        finally:
            signal.signal(signal.SIGINT, previous)

    def test_any_exception_ends_the_run(self, run, monkeypatch):
        def fail(self, handlers, terminate_func=None):
            raise RuntimeError("no disk")

        monkeypatch.setattr("custodian.custodian.Custodian._do_check", fail)
        with pytest.raises(RuntimeError, match="no disk"):
            run("hang")

    def test_sigterm_to_a_program_leaves_nothing(self, tmp_path, standin):
        write_example(tmp_path / "run", standin, STATIC)
        standin.behave("children")
        program = (
            "from pathlib import Path\n"
            "from redoxmd.engines.vasp.custodian_run import Limits, run_under_custodian\n"
            f"run_under_custodian(Path({str(tmp_path / 'run')!r}), {standin.command!r}, Limits(grace_s=0.3))\n"
        )
        process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, cwd=ROOT, text=True)
        end = time.monotonic() + 2 * WAIT_S
        while not standin.starts() and time.monotonic() < end:
            time.sleep(0.1)
        time.sleep(1.0)
        assert processes_in(tmp_path / "run")
        process.terminate()
        _, said = process.communicate(timeout=WAIT_S)
        assert process.returncode != 0
        assert "Interrupted: asked to stop" in said
        assert processes_in(tmp_path) == []


class TestChanges:
    @pytest.mark.parametrize(
        ("name", "intended", "final", "physical"),
        [
            ("ALGO", "Normal", "All", False),
            ("BMIX", None, 0.001, False),
            ("ISEARCH", None, 1, False),
            ("ISYM", 2, 0, False),
            ("ISYM", 0, 2, True),
            ("SYMPREC", None, 1e-6, False),
            ("SYMPREC", None, 1e-4, True),
            ("EDIFF", 1e-6, 1e-7, False),
            ("EDIFF", 1e-6, 1e-4, True),
            ("ICHARG", 2, 1, False),
            ("ICHARG", 2, 11, True),
            ("NBANDS", None, 40, False),
            ("NBANDS", 40, 30, True),
            ("ISMEAR", -5, 0, True),
            ("SIGMA", 0.2, 0.05, True),
            ("LREAL", "Auto", False, True),
            ("PREC", "Normal", "Accurate", True),
            ("ENCUT", 520, 400, True),
            ("POTIM", 1.0, 0.5, True),
            ("KPOINTS", "kpoints 0 Gamma 2 2 1", "kpoints 0 Gamma 3 3 1", True),
            ("POSCAR", "as written", "another structure, cell or velocities", True),
        ],
    )
    def test_what_alters_energies(self, name, intended, final, physical):
        assert alters_energies(name, intended, final) is physical

    def test_a_rewritten_file_is_no_change(self, tmp_path, standin):
        write_example(tmp_path, standin, STATIC)
        before = read_inputs(tmp_path)
        before.poscar.write_file(tmp_path / "POSCAR")
        Incar.from_file(tmp_path / "INCAR").write_file(tmp_path / "INCAR")
        Kpoints.from_file(tmp_path / "KPOINTS").write_file(tmp_path / "KPOINTS")
        assert changed_inputs(before, read_inputs(tmp_path)) == {}

    def test_another_mesh_is_seen(self, tmp_path, standin):
        write_example(tmp_path, standin, STATIC, (3, 5, 1))
        before = read_inputs(tmp_path)
        Kpoints.gamma_automatic((3, 4, 1)).write_file(tmp_path / "KPOINTS")
        assert set(changed_inputs(before, read_inputs(tmp_path))) == {"KPOINTS"}

    @pytest.mark.parametrize("change", ["positions", "cell", "species", "velocities"])
    def test_another_structure_is_seen(self, tmp_path, standin, change):
        write_example(tmp_path, standin, STATIC)
        before = read_inputs(tmp_path)
        lines = (tmp_path / "POSCAR").read_text().splitlines()
        if change == "velocities":
            lines += ["", *["0.001 0.0 0.0"] * 8]
        else:
            row = {"positions": 8, "cell": 2, "species": 5}[change]
            words = lines[row].split()
            words[:2] = words[1::-1] if change == "species" else [str(float(words[0]) + 1e-5), words[1]]
            lines[row] = " ".join(words)
        (tmp_path / "POSCAR").write_text("\n".join(lines) + "\n")
        assert set(changed_inputs(before, read_inputs(tmp_path))) == {"POSCAR"}

    def test_a_whole_cell_vector_is_no_move(self, tmp_path, standin):
        atoms = write_example(tmp_path, standin, STATIC)
        before = read_inputs(tmp_path)
        lines = (tmp_path / "POSCAR").read_text().splitlines()
        lines[8] = " ".join(map(str, atoms.get_scaled_positions(wrap=False)[0] + np.array([1, 0, -1])))
        (tmp_path / "POSCAR").write_text("\n".join(lines) + "\n")
        assert changed_inputs(before, read_inputs(tmp_path)) == {}
