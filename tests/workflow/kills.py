"""A campaign whose driver or whose jobs are killed, started again, and held against an undisturbed one.

`.venv/bin/python -m tests.workflow.kills` prints docs/kills.md from what the trials of the present source recorded.
"""

import contextlib
import fcntl
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import psutil
import yaml

from redoxmd.config import load_config
from redoxmd.runs.changes import JOB
from redoxmd.runs.job_records import decoded_name
from redoxmd.runs.versions import code_hash
from tests.workflow.same import differences
from tests.workflow.test_workflow import ROOT, repository

CONFIG = Path(__file__).parent / "kills.yaml"
RUN = load_config(CONFIG).run
KEPT = ROOT / "build/kills"
TRIALS = 20
# A hang, not a slow machine: alone on two cores the campaign takes a minute and a half.
LIMIT_S = 1800
POLL_S = 0.02

SCRIPT = re.compile(r"/\.snakemake/scripts/\w+\.(\w+)\.py$")
NEEDS = yaml.safe_load((ROOT / "config/resources.yaml").read_text())


class Job(NamedTuple):
    """A job as the log of a driver names it."""

    rule: str
    outputs: tuple[str, ...]
    log: str

    def __str__(self):
        return f"{self.rule} {Path(self.outputs[0]).relative_to(f'results/{RUN}')}"

    @property
    def state(self):
        """Its folder below `state`."""
        return state_of(self.log)


def state_of(log):
    """The folder below `state` of the job with a log: logs/train/gen0/member1.log → train/gen0_member1."""
    stage, *rest = Path(log).relative_to(f"results/{RUN}/logs").with_suffix("").parts
    return stage if stage == "density" else f"{stage}/{'_'.join(rest)}"


@dataclass
class Trial:
    """What one trial found; of several kills, the sums.

    Attributes:
        kills: when, in the undisturbed run's time.
        done: jobs finished before the last kill.
        interrupted: jobs that had begun and had not finished.
        whole: those of them whose outputs were all there when it was started again.
        rerun: jobs that the last driver ran.
        resumed: interrupted jobs that went on from their state.
        faults: what is not as it must be.
    """

    name: str
    kills: list[float] = field(default_factory=list)
    done: int = 0
    interrupted: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)
    rerun: int = 0
    resumed: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Driver:
    """A `snakemake` of the campaign, as a user types it, with a log of its own."""

    def __init__(self, folder, name, *arguments):
        self.folder, self.log = folder, folder / f"{name}.log"
        own = {"OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(folder), "PYTHONPATH": str(ROOT / "src")}
        self.environment = {**os.environ, **own, "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", str(CONFIG), *arguments]
        with self.log.open("w") as log:
            self.started = time.monotonic()
            self.process = subprocess.Popen(command, cwd=folder, env=self.environment, stdout=log, stderr=log)

    @property
    def elapsed_s(self):
        """Since its start."""
        return time.monotonic() - self.started

    @property
    def text(self):
        """Its log so far."""
        return self.log.read_text(encoding="utf-8")

    def jobs(self):
        """Jobs it started, each as often as it did."""
        found = Counter()
        for rule, body in JOB.findall(self.text):
            lines = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
            # An account of a failure names no reason.
            if "output" in lines and "reason" in lines:
                found[Job(rule, tuple(lines["output"].split(", ")), lines["log"])] += 1
        return found

    def finished(self):
        """How many jobs it has finished."""
        return self.text.count("\nFinished jobid: ")

    def kill(self):
        """SIGKILL it alone; its jobs live on. False where it had come to its end."""
        self.process.kill()
        code = self.process.wait()
        assert code in (0, -signal.SIGKILL), self.text[-4000:]
        return code != 0

    def end(self):
        """Wait for its end, which must be a good one."""
        code = self.process.wait(LIMIT_S)
        assert code == 0, f"snakemake ended with {code}:\n{self.text[-4000:]}"

    def recover(self):
        """`redoxmd recover`, as a user types it."""
        command = [sys.executable, "-c", "import sys; from redoxmd.cli import main; sys.exit(main())", "recover"]
        said = subprocess.run(
            [*command, str(CONFIG)], cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert said.returncode == 0, said.stdout + said.stderr


class Watcher(threading.Thread):
    """Looks at the jobs of a driver every few milliseconds, and kills the first of each script that has worked enough.

    Args:
        driver: whose jobs.
        limits_s: script → CPU time at which the first job that gets there is killed; a job that can go on from a state
            lives until it has one.
    """

    def __init__(self, driver, limits_s=None):
        super().__init__(daemon=True)
        self.driver, self.limits_s = driver, limits_s or {}
        self.rules = scripts_of_rules()
        self.finished_at = []
        self.cpu_s = {}
        self.killed_s = {}
        self.states = set()

    def run(self):
        while self.driver.process.poll() is None:
            for pid, path in jobs_below(self.driver.process.pid):
                with contextlib.suppress(OSError):
                    self._look(pid, path, cpu_s(pid))
            more = self.driver.finished() - len(self.finished_at)
            self.finished_at += [self.driver.elapsed_s] * more
            time.sleep(POLL_S)

    def _look(self, pid, path, used_s):
        script = SCRIPT.search(str(path))[1]
        self.cpu_s[script, pid] = used_s
        if script in self.killed_s or used_s < self.limits_s.get(script, float("inf")):
            return
        if NEEDS.get(self.rules[script], {}).get("goes_on") and state_of(_log(path)) not in states(self.driver.folder):
            return
        os.kill(pid, signal.SIGKILL)
        self.killed_s[script] = used_s
        self.states |= {(script, state) for state in states(self.driver.folder)}


def _log(path):
    """The log that a job's script names."""
    return re.search(rb"results/\w+/logs/[\w./-]+?\.log", path.read_bytes())[0].decode()


def jobs_below(pid):
    """(process, path of its script) of the jobs that a driver has running."""
    waiting = [pid]
    while waiting:
        process = waiting.pop()
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{process}/cmdline").read_text().split("\0")
            scripts = [Path(word) for word in words[1:] if SCRIPT.search(word)]
            if scripts and "python" in words[0]:
                yield process, scripts[0]
                continue
            for children in Path(f"/proc/{process}/task").glob("*/children"):
                waiting += [int(child) for child in children.read_text().split()]


def cpu_s(pid):
    """CPU time that a process has used."""
    values = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def scripts_of_rules():
    """Script → rule, of every rule that has one."""
    found, rule = {}, ""
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for line in path.read_text().splitlines():
            rule = match[1] if (match := re.match(r"(?:rule|checkpoint) (\w+):", line)) else rule
            if match := re.search(r"workflow/scripts/(\w+)\.py\"", line):
                found[match[1]] = rule
            if match := re.match(r"use rule (\w+) as (\w+) with:", line):
                found |= {name: name for name in match.groups()}
    return found


def finished_outputs(folder):
    """Outputs that Snakemake knows to be finished: with a record and without a marker."""
    metadata, incomplete = folder / ".snakemake/metadata", folder / ".snakemake/incomplete"
    records, markers = (
        {decoded_name(path, base) for path in base.rglob("*") if path.is_file() and path.name != "migration_underway"}
        for base in (metadata, incomplete)
    )
    return records - markers


def states(folder):
    """Jobs that have something to go on from: their folders below `state`."""
    base = folder / "results" / RUN / "state"
    # What counts is written last, behind the frames that it knows of.
    files = [path for pattern in ("*.npz", "*.pt") for path in base.rglob(pattern) if not path.name.startswith(".")]
    return {path.parent.relative_to(base).as_posix() for path in files}


def resumptions(folder, job):
    """How often a job's log says that it went on from a state."""
    log = folder / job.log
    return log.read_text(encoding="utf-8").count("resuming from") if log.exists() else 0


@contextlib.contextmanager
def locked(path):
    """One process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


class Undisturbed:
    """The campaign as nobody disturbs it, run once in a folder for all trials.

    Attributes:
        duration_s: from the driver's start to its end.
        finished_s: when each job finished.
        cpu_s: script → least CPU time of its jobs.
        jobs: all of them.
    """

    def __init__(self, base):
        self.folder, record = base / "undisturbed", base / "undisturbed.json"
        with locked(base / "lock"):
            if not record.exists():
                _write(record, self._run())
        known = json.loads(record.read_text())
        self.duration_s, self.finished_s, self.cpu_s = (known[key] for key in ("duration_s", "finished_s", "cpu_s"))
        self.jobs = {Job(rule, tuple(outputs), log) for rule, outputs, log in known["jobs"]}

    def _run(self):
        driver = Driver(repository(self.folder), "undisturbed")
        watcher = Watcher(driver)
        watcher.start()
        driver.end()
        duration_s = driver.elapsed_s
        watcher.join()
        least = {}
        for (script, _), used_s in watcher.cpu_s.items():
            least[script] = min(used_s, least.get(script, used_s))
        jobs = driver.jobs()
        assert set(jobs.values()) == {1}, jobs
        return {"duration_s": duration_s, "finished_s": watcher.finished_at, "cpu_s": least, "jobs": sorted(jobs)}


def source():
    """What the trials are of."""
    files = [ROOT / "Snakefile", ROOT / "config/resources.yaml", CONFIG, *sorted((ROOT / "rules").glob("*.smk"))]
    return code_hash([ROOT / "src", ROOT / "workflow/scripts", *files])


def wait_as_far_as(driver, done_before, seconds, undisturbed):
    """Wait until a campaign is as far as the undisturbed one was after so many seconds, however busy the machine is.

    That is: as many jobs have finished, and the time that had passed since then has passed again.
    """
    finished = [at for at in undisturbed.finished_s if at <= seconds]
    deadline = time.monotonic() + LIMIT_S
    while done_before + driver.finished() < len(finished) and driver.process.poll() is None:
        assert time.monotonic() < deadline, driver.text[-4000:]
        time.sleep(POLL_S)
    slowness = driver.elapsed_s / finished[-1] if finished and not done_before else 1.0
    with contextlib.suppress(subprocess.TimeoutExpired):
        driver.process.wait((seconds - (finished[-1] if finished else 0.0)) * max(slowness, 1.0))


def kill_driver(folder, name, times, rng, undisturbed):
    """Kill the driver of a campaign at each of some times, mend and start again, and look at what comes out.

    Returns None where the campaign ended before a kill.
    """
    trial = Trial(name)
    repository(folder)
    try:
        driver, started, able = Driver(folder, "driver0"), set(), {}
        for number, seconds in enumerate(times):
            wait_as_far_as(driver, trial.done, seconds, undisturbed)
            if not driver.kill():
                return None
            finished = _finished(folder, undisturbed)
            trial.kills.append(round(seconds, 2))
            trial.done = len(finished)
            _check_rerun(driver, undisturbed.jobs - started, trial, partly=True)
            started = finished
            interrupted = sorted(set(driver.jobs()) - finished)
            trial.interrupted += map(str, interrupted)
            time.sleep(rng.uniform(0.0, 3.0))
            trial.whole += [str(job) for job in interrupted if all((folder / name).exists() for name in job.outputs)]
            driver.recover()
            saved = states(folder)
            for job in interrupted:
                if job.state in saved:
                    able.setdefault(job, resumptions(folder, job))
            driver = Driver(folder, f"driver{number + 1}")
            if number + 1 < len(times):
                continue
            driver.end()
            _check_rerun(driver, undisturbed.jobs - finished, trial)
            _check_resumed(folder, able, trial)
        trial.rerun = sum(driver.jobs().values())
        trial.faults += differences(undisturbed.folder / "results" / RUN, folder / "results" / RUN)
        return trial
    finally:
        end_processes(folder)


def _finished(folder, undisturbed):
    outputs = finished_outputs(folder)
    return {job for job in undisturbed.jobs if outputs.issuperset(job.outputs)}


def _check_rerun(driver, expected, trial, partly=False):
    ran = driver.jobs()
    trial.faults += [f"{job}: ran {count} times" for job, count in sorted(ran.items()) if count > 1]
    trial.faults += [f"{job}: was finished, or is none of the campaign, and ran" for job in sorted(set(ran) - expected)]
    if not partly:
        trial.faults += [f"{job}: did not run" for job in sorted(expected - set(ran))]


def _check_resumed(folder, able, trial):
    for job, before in able.items():
        if resumptions(folder, job) > before:
            trial.resumed.append(str(job))
        else:
            trial.faults.append(f"{job}: had a state and began anew")


def kill_jobs(folder, rng, undisturbed, wanted):
    """Kill one job of each of some rules once, after a random part of its work; Snakemake starts them again.

    What killed writes leave beside the results is cleared away by `redoxmd recover` in the end.

    Returns:
        One trial for each rule that was hit, which the shortest may not be on a busy machine; `kills` is CPU time. What
        is wrong with the campaign stands in all.
    """
    rules = scripts_of_rules()
    limits_s = {
        script: rng.uniform(0.05, 0.75) * used_s
        for script, used_s in sorted(undisturbed.cpu_s.items())
        if rules[script] in wanted
    }
    try:
        driver = Driver(repository(folder), "driver", "--retries", "1")
        watcher = Watcher(driver, limits_s)
        watcher.start()
        driver.end()
        watcher.join()
        ran = driver.jobs()
        driver.recover()
    finally:
        end_processes(folder)
    common = differences(undisturbed.folder / "results" / RUN, folder / "results" / RUN)
    if set(ran) != undisturbed.jobs:
        common.append(f"other jobs than in the undisturbed run: {sorted(map(str, set(ran) ^ undisturbed.jobs))}")
    trials = []
    for script, used_s in sorted(watcher.killed_s.items()):
        again = [job for job, count in sorted(ran.items()) if job.rule == rules[script] for _ in range(count - 1)]
        trial = Trial(
            f"rule {rules[script]}", [round(used_s, 2)], interrupted=[str(job) for job in again], rerun=len(again)
        )
        if len(again) != 1:
            trial.faults.append(f"{len(again)} jobs ran again, for one was killed")
        able = {job: 0 for job in again if (script, job.state) in watcher.states}
        _check_resumed(folder, able, trial)
        trial.faults += common
        trials.append(trial)
    return trials


def end_processes(folder):
    """Kill what still works in a folder, after a trial that failed."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cwd() == str(folder.resolve()):
                process.kill()


def driver_trial(folder, number, undisturbed):
    """A kill of the driver at a seeded moment, uniform over the undisturbed run; drawn again where it came too late."""
    rng = random.Random(f"driver {number}")
    while True:
        times = [rng.uniform(0.0, undisturbed.duration_s)]
        trial = kill_driver(folder, f"driver {number:02d}", times, rng, undisturbed)
        if trial is not None:
            return trial
        shutil.rmtree(folder)


def _write(path, record):
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(record, indent=1))
    temporary.replace(path)


def keep(base, trial):
    """Record a trial."""
    _write(base / f"{trial.name.replace(' ', '_')}.json", asdict(trial))


def kept(base):
    """Trials recorded, by name."""
    found = [
        Trial(**json.loads(path.read_text())) for path in sorted(base.glob("*.json")) if path.stem != "undisturbed"
    ]
    return {trial.name: trial for trial in found}


def document(undisturbed, trials):
    """docs/kills.md."""
    drivers = [trial for name, trial in sorted(trials.items()) if name.startswith("driver")]
    rules = [trial for name, trial in sorted(trials.items()) if name.startswith("rule")]
    cuts, saved = sum(len(trial.interrupted) for trial in drivers), sum(len(trial.resumed) for trial in drivers)
    whole = sum(len(trial.whole) for trial in drivers)
    resumed = [trial for trial in rules if trial.resumed]
    equal = [sum(not trial.faults for trial in group) for group in (drivers, rules)]
    lines = [
        "# Killed campaigns",
        "",
        "This page reports a test of kills. A campaign of the toy engine with every rule, two generations and all "
        f"electrons (`tests/workflow/kills.yaml`, {len(undisturbed.jobs)} jobs) is killed with `kill -9`, cleaned up "
        "with `redoxmd recover`, and started again with the same command. Its datasets, models, trajectories, "
        "densities, charges, decisions, tables and figures are then compared bit for bit with those of an "
        "uninterrupted campaign, except the speed that a trajectory records. Only interrupted jobs may run again, and "
        "a job with a state must resume from it.",
        "",
        "```",
        ".venv/bin/python -m pytest -m slow tests/workflow/test_kills.py    # can be stopped and resumed",
        ".venv/bin/python -m tests.workflow.kills > docs/kills.md           # writes this page",
        "```",
        "",
        "## Kills of the driver",
        f"{equal[0]} of {len(drivers)} trials gave equal results. The times of the kills are random (seeded), uniform "
        f"over the {undisturbed.duration_s:.0f} s of the uninterrupted campaign. Only the driver is killed; its jobs "
        f"continue. Of {cuts} interrupted jobs, {saved} resumed from a state, and {whole} had already written all "
        "outputs, marked *whole*; Snakemake repeats these, because no driver recorded them.",
        "",
        "| trial | killed at (s) | jobs finished | interrupted | resumed from a state | jobs run afterwards | equal |",
        "|---|---|---|---|---|---|---|",
        *(_driver_row(trial) for trial in drivers),
        "",
        "## Kills of one job of every rule",
        f"{equal[1]} of {len(rules)} rules gave equal results. The first job of each rule is killed after a random "
        "part of its work; a job that can resume has written a state by then. Snakemake (`--retries 1`) starts this "
        f"job again and no other; {len(resumed)} jobs resumed from their states. `redoxmd recover` then removes the "
        "temporary files.",
        "",
        "| rule | killed after (s of CPU) | job | resumed from a state | equal |",
        "|---|---|---|---|---|",
        *(_rule_row(trial) for trial in rules),
    ]
    return "\n".join(lines) + "\n"


def _driver_row(trial):
    moment = ", ".join(f"{seconds:.1f}" for seconds in trial.kills)
    cut = [f"{job}{' (whole)' if job in trial.whole else ''}" for job in trial.interrupted]
    number = int(trial.name.split()[1])
    words = [number, moment, trial.done, _listed(cut), _listed(trial.resumed), trial.rerun, _verdict(trial)]
    return f"| {' | '.join(map(str, words))} |"


def _rule_row(trial):
    (used_s,) = trial.kills
    words = [trial.name.split()[1], used_s, _listed(trial.interrupted), "yes" if trial.resumed else "", _verdict(trial)]
    return f"| {' | '.join(map(str, words))} |"


def _listed(names):
    return ", ".join(names) or "–"


def _verdict(trial):
    return "; ".join(trial.faults) or "yes"


if __name__ == "__main__":
    sys.stdout.write(document(Undisturbed(KEPT / source()), kept(KEPT / source())))
