"""The comparison of blind and aware potentials, from a folder of frames and a config to its table."""

import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from ase.calculators.singlepoint import SinglePointCalculator

from benchmarks import left_out
from redoxmd.config.load import load_config
from redoxmd.config.sections import Structures
from redoxmd.engines import get_engine, settings_hash
from redoxmd.engines.toy import LEVELS
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import file_sha256
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

RUNS = ["x2.000_random0", "x2.000_random1", "x2.500_random0", "x3.000_random0"]
HELD_OUT = "x2.000_random1"


@pytest.fixture
def config(tmp_path):
    """A config of the toy engine with two states, and its dataset of three frames of each of four orderings."""
    text = {
        "run": "left_out",
        "engine": {"name": "toy", "toy": {"two_state": True}},
        "electrons": {"levels": {"V": {n: {"moment_muB": m} for n, m in LEVELS.moments_muB["V"].items()}}},
        "train": {
            "datasets": [str(tmp_path / "data")],
            "test_configurations": [HELD_OUT],
            "members": [{"features": 8, "layers": 1}, {"features": 8, "layers": 1}],
            "max_steps": 6,
            "validate_every": 3,
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(text))
    settings, frames = load_config(tmp_path / "config.yaml").engine, []
    for name in RUNS:
        for step in range(3):
            atoms = build_structure(parse_name(f"{name}_1x1x1"), Structures(), 1)
            atoms.rattle(0.05, seed=step)
            result = get_engine(settings, (1, 1, 1), None).calculate(atoms)
            atoms.calc = SinglePointCalculator(
                atoms, energy=result.energy_eV, forces=result.forces_eV_A, magmoms=result.moments_muB
            )
            atoms.info |= {"config_id": name, "step": step, "time_fs": 2.0 * step, "converged": True}
            atoms.info |= {"engine": "toy", "settings_hash": settings_hash(settings)}
            atoms.info["total_moment_muB"] = float(np.sum(result.moments_muB))
            frames.append(atoms)
    folder = tmp_path / "data"
    folder.mkdir()
    write_frames(folder / "frames.extxyz", frames)
    card = {"engine": "toy", "settings_hash": settings_hash(settings)}
    card["files"] = {"frames.extxyz": file_sha256(folder / "frames.extxyz")}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card))
    return tmp_path / "config.yaml"


def test_each_configuration_is_left_out_once_and_rows_are_kept(config, monkeypatch, capsys):
    trained, train = [], left_out.train_member

    def spy(dataset, *arguments, **keywords):
        trained.append(({frame.info["config_id"] for frame in dataset.frames}, arguments[1].states))
        return train(dataset, *arguments, **keywords)

    monkeypatch.setattr(left_out, "train_member", spy)
    table = config.parent / "rows.csv"
    monkeypatch.setattr(sys, "argv", ["left_out", str(config), "--output", str(table), "--seeds", "1", "2"])
    left_out.main()
    rows = pd.read_csv(table)
    judged = [name for name in RUNS if name != HELD_OUT]
    for _, group in rows.groupby(["states", "seed"]):
        assert sorted(group["config_id"]) == sorted(judged)
    assert sorted(set(zip(rows["states"], rows["seed"], strict=True))) == [
        (s, n) for s in ("aware", "blind") for n in (1, 2)
    ]
    assert (rows[left_out.ERRORS] > 0).all(axis=None)
    # What is judged is not learnt from, and neither is the test configuration.
    for (names, states), row in zip(trained, rows.itertuples(), strict=True):
        assert states == row.states and row.config_id not in names and HELD_OUT not in names
    # The printed mean by plain pandas, and nothing is trained twice.
    mean = rows[rows["states"] == "aware"].groupby("seed")["force_mae_eV_A"].mean().mean()
    assert f"{mean:.3f}" in capsys.readouterr().out
    left_out.main()
    assert len(trained) == len(rows) and pd.read_csv(table).equals(rows)


def test_errors_by_hand(config, monkeypatch):
    """The force error of one fold against the labels in the file, with the network that the fold trained."""
    kept, train = [], left_out.train_member
    monkeypatch.setattr(left_out, "train_member", lambda *a, **k: kept.append(train(*a, **k)) or kept[-1])
    settings = load_config(config)
    dataset = left_out.assemble(settings, 1)
    row = left_out.left_out_errors(
        dataset, settings.train.model_copy(update={"states": "aware", "folds": 3}), 1, 0
    ).iloc[0]
    network = left_out.Ensemble([kept[0].member])
    errors, on_V = [], []
    for frame in read_frames(config.parent / "data" / "frames.extxyz"):
        if frame.info["config_id"] == row["config_id"]:
            V = frame.symbols == "V"
            frame.set_array("oxidation", np.where(V, np.where(frame.get_magnetic_moments() > 1.5, 3, 4), 0))
            difference = np.abs(network.predict(frame).forces_eV_A - frame.get_forces())
            errors.append(difference.mean())
            on_V.append(difference[V].mean())
    assert len(errors) == 3
    assert row["force_mae_eV_A"] == pytest.approx(np.mean(errors), rel=1e-6)
    assert row["redox_force_mae_eV_A"] == pytest.approx(np.mean(on_V), rel=1e-6)
