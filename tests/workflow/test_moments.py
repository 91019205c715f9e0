"""Rules of the moment network: what they add to a run, what reruns after an edit, and their jobs on real files."""

import os
import shutil

import pandas as pd
import pytest
import yaml

from redoxmd.config import load_config
from redoxmd.runs.changes import planned_jobs
from redoxmd.runs.plan import make_plan
from tests.electrons.test_moments import write_labels, write_trajectory
from tests.workflow.finished import finished_campaign
from tests.workflow.test_workflow import ROOT, TOY, snakemake

pytestmark = pytest.mark.workflow

SIZE = {"features": 12, "layers": 1, "cutoff_A": 3.0, "radial_functions": 8, "learning_rate": 5.0e-3, "device": "cpu"}
MOMENTS = {"enabled": True, "folds": 2, "max_steps": 200, "validate_every": 50, "ema_decay": 0.9, **SIZE}
LEVELS = {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05}}}
NETWORK = {"moments", "moment_errors", "moment_check", "moment_agreement", "moment_network"}
TRAJECTORIES = 2


def written(path, moments, states="aware"):
    config = yaml.safe_load(TOY.read_text())
    config["electrons"] = {"levels": LEVELS, "fixed": {"Na": 1, "P": 5, "O": -2, "F": -1}, "moments": moments}
    config["train"] |= {"states": states, "validation_configurations": ["c1", "c5"]}
    config["production"] |= {"x": [2.5], "temperatures_K": [600, 900]}
    path.write_text(yaml.safe_dump(config))
    return path


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    folder = tmp_path_factory.mktemp("moments")
    return finished_campaign(folder / "run", written(folder / "config.yaml", MOMENTS))


def planned(folder, config):
    result = snakemake(folder, "--dry-run", "--configfile", str(config))
    assert result.returncode == 0, result.stderr[-3000:]
    jobs = planned_jobs(result.stdout + result.stderr)
    assert not any(job.pending for job in jobs)
    return {job.rule for job in jobs} - {"manifest", "first_page"}


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        ({}, set()),
        ({"enabled": False}, {"summary"}),
        ({"folds": 3}, {"moment_fold", "moment_errors", "moment_network", "summary"}),
        ({"max_steps": 300}, {*NETWORK, "moment_fold", "summary"}),
    ],
)
def test_an_edit_of_the_network_reruns_no_loop_and_no_md(campaign, tmp_path, edit, expected):
    assert planned(campaign, written(tmp_path / "config.yaml", MOMENTS | edit)) == expected


def test_settings_of_a_network_that_is_not_enabled_mean_nothing(campaign, tmp_path):
    """The summary is that of a run without the network in both cases."""
    for moments in ({"enabled": False}, {**MOMENTS, "enabled": False, "max_steps": 7, "folds": 4}):
        assert planned(campaign, written(tmp_path / "config.yaml", moments)) == {"summary"}


def test_jobs_are_those_of_the_plan(campaign, tmp_path):
    config = written(tmp_path / "config.yaml", MOMENTS | {"max_steps": 300})
    result = snakemake(campaign, "--dry-run", "--configfile", str(config))
    moments = [job for job in planned_jobs(result.stdout) if job.rule.startswith("moment")]
    # Network, folds, errors, checks, their table; the figure is counted with the figures.
    assert len(moments) == 1 + 2 + 1 + TRAJECTORIES + 1 + 1
    assert make_plan(load_config(config), ROOT).jobs["electrons: moments"] == len(moments) - 1
    blind = written(tmp_path / "blind.yaml", MOMENTS, states="blind")
    assert make_plan(load_config(blind), ROOT).jobs["electrons: moments"] == 1 + 2 + 1


def test_their_jobs_run_behind_a_finished_loop(campaign, tmp_path):
    """Planted data set and trajectories; everything else of the campaign is empty files."""
    folder = tmp_path / "run"
    shutil.copytree(campaign, folder, symlinks=True)
    results = folder / "results/toy"
    then = (results / "train/gen1/dataset.extxyz").stat().st_mtime
    shutil.rmtree(results / "electrons")
    write_labels(results / "train/gen1")
    orders, states = [(3, 3, 4), (3, 4, 3), (3, 4, 3)], [(3, 3, 4), (3, 4, 3), (4, 3, 3)]
    trajectories = sorted((results / "production").glob("*.h5"))
    assert len(trajectories) == TRAJECTORIES
    for path in trajectories:
        write_trajectory(path, orders, states)
    for file in (*(results / "train/gen1").iterdir(), *trajectories):
        os.utime(file, (then, then))
    config = written(tmp_path / "config.yaml", MOMENTS)
    targets = [f"results/toy/electrons/{name}.csv" for name in ("moment_errors", "moment_agreement")]
    figure = "results/toy/figures/moment_network.csv"
    (folder / figure).unlink()
    arguments = ["--rerun-triggers", "input", "--cores", "1", "--configfile", str(config), "--"]
    done = snakemake(folder, *arguments, *targets, figure)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    errors, agreement = (pd.read_csv(folder / target) for target in targets)
    assert set(errors["set"]) == {"train", "validation", "test", "left_out"}
    test = errors[(errors["set"] == "test") & errors["choice"]]
    assert (test["atoms_network"] == test["n_atoms"]).all() and len(test) == 2
    assert errors.loc[errors["set"] == "left_out", "n_atoms"].sum() == 6 * 3 * 3
    assert agreement["atoms_share"].tolist() == pytest.approx([7 / 9] * TRAJECTORIES, abs=1e-5)
    assert agreement["frames_share"].tolist() == pytest.approx([2 / 3] * TRAJECTORIES, abs=1e-5)
    assert (folder / figure).with_suffix(".pdf").stat().st_size > 1000
    assert not (results / "state/electrons").exists() or not list((results / "state/electrons").iterdir())
