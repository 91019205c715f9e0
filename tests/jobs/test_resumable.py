"""The loop of long jobs, with a task that adds numbers; kills are a KeyboardInterrupt, stops a real SIGTERM."""

import os
import signal

import numpy as np
import pytest

from redoxmd.errors import Interrupted
from redoxmd.jobs import resumable
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.resumable import run_resumable

TOTAL = 10


def add_numbers(folder, events=None, save_every_s=0.0):
    """Sums of a random stream, each from the one before; `events` are called before the addition of that number."""
    checkpoint = Checkpoint(folder, "f")
    record = checkpoint.load("state")
    sums = [] if record is None else record["sums"].tolist()
    saves = []

    def task(stop):
        yield f"at number {len(sums)} of {TOTAL}"
        while len(sums) < TOTAL:
            (events or {}).get(len(sums), lambda: None)()
            sums.append((sums[-1] if sums else 0.0) + np.random.default_rng(len(sums)).random())
            yield f"at number {len(sums)} of {TOTAL}"

    def save():
        saves.append(len(sums))
        checkpoint.save("state", {"sums": np.array(sums)})

    run_resumable(task, save, save_every_s)
    return sums, saves


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def kill():
    raise KeyboardInterrupt


@pytest.fixture
def expected():
    return np.cumsum([np.random.default_rng(n).random() for n in range(TOTAL)]).tolist()


def test_costly_units_are_saved_one_by_one(tmp_path, expected):
    sums, saves = add_numbers(tmp_path / "s")
    assert sums == expected
    assert saves == list(range(1, TOTAL + 1))


def test_cheap_units_are_saved_now_and_then_and_at_the_end(tmp_path, monkeypatch):
    seconds = iter(range(0, 1000, 20))
    monkeypatch.setattr(resumable.time, "monotonic", lambda: next(seconds))
    assert add_numbers(tmp_path / "s", save_every_s=60.0)[1] == [3, 6, 9, 10]


@pytest.mark.parametrize("at", [0, 4, 9])
def test_asked_to_stop_it_saves_and_the_next_start_goes_on_to_the_same_numbers(tmp_path, expected, at):
    with pytest.raises(Interrupted, match=f"asked to stop at number {at + 1} of 10; the state is written") as stopped:
        add_numbers(tmp_path / "s", {at: terminate}, save_every_s=1e9)
    assert stopped.value.further
    assert Checkpoint(tmp_path / "s", "f").load("state")["sums"].tolist() == expected[: at + 1]
    assert add_numbers(tmp_path / "s")[0] == expected
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_killed_it_goes_on_from_the_last_save(tmp_path, expected):
    with pytest.raises(KeyboardInterrupt):
        add_numbers(tmp_path / "s", {6: kill})
    sums, saves = add_numbers(tmp_path / "s")
    assert sums == expected
    assert saves == [7, 8, 9, 10]


def test_a_finished_task_is_not_touched(tmp_path, expected):
    add_numbers(tmp_path / "s")
    assert add_numbers(tmp_path / "s") == (expected, [])


def test_a_start_that_came_no_further_says_so(tmp_path):
    def idle(stop):
        yield "at step 3"
        terminate()
        assert stop.asked
        yield "at step 3"

    with pytest.raises(Interrupted) as stopped:
        run_resumable(idle, lambda: None)
    assert not stopped.value.further
