import itertools
import json

import numpy as np
import pandas as pd
import pytest

from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Explore
from redoxmd.errors import DataError, Interrupted
from redoxmd.explore import bound_factor, explore
from redoxmd.files.frames import write_frames
from redoxmd.files.records import write_json
from redoxmd.gate import settings_when_labelled
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.ensemble import TrajectoryMD, ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble, load_ensemble, save_ensemble
from redoxmd.train.calibration import calibrate, calibrated, evaluate
from tests.conftest import rock, spring_label
from tests.md.evaluators import FakeEvaluator, Held
from tests.model.test_ensemble import members
from tests.production.test_production import stop_at
from tests.scripts import execute

NAME = "x3.000_random0_1x1x1"
SETTINGS = Explore(
    timestep_fs=1.0, temperature_K=300.0, candidate_every_fs=5.0, trace_every_fs=2.0, max_temperature_factor=50
)


@pytest.fixture
def scripted(tmp_path):
    number = itertools.count()

    def run(spreads, length_fs=40, settings=SETTINGS, seed=0, name=NAME, push=0.0, factor=1.0):
        def pushed(positions, masses):
            forces = np.zeros_like(positions)
            forces[:, 1, 2] = push
            return forces

        evaluator, atoms = FakeEvaluator(pushed, spreads), rock(1 + seed, rattle_A=0.02)
        checkpoint = Checkpoint(tmp_path / f"state{next(number)}", "f")
        rng = np.random.default_rng(seed)
        return explore(atoms, evaluator, settings, length_fs / 1000, rng, name, checkpoint, factor=factor)

    return run


def test_a_sure_ensemble_survives(scripted):
    run = scripted([0.5] * 41)
    assert (run.end_reason, run.survived_ps, run.candidates) == ("survived", 0.04, [])
    assert run.record().n_candidates == 0


def test_an_unsure_one_gives_at_most_one_candidate_per_interval(scripted):
    run = scripted([2.0] * 41)
    assert run.end_reason == "survived"
    assert [frame.info["time_fs"] for frame in run.candidates] == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert all(frame.info["spread_eV_A"] == pytest.approx(2.0) for frame in run.candidates)


def test_a_frame_beyond_the_ceiling_ends_the_run_and_is_not_collected(scripted):
    run = scripted([0.5] * 10 + [5.5])
    assert (run.end_reason, run.survived_ps, run.candidates) == ("spread_above_high", 0.01, [])
    assert run.trace["spread_eV_A"].iloc[-1] == pytest.approx(5.5)


def test_thresholds_belong_to_the_candidates(scripted):
    settings = SETTINGS.model_copy(update={"candidate_every_fs": 1.0})
    run = scripted([1.001, 0.999, 4.999, 5.001], settings=settings)
    assert [frame.info["step"] for frame in run.candidates] == [0, 2]


class TestBound:
    """The gate on the bound of the error instead of the spread."""

    CALIBRATED = Explore(gate_on="calibrated", gate_coverage=0.75)

    def test_thresholds_are_for_the_bound(self, scripted):
        spreads = [0.3, 0.3, 0.6, 0.3, 2.4, 2.6]
        settings = SETTINGS.model_copy(update={"candidate_every_fs": 1.0})
        run = scripted(spreads, settings=settings, factor=2.0)
        # 2 × 0.6 and 2 × 2.4 lie between 1 and 5 eV/Å, 2 × 2.6 above.
        assert [frame.info["step"] for frame in run.candidates] == [2, 4]
        assert [frame.info["spread_eV_A"] for frame in run.candidates] == pytest.approx([1.2, 4.8])
        assert (run.end_reason, run.survived_ps) == ("spread_above_high", 0.005)
        assert run.record().max_spread_eV_A == pytest.approx(5.2)

    def test_the_factor_by_hand_from_the_validation_frames(self, tmp_path):
        ensemble = Ensemble(members())
        sets = ["validation"] * 4 + ["test"] * 2 + ["train"]
        frames = [spring_label(rock(seed), set=name) for seed, name in enumerate(sets)]
        save_ensemble(tmp_path / "ensemble.pt", calibrated(ensemble, calibrate(evaluate(ensemble, frames))))
        ratios = []
        for frame in frames[:4]:
            forces = np.array([ensemble.predict(frame).member_forces_eV_A])[0]
            spread = np.sqrt(((forces - forces.mean(0)) ** 2).sum((0, 2)) / (len(forces) - 1))
            error = np.sqrt(((forces.mean(0) - frame.calc.results["forces"]) ** 2).sum(1))
            ratios.append(max(error) / max(spread))
        read = load_ensemble(tmp_path / "ensemble.pt", "cpu")
        # Of four ratios the ⌈5 · 0.75⌉-th is the largest.
        assert bound_factor(read, self.CALIBRATED) == pytest.approx(max(ratios), rel=1e-4)
        assert bound_factor(read, self.CALIBRATED.model_copy(update={"gate_coverage": 0.5})) == pytest.approx(
            sorted(ratios)[2], rel=1e-4
        )
        assert bound_factor(read, SETTINGS) == 1.0
        with pytest.raises(DataError, match=r"0\.9 of the errors with 4 validation frames; it needs 9"):
            bound_factor(read, self.CALIBRATED.model_copy(update={"gate_coverage": 0.9}))
        with pytest.raises(DataError, match="an earlier version made it"):
            bound_factor(ensemble, self.CALIBRATED)
        # Without a spread no factor bounds the error.
        alone = Ensemble(members(1))
        alone = calibrated(alone, calibrate(evaluate(alone, frames)))
        with pytest.raises(DataError, match="cannot cover"):
            bound_factor(alone, self.CALIBRATED)

    def test_the_rule_gates_on_the_bound(self, tmp_path):
        """By files: one MD raw and calibrated has the same steps, spreads times the factor, and other candidates."""
        ensemble = Ensemble(members())
        frames = [spring_label(rock(seed), set="validation") for seed in range(4)]
        save_ensemble(tmp_path / "ensemble.pt", calibrated(ensemble, calibrate(evaluate(ensemble, frames))))
        write_frames(tmp_path / "start.extxyz", [rock(1, rattle_A=0.02)])
        factor = bound_factor(load_ensemble(tmp_path / "ensemble.pt", "cpu"), self.CALIBRATED)
        traces = {}
        for name, settings in (("raw", SETTINGS), ("calibrated", self.CALIBRATED)):
            changes = {"timestep_fs": 1.0, "temperature_K": 300.0, "candidate_every_fs": 5.0, "trace_every_fs": 2.0}
            settings = settings.model_copy(update={**changes, "low_eV_A": 1e-9, "high_eV_A": 1e9})
            params = {"explore": settings_for("explore", settings), "length_ps": 0.01, "seed": 1}
            params["state"] = str(tmp_path / "state" / name)
            outputs = {kind: str(tmp_path / f"{name}.{kind}") for kind in ("record", "candidates", "trace")}
            inputs = {"atoms": str(tmp_path / "start.extxyz"), "ensemble": str(tmp_path / "ensemble.pt")}
            config = {"train": {"device": "cpu"}}
            wildcards = {"structure": NAME, "gen": "0"}
            execute("explore", tmp_path, params, inputs, outputs, None, config, wildcards, warm=True)
            traces[name] = pd.read_csv(tmp_path / f"{name}.trace")
            spread_eV_A = json.loads((tmp_path / f"{name}.record").read_text())["max_spread_eV_A"]
            assert spread_eV_A == pytest.approx(traces[name]["spread_eV_A"].max(), rel=0.2)
        assert len(traces["raw"]) == len(traces["calibrated"]) > 3
        np.testing.assert_allclose(
            traces["calibrated"]["spread_eV_A"], factor * traces["raw"]["spread_eV_A"], rtol=1e-4
        )
        assert factor > 1.01

    def test_raw_runs_stay_valid(self):
        assert "gate_on" not in settings_for("explore", Explore())
        assert settings_for("explore", self.CALIBRATED)["gate_on"] == "calibrated"
        with pytest.raises(ValueError, match="only with gate_on: calibrated"):
            Explore(gate_coverage=0.5)

    def test_a_labelled_generation_keeps_its_gate(self, tmp_path):
        """Through the decision file, as the rules read it."""
        recorded = settings_for("gate", self.CALIBRATED)
        now = settings_for("explore", self.CALIBRATED)
        write_json(tmp_path / "gate/gen0.json", {"settings": {"explore": recorded}})
        write_frames(tmp_path / "label/gen0/frames.extxyz", [spring_label(rock(0))])
        kept = settings_when_labelled(tmp_path, 0, "explore", now)
        assert (kept["gate_on"], kept["gate_coverage"]) == ("calibrated", 0.75)


def test_nan_ends_the_run(scripted):
    run = scripted([0.5, 0.5, np.nan])
    assert (run.end_reason, run.candidates) == ("not_finite", [])


def test_a_bad_start_ends_at_once(scripted):
    run = scripted([9.0])
    assert (run.end_reason, run.survived_ps) == ("spread_above_high", 0.0)


def test_runaway_temperature(scripted):
    settings = SETTINGS.model_copy(update={"max_temperature_factor": 4.0, "min_distance_fraction": 0.01})
    calm = scripted([0.5] * 41, settings=settings)
    assert calm.end_reason == "survived"
    pushed = scripted([0.5] * 41, settings=settings, push=40.0)
    assert pushed.end_reason == "temperature_runaway"
    assert pushed.trace["temperature_K"].iloc[-1] > 4 * 300


def test_an_end_the_spread_did_not_foresee_offers_the_frame_before(scripted):
    settings = SETTINGS.model_copy(update={"max_temperature_factor": 4.0, "min_distance_fraction": 0.01})
    run = scripted([0.5] * 41, settings=settings, push=40.0)
    (precursor,) = run.candidates
    assert precursor.info["ended"] == "temperature_runaway"
    ended_fs = run.survived_ps * 1000
    assert 0 < ended_fs - precursor.info["time_fs"] <= settings.candidate_every_fs
    unsure = scripted([2.0] * 41, settings=settings, push=40.0)
    steps = [frame.info["step"] for frame in unsure.candidates]
    assert len(set(steps)) == len(steps)
    assert [frame.info.get("ended") for frame in unsure.candidates] == [None] * (len(steps) - 1) + [
        "temperature_runaway"
    ]


def test_close_contact(tmp_path):
    atoms = rock(1, rattle_A=0.0)
    atoms.positions[1] = atoms.positions[0] + [0.3, 0, 0]
    rng = np.random.default_rng(0)
    run = explore(atoms, HostEvaluator(Ensemble(members())), SETTINGS, 0.01, rng, "start", Checkpoint(tmp_path, "f"))
    assert run.end_reason == "close_contact"


class TestRestart:
    """Untrained members, the atoms held by springs; every frame is a candidate, the trace is dense."""

    HELD = SETTINGS.model_copy(
        update={"low_eV_A": 0.0, "high_eV_A": 1e6, "candidate_every_fs": 4.0, "max_temperature_factor": 1e6}
    )

    def run(self, folder, length_ps=0.05, settings=HELD):
        atoms, rng = rock(2, rattle_A=0.02), np.random.default_rng(6)
        evaluator = Held(HostEvaluator(Ensemble(members())), rock(2, rattle_A=0.0).positions)
        return explore(atoms, evaluator, settings, length_ps, rng, NAME, Checkpoint(folder, "f"))

    def same(self, one, other):
        assert (one.end_reason, one.survived_ps) == (other.end_reason, other.survived_ps)
        pd.testing.assert_frame_equal(one.trace, other.trace, check_exact=True)
        assert [frame.info for frame in one.candidates] == [frame.info for frame in other.candidates]
        for a, b in zip(one.candidates, other.candidates, strict=True):
            np.testing.assert_array_equal(a.positions, b.positions)
            np.testing.assert_array_equal(a.arrays["momenta"], b.arrays["momenta"])

    @pytest.mark.parametrize("step", [1, 22, 49])
    def test_stopped_and_continued_equals_uninterrupted(self, tmp_path, monkeypatch, step):
        whole = self.run(tmp_path / "whole")
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(Interrupted, match=f"at step {step} of 50; the state is written"):
                self.run(tmp_path / "part")
        self.same(self.run(tmp_path / "part"), whole)

    def test_made_longer_runs_what_is_added(self, tmp_path, monkeypatch):
        whole = self.run(tmp_path / "whole")
        self.run(tmp_path / "part", 0.021)
        steps = []
        advance = TrajectoryMD.step
        monkeypatch.setattr(TrajectoryMD, "step", lambda md: steps.append(md.state.step) or advance(md))
        self.same(self.run(tmp_path / "part"), whole)
        assert steps == list(range(21, 50))
        self.same(self.run(tmp_path / "part"), whole)
        assert len(steps) == 29
        # A shorter one has fewer candidates: it is run anew.
        self.same(self.run(tmp_path / "part", 0.02), self.run(tmp_path / "short", 0.02))

    def test_a_state_of_an_earlier_version_is_taken_up(self, tmp_path):
        whole = self.run(tmp_path / "whole")
        self.run(tmp_path / "part", 0.021)
        checkpoint = Checkpoint(tmp_path / "part", "f")
        state = checkpoint.load("state")
        last = json.loads(str(state["seen"]))
        checkpoint.save("state", {**state, "seen": json.dumps({"passage": last.pop("outcome"), **last})})
        self.same(self.run(tmp_path / "part"), whole)

    def test_a_guard_s_word_lasts(self, tmp_path):
        settings = self.HELD.model_copy(update={"max_temperature_factor": 1.02, "low_eV_A": 1e5})
        first = self.run(tmp_path / "a", settings=settings)
        assert first.end_reason == "temperature_runaway"
        assert [frame.info["ended"] for frame in first.candidates] == ["temperature_runaway"]
        self.same(self.run(tmp_path / "a", settings=settings), first)


def test_continued_md_equals_uninterrupted():
    """Bit for bit, although the neighbour list is searched anew on the way."""
    atoms = rock(3, rattle_A=0.05)

    def new():
        gate = GateSettings(1e3, 1e4, "max", 0.01, 1e6)
        return ensemble_md(
            HostEvaluator(Ensemble(members())), atoms, Langevin(atoms.get_masses(), 2.0, 900.0, 0.01), gate
        )

    whole = new()
    whole.start(np.random.default_rng(5))
    searched = set()
    for _ in range(80):
        assert whole.step().outcome is not GateOutcome.STOP
        searched.add(whole.state_record()["list_positions_A"].tobytes())
    assert len(searched) > 1
    part = new()
    part.start(np.random.default_rng(5))
    for _ in range(33):
        part.step()
    continued = new()
    continued.restore(part.state_record())
    for _ in range(47):
        continued.step()
    assert np.array_equal(continued.state.positions_A, whole.state.positions_A)
    assert np.array_equal(continued.state.velocities_A_fs, whole.state.velocities_A_fs)
