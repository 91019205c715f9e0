"""Files that are damaged, cut or from another time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import yaml

from redoxmd.density.store import density_keys
from redoxmd.errors import DataError, Interrupted
from redoxmd.files.frames import read_frames
from redoxmd.files.records import read_json
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import load_ensemble
from redoxmd.train.trainer import Trainer
from tests.aimd import test_aimd
from tests.production import test_production
from tests.train import test_train


def cut(path, share=0.5):
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])


def stopped_production(folder, monkeypatch, step=37):
    with monkeypatch.context() as patch:
        test_production.stop_at(patch, step)
        with pytest.raises(Interrupted):
            test_production.make(folder)


@pytest.mark.parametrize("damage", ["cut", "garbage", "empty"])
def test_damaged_state_of_an_md(tmp_path, monkeypatch, damage):
    _, whole = test_production.make(tmp_path / "whole")
    stopped_production(tmp_path / "part", monkeypatch)
    state = tmp_path / "part/state/state.npz"
    if damage == "cut":
        cut(state)
    else:
        state.write_bytes(b"" if damage == "empty" else os.urandom(4000))
    test_production.equal(test_production.make(tmp_path / "part")[1], whole)


def test_damaged_state_of_a_training(tmp_path):
    whole = test_train.trained(tmp_path, "whole")
    half = Trainer(test_train.dataset(), test_train.SIZE, test_train.SETTINGS, 0, 7, None, "half")
    half.run_interval()
    path = Checkpoint(tmp_path / "part", "part").path("training.pt")
    torch.save(half.state(), path)
    cut(path, 0.9)
    assert torch.equal(test_train.weights(test_train.trained(tmp_path, "part")), test_train.weights(whole))


def test_corrupt_tail_of_a_segment(tmp_path, monkeypatch, stopped_with):
    monkeypatch.setattr("redoxmd.production.run.SEGMENT_FRAMES", 2)
    stopped_production(tmp_path, monkeypatch)
    segments = sorted((tmp_path / "state").glob("segment*.h5"))
    assert len(segments) > 2
    cut(segments[1], 0.7)
    line = stopped_with(lambda: test_production.make(tmp_path), "production")
    assert str(segments[1]) in line and "delete it" in line
    assert not (tmp_path / "t.h5").exists()
    assert len(sorted((tmp_path / "state").glob("segment*.h5"))) > len(segments)


def test_trajectory_with_a_corrupt_tail(tmp_path):
    test_production.make(tmp_path)
    cut(tmp_path / "t.h5", 0.8)
    with pytest.raises(DataError, match=r"t\.h5: not a readable trajectory .*delete it and run production again"):
        read_trajectory(tmp_path / "t.h5")


def test_trajectory_with_parts_of_different_length(tmp_path):
    test_production.make(tmp_path)
    with h5py.File(tmp_path / "t.h5", "r+") as file:
        file["observables/spread/value"].resize(3, axis=0)
    with pytest.raises(DataError, match="parts differ in length"):
        read_trajectory(tmp_path / "t.h5")


@pytest.mark.parametrize("share", [0.33, 0.55, 0.77, 0.93])
def test_cut_frames(tmp_path, share):
    from redoxmd.files.frames import write_frames

    write_frames(tmp_path / "frames.extxyz", test_train.frames(10))
    cut(tmp_path / "frames.extxyz", share)
    with pytest.raises(DataError, match=r"frames\.extxyz: not readable .*restore it or delete it"):
        read_frames(tmp_path / "frames.extxyz")


def test_frames_missing_beside_a_state(tmp_path):
    run = test_aimd.run(tmp_path)
    assert len(run.frames) == 6
    (tmp_path / "state/frames000000.extxyz").unlink()
    with pytest.raises(DataError, match=r"0 frames where the state knows 6; restore its files, or rename the folder"):
        test_aimd.run(tmp_path)


def test_damaged_decision(tmp_path):
    path = tmp_path / "gen0.json"
    path.write_text(json.dumps({"status": "go_on"})[:-3])
    with pytest.raises(DataError, match=r"gen0\.json: not valid JSON .*delete it and run again"):
        read_json(path)


def test_damaged_ensemble(tmp_path):
    (tmp_path / "ensemble.pt").write_bytes(os.urandom(1000))
    with pytest.raises(DataError, match=r"ensemble\.pt: not readable"):
        load_ensemble(tmp_path / "ensemble.pt", "cpu")


def test_a_store_of_densities_that_is_none(tmp_path):
    (tmp_path / "densities.h5").write_text("moved to tape")
    with pytest.raises(DataError, match=r"densities\.h5"):
        density_keys(tmp_path / "densities.h5")


def test_killed_in_the_middle_of_a_write(tmp_path):
    """The old file stays; what was begun is named as temporary and nobody reads it."""
    path = tmp_path / "frames.extxyz"
    path.write_text("old")
    script = (
        "import sys, time\nfrom redoxmd.files.records import atomic_path\n"
        f"with atomic_path({str(path)!r}) as temporary:\n"
        "    temporary.write_text('half of the new')\n    print('writing', flush=True)\n    time.sleep(60)\n"
    )
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert writer.stdout.readline().strip() == "writing"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert path.read_text() == "old"
    left = [item for item in tmp_path.iterdir() if item != path]
    assert len(left) == 1 and left[0].name.startswith(".frames.")


def test_a_date_in_the_future_stops_no_job(tmp_path, monkeypatch):
    _, whole = test_production.make(tmp_path / "whole")
    stopped_production(tmp_path / "part", monkeypatch)
    for path in (tmp_path / "part/state").iterdir():
        os.utime(path, (time.time() + 3600,) * 2)
    test_production.equal(test_production.make(tmp_path / "part")[1], whole)


def test_positions_that_are_no_numbers_are_no_label(tmp_path):
    """What a broken node may compute."""
    from redoxmd.engines.base import Result, check_result
    from redoxmd.errors import LabelRefused

    atoms = test_aimd.nvp()
    forces = np.zeros((len(atoms), 3))
    forces[3, 1] = np.nan
    with pytest.raises(LabelRefused, match="not_finite"):
        check_result(Result(-1.0, forces), atoms, 100.0)


def test_a_config_that_is_cut(tmp_path):
    from redoxmd.config import load_config
    from redoxmd.errors import ConfigError

    path = tmp_path / "config.yaml"
    text = yaml.safe_dump({"run": "a", "engine": {"name": "toy"}, "aimd": {"starts": [{"x": 2.0, "seeds": [0]}]}})
    path.write_text(text[: text.index("seeds") + 8] + "[")
    with pytest.raises(ConfigError, match=str(Path("config.yaml"))):
        load_config(path)
