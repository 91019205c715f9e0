"""Contents that are no short decimals: thirds, sixths and the like, typed as people type them."""

import math
from fractions import Fraction

import pytest
import yaml
from ase import Atoms
from ase.io import read, write

from redoxmd.cli import main
from redoxmd.config import load_config, parse_config
from redoxmd.errors import ConfigError
from redoxmd.files import layout
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import plain
from redoxmd.structures.build import build_structure
from redoxmd.structures.content import content_text, parse_content
from redoxmd.structures.request import parse_name, structure_name


@pytest.mark.parametrize("typed", ["2/3", " 4 / 6", 0.6667, "0.6667", 0.66667, 0.666667, 2 / 3, 1 - 1 / 3])
def test_two_thirds_however_they_are_typed(typed):
    assert parse_content(typed) == 2 / 3


@pytest.mark.parametrize("typed", [2.5, 2.125, 2.0625, 0.333, 0.667, 0.6666, 0.6668, 0.2338, 2.00004, 0.0025, 1.0])
def test_other_decimals_stay_as_typed(typed):
    assert parse_content(typed) == typed


def test_names_of_short_decimals_are_as_they_were():
    """As structure_name wrote them with four decimals, for every content of cells up to 1000 formula units."""
    for units in (2, 4, 5, 8, 16, 20, 25, 50, 80, 100, 125, 200, 250, 400, 500, 1000):
        for ions in range(units + 1):
            x = ions / units
            if (10_000 * ions) % units == 0:
                assert content_text(parse_content(x)) == f"{x:.4f}".removesuffix("0")


def test_names_give_the_number_of_ions_back():
    for units in (3, 6, 18, 54, 64, 128, 250, 432, 686, 1000):
        texts = set()
        for ions in range(2 * units + 1):
            name = structure_name(parse_content(ions / units), "random", 0, (3, 3, 1))
            request = parse_name(name)
            assert request.name == name and request.x * units == pytest.approx(ions, abs=1e-9)
            assert Fraction(request.x).limit_denominator(1000) == Fraction(ions, units)
            texts.add(name)
        assert len(texts) == 2 * units + 1


@pytest.mark.parametrize("typed", ["2/3", "1.5/2", "-1/3", "1/0", "two thirds"])
def test_what_is_no_content_is_refused(typed):
    sections = {"aimd": {"starts": [{"x": typed}]}, "production": {"x": [typed]}}
    if typed == "2/3":
        assert parse_config(sections).production.x == (2 / 3,)
        return
    with pytest.raises(ConfigError, match=r"aimd\.starts\[0\]\.x") as refusal:
        parse_config(sections)
    assert "production.x[0]" in str(refusal.value)


def layered_cif(path):
    """P2-NaMnO2 with its e sites, 2 formula units."""
    scaled = [[1 / 3, 2 / 3, 0.75], [2 / 3, 1 / 3, 0.25], [0, 0, 0], [0, 0, 0.5]]
    scaled += [[1 / 3, 2 / 3, 0.09], [2 / 3, 1 / 3, 0.91], [2 / 3, 1 / 3, 0.59], [1 / 3, 2 / 3, 0.41]]
    write(path, Atoms("Na2Mn2O4", scaled_positions=scaled, cell=[2.87, 2.87, 11.2, 90, 90, 120], pbc=True))
    return path


@pytest.mark.parametrize("typed", ["2/3", 0.6667, 0.666667, 0.6666666666666667])
def test_a_run_of_two_thirds(typed, tmp_path, capsys):
    structures = {
        "source": str(layered_cif(tmp_path / "p2.cif")),
        "mobile_ion": "Na",
        "redox_element": "Mn",
        "formula_units": 2,
        "preferred_site": "Na1",
        "moments_muB": {"Mn": 4.0},
        "moments_x": 1.0,
    }
    starts = {"supercell": [3, 3, 1], "starts": [{"x": typed}]}
    config = {
        "run": "thirds",
        "structures": structures,
        "aimd": starts,
        "explore": {"phases": [{"name": "small", **starts}]},
        "production": {"x": [typed, 1.0], "supercell": [3, 3, 1], "temperatures_K": [800], "replicas": 1},
        "neb": {"paths": [{"name": "seen", "x": typed, "event": "auto"}]},
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(config))
    assert main(["check", str(path)]) == 0, capsys.readouterr().out
    loaded = load_config(path)
    # What the manifest and the rules hand on is read again.
    assert parse_config(yaml.safe_load(yaml.safe_dump(plain(loaded)))) == loaded
    (name,) = layout.structure_names(loaded.aimd.starts, loaded.aimd.supercell)
    assert name == "x0.666667_random0_3x3x1"
    write_frames(tmp_path / "made.extxyz", [build_structure(parse_name(name), loaded.structures, loaded.seed)])
    (atoms,) = read_frames(tmp_path / "made.extxyz")
    assert read(tmp_path / "made.extxyz").get_chemical_formula() == "Mn18Na12O36"
    assert atoms.info["x"] == 2 / 3
    # 6 of 18 Mn are Mn4+ with one μB less.
    assert math.isclose(atoms.get_initial_magnetic_moments().sum(), 18 * 4 - 6, abs_tol=1e-6)
    assert layout.event_trajectories(loaded.production, loaded.neb.paths[0]) == [("x0.666667_preferred0_3x3x1", "800")]
