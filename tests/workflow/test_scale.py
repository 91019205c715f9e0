"""The paper's campaign at its largest: all the generations and labels that its config allows.

`.venv/bin/python -m pytest -m slow -s tests/workflow/test_scale.py` prints the numbers of docs/clusters.md.
"""

import os
import subprocess
import sys
import time

import pytest

from redoxmd.config import load_config
from tests.workflow.finished import finished_campaign
from tests.workflow.test_workflow import ROOT, snakemake_environment

CONFIG = ROOT / "config/nvp.yaml"
LABELS = 214
LIMIT_S = 30
LIMIT_MB = 1000

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    generations = load_config(CONFIG).gate.max_generations
    return finished_campaign(tmp_path_factory.mktemp("scale"), CONFIG, labels=(LABELS,) * (generations - 1))


def files_in(folder):
    return sum(path.is_file() for path in folder.rglob("*"))


def test_thousands_of_jobs_are_looked_through_in_seconds(campaign):
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", str(CONFIG)]
    started = time.monotonic()
    with (campaign / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=campaign, stdout=said, stderr=said, env=snakemake_environment(campaign))
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read()
    jobs = files_in(campaign / "results/nvp/logs")
    cpu_s, memory_MB = used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
    print(
        f"\n{jobs} jobs: {cpu_s:.1f} CPU-seconds, {time.monotonic() - started:.1f} s, {memory_MB:.0f} MB; "
        f"{files_in(campaign / 'results')} outputs and logs, {files_in(campaign / '.snakemake/metadata')} records"
    )
    assert process.returncode == 0, text[-2000:]
    assert "Nothing to be done" in text
    assert jobs > 3000
    assert cpu_s < LIMIT_S
    assert memory_MB < LIMIT_MB
