from dataclasses import replace

from redoxmd.archive.levels import Group, group_levels, level_differences, level_hash, level_record, read_level
from redoxmd.engines.calculation import Level

BASE = Level(
    "vasp",
    "PBE",
    500.0,
    True,
    {"V": ("d", 4.2)},
    {"V": "PAW_PBE V_pv 07Sep2000", "O": "PAW_PBE O 08Apr2002"},
    17.0,
    {"SIGMA": 0.05, "NUPDOWN": -1},
)
OTHER = replace(BASE, cutoff_eV=400.0)
SILENT = Level("vasp")


def members(groups):
    return [group.members for group in groups]


def test_the_largest_group_comes_first():
    groups = group_levels([OTHER, BASE, None, BASE])
    assert members(groups) == [[1, 3], [0]]
    assert groups[0].settings_hash == level_hash(BASE)


def test_a_cell_without_an_element_does_not_hide_that_others_differ_in_it():
    oxide = replace(BASE, hubbard={}, potentials={"O": BASE.potentials["O"]})
    other_u = replace(BASE, hubbard={"V": ("d", 3.1)})
    # Both agree with the first, that has no V, but not with each other.
    assert members(group_levels([oxide, BASE, other_u, BASE])) == [[0, 1, 3], [2]]


def test_the_demanded_level_comes_first_even_when_nothing_has_it():
    groups = group_levels([OTHER, OTHER], Group(BASE, "mine"))
    assert (groups[0].settings_hash, members(groups)) == ("mine", [[], [0, 1]])


def test_what_the_demand_leaves_open_the_largest_group_decides():
    unspoken = replace(BASE, spin=None)
    unpolarised = replace(BASE, spin=False)
    groups = group_levels([unpolarised, BASE, BASE], Group(unspoken, "mine"))
    assert members(groups) == [[1, 2], [0]]


def test_a_silent_file_agrees_with_silent_files_only():
    assert members(group_levels([BASE, BASE, SILENT, SILENT])) == [[0, 1], [2, 3]]
    assert level_differences(SILENT, BASE) == ["states no level of theory"]
    assert members(group_levels([BASE, SILENT, Level("gpaw")], Group(BASE, "mine"), trust=True)) == [[0, 1], [2]]


def test_a_file_that_gives_a_hash_is_of_the_level_of_that_hash():
    given = Level("vasp", details={"settings_hash": level_hash(BASE)})
    stranger = Level("vasp", details={"settings_hash": "another"})
    groups = group_levels([given, given, OTHER, BASE, OTHER, stranger])
    assert members(groups) == [[0, 1, 3], [2, 4], [5]]
    assert "settings_hash" not in groups[0].level.details
    groups = group_levels([Level("vasp", details={"settings_hash": "mine"}), BASE, stranger], Group(BASE, "mine"))
    assert members(groups) == [[0, 1], [2]]


def test_a_file_without_a_hash_cannot_be_compared_with_a_level_known_by_its_hash():
    wanted = Level("emt", details={"settings_hash": "mine"})
    (said,) = level_differences(BASE, wanted, "mine")
    assert "the level of emt cannot be read from files, only its settings hash mine, and this one (vasp) has" in said
    assert "without --config" in said


def test_a_hash_does_not_hang_on_the_size_of_the_cell():
    assert level_hash(BASE) == level_hash(replace(BASE, kpoint_reach_A=18.0, details={"SIGMA": 0.05, "NUPDOWN": 8}))
    assert level_hash(BASE) != level_hash(OTHER)


def test_a_level_survives_the_card_of_a_dataset():
    assert read_level(level_record(BASE)) == BASE
