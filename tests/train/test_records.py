"""Records of training against the JSON of their files."""

import json
import math

import pytest

from redoxmd.train.dataset import Dataset
from redoxmd.train.records import DatasetRecord, EnsembleRecord
from redoxmd.train.split import Configuration
from tests.conftest import rock

ERRORS = [{"member": -1, "set": "test", "force_mae_eV_A": 0.25, "energy_mae_meV_atom": float("nan"), "n_frames": 22}]


@pytest.mark.parametrize("teacher", [None, "some.Calculator"])
def test_the_record_of_a_data_set_is_what_its_file_says(tmp_path, teacher):
    frames = [rock(0), rock(1), rock(2)]
    for frame, name in zip(frames, ("train", "train", "test"), strict=True):
        frame.info["set"] = name
    left_out = [{"config_id": "a", "step": 3, "reason": "excluded", "detail": ""}]
    work = [{"config_id": "b", "mean_meV": float("inf"), "error_meV": 5.4, "intervals": 27}]
    configurations = {"b": Configuration("b", "x", 2, "train"), "a": Configuration("a", "a", 1, "test")}
    dataset = Dataset(frames, 1, left_out, [], configurations, {"check": ["a"]}, work)
    dataset.record(teacher).write(tmp_path / "a.json")
    content, read = json.loads((tmp_path / "a.json").read_text()), DatasetRecord.read(tmp_path / "a.json")
    assert content == {
        **{"train": 2, "validation": 0, "test": 1, "duplicates": 1, "left_out": left_out, "hops": []},
        "too_short": {"check": ["a"]},
        "work_imbalances": [{**work[0], "mean_meV": "inf"}],
        "configurations": [
            {"config_id": "b", "group": "x", "frames": 2, "set": "train"},
            {"config_id": "a", "group": "a", "frames": 1, "set": "test"},
        ],
        **({"teacher": teacher} if teacher else {}),
    }
    assert read == dataset.record(teacher)


def test_the_record_of_an_earlier_data_set_has_no_entries_of_later_checks(tmp_path):
    (tmp_path / "a.json").write_text('{"train": 7, "later": 1}')
    read = DatasetRecord.read(tmp_path / "a.json")
    assert (read.train, read.left_out, read.hops, read.too_short, read.work_imbalances) == (7, (), (), {}, ())
    assert (read.configurations, read.teacher) == ([], None)
    with pytest.raises(AttributeError, match="validation"):
        _ = read.validation


@pytest.mark.parametrize("teacher", [None, "some.Calculator"])
def test_the_record_of_an_ensemble_is_what_its_file_says(tmp_path, teacher):
    training = [{"best_step": 3, "stopped": "patience", "history": [[1, 0.5]]}]
    EnsembleRecord(ERRORS, {"scale": 1.5, "frames": {}}, training, teacher).write(tmp_path / "a.json")
    content, read = json.loads((tmp_path / "a.json").read_text()), EnsembleRecord.read(tmp_path / "a.json")
    assert content.keys() == {"errors", "calibration", "training", *(["teacher"] if teacher else [])}
    assert content["errors"] == [{**ERRORS[0], "energy_mae_meV_atom": "nan"}]
    assert math.isnan(read.errors[0]["energy_mae_meV_atom"])
    assert (read.calibration, read.training, read.teacher) == (content["calibration"], training, teacher)


def test_the_record_of_an_earlier_ensemble_lacks_what_its_file_lacks(tmp_path):
    (tmp_path / "a.json").write_text('{"errors": []}')
    read = EnsembleRecord.read(tmp_path / "a.json")
    assert (read.errors, read.teacher) == ([], None)
    with pytest.raises(AttributeError, match="calibration"):
        _ = read.calibration
