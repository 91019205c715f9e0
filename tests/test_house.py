"""What must agree across the project's own files."""

import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from redoxmd.figures import catalogue

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOP_LEVEL = {"workflow", "rules", "envs", "src", "config", "tests", "Snakefile", "README.md"}
MANY_LINES = 400


# Package → version; torch stands in a comment, because pip must leave another build alone.
PINS = {
    canonicalize_name(name): version
    for name, version in re.findall(
        r"^(?:# )?([\w.-]+)==(\S+)$", (ROOT / "envs/constraints.txt").read_text(), re.MULTILINE
    )
}
EXTRAS = PROJECT["optional-dependencies"].values()


@pytest.mark.parametrize("text", [*PROJECT["dependencies"], *(item for extra in EXTRAS for item in extra)])
def test_every_dependency_has_a_range_and_is_pinned_within_it(text):
    requirement = Requirement(text)
    assert any(item.operator == ">=" for item in requirement.specifier)
    assert not any(item.operator == "==" for item in requirement.specifier)
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_versions_are_pinned_in_the_constraints_alone():
    folders = [ROOT / name for name in ("envs", "docs", "config", "workflow/profiles", ".ci")]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in ("", ".md", ".yaml", ".txt")]
    files += [ROOT / name for name in ("Makefile", "README.md", "CONTRIBUTING.md", "pyproject.toml")]
    files.remove(ROOT / "envs/constraints.txt")
    pin = re.compile(r"([\w.-]+)==?\d")
    pinned = [
        (path.relative_to(ROOT).as_posix(), name)
        for path in files
        if path.is_file()
        for name in pin.findall(path.read_text())
        if canonicalize_name(name) in PINS
    ]
    assert pinned == []


def test_the_conda_environment_takes_its_versions_from_the_constraints():
    environment = yaml.safe_load((ROOT / "envs/redoxmd.yaml").read_text())
    (pip,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert pip == ["-c constraints.txt", "-e ..[gpaw]"]


def test_the_top_level_is_what_was_agreed():
    assert {path.name for path in ROOT.iterdir()} >= TOP_LEVEL


def test_every_figure_has_its_rule_script_caption_and_module():
    rules = (ROOT / "rules/figures.smk").read_text()
    for figure in catalogue.EVERY_FIGURE:
        assert re.search(rf"^(rule {figure}:|use rule learning_curve as {figure} with:)$", rules, re.MULTILINE), figure
        assert (ROOT / f"workflow/scripts/{figure}.py").exists()
        assert (ROOT / f"workflow/report/{figure}.rst").exists()
        assert (ROOT / f"src/redoxmd/figures/{figure}.py").exists()


@pytest.mark.parametrize("rules", sorted((ROOT / "rules").glob("*.smk")), ids=lambda path: path.stem)
def test_a_stage_has_one_name(rules):
    """Rules, package, config section, results folder and tests."""
    stage = rules.stem.removesuffix("_batch")
    if stage == "common":
        assert not re.search(r"^(rule|use rule|checkpoint) ", rules.read_text(), re.MULTILINE)
        return
    assert (ROOT / f"src/redoxmd/config/sections/{stage}.py").exists()
    assert f'"results/{{run}}/{stage}/' in rules.read_text()
    for folder, module in (("src/redoxmd", stage), ("tests", f"test_{stage}")):
        assert (ROOT / folder / stage).is_dir() or (ROOT / folder / f"{module}.py").exists(), folder


def test_the_top_of_the_package_is_small():
    modules = sorted(path.name for path in (ROOT / "src/redoxmd").glob("*.py"))
    assert len(modules) <= 12, modules


def test_scripts_are_thin():
    for path in (ROOT / "workflow/scripts").glob("*.py"):
        assert len(path.read_text().splitlines()) <= 40, path.name
        assert not re.search(r"^(def|class) ", path.read_text(), re.MULTILINE), path.name


def test_modules_stay_readable():
    long = [path.name for path in (ROOT / "src").rglob("*.py") if len(path.read_text().splitlines()) > MANY_LINES]
    assert long == []


def test_every_definition_is_held_by_a_test():
    (table,) = re.findall(
        r"^\| quantity .*\n\|---.*\n((?:\|.*\n)+)", (ROOT / "docs/definitions.md").read_text(), re.MULTILINE
    )
    for row in table.splitlines():
        module, name = re.search(r"\| `(\w+)\.(\w+)` \|$", row).groups()
        sources = [path.read_text() for path in (ROOT / "tests").rglob(f"{module}.py")]
        assert any(re.search(rf"^ *(def|class) {name}\b", source, re.MULTILINE) for source in sources), row[:60]


def test_every_definition_names_code_that_exists():
    """The column `where` of the table of definitions: a module of the package, and a name in it."""
    package = ROOT / "src/redoxmd"
    (table,) = re.findall(
        r"^\| quantity .*\n\|---.*\n((?:\|.*\n)+)", (ROOT / "docs/definitions.md").read_text(), re.MULTILINE
    )
    for row in table.splitlines():
        for name in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)+)`", row.split(" | ")[-2]):
            parts = name.split(".")
            counts = [n for n in range(len(parts), 0, -1) if any(map(Path.exists, module_files(package, parts[:n])))]
            assert counts, name
            file = next(filter(Path.exists, module_files(package, parts[: counts[0]])))
            assert all(re.search(rf"\b{word}\b", file.read_text()) for word in parts[counts[0] :]), name


def module_files(package, parts):
    """Files in which a module can be: its own or that of its package."""
    path = package.joinpath(*parts)
    return path.with_suffix(".py"), path / "__init__.py"


@pytest.mark.parametrize("folder", ["resources/nvp-states", "tests/data/nvp-loose"])
def test_frames_are_what_their_card_says(folder):
    from redoxmd.files.records import file_sha256
    from redoxmd.train.dataset import read_dataset_card

    card = read_dataset_card(ROOT / folder)
    assert {name: file_sha256(ROOT / folder / name) for name in card["files"]} == card["files"]


def test_frames_with_controlled_states_are_those_that_neutrality_requires():
    """V4+ counted by the formal charges of all other atoms, by hand; moments within 0.35 of the levels' distance."""
    from redoxmd.config import load_config
    from redoxmd.engines import settings_hash
    from redoxmd.files.frames import read_frames
    from redoxmd.files.layout import aimd_structures
    from redoxmd.runs.plan import make_plan
    from redoxmd.train.dataset import read_dataset_card

    folder = ROOT / "resources/nvp-states"
    card = read_dataset_card(folder)
    frames = [frame for name in card["files"] if name.endswith(".extxyz") for frame in read_frames(folder / name)]
    assert len(frames) == card["frames"]
    started = []
    for name in ("campaign", "single_frames"):
        config = load_config(folder / f"{name}.yaml")
        assert settings_hash(config.engine) == card["settings_hash"]
        assert make_plan(config, ROOT).problems == []
        started += aimd_structures(config)
    assert sorted(started) == sorted(card["configurations"])
    assert Counter(frame.info["config_id"] for frame in frames) == card["configurations"]
    for frame in frames:
        count = frame.get_chemical_symbols().count
        v4 = 2 * count("O") - 5 * count("P") - count("Na") - 3 * count("V")
        moments = np.sort(np.abs(frame.get_magnetic_moments()[frame.numbers == 23]))
        away = np.abs(moments - np.where(np.arange(len(moments)) < v4, 1.05, 1.85))
        assert (away <= 0.35 * (1.85 - 1.05)).all(), (frame.info["config_id"], frame.info["step"])
        assert frame.info["total_moment_muB"] == pytest.approx(2 * count("V") - v4, abs=0.05)
        assert frame.info["settings_hash"] == card["settings_hash"]
        if "orbital_occupations" not in frame.arrays:
            continue
        # The 15 columns of spin up are the upper triangle of a 5 × 5 matrix; V4+ fill one orbital of it, V3+ two.
        for atom in np.flatnonzero(frame.numbers == 23):
            matrix = np.zeros((5, 5))
            matrix[np.triu_indices(5)] = frame.arrays["orbital_occupations"][atom, :15]
            filled = np.linalg.eigvalsh(matrix, UPLO="U") > 0.75
            assert filled.sum() == (1 if abs(frame.get_magnetic_moments()[atom]) < 1.45 else 2)


@pytest.mark.parametrize("name", ["config", "demo", "barriers"])
def test_quickstart_and_demo_use_the_settings_of_their_frames(name):
    from redoxmd.config import load_config
    from redoxmd.engines import settings_hash
    from redoxmd.train.dataset import read_dataset_card

    config = load_config(ROOT / f"config/{name}.yaml")
    for folder in config.train.datasets:
        assert read_dataset_card(ROOT / folder)["settings_hash"] == settings_hash(config.engine)


def test_hdf5_is_written_in_one_place():
    """Anywhere else a full disk would crash the process (`redoxmd.files.hdf5`)."""
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]:
        if path.name != "hdf5.py":
            found = re.findall(r"h5py\.File\([^)]*\)|\.to_netcdf|xr\.load_dataset", path.read_text())
            assert [use for use in found if not use.endswith('"r")')] == [], path
