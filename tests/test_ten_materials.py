"""Configs of `benchmarks/materials`: the crystals meant, accepted by `redoxmd check`, and their rows as in the page."""

import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks.materials import FOLDER, material_names, write_config
from benchmarks.materials.rows import stop_reason, table_lines
from redoxmd.cli import main

ROOT = Path(__file__).parents[1]
# Atoms of the full cell, counted by hand from the published formula units (and twice the 16c per 8a of the spinel), and
# a bond with the sum of Shannon's radii (Acta Cryst. A 32, 751 (1976)) for coordination, spin and mean valence.
CRYSTALS = {
    "KFeF3": ("K8Fe8F24", "F–Fe", 0.78 + 1.33),
    "Li2FeSiO4": ("Li8Fe4Si4O16", "Fe–O", 0.63 + 1.38),
    "Li3OCl": ("Li24Cl8O8", "Cl–Li", 0.92 + 1.81),
    "LiCoO2": ("Li9Co9O18", "Co–O", 0.545 + 1.40),
    "LiFePO4": ("Li4Fe4P4O16", "Fe–O", 0.78 + 1.36),
    "LiMn2O4": ("Li12Mn8O16", "Mn–O", (0.645 + 0.53) / 2 + 1.38),
    "MgCr2O4": ("Mg4Cr8O16", "Cr–O", 0.615 + 1.38),
    "NMC111": ("Li9Mn3Co3Ni3O18", "Mn–O", (0.69 + 0.545 + 0.53) / 3 + 1.40),
    "Na2Li3FeO4": ("Li12Na8Fe4O16", "Fe–O", 0.49 + 1.38),
    "NaCrS2": ("Na9Cr9S18", "Cr–S", 0.615 + 1.84),
}
# Oxides and sulfides deviate from the sum of radii by up to this.
RADII_TOLERANCE_A = 0.12


def counts(formula):
    return dict(re.findall(r"([A-Z][a-z]?)(\d+)", formula))


@pytest.mark.parametrize("name", material_names())
def test_the_config_passes_and_describes_the_published_crystal(name, tmp_path, monkeypatch, capsys):
    path = write_config(name, tmp_path)
    config = yaml.safe_load(path.read_text())
    # CHGNet is an optional package; the check only imports the class.
    config["engine"]["ase"] = {"calculator": "ase.calculators.emt.EMT"}
    config["aimd"].setdefault("warm_up", {})["potential"] = "ase.calculators.emt.EMT"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.chdir(tmp_path)
    assert main(["check", "config.yaml"]) == 0
    text = capsys.readouterr().out
    formula, pair, sum_A = CRYSTALS[name.removesuffix("-states")]
    assert counts(re.search(r"full cell: (\w+),", text)[1]) == counts(formula)
    assert float(re.search(rf"{pair} ([\d.]+) Å", text)[1]) == pytest.approx(sum_A, abs=RADII_TOLERANCE_A)
    assert "4 configurations to learn from, 4 inequivalent" in text


def test_every_structure_file_is_used_small_and_has_its_source():
    files = {path.name for path in FOLDER.iterdir() if path.suffix in (".cif", ".vasp")}
    used = {
        yaml.safe_load((FOLDER / f"{name}.yaml").read_text())["config"]["structures"]["source"] for name in CRYSTALS
    }
    assert files == used and {name.removesuffix("-states") for name in material_names()} == set(CRYSTALS)
    assert sum((FOLDER / name).stat().st_size for name in files) < 200_000
    source = r"\(\d{4}\)|JVASP-\d+|mp-\d+|COD \d{7}"
    assert [name for name in files if not re.search(source, (FOLDER / name).read_text().partition("\ndata_")[0])] == []


def test_the_tables_of_the_page_are_those_of_the_rows():
    rows = pd.read_csv(FOLDER / "rows.csv")
    assert rows["name"].tolist() == material_names()
    page = (ROOT / "docs/materials.md").read_text(encoding="utf-8")
    assert "\n".join(table_lines(rows)) in page, "write the tables of `benchmarks.materials.rows.table_lines` into it"


def test_the_reason_of_a_stop_is_the_last_line_of_the_log_of_its_job(tmp_path):
    log = "Error in rule aimd:\n    log: logs/aimd/a.log (check log file(s) for error details)\nWorkflowError:\n"
    (tmp_path / "logs/aimd").mkdir(parents=True)
    (tmp_path / "logs/aimd/a.log").write_text("04:34:33  INFO    frame 0\n04:34:34  ERROR   a gave no frame\n\n")
    assert stop_reason(log, tmp_path) == "a gave no frame"
    assert stop_reason("Building DAG\nRuleException: no space\n", tmp_path) == "RuleException: no space"
