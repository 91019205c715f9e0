"""The tests of the GPU and the planted faults on a pretended GPU, in a process of its own (`tests.pretend_gpu`)."""

import ast
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
FILES = ("tests/test_gpu.py", "tests/gpu_faults.py")


@pytest.mark.parametrize("speed", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_every_test_of_the_gpu_passes_on_the_pretended_gpu(tmp_path, speed):
    report = tmp_path / "report.xml"
    options = ["-q", "--tb=short", "-p", "tests.pretend_gpu", "-p", "no:cacheprovider", f"--junitxml={report}"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "-m", speed, *FILES],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    cases = list(ElementTree.parse(report).getroot().iter("testcase"))
    # A test that was skipped, failed or had an error has an element that says so.
    assert [case.get("name") for case in cases if len(case)] == []
    expected = {
        node.name
        for path in FILES
        for node in ast.parse((ROOT / path).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if ("pytest.mark.slow" in map(ast.unparse, node.decorator_list)) == (speed == "slow")
    }
    assert expected and {case.get("name").split("[")[0] for case in cases} == expected
