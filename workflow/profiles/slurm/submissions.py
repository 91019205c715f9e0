"""How the Slurm plugin would hand in a job of each rule: resources by rule as JSON on stdin, sbatch calls on stdout.

`python submissions.py PROFILE`; run by `redoxmd check --profile`. Each answer holds `command`, or `error` where the
plugin itself refuses.
"""

import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from snakemake.common import get_appdirs
from snakemake_executor_plugin_slurm.partitions import get_best_partition, read_partition_file
from snakemake_executor_plugin_slurm.submit_string import get_submit_command, safe_quote
from snakemake_executor_plugin_slurm.utils import set_gres_string
from snakemake_executor_plugin_slurm.validation import validate_slurm_extra
from snakemake_interface_common.exceptions import WorkflowError

from redoxmd.runs.profiles import merged_profile


class Resources(dict):
    """Resources as the plugin asks for them: by name, and as attributes."""

    __getattr__ = dict.__getitem__


def command(rule: str, resources: dict[str, Any], profile: dict[str, Any], partitions: list | None) -> str:
    """The sbatch call of a job, without what it runs."""
    asked = Resources(resources)
    job = SimpleNamespace(name=rule, resources=asked, threads=asked.get("_cores", 1), is_group=lambda: False)
    validate_slurm_extra(job)
    partition = asked.get("slurm_partition") or (partitions and get_best_partition(partitions, job, logging))
    account = asked.get("slurm_account")
    words = {
        "run_uuid": "redoxmd-check",
        "slurm_logfile": "/dev/null",
        "comment_str": "redoxmd-check",
        "account": f"-A {safe_quote(account)}" if account else "",
        "partition": f"-p {safe_quote(partition)}" if partition else "",
        "workdir": str(Path.cwd()),
    }
    options = {
        name: profile.get(f"slurm-{name.replace('_', '-')}") for name in ("requeue", "no_requeue", "qos", "reservation")
    }
    return get_submit_command(job, words, SimpleNamespace(**options)) + set_gres_string(job)


def main(name: str) -> None:
    """Answer for every rule."""
    folders = [get_appdirs().site_config_dir, get_appdirs().user_config_dir]
    profile = merged_profile(["snakemake", "--profile", name], os.environ, folders)
    file = profile.get("slurm-partition-config")
    partitions = read_partition_file(Path(file)) if file else None
    answers = {}
    for rule, resources in json.load(sys.stdin).items():
        try:
            answers[rule] = {"command": command(rule, resources, profile, partitions)}
        except WorkflowError as error:
            answers[rule] = {"error": " ".join(str(error).split())}
    json.dump(answers, sys.stdout)


if __name__ == "__main__":
    logging.disable(logging.CRITICAL)
    main(sys.argv[1])
