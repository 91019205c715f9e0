"""A full disk and one that may not be written."""

import numpy as np
import pytest
import torch

from redoxmd.config.sections import Figures
from redoxmd.errors import DataError, Interrupted
from redoxmd.figures.save import save_figure
from redoxmd.files.records import read_json, write_json
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.runs import driver
from redoxmd.train.trainer import Trainer
from tests import test_explore
from tests.aimd import test_aimd
from tests.production import test_production
from tests.train import test_train

# h5py tells of its objects on the full disk once more when it lets go of them.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def files(folder):
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "ballast"}


def test_full_while_training(disk, tmp_path, stopped_with):
    whole = test_train.trained(tmp_path, "whole")
    half = Trainer(test_train.dataset(), test_train.SIZE, test_train.SETTINGS, 0, 7, None, "half")
    half.run_interval()
    checkpoint = Checkpoint(disk.folder / "run", "run")
    torch.save(half.state(), checkpoint.path("training.pt"))
    before = files(disk.folder)
    disk.fill()
    assert "the disk is full; make room and start again" in stopped_with(lambda: test_train.trained(disk.folder))
    assert files(disk.folder) == before
    disk.make_room()
    assert torch.equal(test_train.weights(test_train.trained(disk.folder)), test_train.weights(whole))


def test_full_in_production(disk, tmp_path, stopped_with, monkeypatch):
    _, whole = test_production.make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        test_production.stop_at(patch, 37)
        with pytest.raises(Interrupted):
            test_production.make(disk.folder)
    before = files(disk.folder)
    disk.fill()
    assert "the disk is full" in stopped_with(lambda: test_production.make(disk.folder), "production")
    assert files(disk.folder) == before
    disk.make_room()
    test_production.equal(test_production.make(disk.folder)[1], whole)


def test_full_while_exploring(disk, tmp_path, stopped_with, monkeypatch):
    restart = test_explore.TestRestart()
    disk.fill()
    assert "the disk is full" in stopped_with(lambda: restart.run(disk.folder / "state"), "explore")
    assert files(disk.folder) == {}


def test_full_while_labelling(disk, tmp_path, stopped_with):
    def interrupt():
        raise KeyboardInterrupt

    whole = test_aimd.run(tmp_path / "whole").frames
    with pytest.raises(KeyboardInterrupt):
        test_aimd.run(disk.folder, test_aimd.Trap(4, interrupt))
    before = files(disk.folder)
    disk.fill()
    assert "the disk is full" in stopped_with(lambda: test_aimd.run(disk.folder), "label")
    assert files(disk.folder) == before
    disk.make_room()
    again = test_aimd.run(disk.folder).frames
    assert test_aimd.same(again[3:], whole[3:])
    assert len(again) == len(whole)


def test_full_while_drawing(disk, stopped_with):
    import pandas as pd
    from matplotlib.figure import Figure

    def draw(number):
        figure = Figure()
        figure.add_subplot().plot(np.random.default_rng(number).normal(size=2000))
        save_figure(figure, pd.DataFrame({"a": [number]}), str(disk.folder / "fig"), Figures())

    draw(1)
    before = files(disk.folder)
    assert set(before) == {"fig.pdf", "fig.svg", "fig.png", "fig.csv"}
    disk.fill()
    assert "the disk is full" in stopped_with(lambda: draw(2), "figures")
    assert files(disk.folder) == before


def test_full_while_a_record_is_written(disk, stopped_with):
    path = disk.folder / "manifest.json"
    write_json(path, {"a": 1})
    disk.fill()
    assert "the disk is full" in stopped_with(lambda: write_json(path, {"a": list(range(10_000))}), "figures")
    assert read_json(path) == {"a": 1}


def test_full_with_the_log_on_it(disk, stopped_with):
    log = disk.folder / "job.log"
    log.touch()
    disk.fill()
    line = stopped_with(lambda: write_json(disk.folder / "a.json", {"a": 1}), "figures", log=log)
    assert "the disk is full" in line


def test_full_when_a_driver_starts(disk):
    disk.fill()
    with pytest.raises(DataError, match=r"cannot be written \(No space left on device\); no job was started"):
        driver.acquire_run(disk.folder / "results/a")


def test_read_only_results(disk, tmp_path, stopped_with):
    results = disk.folder / "results"
    test_production.make(results)
    before = files(disk.folder)
    disk.read_only()
    try:
        line = stopped_with(lambda: test_production.make(results, kelvin=500.0, name="u.h5"), "production")
        assert "may not be written (Read-only file system)" in line
        with pytest.raises(DataError, match=r"cannot be written \(Read-only file system\); no job was started"):
            driver.acquire_run(results)
        assert files(disk.folder) == before
    finally:
        disk.read_only(False)


def test_the_tail_of_a_full_disk_is_no_trajectory(disk, tmp_path):
    """Whatever the moment at which the disk becomes full: a whole trajectory or none."""
    _, whole = test_production.make(tmp_path / "whole")
    size = (tmp_path / "whole/t.h5").stat().st_size
    for room in (size // 4, size, 2 * size, 3 * size):
        run = disk.folder / f"run{room}"
        run.mkdir()
        disk.fill()
        with (disk.folder / "ballast").open("r+b") as ballast:
            ballast.truncate(max((disk.folder / "ballast").stat().st_size - room, 0))
        try:
            test_production.make(run)
        except (OSError, RuntimeError):
            assert not (run / "t.h5").exists()
        else:
            test_production.equal(read_trajectory(run / "t.h5"), whole)
        disk.make_room()
