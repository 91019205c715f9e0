import resource
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import torch
from redoxmd.jobs.job import keep_freed_memory
torch.set_num_threads(1)
if "keep" in sys.argv:
    assert keep_freed_memory()
def work():
    for _ in range(20):
        torch.ones(4_000_000).sum()
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 20 * 16_000_000 // resource.getpagesize()


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_is_not_asked_for_again_at_every_step():
    faults = {}
    for word in ("keep", "as it is"):
        said = subprocess.run([sys.executable, "-c", PROGRAM, word], capture_output=True, text=True, check=True)
        faults[word] = int(said.stdout)
    assert faults["keep"] < 0.05 * PAGES
    assert faults["keep"] < faults["as it is"] or faults["as it is"] < 0.05 * PAGES
