"""Reference MD that the engine drives itself, by a toy engine that does: segments, densities, stops between them."""

import os
import signal

import numpy as np
import pytest

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.config.sections import Aimd, EngineSettings, Start
from redoxmd.density.store import density_keys
from redoxmd.engines.base import MDSegment
from redoxmd.engines.toy import ToyEngine
from redoxmd.errors import Interrupted, LabelRefusal, LabelRefused
from redoxmd.files.frames import bare
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.units import ASE_TIME_PER_FS
from tests.engines.test_engines import nvp

SETTINGS = Aimd(starts=(Start(x=3.0),), steps=8, timestep_fs=1.0, density_every=3)


class SegmentToy(ToyEngine):
    """The toy with an integrator; `statics` are called in the n-th static run, `segments` in the n-th segment."""

    capabilities = ToyEngine.capabilities | {"md"}

    def __init__(self, chunk_steps=3, statics=None, segments=None):
        super().__init__(EngineSettings(name="toy"))
        self.chunk_steps, self.statics, self.segments = chunk_steps, statics or {}, segments or {}
        self.n_statics = self.n_segments = 0

    def run_segment(self, atoms, settings, steps, seed):
        self.n_segments += 1
        self.segments.get(self.n_segments, lambda: None)()
        segment = MDSegment()
        md = Langevin(atoms.get_masses(), settings.timestep_fs, settings.temperature_K, settings.friction_per_fs)

        def force(positions):
            geometry = bare(atoms)
            geometry.positions = positions
            segment.results.append(self.calculate(geometry))
            segment.positions_A.append(positions)
            return segment.results[-1].forces_eV_A

        velocities = atoms.get_velocities() * ASE_TIME_PER_FS
        state = MDState(
            atoms.positions.copy(), velocities, force(atoms.positions.copy()), 0, np.random.default_rng(seed)
        )
        for _ in range(steps):
            md.step(state, force)
        segment.results.pop()
        segment.end_positions_A, segment.end_velocities_A_fs = segment.positions_A.pop(), state.velocities_A_fs
        return segment

    def static(self, atoms):
        self.n_statics += 1
        self.statics.get(self.n_statics, lambda: None)()
        result = self.calculate(atoms)
        result.remarks["corrections"] = f"static run of {atoms.positions[0, 0]:.6f}"
        return result


def run(folder, engine, settings=SETTINGS):
    return run_reference_md(
        nvp(), engine, settings, np.random.default_rng(1), "conf", Checkpoint(folder / "state", "f")
    )


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def kill():
    raise KeyboardInterrupt


def same(first, second):
    assert len(first.frames) == len(second.frames) == SETTINGS.steps
    for a, b in zip(first.frames, second.frames, strict=True):
        # Frames pass through extended XYZ, which keeps eight decimals.
        np.testing.assert_allclose(a.positions, b.positions, rtol=0, atol=1e-7)
        np.testing.assert_allclose(a.get_velocities(), b.get_velocities(), rtol=0, atol=1e-6)
        assert a.info == pytest.approx(b.info, abs=1e-6)
    keys = [sorted(key for path in made.densities for key in density_keys(path)) for made in (first, second)]
    assert keys[0] == keys[1] == [f"conf/step{step:05d}" for step in (0, 3, 6)]


def test_frames_labels_and_densities(tmp_path):
    engine = SegmentToy()
    made = run(tmp_path, engine)
    assert (engine.n_segments, engine.n_statics) == (3, 3)
    for step, frame in enumerate(made.frames):
        assert (frame.info["step"], frame.info["time_fs"]) == (step, step)
        expected = ToyEngine(EngineSettings(name="toy")).calculate(frame)
        np.testing.assert_allclose(frame.get_forces(), expected.forces_eV_A, atol=1e-9)
    assert [item["step"] for item in made.record("any").corrections] == [0, 3, 6]


@pytest.mark.parametrize(
    "engine",
    [
        lambda: SegmentToy(segments={2: kill}),
        lambda: SegmentToy(segments={3: terminate}),
        lambda: SegmentToy(statics={1: kill}),
        lambda: SegmentToy(statics={2: terminate}),
        lambda: SegmentToy(statics={3: kill}),
    ],
    ids=["killed in a segment", "stopped in a segment", "killed in a density", "stopped in one", "killed in the last"],
)
def test_interrupted_and_continued_equals_uninterrupted(tmp_path, engine):
    whole = run(tmp_path / "whole", SegmentToy())
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        run(tmp_path / "part", engine())
    same(run(tmp_path / "part", SegmentToy()), whole)


@pytest.mark.parametrize("per_file", [1, 2, 5])
def test_remarks_on_densities_survive_in_files_of_any_length(tmp_path, monkeypatch, per_file):
    monkeypatch.setattr("redoxmd.aimd.reference_md.FRAMES_PER_FILE", per_file)
    whole = run(tmp_path / "whole", SegmentToy())
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "part", SegmentToy(segments={3: kill}))
    same(run(tmp_path / "part", SegmentToy()), whole)


def test_a_static_run_that_a_signal_ends_is_no_refusal(tmp_path):
    def stopped():
        terminate()
        raise LabelRefused(LabelRefusal.UNFINISHED, "the signal ended it too")

    with pytest.raises(Interrupted):
        run(tmp_path, SegmentToy(statics={2: stopped}))
    again = run(tmp_path, SegmentToy())
    assert again.refused_densities == []
    same(again, run(tmp_path / "whole", SegmentToy()))


def test_a_refused_static_run_costs_its_density_only_once(tmp_path):
    def refuse():
        raise LabelRefused(LabelRefusal.UNCONVERGED, "150 steps were not enough")

    made = run(tmp_path, SegmentToy(statics={2: refuse}))
    assert len(made.frames) == SETTINGS.steps
    assert [(item.reason, item.step) for item in made.refused_densities] == [("unconverged", 3)]
    engine = SegmentToy()
    assert run(tmp_path, engine).refused_densities == made.refused_densities
    assert (engine.n_segments, engine.n_statics) == (0, 0)


def test_a_refused_segment_keeps_the_frames_before_it_and_is_done_again_from_its_start(tmp_path):
    class Breaking(SegmentToy):
        def run_segment(self, atoms, settings, steps, seed):
            segment = super().run_segment(atoms, settings, steps, seed)
            if self.n_segments == 2:
                del segment.results[1:], segment.positions_A[1:]
                segment.end_positions_A = segment.end_velocities_A_fs = None
                segment.refusal = LabelRefused(LabelRefusal.UNCONVERGED, "here")
            return segment

    # The density of a frame of the broken segment is calculated, and its run is killed before it can end.
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", Breaking(statics={2: kill}))
    made = run(tmp_path / "refused", Breaking())
    assert (len(made.frames), made.refusal.step, made.refusal.reason) == (4, 4, "unconverged")
    same(run(tmp_path / "killed", SegmentToy()), run(tmp_path / "whole", SegmentToy()))
