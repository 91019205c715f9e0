"""Finished toy campaigns for all modules that look at them, whichever worker of a parallel run asks first."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from tests.workflow import test_workflow
from tests.workflow.finished import finished_campaign


def made_once(tmp_path_factory, name, make):
    """Record of what `make` did in a folder of this name, once in a run of the tests."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = shared / f"{name}.json"
        if not record.exists():
            record.write_text(json.dumps(make(shared / name)))
    return json.loads(record.read_text())


@pytest.fixture(scope="session")
def toy_campaign(tmp_path_factory):
    """Folder of the campaign, its results, and how long it took in seconds; to be looked at, not changed."""

    def run(folder):
        test_workflow.repository(folder)
        start = time.monotonic()
        result = test_workflow.snakemake(folder, "--cores", "2", "--configfile", str(test_workflow.TOY))
        failed = "" if result.returncode == 0 else result.stdout[-2000:] + result.stderr[-4000:]
        return {"folder": str(folder), "failed": failed, "spent_s": time.monotonic() - start}

    made = made_once(tmp_path_factory, "toy", run)
    assert made["failed"] == ""
    folder = Path(made["folder"])
    return folder, folder / "results/toy", made["spent_s"]


@pytest.fixture(scope="session")
def finished_toy(tmp_path_factory):
    """Folder of the campaign without its computing; to be copied, not changed."""
    return Path(made_once(tmp_path_factory, "finished", lambda folder: str(finished_campaign(folder))))
