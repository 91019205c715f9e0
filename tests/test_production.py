import os
import signal

import numpy as np
import pytest

from redoxmd.checkpoint import Checkpoint
from redoxmd.config.sections import Production
from redoxmd.ensemble_md import EnsembleMD
from redoxmd.errors import Interrupted
from redoxmd.model.ensemble import Ensemble
from redoxmd.production import produce
from redoxmd.trajectory import read_trajectory
from tests.conftest import rock
from tests.test_ensemble import members

NAME = "x2.500_random3_1x1x1"
SETTINGS = Production(
    length_ps=0.06, equilibration_ps=0.01, timestep_fs=1.0, save_every_fs=5.0, stop_above_eV_A=1e6, friction_per_fs=0.02
)


@pytest.fixture(autouse=True)
def _calm(monkeypatch):
    """Untrained members would tear the crystal apart: hold the atoms by springs, let the members disagree."""
    original = EnsembleMD._force
    home = rock(2, rattle_A=0.0).positions

    def held(self, positions):
        original(self, positions)
        return -5.0 * (positions - home)

    monkeypatch.setattr(EnsembleMD, "_force", held)


def make(tmp_path, settings=SETTINGS, kelvin=300.0, seed=4, name="t.h5"):
    summary = produce(
        rock(2, rattle_A=0.0),
        Ensemble(members()),
        settings,
        kelvin,
        np.random.default_rng(seed),
        Checkpoint(tmp_path / "state", [settings.model_dump(mode="json"), kelvin]),
        tmp_path / name,
        {"structure": NAME, "mobile_ion": "Na", "model": "m"},
    )
    return summary, read_trajectory(tmp_path / name)


def stop_at(monkeypatch, step):
    """A stop request arrives at that MD step."""
    advance = EnsembleMD.step

    def step_and_stop(self):
        seen = advance(self)
        if self.state.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return seen

    monkeypatch.setattr(EnsembleMD, "step", step_and_stop)


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
    monkeypatch.setattr("redoxmd.production.SEGMENT_FRAMES", 2)
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
