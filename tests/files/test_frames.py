"""What a frame file holds is what was written, or nothing is written: expectations by ASE's own reader."""

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.constraints import FixAtoms, FixBondLength

from redoxmd.errors import DataError
from redoxmd.files.frames import labelled, read_frames, write_frames

NOT_REPRESENTABLE = {
    "none": None,
    "empty text": "",
    "blank text": "  ",
    "lines": "a\nb",
    "tab": "a\tb",
    "backslash": "a\\b",
    "equals sign at the end": "a=",
    "words of the format": "_JSON x",
    "array of one": np.array([1]),
    "empty array": np.array([]),
    "long integer": 2**70,
    "complex": 1j,
    "ragged": [[1], [1, 2]],
    "set": {"x"},
}
TEXTS = (
    "two words",
    'say "hi"',
    "it's",
    "a=b",
    "a,b",
    "{a}",
    "[1]",
    "Na₃V₂(PO₄)₃",
    "trailing ",
    # A reader takes these for numbers or truth values unless told otherwise.
    *("007", "12", "1e5", "1234e5678", "nan", "inf", "-0", "T", "F", "True", "false", "1 2", "1,2", "T F"),
)
VALUES = (True, False, np.bool_(False), 3, np.int32(3), -0.1, np.float64(1 / 3), np.float32(0.1), np.nan, np.inf)


def frame(**info):
    atoms = Atoms("NaO", [[0, 0, 0.1], [1, 1, 1]], cell=[3, 4, 5], pbc=True)
    atoms.info = {"config_id": "a", "step": 4} | info | {"last": 1}
    return atoms


def written(path, *frames):
    """The frames as ASE alone reads them."""
    write_frames(path, frames)
    return ase.io.read(path, ":", format="extxyz")


class TestInfo:
    @pytest.mark.parametrize("text", TEXTS)
    def test_text_stays_text(self, tmp_path, text):
        (back,) = written(tmp_path / "f.extxyz", frame(key=text))
        assert back.info == {"config_id": "a", "step": 4, "key": text, "last": 1}
        assert back.pbc.all()

    def test_a_configuration_of_digits_keeps_its_name(self, tmp_path):
        """Folders 001, 002, … of an archive; a settings hash without letters, or with one e."""
        for name in ("001", "2100000000000001", "123456789e012345"):
            (back,) = written(tmp_path / "f.extxyz", frame(config_id=name, settings_hash=name))
            assert (back.info["config_id"], back.info["settings_hash"]) == (name, name)

    @pytest.mark.parametrize("value", VALUES, ids=repr)
    def test_numbers_and_truth_values(self, tmp_path, value):
        (back,) = written(tmp_path / "f.extxyz", frame(key=value))
        assert np.asarray(back.info["key"]).dtype.kind == np.asarray(value).dtype.kind
        np.testing.assert_equal(type(value)(back.info["key"]), value)

    @pytest.mark.parametrize("value", [[1, 2], [0.1], np.eye(2), ["a", "b"], [True, False], {"a": [1, "x"]}], ids=repr)
    def test_lists_and_tables(self, tmp_path, value):
        (back,) = written(tmp_path / "f.extxyz", frame(key=value))
        np.testing.assert_equal(back.info["key"], value)

    @pytest.mark.parametrize("what", NOT_REPRESENTABLE)
    @pytest.mark.filterwarnings("ignore:Skipping unhashable")
    def test_what_does_not_read_back_is_refused_by_name(self, tmp_path, what):
        path = tmp_path / "f.extxyz"
        write_frames(path, [frame()])
        before = path.read_bytes()
        with pytest.raises(
            DataError, match=r"f\.extxyz: frame 1 \(config_id a, step 4\): info\['key'\] = .*leave it out"
        ):
            write_frames(path, [frame(), frame(key=NOT_REPRESENTABLE[what])])
        assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]

    @pytest.mark.parametrize("key", ["energy", "pbc", "Lattice", "Properties", "a=b", 3])
    def test_keys_that_mean_something_else(self, tmp_path, key):
        atoms = frame()
        atoms.info[key] = 1.5
        with pytest.raises(DataError, match=rf"frame 0 .*info\[{key!r}\]"):
            write_frames(tmp_path / "f.extxyz", [atoms])
        assert not (tmp_path / "f.extxyz").exists()


class TestArrays:
    @pytest.mark.parametrize(
        "values",
        [
            np.array(["Na1", "T"]),
            np.array([1, -2]),
            np.array([1, 2], dtype=np.int32),
            np.array([True, False]),
            np.array([[0.125, np.nan, np.inf], [1, 2, 3]]),
            np.array([1e9 + 1 / 3, 2e12]),
        ],
        ids=repr,
    )
    def test_columns(self, tmp_path, values):
        atoms = frame()
        atoms.arrays["column"] = values
        (back,) = written(tmp_path / "f.extxyz", atoms)
        got = back.arrays["column"]
        if values.dtype.kind == "f":
            np.testing.assert_allclose(got, values, rtol=1e-15, atol=5e-9)
        else:
            assert got.tolist() == values.tolist()

    @pytest.mark.parametrize(
        "values",
        [
            np.array(["Na1", ""]),
            np.array(["a b", "c"]),
            np.array([None, "x"], dtype=object),
            np.array([b"a", b"b"]),
            np.ones((2, 1)),
            np.ones((2, 3, 3)),
            np.array([1j, 2]),
        ],
        ids=repr,
    )
    def test_columns_the_format_lacks(self, tmp_path, values):
        atoms = frame()
        atoms.arrays["column"] = values
        with pytest.raises(DataError, match=r"frame 0 .*arrays\['column'\]"):
            write_frames(tmp_path / "f.extxyz", [atoms])

    def test_a_column_of_the_name_of_a_result(self, tmp_path):
        atoms = frame()
        atoms.arrays["forces"] = np.ones((2, 3))
        with pytest.raises(DataError, match=r"arrays\['forces'\]"):
            write_frames(tmp_path / "f.extxyz", [atoms])


class TestResults:
    def label(self):
        stress = np.array([[1, 2, 3], [2, 4, 5], [3, 5, 6]]) / 700
        return labelled(frame(), -1 / 3, np.arange(6.0).reshape(2, 3) / 7, stress, np.array([1.1, -0.2]), config_id="a")

    def test_all_of_them(self, tmp_path):
        (back,) = written(tmp_path / "f.extxyz", self.label())
        assert back.get_potential_energy() == -1 / 3
        assert back.get_forces() == pytest.approx(np.arange(6.0).reshape(2, 3) / 7, rel=0, abs=5e-9)
        assert (back.get_stress(voigt=False) == np.array([[1, 2, 3], [2, 4, 5], [3, 5, 6]]) / 700).all()
        assert back.get_magnetic_moments() == pytest.approx([1.1, -0.2], rel=0, abs=5e-9)

    @pytest.mark.parametrize(
        ("name", "value"), [("stress", np.arange(9.0).reshape(3, 3)), ("notes", 3.0), ("forces", np.ones((2, 2, 2)))]
    )
    def test_what_does_not_come_back(self, tmp_path, name, value):
        atoms = self.label()
        atoms.calc.results[name] = value
        with pytest.raises(DataError, match=r"frame 0"):
            write_frames(tmp_path / "f.extxyz", [atoms])


def test_cell_periodicity_and_constraints(tmp_path):
    atoms = frame()
    atoms.cell[0, 1], atoms.pbc = 1 / 3, [True, False, True]
    atoms.set_constraint(FixAtoms([1]))
    (back,) = written(tmp_path / "f.extxyz", atoms)
    assert (back.cell.array == atoms.cell.array).all() and back.pbc.tolist() == [True, False, True]
    assert back.constraints[0].index.tolist() == [1]
    atoms.set_constraint(FixBondLength(0, 1))
    with pytest.raises(DataError, match="constraints"):
        write_frames(tmp_path / "f.extxyz", [atoms])


def test_what_was_read_can_be_written_again(tmp_path):
    write_frames(tmp_path / "a.extxyz", [frame(key="007"), frame(site="x")])
    write_frames(tmp_path / "b.extxyz", read_frames(tmp_path / "a.extxyz"))
    assert (tmp_path / "a.extxyz").read_bytes() == (tmp_path / "b.extxyz").read_bytes()
