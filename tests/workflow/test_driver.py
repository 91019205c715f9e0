"""Two drivers, a killed one, and `redoxmd recover`, with Snakemake itself on a single slow AIMD of the toy."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import parse_config
from redoxmd.files.frames import read_frames
from redoxmd.runs import driver
from redoxmd.runs.recover import find_leftovers
from tests.workflow.test_workflow import ROOT, TOY, repository, snakemake

pytestmark = pytest.mark.workflow

LIMIT_S = 120
FRAMES = "results/toy/aimd/x3.000_random0_1x1x1/frames.extxyz"


def until(true):
    deadline = time.monotonic() + LIMIT_S
    while not true():
        assert time.monotonic() < deadline, "nothing happened"
        time.sleep(0.2)


@pytest.fixture
def work(tmp_path):
    """A folder, a config whose steps take a second each, and the same without delay."""
    folder = repository(tmp_path / "work")
    config = yaml.safe_load(TOY.read_text())
    for name, delay_s in (("slow", 1.0), ("fast", 0.0)):
        config["engine"]["toy"] = {"refuse_fraction": 0.0, "delay_s": delay_s}
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config))
    return folder, tmp_path / "slow.yaml", tmp_path / "fast.yaml"


def arguments(config):
    return [FRAMES, "--cores", "1", "--configfile", str(config)]


def test_a_job_goes_by_the_config_as_its_driver_read_it(work, monkeypatch, tmp_path):
    """Jobs on a cluster parse the workflow again, whatever has become of the file."""
    folder, slow, fast = work
    for name in ("config", "nvp", "nvp-gpaw", "nvp-rehearsal"):
        raw = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
        monkeypatch.delenv(driver.CONFIG_VARIABLE, raising=False)
        assert driver.exported_config(raw) == raw
        driver.export_config(tmp_path / "results", raw)
        assert parse_config(driver.exported_config({"run": "edited"})) == parse_config(raw)
    config = yaml.safe_load(slow.read_text())
    # More than the environment takes; and each process that the driver starts would fail.
    config["train"]["exclude"] = [f"g0f{number:06d}/{number % 4}" for number in range(12_000)]
    driver.export_config(tmp_path / "results", config)
    edited = {**config, "run": "edited"}
    fast.write_text(yaml.safe_dump(edited))
    job = snakemake(
        folder, "--mode", "subprocess", "--dry-run", "--cores", "1", "--configfile", str(fast), "--", FRAMES
    )
    assert job.returncode == 0, job.stderr[-3000:]
    another = snakemake(folder, "--dry-run", "--cores", "1", "--configfile", str(fast), "--", FRAMES)
    assert another.returncode != 0 and "MissingRuleException" in another.stderr + another.stdout


def test_a_second_driver_is_refused_and_a_killed_one_recovered_from(work, capsys, monkeypatch):
    folder, slow, fast = work
    monkeypatch.chdir(folder)
    results = folder / "results/toy"
    with (folder / "first.log").open("w") as log:
        first = subprocess.Popen([sys.executable, "-m", "snakemake", *arguments(slow)], stdout=log, stderr=log)
    jobs = []
    try:
        until(lambda: (results / "state/aimd/x3.000_random0_1x1x1").exists())
        assert driver.active_driver(results).pid == first.pid
        jobs = psutil.Process(first.pid).children(recursive=True)

        second = snakemake(folder, *arguments(slow))
        assert second.returncode != 0
        assert f"driven by process {first.pid}" in second.stderr
        structure = folder / "results/toy/structures/x3.000_random0_1x1x1.extxyz"
        for removal in ("--unlock", "--delete-all-output"):
            removed = snakemake(folder, removal, *arguments(slow))
            assert removed.returncode != 0 and f"{removal} is refused" in removed.stderr
        assert structure.exists()
        assert (folder / ".snakemake/locks/0.output.lock").exists()
        assert main(["recover", str(slow)]) == 1
        assert "nothing to recover" in capsys.readouterr().err

        os.kill(first.pid, signal.SIGKILL)
        first.wait()
        kinds = {line.split(":")[0] for line in find_leftovers("toy").lines()}
        assert kinds >= {"stale lock", "job without a driver", "record of a dead driver"}
        assert f"redoxmd recover {slow}" in snakemake(folder, *arguments(slow)).stderr
        assert main(["recover", str(slow)]) == 0
        assert not any(job.is_running() and job.status() != psutil.STATUS_ZOMBIE for job in jobs)
        assert find_leftovers("toy").lines() == []
        again = snakemake(folder, *arguments(fast))
        assert again.returncode == 0, again.stderr[-3000:]
        assert len(read_frames(folder / FRAMES)) == yaml.safe_load(TOY.read_text())["aimd"]["steps"]
        assert not driver.driver_file(results).exists()
        assert json.loads((results / "reference.json").read_text())["engine"] == "toy"
    finally:
        for process in [*jobs, psutil.Process(first.pid)] if first.poll() is None else jobs:
            if process.is_running():
                process.kill()
