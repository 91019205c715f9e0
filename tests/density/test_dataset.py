import shutil
from pathlib import Path

import pytest
import yaml

from redoxmd.density.dataset import DensitySet, index_densities, stores_of_datasets
from redoxmd.density.evaluation import evaluation_subset
from redoxmd.density.store import density_keys, read_density, write_densities
from redoxmd.errors import DataError
from tests.density.test_training import gaussians

STARTER = Path(__file__).parents[2] / "resources/nvp-states"


@pytest.fixture(scope="module")
def density():
    return gaussians(0)[1]


@pytest.fixture
def stores(tmp_path, density):
    write_densities(tmp_path / "a.h5", {f"{name}/step{i:05d}": density for name in "xy" for i in range(6)})
    write_densities(tmp_path / "b.h5", {f"z/step{i:05d}": density for i in range(3)})
    return [tmp_path / "a.h5", tmp_path / "b.h5"]


def test_test_configurations_are_held_out_whole(stores):
    index = index_densities(stores, ["z"], 0.2, 1)
    assert len(index) == 15
    assert {entry.key[0] for entry in index.subset("test").entries} == {"z"}
    assert index.counts()["test"] == 3
    assert index.counts()["validation"] >= 1
    assert sum(index.counts().values()) == 15


def test_a_density_keeps_its_set_when_others_join(stores):
    few, more = index_densities(stores[:1], [], 0.3, 1), index_densities(stores, [], 0.3, 1)
    sets = {entry.key: entry.set for entry in more.entries}
    assert all(sets[entry.key] == entry.set for entry in few.entries)
    assert [entry.set for entry in index_densities(stores[:1], [], 0.3, 2).entries] != [e.set for e in few.entries]


def test_there_is_always_one_to_validate_on(stores):
    assert index_densities(stores[1:], [], 0.01, 1).counts()["validation"] == 1


def test_symmetry_copies_share_a_set_and_left_out_ones_have_none(tmp_path, density):
    names = ["a", "b", "c", "d", "e", "f", "copy_of_a", "copy_of_b"]
    write_densities(tmp_path / "s.h5", {f"{name}/step{i:05d}": density for name in names for i in range(2)})
    groups = {"copy_of_a": "A", "a": "A", "copy_of_b": "B", "b": "B"}
    for seed in range(6):
        index = index_densities([tmp_path / "s.h5"], ["b"], 0.2, seed, groups=groups, excluded=["c/1", "d"])
        sets = {}
        for entry in index.entries:
            sets.setdefault(entry.key.split("/")[0], set()).add(entry.set)
        assert sets["copy_of_b"] == sets["b"] == {"test"}
        assert sets["copy_of_a"] == sets["a"] and "d" not in sets
        assert len(index) == 13 and "c/step00001" not in {entry.key for entry in index.entries}
    # With four groups or more each is in one set, whole.
    index = index_densities([tmp_path / "s.h5"], [], 0.2, 1, groups=groups)
    assert all(len({e.set for e in index.entries if e.key.startswith(f"{name}/")}) == 1 for name in names)
    assert set(index.counts().values()) >= {0} and index.counts()["validation"] >= 2


def test_validation_configurations_of_the_potentials_are_the_validation_set(tmp_path, density):
    names = ["a", "b", "c", "d", "copy_of_b"]
    write_densities(tmp_path / "s.h5", {f"{name}/step{i:05d}": density for name in names for i in range(2)})
    groups = {"copy_of_b": "B", "b": "B"}
    for seed in range(4):
        index = index_densities(
            [tmp_path / "s.h5"], ["a"], 0.4, seed, groups=groups, validation_configurations=["b", "without_density"]
        )
        sets = {entry.key.split("/")[0]: entry.set for entry in index.entries}
        assert sets == {"a": "test", "b": "validation", "copy_of_b": "validation", "c": "train", "d": "train"}
    drawn = index_densities([tmp_path / "s.h5"], ["a"], 0.4, 1, groups=groups)
    named = index_densities([tmp_path / "s.h5"], ["a"], 0.4, 1, groups=groups, validation_configurations=["none"])
    assert named == drawn and drawn.counts()["validation"]


def test_record_and_reading(stores, density):
    index = index_densities(stores, ["z"], 0.2, 1)
    assert DensitySet.from_record(index.record()) == index
    key, read = next(iter(index.subset("test").items()))
    assert key == "z/step00000"
    assert read.electrons == density.electrons


def test_few_of_training_keeps_every_other(stores):
    index = index_densities(stores, ["z"], 0.2, 1)
    few = evaluation_subset(index, 2, 1)
    assert few.counts() == {**index.counts(), "train": 2}


def test_refusals(stores, tmp_path, density):
    with pytest.raises(DataError, match="test_configurations: no densities of \\['none'\\], only of"):
        index_densities(stores, ["none"], 0.2, 1)
    assert index_densities(stores, ["none"], 0.2, 1, demand_test=False).counts()["test"] == 0
    with pytest.raises(DataError, match="both in"):
        index_densities([*stores, stores[1]], [], 0.2, 1)
    with pytest.raises(DataError, match="no density to train on"):
        index_densities(stores, ["x", "y", "z"], 0.2, 1)
    write_densities(tmp_path / "none.h5", {})
    with pytest.raises(DataError, match="no density to train on"):
        index_densities([tmp_path / "none.h5"], [], 0.2, 1)


def test_the_starter_densities_are_whole():
    stores = stores_of_datasets([STARTER])
    keys = [(store, key) for store in stores for key in density_keys(store)]
    assert len(set(keys)) == yaml.safe_load((STARTER / "dataset.yaml").read_text())["densities"]
    density = read_density(*keys[-1])
    assert density.shape == (80, 80, 80)
    assert density.total_e_A3.sum() * density.voxel_A3 == pytest.approx(density.electrons, rel=2e-5)


def test_a_changed_store_is_found_out(tmp_path):
    from redoxmd.train.dataset import check_dataset_files

    folder = tmp_path / "copy"
    shutil.copytree(STARTER, folder)
    card = yaml.safe_load((folder / "dataset.yaml").read_text())
    check_dataset_files([folder], card["settings_hash"])
    with (folder / "densities.h5").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match=r"densities\.h5: content differs"):
        check_dataset_files([folder], card["settings_hash"])
