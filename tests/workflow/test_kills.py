"""Campaigns killed with kill -9 and started again come to what an undisturbed one comes to (docs/kills.md).

Three kills of one campaign's driver are the quick ones. All twenty trials, and one job of every rule, take an hour on
two idle cores, can be stopped and gone on with, and can be shared by two workers (`-n 2`):

    .venv/bin/python -m pytest -m slow tests/workflow/test_kills.py
"""

import json
import random
import shutil

import h5py
import numpy as np
import pytest
import torch

from tests.workflow import kills
from tests.workflow.same import differences, results_of

pytestmark = pytest.mark.workflow
# On a busy machine the shortest jobs are over before they can be killed: they get another campaign.
CAMPAIGNS = 3


@pytest.mark.slow
def test_three_kills_of_a_campaign_change_nothing_but_what_they_interrupt(tmp_path):
    undisturbed = kills.Undisturbed(tmp_path)
    assert {job.rule for job in undisturbed.jobs} == set(kills.scripts_of_rules().values())
    rng = random.Random("three kills")
    third = undisturbed.duration_s / 3
    times = [rng.uniform(number * third, (number + 1) * third) for number in range(3)]
    trial = kills.kill_driver(tmp_path / "killed", "three kills", times, rng, undisturbed)
    assert trial is not None, "the campaign ended before its last kill"
    assert trial.faults == []
    assert trial.interrupted


@pytest.fixture(scope="module")
def base():
    folder = kills.KEPT / kills.source()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", range(kills.TRIALS))
def test_a_driver_killed_at_a_random_time(base, number, tmp_path):
    known = kills.kept(base).get(f"driver {number:02d}")
    if known is None or known.faults:
        known = kills.driver_trial(tmp_path / "killed", number, kills.Undisturbed(base))
        kills.keep(base, known)
    assert known.faults == []


@pytest.mark.slow
def test_one_job_of_every_rule_killed(base, tmp_path):
    rules = set(kills.scripts_of_rules().values())
    for number in range(CAMPAIGNS):
        trials = [trial for name, trial in kills.kept(base).items() if name.startswith("rule ")]
        missing = rules - {trial.name.removeprefix("rule ") for trial in trials if not trial.faults}
        if not missing:
            break
        rng, undisturbed = random.Random(f"jobs {number}"), kills.Undisturbed(base)
        trials = kills.kill_jobs(tmp_path / f"killed{number}", rng, undisturbed, missing)
        for trial in trials:
            kills.keep(base, trial)
        assert [fault for trial in trials for fault in trial.faults] == []
    trials = [trial for name, trial in kills.kept(base).items() if name.startswith("rule ")]
    assert {trial.name.removeprefix("rule ") for trial in trials} == rules
    assert [fault for trial in trials for fault in trial.faults] == []


@pytest.fixture
def pair(tmp_path):
    """Two folders with the same small results, which their clocks tell apart."""
    for number, name in enumerate(("one", "other")):
        folder = tmp_path / name
        (folder / "logs").mkdir(parents=True)
        (folder / "logs/job.log").write_text(f"at {number}")
        (folder / "frames.extxyz").write_text("1\n\nNa 0 0 0\n")
        (folder / "summary.json").write_text(json.dumps({"errors": [0.1, None]}))
        files = {"a": {"rule": "r", "input": [], "params": ["1"], "starttime": number}}
        (folder / "manifest.json").write_text(json.dumps({"seed": 1, "files": files}))
        with h5py.File(folder / "trajectory.h5", "w") as file:
            file["positions"] = np.array([1.0, np.nan])
            file.attrs["redoxmd"] = json.dumps({"ns_per_day": float(number), "end_reason": "completed"})
        torch.save({"state": {"w": torch.ones(2)}, "settings": (1, "a")}, folder / "model.pt")
    return tmp_path / "one", tmp_path / "other"


def test_clocks_are_no_difference(pair):
    assert differences(*pair) == []
    assert set(results_of(pair[0])) == {"frames.extxyz", "summary.json", "trajectory.h5", "model.pt"}


def test_the_smallest_difference_of_each_kind_is_seen(pair):
    _, other = pair
    whole = other.with_name("whole")
    shutil.copytree(other, whole)

    def edited(name, edit):
        shutil.rmtree(other)
        shutil.copytree(whole, other)
        edit(other / name)
        return differences(*pair)

    def hdf5(edit):
        def change(path):
            with h5py.File(path, "a") as file:
                edit(file)

        return change

    def longer(path):
        path.write_text(path.read_text() + "\n")

    def other_weights(path):
        torch.save({"state": {"w": torch.nextafter(torch.ones(2), torch.zeros(2))}, "settings": (1, "a")}, path)

    assert edited("frames.extxyz", longer) == ["frames.extxyz"]
    assert edited("summary.json", lambda path: path.write_text('{"errors": [0.1, 0.0]}')) == ["summary.json"]
    assert edited("model.pt", other_weights) == ["model.pt"]
    nearly = np.nextafter(1.0, 2.0)
    for edit in (
        lambda file: file["positions"].__setitem__(0, nearly),
        lambda file: file["positions"].__setitem__(1, 0.0),
        lambda file: file.attrs.__setitem__("redoxmd", '{"ns_per_day": 1.0, "end_reason": "stopped"}'),
        lambda file: file.create_dataset("more", data=1),
    ):
        assert edited("trajectory.h5", hdf5(edit)) == ["trajectory.h5"]
    assert edited("manifest.json", lambda path: path.write_text(path.read_text().replace('"1"', '"2"'))) == [
        "manifest.json"
    ]
    assert edited("summary.json", lambda path: path.unlink()) == ["summary.json is there in one only"]
