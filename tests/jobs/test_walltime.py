"""The end of a job's time, with stand-ins for Slurm's commands; a real Slurm is in tests/workflow/test_slurm.py."""

import time

import pytest

from redoxmd.errors import DataError, Interrupted
from redoxmd.jobs import interrupt
from redoxmd.jobs.interrupt import margin_s, requeue_at_the_end, seconds_left, stop_on_sigterm
from redoxmd.jobs.job import job


@pytest.fixture
def slurm(tmp_path, monkeypatch):
    """Commands that say what they are told to and note how they were called."""

    def commands(state="RUNNING", left="1:30", comment="rule_aimd_wildcards_x", requeue=0):
        told = tmp_path / "called"
        texts = {
            "squeue": f'echo "squeue $@" >> {told}\necho "{state}|{left}|{comment}"',
            "scontrol": f'echo "scontrol $@" >> {told}\nexit {requeue}',
        }
        for name, text in texts.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{text}\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        monkeypatch.setenv("SLURM_JOB_ID", "42")
        monkeypatch.setattr(interrupt, "TO_BE_KILLED_S", 0.0)
        return lambda: told.read_text().splitlines() if told.exists() else []

    return commands


@pytest.mark.parametrize(
    ("left", "seconds"),
    [
        ("59", 59),
        ("1:59", 119),
        ("2:00:01", 7201),
        ("1-00:00:10", 86410),
        ("UNLIMITED", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_time_left_as_slurm_writes_it(slurm, left, seconds):
    slurm(left=left)
    assert seconds_left() == seconds


@pytest.mark.parametrize(
    ("state", "comment"), [("COMPLETING", "rule_aimd"), ("CANCELLED", "rule_aimd"), ("RUNNING", "")]
)
def test_a_cancelled_job_and_one_that_is_not_the_workflow_s_are_left_alone(slurm, state, comment):
    called = slurm(state=state, comment=comment)
    assert seconds_left() is None
    requeue_at_the_end()
    assert not any(line.startswith("scontrol") for line in called())


def test_without_slurm_nothing_is_asked(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    assert seconds_left() is None


def test_a_slurm_that_does_not_answer_is_no_limit(monkeypatch, tmp_path):
    monkeypatch.setenv("SLURM_JOB_ID", "42")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert seconds_left() is None


def test_margins():
    assert [margin_s(left) for left in (60, 1000, 86400)] == [20, 50, 300]


def test_the_end_of_the_walltime_asks_to_stop(slurm, monkeypatch):
    slurm(left="2")
    monkeypatch.setattr(interrupt, "MARGIN_S", (1.5, 300.0))
    with stop_on_sigterm() as stop:
        assert not stop.asked
        deadline = time.monotonic() + 20
        while not stop.asked and time.monotonic() < deadline:
            time.sleep(0.02)
        assert stop.asked
        with pytest.raises(Interrupted) as stopped:
            stop.check("here")
    assert stopped.value.further


def run_job(tmp_path, error):
    with pytest.raises(SystemExit), job("production", str(tmp_path / "log")):
        raise error


def test_a_job_at_its_end_that_came_further_goes_back_in_the_queue(slurm, tmp_path):
    called = slurm()
    run_job(tmp_path, Interrupted("asked to stop", further=True))
    assert called()[-1] == "scontrol requeue 42"


@pytest.mark.parametrize("error", [Interrupted("no further"), DataError("no such file")])
def test_no_other_failure_does(slurm, tmp_path, error):
    called = slurm()
    run_job(tmp_path, error)
    assert called() == []


def test_nor_one_that_was_stopped_long_before(slurm, tmp_path):
    called = slurm(left="3:00:00")
    run_job(tmp_path, Interrupted("asked to stop", further=True))
    assert [line.split()[0] for line in called()] == ["squeue"]


def test_where_slurm_refuses_the_job_fails_as_it_would(slurm, tmp_path):
    slurm(requeue=1)
    run_job(tmp_path, Interrupted("asked to stop", further=True))
    assert "not put back" in (tmp_path / "log").read_text()
