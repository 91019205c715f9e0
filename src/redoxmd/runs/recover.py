"""Clean up after a killed driver: locks, jobs that still run, incomplete outputs, temporary files.

Complete results and restart states are never changed. The folder `.snakemake` is read in the format of version 9, in
which the record of a file is stored under the base64 form of its name.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from redoxmd.errors import DataError, DriverAlive, SchedulerSilent
from redoxmd.runs import driver
from redoxmd.runs.job_records import TEMPORARY, files_by_output, recorded_since

TERMINATE_S = 60.0


@dataclass
class Leftovers:
    """Locks, jobs and files that a killed driver left behind.

    Attributes:
        locks: lock files of Snakemake.
        slurm: job id → comment of the job.
        processes: local jobs that outlived their driver.
        incomplete: marker of Snakemake → output that was being written.
        finished: marker → output of a job that, by its record, completed after the driver was killed.
        temporaries: temporary files of interrupted writes.
        records: record of the dead driver.
    """

    results: Path
    locks: list[Path] = field(default_factory=list)
    slurm: dict[str, str] = field(default_factory=dict)
    processes: list[psutil.Process] = field(default_factory=list)
    incomplete: dict[Path, Path] = field(default_factory=dict)
    finished: dict[Path, Path] = field(default_factory=dict)
    temporaries: list[Path] = field(default_factory=list)
    records: list[Path] = field(default_factory=list)

    def lines(self) -> list[str]:
        """One line for each leftover."""
        return [
            *(f"stale lock: {path}" for path in self.locks),
            *(f"Slurm job without a driver: {name} ({text})" for name, text in self.slurm.items()),
            *(f"job without a driver: process {process.pid}" for process in self.processes),
            *(f"incomplete output: {path}" for path in self.incomplete.values() if path.exists()),
            *(
                f"complete output whose job ended without a driver: {path}"
                for path in self.finished.values()
                if path.exists()
            ),
            *(f"temporary file: {path}" for path in self.temporaries),
            *(f"record of a dead driver: {path}" for path in self.records),
        ]


def find_leftovers(run: str, root: Path = Path(), jobs_gone: bool = False) -> Leftovers:
    """Locks, jobs and files that a killed driver of a run left behind.

    Args:
        root: working directory of the workflow, which holds `results` and `.snakemake`.
        jobs_gone: the user states that no job of the run is in a queue; Slurm is not asked.

    Raises:
        DataError: there is no such run in this folder.
        DriverAlive: a driver is active, so there are no leftovers.
        SchedulerSilent: jobs were submitted to Slurm, and it does not answer.
    """
    results = root / "results" / run
    if not results.is_dir():
        raise DataError(
            f"{results}: no such folder, so there is nothing to recover here; type the command in the folder in which "
            "snakemake was started"
        )
    active = driver.active_driver(results)
    if active is not None:
        raise DriverAlive(
            f"{results} is being driven by {active}: nothing to recover; to recover the run, stop it first"
        )
    prefix = f"results/{run}/"
    output_of_marker = {marker: name for name, marker in files_by_output(root / ".snakemake/incomplete").items()}
    incomplete = {marker: root / name for marker, name in output_of_marker.items() if name.startswith(prefix)}
    # Of a job that has ended, the record is newer than the marker of Snakemake.
    marked_ns = {marker: marker.stat().st_mtime_ns for marker in incomplete}
    ended = recorded_since(run, root, min(marked_ns.values())) if marked_ns else {}
    finished = {marker for marker in incomplete if ended.get(output_of_marker[marker], 0) > marked_ns[marker]}
    return Leftovers(
        results,
        locks=[
            path
            for path in sorted(root.glob(".snakemake/locks/*.lock"))
            if any(line.startswith(prefix) for line in path.read_text(encoding="utf-8").splitlines())
        ],
        slurm={} if jobs_gone else _slurm_jobs(run, root, output_of_marker),
        processes=_orphans(run, root),
        incomplete={marker: output for marker, output in incomplete.items() if marker not in finished},
        finished={marker: output for marker, output in incomplete.items() if marker in finished},
        temporaries=_temporaries(results),
        records=[path for path in [driver.driver_file(results)] if path.exists()],
    )


def clean_up(leftovers: Leftovers) -> None:
    """Cancel jobs, then remove locks, incomplete outputs and temporary files.

    Incomplete outputs are removed with their markers, so that the next start remakes them; each job resumes from its
    state. Of complete outputs only the marker is removed; the next start recognises them by their records.

    Raises:
        SchedulerSilent: the jobs could not be cancelled; nothing was removed.
    """
    if leftovers.slurm:
        result = subprocess.run(["scancel", *leftovers.slurm], check=False, capture_output=True, text=True, timeout=120)
        if result.returncode:
            raise SchedulerSilent(f"scancel fails ({result.stderr.strip()}); nothing was changed, try again")
    for process in leftovers.processes:
        process.terminate()
    _, still_running = psutil.wait_procs(leftovers.processes, timeout=TERMINATE_S)
    for process in still_running:
        process.kill()
    for marker, output in leftovers.incomplete.items():
        output.unlink(missing_ok=True)
        marker.unlink(missing_ok=True)
    # Temporary files are searched again: the jobs ended just now may have started new ones.
    for path in [*_temporaries(leftovers.results), *leftovers.locks, *leftovers.records, *leftovers.finished]:
        path.unlink(missing_ok=True)


def _slurm_jobs(run: str, root: Path, output_of_marker: dict[Path, str]) -> dict[str, str]:
    """Jobs of this folder and run in the Slurm queue, identified by markers of Snakemake or by their comment.

    Raises:
        SchedulerSilent: jobs of the run were submitted to Slurm, and its queue cannot be read.
    """
    run_of_job: dict[str, str] = {}
    for marker, name in output_of_marker.items():
        try:
            job = json.loads(marker.read_text()).get("external_jobid")
        except ValueError:
            continue
        top, job_run, *_ = [*Path(name).parts, ""]
        if job is not None and top == "results":
            run_of_job[str(job).split("_")[0]] = job_run
    command = ["squeue", "--me", "--noheader", "--format=%i|%Z|%k"]
    try:
        queue = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        silence = queue.stderr.strip() if queue.returncode else ""
    except FileNotFoundError:
        queue, silence = None, "there is no squeue on this machine"
    except subprocess.TimeoutExpired:
        queue, silence = None, "squeue does not answer within 120 s"
    ids = sorted(job for job, job_run in run_of_job.items() if job_run == run)
    if silence and ids:
        raise SchedulerSilent(
            f"Slurm does not tell which jobs are left ({silence}), and jobs {', '.join(ids)} of run {run} may "
            "still write. Nothing was changed: try again where and when squeue works, or, if you know that none of "
            "them is left (results moved to another machine), with --jobs-gone"
        )
    runs = [path.name for path in (root / "results").iterdir() if path.is_dir()]
    jobs = {}
    for line in queue.stdout.splitlines() if queue else []:
        name, folder, comment = line.split("|", 2)
        run_of_line = run_of_job.get(name.split("_")[0]) or _run_of_comment(comment, runs)
        if run_of_line == run and os.path.realpath(folder) == os.path.realpath(root):
            jobs[name] = comment
    return jobs


def _run_of_comment(comment: str, runs: Sequence[str]) -> str | None:
    """Run of a job among the runs in this folder, from the comment that the executor of Snakemake sets.

    The comment is `rule_NAME_wildcards_RUN_…`. Run names may contain underscores, so the longest matching name is
    taken: `a_2_…` belongs to run a_2 if it exists, not to run a.
    """
    _, _, wildcards = comment.partition("_wildcards_") if comment.startswith("rule_") else ("", "", "")
    return max((run for run in runs if f"{wildcards}_".startswith(f"{run}_")), key=len, default=None)


def _orphans(run: str, root: Path) -> list[psutil.Process]:
    """Jobs on this host that a killed driver started in this folder, with their children."""
    orphans: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            in_folder = os.path.realpath(process.cwd()) == os.path.realpath(root)
            if in_folder and _is_job_of(run, process.cmdline()):
                orphans |= {item.pid: item for item in [process, *process.children(recursive=True)]}
        except psutil.Error:
            continue
    return list(orphans.values())


def _is_job_of(run: str, words: Sequence[str]) -> bool:
    """Whether a command line is a job of a run: Snakemake with --target-jobs, or a script that contains its paths."""
    if "--target-jobs" in words:
        return any(re.match(rf"\w+:run={re.escape(run)}(,|$)", word) for word in words)
    scripts = [Path(word) for word in words if "/.snakemake/scripts/" in word]
    return any(script.is_file() and f"results/{run}/".encode() in script.read_bytes() for script in scripts)


def _temporaries(results: Path) -> list[Path]:
    """Temporary files of a run outside its restart states."""
    temporaries = []
    for folder, folders, names in os.walk(results):
        if Path(folder) == results and "state" in folders:
            folders.remove("state")
        temporaries += [Path(folder) / name for name in sorted(names) if TEMPORARY.match(name)]
    return temporaries
