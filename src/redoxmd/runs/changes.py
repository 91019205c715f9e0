"""Summary of a dry run: jobs of the next start, their reasons and the number of reference calculations."""

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
UNDETERMINED_INPUT = "<TBD>"
UPDATED_BY_JOB = "Input files updated by another job"


@dataclass
class PlannedJob:
    """A job of a dry run.

    Attributes:
        rule: name of the rule.
        reason: reason that Snakemake gives.
        inputs: input files.
        outputs: output files.
        pending: whether it depends on a decision of the gate; it runs again only if the decision changes.
    """

    rule: str
    reason: str
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    pending: bool = False

    @property
    def has_own_reason(self) -> bool:
        """Whether it runs for a reason of its own, not because of an earlier job."""
        return not self.reason.startswith(UPDATED_BY_JOB)


class DryRunFailed(RedoxmdError):
    """Snakemake refused the dry run; the message contains its output."""


def dry_run(config: Path) -> str:
    """Output of `snakemake --dry-run` for a config in the working directory.

    Raises:
        DryRunFailed: Snakemake refused.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", str(config)]
    environment = {**os.environ, "NO_COLOR": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise DryRunFailed(f"snakemake --dry-run refuses:\n{last_lines(result.stderr + result.stdout)}")
    return result.stdout + result.stderr


def planned_jobs(text: str) -> list[PlannedJob]:
    """Jobs in the output of a dry run, without target rules; jobs that depend on the gate are marked `pending`."""
    jobs = [_job(name, body) for name, body in JOB.findall(text) if name not in ("all", "loop")]
    undetermined = {output for job in jobs if job.pending for output in job.outputs}
    changed = True
    while changed:
        changed = False
        for job in jobs:
            if not job.pending and not job.has_own_reason and _depends_only_on(job, undetermined, jobs):
                job.pending = changed = True
                undetermined.update(job.outputs)
    return jobs


def _job(rule: str, body: str) -> PlannedJob:
    lines = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
    inputs, outputs = (lines.get(key, "").split(", ") for key in ("input", "output"))
    reason = lines.get("reason", "")
    pending = UNDETERMINED_INPUT in inputs and reason.startswith(UPDATED_BY_JOB)
    return PlannedJob(rule, reason, inputs, outputs, pending)


def _depends_only_on(job: PlannedJob, undetermined: set[str], jobs: Sequence[PlannedJob]) -> bool:
    """Whether all planned inputs of a job are undetermined outputs."""
    planned_outputs = {output for planned in jobs for output in planned.outputs}
    planned_inputs = set(job.inputs) & planned_outputs
    return bool(planned_inputs) and planned_inputs <= undetermined


def describe_reason(reason: str) -> str:
    """Short form of a reason; for parameters, the changed keys with their previous and present values."""
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
    differences = []
    for a, b in pairs:
        differences += [f"{key} {a.get(key)} → {b.get(key)}" for key in {**a, **b} if a.get(key) != b.get(key)]
    if not pairs and len(before) == len(now) == 1:
        differences.append(f"{before[0]} → {now[0]}")
    return differences


def describe_changes(jobs: Sequence[PlannedJob], config: Config) -> str:
    """Text with the jobs that would run, their reasons and the number of reference calculations."""
    if not jobs:
        return "nothing would run: every result is up to date"
    certain = [job for job in jobs if not job.pending]
    lines = ["would run", *_counts(certain), "", "because"]
    reasons = Counter((job.rule, describe_reason(job.reason)) for job in certain if job.has_own_reason)
    lines += [f"  {rule}: {reason} ({count} jobs)" for (rule, reason), count in reasons.items()]
    if waiting := [job for job in jobs if job.pending]:
        lines += ["", "after the gate has decided, where its decision changes what they read", *_counts(waiting)]
    return "\n".join([*lines, "", "reference calculations", *_reference_cost(certain, config)])


def _counts(jobs: Sequence[PlannedJob]) -> list[str]:
    return [f"  {rule:20} {count:>6}" for rule, count in Counter(job.rule for job in jobs).items()]


def _reference_cost(jobs: Sequence[PlannedJob], config: Config) -> list[str]:
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


def last_lines(text: str) -> str:
    """Last lines of the output of a program, indented."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-8:])
