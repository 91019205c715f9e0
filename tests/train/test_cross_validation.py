"""Folds through the files that the workflow passes."""

import numpy as np
import pandas as pd
import pytest

from redoxmd.config.sections import Member
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble
from redoxmd.train.cross_validation import COLUMNS, held_out_errors
from redoxmd.train.dataset import Dataset, build_dataset
from redoxmd.train.trainer import train_member
from tests.train.test_train import SETTINGS, configurations

FOLDED = SETTINGS.model_copy(
    update={"folds": 5, "members": (Member(features=8, layers=1),) * 2, "max_steps": 20, "test_configurations": ("f",)}
)


@pytest.fixture
def written(tmp_path):
    dataset = build_dataset(configurations("abcdef", 3), FOLDED, 1, "h")
    write_frames(tmp_path / "dataset.extxyz", dataset.frames)
    return tmp_path / "dataset.extxyz", dataset.configurations


def errors(path, found, fold, settings=FOLDED):
    checkpoint = Checkpoint(path.parent / f"state{fold}", [fold])
    return held_out_errors(read_frames(path), found, settings, fold, 1, checkpoint)


def test_every_configuration_is_judged_once(written):
    table = pd.concat([errors(*written, fold) for fold in range(5)])
    assert list(table.columns) == list(COLUMNS)
    assert sorted(table["config_id"]) == list("abcde")
    assert (table["n_frames"] == 3).all() and (table["force_mae_eV_A"] > 0).all()


def test_nothing_of_a_fold_is_learnt_from(written):
    """Labels of the left out configuration are turned upside down: the network stays, its errors there do not."""
    path, found = written
    before = errors(path, found, 0)
    (name,) = before["config_id"]
    changed = read_frames(path)
    for frame in changed:
        if frame.info["config_id"] in (name, "f"):
            frame.calc.results["forces"] = -frame.calc.results["forces"] + 1.0
    other = path.parent / "other"
    other.mkdir()
    write_frames(other / "dataset.extxyz", changed)
    after = errors(other / "dataset.extxyz", found, 0)
    assert after["force_mae_eV_A"].item() != pytest.approx(before["force_mae_eV_A"].item(), rel=1e-3)
    # The errors by hand: the same network, trained without the fold, against the labels of either file.
    network = network_without(path, found, name)
    for file, table in ((path, before), (other / "dataset.extxyz", after)):
        judged = [f for f in read_frames(file) if f.info["config_id"] == name]
        by_hand = np.mean([np.abs(network.predict(f).forces_eV_A - f.calc.results["forces"]).mean() for f in judged])
        assert table["force_mae_eV_A"].item() == pytest.approx(by_hand, rel=1e-6)


def network_without(path, found, name):
    from redoxmd.train.split import split

    rest = [f for f in read_frames(path) if f.info["config_id"] not in (name, "f")]
    known = {key: item for key, item in found.items() if key not in (name, "f")}
    split(rest, known, FOLDED.model_copy(update={"test_configurations": ()}), 1)
    result = train_member(
        Dataset(rest), FOLDED.members[0], FOLDED, 0, 1, None, Checkpoint(path.parent / "by_hand", [name])
    )
    return Ensemble([result.member])


def test_an_empty_fold_has_no_row(written):
    path, found = written
    many = FOLDED.model_copy(update={"folds": 9})
    assert errors(path, found, 8, many).empty
