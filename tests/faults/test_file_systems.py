"""File systems that do not deliver a file for a while: the job stops, and the file is neither damaged nor removed."""

import errno
import fcntl
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
import xarray as xr

from redoxmd.density.store import density_keys
from redoxmd.errors import DataError, DensityRefused, Interrupted
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.records import read_json
from redoxmd.files.trajectory import read_trajectory
from tests.aimd import test_aimd
from tests.production import test_production
from tests.train import test_train

# Reading its first bytes gives EIO, whoever asks: what a failing disk answers.
FAILING = Path("/proc/self/mem")


@pytest.fixture
def answer(monkeypatch):
    """Let the system answer with an error where Python opens a file of that name."""

    def patch(name, number):
        opened = open

        def refuse(path, *arguments, **more):
            if isinstance(path, str | os.PathLike) and Path(path).name == name:
                raise OSError(number, os.strerror(number), str(path))
            return opened(path, *arguments, **more)

        monkeypatch.setattr("builtins.open", refuse)
        monkeypatch.setattr("io.open", refuse)

    return patch


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def failing(path):
    """Put a file that cannot be read in the place of another, which is moved aside."""
    path.rename(path.with_name("moved"))
    path.symlink_to(FAILING)


def mended(path):
    path.unlink()
    path.with_name("moved").rename(path)


@pytest.mark.parametrize("number", [errno.ESTALE, errno.EIO, errno.EACCES, errno.EMFILE])
def test_a_state_of_a_reference_run_that_is_not_delivered(tmp_path, answer, stopped_with, monkeypatch, number):
    assert len(test_aimd.run(tmp_path, settings=test_aimd.SETTINGS.model_copy(update={"steps": 4})).frames) == 4
    before = contents(tmp_path / "state")
    answer("state.npz", number)
    line = stopped_with(lambda: test_aimd.run(tmp_path), "aimd")
    monkeypatch.undo()
    assert "state.npz" in line and os.strerror(number) in line
    assert contents(tmp_path / "state") == before
    engine = test_aimd.Trap(0, None)
    assert len(test_aimd.run(tmp_path, engine).frames) == 6
    assert engine.calls == 2


def test_a_state_of_a_trajectory_that_is_not_delivered(tmp_path, monkeypatch, stopped_with):
    _, whole = test_production.make(tmp_path / "whole")
    with monkeypatch.context() as patch:
        test_production.stop_at(patch, 37)
        with pytest.raises(Interrupted):
            test_production.make(tmp_path / "part")
    state = tmp_path / "part/state/state.npz"
    before = contents(tmp_path / "part/state")
    failing(state)
    line = stopped_with(lambda: test_production.make(tmp_path / "part"), "production")
    assert f"{state}: the file system does not serve it now (Input/output error)" in line
    mended(state)
    assert contents(tmp_path / "part/state") == before
    test_production.equal(test_production.make(tmp_path / "part")[1], whole)


def test_a_state_of_a_training_that_is_not_delivered(tmp_path, stopped_with):
    from redoxmd.jobs.checkpoint import Checkpoint
    from redoxmd.train.trainer import Trainer

    half = Trainer(test_train.dataset(), test_train.SIZE, test_train.SETTINGS, 0, 7, None, "half")
    half.run_interval()
    path = Checkpoint(tmp_path / "part", "part").path("training.pt")
    torch.save(half.state(), path)
    failing(path)
    assert "Input/output error" in stopped_with(lambda: test_train.trained(tmp_path, "part"), "train")
    assert path.is_symlink() and path.with_name("moved").exists()


def test_frames_that_are_not_delivered_are_not_called_damaged(tmp_path, answer):
    write_frames(tmp_path / "frames.extxyz", test_train.frames(2))
    answer("frames.extxyz", errno.EIO)
    with pytest.raises(OSError, match="Input/output error"):
        read_frames(tmp_path / "frames.extxyz")


@pytest.mark.parametrize(
    "read", [read_json, read_dataset, read_trajectory, density_keys], ids=lambda read: read.__name__
)
def test_a_result_that_is_not_delivered_is_not_called_damaged(tmp_path, read):
    """No advice to delete a file that nobody has read."""
    path = tmp_path / "result.h5"
    path.symlink_to(FAILING)
    with pytest.raises(OSError, match=r"errno = 5|Input/output error"):
        read(path)


def test_a_charge_density_that_is_not_delivered_is_not_refused(tmp_path):
    from redoxmd.density.exchange.text import read_unpacked

    (tmp_path / "CHGCAR").symlink_to(FAILING)
    with pytest.raises(OSError, match="Input/output"):
        read_unpacked(tmp_path / "CHGCAR")
    with pytest.raises(DensityRefused):
        read_unpacked(tmp_path / "none")


def test_a_file_that_another_process_has_locked_is_read(tmp_path):
    """As where the file system has no locks: HDF5 cannot get one, and files that are renamed into place need none."""
    test_production.make(tmp_path)
    write_dataset(tmp_path / "table.nc", xr.Dataset({"a": ("x", np.arange(3.0))}))
    for name, read in (("t.h5", read_trajectory), ("table.nc", read_dataset)):
        with (tmp_path / name).open("r+b") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            read(tmp_path / name)


def test_a_trajectory_that_is_open_in_a_viewer_is_not_called_damaged(tmp_path):
    """MDAnalysis holds its file open, with other locks than ours: HDF5 refuses the second opening without a number."""
    test_production.make(tmp_path)
    refused = pytest.raises(DataError, match=r"t\.h5: open elsewhere .*close it there, and keep the file")
    with h5py.File(tmp_path / "t.h5", "r", locking=True), refused:
        read_trajectory(tmp_path / "t.h5")
    read_trajectory(tmp_path / "t.h5")


def test_a_file_system_without_locks_is_named(stopped_with):
    def locked():
        raise BlockingIOError(errno.EAGAIN, "Unable to synchronously open file (unable to lock file, errno = 11)")

    line = stopped_with(locked, "production")
    assert "the file system gives no lock" in line and "HDF5_USE_FILE_LOCKING=FALSE" in line
    assert "delete" not in line


def test_a_damaged_state_is_set_aside_with_its_frames(tmp_path):
    """It was read and is no archive. The run starts anew; what days of DFT made is not written over."""
    test_aimd.run(tmp_path, settings=test_aimd.SETTINGS.model_copy(update={"steps": 4}))
    state = tmp_path / "state"
    frames = (state / "frames000000.extxyz").read_bytes()
    (state / "state.npz").write_bytes(b"no archive")
    assert len(test_aimd.run(tmp_path).frames) == 6
    assert (state / "state.npz.damaged").read_bytes() == b"no archive"
    assert (state / "frames000000.extxyz.damaged").read_bytes() == frames
    (state / "state.npz").write_bytes(b"nor this")
    test_aimd.run(tmp_path)
    assert (state / "state.npz.damaged-2").read_bytes() == b"nor this"
    shutil.rmtree(state)
