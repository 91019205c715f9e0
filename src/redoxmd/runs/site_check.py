"""Check before a run that a site accepts its jobs: `redoxmd check CONFIG --profile slurm`.

`sbatch --test-only` tests one job of each rule as the Snakemake plugin would submit it, and a short job checks a
compute node.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redoxmd.config import load_config
from redoxmd.errors import DataError
from redoxmd.files.records import read_json
from redoxmd.runs.changes import DryRunFailed, last_lines

SUBMITTED = re.compile(r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n)+)", re.MULTILINE)
NODE_WAIT_S = 120.0
# Pattern in the message of Slurm → remedy at the site.
REMEDIES = {
    r"account": "set slurm_account under default-resources",
    r"partition": "name the site's partitions in partitions.yaml (slurm-partition-config)",
    r"gres|gpu": "name the type of GPU for each rule that asks for one (set-resources: gpu_model)",
    r"time limit|walltime": "set resources: runtime to the longest walltime in minutes",
    r"memory|node configuration|cpu count|processors": "ask for less, or name nodes that have it, in set-resources",
    r"qos": "set slurm-qos",
}


def check_site(config_path: Path, profile: str) -> list[str]:
    """Problems of a run at a site, one line per problem however many jobs it affects; [] without problems.

    Raises:
        DataError: there is no such profile in this folder, or no Slurm on this machine.
        DryRunFailed: Snakemake refuses the config or the profile.
    """
    adapter = Path(profile) / "submissions.py"
    if not adapter.exists():
        raise DataError(
            f"--profile {profile}: no {adapter} in this folder; type the command in the repository's folder"
        )
    resources = _resources(config_path, profile)
    result = subprocess.run(
        [sys.executable, str(adapter), profile],
        input=json.dumps(resources),
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode:
        raise DataError(f"the profile {profile} cannot be used:\n{last_lines(result.stderr)}")
    answers: dict[str, dict[str, str]] = json.loads(result.stdout)
    refused: dict[str, list[str]] = {}
    for rule, answer in answers.items():
        message = answer.get("error") or _refusal(answer["command"])
        if message:
            refused.setdefault(message, []).append(rule)
    lines = [f"{', '.join(rules)}: {message}{_remedy_note(message)}" for message, rules in refused.items()]
    accepted = {
        rule: answer["command"] for rule, answer in answers.items() if not any(rule in r for r in refused.values())
    }
    return lines + [line for gpu in (False, True) for line in _node_problems(accepted, resources, gpu)]


def _resources(config_path: Path, profile: str) -> dict[str, dict[str, Any]]:
    """Resources that one job of each rule requests at the site, from a dry run of the whole run and one label."""
    run = load_config(config_path).run
    targets = ["all", f"results/{run}/label/gen0/g0f0.extxyz"]
    command = [sys.executable, "-m", "snakemake", "--dry-run", "--forceall", "--profile", profile]
    result = subprocess.run(
        [*command, "--configfile", str(config_path), "--", *targets],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )
    if result.returncode:
        raise DryRunFailed(f"snakemake --dry-run refuses:\n{last_lines(result.stderr + result.stdout)}")
    resources_of_rule: dict[str, dict[str, Any]] = {}
    for rule, body in SUBMITTED.findall(result.stdout + result.stderr):
        lines = dict(line.strip().split(": ", 1) for line in body.splitlines() if ": " in line)
        pairs = re.findall(r"(\w+)=(.*?)(?=, \w+=|$)", lines.get("resources", ""))
        requested = {name: int(value) if value.isdigit() else value for name, value in pairs}
        # Rules with the resource `local` run beside the driver and are not submitted.
        if "local" not in requested and rule not in ("all", "loop"):
            resources_of_rule.setdefault(rule, {**requested, "_cores": int(lines.get("threads", 1))})
    return resources_of_rule


def _refusal(command: str) -> str:
    """Reason why Slurm would refuse a submission; "" if it accepts it."""
    try:
        result = subprocess.run(
            [*shlex.split(command), "--test-only", "--wrap=true"],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    except FileNotFoundError as error:
        raise DataError("there is no sbatch on this machine; run the command where jobs are submitted") from error
    except subprocess.TimeoutExpired:
        return "sbatch does not answer within 120 s"
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    return "" if result.returncode == 0 else re.sub(r"^(sbatch: )?(error: )?", "", lines[-1] if lines else "refused")


def _remedy_note(message: str) -> str:
    remedy = next((remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, message, re.IGNORECASE)), "")
    return f" ({remedy}; docs/clusters.md)" if remedy else ""


def _node_problems(commands: Mapping[str, str], resources: Mapping[str, Mapping[str, Any]], gpu: bool) -> list[str]:
    """Problems of a compute node, found by a short job submitted like one of the run; [] without such a job."""
    rules = [rule for rule in commands if bool(resources[rule].get("gpu")) == gpu and not resources[rule].get("mpi")]
    if not rules:
        return []
    kind, report = ("GPU" if gpu else "CPU"), Path(f".snakemake/redoxmd/node-{'gpu' if gpu else 'cpu'}.json")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    words = shlex.join([sys.executable, "-m", "redoxmd.runs.node", str(report), *(["--gpu"] if gpu else [])])
    result = subprocess.run(
        [*shlex.split(commands[rules[0]]), "--time=5", f"--wrap={words}"], capture_output=True, text=True, check=False
    )
    if result.returncode:
        return [f"a {kind} node: the test job is refused: {last_lines(result.stderr).strip()}"]
    job = result.stdout.strip().split(";")[0]
    deadline = time.monotonic() + NODE_WAIT_S
    while not report.exists() and time.monotonic() < deadline:
        time.sleep(1.0)
    if not report.exists():
        subprocess.run(["scancel", job], capture_output=True, check=False)
        return [
            f"a {kind} node: the test job (Slurm job {job}) did not answer within {NODE_WAIT_S:.0f} s and "
            "was cancelled: the queue is long, or jobs cannot see this folder or this Python; try again"
        ]
    node_report = read_json(report)
    return [f"{kind} node {node_report['node']}: {line}" for line in node_report["problems"]]
