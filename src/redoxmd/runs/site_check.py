"""Check before a run that a site accepts its jobs: `redoxmd check CONFIG --profile slurm`.

`sbatch --test-only` tests one job of each rule as the Snakemake plugin would submit it, and a short job checks a
compute node: `python -m redoxmd.runs.site_check REPORT [--gpu]`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from redoxmd.config import load_config
from redoxmd.errors import DataError
from redoxmd.files.records import read_json, write_json
from redoxmd.runs.changes import described_jobs, dry_run, last_lines

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
    # A dry run of the whole run and of one label gives the resources of a job of each rule.
    label = f"results/{load_config(config_path).run}/label/gen0/g0f0.extxyz"
    resources: dict[str, dict[str, Any]] = {}
    for rule, lines in described_jobs(dry_run(config_path, "--forceall", "--profile", profile, "--", "all", label)):
        pairs = re.findall(r"(\w+)=(.*?)(?=, \w+=|$)", lines.get("resources", ""))
        requested = {name: int(value) if value.isdigit() else value for name, value in pairs}
        # Rules with the resource `local` run beside the driver and are not submitted.
        if "local" not in requested:
            resources.setdefault(rule, {**requested, "_cores": int(lines.get("threads", 1))})
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
    accepted = {}
    for rule, answer in answers.items():
        message = answer.get("error") or _refusal(answer["command"])
        if message:
            refused.setdefault(message, []).append(rule)
        else:
            accepted[rule] = answer["command"]
    problems = []
    for message, rules in refused.items():
        remedies = [remedy for pattern, remedy in REMEDIES.items() if re.search(pattern, message, re.IGNORECASE)]
        remedy = f" ({remedies[0]}; docs/clusters.md)" if remedies else ""
        problems.append(f"{', '.join(rules)}: {message}{remedy}")
    return problems + [line for gpu in (False, True) for line in _node_job_problems(accepted, resources, gpu)]


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


def _node_job_problems(commands: Mapping[str, str], resources: Mapping[str, Mapping[str, Any]], gpu: bool) -> list[str]:
    """Problems of a compute node, found by a short job submitted like one of the run; [] without such a job."""
    rules = [rule for rule in commands if bool(resources[rule].get("gpu")) == gpu and not resources[rule].get("mpi")]
    if not rules:
        return []
    kind, report = ("GPU" if gpu else "CPU"), Path(f".snakemake/redoxmd/node-{'gpu' if gpu else 'cpu'}.json")
    report.parent.mkdir(parents=True, exist_ok=True)
    report.unlink(missing_ok=True)
    words = shlex.join([sys.executable, "-m", "redoxmd.runs.site_check", str(report), *(["--gpu"] if gpu else [])])
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


def node_problems(folder: Path, gpu: bool) -> list[str]:
    """Requirements of jobs that this machine does not meet, one line each.

    Args:
        folder: folder on the file system of the results.
        gpu: whether this machine should have a GPU.
    """
    from redoxmd.model.fast import build

    problems = []
    if build.kernels() is None:
        problems.append(
            "no compiled kernels, the potential is about ten times slower: load a module with g++ before the command, "
            "or set CXX"
        )
    if not os.access(build.cache_folder(), os.W_OK) or "redoxmd-" in build.cache_folder().name:
        problems.append(
            "the home folder cannot be written, each job compiles its kernels: set XDG_CACHE_HOME to a folder that can"
        )
    if gpu:
        import torch

        if not torch.cuda.is_available():
            problems.append(
                "torch sees no GPU: install a CUDA build of torch (make env TORCH=…), or set resources: gpu: 0"
            )
    return problems


if __name__ == "__main__":
    report = Path(sys.argv[1])
    write_json(report, {"node": socket.gethostname(), "problems": node_problems(report.parent, "--gpu" in sys.argv)})
