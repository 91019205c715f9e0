"""A run with potentials that are given instead of trained: a second campaign behind the finished toy campaign."""

import hashlib
import json
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

from redoxmd.config import load_config, parse_config
from redoxmd.engines import settings_hash
from redoxmd.errors import ConfigError
from redoxmd.files.frames import read_frames
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble, load_ensemble, save_ensemble
from redoxmd.model.painn import Painn
from redoxmd.runs.changes import planned_jobs
from redoxmd.runs.mixing import refuse_mixing
from redoxmd.runs.plan import make_plan
from redoxmd.runs.status import describe_status
from tests.model.test_ensemble import members
from tests.workflow.test_workflow import TOY, repository, snakemake

pytestmark = pytest.mark.workflow
TEST = "x3.000_random1_1x1x1"


@pytest.fixture(scope="module")
def given_run(toy_campaign, tmp_path_factory):
    """Folder of the second run, and the rules that its whole plan has."""
    folder = repository(tmp_path_factory.mktemp("given") / "run")
    _, results, _ = toy_campaign
    last = max(results.glob("train/gen*"), key=lambda path: int(path.name.removeprefix("gen")))
    (folder / "old").mkdir()
    shutil.copy(last / "ensemble.pt", folder / "old/ensemble.pt")
    shutil.copy(results / "density/model.pt", folder / "old/density.pt")
    names = [f"{name}.extxyz" for name in ("x2.500_random1_1x1x1", "x2.000_random0_1x1x1", TEST)]
    for name in names:
        shutil.copy(results / "aimd" / name.removesuffix(".extxyz") / "frames.extxyz", folder / "old" / name)
    stores = [results / f"aimd/{name.removesuffix('.extxyz')}/densities.h5" for name in names]
    for store in stores:
        shutil.copy(store, folder / "old" / f"{store.parent.name}.h5")
    files = sorted(path for path in (folder / "old").iterdir() if path.suffix != ".pt")
    card = {"engine": "toy", "settings_hash": settings_hash(load_config(TOY).engine)}
    card["files"] = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    (folder / "old/dataset.yaml").write_text(yaml.safe_dump(card))
    config = yaml.safe_load(TOY.read_text()) | {"run": "given"}
    config["train"] |= {"ensemble": "old/ensemble.pt", "datasets": ["old"], "folds": 0}
    config["density"]["model"] = "old/density.pt"
    config["production"] |= {"x": [2.5], "temperatures_K": [900], "length_ps": 0.2}
    (folder / "given.yaml").write_text(yaml.safe_dump(config))
    plan = snakemake(folder, "--dry-run", "--configfile", "given.yaml")
    assert plan.returncode == 0, plan.stderr[-4000:]
    targets = [
        f"results/given/{name}" for name in ("summary.html", "charges/redox.csv", "figures/paper_comparison.csv")
    ]
    done = snakemake(folder, "--cores", "2", "--configfile", "given.yaml", "--", *targets)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return folder, {job.rule for job in planned_jobs(plan.stdout)}


def test_nothing_is_trained_explored_or_labelled(given_run):
    folder, planned = given_run
    results = folder / "results/given"
    assert {"dataset", "ensemble", "production", "charges", "first_page", "fig3a_errors", "manifest"} <= planned
    assert not planned & {"aimd", "train", "explore", "select", "gate", "label", "gate_timeline"}
    assert not [name for name in ("aimd", "explore", "gate", "label") if (results / name).exists()]
    plan = make_plan(load_config(folder / "given.yaml"), folder)
    assert plan.problems == [] and set(plan.reference_calls.values()) == {0}
    assert not [job for job in plan.jobs if "generation" in job]


def test_errors_are_those_of_the_ensemble_that_was_given(given_run):
    """Mean errors on the test frames by hand, with the ASE calculator."""
    folder, _ = given_run
    calculator = EnsembleCalculator(load_ensemble(folder / "old/ensemble.pt", "cpu"))
    forces, energies = [], []
    for frame in read_frames(folder / f"old/{TEST}.extxyz"):
        free = frame.copy()
        free.calc = calculator
        forces.append(np.abs(free.get_forces() - frame.get_forces()).mean())
        energies.append(abs(free.get_potential_energy() - frame.get_potential_energy()) / len(frame))
    summary = json.loads((folder / "results/given/summary.json").read_text())
    (row,) = [row for row in summary["errors"] if row["set"] == "test"]
    assert row["force_mae_eV_A"] == pytest.approx(np.mean(forces), rel=1e-4)
    assert row["energy_mae_meV_atom"] == pytest.approx(1000 * np.mean(energies), rel=1e-3)
    assert summary["generations"] == []
    curve = pd.read_csv(folder / "results/given/figures/learning_curve.csv")
    assert set(curve["generation"]) == {0} and set(curve["kind"]) == {"errors"}


def test_the_members_are_unchanged_and_production_and_charges_exist(given_run):
    folder, _ = given_run
    results = folder / "results/given"
    before, after = (
        load_ensemble(path, "cpu") for path in (folder / "old/ensemble.pt", results / "train/gen0/ensemble.pt")
    )
    assert after.calibration == before.calibration
    for one, other in zip(before.members, after.members, strict=True):
        assert all((one.state_dict()[key] == value).all() for key, value in other.state_dict().items())
    assert len(list((results / "production").glob("*.h5"))) == 1 and (results / "charges/redox.csv").exists()


def test_page_and_status_say_that_the_ensemble_was_given(given_run):
    folder, _ = given_run
    page = (folder / "results/given/summary.html").read_text()
    assert "the ensemble old/ensemble.pt was given" in page and "0 generations" not in page
    assert "whether the given ensemble was trained on them is unknown" in page and "not used in training" not in page
    comparison = pd.read_csv(folder / "results/given/figures/paper_comparison.csv")
    assert comparison.iloc[0].astype(str).str.contains("the ensemble was given").any()
    status = describe_status(folder / "results/given", load_config(folder / "given.yaml"))
    assert "ensemble old/ensemble.pt, errors on train.datasets" in status and "aimd" not in status


def test_what_cannot_be_is_refused_before_anything_runs(given_run, tmp_path):
    folder, _ = given_run
    config = yaml.safe_load((folder / "given.yaml").read_text())

    def problems(**train):
        path = tmp_path / "config.yaml"
        levels = {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}
        path.write_text(
            yaml.safe_dump({**config, "electrons": {"levels": levels}, "train": {**config["train"], **train}})
        )
        return " ".join(make_plan(load_config(path), folder).problems)

    assert "none.pt" in problems(ensemble="none.pt")
    assert "needs train.states: blind, the config has aware" in problems(states="aware")
    save_ensemble(tmp_path / "one.pt", Ensemble(members(1)))
    assert "one member has no spread" in problems(ensemble=str(tmp_path / "one.pt"))
    lithium = [Painn([3, 8], 8, 1, 4.0, 5) for _ in range(2)]
    save_ensemble(tmp_path / "other.pt", Ensemble(lithium))
    assert "it does not know Na, P, V" in problems(ensemble=str(tmp_path / "other.pt"))
    assert "name the data on which its errors are measured" in problems(datasets=[], test_configurations=[])


def test_a_run_with_generations_is_not_given_an_ensemble(toy_campaign):
    results = toy_campaign[1]
    config = yaml.safe_load(TOY.read_text())
    config["train"] |= {"ensemble": "old/ensemble.pt", "folds": 0}
    with pytest.raises(ConfigError, match=r"gate/gen0\.json is of a loop.*set another run name"):
        refuse_mixing(results, parse_config(config))
