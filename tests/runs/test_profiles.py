"""Profiles: what is local, what a site lays over ours, what Snakemake makes of both."""

import os
import re
import sys
from pathlib import Path

import pytest
import yaml
import yte

from redoxmd.runs import profiles
from redoxmd.runs.profiles import local_limits, merge_settings, runs_locally, site_settings, status_command
from tests.workflow.test_workflow import repository, snakemake

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "environ", "here"),
    [
        ("", {}, True),
        ("--cores 2 --configfile slurm.yaml", {}, True),
        ("--profile slurm", {}, False),
        ("--profile=slurm", {}, False),
        ("--executor lsf --jobs 5", {}, False),
        ("", {"SNAKEMAKE_PROFILE": "slurm"}, False),
    ],
)
def test_only_a_bare_start_is_limited_to_this_machine(arguments, environ, here):
    assert runs_locally(["snakemake", *arguments.split()], environ) is here


def test_a_mapping_is_completed_and_anything_else_replaced():
    ours = {"resources": {"gpu": 16, "runtime": 1440}, "jobs": 200, "partitions": ["a", "b"]}
    site = {"resources": {"gpu": 0, "runtime": None}, "partitions": ["c"], "more": 1}
    expected = {"resources": {"gpu": 0}, "jobs": 200, "partitions": ["c"], "more": 1}
    assert merge_settings(ours, site) == expected


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A repository's folder to stand in, and the folders of the system's and the user's profiles."""
    files = {
        "repository/slurm/config.yaml": {"jobs": 200, "default-resources": {"mem_mb": 1, "runtime": 2}},
        "system/slurm/profile.yaml": {"default-resources": {"slurm_account": "all"}, "latency-wait": 5},
        "user/slurm/config.yaml": {"jobs": 1},
        "user/slurm/config.v9+.yaml": {"default-resources": {"runtime": 3}, "slurm-partition-config": "mine.yaml"},
        "user/slurm/config.v99+.yaml": {"jobs": 99},
        "user/slurm/mine.yaml": {"partitions": {}},
        "user/lsf/config.yaml": {"executor": "lsf"},
    }
    for name, content in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    monkeypatch.chdir(tmp_path / "repository")
    return [str(tmp_path / "system"), str(tmp_path / "user")]


def test_a_site_lays_its_profile_over_ours(folders):
    expected = {
        "default-resources": {"mem_mb": 1, "runtime": 3, "slurm_account": "all"},
        "latency-wait": 5,
        "slurm-partition-config": str(Path(folders[1]) / "slurm/mine.yaml"),
    }
    assert site_settings(["snakemake", "--profile", "slurm"], {}, folders) == expected
    assert site_settings(["snakemake", "--profile=slurm"], {}, folders) == expected
    assert site_settings(["snakemake"], {"SNAKEMAKE_PROFILE": "slurm"}, folders) == expected


@pytest.mark.parametrize("name", ["lsf", "nothing", "./slurm"])
def test_a_profile_without_a_twin_here_is_left_alone(folders, name):
    assert site_settings(["snakemake", "--profile", name], {}, folders) == {}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("AccountingStorageType   = accounting_storage/slurmdbd", "sacct"),
        ("AccountingStorageType   = accounting_storage/none", "squeue"),
        ("", "squeue"),
    ],
)
def test_sacct_is_asked_only_where_there_are_accounts(tmp_path, monkeypatch, told, expected):
    scontrol = tmp_path / "scontrol"
    scontrol.write_text(f"#!/bin/sh\necho 'MinJobAge = 300 sec'\necho '{told}'\n")
    scontrol.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert status_command() == expected


def test_squeue_is_asked_where_slurm_does_not_answer(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert status_command() == "squeue"


def test_the_partitions_of_the_profile_are_what_its_plugin_reads(monkeypatch):
    from snakemake_executor_plugin_slurm.partitions import read_partition_file

    monkeypatch.chdir(ROOT)
    text = Path("slurm/config.yaml").read_text()
    profile = yte.process_yaml(text, require_use_yte=True)
    partitions = {part.name: part for part in read_partition_file(Path("slurm") / profile["slurm-partition-config"])}
    assert (partitions["cpu"].limits.max_gpu, partitions["gpu"].limits.max_gpu) == (0, 1)


def test_every_key_is_an_option_of_snakemake():
    """Of our profile and of the example in the docs; Snakemake itself lets most typos pass."""
    from snakemake.cli import get_argument_parser

    options = {name for action in get_argument_parser()._actions for name in action.option_strings}
    example = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/clusters.md").read_text(), re.DOTALL)[0]
    profile = yte.process_yaml((ROOT / "slurm/config.yaml").read_text(), require_use_yte=True)
    for settings in (profile, yaml.safe_load(example)):
        assert {f"--{key}" for key in settings} <= options
    rules = yaml.safe_load((ROOT / "config/resources.yaml").read_text())
    assert set(yaml.safe_load(example)["set-resources"]) <= set(rules)


@pytest.mark.parametrize(
    ("visible", "gpus"), [(None, 3), ("1", 1), ("2,0", 2), ("GPU-1f, GPU-2e", 2), ("0,-1,1", 1), ("-1", 0), ("", 0)]
)
def test_local_jobs_have_the_gpus_that_cuda_shows(tmp_path, monkeypatch, visible, gpus):
    """With three GPUs in the machine, as the driver lists them."""
    for number in range(3):
        (tmp_path / f"0000:{number}b:00.0").mkdir()
    monkeypatch.setattr(profiles, "GPU_FOLDER", tmp_path)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert local_limits()["gpu"] == gpus


@pytest.mark.workflow
def test_bare_snakemake_shares_this_machine(tmp_path):
    toy = ROOT / "tests/workflow/toy.yaml"
    target = "results/toy/structures/x3.000_random0_1x1x1.extxyz"
    folder = repository(tmp_path)
    result = snakemake(folder, "--configfile", str(toy), "--", target, python=sys.executable)
    assert result.returncode == 0, result.stderr[-2000:]
    assert (folder / target).exists()
    told = result.stdout + result.stderr
    assert f"Provided cores: {len(os.sched_getaffinity(0))}" in told
    given = {name: int(value) for name, value in re.findall(r'Resource\("(\w+)", (\d+)\)', told)}
    assert given == local_limits()


@pytest.mark.workflow
def test_a_vasp_job_asks_for_its_ranks(tmp_path):
    """Tasks of one core and memory per core for Slurm; cores and memory in all for whoever counts those."""
    config = ROOT / "config/nvp.yaml"
    target = "results/nvp/aimd/x3.000_random0_1x1x1/frames.extxyz"
    change = ["--config", "engine={name: vasp, vasp: {ranks: 6}}"]
    # A dry run counts no more cores than it is given.
    plan = ["-n", "--executor", "slurm", "--jobs", "9", "--cores", "8", "--configfile", str(config)]
    result = snakemake(repository(tmp_path), *plan, *change, "--", target)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    text = result.stdout + result.stderr
    (job,) = re.findall(r"rule aimd:\n((?:    .*\n)+)", text)
    assert "threads: 6" in job
    resources = dict(item.split("=", 1) for item in re.search(r"resources: (.*)", job)[1].split(", "))
    wanted = {
        "tasks": "6",
        "cpus_per_task": "1",
        "mem_mb_per_cpu": "3000",
        "mem_mb": "18000",
        "mpi": "srun",
        "runtime": "1440",
    }
    assert wanted.items() <= resources.items()


def test_the_recipe_for_gpus_with_types_names_every_rule_that_asks_for_one():
    text = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
    resources = yaml.safe_load((ROOT / "config/resources.yaml").read_text(encoding="utf-8"))
    named = set(re.findall(r"^  (\w+): \{gpu_model:", text, re.MULTILINE))
    assert named == {rule for rule, asked in resources.items() if asked["gpu"]}
