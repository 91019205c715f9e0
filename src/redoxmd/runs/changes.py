"""Summary of a dry run: jobs of the next start, their reasons and the number of reference calculations."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from redoxmd.config.sections import Config
from redoxmd.errors import RedoxmdError

JOB = re.compile(r"^(?:local)?(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", re.MULTILINE)
PARAMETERS = re.compile(r"before: (.*?) now: (.*?)\s*$")
UNDETERMINED_INPUT = "<TBD>"
UPDATED_BY_JOB = "Input files updated by another job"


@dataclass
class PlannedJob:
    """A job of a dry run, with the reason that Snakemake gives.

    A `pending` job depends on a decision of the gate: it runs again only if the decision changes.
    """

    rule: str
    reason: str
    inputs: list[str]
    outputs: list[str]
    pending: bool

    @property
    def has_own_reason(self) -> bool:
        """Whether it runs for a reason of its own, not because of an earlier job."""
        return not self.reason.startswith(UPDATED_BY_JOB)


class DryRunFailed(RedoxmdError):
    """Snakemake refused the dry run; the message contains its output."""


def dry_run(config: Path, *options: str) -> str:
    """Output of `snakemake --dry-run` for a config in the working directory.

    Raises:
        DryRunFailed: Snakemake refused.
    """
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--configfile", str(config), *options]
    environment = {**os.environ, "NO_COLOR": "1"}
    result = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if result.returncode:
        raise DryRunFailed(f"snakemake --dry-run refuses:\n{last_lines(result.stderr + result.stdout)}")
    return result.stdout + result.stderr


def described_jobs(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Rule and properties (input, output, reason, resources, …) of each job in a dry run; target rules are left out."""
    for rule, body in JOB.findall(text):
        if rule not in ("all", "loop"):
            yield rule, dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)


def planned_jobs(text: str) -> list[PlannedJob]:
    """Jobs in the output of a dry run, without target rules; jobs that depend on the gate are marked `pending`."""
    jobs = []
    for rule, lines in described_jobs(text):
        inputs, outputs = (lines.get(key, "").split(", ") for key in ("input", "output"))
        job = PlannedJob(rule, lines.get("reason", ""), inputs, outputs, pending=False)
        job.pending = UNDETERMINED_INPUT in inputs and not job.has_own_reason
        jobs.append(job)
    planned_outputs = {output for job in jobs for output in job.outputs}
    undetermined = {output for job in jobs if job.pending for output in job.outputs}
    changed = True
    while changed:
        changed = False
        for job in jobs:
            planned_inputs = planned_outputs & set(job.inputs)
            if not (job.pending or job.has_own_reason) and planned_inputs and planned_inputs <= undetermined:
                job.pending = changed = True
                undetermined.update(job.outputs)
    return jobs


def describe_reason(reason: str) -> str:
    """Short form of a reason; for parameters, the changed keys with their previous and present values."""
    match = PARAMETERS.search(reason)
    if match is None:
        return re.sub(r"^(Missing output|Updated input|Incomplete output) files: .*", r"\1", reason).lower()
    try:
        before, now = (ast.literal_eval(f"[{text}]") for text in match.groups())
    except (ValueError, SyntaxError):
        return "parameters changed"
    pairs = [(a, b) for a in before for b in now if isinstance(a, dict) and isinstance(b, dict) and set(a) & set(b)]
    differences = [
        f"{key} {a.get(key)} → {b.get(key)}" for a, b in pairs for key in {**a, **b} if a.get(key) != b.get(key)
    ]
    if not pairs and len(before) == len(now) == 1:
        differences = [f"{before[0]} → {now[0]}"]
    return ", ".join(differences) or "parameters changed"


def describe_changes(jobs: Sequence[PlannedJob], config: Config) -> str:
    """Text with the jobs that would run, their reasons and the number of reference calculations."""
    if not jobs:
        return "nothing would run: every result is up to date"
    certain = Counter(job.rule for job in jobs if not job.pending)
    waiting = Counter(job.rule for job in jobs if job.pending)
    reasons = Counter((job.rule, describe_reason(job.reason)) for job in jobs if job.has_own_reason)
    lines = ["would run", *(f"  {rule:20} {count:>6}" for rule, count in certain.items()), "", "because"]
    lines += [f"  {rule}: {reason} ({count} jobs)" for (rule, reason), count in reasons.items()]
    if waiting:
        lines += ["", "after the gate has decided, where its decision changes what they read"]
        lines += [f"  {rule:20} {count:>6}" for rule, count in waiting.items()]
    steps = {"aimd": config.aimd.steps, "label": config.label.steps}
    costs = [
        f"  {rule}: {certain[rule]} jobs, {certain[rule] * each} steps" for rule, each in steps.items() if certain[rule]
    ]
    if certain["neb_reference"]:
        costs.append(f"  neb_reference: {certain['neb_reference']} jobs, one calculation for each image")
    if certain["gate"]:
        labels = config.select.budget
        costs.append(
            f"  label: up to {labels} jobs, {labels * steps['label']} steps for each generation the gate asks for"
        )
    return "\n".join([*lines, "", "reference calculations", *(costs or ["  none"])])


def last_lines(text: str) -> str:
    """Last lines of the output of a program, indented."""
    lines = [line for line in text.splitlines() if line.strip()]
    return "\n".join(f"  {line}" for line in lines[-8:])
