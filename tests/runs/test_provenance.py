"""The manifest against files and records made by hand; checksums against hashlib; the chain in its order."""

import hashlib
import json
import os
from base64 import urlsafe_b64encode

import pytest

from redoxmd.cli import main
from redoxmd.config import parse_config
from redoxmd.errors import DataError
from redoxmd.files.records import read_json
from redoxmd.runs import provenance
from redoxmd.runs.provenance import chain_of, describe_chain, make_manifest, write_manifest

CONFIG = parse_config({"run": "a", "seed": 5, "engine": {"name": "toy"}})
FIGURE, TABLE, OTHER = "results/a/figures/fig7.csv", "results/a/diffusion/d.csv", "results/a/figures/fig3.csv"
MADE_FROM = {
    FIGURE: ("fig7", [TABLE, "results/a/production/t.h5"]),
    TABLE: ("diffusion", ["results/a/production/t.h5"]),
    "results/a/production/t.h5": ("production", ["results/a/train/gen0/ensemble.pt"]),
    "results/a/train/gen0/ensemble.pt": ("ensemble", ["data/given.extxyz"]),
    OTHER: ("fig3", ["results/a/train/gen0/ensemble.pt"]),
}


def write_run(folder, made_from=MADE_FROM):
    """Files and records of a run in which each file contains its name."""
    for name in {*made_from, "data/given.extxyz"}:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    metadata = folder / ".snakemake/metadata"
    metadata.mkdir(parents=True, exist_ok=True)
    for name, (rule, inputs) in made_from.items():
        record = {"rule": rule, "input": inputs, "params": ["{'seed': 5}"], "starttime": 1.0, "endtime": 2.0, "log": []}
        (metadata / urlsafe_b64encode(name.encode()).decode()).write_text(json.dumps(record))
    return folder


@pytest.fixture
def root(tmp_path):
    return write_run(tmp_path)


def test_every_file_behind_a_figure_has_its_checksum_and_its_parents(root):
    manifest = make_manifest(CONFIG, [FIGURE, OTHER], root)
    assert set(manifest["files"]) == {*MADE_FROM, "data/given.extxyz"}
    for name, entry in manifest["files"].items():
        assert entry["sha256"] == hashlib.sha256(name.encode()).hexdigest()
        assert (entry.get("rule"), entry.get("input")) == MADE_FROM.get(name, (None, None))
    assert manifest["seed"] == 5
    assert manifest["config"]["engine"]["name"] == "toy"
    assert manifest["software"]["versions"]["numpy"]


def test_the_chain_is_each_file_once_after_what_was_made_from_it(root):
    manifest = make_manifest(CONFIG, [FIGURE, OTHER], root)
    assert chain_of(manifest, FIGURE) == [
        *(FIGURE, TABLE, "results/a/production/t.h5", "results/a/train/gen0/ensemble.pt", "data/given.extxyz"),
    ]
    with pytest.raises(DataError, match="it has the figures fig3, fig7"):
        chain_of(manifest, "results/a/figures/fig99.csv")


def test_only_files_that_changed_are_read_again(root, monkeypatch):
    path = root / "results/a/manifest.json"
    write_manifest(path, CONFIG, [FIGURE], root)
    first = read_json(path)
    path.unlink()
    read = []
    monkeypatch.setattr(provenance, "file_sha256", lambda file: read.append(file) or "new")
    table = root / TABLE
    table.write_text("other")
    os.utime(table, ns=(1, 1))
    write_manifest(path, CONFIG, [FIGURE], root)
    assert read == [table]
    second = read_json(path)
    assert second["files"].pop(TABLE)["sha256"] == "new"
    first["files"].pop(TABLE)
    assert second["files"] == first["files"]


def test_trace_prints_the_chain_and_marks_what_has_changed(root, monkeypatch, capsys):
    monkeypatch.chdir(root)
    write_manifest(root / "results/a/manifest.json", CONFIG, [FIGURE])
    (root / "a.yaml").write_text("run: a\n")
    assert main(["trace", "fig7", "a.yaml"]) == 0
    said = capsys.readouterr().out
    assert [line for line in said.split("\n\n")[0].splitlines() if line[0] != " "] == [
        *("fig7", "diffusion", "production", "ensemble", "given"),
    ]
    assert hashlib.sha256(TABLE.encode()).hexdigest()[:16] in said
    assert "changed" not in said
    (root / TABLE).write_text("other numbers")
    main(["trace", "fig7", "a.yaml"])
    assert f"{TABLE}  (has changed since)" in capsys.readouterr().out


def test_many_files_of_a_rule_are_counted(root):
    manifest = make_manifest(CONFIG, [FIGURE], root)
    many = [f"results/a/label/g0f{i}.extxyz" for i in range(9)]
    manifest["files"] |= {name: {"rule": "label", "sha256": "0" * 64} for name in many}
    manifest["files"][TABLE]["input"] = many
    for name in many[1:]:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text("")
        state = (root / name).stat()
        manifest["files"][name] |= {"size": 0, "mtime_ns": state.st_mtime_ns}
    said = describe_chain(manifest, FIGURE, root)
    assert "g0f0.extxyz  (no longer there)" in said
    assert "… and " in said and said.count("label/g0f") <= provenance.MAX_FILES_PER_RULE + 1
