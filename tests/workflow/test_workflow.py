"""The workflow as a user drives it: dry runs of every shipped config, and the toy campaign from end to end."""

import json
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import xarray as xr
import yaml

from redoxmd.config import load_config
from redoxmd.figures.catalogue import figures_of
from redoxmd.files.frames import read_frames
from redoxmd.files.records import plain
from redoxmd.files.trajectory import read_trajectory
from redoxmd.gate import Decision
from redoxmd.runs.job_records import decoded_name, encoded_path
from redoxmd.runs.plan import make_plan
from redoxmd.train.records import DatasetRecord, EnsembleRecord
from tests.browser import browser, errors, needs_browser, results_of_report
from tests.warm import warm_python

__all__ = ["browser"]

ROOT = Path(__file__).parents[2]
TOY = Path(__file__).parent / "toy.yaml"
PARTS = ("Snakefile", "rules", "workflow", "config", "resources", "envs", "profiles", "slurm")
# A hang, not a slow machine: alone on two cores it takes five minutes.
LIMIT_S = 1800
FIGURES = figures_of(load_config(TOY))
CONTENTS, TEMPERATURES = 2, 3
TRAJECTORIES = CONTENTS * TEMPERATURES

pytestmark = pytest.mark.workflow


def repository(folder):
    """The repository's own files in a folder where a run may leave results."""
    folder.mkdir(parents=True, exist_ok=True)
    for part in PARTS:
        (folder / part).symlink_to(ROOT / part)
    return folder


def snakemake_environment(folder, **environment):
    # The profiles of whoever runs the tests stay out of it.
    own = {"OMP_NUM_THREADS": "1", "GPAW_CONFIG": str(ROOT / "envs/gpaw_siteconfig.py"), "XDG_CONFIG_HOME": str(folder)}
    return {**os.environ, **own, **environment}


def snakemake(folder, *arguments, python=None, **environment):
    """Snakemake and its jobs in processes that have imported their libraries, or in those of an interpreter."""
    return subprocess.run(
        [python or warm_python(), "-m", "snakemake", *arguments],
        cwd=folder,
        env=snakemake_environment(folder, **environment),
        capture_output=True,
        text=True,
        check=False,
    )


def dry_run(folder, config, *arguments):
    """Planned jobs by rule."""
    result = snakemake(folder, "--dry-run", "--configfile", str(config), *arguments)
    assert result.returncode == 0, result.stderr[-3000:]
    table = result.stdout.split("Job stats:")[1].split("total")[0] if "Job stats:" in result.stdout else ""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


@pytest.mark.parametrize("name", ["config", "nvp", "nvp-gpaw", "nvp-rehearsal"])
def test_shipped_configs_dry_run_to_their_full_dag(name, tmp_path):
    path = ROOT / "config" / f"{name}.yaml"
    config = load_config(path)
    planned = dry_run(repository(tmp_path), path)
    jobs = make_plan(config, ROOT).jobs
    first_phase = next(key for key in jobs if key.startswith("per generation: explore"))
    assert planned["aimd"] == jobs["aimd"]
    assert planned["train"] == jobs["per generation: train"]
    assert planned["explore"] == jobs[first_phase]
    assert planned["production"] == planned["jumps"] == jobs["production"]
    assert all(planned[figure] == 1 for figure in figures_of(config))
    assert planned.get("charges", 0) == (jobs["production"] if config.density.enabled else 0)


@pytest.mark.parametrize(("name", "bands"), [("demo", None), ("barriers", 5)])
def test_shipped_models_are_used_as_they_are(name, bands, tmp_path):
    path = ROOT / f"config/{name}.yaml"
    config = load_config(path)
    planned = dry_run(repository(tmp_path), path)
    assert planned.get("neb") == bands
    production = config.production
    trajectories = len(production.x) * len(production.temperatures_K) * production.replicas
    assert planned["production"] == planned["hops"] == trajectories
    assert all(planned[figure] == 1 for figure in figures_of(config))
    assert not planned.keys() & {"aimd", "train", "explore", "select", "gate", "label", "neb_reference"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("run: wrong\nexplore: {low_eV_A: 9.0}\n", "explore.low_eV_A (9) must lie below high_eV_A (5)"),
        # Snakemake's own reader takes the second.
        ("run: wrong\nseed: 1\naimd: {}\nseed: 2\n", "seed stands twice, in lines 2 and 4"),
    ],
)
def test_a_wrong_config_stops_before_any_job(text, message, tmp_path):
    config = tmp_path / "wrong.yaml"
    config.write_text(text)
    result = snakemake(repository(tmp_path / "repository"), "--dry-run", "--configfile", str(config))
    assert result.returncode != 0
    assert message in result.stderr + result.stdout
    assert "Job stats" not in result.stdout


def test_another_workflow_uses_it_as_a_module(tmp_path):
    """As the workflow catalog deploys it: a Snakefile and a config of its own, nothing else beside them."""
    module = (
        f'module redoxmd:\n    snakefile: "{ROOT / "Snakefile"}"\n    config: config\n\n\nuse rule * from redoxmd\n'
    )
    (tmp_path / "Snakefile").write_text('configfile: "config/config.yaml"\n\n\n' + module)
    (tmp_path / "config").mkdir()
    shutil.copyfile(TOY, tmp_path / "config/config.yaml")
    result = snakemake(tmp_path, "--dry-run", "--cores", "1", "--quiet", "rules")
    assert result.returncode == 0, result.stderr[-2000:]
    alone = snakemake(repository(tmp_path / "alone"), "--dry-run", "--configfile", str(TOY), "--quiet", "rules")
    totals = [re.search(r"^total +(\d+)$", run.stdout, re.MULTILINE)[1] for run in (result, alone)]
    assert totals[0] == totals[1]


def test_rules_have_logs_and_costly_ones_state_their_needs():
    needs = yaml.safe_load((ROOT / "config/resources.yaml").read_text())
    for path in sorted((ROOT / "rules").glob("*.smk")):
        for name, body in re.findall(
            r"^(?:rule|checkpoint) (\w+):\n((?:    .*\n|\n)+)", path.read_text(), re.MULTILINE
        ):
            assert "    log:" in body, f"{path.name}: rule {name} has no log"
            if name in (
                "aimd",
                "label",
                "train",
                "explore",
                "basins",
                "neb",
                "neb_reference",
                "production",
                "density",
                "charges",
                "reference_charges",
            ):
                assert "benchmark:" in body, f"{path.name}: rule {name} has no benchmark"
                assert name in needs, f"rule {name} has no row in config/resources.yaml"
            if name in needs:
                for need in (f'threads: cores("{name}")', f'**resources_for("{name}")'):
                    assert need in body, f"{path.name}: rule {name} lacks {need}"
                assert set(needs.pop(name)) == {"cpus", "mem_mb", "hours", "gpu", "goes_on"}
            else:
                assert "threads:" not in body and "resources:" not in body, (
                    f"{path.name}: rule {name} has needs of its own"
                )
    assert needs == {}, "rows in config/resources.yaml for rules that are not there"


def test_the_package_knows_nothing_of_snakemake():
    for path in (ROOT / "src").rglob("*.py"):
        assert not re.search(r"^\s*(import|from) snakemake", path.read_text(), re.MULTILINE), path


class TestToyCampaign:
    """One run, looked at from all sides; what its files say is recomputed in `test_artefacts`."""

    @pytest.fixture(scope="class")
    def campaign(self, toy_campaign):
        return toy_campaign

    def decisions(self, results):
        return [json.loads(path.read_text()) for path in sorted((results / "gate").glob("gen*.json"))]

    def test_it_ends_in_time(self, campaign):
        assert campaign[2] < LIMIT_S

    def test_at_least_two_generations_and_every_phase_to_convergence(self, campaign):
        decisions = self.decisions(campaign[1])
        assert len(decisions) >= 2
        assert {decision["phase"] for decision in decisions} == {"small", "wide", "large"}
        assert decisions[-1]["status"] == "converged"
        assert all(run["end_reason"] == "survived" for run in decisions[-1]["figures"]["runs"])
        assert decisions[-1]["label_ids"] == []

    @pytest.mark.parametrize(
        ("kind", "files"),
        [
            (Decision, "gate/gen*.json"),
            (DatasetRecord, "train/gen*/dataset.json"),
            (EnsembleRecord, "train/gen*/ensemble.json"),
        ],
    )
    def test_records_are_what_their_files_say(self, campaign, tmp_path, kind, files):
        """Each key of the file against the record, and the file against that of the record written again."""
        paths = sorted(campaign[1].glob(files))
        assert len(paths) >= 2
        for path in paths:
            record, content = kind.read(path), json.loads(path.read_text())
            content.get("figures", {}).setdefault("bands", [])
            assert {name: plain(getattr(record, name)) for name in content} == content
            record.write(tmp_path / "again.json")
            assert (tmp_path / "again.json").read_bytes() == path.read_bytes()

    def test_a_refused_label_is_recorded_and_never_trained_on(self, campaign):
        _, results, _ = campaign
        records = [json.loads(path.read_text()) for path in sorted(results.glob("label/gen*/g*.json"))]
        refused = [record for record in records if record["status"] == "refused"]
        labelled = [record for record in records if record["status"] == "labelled"]
        assert refused and labelled
        assert all(record["refusal"]["reason"] == "unconverged" for record in refused)
        last = max(int(path.name.removeprefix("gen")) for path in (results / "train").glob("gen*"))
        trained_on = {frame.info["config_id"] for frame in read_frames(results / f"train/gen{last}/dataset.extxyz")}
        assert not trained_on & {record["label_id"] for record in refused}
        assert {record["label_id"] for record in labelled} <= trained_on

    def test_the_held_out_configuration_was_held_out(self, campaign):
        frames = read_frames(campaign[1] / "train/gen0/dataset.extxyz")
        parts = {frame.info["set"] for frame in frames if frame.info["config_id"] == "x3.000_random1_1x1x1"}
        assert parts == {"test"}

    def test_every_trajectory_and_figure_is_there(self, campaign):
        _, results, _ = campaign
        trajectories = sorted((results / "production").glob("*.h5"))
        assert len(trajectories) == TRAJECTORIES
        assert all(read_trajectory(path).metadata["end_reason"] for path in trajectories)
        for figure in FIGURES:
            for suffix in ("pdf", "svg", "png", "csv"):
                assert (results / f"figures/{figure}.{suffix}").stat().st_size > 0
        assert "viewer" in (results / "figures/jump_view.html").read_text()
        summary = json.loads((results / "summary.json").read_text())
        assert len(summary["diffusivities"]) == TRAJECTORIES
        assert len(pd.read_csv(results / "figures/fig7_diffusivity.csv")) == TRAJECTORIES

    def test_no_temporary_file_stays_and_no_state_but_of_what_can_be_made_longer(self, campaign):
        _, results, _ = campaign
        assert [path for path in results.rglob(".*") if path.is_file()] == []
        stages = {
            path.relative_to(results / "state").parts[0] for path in (results / "state").rglob("*") if path.is_file()
        }
        assert stages == {"aimd", "label", "explore", "production"}
        # A trajectory is on the disk once.
        for path in (results / "production").glob("*.h5"):
            (kept,) = (results / "state/production" / path.stem).glob("whole*.h5")
            assert kept.samefile(path)

    def test_a_second_run_does_nothing(self, campaign):
        folder, results, _ = campaign
        before = {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()}
        result = snakemake(folder, "--cores", "2", "--configfile", str(TOY))
        assert result.returncode == 0
        assert "Nothing to be done" in result.stdout + result.stderr
        assert {path: path.stat().st_mtime_ns for path in results.rglob("*") if path.is_file()} == before

    def changed(self, tmp_path, section, **values):
        config = yaml.safe_load(TOY.read_text())
        config.setdefault(section, {}).update(values)
        path = tmp_path / "changed.yaml"
        path.write_text(yaml.safe_dump(config))
        return path

    def test_every_job_left_the_record_that_snakemake_keeps_of_it(self, campaign):
        folder, results, _ = campaign
        memory = folder / ".snakemake/metadata"
        outputs = set()
        for path in (results / "records").rglob("*.json"):
            record = json.loads(path.read_text())
            for output in record["outputs"]:
                remembered = json.loads(encoded_path(memory, output).read_text())
                for key in ("rule", "input", "params", "input_checksums", "record_format_version"):
                    assert remembered[key] == record[key], (output, key)
            outputs |= set(record["outputs"])
        assert outputs == {decoded_name(path, memory) for path in memory.rglob("*") if path.is_file()}

    @pytest.fixture
    def moved(self, campaign, tmp_path):
        """The results alone in another checkout, all of them with new dates, in no order."""
        folder = repository(tmp_path / "moved")
        shutil.copytree(campaign[1], folder / "results/toy", copy_function=shutil.copyfile)
        files = sorted((folder / "results").rglob("*"), key=lambda path: path.name[::-1])
        for number, path in enumerate(files):
            os.utime(path, (time.time() - number,) * 2)
        return folder

    def test_moved_results_are_known_by_their_records(self, moved, tmp_path):
        assert dry_run(moved, TOY) == {}
        planned = dry_run(moved, self.changed(tmp_path, "aimd", timestep_fs=1.0))
        assert planned["aimd"] == dry_run(repository(tmp_path / "empty"), TOY)["aimd"]

    def test_results_without_records_are_refused_and_the_advice_is_good(self, moved, tmp_path):
        shutil.rmtree(moved / "results/toy/records")
        refused = snakemake(moved, "--dry-run", "--configfile", str(TOY))
        assert refused.returncode != 0
        told = re.search(r"results have no record .*accept them .*: snakemake (.*?);", refused.stdout + refused.stderr)
        accepted = snakemake(moved, *told[1].split(), "--cores", "1")
        assert accepted.returncode == 0, accepted.stderr[-3000:]
        assert dry_run(moved, TOY) == {}
        assert "aimd" in dry_run(moved, self.changed(tmp_path, "aimd", timestep_fs=1.0))

    def test_a_job_that_ended_after_its_driver_is_known_by_its_record(self, moved, tmp_path):
        """Snakemake remembers the job before, of other settings; what stands there now is of these."""
        assert dry_run(moved, TOY) == {}
        name = "results/toy/aimd/x2.000_random0_1x1x1/frames.extxyz"
        memory = encoded_path(moved / ".snakemake/metadata", name)
        before = json.loads(memory.read_text())
        memory.write_text(json.dumps({**before, "params": ["'of other settings'"]}))
        assert dry_run(moved, TOY)["aimd"] == 1
        os.utime(moved / "results/toy/records/aimd/x2.000_random0_1x1x1/frames.extxyz.json")
        assert dry_run(moved, TOY) == {}
        assert json.loads(memory.read_text())["params"] == before["params"]

    def test_an_edit_whose_job_failed_is_not_forgotten(self, moved, tmp_path):
        """Its output is gone, what was made from the old one is there: Snakemake by itself has nothing to do."""
        config = self.changed(tmp_path, "train", exclude=["no_such_run/0"])
        failed = snakemake(moved, "--cores", "1", "--configfile", str(config), "--until", "dataset")
        assert failed.returncode != 0
        dataset = "results/toy/train/gen0/dataset.extxyz"
        assert not (moved / dataset).exists()
        assert dry_run(moved, config)["dataset"] >= 1
        assert dry_run(moved, TOY)["dataset"] >= 1
        mended = snakemake(moved, "--cores", "1", "--configfile", str(TOY), "--until", "dataset")
        assert mended.returncode == 0, mended.stderr[-3000:]
        assert dry_run(moved, TOY) == {}

    @pytest.mark.parametrize("edit", ["none", "a threshold"])
    def test_a_damaged_decision_can_be_deleted(self, moved, tmp_path, edit):
        """As its message says; the gate then decides as it did, and by the settings of its generation."""
        decision = moved / "results/toy/gate/gen0.json"
        whole = decision.read_bytes()
        decision.write_bytes(whole[:-20])
        config = TOY if edit == "none" else self.changed(tmp_path, "explore", low_eV_A=0.02)
        arguments = ("--cores", "1", "--configfile", str(config))
        damaged = snakemake(moved, *arguments)
        assert damaged.returncode != 0 and "delete it and run again" in damaged.stdout + damaged.stderr
        decision.unlink()
        assert dry_run(moved, config)["gate"] == 1
        again = snakemake(moved, *arguments, "--", "results/toy/gate/gen0.json")
        assert again.returncode == 0, again.stderr[-3000:]
        assert decision.read_bytes() == whole
        if edit == "none":
            assert dry_run(moved, TOY) == {}

    def test_clocks_that_disagree_mean_nothing(self, campaign):
        """Files of some stages an hour in the future, as a node whose clock is ahead leaves them."""
        results = campaign[0] / "results/toy"
        patterns = ("aimd/*/frames.extxyz", "train/gen0/*", "select/gen0/*", "production/*", "structures/*")
        files = [path for pattern in patterns for path in results.glob(pattern)]
        before = {path: path.stat().st_mtime for path in files}
        try:
            for path in files:
                os.utime(path, (time.time() + 3600,) * 2)
            assert dry_run(campaign[0], TOY) == {}
        finally:
            for path, then in before.items():
                os.utime(path, (then, then))

    def test_plot_style_redraws_figures_only(self, campaign, tmp_path):
        planned = dry_run(campaign[0], self.changed(tmp_path, "figures", font_pt=9.0))
        assert set(planned) == {*FIGURES, "first_page", "manifest", "all"}

    def test_a_new_temperature_runs_only_its_trajectories(self, campaign, tmp_path):
        planned = dry_run(campaign[0], self.changed(tmp_path, "production", temperatures_K=[600, 900, 1200, 1500]))
        assert (planned["production"], planned["jumps"], planned["diffusion"]) == (CONTENTS, CONTENTS, 1)
        assert not {"aimd", "train", "explore", "label", "structure"} & set(planned)

    def test_a_new_replica_runs_only_its_trajectories(self, campaign, tmp_path):
        planned = dry_run(campaign[0], self.changed(tmp_path, "production", replicas=2))
        assert planned["production"] == TRAJECTORIES
        assert not {"aimd", "train", "explore", "label"} & set(planned)

    def test_a_jump_rule_reanalyses_without_new_dynamics(self, campaign, tmp_path):
        planned = dry_run(campaign[0], self.changed(tmp_path, "diffusion", jump_distance_A=2.5))
        assert planned["jumps"] == TRAJECTORIES
        assert not {"aimd", "train", "explore", "label", "production"} & set(planned)

    def test_the_electrons_are_followed(self, campaign):
        _, results, _ = campaign
        tables = [xr.load_dataset(path, engine="h5netcdf") for path in sorted((results / "charges").glob("*.nc"))]
        assert len(tables) == TRAJECTORIES
        assert all(table["charge_e"].dims == ("frame", "atom") for table in tables)
        mixture = json.loads((results / "charges/oxidation.json").read_text())
        assert mixture["fitted"]
        assert mixture["mean"][0][1] == pytest.approx(2.0, abs=0.1)
        assert mixture["mean"][1][1] == pytest.approx(1.0, abs=0.1)
        reference = pd.read_csv(results / "charges/reference.csv")
        assert set(reference["set"]) == {"train", "validation", "test"}
        assert len(pd.read_csv(results / "charges/redox.csv")) == TRAJECTORIES
        summary = json.loads((results / "summary.json").read_text())
        assert summary["electrons"]["nmae_percent"]["test"]["nmae_total_percent"] < 5

    def test_a_hysteresis_rereads_the_charges_and_predicts_nothing(self, campaign, tmp_path):
        planned = dry_run(campaign[0], self.changed(tmp_path, "charges", high=0.9))
        figures = {"redox_table", "fig3c_histogram", "fig10_jump", "paper_comparison"}
        assert set(planned) == {"redox", *figures, "first_page", "manifest", "all"}

    def test_another_density_model_leaves_the_dynamics_alone(self, campaign, tmp_path):
        planned = dry_run(campaign[0], self.changed(tmp_path, "density", max_steps=90))
        assert planned["charges"] == TRAJECTORIES
        assert not {"aimd", "train", "explore", "label", "production", "jumps", "density_dataset"} & set(planned)

    @pytest.fixture(scope="class")
    def report(self, campaign):
        folder, results, _ = campaign
        report = results / "report.html"
        result = snakemake(folder, "all", "--configfile", str(TOY), "--report", str(report))
        assert result.returncode == 0, result.stderr[-2000:]
        return report

    def test_the_report_holds_every_figure(self, report):
        text = report.read_text(encoding="utf-8")
        assert all(f"{figure}.svg" in text for figure in FIGURES)

    @needs_browser
    def test_a_browser_shows_every_figure_of_the_report_without_a_network(self, report, browser):
        shown = results_of_report(browser, report)
        assert shown == {**dict.fromkeys(FIGURES, "image"), "jump_view": "page", "summary": "page"}
        assert errors(browser) == []


def test_a_finished_run_made_longer_goes_on_where_it_ended(tmp_path):
    """Through Snakemake, which removes an output before the job that makes it anew."""
    target = "results/toy/aimd/x2.000_random0_1x1x1/frames.extxyz"
    made = {}
    for name, lengths in (("whole", [30]), ("part", [20, 30])):
        folder = repository(tmp_path / name)
        for steps in lengths:
            config = yaml.safe_load(TOY.read_text())
            config["aimd"]["steps"] = steps
            (folder / "config.yaml").write_text(yaml.safe_dump(config))
            result = snakemake(folder, "--cores", "1", "--configfile", "config.yaml", "--", target)
            assert result.returncode == 0, result.stderr[-3000:]
        made[name] = (folder / target).read_bytes()
    log = (folder / "results/toy/logs/aimd/x2.000_random0_1x1x1.log").read_text()
    assert "resuming from 20 of 30 frames" in log
    assert made["whole"] == made["part"]
