"""Times, steps and elements of files that charges are computed along."""

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from redoxmd.density.session import as_trajectory
from redoxmd.errors import DataError
from redoxmd.files.trajectory import Trajectory, write_segment

DUMP = (
    "ITEM: TIMESTEP\n{}\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS pp pp pp\n0 6\n0 6\n0 6\nITEM: ATOMS id type {}\n"
)


def written(path, times=(), steps=()):
    frames = []
    for number in range(5):
        atoms = Atoms("NaO", [[0.1 * number, 0, 0], [3, 3, 3]], cell=[6] * 3, pbc=True)
        if number < len(times):
            atoms.info["time_fs"] = times[number]
        if number < len(steps):
            atoms.info["step"] = steps[number]
        frames.append(atoms)
    write(path, frames)
    return path


def test_times_and_steps_are_those_of_the_file(tmp_path):
    path = written(tmp_path / "t.extxyz", 50.0 * np.arange(5), 100 * np.arange(5))
    for frame_fs in (None, 50.0):
        found = as_trajectory(path, frame_fs)
        assert found.time_fs.tolist() == [0, 50, 100, 150, 200] and found.steps.tolist() == [0, 100, 200, 300, 400]
        assert found.positions_A[3, 0, 0] == pytest.approx(0.3)


def test_another_interval_than_that_of_the_file_is_refused(tmp_path):
    path = written(tmp_path / "t.extxyz", 50.0 * np.arange(5))
    zero = np.zeros(3)
    own = Trajectory(
        np.array([11]), np.zeros((3, 1, 3)), np.eye(3), np.arange(3), 20.0 * np.arange(3), zero, zero, zero
    )
    write_segment(tmp_path / "t.h5", own)
    for file, interval in ((path, 50), (tmp_path / "t.h5", 20)):
        words = (
            rf"{file.name}: frames are {interval} fs apart by their own times, --frame-fs says 1; leave the option out"
        )
        with pytest.raises(DataError, match=words):
            as_trajectory(file, 1.0)
    assert as_trajectory(tmp_path / "t.h5", 20.0).time_fs.tolist() == [0, 20, 40]


def test_a_file_without_times_takes_the_interval_or_warns(tmp_path, caplog):
    path = written(tmp_path / "t.extxyz")
    assert as_trajectory(path, None).time_fs.tolist() == [0, 1, 2, 3, 4]
    assert "t.extxyz: frames without time_fs, taken as 1 fs apart; say what is true by --frame-fs" in caplog.text
    assert as_trajectory(path, 25.0).time_fs.tolist() == [0, 25, 50, 75, 100]


@pytest.mark.parametrize(
    "times", [(0.0, 50.0, 100.0), (0.0, 50.0, 40.0, 100.0, 150.0), (0.0, 50.0, float("nan"), 150.0, 200.0)]
)
def test_times_that_are_incomplete_or_go_back_are_refused(tmp_path, times):
    with pytest.raises(DataError, match=r"t\.extxyz: time_fs is missing in a frame or does not increase"):
        as_trajectory(written(tmp_path / "t.extxyz", times), None)


def test_types_of_a_lammps_dump_are_no_elements(tmp_path):
    for name, columns, atoms in (("types", "x y z", "1 1 0 0 0\n2 2 3 3 3\n"), ("named", "element x y z", None)):
        atoms = atoms or "1 1 Na 0 0 0\n2 2 O 3 3 3\n"
        (tmp_path / f"{name}.dump").write_text("".join(DUMP.format(step, columns) + atoms for step in (0, 1000)))
    with pytest.raises(DataError, match=r"types\.dump: .*without elements; .*dump_modify"):
        as_trajectory(tmp_path / "types.dump", 1.0)
    assert as_trajectory(tmp_path / "named.dump", 1.0).numbers.tolist() == [11, 8]


@pytest.mark.parametrize("name", ["other.h5", "other.h5md", "other.traj"])
def test_hdf5_of_another_code_is_known_by_its_content(tmp_path, name):
    import h5py

    with h5py.File(tmp_path / name, "w") as file:
        file["particles/all/position/value"] = np.zeros((3, 2, 3))
    with pytest.raises(DataError, match=r"no trajectory of redoxmd .*convert it to extended XYZ"):
        as_trajectory(tmp_path / name, None)
