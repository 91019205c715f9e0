"""Slurm commands that are repeated while the Slurm controller is unavailable.

Snakemake treats a failed submission as a failed job and uses up all retries within a second; it loses track of its jobs
if it cannot query their states. Therefore `install_retrying_commands` puts wrappers of the Slurm commands first in the
PATH of the profile; they run this module, `python -m redoxmd.runs.slurm_retry COMMAND …`.
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

# Messages of Slurm if its controller cannot be reached or is too busy; refusals are not among them.
CONTROLLER_UNAVAILABLE = re.compile(
    r"unable to contact slurm controller|socket timed out|connection (refused|timed out|reset)|backup controller in "
    r"standby|transport endpoint is not connected|zero bytes were transmitted|problem talking to the database|resource "
    r"temporarily unavailable|unable to establish (controller|configuration)|communication connection failure",
    re.IGNORECASE,
)
# Time over which a command is repeated. Snakemake repeats a query of job states after 60 s.
RETRY_PERIOD_S = {"sbatch": 24 * 3600.0, "squeue": 45.0, "sacct": 45.0}
FIRST_WAIT_S, LONGEST_WAIT_S = 5.0, 300.0
ACTIVE = "PENDING,RUNNING,CONFIGURING,SUSPENDED,REQUEUED"


def install_retrying_commands(
    environ: MutableMapping[str, str], folder: Path = Path(".snakemake/slurm-commands")
) -> None:
    """Write retrying wrappers of the installed Slurm commands into a folder and put it first in the PATH."""
    folder = folder.absolute()
    path_folders = [entry for entry in environ.get("PATH", "").split(os.pathsep) if entry != str(folder)]
    programs = {name: shutil.which(name, path=os.pathsep.join(path_folders)) for name in RETRY_PERIOD_S}
    for name, program in programs.items():
        if program:
            folder.mkdir(parents=True, exist_ok=True)
            words = shlex.join([sys.executable, "-m", "redoxmd.runs.slurm_retry", program])
            command = folder / name
            command.write_text(f'#!/bin/sh\nexec {words} "$@"\n', encoding="utf-8")
            command.chmod(0o755)
    if any(programs.values()):
        environ["PATH"] = os.pathsep.join([str(folder), *path_folders])


def run_with_retries(command: Sequence[str], retry_period_s: float, first_wait_s: float = FIRST_WAIT_S) -> int:
    """Run a Slurm command, repeated while the controller is unavailable; pass on its output, return its exit status."""
    script = sys.stdin.buffer.read() if "/dev/stdin" in command else None
    end, wait_s = time.monotonic() + retry_period_s, first_wait_s
    while True:
        result = subprocess.run(
            command, input=script, stdin=None if script else subprocess.DEVNULL, capture_output=True
        )
        stderr = result.stderr.decode(errors="replace")
        if "accounting storage is disabled" in stderr and (query := _squeue_query(command)):
            return run_with_retries(query, end - time.monotonic(), first_wait_s)
        if result.returncode == 0 or not CONTROLLER_UNAVAILABLE.search(stderr) or time.monotonic() + wait_s > end:
            sys.stdout.buffer.write(result.stdout)
            sys.stderr.buffer.write(result.stderr)
            return result.returncode
        # To the terminal, if there is one, because Snakemake captures stderr.
        with contextlib.suppress(OSError), Path("/dev/tty").open("w", encoding="utf-8") as terminal:
            name = Path(command[0]).name
            print(f"redoxmd: Slurm's controller does not answer {name}; asked again in {wait_s:.0f} s", file=terminal)
        time.sleep(wait_s)
        wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        # The submission may have succeeded although the answer was lost; a second job would write the same files.
        if Path(command[0]).name == "sbatch" and (job_id := _submitted_job(command)):
            print(job_id)
            return 0


def _squeue_query(command: Sequence[str]) -> list[str]:
    """The squeue command that replaces an sacct query for the states of jobs of a name; [] for other commands.

    The plugin falls back to sacct if scontrol does not answer, even where Slurm keeps no accounts.
    """
    name = dict(pairwise(command)).get("--name")
    arguments = ["--noheader", "--states=all", "--format=%i|%T", f"--name={name}"]
    return [_sibling_program(command[0], "squeue"), *arguments] if name and Path(command[0]).name == "sacct" else []


def _sibling_program(program: str, name: str) -> str:
    path = Path(program).with_name(name)
    return str(path) if path.exists() else name


def _submitted_job(command: Sequence[str]) -> str:
    """Id of the job that an unconfirmed submission created, found by its name and comment; "" without one."""
    options = dict(pairwise(command))
    name, comment = options.get("--job-name"), options.get("--comment")
    if not name or not comment:
        return ""
    arguments = ["--me", "--noheader", f"--name={name}", f"--states={ACTIVE}", "--format=%i|%k"]
    squeue = _sibling_program(command[0], "squeue")
    queue = subprocess.run([squeue, *arguments], capture_output=True, text=True, check=False).stdout
    jobs = [line.split("|", 1)[0] for line in queue.splitlines() if line.endswith(f"|{comment}")]
    return jobs[0] if jobs else ""


if __name__ == "__main__":
    try:
        sys.exit(run_with_retries(sys.argv[1:], RETRY_PERIOD_S[Path(sys.argv[1]).name]))
    except KeyboardInterrupt:
        sys.exit(130)
