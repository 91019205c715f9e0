"""What the next start of a run would do, why, and what it costs in reference calculations: a dry run, digested."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from redoxmd.config.sections import Config
from redoxmd.errors import RedoxmdError

JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", re.MULTILINE)
PARAMETERS = re.compile(r"before: (.*?) now: (.*?)\s*$")
UNKNOWN_YET = "<TBD>"
BY_ANOTHER = "Input files updated by another job"


@dataclass
class PlannedJob:
    """A job of a dry run.

    Attributes:
        rule: its name.
        reason: Snakemake's.
        inputs: files it reads.
        outputs: files it makes.
        pending: whether it waits for a decision of the gate: it runs again only if that turns out differently.
    """

    rule: str
    reason: str
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    pending: bool = False

    @property
    def cause(self) -> bool:
        """Whether it runs for a reason of its own, not for a job before it."""
        return not self.reason.startswith(BY_ANOTHER)


class DryRunFailed(RedoxmdError):
    """Snakemake refused the dry run; the message holds its words."""


def dry_run(config: Path) -> str:
    """Snakemake's account of what it would do with a config in this folder.

    Raises:
        DryRunFailed: it refused.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", str(config)]
    environment = {**os.environ, "NO_COLOR": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise DryRunFailed(f"snakemake --dry-run refuses:\n{last_words(result.stderr + result.stdout)}")
    return result.stdout + result.stderr


def planned_jobs(text: str) -> list[PlannedJob]:
    """Jobs in the account of a dry run, without the target `all`, those that wait for the gate marked."""
    jobs = [_job(name, body) for name, body in JOB.findall(text) if name not in ("all", "loop")]
    unknown = {output for job in jobs if job.pending for output in job.outputs}
    grown = True
    while grown:
        grown = False
        for job in jobs:
            if not job.pending and not job.cause and _only_by(job, unknown, jobs):
                job.pending = grown = True
                unknown.update(job.outputs)
    return jobs


def _job(rule: str, body: str) -> PlannedJob:
    lines = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
    inputs, outputs = (lines.get(key, "").split(", ") for key in ("input", "output"))
    reason = lines.get("reason", "")
    pending = UNKNOWN_YET in inputs and reason.startswith(BY_ANOTHER)
    return PlannedJob(rule, reason, inputs, outputs, pending)


def _only_by(job: PlannedJob, unknown: set[str], jobs: Sequence[PlannedJob]) -> bool:
    """Whether all the planned files a job reads come from jobs that wait."""
    made = {output for other in jobs for output in other.outputs}
    read = set(job.inputs) & made
    return bool(read) and read <= unknown


def why(reason: str) -> str:
    """A reason in few words: for parameters, the keys that changed with their values before and now."""
    match = PARAMETERS.search(reason)
    if match is None:
        return re.sub(r"^(Missing output|Updated input|Incomplete output) files: .*", r"\1", reason).lower()
    try:
        before, now = (ast.literal_eval(f"[{text}]") for text in match.groups())
    except (ValueError, SyntaxError):
        return "parameters changed"
    return ", ".join(_differences(before, now)) or "parameters changed"


def _differences(before: Sequence[object], now: Sequence[object]) -> list[str]:
    pairs = [(a, b) for a in before for b in now if isinstance(a, dict) and isinstance(b, dict) and set(a) & set(b)]
    words = []
    for a, b in pairs:
        words += [f"{key} {a.get(key)} → {b.get(key)}" for key in {**a, **b} if a.get(key) != b.get(key)]
    if not pairs and len(before) == len(now) == 1:
        words.append(f"{before[0]} → {now[0]}")
    return words


def describe_changes(jobs: Sequence[PlannedJob], config: Config) -> str:
    """What would run, why, and the price, in words."""
    if not jobs:
        return "nothing would run: every result is up to date"
    sure = [job for job in jobs if not job.pending]
    lines = ["would run", *_counts(sure), "", "because"]
    reasons = Counter((job.rule, why(job.reason)) for job in sure if job.cause)
    lines += [f"  {rule}: {reason} ({count} jobs)" for (rule, reason), count in reasons.items()]
    if waiting := [job for job in jobs if job.pending]:
        lines += ["", "after the gate has decided, where its decision changes what they read", *_counts(waiting)]
    return "\n".join([*lines, "", "reference calculations", *_price(sure, config)])


def _counts(jobs: Sequence[PlannedJob]) -> list[str]:
    return [f"  {rule:20} {count:>6}" for rule, count in Counter(job.rule for job in jobs).items()]


def _price(jobs: Sequence[PlannedJob], config: Config) -> list[str]:
    counts = Counter(job.rule for job in jobs)
    steps = {"aimd": config.aimd.steps, "label": config.label.steps}
    lines = [
        f"  {rule}: {counts[rule]} jobs, {counts[rule] * each} steps" for rule, each in steps.items() if counts[rule]
    ]
    if counts["gate"]:
        budget = config.select.budget
        lines.append(
            f"  label: up to {budget} jobs, {budget * config.label.steps} steps for each generation the gate asks for"
        )
    return lines or ["  none"]


def last_words(text: str) -> str:
    """The last lines of what a program said, indented."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-8:])
