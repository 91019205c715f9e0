import os
import signal

import numpy as np
import pytest

from redoxmd.config.sections import Production
from redoxmd.errors import Interrupted
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.ensemble import TrajectoryMD
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.model.ensemble import Ensemble
from redoxmd.production import ProductionRun, TrajectorySpec, produce
from tests.conftest import rock
from tests.md.evaluators import Held
from tests.model.test_ensemble import members

NAME = "x2.500_random3_1x1x1"
SETTINGS = Production(
    length_ps=0.06, equilibration_ps=0.01, timestep_fs=1.0, save_every_fs=5.0, stop_above_eV_A=1e6, friction_per_fs=0.02
)


def held():
    return Held(HostEvaluator(Ensemble(members())), rock(2, rattle_A=0.0).positions)


def make(tmp_path, settings=SETTINGS, kelvin=300.0, seed=4, name="t.h5"):
    spec = TrajectorySpec(
        rock(2, rattle_A=0.0),
        settings,
        kelvin,
        np.random.default_rng(seed),
        Checkpoint(tmp_path / "state", [settings.model_dump(mode="json"), kelvin]),
        tmp_path / name,
        {"structure": NAME, "mobile_ion": "Na", "model": "m"},
    )
    summary = produce(spec, held())
    return summary, read_trajectory(tmp_path / name)


def stop_at(monkeypatch, step):
    """A stop request arrives at that MD step."""
    advance = TrajectoryMD.step

    def step_and_stop(self):
        seen = advance(self)
        if self.state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return seen

    monkeypatch.setattr(TrajectoryMD, "step", step_and_stop)


def test_a_whole_trajectory(tmp_path):
    summary, trajectory = make(tmp_path)
    assert (summary.end_reason, summary.length_ps) == ("completed", pytest.approx(0.06))
    assert trajectory.steps.tolist() == list(range(0, 61, 5))
    np.testing.assert_array_equal(trajectory.time_fs, trajectory.steps)
    about = trajectory.metadata
    assert (about["x"], about["temperature_K"], about["replica"]) == (2.5, 300.0, 3)
    assert (about["mobile_ion"], about["model"], about["end_reason"]) == ("Na", "m", "completed")
    assert about["recorded_ps"] == pytest.approx(0.06)
    assert about["ns_per_day"] > 0


def test_the_spread_is_recorded(tmp_path):
    _, trajectory = make(tmp_path)
    assert np.all(trajectory.spread_eV_A > 0)


@pytest.mark.parametrize("step", [4, 37, 66])
def test_stopped_and_continued_equals_uninterrupted(tmp_path, monkeypatch, step):
    _, whole = make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        stop_at(patch, step)
        with pytest.raises(Interrupted, match="the state is written"):
            make(tmp_path / "part")
    assert not (tmp_path / "part/t.h5").exists()
    _, continued = make(tmp_path / "part", seed=77)
    for name in ("steps", "positions_A", "temperature_K", "energy_eV", "spread_eV_A"):
        np.testing.assert_array_equal(getattr(continued, name), getattr(whole, name))


def test_many_segments_equal_one(tmp_path, monkeypatch):
    _, whole = make(tmp_path / "whole")
    monkeypatch.setattr("redoxmd.production.run.SEGMENT_FRAMES", 2)
    monkeypatch.setattr(Checkpoint, "keep", lambda self, names: None)
    _, pieces = make(tmp_path / "pieces")
    assert len(list((tmp_path / "pieces/state").glob("segment*.h5"))) == 7
    np.testing.assert_array_equal(pieces.positions_A, whole.positions_A)


def test_the_gate_ends_it_and_keeps_what_was_recorded(tmp_path):
    _, whole = make(tmp_path / "whole")
    ceiling = float(np.sort(whole.spread_eV_A)[-2])
    settings = SETTINGS.model_copy(update={"stop_above_eV_A": ceiling})
    summary, cut = make(tmp_path / "cut", settings)
    assert summary.end_reason == cut.metadata["end_reason"] == "spread_above_high"
    assert 0 < len(cut.steps) < len(whole.steps)
    assert cut.spread_eV_A.max() <= ceiling
    np.testing.assert_array_equal(cut.positions_A, whole.positions_A[: len(cut.steps)])


def test_an_end_during_equilibration_leaves_an_empty_trajectory(tmp_path):
    summary, trajectory = make(tmp_path, SETTINGS.model_copy(update={"stop_above_eV_A": 1e-9}))
    assert (summary.end_reason, summary.length_ps, len(trajectory.steps)) == ("spread_above_high", 0.0, 0)


def test_temperature_and_seed_make_a_trajectory_their_own(tmp_path):
    _, base = make(tmp_path / "a")
    _, hotter = make(tmp_path / "b", kelvin=600.0)
    _, other = make(tmp_path / "c", seed=5)
    assert hotter.temperature_K.mean() > base.temperature_K.mean()
    assert not np.array_equal(base.positions_A, other.positions_A)


def longer(length_ps):
    return SETTINGS.model_copy(update={"length_ps": length_ps})


def make_of_length(tmp_path, length_ps, **changes):
    """The state does not know the length, as in the workflow."""
    settings = longer(length_ps)
    spec = TrajectorySpec(
        rock(2, rattle_A=0.0),
        settings.model_copy(update=changes),
        300.0,
        np.random.default_rng(4),
        Checkpoint(tmp_path / "state", ["the same"]),
        tmp_path / "t.h5",
        {"structure": NAME, "mobile_ion": "Na", "model": "m"},
    )
    summary = produce(spec, held())
    return summary, read_trajectory(tmp_path / "t.h5")


def equal(one, other):
    for name in ("steps", "time_fs", "positions_A", "temperature_K", "energy_eV", "spread_eV_A"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


@pytest.mark.parametrize("lengths", [(0.02, 0.06), (0.023, 0.0231, 0.06), (0.02, 0.02, 0.04, 0.06)])
def test_a_longer_one_runs_only_what_is_added_and_equals_the_uninterrupted_one(tmp_path, monkeypatch, lengths):
    _, whole = make(tmp_path / "whole")
    steps = []
    advance = TrajectoryMD.step
    monkeypatch.setattr(TrajectoryMD, "step", lambda self: steps.append(self.state.step) or advance(self))
    for length_ps in lengths:
        (tmp_path / "t.h5").unlink(missing_ok=True)
        summary, trajectory = make_of_length(tmp_path, length_ps)
    assert steps == list(range(70))
    equal(trajectory, whole)
    assert (summary.end_reason, summary.length_ps) == ("completed", pytest.approx(0.06))
    assert trajectory.metadata["recorded_ps"] == pytest.approx(0.06)
    # One copy of the frames on the disk.
    assert (tmp_path / "t.h5").stat().st_nlink == 2
    assert {path.name for path in (tmp_path / "state").iterdir()} == {
        "fingerprint",
        "state.npz",
        "whole000000000070.h5",
    }


def test_a_shorter_one_is_cut_and_the_long_one_not_forgotten(tmp_path, monkeypatch):
    _, whole = make_of_length(tmp_path, 0.06)
    with monkeypatch.context() as patch:
        patch.setattr(TrajectoryMD, "step", None)
        summary, cut = make_of_length(tmp_path, 0.032)
        assert (summary.end_reason, summary.length_ps) == ("completed", pytest.approx(0.032))
        assert cut.steps.tolist() == list(range(0, 31, 5))
        np.testing.assert_array_equal(cut.positions_A, whole.positions_A[:7])
        _, again = make_of_length(tmp_path, 0.06)
    equal(again, whole)


def test_one_that_the_gate_ended_stays_ended(tmp_path):
    _, whole = make(tmp_path / "whole")
    ceiling = float(np.sort(whole.spread_eV_A)[-2])
    first, cut = make_of_length(tmp_path, 0.06, stop_above_eV_A=ceiling)
    second, longer_one = make_of_length(tmp_path, 0.5, stop_above_eV_A=ceiling)
    assert first.end_reason == second.end_reason == "spread_above_high"
    equal(longer_one, cut)
    shorter, _ = make_of_length(tmp_path, cut.steps[-1] / 1000 - 0.002, stop_above_eV_A=ceiling)
    assert shorter.end_reason == "completed"


@pytest.mark.parametrize("crash_before", ["_save_state", "adopt"])
def test_killed_while_it_tidies_up(tmp_path, monkeypatch, crash_before):
    _, whole = make(tmp_path / "whole")
    monkeypatch.setattr("redoxmd.production.run.SEGMENT_FRAMES", 2)
    make_of_length(tmp_path, 0.03)
    target = Checkpoint if crash_before == "adopt" else ProductionRun
    original = getattr(target, crash_before)
    calls = []

    def crash(self, *arguments):
        calls.append(arguments)
        if target is Checkpoint or any(path.name.startswith("whole") for path in self.segments[-1:]):
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(target, crash_before, crash)
        with pytest.raises(KeyboardInterrupt):
            make_of_length(tmp_path, 0.06)
    assert calls
    _, again = make_of_length(tmp_path, 0.06)
    equal(again, whole)


def test_blocks_join_as_one(tmp_path, monkeypatch):
    _, whole = make_of_length(tmp_path / "a", 0.06)
    monkeypatch.setattr("redoxmd.files.trajectory.BLOCK_FRAMES", 3)
    make_of_length(tmp_path / "b", 0.04)
    _, pieces = make_of_length(tmp_path / "b", 0.06)
    equal(pieces, whole)
