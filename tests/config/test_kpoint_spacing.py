"""k-points by spacing, from the config file to the input of each engine; truth: VASP's formula of KSPACING by hand."""

import json
import math

import numpy as np
import pytest
import yaml

from redoxmd.config import load_config, read_config
from redoxmd.config.declared import runtime_settings
from redoxmd.engines import attempt_hash, get_engine, reference_record, settings_hash
from redoxmd.errors import ConfigError, StructureError
from redoxmd.files.records import read_json
from redoxmd.structures.source import source_cell
from tests.engines.test_engines import nvp
from tests.standin import install_standin
from tests.workflow.test_workflow import repository, snakemake

# A triclinic cell, in Å, and its reciprocal lengths with 2π: 2.1099, 1.4298, 0.7953 1/Å.
CELL_A = np.array([[3.0, 0.0, 0.0], [0.5, 4.4, 0.0], [0.3, -0.4, 7.9]])
POSCAR = "\n".join(
    ["NaCl", "1.0", *(" ".join(map(str, row)) for row in CELL_A), "Na Cl", "1 1", "Direct", "0 0 0", "0.5 0.5 0.5", ""]
)


def kspacing_grid(cell_A, spacing_1_A):
    """N_i = max(1, ⌈|b_i| / spacing⌉), b_i · a_j = 2π δ_ij (VASP manual, KSPACING)."""
    b = 2 * np.pi * np.linalg.inv(cell_A).T
    return tuple(max(1, math.ceil(np.linalg.norm(row) / spacing_1_A)) for row in b)


@pytest.fixture
def config_file(tmp_path):
    def write(**engine):
        (tmp_path / "NaCl.poscar").write_text(POSCAR)
        structures = {"source": str(tmp_path / "NaCl.poscar"), "mobile_ion": "Na", "redox_element": None}
        structures |= {"formula_units": 1, "preferred_site": "Na1", "moments_muB": {}, "moments_x": 1.0}
        raw = {"run": "trial", "structures": structures, "engine": engine, "density": {"enabled": False}}
        raw["explore"] = {"phases": [{"name": "small", "supercell": [1, 1, 1]}]}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw))
        return tmp_path / "config.yaml"

    return write


@pytest.mark.parametrize(
    # 2.1099, 1.4298 and 0.7953 1/Å over the spacing, rounded up.
    ("spacing_1_A", "grid"),
    [(0.5, (5, 3, 2)), (0.3, (8, 5, 3)), (2.0, (2, 1, 1)), (0.1, (22, 15, 8))],
)
@pytest.mark.parametrize("name", ["gpaw", "vasp"])
def test_the_grid_is_that_of_kspacing_and_its_labels_those_of_the_grid(name, spacing_1_A, grid, config_file):
    assert kspacing_grid(CELL_A, spacing_1_A) == grid
    path = config_file(name=name, **{name: {"kpoint_spacing_1_A": spacing_1_A}})
    by_spacing = [load_config(path).engine, runtime_settings(read_config(path)).engine]
    path = config_file(name=name, **{name: {"kpoints": list(grid)}})
    for engine in by_spacing:
        assert getattr(engine, name).kpoints == grid
        assert reference_record(engine) == reference_record(load_config(path).engine)
        assert settings_hash(engine) == settings_hash(load_config(path).engine)
        assert attempt_hash(engine) == attempt_hash(load_config(path).engine)


def test_the_grid_is_that_of_the_source_cell_and_not_of_the_file(config_file):
    raw = read_config(config_file(name="gpaw", gpaw={"kpoint_spacing_1_A": 0.3}))
    raw["structures"] |= {"cell_matrix": [[2, 0, 0], [0, 1, 0], [0, 0, 1]], "formula_units": 2}
    path = config_file()
    path.write_text(yaml.safe_dump(raw))
    assert load_config(path).engine.gpaw.kpoints == kspacing_grid(np.diag([2, 1, 1]) @ CELL_A, 0.3) == (4, 5, 3)


class GivenKeywords(Exception):
    """Raised in the place of a calculation, with the keywords that GPAW was given."""


@pytest.mark.gpaw
def test_gpaw_is_given_the_grid(config_file, monkeypatch):
    def calculator(**keywords):
        raise GivenKeywords(keywords)

    monkeypatch.setattr("gpaw.GPAW", calculator)
    settings = load_config(config_file(name="gpaw", gpaw={"kpoint_spacing_1_A": 0.3, "hubbard": {}})).engine
    atoms = source_cell(load_config(config_file()).structures).atoms
    with pytest.raises(GivenKeywords) as given:
        get_engine(settings, (1, 1, 1), None).calculate(atoms)
    assert given.value.args[0]["kpts"] == {"size": (8, 5, 3), "gamma": True}


def test_gpaws_grid_is_rounded_up_for_supercells(config_file):
    """(8, 5, 3) becomes what repeats of (1, 2, 2) divide."""
    path = config_file(name="gpaw", gpaw={"kpoint_spacing_1_A": 0.3})
    raw = read_config(path) | {"aimd": {"supercell": [1, 2, 2]}}
    path.write_text(yaml.safe_dump(raw))
    expected = load_config(path).engine.gpaw.kpoints
    assert expected == runtime_settings(raw).engine.gpaw.kpoints == (8, 6, 4)


@pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 1, 1)])
def test_vasp_reads_the_grid_from_its_file(repeats, tmp_path):
    """Rhombohedral, where |b| is not 2π/|a|: of a = 8.7 Å a spacing of 0.4 1/Å would be 2 divisions, here it is 3."""
    site = install_standin(tmp_path / "site")
    vasp = {"command": site.command, "potcar_dir": str(site.potcar_dir), "potcars": {"Na": "Na_pv", "V": "V_pv"}}
    raw = {"run": "trial", "engine": {"name": "vasp", "vasp": vasp | {"kpoint_spacing_1_A": 0.4}}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(raw))
    config = load_config(tmp_path / "config.yaml")
    grid = kspacing_grid(source_cell(config.structures).atoms.cell.array, 0.4)
    assert grid == (3, 3, 3)
    get_engine(config.engine, repeats, tmp_path / "work").calculate(nvp(2.5).repeat(repeats))
    lines = (tmp_path / "work/run/KPOINTS").read_text().splitlines()
    assert lines[1:3] == ["0", "Gamma"]
    assert lines[3].split() == [str(math.ceil(n / r)) for n, r in zip(grid, repeats, strict=True)]
    # The tag would ask for another grid in a supercell whose grid is rounded up.
    assert "KSPACING" not in (tmp_path / "work/run/INCAR").read_text()


@pytest.mark.parametrize("name", ["gpaw", "vasp"])
def test_a_grid_and_a_spacing_are_refused_together(name, config_file):
    path = config_file(name=name, **{name: {"kpoint_spacing_1_A": 0.3, "kpoints": [2, 2, 2]}})
    with pytest.raises(ConfigError, match=rf"{name}\.kpoints and {name}\.kpoint_spacing_1_A exclude each other"):
        load_config(path)
    # The defaults, written out, are no choice of both.
    path = config_file(name=name, **{name: {"kpoint_spacing_1_A": None, "kpoints": [3, 2, 1]}})
    assert getattr(load_config(path).engine, name).kpoints == (3, 2, 1)


@pytest.mark.workflow
@pytest.mark.parametrize(
    ("first", "second", "option", "grid", "source"),
    [
        # 2.1099, 1.4298 and 0.7953 1/Å over the spacing, rounded up.
        ({"kpoints": [2, 2, 2]}, {"kpoint_spacing_1_A": 0.3}, None, [8, 5, 3], "second.yaml"),
        ({"kpoint_spacing_1_A": 0.3}, {"kpoints": [2, 2, 2]}, None, [2, 2, 2], "second.yaml"),
        # Snakemake passes numbers inside a mapping of this option as text.
        ({"kpoint_spacing_1_A": 0.3}, {"kpoints": [2, 2, 2]}, {"kpoint_spacing_1_A": "0.5"}, [5, 3, 2], "--config"),
    ],
)
def test_the_last_of_merged_files_chooses(first, second, option, grid, source, config_file, tmp_path):
    """A run of Snakemake: its record of the reference has the grid, its jobs read a config with one of the keys."""
    path = config_file(name="gpaw", gpaw={"hubbard": {}, **first})
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({"engine": {"gpaw": second}}))
    folder = repository(tmp_path / "work")
    words = ["--configfile", str(path), str(tmp_path / "second.yaml")]
    words += ["--config", f"engine={json.dumps({'gpaw': option})}"] if option else []
    run = snakemake(folder, *words, "--cores", "1", "--", "results/trial/structures/x1.000_random0_1x1x1.extxyz")
    assert run.returncode == 0, run.stderr[-3000:]
    assert read_json(folder / "results/trial/reference.json")["settings"]["kpoints"] == grid
    (exported,) = (folder / "results/trial/configs").iterdir()
    given = {**first, **second, **(option or {})}
    chosen = "kpoints" if grid == [2, 2, 2] else "kpoint_spacing_1_A"
    assert read_json(exported)["engine"]["gpaw"] == {"hubbard": {}, chosen: given[chosen]}
    (line,) = [line for line in run.stderr.splitlines() if line.startswith("redoxmd: engine.gpaw")]
    assert f"engine.gpaw.{chosen} of " in line and source in line


@pytest.mark.workflow
def test_a_file_with_both_is_refused_also_as_the_last_of_several(config_file, tmp_path):
    path = config_file(name="gpaw", gpaw={"hubbard": {}, "kpoints": [2, 2, 2]})
    both = {"kpoints": [3, 3, 3], "kpoint_spacing_1_A": 0.3}
    (tmp_path / "second.yaml").write_text(yaml.safe_dump({"engine": {"gpaw": both}}))
    folder = repository(tmp_path / "work")
    run = snakemake(folder, "--configfile", str(path), str(tmp_path / "second.yaml"), "--dry-run")
    assert run.returncode != 0 and "gpaw.kpoints and gpaw.kpoint_spacing_1_A exclude each other" in run.stdout


def test_a_spacing_without_a_source_cell_names_the_file(config_file, tmp_path):
    path = config_file(name="gpaw", gpaw={"kpoint_spacing_1_A": 0.3})
    (tmp_path / "NaCl.poscar").unlink()
    with pytest.raises(StructureError, match=r"NaCl\.poscar"):
        load_config(path)
