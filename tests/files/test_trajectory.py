from dataclasses import replace

import h5py
import numpy as np
import pytest
from ase import Atoms

from redoxmd.errors import DataError
from redoxmd.files.frames import write_frames
from redoxmd.files.trajectory import (
    Trajectory,
    join_segments,
    read_metadata,
    read_trajectory,
    write_segment,
)
from redoxmd.structures.periodic_cell import PeriodicCell


def piece(first, count, interval=10, seed=0):
    rng = np.random.default_rng(seed + first)
    steps = first + interval * np.arange(count)
    return Trajectory(
        numbers=np.array([11, 8, 23]),
        positions_A=rng.normal(0, 30, (count, 3, 3)).astype(np.float32).astype(float),
        cell_A=np.array([[5.0, 0, 0], [1, 6, 0], [0, 0.5, 7]]),
        steps=steps,
        time_fs=steps * 0.5,
        temperature_K=rng.uniform(200, 400, count),
        energy_eV=rng.normal(-100, 1, count),
        spread_eV_A=rng.uniform(0, 1, count),
        metadata={"x": 2.5, "mobile_ion": "Na"},
    )


def test_round_trip(tmp_path):
    path = tmp_path / "t.h5"
    written = piece(0, 7)
    write_segment(path, written)
    read = read_trajectory(path)
    for name in ("numbers", "positions_A", "cell_A", "steps", "time_fs", "temperature_K", "energy_eV", "spread_eV_A"):
        np.testing.assert_array_equal(getattr(read, name), getattr(written, name))
    assert read.metadata == read_metadata(path) == written.metadata
    assert read_trajectory(path, stride=3).steps.tolist() == [0, 30, 60]


def test_joined_segments_equal_one_run(tmp_path):
    parts = [piece(0, 4), piece(40, 3), piece(70, 1), piece(80, 2)]
    paths = [tmp_path / f"{n}.h5" for n in range(len(parts))]
    for path, part in zip(paths, parts, strict=True):
        write_segment(path, part)
    join_segments(paths, tmp_path / "all.h5", {"x": 1.0})
    whole = read_trajectory(tmp_path / "all.h5")
    assert whole.steps.tolist() == list(range(0, 100, 10))
    np.testing.assert_array_equal(whole.positions_A, np.concatenate([part.positions_A for part in parts]))
    assert whole.metadata == {"x": 1.0, "recorded_ps": 0.045}


@pytest.mark.parametrize("second", [piece(50, 3), piece(30, 3), piece(0, 3), piece(40, 3, interval=20)])
def test_gaps_and_repeats_are_refused(tmp_path, second):
    write_segment(tmp_path / "0.h5", piece(0, 4))
    write_segment(tmp_path / "1.h5", second)
    with pytest.raises(DataError, match=r"1\.h5"):
        join_segments([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "all.h5", {})
    assert not (tmp_path / "all.h5").exists()


def test_damaged_files_are_named(tmp_path):
    path = tmp_path / "t.h5"
    write_segment(path, piece(0, 50))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(DataError, match=r"t\.h5.*run production again"):
        read_trajectory(path)
    with pytest.raises(DataError, match=r"none\.h5"):
        read_trajectory(tmp_path / "none.h5")


def test_steps_out_of_order_are_refused(tmp_path):
    bad = piece(0, 4)
    bad.steps[2] = 5
    write_segment(tmp_path / "t.h5", bad)
    with pytest.raises(DataError, match="steps do not increase"):
        read_trajectory(tmp_path / "t.h5")


def opened_by_mdanalysis(tmp_path, path, atoms):
    """As docs/importing.md says: the structure of the run is the topology."""
    import MDAnalysis

    write_frames(tmp_path / "start.extxyz", [atoms])
    return MDAnalysis.Universe(
        str(tmp_path / "start.extxyz"), str(path), topology_format="XYZ", format="H5MD", convert_units=False, dt=0.005
    )


def test_mdanalysis_reads_it(tmp_path):
    """Positions, box, time, steps and elements as another program sees them."""
    path = tmp_path / "t.h5"
    written = piece(0, 6)
    write_segment(path, written)
    universe = opened_by_mdanalysis(tmp_path, path, Atoms("NaOV", cell=written.cell_A, pbc=True))
    assert universe.atoms.names.tolist() == ["Na", "O", "V"] and len(universe.trajectory) == 6
    for index, frame in enumerate(universe.trajectory):
        np.testing.assert_allclose(frame.positions, written.positions_A[index], atol=1e-5)
        np.testing.assert_allclose(frame.triclinic_dimensions, written.cell_A, atol=1e-5)
        assert frame.data["step"] == written.steps[index]
        assert frame.time == pytest.approx(written.time_fs[index])
    assert universe.trajectory.dt == 0.005


NVP_CELL = [[4.364, 2.52, 7.267], [-4.364, 2.52, 7.267], [0.0, -5.039, 7.267]]
CELLS = {
    "rhombohedral": NVP_CELL,
    "left-handed": [NVP_CELL[1], NVP_CELL[0], NVP_CELL[2]],
    "upper triangular": [[9.0, -3.1, 1.2], [0.0, 8.0, 2.5], [0.0, 0.0, 7.0]],
    "along other axes": [[0.0, 0.0, -9.0], [8.0, 0.0, 0.0], [0.0, 7.0, 0.0]],
}


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS.keys())
def test_every_distance_is_that_of_the_simulation(tmp_path, cell):
    """Minimum images by MDAnalysis and by this package in a joined file, against ASE's before writing."""
    from MDAnalysis.lib.distances import distance_array

    rng = np.random.default_rng(3)
    atoms = Atoms("Na4V4O12", scaled_positions=rng.uniform(-0.5, 1.5, (20, 3)), cell=cell, pbc=True)
    frames = []
    for _ in range(5):
        atoms.positions += 0.2 * rng.standard_normal((20, 3))
        frames.append(atoms.copy())
    for number, part in enumerate((frames[:2], frames[2:])):
        steps = 10 * np.arange(len(part)) + 20 * number
        zero = np.zeros(len(part))
        positions = np.array([frame.positions for frame in part])
        segment = Trajectory(atoms.numbers, positions, np.array(cell), steps, 1.0 * steps, zero, zero, zero)
        write_segment(tmp_path / f"{number}.h5", segment)
    join_segments([tmp_path / "0.h5", tmp_path / "1.h5"], tmp_path / "t.h5", {})
    ours, universe = read_trajectory(tmp_path / "t.h5"), opened_by_mdanalysis(tmp_path, tmp_path / "t.h5", atoms)
    periodic = PeriodicCell(ours.cell_A)
    for index, frame in enumerate(universe.trajectory):
        true = frames[index].get_all_distances(mic=True)
        theirs = distance_array(universe.atoms.positions, universe.atoms.positions, box=frame.dimensions)
        np.testing.assert_allclose(theirs, true, atol=2e-4)
        np.testing.assert_allclose(periodic.distances_A(*[ours.positions_A[index]] * 2), true, atol=1e-5)
        # The recorded rotation leads from the simulation to the file.
        np.testing.assert_allclose(frames[index].positions @ ours.rotation, ours.positions_A[index], atol=1e-5)
    np.testing.assert_allclose(np.array(cell) @ ours.rotation, ours.cell_A, atol=1e-12)
    assert not np.triu(ours.cell_A, 1).any()


def test_a_file_written_before_cells_were_turned_goes_on(tmp_path):
    """Joined to a new segment its frames are turned as well."""
    old, new = (replace(piece(first, 3), cell_A=np.array(NVP_CELL)) for first in (0, 30))
    write_segment(tmp_path / "new.h5", new)
    write_segment(tmp_path / "old.h5", replace(old, cell_A=np.eye(3)))
    with h5py.File(tmp_path / "old.h5", "r+") as file:
        file["cell_A"][...] = NVP_CELL
        del file["rotation"]
    join_segments([tmp_path / "old.h5", tmp_path / "new.h5"], tmp_path / "t.h5", {})
    joined = read_trajectory(tmp_path / "t.h5")
    whole = np.concatenate([old.positions_A, new.positions_A])
    np.testing.assert_allclose(whole @ joined.rotation, joined.positions_A, atol=1e-5)


def test_an_h5md_of_another_code_is_named_and_left_alone(tmp_path):
    """No word of deleting what is the user's."""
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("h5md").attrs["version"] = [1, 1]
        file["particles/all/position/value"] = np.zeros((3, 2, 3))
    for read in (read_trajectory, read_metadata):
        with pytest.raises(DataError, match=r"other\.h5: no trajectory of redoxmd .*extended XYZ") as refusal:
            read(tmp_path / "other.h5")
        assert "delete" not in str(refusal.value)


def test_a_frame_that_is_not_finite_is_named(tmp_path):
    bad = piece(0, 6)
    bad.positions_A[4, 1, 2] = np.nan
    write_segment(tmp_path / "t.h5", bad)
    with pytest.raises(DataError, match=r"t\.h5: the position of atom 1 in frame 4 \(step 40\) is not finite"):
        read_trajectory(tmp_path / "t.h5")
