import numpy as np
import pytest

from redoxmd.errors import DataError
from redoxmd.trajectory import (
    Trajectory,
    join_segments,
    read_metadata,
    read_trajectory,
    write_segment,
)


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


def test_mdanalysis_reads_it(tmp_path):
    """Positions, box, time and steps as another program sees them."""
    import MDAnalysis

    path = tmp_path / "t.h5md"
    written = piece(0, 6)
    write_segment(path, written)
    universe = MDAnalysis.Universe.empty(3, trajectory=True)
    universe.load_new(str(path), format="H5MD", convert_units=False)
    assert len(universe.trajectory) == 6
    for index, frame in enumerate(universe.trajectory):
        np.testing.assert_allclose(frame.positions, written.positions_A[index], atol=1e-5)
        np.testing.assert_allclose(frame.triclinic_dimensions.shape, (3, 3))
        assert frame.data["step"] == written.steps[index]
        assert frame.time == pytest.approx(written.time_fs[index])
    lengths = np.linalg.norm(written.cell_A, axis=1)
    np.testing.assert_allclose(universe.dimensions[:3], lengths, rtol=1e-6)
