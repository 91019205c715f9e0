"""Files, settings and resources of the rules, with the Snakefile left out."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from redoxmd.config import load_config, parse_config
from redoxmd.figures.catalogue import EVERY_FIGURE
from redoxmd.runs.captions import captions_of
from redoxmd.runs.rules import Rules, path_end_files, path_settings, without_signal

ROOT = Path(__file__).parents[2]
HOP = {"name": "hop", "x": 2.5, "moves": [["Na2:0", "Na2:5"]]}


def rules(raw=None, **changes):
    return Rules(parse_config({"run": "r", **(raw or {})}), ROOT, **changes)


def test_resources_are_those_of_the_table_and_grow_with_each_attempt():
    table = yaml.safe_load((ROOT / "config/resources.yaml").read_text())
    asked = rules().resources_for("select")
    assert [asked["mem_mb"](None, attempt) for attempt in (1, 2, 5)] == [4000, 8000, 12000]
    assert [asked["runtime"](None, attempt) for attempt in (1, 2)] == [120, 240]
    # Goes on from its state: more time is of no use.
    assert rules().resources_for("train")["runtime"](None, 3) == 60 * table["train"]["hours"]
    assert "gpu" not in asked and rules().resources_for("train")["gpu"] == 1
    assert "gpu" not in rules({"train": {"device": "cpu"}}).resources_for("train")
    assert rules({"train": {"device": "cpu"}}).resources_for("charges")["gpu"] == 1
    assert "gpu" not in rules({"density": {"device": "cpu"}}).resources_for("charges")


def test_the_reference_method_asks_for_its_ranks():
    vasp = rules({"engine": {"name": "vasp", "vasp": {"ranks": 6}}}, slurm_extra="--qos=long")
    asked = vasp.resources_for("label")
    assert (vasp.cores("label"), asked["tasks"], asked["cpus_per_task"], asked["mpi"]) == (6, 6, 1, "srun")
    assert (asked["mem_mb"](None, 1), asked["mem_mb_per_cpu"](None, 1)) == (18000, 3000)
    assert asked["slurm_extra"] == "--qos=long"
    assert rules().cores("label") == 1 and "tasks" not in rules().resources_for("label")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("'--signal=TERM@120'", ""),
        ("'--qos=long --signal TERM@120 --nice'", "--qos=long --nice"),
        ('"--qos=long"', "--qos=long"),
        (None, ""),
    ],
)
def test_the_signal_is_left_out_of_the_options_of_a_job_of_ranks(given, expected):
    assert without_signal(given) == expected


def test_files_of_trajectories_and_paths():
    grid = {"x": [2.0, 2.5], "temperatures_K": [600, 900], "replicas": 1, "supercell": [1, 1, 1]}
    more = [{"x": [2.5], "temperatures_K": [600], "supercell": [2, 1, 1]}]
    seen = {"name": "seen", "event": "auto", "x": 2.5}
    given = rules({"production": {**grid, "more": more}, "neb": {"paths": [HOP, seen], "supercell": [1, 1, 2]}})
    assert len(given.all_trajectories("{structure}_T{temperature}K.h5")) == 5
    assert given.grid_trajectories("{structure}_T{temperature}K")[0] == "x2.000_preferred0_1x1x1_T600K"
    assert len(given.grid_trajectories("{structure}")) == 4
    assert given.all_paths("results/{run}/neb/{path}.json") == ["results/r/neb/hop.json", "results/r/neb/seen.json"]
    job = SimpleNamespace(run="r", path="hop")
    assert given.neb_ends(job) == ["results/r/structures/x2.500_preferred0_1x1x2.extxyz"]
    assert "event" not in given.neb_path(job)
    job.path = "seen"
    assert given.neb_ends(job) == ["results/r/neb/seen.event.extxyz", "results/r/neb/seen.event.json"]
    assert {name.split("_")[0] for name in given.event_trajectories("{structure}")(job)} == {"x2.500"}


def test_a_path_to_a_file_ends_there():
    (path,) = parse_config({"neb": {"paths": [{"name": "f", "x": 2.0, "final": "end.extxyz"}]}}).neb.paths
    start = "results/r/structures/x2.000_preferred0_2x1x1.extxyz"
    assert path_end_files(path_settings(path), [2, 1, 1], "r") == [start, "end.extxyz"]


def test_only_generations_of_named_phases_find_paths():
    given = rules({"neb": {"paths": [HOP, {"name": "seen", "event": "auto"}], "train_phases": ["small"]}})
    assert given.generation_neb_settings("large") == {}
    found = given.generation_neb_settings("small")
    assert [path["name"] for path in found["paths"]] == ["hop"]
    assert not {"reference", "train_phases"} & set(found)


def test_starts_of_production_and_members():
    assert rules().production_start() == "results/{run}/structures/{structure}.extxyz"
    assert "/basins/" in rules({"basins": {"enabled": True}}).production_start()
    job = SimpleNamespace(run="r", gen="2", member="1")
    assert rules().previous_member(job) == "results/r/train/gen1/member1.pt"
    assert rules({"train": {"warm_start": False}}).previous_member(job) == []
    assert rules().member_size(job) == {"features": 148, "layers": 3}
    assert rules({"density": {"enabled": False}}).electrons("charges") == {}


def test_every_figure_has_parameters_of_its_own():
    config = load_config(ROOT / "tests/workflow/toy.yaml")
    given = Rules(config, ROOT)
    assert set(captions_of(config)) == {*EVERY_FIGURE, "jump_view", "first_page"}
    codes = {given.figure_code(SimpleNamespace(figure=figure)) for figure in EVERY_FIGURE}
    assert len(codes) == len(EVERY_FIGURE)


def test_a_script_that_chooses_a_device_belongs_to_a_rule_that_asks_for_a_gpu():
    """Otherwise the job fails where `device: cuda` meets a CPU node, or uses a GPU that it was not given."""
    scripts = {path.stem: path.read_text() for path in (ROOT / "workflow/scripts").glob("*.py")}
    choosing = {name.removesuffix("_batch") for name, text in scripts.items() if re.search(r"\.device\b", text)}
    table = yaml.safe_load((ROOT / "config/resources.yaml").read_text())
    assert len(choosing) >= 8
    assert {name for name in choosing if not table[name]["gpu"]} == set()
