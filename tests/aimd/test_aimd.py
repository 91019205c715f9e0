import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.aimd.records import Refusal
from redoxmd.config.sections import Aimd, EngineSettings, Start
from redoxmd.density.store import density_keys, join_densities, read_densities
from redoxmd.engines.base import Result
from redoxmd.engines.toy import ToyEngine
from redoxmd.errors import DataError, DensityRefused, Interrupted, LabelRefusal, LabelRefused
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from tests.engines.test_engines import nvp

SETTINGS = Aimd(starts=(Start(x=3.0),), steps=6, timestep_fs=1.0, density_every=4)


class Trap(ToyEngine):
    """The toy with something happening at a given call."""

    def __init__(self, at, action):
        super().__init__(EngineSettings(name="toy"))
        self.calls, self.at, self.action = 0, at, action

    def calculate(self, atoms):
        self.calls += 1
        if self.calls == self.at:
            self.action()
        return super().calculate(atoms)


def refuse():
    raise LabelRefused("unconverged", "150 SCF steps were not enough")


def run(tmp_path, engine=None, settings=SETTINGS, seed=1, fingerprint="f"):
    engine = engine or ToyEngine(EngineSettings(name="toy"))
    return run_reference_md(
        nvp(), engine, settings, np.random.default_rng(seed), "conf", Checkpoint(tmp_path / "state", fingerprint)
    )


def same(first, second):
    return len(first) == len(second) and all(
        np.array_equal(a.positions, b.positions) and np.array_equal(a.get_forces(), b.get_forces())
        for a, b in zip(first, second, strict=True)
    )


def test_frames_say_what_they_are(tmp_path):
    frames = run(tmp_path).frames
    assert len(frames) == 6
    for step, frame in enumerate(frames):
        assert frame.info["config_id"] == "conf"
        assert (frame.info["step"], frame.info["time_fs"], frame.info["engine"]) == (step, step, "toy")
        assert frame.info["converged"] is True
    np.testing.assert_array_equal(frames[0].positions, nvp().positions)
    assert frames[0].info["temperature_K"] == pytest.approx(1000, rel=0.5)


def test_frames_are_labelled_by_the_engine(tmp_path):
    for frame in run(tmp_path).frames:
        again = ToyEngine(EngineSettings(name="toy")).calculate(frame)
        assert frame.get_potential_energy() == pytest.approx(again.energy_eV)
        np.testing.assert_allclose(frame.get_forces(), again.forces_eV_A)
        np.testing.assert_allclose(frame.get_magnetic_moments(), again.moments_muB)


class Shells(ToyEngine):
    """The toy with occupations of one s orbital per atom, of every second structure."""

    def calculate(self, atoms):
        result = super().calculate(atoms)
        table = np.repeat(atoms.positions[:, :1], 2, axis=1)
        return replace(result, orbital_occupations=table) if round(1e6 * atoms.positions[0, 0]) % 2 else result


def test_frames_have_the_occupations_of_their_own_label(tmp_path):
    """Also when the run continues from its files; a frame has none of the frame before."""
    engine = Shells(EngineSettings(name="toy"))
    run(tmp_path, engine, SETTINGS.model_copy(update={"steps": 10}))
    frames = run(tmp_path, engine, SETTINGS.model_copy(update={"steps": 20})).frames
    write_frames(tmp_path / "frames.extxyz", frames)
    stored = [frame.arrays.get("orbital_occupations") for frame in read_frames(tmp_path / "frames.extxyz")]
    expected = [bool(round(1e6 * frame.positions[0, 0]) % 2) for frame in frames]
    assert [table is not None for table in stored] == expected and set(expected) == {True, False}
    for table, frame in zip(stored, frames, strict=True):
        if table is not None:
            np.testing.assert_allclose(table, np.repeat(frame.positions[:, :1], 2, axis=1), atol=1e-7)


def test_every_kth_density_is_kept(tmp_path):
    densities = run(tmp_path).densities
    join_densities(tmp_path / "d.h5", densities)
    assert sorted(read_densities(tmp_path / "d.h5")) == ["conf/step00000", "conf/step00004"]


def test_the_same_seed_gives_the_same_run(tmp_path):
    first, second, other = (run(tmp_path / str(n), seed=seed).frames for n, seed in enumerate((1, 1, 2)))
    assert same(first, second)
    assert not same(first, other)


def test_killed_and_continued_equals_uninterrupted(tmp_path):
    whole = run(tmp_path / "whole").frames
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", Trap(4, lambda: (_ for _ in ()).throw(KeyboardInterrupt())))
    assert len(read_frames(tmp_path / "part/state/frames000000.extxyz")) == 3
    continued = run(tmp_path / "part", seed=99)
    # Frames pass through extended XYZ, which keeps eight decimals.
    for a, b in zip(whole, continued.frames, strict=True):
        np.testing.assert_allclose(a.positions, b.positions, atol=1e-7)
    np.testing.assert_array_equal(whole[-1].positions, continued.frames[-1].positions)
    assert [path.name for path in continued.densities] == ["density000000.h5", "density000004.h5"]


@pytest.mark.parametrize("per_file", [1, 2, 100])
@pytest.mark.parametrize("lengths", [(3, 6), (2, 2, 5, 6)])
def test_made_longer_calculates_what_is_added_and_equals_the_uninterrupted_one(
    tmp_path, monkeypatch, per_file, lengths
):
    monkeypatch.setattr("redoxmd.aimd.reference_md.FRAMES_PER_FILE", per_file)
    whole = run(tmp_path / "whole")
    calls = []
    calculate = ToyEngine.calculate
    monkeypatch.setattr(ToyEngine, "calculate", lambda self, atoms: calls.append(1) or calculate(self, atoms))
    output = [tmp_path / "frames.extxyz", tmp_path / "densities.h5"]
    for steps in lengths:
        settings = SETTINGS.model_copy(update={"steps": steps})
        checkpoint = Checkpoint(tmp_path / "part/state", "all")
        engine = ToyEngine(EngineSettings(name="toy"))
        made = run_reference_md(nvp(), engine, settings, np.random.default_rng(1), "conf", checkpoint)
        made.write(*output)
        made.retain(*output)
        for path in output:
            path.rename(tmp_path / f"last.{path.name}")
    assert len(calls) == 6
    whole.write(*output)
    assert (tmp_path / "last.frames.extxyz").read_bytes() == output[0].read_bytes()
    assert (
        density_keys(tmp_path / "last.densities.h5") == density_keys(output[1]) == ["conf/step00000", "conf/step00004"]
    )
    kept = {path.name for path in (tmp_path / "part/state").iterdir()}
    assert kept == {"fingerprint", "state.npz", "provenance.json", "densities.h5", "frames000000.extxyz"}
    # Shorter: cut, and the long one is still there.
    short = run_reference_md(
        *(nvp(), engine, SETTINGS.model_copy(update={"steps": 3}), np.random.default_rng(1), "conf", checkpoint)
    )
    short.write(*output)
    short.retain(*output)
    assert len(read_frames(output[0])) == 3
    assert density_keys(output[1]) == ["conf/step00000"]
    assert len(calls) == 6
    again = run_reference_md(nvp(), engine, SETTINGS, np.random.default_rng(1), "conf", checkpoint)
    assert len(again.frames) == len(calls) == 6


def test_nothing_is_kept_of_a_run_that_a_refusal_ended(tmp_path):
    made = run(tmp_path, Trap(3, refuse))
    made.retain(tmp_path / "f", tmp_path / "d")
    assert not (tmp_path / "state").exists()


def test_sigterm_writes_the_state_and_leaves(tmp_path):
    with pytest.raises(Interrupted, match="start again to resume"):
        run(tmp_path, Trap(2, lambda: os.kill(os.getpid(), signal.SIGTERM)))
    assert len(read_frames(tmp_path / "state/frames000000.extxyz")) == 2


def test_a_frame_without_its_state_is_done_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Trap(3, lambda: (_ for _ in ()).throw(KeyboardInterrupt())))
    stored = tmp_path / "state/frames000000.extxyz"
    frames = read_frames(stored)
    write_frames(stored, [*frames, frames[0]])
    assert same(run(tmp_path).frames[2:], run(tmp_path / "whole").frames[2:])


def test_other_settings_start_anew(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Trap(4, lambda: (_ for _ in ()).throw(KeyboardInterrupt())))
    engine = ToyEngine(EngineSettings(name="toy"))
    engine.calls = 0
    assert len(run(tmp_path, engine, fingerprint="other").frames) == 6
    assert same(run(tmp_path / "whole").frames, run(tmp_path / "again", fingerprint="other").frames)


def test_a_refused_frame_ends_the_run_and_is_recorded(tmp_path):
    cut_short = run(tmp_path, Trap(3, refuse))
    assert len(cut_short.frames) == 2
    assert cut_short.refusal == Refusal(LabelRefusal.UNCONVERGED, "150 SCF steps were not enough", 2)


def test_a_run_without_any_frame_is_an_error(tmp_path):
    nothing = run(tmp_path, Trap(1, refuse))
    assert nothing.frames == []
    with pytest.raises(DataError, match="conf gave no frame: unconverged"):
        nothing.require_frames()


def test_a_lying_engine_is_refused(tmp_path):
    class Broken(ToyEngine):
        def calculate(self, atoms):
            from redoxmd.engines.base import check_result

            honest = super().calculate(atoms)
            return check_result(Result(np.nan, honest.forces_eV_A), atoms, 100.0)

    assert run(tmp_path, Broken(EngineSettings(name="toy"))).refusal.reason == "not_finite"


class LeakyEngine(ToyEngine):
    """Every second density it gives holds too little."""

    count = 0

    def density(self):
        self.count += 1
        if self.count % 2 == 0:
            raise DensityRefused("wrong_electrons", "the density holds 3.1 electrons, not 268")
        return super().density()


def test_a_refused_density_is_recorded_and_its_frame_kept(tmp_path):
    engine = LeakyEngine(EngineSettings(name="toy"))
    settings = SETTINGS.model_copy(update={"density_every": 1})
    checkpoint = Checkpoint(tmp_path / "state", "a")
    run = run_reference_md(nvp(3.0), engine, settings, np.random.default_rng(0), "a", checkpoint)
    assert len(run.frames) == 6
    assert len(run.densities) == 3
    assert [record.step for record in run.refused_densities] == [1, 3, 5]
    assert {record.reason for record in run.refused_densities} == {"wrong_electrons"}
    again = run_reference_md(nvp(3.0), engine, settings, np.random.default_rng(0), "a", checkpoint)
    assert again.refused_densities == run.refused_densities
