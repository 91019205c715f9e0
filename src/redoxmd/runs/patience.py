"""Slurm's commands, asked again while its controller is away.

Snakemake takes a submission that fails for a failed job and starts it again at once, all retries within a second; and
it forgets its jobs when it cannot ask for their state. So the profile lets it find commands that wait: `make_patient`
writes them, and they run this module, `python -m redoxmd.runs.patience COMMAND …`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import MutableMapping, Sequence
from itertools import pairwise
from pathlib import Path

# What Slurm says when it cannot be reached, or is too busy to answer; not when it refuses.
AWAY = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (refused|timed out|reset)|backup controller in "
    r"standby|transport endpoint is not connected|zero bytes were transmitted|problem talking to the database|resource "
    r"temporarily unavailable|unable to establish (controller|configuration)|communication connection failure",
    re.IGNORECASE,
)
# How long a command is tried. Snakemake gives a question for states 60 s and then asks again.
PATIENCE_S = {"sbatch": 24 * 3600.0, "squeue": 45.0, "sacct": 45.0}
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0
ACTIVE = "PENDING,RUNNING,CONFIGURING,SUSPENDED,REQUEUED"


def make_patient(environ: MutableMapping[str, str], folder: Path = Path(".snakemake/slurm-commands")) -> None:
    """Write commands that wait into a folder, for those of Slurm that are here, and put it first in the PATH."""
    folder = folder.absolute()
    others = [part for part in environ.get("PATH", "").split(os.pathsep) if part != str(folder)]
    found = {name: shutil.which(name, path=os.pathsep.join(others)) for name in PATIENCE_S}
    for name, program in found.items():
        if program:
            folder.mkdir(parents=True, exist_ok=True)
            words = shlex.join([sys.executable, "-m", "redoxmd.runs.patience", program])
            command = folder / name
            command.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            command.chmod(0o755)
    if any(found.values()):
        environ["PATH"] = os.pathsep.join([str(folder), *others])


def run_patiently(command: Sequence[str], patience_s: float, first_wait_s: float = FIRST_WAIT_S) -> int:
    """Run a command of Slurm, again while the controller is away; pass on its output and return its exit status."""
    given = sys.stdin.buffer.read() if "/dev/stdin" in command else None
    end, wait_s = time.monotonic() + patience_s, first_wait_s
    while True:
        result = subprocess.run(command, input=given, stdin=None if given else subprocess.DEVNULL, capture_output=True)
        told = result.stderr.decode(errors="replace")
        if "accounting storage is disabled" in told and (question := _without_accounts(command)):
            return run_patiently(question, end - time.monotonic(), first_wait_s)
        if result.returncode == 0 or not AWAY.search(told) or time.monotonic() + wait_s > end:
            sys.stdout.buffer.write(result.stdout)
            sys.stderr.buffer.write(result.stderr)
            return result.returncode
        _say(f"redoxmd: Slurm's controller does not answer {Path(command[0]).name}; asked again in {wait_s:.0f} s")
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        # The answer may have been lost, not the submission: two jobs would write the same files.
        if Path(command[0]).name == "sbatch" and (submitted := _submitted(command)):
            print(submitted)
            return 0


def _without_accounts(command: Sequence[str]) -> list[str]:
    """What sacct is asked for the states of jobs of a name, as a question to squeue; [] for another.

    The plugin turns to sacct when scontrol does not answer, though nothing keeps accounts.
    """
    name = dict(pairwise(command)).get("--name")
    asked = ["--noheader", "--states=all", "--format=%i|%T", f"--name={name}"]
    return [_beside(command[0], "squeue"), *asked] if name and Path(command[0]).name == "sacct" else []


def _beside(program: str, name: str) -> str:
    path = Path(program).with_name(name)
    return str(path) if path.exists() else name


def _submitted(command: Sequence[str]) -> str:
    """The id of the job that a submission has made after all; "" without one. Name and comment tell a job of a run."""
    options = dict(pairwise(command))
    name, comment = options.get("--job-name"), options.get("--comment")
    if not name or not comment:
        return ""
    asked = [
        _beside(command[0], "squeue"),
        "--me",
        "--noheader",
        f"--name={name}",
        f"--states={ACTIVE}",
        "--format=%i|%k",
    ]
    told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout
    jobs = [line.split("|", 1)[0] for line in told.splitlines() if line.endswith(f"|{comment}")]
    return jobs[0] if jobs else ""


def _say(text: str) -> None:
    """To the terminal, if there is one: what goes to stderr, Snakemake keeps."""
    with contextlib.suppress(OSError), Path("/dev/tty").open("w", encoding="utf-8") as terminal:
        print(text, file=terminal)


if __name__ == "__main__":
    try:
        sys.exit(run_patiently(sys.argv[1:], PATIENCE_S[Path(sys.argv[1]).name]))
    except KeyboardInterrupt:
        sys.exit(130)
