from pathlib import Path

import numpy as np
import pytest
import yaml

from redoxmd.errors import DataError
from redoxmd.files.frames import write_frames
from redoxmd.files.records import file_sha256
from redoxmd.train.dataset import Dataset, build_dataset, fit_element_energies, frame_identity, load_datasets
from tests.conftest import rock, spring_label
from tests.train.test_train import SETTINGS, configurations, dataset, frames

ROOT = Path(__file__).parents[2]


def test_test_configurations_are_never_trained_on():
    joined = build_dataset(
        frames(6) + frames(6, "b")[1:2] + frames(9, "b")[6:],
        SETTINGS.model_copy(update={"test_configurations": ("b",)}),
        1,
        "h",
    )
    assert {f.info["config_id"] for f in joined.subset("test")} == {"b"}
    assert "b" not in {f.info["config_id"] for f in joined.subset("train") + joined.subset("validation")}
    assert joined.configurations["b"].set == "test"


def test_a_frame_keeps_its_set_as_labels_join():
    everything = configurations([*"abcdef", "g0f000", "g0f001", "g1f000"], 4)
    runs, labels = everything[:24], everything[24:]
    for start in (runs, runs[:8]):
        few = build_dataset(start, SETTINGS, 1, "h")
        sets = {(f.info["config_id"], f.info["step"]): f.info["set"] for f in few.frames}
        more = build_dataset(start + labels, SETTINGS, 1, "h").frames
        later = {(f.info["config_id"], f.info["step"]): f.info["set"] for f in more}
        assert {key: later[key] for key in sets} == sets
        assert len(later) == len(start) + 12 and set(sets.values()) == {"train", "validation"}


def test_there_is_always_validation():
    assert dataset(3, validation_fraction=0.001).counts() == {"train": 2, "validation": 1, "test": 0}


def test_duplicates_are_dropped():
    twice = build_dataset(frames(5) + frames(5), SETTINGS, 1, "h")
    assert (len(twice.frames), twice.duplicates) == (5, 5)


def test_identity_ignores_wrapping_only():
    atoms = rock(1)
    wrapped = atoms.copy()
    wrapped.positions += np.asarray(atoms.cell)[1]
    moved = atoms.copy()
    moved.positions[0, 0] += 0.01
    assert frame_identity(atoms) == frame_identity(wrapped) != frame_identity(moved)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings_hash": "other"}, "do not mix"),
        ({"converged": False}, "not marked as converged"),
    ],
)
def test_wrong_labels_are_refused(change, message):
    bad = spring_label(rock(50), config_id="bad", step=3, **change)
    with pytest.raises(DataError, match=f"bad step 3.*{message}"):
        build_dataset([*frames(3), bad], SETTINGS, 1, "h")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_not_finite_labels_are_refused(value):
    bad = spring_label(rock(50))
    bad.calc.results["forces"][0, 0] = value
    with pytest.raises(DataError, match="not finite"):
        build_dataset([bad], SETTINGS, 1, "h")


def test_unlabelled_frames_are_refused():
    bare = rock(1)
    with pytest.raises(DataError, match="no energy and forces"):
        build_dataset([bare], SETTINGS, 1, "h")


def test_missing_test_configuration_is_named():
    with pytest.raises(DataError, match="nowhere"):
        dataset(5, test_configurations=("nowhere",))


def test_element_energies_explain_a_linear_composition():
    structures = []
    true = {8: -4.0, 11: -1.5, 15: -6.0, 23: -8.0}
    for seed in range(8):
        atoms = rock(seed)
        del atoms[[0] if seed % 2 else []]
        frame = spring_label(atoms)
        frame.calc.results["energy"] = sum(true[z] for z in atoms.numbers)
        structures.append(frame)
    fitted = fit_element_energies(structures, [8, 11, 15, 23])
    # Only the sodium content varies, so only its energy is determined, and every total.
    assert fitted[1] == pytest.approx(-1.5, abs=1e-8)
    for frame in structures:
        total = sum(fitted[[8, 11, 15, 23].index(z)] for z in frame.numbers)
        assert total == pytest.approx(frame.calc.results["energy"], abs=1e-8)


def test_dataset_object_counts():
    assert Dataset([]).counts() == {"train": 0, "validation": 0, "test": 0}


class TestFolders:
    def folder(self, tmp_path, **changes):
        write_frames(tmp_path / "frames.extxyz", frames(3))
        checksum = file_sha256(tmp_path / "frames.extxyz")
        card = {"engine": "toy", "settings_hash": "h", "files": {"frames.extxyz": checksum}, **changes}
        (tmp_path / "dataset.yaml").write_text(yaml.safe_dump({k: v for k, v in card.items() if v is not None}))
        return tmp_path

    def test_frames_join(self, tmp_path):
        assert len(load_datasets([self.folder(tmp_path)], "h")) == 3

    def test_the_starter_data(self):
        found = load_datasets([ROOT / "tests/data/nvp-loose"], "21bb88dafe767353")
        assert len(found) == 190
        assert len({frame.info["config_id"] for frame in found}) == 7

    def test_other_settings_are_refused(self, tmp_path):
        with pytest.raises(DataError, match=r"was made with settings h \(toy\), this run uses g"):
            load_datasets([self.folder(tmp_path)], "g")

    def test_changed_content_is_refused(self, tmp_path):
        folder = self.folder(tmp_path)
        write_frames(folder / "frames.extxyz", frames(2))
        with pytest.raises(DataError, match=r"frames\.extxyz: content differs from its checksum"):
            load_datasets([folder], "h")

    def test_a_missing_file_is_named(self, tmp_path):
        with pytest.raises(DataError, match=r"more\.extxyz: listed in dataset\.yaml but missing"):
            load_datasets([self.folder(tmp_path, files={"more.extxyz": "0"})], "h")

    @pytest.mark.parametrize("key", ["engine", "settings_hash", "files"])
    def test_an_incomplete_card_is_named(self, tmp_path, key):
        with pytest.raises(DataError, match=f"lacks {key}; see resources/README.md"):
            load_datasets([self.folder(tmp_path, **{key: None})], "h")

    def test_no_card(self, tmp_path):
        with pytest.raises(DataError, match=r"no dataset\.yaml"):
            load_datasets([tmp_path], "h")
