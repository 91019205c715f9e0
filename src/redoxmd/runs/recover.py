"""What a killed driver leaves behind, found and mended: locks, jobs that run on, half-done outputs, temporary files.

Whole results and restart states are never touched. Snakemake's folder is read as its version 9 writes it; a record it
keeps of a file lies under the file's name in base64.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from redoxmd.errors import DataError, DriverAlive, SchedulerSilent
from redoxmd.runs import driver
from redoxmd.runs.job_records import TEMPORARY, record_name, recorded_since

TERMINATE_S = 60.0


@dataclass
class Leftovers:
    """What was found.

    Attributes:
        results: folder of the run.
        locks: lock files of Snakemake.
        slurm: job id → what it is.
        processes: local jobs that outlived their driver.
        incomplete: marker of Snakemake → output that was being made.
        finished: the same for outputs whose jobs came to their end without the driver, by their own records.
        temporaries: files of writes that never ended.
        records: of the dead driver itself.
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
        """One line for each."""
        return [
            *(f"stale lock: {path}" for path in self.locks),
            *(f"Slurm job without a driver: {name} ({text})" for name, text in self.slurm.items()),
            *(f"job without a driver: process {process.pid}" for process in self.processes),
            *(f"half-done output: {path}" for path in self.incomplete.values() if path.exists()),
            *(f"whole output that no driver saw ending: {path}" for path in self.finished.values() if path.exists()),
            *(f"temporary file: {path}" for path in self.temporaries),
            *(f"record of a dead driver: {path}" for path in self.records),
        ]


def find_leftovers(run: str, root: Path = Path(), jobs_gone: bool = False) -> Leftovers:
    """Look for what a killed driver of a run left behind.

    Args:
        run: its name.
        root: working directory of the workflow, which holds `results` and `.snakemake`.
        jobs_gone: the user knows that no job of the run is in a queue: Slurm is not asked.

    Raises:
        DataError: there is no such run in this folder.
        DriverAlive: a driver is at work, so that nothing is left over.
        SchedulerSilent: jobs were handed to Slurm, and it does not answer.
    """
    results = root / "results" / run
    if not results.is_dir():
        raise DataError(
            f"{results}: no such folder, so there is nothing to recover here; type the command in the folder in which "
            "snakemake was started"
        )
    alive = driver.living(results)
    if alive is not None:
        raise DriverAlive(f"{results} is being driven by {alive}: nothing to recover; stop it first if it must go")
    prefix = f"results/{run}/"
    marked = dict(_incomplete(root))
    incomplete = {marker: root / name for marker, name in marked.items() if name.startswith(prefix)}
    finished = _finished(run, root, incomplete)
    return Leftovers(
        results,
        [path for path in sorted(root.glob(".snakemake/locks/*.lock")) if _locks(path, prefix)],
        {} if jobs_gone else _slurm_jobs(run, root, _owners(marked)),
        _orphans(run, root),
        {marker: output for marker, output in incomplete.items() if marker not in finished},
        finished,
        _temporaries(results),
        [path for path in [driver.record_path(results)] if path.exists()],
    )


def mend(found: Leftovers) -> None:
    """Cancel, unlock and clear away what was found; jobs first, for they still write.

    Half-done outputs go with their markers, so that the next start makes them again; each job resumes from its state.
    Whole ones lose the marker alone, and the next start knows them by their records.

    Raises:
        SchedulerSilent: the jobs could not be cancelled; nothing else was done either.
    """
    if found.slurm:
        _cancel(list(found.slurm))
    for process in found.processes:
        process.terminate()
    _, stubborn = psutil.wait_procs(found.processes, timeout=TERMINATE_S)
    for process in stubborn:
        process.kill()
    for marker, output in found.incomplete.items():
        output.unlink(missing_ok=True)
        marker.unlink(missing_ok=True)
    # Looked for again: jobs that were ended just now may have been writing something else by then.
    for path in [*_temporaries(found.results), *found.locks, *found.records, *found.finished]:
        path.unlink(missing_ok=True)


def _cancel(jobs: Sequence[str]) -> None:
    result = subprocess.run(["scancel", *jobs], check=False, capture_output=True, text=True, timeout=120)
    if result.returncode:
        raise SchedulerSilent(f"scancel fails ({result.stderr.strip()}); nothing was mended, try again")


def _locks(path: Path, prefix: str) -> bool:
    return any(line.startswith(prefix) for line in path.read_text(encoding="utf-8").splitlines())


def _incomplete(root: Path) -> Iterator[tuple[Path, str]]:
    folder = root / ".snakemake/incomplete"
    for marker in sorted(folder.rglob("*")):
        if marker.is_file() and marker.name != "migration_underway":
            yield marker, record_name(marker, folder)


def _finished(run: str, root: Path, incomplete: dict[Path, Path]) -> dict[Path, Path]:
    """Those outputs whose job has written its record after Snakemake marked them: it had come to its end."""
    marked = {marker: marker.stat().st_mtime_ns for marker in incomplete}
    ended = recorded_since(run, root, min(marked.values(), default=0)) if marked else {}
    return {
        marker: output
        for marker, output in incomplete.items()
        if ended.get(output.relative_to(root).as_posix(), 0) > marked[marker]
    }


def _owners(marked: dict[Path, str]) -> dict[str, str]:
    """Slurm job → run, as Snakemake noted which output each job makes."""
    found = {}
    for marker, name in marked.items():
        try:
            job = json.loads(marker.read_text()).get("external_jobid")
        except ValueError:
            continue
        top, run, *_ = [*Path(name).parts, ""]
        if job is not None and top == "results":
            found[str(job).split("_")[0]] = run
    return found


def _slurm_jobs(run: str, root: Path, owners: dict[str, str]) -> dict[str, str]:
    """Jobs of this folder and run in Slurm's queue, by Snakemake's markers or else by their comment.

    Raises:
        SchedulerSilent: jobs of the run were handed to Slurm, and it cannot be asked whether they are still there.
    """
    command = ["squeue", "--me", "--noheader", "--format=%i|%Z|%k"]
    try:
        queue = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
        silence = queue.stderr.strip() if queue.returncode else ""
    except FileNotFoundError:
        queue, silence = None, "there is no squeue on this machine"
    except subprocess.TimeoutExpired:
        queue, silence = None, "squeue does not answer within 120 s"
    ids = sorted(job for job, owner in owners.items() if owner == run)
    if silence and ids:
        raise SchedulerSilent(
            f"Slurm does not tell which jobs are left ({silence}), and jobs {', '.join(ids)} of run {run} may "
            "still write. Nothing was mended: try again where and when squeue works, or, if you know that none of "
            "them is left (results moved to another machine), with --jobs-gone"
        )
    runs = [path.name for path in (root / "results").iterdir() if path.is_dir()]
    found = {}
    for line in queue.stdout.splitlines() if queue else []:
        name, folder, comment = line.split("|", 2)
        owner = owners.get(name.split("_")[0]) or _run_of(comment, runs)
        if owner == run and os.path.realpath(folder) == os.path.realpath(root):
            found[name] = comment
    return found


def _run_of(comment: str, runs: Sequence[str]) -> str | None:
    """The run, of those in this folder, that a job belongs to, by the comment of Snakemake's executor.

    The comment is `rule_NAME_wildcards_RUN_…`. Names of runs may hold underscores too, so that `a_2_…` is of run a_2
    where there is one, not of run a: the longest name that fits.
    """
    _, _, wildcards = comment.partition("_wildcards_") if comment.startswith("rule_") else ("", "", "")
    return max((run for run in runs if f"{wildcards}_".startswith(f"{run}_")), key=len, default=None)


def _orphans(run: str, root: Path) -> list[psutil.Process]:
    """Jobs on this host that a killed driver started in this folder, with their children."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter():
        try:
            here = os.path.realpath(process.cwd()) == os.path.realpath(root)
            if here and _is_job_of(run, process.cmdline()):
                found |= {item.pid: item for item in [process, *process.children(recursive=True)]}
        except psutil.Error:
            continue
    return list(found.values())


def _is_job_of(run: str, words: Sequence[str]) -> bool:
    """Whether a command line is a job of a run: Snakemake's own (--target-jobs), or a script that names its files."""
    if "--target-jobs" in words:
        return any(re.match(rf"\w+:run={re.escape(run)}(,|$)", word) for word in words)
    scripts = [Path(word) for word in words if "/.snakemake/scripts/" in word]
    return any(script.is_file() and f"results/{run}/".encode() in script.read_bytes() for script in scripts)


def _temporaries(results: Path) -> list[Path]:
    return [path for path in _files(results) if TEMPORARY.match(path.name)]


def _files(results: Path) -> Iterator[Path]:
    """Files of a run outside its restart states."""
    for folder, folders, names in os.walk(results):
        if Path(folder) == results and "state" in folders:
            folders.remove("state")
        yield from (Path(folder) / name for name in sorted(names))
