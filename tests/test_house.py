"""What must agree across the project's own files."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from redoxmd.figures import catalogue

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TOP_LEVEL = {"workflow", "rules", "envs", "src", "config", "tests", "Snakefile", "README.md"}
MANY_LINES = 400


def pins(requirements):
    found = (re.match(r"([A-Za-z0-9_.-]+)==([\w.]+)", item) for item in requirements)
    return {match[1].lower().replace("_", "-"): match[2] for match in found if match}


def all_pins():
    extras = PROJECT["optional-dependencies"].values()
    return pins([*PROJECT["dependencies"], *(item for extra in extras for item in extra)])


def test_constraints_agree_with_pyproject():
    constraints = pins((ROOT / "envs/constraints.txt").read_text().splitlines())
    different = {
        name: (version, constraints.get(name))
        for name, version in all_pins().items()
        if constraints.get(name, version) != version
    }
    assert different == {}
    needed = pins([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["gpaw"]])
    assert set(needed) <= set(constraints)


@pytest.mark.parametrize("path", sorted((ROOT / "envs").glob("*.yaml")), ids=lambda path: path.stem)
def test_conda_environments_agree_with_pyproject(path):
    environment = yaml.safe_load(path.read_text())
    listed = [item for item in environment["dependencies"] if isinstance(item, str)]
    listed += [item for part in environment["dependencies"] if isinstance(part, dict) for item in part["pip"]]
    found = pins(item.replace("==", "=").replace("=", "==") for item in listed)
    expected = all_pins()
    assert {name: version for name, version in found.items() if expected.get(name, version) != version} == {}


def test_the_top_level_is_what_was_agreed():
    assert {path.name for path in ROOT.iterdir()} >= TOP_LEVEL


def test_every_figure_has_its_rule_script_caption_and_module():
    rules = (ROOT / "rules/figures.smk").read_text()
    for figure in catalogue.EVERY_FIGURE:
        assert re.search(rf"^(rule {figure}:|use rule learning_curve as {figure} with:)$", rules, re.MULTILINE), figure
        assert (ROOT / f"workflow/scripts/{figure}.py").exists()
        assert (ROOT / f"workflow/report/{figure}.rst").exists()
        assert (ROOT / f"src/redoxmd/figures/{figure}.py").exists()


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


def test_starter_data_is_what_its_card_says():
    from redoxmd.files.records import file_sha256
    from redoxmd.train.dataset import read_dataset_card

    folder = ROOT / "resources/nvp-gpaw"
    card = read_dataset_card(folder)
    assert {name: file_sha256(folder / name) for name in card["files"]} == card["files"]


def test_the_quickstart_uses_the_settings_of_its_starter_data():
    from redoxmd.config import load_config
    from redoxmd.engines import settings_hash
    from redoxmd.train.dataset import read_dataset_card

    config = load_config(ROOT / "config/config.yaml")
    for folder in config.train.datasets:
        assert read_dataset_card(ROOT / folder)["settings_hash"] == settings_hash(config.engine)


def test_hdf5_is_written_in_one_place():
    """Anywhere else a full disk would crash the process (`redoxmd.files.hdf5`)."""
    for path in [*(ROOT / "src").rglob("*.py"), *(ROOT / "workflow").rglob("*.py")]:
        if path.name != "hdf5.py":
            found = re.findall(r"h5py\.File\([^)]*\)|\.to_netcdf|xr\.load_dataset", path.read_text())
            assert [use for use in found if not use.endswith('"r")')] == [], path
