"""Runs of the warm Python are those of the interpreter."""

import os
import subprocess
import sys

import pytest

from tests.warm import warm_python

SCRIPT = """
import atexit, os, sys, threading, time
threading.Thread(target=lambda: (time.sleep(0.2), print("thread"))).start()
atexit.register(lambda: print("last", flush=True))
print(__name__, sys.argv, sys.path[0], os.getcwd(), os.environ["WORD"], sys.stdin.read(), file=sys.stderr)
"""


@pytest.mark.parametrize("end", ["", "sys.exit(3)", "sys.exit('refused')", "1 / 0", "os.kill(os.getpid(), 9)"])
@pytest.mark.parametrize("module", [False, True])
def test_output_and_status_are_those_of_the_interpreter(tmp_path, end, module):
    (tmp_path / "job.py").write_text(f"{SCRIPT}{end}\n")
    arguments = ["-m", "job"] if module else [str(tmp_path / "job.py")]
    runs = []
    for python in (sys.executable, warm_python()):
        # A shell, as Snakemake uses it, gives a signal as a status, and a line of its own.
        command = ["/bin/sh", "-c", '"$@"; exit $?', "sh", python, *arguments, "word"]
        environment = {**os.environ, "WORD": "set", "PYTHONSAFEPATH": ""}
        done = subprocess.run(command, cwd=tmp_path, env=environment, input="", capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if line != "Killed"]
        runs.append((done.returncode, done.stdout, lines[0], lines[-1]))
    assert runs[0] == runs[1]
