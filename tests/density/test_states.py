"""A density model that distinguishes oxidation states, from stores to charges along a trajectory, by the commands.

NaV2O4 on seven sites of a rock-salt cube, as Gaussians: V3+ has 2 μB and 11 electrons, V4+ 1 μB and 10.75. Which V is
V4+ is drawn, so that no geometry shows it.
"""

import json
import re

import numpy as np
import pytest
import xarray as xr
from ase import Atoms
from ase.io import write

from redoxmd.cli import main
from redoxmd.config import parse_config
from redoxmd.config.declared import settings_for
from redoxmd.density.dataset import index_densities
from redoxmd.density.grid import accept_density
from redoxmd.density.model import load_density_model
from redoxmd.density.store import density_keys, read_density, write_densities
from redoxmd.density.training import DensityTrainer
from redoxmd.errors import DataError
from redoxmd.files.trajectory import Trajectory, write_segment
from redoxmd.runs.config_check import inspect_electrons
from redoxmd.structures.source import source_cell
from tests.density.test_training import SETTINGS, VALENCE, VANADIUM, WIDTH_A

EDGE_A = 4.4
SHAPE = (30, 30, 30)
ELECTRONS = {3: 11.0, 4: 10.75}
MOMENT_MUB = {3: 2.0, 4: 1.0}
SODIUM_E = 6.1
LEVELS = {"levels": {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}}
SMALL = {name: getattr(SETTINGS, name) for name in SETTINGS.model_fields_set} | {"max_steps": 150, "validate_every": 75}


def planted(seed):
    """Structure with its states, and its density without on-site moments."""
    rng = np.random.default_rng(seed)
    corners = np.array(list(np.ndindex(2, 2, 2)))
    even = corners.sum(axis=1) % 2 == 0
    scaled = np.concatenate([corners[even][:3], corners[~even]]) / 2
    atoms = Atoms("NaV2O4", scaled_positions=scaled, cell=3 * [EDGE_A], pbc=True)
    atoms.positions += 0.04 * rng.standard_normal(atoms.positions.shape)
    states = np.array([0, *rng.permutation([3, 4]), 0, 0, 0, 0])
    valence = np.array([VALENCE[int(z)] for z in atoms.numbers])
    electrons = np.array([SODIUM_E, *(ELECTRONS[s] for s in states[1:3]), 0, 0, 0, 0])
    electrons[3:] = (valence.sum() - electrons.sum()) / 4
    moments = np.array([MOMENT_MUB.get(int(s), 0.0) for s in states])
    points = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1).reshape(-1, 3) / SHAPE
    grids = np.zeros((2, len(points)))
    for position, z, *pair in zip(atoms.get_scaled_positions(), atoms.numbers, electrons, moments, strict=True):
        vectors, width = (points - position - np.round(points - position)) * EDGE_A, WIDTH_A[int(z)]
        shape = np.exp(-(vectors**2).sum(axis=1) / (2 * width**2)) / (2 * np.pi * width**2) ** 1.5
        grids += np.array(pair)[:, None] * shape
    total, spin = grids.reshape(2, *SHAPE)
    atoms.set_array("oxidation", states)
    cell = np.asarray(atoms.cell)
    return atoms, accept_density(total, spin, cell, atoms.positions, atoms.numbers, valence, valence.sum(), "planted")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of an aware and a blind model, trained by the command on the same store."""
    folder = tmp_path_factory.mktemp("states")
    write_densities(folder / "s.h5", {f"c{seed}/step00000": planted(seed)[1] for seed in range(12)})
    for states in ("aware", "blind"):
        config = {"run": "a", "electrons": LEVELS, "density": {**SMALL, "states": states}}
        config |= {"charges": {"spacing_A": 0.15, "region_radius_A": None}}
        (folder / f"{states}.json").write_text(json.dumps(config))
        words = ["density", "train", str(folder / "s.h5"), "--into", str(folder / states)]
        assert main([*words, "--config", str(folder / f"{states}.json")]) == 0
    return folder


def along(folder, states, frames, target):
    words = [str(folder / states), str(frames), "--to", str(target), "--config", str(folder / f"{states}.json")]
    return main(["charges", "along", *words])


def unseen_trajectory(path):
    """Two frames of one geometry, in both states, as a trajectory of redoxmd; states (2, n)."""
    atoms, _ = planted(100)
    states = np.array([atoms.arrays["oxidation"], atoms.arrays["oxidation"][[0, 2, 1, 3, 4, 5, 6]]])
    positions, steps, ones = np.repeat(atoms.positions[None], 2, axis=0), np.arange(2), np.ones(2)
    trajectory = Trajectory(
        atoms.numbers, positions, np.asarray(atoms.cell), steps, 20.0 * steps, ones, ones, ones, oxidation=states
    )
    write_segment(path, trajectory)
    return states


def test_aware_recovers_charge_and_moment_of_each_state_and_blind_cannot(models, tmp_path):
    states = unseen_trajectory(tmp_path / "t.h5")[:, 1:3]
    moments, charges = {}, {}
    for name in ("aware", "blind"):
        assert along(models, name, tmp_path / "t.h5", tmp_path / f"{name}.nc") == 0
        table = xr.load_dataset(tmp_path / f"{name}.nc", engine="h5netcdf")
        moments[name], charges[name] = (table[key].to_numpy()[:, 1:3] for key in ("moment_muB", "charge_e"))
    expected = np.vectorize(MOMENT_MUB.get)(states)
    assert np.abs(moments["aware"] - expected).max() < 0.15
    assert np.abs(moments["blind"] - expected).mean() > 0.35
    np.testing.assert_array_equal(moments["blind"][0], moments["blind"][1])
    # V4+ has 0.25 electrons fewer; the exchange of states changes the charge of both atoms by that.
    change = charges["aware"][0] - charges["aware"][1]
    np.testing.assert_allclose(change, 0.25 * (states[0] - states[1]), atol=0.08)


def test_the_states_are_species_of_the_network_and_the_superposition_is_of_elements(models):
    model, _ = load_density_model(models / "aware/model.pt", "cpu")
    pairs = list(zip(model.network.elements, model.network.states, strict=True))
    assert pairs == [(8, 0), (11, 0), (23, 3), (23, 4)]
    assert model.superposition.elements == [8, 11, 23]
    blind, _ = load_density_model(models / "blind/model.pt", "cpu")
    assert (blind.network.states, blind.network.elements) == (None, [8, 11, 23])
    assert "states" not in blind.network.settings


@pytest.mark.parametrize(
    ("states", "words"),
    [
        ([0, 3, 5, 0, 0, 0, 0], "V with oxidation 5: no training frame has it"),
        (None, r"the model distinguishes oxidation states .*; set the array `oxidation`"),
    ],
)
def test_states_the_network_does_not_know_are_refused_by_name(models, tmp_path, capsys, states, words):
    atoms, _ = planted(100)
    del atoms.arrays["oxidation"]
    if states is not None:
        atoms.set_array("oxidation", np.array(states))
    write(tmp_path / "t.extxyz", atoms)
    assert along(models, "aware", tmp_path / "t.extxyz", tmp_path / "t.nc") != 0
    message = capsys.readouterr().err
    assert re.search(f"the density model cannot take NaV2O4: {words}", message), message
    assert not (tmp_path / "t.nc").exists()


def test_predicted_stores_have_the_states_of_their_frames(models, tmp_path):
    states = unseen_trajectory(tmp_path / "t.h5")
    words = [str(models / "aware/model.pt"), str(tmp_path / "t.h5"), "--into", str(tmp_path / "p.h5")]
    assert main(["density", "predict", *words, "--spacing", "0.6"]) == 0
    found = [read_density(tmp_path / "p.h5", key).oxidation for key in density_keys(tmp_path / "p.h5")]
    np.testing.assert_array_equal(found, states)


def test_frames_of_which_only_some_have_states_are_refused(models, tmp_path, capsys):
    frames = [planted(100)[0] for _ in range(2)]
    del frames[1].arrays["oxidation"]
    write(tmp_path / "0.extxyz", frames[:1])
    write(tmp_path / "1.extxyz", frames[1:])
    (tmp_path / "t.extxyz").write_text("".join((tmp_path / f"{n}.extxyz").read_text() for n in range(2)))
    assert along(models, "aware", tmp_path / "t.extxyz", tmp_path / "t.nc") != 0
    assert "only 1 of 2 frames have the array `oxidation`" in capsys.readouterr().err


def test_densities_that_are_not_judged_cannot_train_an_aware_model(models):
    index = index_densities([models / "s.h5"], [], 0.1, 1)
    settings = SETTINGS.model_copy(update={"states": "aware"})
    with pytest.raises(DataError, match=r"frame c\d+ step 0: no oxidation states, which density.states: aware needs"):
        DensityTrainer(index.subset("train"), index.subset("validation"), VANADIUM, settings, 1)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"density": {"states": "aware"}}, "density.states: aware needs electrons.levels"),
        ({"select": {"other_states": 0.2}}, "other_states has no effect without train.states: aware"),
        ({"neb": {"electrons": "frozen"}}, "neb.electrons: frozen has no effect without train.states: aware"),
        ({"density": {"states": "aware"}, "electrons": LEVELS}, "density.states: aware needs train.states: aware"),
        ({"density": {"states": "aware", "enabled": False}, "electrons": LEVELS}, None),
        ({"density": {"states": "aware"}, "electrons": LEVELS, "train": {"states": "aware"}}, None),
    ],
)
def test_check_refuses_states_that_nothing_gives(sections, words):
    config = parse_config({"run": "a", **sections})
    problems = [p for p in inspect_electrons(config, source_cell(config.structures)).problems if "states: aware" in p]
    assert (words is None and not problems) or (len(problems) == 1 and words in problems[0])


def test_the_setting_is_declared_off_its_default_only():
    blind, aware = (parse_config({"run": "a", "density": {"states": states}}).density for states in ("blind", "aware"))
    assert "states" not in settings_for("density", blind)
    assert settings_for("density", aware)["states"] == "aware"
