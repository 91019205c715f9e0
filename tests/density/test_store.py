import h5py
import numpy as np
import pytest

from redoxmd.config.sections import EngineSettings
from redoxmd.density.store import join_densities, read_densities, write_densities
from redoxmd.engines.toy import ToyEngine, bader_charges, moments, oxidation_states
from redoxmd.errors import DataError
from tests.conftest import rock
from tests.engines.test_engines import nvp

SINGLE = 1e-6  # relative, of float32


@pytest.fixture
def density():
    engine = ToyEngine(EngineSettings(name="toy"))
    engine.calculate(rock(1))
    return engine.density()


def test_round_trip(tmp_path, density):
    write_densities(tmp_path / "d.h5", {"a/step00000": density, "a/step00010": density})
    read = read_densities(tmp_path / "d.h5")
    assert sorted(read) == ["a/step00000", "a/step00010"]
    for name in ("total_e_A3", "spin_e_A3"):
        written = getattr(density, name)
        np.testing.assert_allclose(getattr(read["a/step00000"], name), written, rtol=SINGLE, atol=SINGLE)
    for name in ("electrons", "moment_muB", "correction", "source"):
        assert getattr(read["a/step00000"], name) == getattr(density, name)


def test_the_integral_is_the_electron_count(tmp_path, density):
    write_densities(tmp_path / "d.h5", {"a/step00000": density})
    read = read_densities(tmp_path / "d.h5")["a/step00000"]
    volume = abs(np.linalg.det(read.cell_A))
    assert read.total_e_A3.mean() * volume == pytest.approx(read.electrons, rel=1e-5)
    assert read.spin_e_A3.mean() * volume == pytest.approx(read.moment_muB, rel=1e-5)


def test_stores_are_chunked_and_compressed(tmp_path, density):
    write_densities(tmp_path / "d.h5", {"a/step00000": density})
    with h5py.File(tmp_path / "d.h5") as file:
        grid = file["a/step00000/total"]
        assert grid.dtype == np.float32
        assert grid.chunks is not None
        assert grid.compression == "gzip"
        assert grid.attrs["unit"] == "e/Angstrom^3"


def test_join(tmp_path, density):
    write_densities(tmp_path / "0.h5", {"a/step00000": density})
    write_densities(tmp_path / "1.h5", {"a/step00005": density, "b/step00000": density})
    join_densities(tmp_path / "all.h5", [tmp_path / "0.h5", tmp_path / "1.h5"])
    assert sorted(read_densities(tmp_path / "all.h5")) == ["a/step00000", "a/step00005", "b/step00000"]
    join_densities(tmp_path / "none.h5", [])
    assert read_densities(tmp_path / "none.h5") == {}


@pytest.mark.parametrize("damage", ["truncated", "missing", "lacks spin"])
def test_a_damaged_store_is_named(tmp_path, density, damage):
    path = tmp_path / "store.h5"
    write_densities(path, {"a/step00000": density})
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif damage == "missing":
        path.unlink()
    else:
        with h5py.File(path, "a") as file:
            del file["a/step00000/spin"]
    named = "no such file" if damage == "missing" else "not a readable density store"
    with pytest.raises(DataError, match=rf"store\.h5: {named}"):
        read_densities(path)


def test_the_toy_knows_its_redox_states():
    atoms = nvp(2.5, seed=3)
    states = oxidation_states(atoms)
    # Two formula units: five Na instead of six leave one hole.
    assert sorted(states.values()) == [3, 3, 3, 4]
    assert moments(atoms).sum() == 7
    assert bader_charges(atoms).sum() == pytest.approx(0, abs=1e-12)
