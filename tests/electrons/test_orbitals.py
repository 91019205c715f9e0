"""Occupation matrices and changes of the orbital order, through the files of labels and `redoxmd states`."""

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from scipy.stats import ortho_group

from redoxmd.cli import main
from redoxmd.config.sections import Electrons, Train
from redoxmd.electrons.orbitals import (
    OCCUPATIONS,
    filled_orbitals,
    occupation_columns,
    occupation_matrices,
    orbital_changes,
)
from redoxmd.electrons.parsing import parse_levels
from redoxmd.electrons.search import StateSearch
from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.engines.base import Result
from redoxmd.errors import LabelRefused
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.train.dataset import build_dataset

FRAMES = Path(__file__).parents[2] / "tests/data/nvp-loose/frames.extxyz"
# All V are V3+, but the SCF has spread the two d electrons of one over three orbitals.
SHARED = Path(__file__).parents[2] / "tests/data/shared-orbitals/x3.000_random1_step0.extxyz"
# xy, yz, z², xz, x² − y².
XY, YZ, XZ = 0, 1, 3


def filled(*orbitals, turned=None):
    """Spin-up and spin-down matrix of a d shell with these orbitals, or orbitals turned by a matrix, filled."""
    matrix = np.zeros((2, 5, 5))
    matrix[0, orbitals, orbitals] = 1.0
    return matrix if turned is None else turned @ matrix @ turned.T


def change(before, after):
    return orbital_changes(*(occupation_columns({0: matrices}, 1, 5) for matrices in (before, after)))[0]


def test_a_row_of_the_file_by_hand(tmp_path):
    """Two p shells and an atom without +U in a file of redoxmd; a smaller shell stands in the first rows."""
    up = [[0.9, 0.1, -0.2], [0.1, 0.8, 0.3], [-0.2, 0.3, 0.7]]
    down = [[0.05, 0.0, 0.02], [0.0, 0.04, 0.0], [0.02, 0.0, 0.03]]
    matrices = {0: np.array([up, down]), 2: np.array([[[0.6]], [[0.5]]])}
    atoms = Atoms("OHO", [[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    result = Result(-1.0, np.zeros((3, 3)), orbital_occupations=occupation_columns(matrices, 3, 3))
    write_frames(tmp_path / "label.extxyz", [result.label(atoms, config_id="a", step=0)])
    table = read(tmp_path / "label.extxyz").arrays[OCCUPATIONS]
    assert table[0].tolist() == [0.9, 0.1, -0.2, 0.8, 0.3, 0.7, 0.05, 0.0, 0.02, 0.04, 0.0, 0.03]
    assert table[1].tolist() == [0.0] * 12
    assert table[2].tolist() == [0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    back = occupation_matrices(read_frames(tmp_path / "label.extxyz")[0].arrays[OCCUPATIONS])
    assert back[0].tolist() == [up, down]


class TestChange:
    def test_two_orders_with_the_same_eigenvalues_are_one_electron_apart(self):
        """d² in xy, yz and in xy, xz: the eigenvalues are 1, 1, 0, 0, 0 in both."""
        assert change(filled(XY, YZ), filled(XY, XZ)) == pytest.approx(1.0)
        assert change(filled(XY, YZ), filled(XY, YZ)) == 0.0

    @pytest.mark.parametrize("degrees", [1.0, 17.0, 60.0])
    def test_a_turned_orbital_has_changed_by_its_sine(self, degrees):
        turn, angle = np.eye(5), np.radians(degrees)
        turn[np.ix_([YZ, XZ], [YZ, XZ])] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        assert change(filled(XY, YZ), filled(XY, YZ, turned=turn)) == pytest.approx(np.sin(angle))

    def test_the_axes_do_not_matter(self):
        axes = ortho_group.rvs(5, random_state=1)
        first, second = np.random.default_rng(0).random((2, 2, 5, 5))
        first, second = first + first.swapaxes(1, 2), second + second.swapaxes(1, 2)
        assert change(axes @ first @ axes.T, axes @ second @ axes.T) == pytest.approx(change(first, second))


class TestStates:
    """A run of real frames with planted occupations."""

    def run(self, tmp_path, capsys, orders, moments=None, steps=None):
        """Summary and table of `redoxmd states` for one geometry with these filled orbitals of each V3+.

        The V4+ has the first of them filled.
        """
        frame = next(frame for frame in read(FRAMES, ":") if frame.info["config_id"] == "x2.50_o0")
        vanadium = np.flatnonzero(frame.symbols == "V")
        frames = []
        for number, order in enumerate(orders):
            copy = frame.copy()
            results = dict(frame.calc.results)
            if moments is not None:
                results["magmoms"] = moments(results["magmoms"].copy(), vanadium, number)
            copy.calc = frame.calc.__class__(copy, **results)
            copy.info |= {"config_id": "run", "step": number if steps is None else steps[number]}
            if order is not None:
                fewest = np.argmin(np.abs(results["magmoms"][vanadium]))
                matrices = {
                    atom: filled(*(orbitals[:1] if number == fewest else orbitals))
                    for number, (atom, orbitals) in enumerate(zip(vanadium, order, strict=True))
                }
                copy.set_array(OCCUPATIONS, occupation_columns(matrices, len(frame), 5))
            frames.append(copy)
        write_frames(tmp_path / "run.extxyz", frames)
        assert main(["states", str(tmp_path / "run.extxyz"), "--to", str(tmp_path / "states.csv")]) == 0
        with (tmp_path / "states.csv").open(newline="") as stream:
            return capsys.readouterr().out.splitlines()[0], list(csv.DictReader(stream)), vanadium

    def test_a_change_is_listed_with_its_atom_and_refuses_nothing(self, tmp_path, capsys):
        same = [(XY, YZ)] * 4
        other = [(XY, YZ), (XY, YZ), (XZ, YZ), (XY, YZ)]
        line, rows, vanadium = self.run(tmp_path, capsys, [same, same, other, other])
        assert "4 of 4 frames in a clean neutral state" in line
        assert line.endswith(f"; orbital order changes at step 2 (V {vanadium[2]})")
        assert [row["orbital_change"] for row in rows] == ["", "0", "1", "0"]
        assert [row["changed_orbitals"] for row in rows] == ["", "", f"V {vanadium[2]}", ""]

    def test_an_atom_that_hops_and_a_gap_in_the_steps_are_none(self, tmp_path, capsys):
        def hop(moments, vanadium, number):
            low, high = vanadium[np.argsort(np.abs(moments[vanadium]))[[0, -1]]]
            if number == 1:
                moments[[low, high]] = moments[[high, low]]
            return moments

        frame = next(frame for frame in read(FRAMES, ":") if frame.info["config_id"] == "x2.50_o0")
        moments = np.abs(frame.get_magnetic_moments()[frame.symbols == "V"])
        orders = [[(XY, YZ)] * 4 for _ in range(3)]
        for atom in np.argsort(moments)[[0, -1]]:
            orders[1][atom] = (XZ, YZ)
        line, rows, _ = self.run(tmp_path, capsys, orders, hop, steps=[0, 1, 5])
        assert "states change at step 1" in line and "orbital" not in line
        assert [row["orbital_change"] for row in rows] == ["", "0", ""]

    def test_frames_without_occupations_have_no_change(self, tmp_path, capsys):
        line, rows, _ = self.run(tmp_path, capsys, [[(XY, YZ)] * 4, None, [(XZ, YZ)] * 4])
        assert "orbital" not in line
        assert [row["orbital_change"] for row in rows] == ["", "", ""]


class TestSharedOrbitals:
    """A real label (GPAW) whose moments are those of four V3+, and planted ones."""

    def test_the_real_label_by_its_eigenvalues(self):
        """By numpy on the columns of the file: three atoms hold two electrons in two orbitals, one has 0.6 in two."""
        frame = read(SHARED)
        vanadium = np.flatnonzero(frame.symbols == "V")
        rows, columns = np.triu_indices(5)
        largest = []
        for atom in vanadium:
            matrix = np.zeros((5, 5))
            matrix[rows, columns] = matrix[columns, rows] = frame.arrays[OCCUPATIONS][atom, :15]
            largest.append(np.sort(np.linalg.eigvalsh(matrix))[::-1][:3])
        assert np.all(np.array(largest)[:3, 1] - np.array(largest)[:3, 2] > 0.8)
        assert largest[3][1] - largest[3][2] < 0.1 and vanadium[3] == 29

    def test_it_is_refused_by_the_data_set_on_import_and_in_the_table(self, tmp_path, capsys):
        text = "V 29 (3+) fills 2 d orbitals of one spin, but has occupations 1.08, 0.65, 0.63, 0.18"
        assert main(["states", str(SHARED)]) == 0
        assert text in capsys.readouterr().out
        arguments = ["import", str(SHARED), "--into", str(tmp_path / "data"), "--levels", "V3=1.85,V4=1.05"]
        main(arguments)
        (row,) = csv.DictReader((tmp_path / "data/refused.csv").open(newline=""))
        assert row["reason"] == "wrong_electronic_state" and text in row["detail"]
        clean = next(frame for frame in read_frames(FRAMES) if frame.info["config_id"] == "x3.00_o0")
        shared = read_frames(SHARED)[0]
        frames = [frame for frame in (clean, shared)]
        for frame in frames:
            frame.info["settings_hash"] = "a"
        levels = parse_levels("V3=1.85,V4=1.05", "Na=1,P=5,O=-2")
        dataset = build_dataset(frames, Train(), 1, "a", levels=levels)
        assert [frame.info["config_id"] for frame in dataset.frames] == ["x3.00_o0"]
        assert [(item["config_id"], item["reason"]) for item in dataset.left_out] == [
            (shared.info["config_id"], "wrong_electronic_state")
        ]
        assert text in dataset.left_out[0]["detail"]

    def test_it_is_not_judged_where_the_config_says_so_or_the_table_is_none(self):
        frame = read_frames(SHARED)[0]
        symbols, moments, table = list(frame.symbols), frame.calc.results["magmoms"], frame.arrays[OCCUPATIONS]
        settings = {"levels": {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05}}}}
        judged, free = (
            OxidationLevels.of(Electrons.model_validate(settings | {"least_orbital_gap": gap})) for gap in (0.3, None)
        )
        with pytest.raises(LabelRefused, match="V 29"):
            judge_state(symbols, moments, 8.0, judged, orbital_occupations=table)
        assert judge_state(symbols, moments, 8.0, free, orbital_occupations=table).oxidation[29] == 3
        for other in (np.full_like(table, np.nan), table[:, :12], table[:, :29]):
            assert judge_state(symbols, moments, 8.0, judged, orbital_occupations=other).oxidation[29] == 3

    def test_it_is_started_again(self):
        """The same label with two filled orbitals is accepted; an atom between the levels is not judged by them."""
        frame = read_frames(SHARED)[0]
        levels = parse_levels("V3=1.85,V4=1.05", "Na=1,P=5,O=-2")
        search = StateSearch(levels, 1, 1)
        table = frame.arrays[OCCUPATIONS]
        moments = frame.calc.results["magmoms"]
        result = Result(-1.0, np.zeros((40, 3)), moments_muB=moments, orbital_occupations=table)
        with pytest.raises(LabelRefused, match="V 29"):
            search.judge(result, frame)
        mended = table.copy()
        mended[29] = table[28]
        assert search.judge(replace(result, orbital_occupations=mended), frame).oxidation[29] == 3
        between = moments.copy()
        between[29] = 1.5
        assert search.judge(replace(result, moments_muB=between), frame).oxidation[29] == 3

    @pytest.mark.parametrize(
        ("element", "oxidation", "moment_muB", "expected"),
        [
            *(("V", 3, 1.85, (2, 0)), ("V", 4, -1.05, (1, 0)), ("V", 5, 0.0, (0, 0)), ("Mn", 3, 3.7, (4, 0))),
            *(
                ("Fe", 2, 3.6, (5, 1)),
                ("Fe", 3, 4.1, (5, 0)),
                ("Fe", 3, 3.9, (5, 0)),
                ("Co", 3, 3.0, (5, 1)),
                ("Fe", 3, 0.9, (3, 2)),
                ("Co", 3, 0.0, (3, 3)),
            ),
            *(("Ni", 2, 1.6, (5, 3)), ("Ni", 3, 1.0, (4, 3)), ("Cu", 1, 0.0, (5, 5)), ("O", -2, 0.0, None)),
        ],
    )
    def test_filled_orbitals_of_textbook_ions(self, element, oxidation, moment_muB, expected):
        assert filled_orbitals(element, oxidation, moment_muB) == expected


class TestImport:
    def imported(self, tmp_path, table):
        frame = next(frame for frame in read(FRAMES, ":") if frame.info["config_id"] == "x2.50_o0")
        frame.set_array(OCCUPATIONS, table(frame))
        write(tmp_path / "run.extxyz", frame)
        assert main(["import", str(tmp_path / "run.extxyz"), "--into", str(tmp_path / "data")]) == 0
        return read(tmp_path / "data/frames.extxyz").arrays, (tmp_path / "data/refused.csv").read_text()

    def test_occupations_are_those_of_the_file(self, tmp_path):
        rng = np.random.default_rng(0)
        arrays, notes = self.imported(tmp_path, lambda frame: rng.random((len(frame), 30)))
        assert np.array_equal(arrays[OCCUPATIONS], read(tmp_path / "run.extxyz").arrays[OCCUPATIONS])
        assert OCCUPATIONS not in notes

    @pytest.mark.parametrize(
        "table",
        [
            lambda frame: np.zeros((len(frame), 10)),
            lambda frame: np.full((len(frame), 30), np.nan),
            lambda frame: np.ones((len(frame), 30), int),
        ],
    )
    def test_another_array_of_that_name_is_left_out_with_a_note(self, tmp_path, table):
        arrays, notes = self.imported(tmp_path, table)
        assert OCCUPATIONS not in arrays
        assert "orbital_occupations left out: not m(m + 1) finite numbers for each atom, m orbitals" in notes
