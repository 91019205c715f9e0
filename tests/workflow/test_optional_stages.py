"""The DAG with stages that a config may ask for, and without."""

import json
import os
import re
import shutil
from collections import Counter

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from ase.calculators.lj import LennardJones
from ase.io import read

from redoxmd.config import load_config, parse_config
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import write_json
from redoxmd.model.ensemble import Ensemble, save_ensemble
from redoxmd.runs.changes import planned_jobs
from redoxmd.runs.plan import make_plan
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from redoxmd.train.trainer import load_member
from tests.model.test_ensemble import members
from tests.workflow.test_workflow import ROOT, TOY, repository, snakemake

pytestmark = pytest.mark.workflow
PATH = {"name": "hop", "x": 2.5, "moves": [["Na2:0", "Na2:5"]]}


def planned(folder, **sections):
    folder.mkdir()
    config = folder / "config.yaml"
    config.write_text(yaml.safe_dump({**yaml.safe_load(TOY.read_text()), **sections}))
    result = snakemake(repository(folder / "run"), "--dry-run", "--configfile", str(config))
    assert result.returncode == 0, result.stderr[-3000:]
    return {(job.rule, *sorted(job.inputs), *sorted(job.outputs)) for job in planned_jobs(result.stdout)}


@pytest.fixture(scope="module")
def before(tmp_path_factory):
    return planned(tmp_path_factory.mktemp("dag") / "without")


def test_not_asked_for_they_are_not_there(before):
    assert {job[0] for job in before} & {
        "basins",
        "neb",
        "neb_reference",
        "neb_profiles",
        "fig4_neb",
        "pretrain",
    } == set()


def test_trajectories_of_a_device_are_made_several_to_a_job_that_declares_them_all(before, tmp_path):
    compute, grid = {"md": "device", "batch": 2}, {**yaml.safe_load(TOY.read_text())["production"], "x": [2.5]}
    after = planned(tmp_path / "with", compute=compute, production=grid)
    batches = {job[0]: [file for file in job if file.endswith(".h5")] for job in after if "production" in job[0]}
    assert {name: len(files) for name, files in batches.items()} == {"production_batch0": 2, "production_batch1": 1}
    alone = {job[-1] for job in before if job[0] == "production" and "x2.500" in job[-1]}
    assert {file for files in batches.values() for file in files} == alone
    # Everything behind them is as it was.
    assert {job for job in after if job[0] == "jumps"} == {
        job for job in before if job[0] == "jumps" and any("x2.500" in file for file in job)
    }
    path = tmp_path / "with/config.yaml"
    assert make_plan(load_config(path), ROOT).jobs["production"] == 2


def test_basins_stand_between_structures_and_production_and_change_nothing_else(before, tmp_path):
    after = planned(tmp_path / "with", basins={"enabled": True})
    added, gone = after - before, before - after
    assert sum(job[0] == "basins" for job in added) == 2
    compared = {"paper_comparison", "manifest"}
    assert {job[0] for job in added} == {"basins", "production", "orderings"} | compared
    assert {job[0] for job in gone} == {"production"} | compared
    for job in added:
        if job[0] not in ("basins", "production"):
            continue
        source = "structures" if job[0] == "basins" else "basins"
        assert any(f"results/toy/{source}/" in file for file in job[1:])
    for job in gone:
        assert job[0] in compared or any("results/toy/structures/" in file for file in job[1:])


def test_another_cell_brings_its_trajectories_and_figure_and_changes_no_average(before, tmp_path):
    grid = yaml.safe_load(TOY.read_text())["production"]
    more = [{"x": [3.0], "temperatures_K": [900], "supercell": [1, 1, 2], "length_ps": 0.2}]
    after = planned(tmp_path / "with", production={**grid, "more": more})
    names = [job[0] for job in after - before]
    assert {"structure", "production", "jumps", "cell_sizes"} <= set(names)
    assert names.count("production") == names.count("jumps") == 1
    assert "diffusion" not in names and not {"diffusion", "production"} & {job[0] for job in before - after}


def test_levels_judge_the_densities_and_states_of_the_md_are_checked_in_the_summary(before, tmp_path):
    levels = {"levels": {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}}
    after = planned(tmp_path / "levels", electrons=levels)
    left_out = "results/toy/density/left_out.json"
    assert {job[0] for job in after if left_out in job} == {"density_dataset"}
    assert not any(left_out in job for job in before)
    # The redox table is an input of the summary only where its states are those of the MD.
    config = yaml.safe_load(TOY.read_text())
    aware = planned(tmp_path / "aware", electrons=levels, train={**config["train"], "states": "aware"})
    redox = [{job[0] for job in jobs if "results/toy/charges/redox.csv" in job[1:]} for jobs in (before, after, aware)]
    assert redox[0] == redox[1] and redox[2] == redox[1] | {"summary"}


def test_a_teacher_stands_before_the_training_of_generation_0_and_changes_nothing_else(before, tmp_path):
    starts = [{"x": 2.0, "seeds": [5, 6]}, {"x": 3.0, "seeds": [7]}]
    teacher = {"potential": "tests.teacher.ToyTeacher", "starts": starts, "steps": 5}
    assert planned(tmp_path / "off", pretrain=teacher) == before
    asked = teacher | {"enabled": True}
    train = yaml.safe_load(TOY.read_text())["train"] | {"batch_size": 4}
    for replay in (0, 0.25):
        after = planned(tmp_path / f"with{replay}", pretrain=asked, train=train | {"replay": replay})
        added, gone = after - before, before - after
        counts = {"structure": 3, "pretrain_frames": 3, "pretrain": 3, "train": 3, "fold": 2}
        counts |= {"pretrain_errors": 1, "learning_curve": 1}
        assert Counter(job[0] for job in added) == counts
        assert Counter(job[0] for job in gone) == {"train": 3, "fold": 2, "learning_curve": 1}
        trained = (1, 3 if replay else 0)
        expected = {
            "train": trained,
            "fold": trained,
            "pretrain": (1, 3),
            "pretrain_frames": (0, 1),
            "pretrain_errors": (3, 0),
            "structure": (0, 0),
            "learning_curve": (0, 0),
        }
        for job in added:
            member = [file for file in job[1:] if re.search(r"pretrain/member\d\.pt", file)]
            labels = [file for file in job[1:] if "/pretrain/x" in file]
            assert (len(member), len(labels)) == expected[job[0]], job


def test_generation_0_starts_from_members_trained_on_labels_of_the_teacher(tmp_path):
    """Through Snakemake: labels are those of the calculator called directly, records name it; nothing runs twice."""
    folder = repository(tmp_path / "run")
    config = yaml.safe_load(TOY.read_text())
    config["engine"]["toy"]["refuse_fraction"] = 0.0
    config["aimd"] |= {"starts": [{"x": 2.5, "seeds": [1]}], "steps": 6}
    config["train"] |= {"members": config["train"]["members"][:2], "test_configurations": [], "max_steps": 4}
    config["train"] |= {"replay": 0.5, "validate_every": 2}
    teacher = {"enabled": True, "potential": "ase.calculators.lj.LennardJones", "steps": 4, "frame_every": 2}
    teacher |= {"keywords": {"sigma": 1.2, "rc": 4.0, "epsilon": 0.01}, "starts": [{"x": 2.5, "seeds": [1, 2]}]}
    config["pretrain"] = teacher | {"rattled": 2, "max_steps": 4}
    results, target = folder / "results/toy", "results/toy/train/gen0/ensemble.json"

    def rules_run():
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        done = snakemake(folder, "--cores", "1", "--configfile", str(tmp_path / "config.yaml"), "--", target)
        assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
        return Counter(re.findall(r"^(?:local)?rule (\w+):", done.stderr, re.MULTILINE))

    once = {"aimd": 1, "dataset": 1, "ensemble": 1}
    assert rules_run() == once | {"structure": 2, "pretrain_frames": 2, "pretrain": 2, "train": 2}
    for seed in (1, 2):
        frames = read_frames(results / f"pretrain/x2.500_random{seed}_1x1x1.extxyz")
        assert len(frames) == 5
        for frame in frames:
            again = frame.copy()
            again.calc = LennardJones(**teacher["keywords"])
            assert frame.get_potential_energy() == pytest.approx(again.get_potential_energy(), abs=1e-5)
            np.testing.assert_allclose(frame.get_forces(), again.get_forces(), atol=1e-5)
    records = [json.loads((results / f"train/gen0/{name}.json").read_text()) for name in ("dataset", "ensemble")]
    assert [record["teacher"] for record in records] == [teacher["potential"]] * 2
    assert not any("engine=" in line and "teacher" in line for line in (results / "train/gen0/dataset.extxyz").open())
    # Its labels are kept while they fit: other steps of training leave them, another teacher does not.
    config["pretrain"]["max_steps"] = 6
    assert rules_run() == {"pretrain": 2, "train": 2, "ensemble": 1}
    config["pretrain"]["keywords"]["epsilon"] = 0.02
    assert rules_run() == {"pretrain_frames": 2, "pretrain": 2, "train": 2, "ensemble": 1}
    assert rules_run() == {}
    # The folder of that pretraining serves another run: nothing of it is repeated, and the weights are the same.
    before = [load_member(results / f"train/gen0/member{number}.pt")[0].state_dict() for number in (0, 1)]
    (results / "pretrain").rename(folder / "earlier")
    config["pretrain"]["members"] = "earlier"
    assert rules_run() == {"train": 2, "ensemble": 1}
    for number, weights in enumerate(before):
        after = load_member(results / f"train/gen0/member{number}.pt")[0].state_dict()
        assert all(torch.equal(after[name], value) for name, value in weights.items())


@pytest.mark.parametrize("reference", [True, False])
def test_paths_bring_their_bands_and_figure_and_change_nothing_else(before, tmp_path, reference):
    after = planned(tmp_path / "with", neb={"paths": [PATH, {**PATH, "name": "other"}], "reference": reference})
    added, gone = after - before, before - after
    counts = {"neb": 2, "neb_reference": 2, "neb_profiles": 1, "fig4_neb": 1, "manifest": 1}
    if not reference:
        del counts["neb_reference"]
    assert {rule: sum(job[0] == rule for job in added) for rule in {job[0] for job in added}} == counts
    assert {job[0] for job in gone} == {"manifest"}


def test_a_path_of_an_event_waits_for_production_and_changes_nothing_else(before, tmp_path):
    named = {"name": "third", "event": {"x": 2.5, "temperature_K": 900, "number": 2}}
    after = planned(tmp_path / "with", neb={"paths": [PATH, {"name": "seen", "event": "auto"}, named]})
    added, gone = after - before, before - after
    counts = {"neb": 3, "neb_event": 2, "neb_reference": 3, "neb_profiles": 1, "fig4_neb": 1, "manifest": 1}
    assert {rule: sum(job[0] == rule for job in added) for rule in {job[0] for job in added}} == counts
    assert {job[0] for job in gone} == {"manifest"}
    looked_at = {
        job[-1].split("/")[-1]: sum(".h5" in file for file in job[1:]) for job in added if job[0] == "neb_event"
    }
    assert looked_at == {"seen.event.json": 6, "third.event.json": 1}


def test_paths_found_in_each_generation_feed_select_and_gate_and_change_nothing_else(before, tmp_path):
    paths = [PATH, {"name": "seen", "event": "auto"}]
    asked = {"neb": {"paths": paths, "train_phases": ["small"]}}
    off = planned(tmp_path / "off", neb={"paths": paths})
    after = planned(tmp_path / "with", **asked)
    added, gone = after - off, off - after
    # A dry run sees the first generation; the path of an event has none.
    assert sorted(job[0] for job in added) == ["gate", "neb_explore", "select"]
    assert sorted(job[0] for job in gone) == ["gate", "select"]
    by_rule = {job[0]: job[1:] for job in added}
    assert "results/toy/neb/gen0/hop.candidates.extxyz" in by_rule["select"]
    assert "results/toy/neb/gen0/hop.json" in by_rule["gate"]
    assert "results/toy/train/gen0/ensemble.pt" in by_rule["neb_explore"]
    other = planned(tmp_path / "large", neb={"paths": paths, "train_phases": ["large"]})
    assert other == off


def test_candidates_of_a_path_pass_through_files_into_the_selection(finished_toy, tmp_path):
    """Images that this ensemble is unsure about, written by `neb_explore`, read and chosen among by `select`."""
    folder = shutil.copytree(finished_toy, tmp_path / "run", symlinks=True)
    results = folder / "results/toy"
    config = yaml.safe_load(TOY.read_text())
    config["explore"] |= {"low_eV_A": 1e-9, "high_eV_A": 1e9, "min_distance_fraction": 0.1, "keep_labelled": False}
    config["neb"] = {"paths": [PATH], "images": 5, "force_tolerance_eV_A": 30.0, "train_phases": ["small"]}
    config["select"]["budget"] = 3
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    name = "x2.500_preferred0_1x1x1"
    write_frames(
        results / f"structures/{name}.extxyz",
        [build_structure(parse_name(name), parse_config(config).structures, config["seed"])],
    )
    save_ensemble(results / "train/gen0/ensemble.pt", Ensemble(members()))
    write_json(results / "train/gen0/dataset.json", {"configurations": []})
    then = (results / "train/gen0/dataset.extxyz").stat().st_mtime
    for file in (f"structures/{name}.extxyz", "train/gen0/ensemble.pt", "train/gen0/dataset.json"):
        os.utime(results / file, (then, then))
    arguments = ["--rerun-triggers", "input", "--cores", "1", "--configfile", str(tmp_path / "config.yaml"), "--"]
    done = snakemake(folder, *arguments, "results/toy/select/gen0/selected.extxyz")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    images = read(results / "neb/gen0/hop.candidates.extxyz", ":")
    chosen = read(results / "select/gen0/selected.extxyz", ":")
    refused = pd.read_csv(results / "select/gen0/refused.csv")
    assert [image.info["path"] for image in images] == ["hop"] * 5
    assert not any("ended" in image.info for image in images)
    assert sorted([frame.info["image"] for frame in chosen] + refused["image"].tolist()) == list(range(5))
    spreads = [image.info["spread_eV_A"] for image in images]
    assert chosen[0].info["spread_eV_A"] == max(spreads)


def test_a_campaign_without_jumps_has_no_event_for_a_path_and_says_so(toy_campaign, tmp_path):
    """Behind real trajectories, through the files of production and diffusion."""
    folder = tmp_path / "run"
    shutil.copytree(toy_campaign[0], folder, symlinks=True)
    config = yaml.safe_load(TOY.read_text()) | {"neb": {"paths": [{"name": "seen", "event": "auto"}]}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    target = "results/toy/neb/seen.event.json"
    done = snakemake(folder, "--cores", "1", "--configfile", str(tmp_path / "config.yaml"), "--", target)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    events = pd.read_csv(folder / "results/toy/diffusion/events.csv")
    lasting = events[~events["returned"].astype(bool)]
    assert bool(json.loads((folder / target).read_text())["reason"]) == lasting.empty
    assert (read_frames(folder / "results/toy/neb/seen.event.extxyz") == []) == lasting.empty


def test_their_jobs_run_behind_a_finished_loop(finished_toy, tmp_path):
    """With an untrained ensemble and tolerances to match: the rules, scripts and files are real, the physics is not."""
    folder = shutil.copytree(finished_toy, tmp_path / "run", symlinks=True)
    results = folder / "results/toy"
    sections = {
        "basins": {"enabled": True, "steps": 2, "force_tolerance_eV_A": 30.0},
        "neb": {"paths": [PATH], "images": 3, "force_tolerance_eV_A": 30.0},
    }
    config = {**yaml.safe_load(TOY.read_text()), **sections}
    config["explore"]["min_distance_fraction"] = 0.1
    config["production"]["x"] = [2.5]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    name = "x2.500_preferred0_1x1x1"
    atoms = build_structure(parse_name(name), parse_config(config).structures, config["seed"])
    given = [results / f"structures/{name}.extxyz", results / "train/gen1/ensemble.pt"]
    then = given[0].stat().st_mtime
    write_frames(given[0], [atoms])
    save_ensemble(given[1], Ensemble(members()))
    # As old as what was made from them: the rest of the campaign is empty files and must not run.
    for file in given:
        os.utime(file, (then, then))
    targets = [results / f"basins/{name}.extxyz", results / "figures/orderings.csv", results / "figures/fig4_neb.csv"]
    arguments = ["--rerun-triggers", "input", "--cores", "1", "--configfile", str(tmp_path / "config.yaml"), "--"]
    done = snakemake(folder, *arguments, *(str(target.relative_to(folder)) for target in targets))
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    (start,) = read_frames(targets[0])
    assert start.info["structure"] == name and len(start) == len(atoms)
    assert len(pd.read_csv(results / f"basins/{name}.csv")) == 3
    orderings = pd.read_csv(results / "figures/orderings.csv")
    assert orderings["visits"].sum() == 3 and (orderings["above_lowest_meV_fu"] >= 0).all()
    profile = pd.read_csv(targets[2])
    assert profile["image"].tolist() == [0, 1, 2]
    assert profile[["energy_eV", "energy_spread_eV", "reference_eV"]].notna().all(axis=None)
    assert len(read_frames(results / "neb/hop.images.extxyz")) == 3
    state = results / "state"
    assert (state / f"basins/{name}/state.npz").exists()
    assert not (state / "neb/hop").exists() and not (state / "neb/hop.reference").exists()
