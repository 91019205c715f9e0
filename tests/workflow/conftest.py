"""One finished toy campaign for all modules that look at it, whichever worker of a parallel run asks first."""

import fcntl
import json
import os
import time
from pathlib import Path

import pytest

from tests.workflow import test_workflow


@pytest.fixture(scope="session")
def toy_campaign(tmp_path_factory):
    """Folder of the campaign, its results, and how long it took in seconds; to be looked at, not changed."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with (shared / "toy.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        record = shared / "toy.json"
        if not record.exists():
            folder = test_workflow.repository(shared / "toy")
            start = time.monotonic()
            result = test_workflow.snakemake(folder, "--cores", "2", "--configfile", str(test_workflow.TOY))
            failed = "" if result.returncode == 0 else result.stdout[-2000:] + result.stderr[-4000:]
            spent_s = time.monotonic() - start
            record.write_text(json.dumps({"folder": str(folder), "failed": failed, "spent_s": spent_s}))
    made = json.loads(record.read_text())
    assert made["failed"] == ""
    folder = Path(made["folder"])
    return folder, folder / "results/toy", made["spent_s"]
