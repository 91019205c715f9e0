"""Records of training against the JSON of their files."""

import json
import math

import pytest

from redoxmd.train.records import EnsembleRecord

ERRORS = [{"member": -1, "set": "test", "force_mae_eV_A": 0.25, "energy_mae_meV_atom": float("nan"), "n_frames": 22}]


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
