"""The loop with `engine: vasp`, on the stand-in: from internal MD to figures, what custodian mended on record."""

import json
from pathlib import Path

import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import load_config
from redoxmd.engines import settings_hash
from redoxmd.figures.catalogue import figures_of
from redoxmd.files.frames import read_frames
from tests.standin import install_standin
from tests.workflow.test_workflow import dry_run, repository, snakemake

SHORT = Path(__file__).parent / "vasp.yaml"

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def campaign(tmp_path_factory):
    folder = repository(tmp_path_factory.mktemp("vasp"))
    # AIMD starts it nine times, and once more after BRMIX. Then come labels: with one correction for each of the two
    # that run at a time, four failures refuse at least one.
    standin = install_standin(folder / "site", ["fine", "brmix", *["fine"] * 8, *["nelm"] * 4, "fine"])
    config = yaml.safe_load(SHORT.read_text())
    config["engine"]["vasp"] |= {"command": standin.command, "potcar_dir": str(standin.potcar_dir)}
    config["label"]["failure_budget"] = 1.0
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    result = snakemake(folder, "--cores", "2", "--configfile", str(path))
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-6000:]
    return folder, folder / "results/standin", path, standin


def records(results):
    found = [*results.glob("aimd/*/record.json"), *results.glob("label/gen*/g*f*.json")]
    return {str(path.relative_to(results)): json.loads(path.read_text()) for path in sorted(found)}


def test_every_figure_is_drawn(campaign):
    _, results, path, _ = campaign
    for figure in figures_of(load_config(path)):
        assert (results / f"figures/{figure}.png").stat().st_size > 0


def test_frames_carry_the_method_and_are_whole(campaign):
    _, results, path, _ = campaign
    frames = read_frames(results / "train/gen1/dataset.extxyz")
    assert {frame.info["settings_hash"] for frame in frames} == {settings_hash(load_config(path).engine)}
    kept = sum(record["n_frames"] for record in records(results).values())
    assert len(frames) == kept >= 3 * 20


def test_what_was_mended_and_what_was_refused_is_on_record(campaign):
    _, results, _, standin = campaign
    found = records(results)
    assert any("brmix" in str(record["corrections"]) for record in found.values())
    refused = {name: record for name, record in found.items() if record["refusal"]}
    assert {record["refusal"]["reason"] for record in refused.values()} == {"unconverged"}
    aside = [path.parent.name for path in results.glob("refused/*/*/refusal.json")]
    assert len(aside) == len(refused) >= 1
    words = [start["word"] for start in standin.starts()]
    assert words.count("nelm") == 4


def test_files_are_kept_as_the_policy_says(campaign):
    _, results, _, _ = campaign
    names = {path.name.split(".", 1)[1] for path in results.glob("files/*/*/*")}
    assert names == {"vasprun.xml.gz"}
    assert [path for path in results.rglob("WAVECAR")] == []


def test_a_refusal_is_tried_again_only_when_something_has_changed(campaign, capsys, monkeypatch):
    folder, results, path, _ = campaign
    monkeypatch.chdir(folder)
    before = records(results)
    assert main(["retry", str(path), "--partial"]) == 0
    assert "0 removed" in capsys.readouterr().out
    config = yaml.safe_load(path.read_text())
    config["engine"]["vasp"]["max_iterations"] = 200
    changed = folder / "changed.yaml"
    changed.write_text(yaml.safe_dump(config))
    assert main(["retry", str(changed), "--partial"]) == 0
    printed = capsys.readouterr().out
    assert "removed: " in printed
    refused = {name for name, record in before.items() if record["refusal"]}
    assert set(records(results)) == set(before) - refused
    assert all(name.startswith("label") for name in refused)
    plan = dry_run(folder, changed, "--forcerun", *printed.partition("--forcerun ")[2].split())
    assert plan["label"] == len(refused)
    assert "aimd" not in plan
