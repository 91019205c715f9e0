"""Which GPU a job of this machine takes, with processes of the system and GPUs that only torch is told of."""

import os
import signal
from types import SimpleNamespace

import pytest
import torch

from redoxmd.model import gpus
from redoxmd.model.files import choose_device


class Job:
    """A process that takes a device and holds it until it is ended."""

    def __init__(self, device="auto"):
        reading, writing = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.write(writing, choose_device(device).encode())
            signal.pause()
            os._exit(1)
        self.device = os.read(reading, 16).decode()

    def end(self, sign=signal.SIGKILL):
        os.kill(self.pid, sign)
        os.waitpid(self.pid, 0)


@pytest.fixture
def two_gpus(monkeypatch, tmp_path):
    """Two GPUs and no earlier job; jobs still running at the end of the test are ended."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: SimpleNamespace(uuid=f"GPU-{index}"))
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    gpus.reserve_gpu.cache_clear()
    jobs = []
    yield lambda device="auto": jobs.append(Job(device)) or jobs[-1]
    gpus.reserve_gpu.cache_clear()
    for job in jobs:
        if job.pid:
            job.end()


def test_jobs_of_one_machine_take_different_gpus(two_gpus):
    """As many as there are GPUs; the lock of a killed job is free; further jobs share evenly."""
    first, second = two_gpus(), two_gpus("cuda")
    assert (first.device, second.device) == ("cuda:0", "cuda:1")
    first.end()
    first.pid = 0
    assert two_gpus().device == "cuda:0"
    assert [two_gpus().device for _ in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]


def test_jobs_of_slurm_have_the_one_gpu_that_they_see(two_gpus, monkeypatch, tmp_path):
    """Slurm shows each job one GPU, which is number 0 to every one of them: no two jobs are taken to share it."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for uuid in ("GPU-a", "GPU-b"):
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index, uuid=uuid: SimpleNamespace(uuid=uuid))
        assert two_gpus().device == "cuda:0"
    assert {path.name for path in tmp_path.rglob("GPU-*")} == {"GPU-a.0", "GPU-b.0"}


def test_a_job_without_a_gpu_takes_none(two_gpus, tmp_path):
    assert two_gpus("cpu").device == "cpu"
    assert two_gpus().device == "cuda:0"


def test_locks_that_cannot_be_had_are_no_failure(two_gpus, tmp_path, caplog):
    (tmp_path / f"redoxmd-gpus-{os.getuid()}").write_text("a file where the folder would be")
    assert choose_device("auto") == "cuda:0"
    assert "no lock for a GPU" in caplog.text
