"""The crate of a run made by hand: what it refuses, and entries against hashlib and the Citation File Format."""

import hashlib
import json

import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import load_config
from redoxmd.runs.provenance import write_manifest
from tests.runs.test_provenance import CONFIG, FIGURE, TABLE, write_run

pytest.importorskip("rocrate")
AUTHORS = [
    {"family-names": "Curie", "given-names": "Marie", "orcid": "https://orcid.org/0000-0002-1825-0097"},
    {"name": "The institute"},
]


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.chdir(write_run(tmp_path))
    (tmp_path / "a.yaml").write_text("run: a\nengine: {name: toy}\n")
    (tmp_path / "mine.cff").write_text(yaml.safe_dump({"license": "CC-BY-4.0", "authors": AUTHORS}))
    write_manifest(tmp_path / "results/a/manifest.json", CONFIG, [FIGURE])
    return tmp_path / "results/a"


def entities(results):
    record = json.loads((results / "ro-crate-metadata.json").read_text())
    assert record["@context"] == "https://w3id.org/ro/crate/1.2/context"
    return {entity["@id"]: entity for entity in record["@graph"]}


def test_results_are_files_and_given_data_are_inputs(results, capsys):
    (results / "figures/fig 7.png").write_bytes(b"png")
    assert main(["crate", "a.yaml", "--citation", "mine.cff"]) == 0
    assert capsys.readouterr().out.strip() == "results/a/ro-crate-metadata.json"
    crate = entities(results)
    parts = {part["@id"] for part in crate["./"]["hasPart"]}
    assert parts == {
        *("figures/fig7.csv", "diffusion/d.csv", "production/t.h5", "train/gen0/ensemble.pt", "figures/fig%207.png"),
        *("manifest.json", "crate-config.yaml"),
    }
    table = crate["diffusion/d.csv"]
    assert (table["sha256"], table["contentSize"]) == (hashlib.sha256(TABLE.encode()).hexdigest(), str(len(TABLE)))
    assert table["encodingFormat"] == "text/csv" and table["description"] == "output of the rule diffusion"
    assert {part["@id"] for part in crate["#run"]["result"]} == parts
    given = crate["#run"]["object"]
    assert crate[given["@id"]]["name"] == "data/given.extxyz"
    assert crate[given["@id"]]["sha256"] == hashlib.sha256(b"data/given.extxyz").hexdigest()
    # Times of the records are 1 and 2 seconds after 1970.
    assert (crate["#run"]["startTime"], crate["#run"]["endTime"]) == (
        *("1970-01-01T00:00:01+00:00", "1970-01-01T00:00:02+00:00"),
    )
    assert load_config(results / "crate-config.yaml") == CONFIG
    # Demanded by RO-Crate 1.2 (the validator roc-validator, which needs the network, checks it).
    programs = [entity for entity in crate.values() if entity["@type"] == "SoftwareApplication"]
    assert {"redoxmd", "Python", "numpy"} <= {program["name"] for program in programs}
    assert all(program["version"] and program["url"].startswith("https://") for program in programs)


def test_authors_and_licence_are_those_of_the_citation_file(results):
    main(["crate", "a.yaml", "--citation", "mine.cff"])
    crate = entities(results)
    assert crate["./"]["license"] == {"@id": "https://spdx.org/licenses/CC-BY-4.0"}
    authors = [crate[author["@id"]] for author in crate["./"]["author"]]
    assert [(author["@type"], author["name"]) for author in authors] == [
        *(("Person", "Marie Curie"), ("Organization", "The institute")),
    ]
    assert authors[0]["@id"] == AUTHORS[0]["orcid"]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda folder: (folder / TABLE).write_text("other numbers"), "results/a/diffusion/d.csv: not as in "),
        (lambda folder: (folder / TABLE).unlink(), "results/a/diffusion/d.csv: not as in "),
        (lambda folder: (folder / "results/a/manifest.json").unlink(), "manifest.json: no such record"),
        (lambda folder: (folder / "mine.cff").unlink(), "mine.cff: write a Citation File Format"),
        (lambda folder: (folder / "mine.cff").write_text("license: MIT"), "mine.cff: write a Citation File Format"),
    ],
)
def test_an_unfinished_or_changed_run_has_no_crate(spoil, message, results, tmp_path, capsys):
    spoil(tmp_path)
    assert main(["crate", "a.yaml", "--citation", "mine.cff"]) == 1
    assert message in capsys.readouterr().err
    assert not (results / "ro-crate-metadata.json").exists()
