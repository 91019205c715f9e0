import threading

import numpy as np
import pytest
from ase.io import write

from redoxmd.config import parse_config
from redoxmd.errors import DataError
from redoxmd.files.layout import trajectories
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.batched.batch import DeviceMD
from redoxmd.production import company
from redoxmd.production.company import ProductionJob, _lock, make
from tests.conftest import rock
from tests.production.test_production_together import STORED_A, calm


def config(batch=3, length_ps=0.02, **changes):
    production = {
        "x": [2.5],
        "temperatures_K": [300.0],
        "replicas": 4,
        "ordering": "random",
        "supercell": [1, 1, 1],
        "length_ps": length_ps,
        "equilibration_ps": 0.005,
        "timestep_fs": 1.0,
        "save_every_fs": 5.0,
        "stop_above_eV_A": 1e6,
        **changes,
    }
    return parse_config({"production": production, "compute": {"md": "device", "batch": batch}})


def jobs(folder, settings):
    """One job for each trajectory of a run, their starts written."""
    for part in ("structures", "state", "production"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    found = []
    for structure, temperature in trajectories(settings.production):
        start = folder / f"structures/{structure}.extxyz"
        if not start.exists():
            write(start, rock(2, rattle_A=0.0)[:7])
        name = f"{structure}_T{temperature}K"
        files = (start, folder / "state" / name, folder / f"production/{name}.h5")
        found.append(ProductionJob(settings, structure, temperature, *files, "model", 1))
    return found


@pytest.fixture
def steps(monkeypatch):
    """Steps read so far."""
    made, step = [], DeviceMD.step
    monkeypatch.setattr(DeviceMD, "step", lambda self: made.append(1) or step(self))
    return made


def outputs(run):
    return [job.output.exists() for job in run]


def test_a_job_takes_others_along_and_they_find_their_work_done(tmp_path, steps):
    alone = jobs(tmp_path / "alone", config(batch=1))
    run = jobs(tmp_path / "run", config())
    for job in alone:
        make(job, calm())
    assert len(steps) == 4 * 25
    assert make(run[1], calm()).end_reason == "completed"
    assert len(steps) == 7 * 25
    assert outputs(run) == [False, True, False, False]
    assert [job.state.exists() for job in run] == [False, True, True, True]
    for job in (run[3], run[2]):
        make(job, calm())
    assert len(steps) == 7 * 25
    assert make(run[0], calm()).length_ps == pytest.approx(0.02)
    assert len(steps) == 8 * 25
    for job, other in zip(run, alone, strict=True):
        one, expected = read_trajectory(job.output), read_trajectory(other.output)
        np.testing.assert_array_equal(one.steps, expected.steps)
        np.testing.assert_allclose(one.positions_A, expected.positions_A, atol=STORED_A)
        assert one.metadata["structure"] == job.structure


def test_a_longer_length_takes_them_along_again(tmp_path, steps):
    for job in jobs(tmp_path, config(batch=4)):
        make(job, calm())
    assert len(steps) == 4 * 25
    run = jobs(tmp_path, config(batch=4, length_ps=0.03))
    for job in run:
        make(job, calm())
    assert len(steps) == 4 * 35
    assert {len(read_trajectory(job.output).steps) for job in run} == {7}


def test_states_of_other_settings_and_starts_not_made_yet_are_left_alone(tmp_path, steps):
    run = jobs(tmp_path, config(batch=4))
    Checkpoint(run[1].state, "of other settings").save("state", {"step": np.asarray(3)})
    run[2].start.unlink()
    make(run[0], calm())
    assert len(steps) == 2 * 25
    assert Checkpoint.fits(run[1].state, "of other settings")
    assert [job.state.exists() for job in run] == [True, True, False, True]


def test_what_another_job_moves_is_waited_for(tmp_path, steps, monkeypatch):
    monkeypatch.setattr(company, "ASK_AGAIN_S", 0.05)
    run = jobs(tmp_path, config(batch=2))
    with _lock(run[2].state) as free:
        assert free
        make(run[1], calm())
    # Not with the one that is locked, with the one behind it.
    assert [job.state.exists() for job in run] == [False, True, False, True]
    held, done = threading.Event(), threading.Event()

    def hold():
        with _lock(run[2].state):
            held.set()
            done.wait(60)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(60)
    threading.Timer(0.3, done.set).start()
    make(run[2], calm())
    other.join()
    # While it was locked the one that was left was made, then its own.
    assert len(steps) == 4 * 25
    assert [job.state.exists() for job in run] == [True] * 4
    assert outputs(run) == [False, True, True, False]


def test_on_the_host_every_job_is_alone(tmp_path):
    settings = config().model_copy(update={"compute": config().compute.model_copy(update={"md": "host"})})
    run = jobs(tmp_path, settings)
    make(run[0], calm())
    assert [job.state.exists() for job in run] == [True, False, False, False]


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(file, how):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(company.fcntl, "flock", refuse)
    with pytest.raises(DataError, match=r"set compute\.batch: 1"):
        make(jobs(tmp_path, config())[0], calm())
