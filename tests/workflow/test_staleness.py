"""Single edits of a finished campaign, and the rules that would run again; docs/staleness.md is this table in words."""

import os
import re
import shutil
import time

import pytest
import yaml

from redoxmd.config import load_config, parse_config
from redoxmd.engines import settings_hash
from redoxmd.figures.catalogue import figures_of
from redoxmd.runs import versions
from redoxmd.runs.changes import planned_jobs
from redoxmd.runs.mixing import record_reference, refuse_mixing
from tests.workflow.test_workflow import ROOT, TOY, repository, snakemake

pytestmark = pytest.mark.workflow

FIGURES = set(figures_of(load_config(TOY)))
CHARGED = {"charges", "redox", "redox_table", "fig3c_histogram", "fig10_jump"}
DIFFUSED = {
    "diffusion",
    "fig5_exchange",
    "fig6_concerted",
    "fig7_diffusivity",
    "fig8_arrhenius",
    "fig9_jumps_vs_msd",
    "site_occupancy",
    "van_hove",
    "table2_activation",
    "jump_view",
}
ELECTRONS = {"density", "density_evaluation", "density_errors", "density_slices", "reference_charges", "fig3b_bader"}
ELECTRONS |= {"oxidation", *CHARGED}
AFTER_JUMPS = {"jumps", *DIFFUSED, *CHARGED, "paper_comparison"}
ON_THE_FIRST_PAGE = {"summary", "learning_curve", "diffusion", "fig8_arrhenius", "redox", "fig3c_histogram"}
LOOP = {"dataset", "train", "ensemble", "explore", "select", "gate"}

HOP = {"name": "hop", "x": 2.5, "moves": [["Na2:0", "Na2:5"]]}

# Section, key, value; rules that run; rules that wait for the gate: True for all that follow it.
EDITS = {
    "plot style": ("figures", {"font_pt": 9.0}, FIGURES, False),
    "how the ensemble is evaluated": ("compute", {"evaluation": "plain"}, set(), False),
    "a jump rule": ("diffusion", {"jump_distance_A": 2.5}, AFTER_JUMPS | {"summary"}, False),
    "fewest jumps to fit": (
        "diffusion",
        {"min_jumps_to_fit": 3},
        DIFFUSED - {"fig5_exchange", "jump_view"} | {"summary", "paper_comparison"},
        False,
    ),
    "a new temperature": (
        "production",
        {"temperatures_K": [600, 900, 1200, 1500]},
        {"production", "summary", *AFTER_JUMPS},
        False,
    ),
    "one more replica": ("production", {"replicas": 2}, {"structure", "production", "summary", *AFTER_JUMPS}, False),
    "a hysteresis": ("charges", {"high": 0.9}, CHARGED - {"charges"} | {"paper_comparison"}, False),
    "charges more often": ("charges", {"every_fs": 300}, CHARGED | {"paper_comparison"}, False),
    "the density model": ("density", {"max_steps": 90}, {*ELECTRONS, "summary", "paper_comparison"}, False),
    "basin hopping before production": (
        "basins",
        {"enabled": True},
        {"basins", "orderings", "production", "summary", *AFTER_JUMPS},
        False,
    ),
    "how basins are hopped where they are not": ("basins", {"steps": 5}, set(), False),
    "a path": (
        "neb",
        {"paths": [HOP]},
        {"neb", "neb_reference", "neb_profiles", "fig4_neb"},
        False,
    ),
    "a path that is found in each generation of a phase": (
        "neb",
        {"paths": [HOP], "train_phases": ["small", "large"]},
        {"neb_explore", "select", "gate", "neb", "neb_reference", "neb_profiles", "fig4_neb"},
        True,
    ),
    "a path that is found in generations which are all labelled": (
        "neb",
        {"paths": [HOP], "train_phases": ["small"]},
        {"neb", "neb_reference", "neb_profiles", "fig4_neb"},
        False,
    ),
    "a path of an event": (
        "neb",
        {"paths": [{"name": "seen", "event": "auto"}]},
        {"neb_event", "neb", "neb_reference", "neb_profiles", "fig4_neb"},
        False,
    ),
    "how paths are found where there are none": ("neb", {"images": 5}, set(), False),
    "how often production is saved to restart": ("production", {"checkpoint_every_s": 60}, set(), False),
    "the failure budget": ("label", {"failure_budget": 0.9}, set(), False),
    "the gate's threshold": ("explore", {"low_eV_A": 1.2}, {"explore", "select", "gate"}, True),
    "the labelling budget": ("select", {"budget": 5}, {"select", "gate"}, True),
    "more generations allowed": ("gate", {"max_generations": 9}, set(), False),
    "a longer label": ("label", {"steps": 9}, {"label", "labels", *LOOP}, True),
    "more folds": ("train", {"folds": 3}, {"fold", "left_out_errors", "summary"}, False),
    "other configurations that validate": (
        "train",
        {"validation_configurations": ["x2.000_random0_1x1x1"]},
        LOOP,
        True,
    ),
    "a teacher": ("pretrain", {"enabled": True}, {"pretrain_frames", "pretrain", "pretrain_errors", *LOOP}, True),
    "how a teacher labels where there is none": ("pretrain", {"steps": 5}, set(), False),
    "longer training": ("train", {"max_steps": 500}, {"train", "ensemble", "explore", "select", "gate"}, True),
}


@pytest.fixture(scope="module")
def campaign(finished_toy, tmp_path_factory):
    return shutil.copytree(finished_toy, tmp_path_factory.mktemp("finished") / "run", symlinks=True)


def changed(folder, section, values):
    config = yaml.safe_load(TOY.read_text())
    config[section] = {**(config.get(section) or {}), **values}
    path = folder / "changed.yaml"
    path.write_text(yaml.safe_dump(config))
    return path


def planned(folder, config=TOY):
    result = snakemake(folder, "--dry-run", "--configfile", str(config))
    assert result.returncode == 0, result.stderr[-3000:]
    jobs = planned_jobs(result.stdout + result.stderr)
    return {job.rule for job in jobs if not job.pending}, {job.rule for job in jobs if job.pending}


def test_a_finished_campaign_has_nothing_to_do(campaign):
    assert planned(campaign) == (set(), set())


@pytest.mark.parametrize("edit", EDITS)
def test_one_edit_reruns_what_it_touches(campaign, tmp_path, edit):
    section, values, expected, waits = EDITS[edit]
    rules, waiting = planned(campaign, changed(tmp_path, section, values))
    # The manifest holds the config as used, so every edit of it makes that anew, last; the first page holds figures.
    assert rules - {"manifest", "first_page"} == expected
    assert "manifest" in rules | waiting
    assert ("first_page" in rules) == bool(rules & ON_THE_FIRST_PAGE)
    assert bool(waiting) == waits
    assert not waiting & {"aimd", "structure"}


def generations(folder, config, rule):
    jobs = planned_jobs(snakemake(folder, "--dry-run", "--configfile", str(config)).stdout)
    return {re.search(r"/gen(\d+)", job.outputs[0])[1] for job in jobs if job.rule == rule and not job.pending}


def test_a_new_threshold_leaves_a_labelled_generation_alone_unless_told_otherwise(campaign, tmp_path):
    edit = {"low_eV_A": 1.2}
    assert generations(campaign, changed(tmp_path, "explore", edit), "explore") == {"1"}
    assert generations(campaign, changed(tmp_path, "explore", {**edit, "keep_labelled": False}), "explore") == {"0"}


def test_paths_found_in_the_generations_to_come_leave_a_labelled_one_alone(campaign, tmp_path):
    edit = {"paths": [HOP], "train_phases": ["small", "large"]}
    for keep, expected in ((True, {"1"}), (False, {"0"})):
        config = changed(tmp_path, "neb", edit)
        values = yaml.safe_load(config.read_text())
        values["explore"]["keep_labelled"] = keep
        config.write_text(yaml.safe_dump(values))
        assert generations(campaign, config, "neb_explore") == expected


@pytest.fixture(scope="module")
def own_code(campaign):
    """The campaign with its own copy of rules and scripts, to be edited."""
    for part in ("rules", "workflow"):
        (campaign / part).unlink()
        shutil.copytree(ROOT / part, campaign / part)
    return campaign / "workflow/scripts"


def test_the_date_of_a_script_means_nothing(campaign, own_code):
    later = time.time() + 3600
    for script in own_code.glob("*.py"):
        os.utime(script, (later, later))
    assert planned(campaign) == (set(), set())


def test_new_code_repeats_the_analysis_and_nothing_dear(campaign, own_code):
    for name in ("jumps", "train", "aimd", "label", "explore", "production"):
        script = own_code / f"{name}.py"
        script.write_text(script.read_text() + "\n# changed\n")
    assert planned(campaign) == (AFTER_JUMPS | {"summary", "first_page", "manifest"}, set())


def test_a_stage_whose_version_is_raised_on_purpose_runs_again(monkeypatch):
    monkeypatch.setitem(versions.STAGE_VERSIONS, "train", 1)
    assert versions.stage_version("train") == {}
    monkeypatch.setitem(versions.STAGE_VERSIONS, "train", 2)
    assert versions.stage_version("train") == {"version": 2}


def test_other_reference_settings_are_refused_before_any_job(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("run: mixed\nengine: {gpaw: {cutoff_eV: 400}}\ndensity: {enabled: false}\n")
    before = load_config(config)
    results = repository(tmp_path / "work") / "results/mixed"
    record_reference(results, before)
    frames = results / "aimd/x3.000_random0_1x1x1/frames.extxyz"
    frames.parent.mkdir(parents=True)
    frames.write_text(f'1\nsettings_hash={settings_hash(before.engine)} pbc="F F F"\nNa 0 0 0\n')
    refuse_mixing(results, before)
    config.write_text(config.read_text().replace("400", "500"))
    result = snakemake(tmp_path / "work", "--cores", "1", "--configfile", str(config))
    said = result.stdout + result.stderr
    assert result.returncode != 0
    assert "cutoff_eV was 400" in said and "run: mixed-" in said and "Job stats" not in said
    # What changes no energy is no other method.
    refuse_mixing(results, parse_config({"run": "mixed", "engine": {"gpaw": {"cutoff_eV": 400, "max_iterations": 77}}}))
