"""Oxidation states of stored densities and the verdict on them, through stores, the script and the command line."""

import dataclasses
import json
import re

import h5py
import numpy as np
import pytest
import yaml

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.charges.density_states import judge_densities
from redoxmd.cli import main
from redoxmd.config.declared import settings_for
from redoxmd.config.load import load_config
from redoxmd.config.sections import Aimd, EngineSettings, Start, Toy
from redoxmd.density.store import density_keys, read_density, write_densities
from redoxmd.electrons.parsing import parse_levels
from redoxmd.engines.base import Result
from redoxmd.engines.toy import ToyEngine, gaussian_density
from redoxmd.errors import DataError
from redoxmd.files.frames import read_frames
from redoxmd.jobs.checkpoint import Checkpoint
from tests.aimd.test_internal_md import SegmentToy
from tests.engines.test_engines import nvp
from tests.scripts import execute

LEVELS = parse_levels("V3=2.0,V4=1.0", "Na=1,P=5,O=-2")
STEPS = Aimd(starts=(Start(x=2.5),), steps=3, timestep_fs=1.0, density_every=2)
ELECTRONS = {"levels": {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}}
KEYS = ["conf/step00000", "conf/step00002"]


def reference_md(folder, engine, levels=LEVELS):
    """Frames and densities of a reference MD, as the rules aimd and label write them."""
    run = run_reference_md(nvp(2.5), engine, STEPS, np.random.default_rng(1), "conf", Checkpoint(folder, "f"), levels)
    run.write(folder / "frames.extxyz", folder / "densities.h5")
    return run, folder / "densities.h5"


def toy(**settings):
    return ToyEngine(EngineSettings(name="toy", toy=Toy(two_state=True, **settings)))


def planted(high, x=2.5):
    """A density with V4+ at the given V, as Gaussians, and its states by hand; it has no on-site moments."""
    atoms = nvp(x)
    states = np.where(atoms.numbers == 23, 3, 0)
    states[np.flatnonzero(states)[list(high)]] = 4
    return gaussian_density(atoms, states), states


def test_the_store_of_a_reference_md_has_moments_and_states_of_its_frames(tmp_path):
    _, store = reference_md(tmp_path, toy())
    frames = read_frames(tmp_path / "frames.extxyz")
    with h5py.File(store) as file:
        for key, frame in zip(KEYS, frames[::2], strict=True):
            moments, oxidation = file[key]["moments"][()], file[key]["oxidation"][()]
            np.testing.assert_array_equal(moments, frame.get_magnetic_moments())
            # By hand: 2 μB is V3+, 1 μB is V4+.
            np.testing.assert_array_equal(oxidation, np.select([moments == 2, moments == 1], [3, 4]))
            assert (oxidation == 4).sum() == 1


def test_without_levels_the_store_has_moments_only(tmp_path):
    _, store = reference_md(tmp_path, toy(), None)
    density = read_density(store, KEYS[0])
    assert density.oxidation is None and "oxidation" not in density.atoms.arrays
    assert sorted(set(density.moments_muB)) == [0, 1, 2]


@pytest.mark.parametrize("name", ["moments", "oxidation"])
def test_changed_states_differ_from_the_checksum(tmp_path, name):
    _, store = reference_md(tmp_path, toy())
    with h5py.File(store, "a") as file:
        values = file[KEYS[0]][name]
        values[...] = values[()][::-1]
    with pytest.raises(DataError, match=r"densities\.h5: density conf/step00000 differs from its checksum"):
        read_density(store, KEYS[0])


class WrongStatics(SegmentToy):
    """Its MD is sound; the static run for the density of step 2 ends in a wrong state."""

    def static(self, atoms):
        result = super().static(atoms)
        if self.n_statics == 1:
            return result
        moments = result.moments_muB.copy()
        moments[np.flatnonzero(moments == 1.0)[0]] = 2.0
        return Result(result.energy_eV, result.forces_eV_A, None, moments, 1)


def test_a_density_of_a_static_run_in_a_wrong_state_is_refused_and_its_frame_kept(tmp_path):
    run, store = reference_md(tmp_path, WrongStatics())
    assert (density_keys(store), len(run.frames), run.refusal) == (KEYS[:1], 3, None)
    ((reason, step),) = [(item.reason, item.step) for item in run.refused_densities]
    assert (reason, step) == ("wrong_electronic_state", 2)


def test_a_wrong_state_is_refused_with_words_and_the_states_of_others_are_exact(tmp_path):
    """The reference MD knows no levels, as before the config had them; one density of three has a hole on oxygen."""
    _, wrong = reference_md(tmp_path / "wrong", toy(wrong_state_fraction=1.0), None)
    densities = {f"sound/step{number:05d}": planted(high) for number, high in enumerate([[0], [3]])}
    write_densities(tmp_path / "sound.h5", {key: density for key, (density, _) in densities.items()})
    verdict = judge_densities([wrong, tmp_path / "sound.h5"], LEVELS, ["conf/2"])
    assert {key: value.tolist() for key, (_, value) in densities.items()} == verdict.oxidation
    (refused,) = verdict.left_out
    assert (refused["config_id"], refused["step"], refused["reason"]) == ("conf", 0, "wrong_electronic_state")
    assert "no V4+ and -0.5 μB on the other atoms; neutrality asks for one V4+" in refused["detail"]


@pytest.mark.parametrize(
    ("high", "share", "words"),
    [
        ([0, 1], 1.0, r"two V4\+ and \S+ μB on the other atoms; neutrality asks for one V4\+"),
        ([0], 0.0, "no moments and no spin density, .*import a spin-polarised calculation"),
        ([0], 0.75, r"\|moment\| 1\.48 μB on V 26, 2 for 3\+"),
    ],
)
def test_without_moments_the_spin_density_is_judged(tmp_path, high, share, words):
    """Two V4+ where one is due, no spin at all, and every moment between the levels."""
    density, _ = planted(high)
    changed = {"spin_e_A3": share * density.spin_e_A3, "moment_muB": share * density.moment_muB}
    write_densities(tmp_path / "s.h5", {"a/step00000": dataclasses.replace(density, **changed)})
    verdict = judge_densities([tmp_path / "s.h5"], LEVELS)
    assert not verdict.oxidation
    assert re.search(words, verdict.left_out[0]["detail"]), verdict.left_out[0]["detail"]


def test_a_cell_that_no_states_make_neutral_is_named(tmp_path):
    density, _ = planted([0])
    write_densities(tmp_path / "s.h5", {"a/step00000": density})
    with pytest.raises(DataError, match=r"density a/step00000 of .*s\.h5: no oxidation states make .* neutral"):
        judge_densities([tmp_path / "s.h5"], parse_levels("V2=3.0,V3=2.0", "Na=1,P=5,O=-2"))


def dataset_record(folder):
    """Record of the training set of the potentials: a frame that the audit leaves out."""
    record = {"configurations": [], "left_out": [{"config_id": "b", "step": 0, "reason": "excluded", "detail": ""}]}
    (folder / "frames.json").write_text(json.dumps(record))
    return str(folder / "frames.json")


def run_density_dataset(folder, stores, electrons):
    """Rule density_dataset on files, with the parameters of its rule."""
    (folder / "config.yaml").write_text(yaml.safe_dump({"run": "a", "electrons": electrons}))
    settings = settings_for("density_dataset", load_config(folder / "config.yaml").electrons)
    params = {"datasets": [], "test": {"ids": [], "demanded": False}, "validation_fraction": 0.1, "seed": 1}
    inputs = {"frames": dataset_record(folder), "stores": list(map(str, stores)), "aimd": [], "labels": []}
    outputs = {"index": str(folder / "index.json")}
    if electrons:
        outputs["left_out"] = str(folder / "left_out.json")
    execute("density_dataset", folder, {**params, **settings, "reference": "h"}, inputs, outputs)
    return json.loads((folder / "index.json").read_text())


@pytest.fixture
def stores(tmp_path):
    _, wrong = reference_md(tmp_path / "wrong", toy(wrong_state_fraction=1.0), None)
    names = {"a/step00000": [0], "b/step00000": [1], "c/step00000": [2], "d/step00000": [3]}
    write_densities(tmp_path / "sound.h5", {key: planted(high)[0] for key, high in names.items()})
    return [wrong, tmp_path / "sound.h5"]


def test_the_rule_indexes_states_and_lists_what_it_refuses(tmp_path, stores):
    index = run_density_dataset(tmp_path, stores, ELECTRONS)
    assert [entry["key"][0] for entry in index] == ["a", "c", "d"]
    for entry, high in zip(index, [0, 2, 3], strict=True):
        assert entry["oxidation"] == planted([high])[1].tolist()
    left_out = json.loads((tmp_path / "left_out.json").read_text())
    assert [(item["config_id"], item["step"], item["reason"]) for item in left_out] == [
        ("conf", step, "wrong_electronic_state") for step in (0, 2)
    ]


def test_without_levels_the_index_is_that_of_earlier_versions(tmp_path, stores):
    index = run_density_dataset(tmp_path, stores, {})
    assert [set(entry) for entry in index] == 5 * [{"store", "key", "set"}]
    assert not (tmp_path / "left_out.json").exists()


def test_the_command_refuses_stores_in_wrong_states_only(tmp_path, stores, capsys):
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump({"run": "a", "electrons": ELECTRONS}))
    words = ["density", "train", str(stores[0]), "--into", str(tmp_path / "model"), "--config", str(config)]
    assert main(words) != 0
    message = capsys.readouterr().err
    assert "no density to train on (2 are in a wrong electronic state; the log lists them with reasons)" in message
    assert not (tmp_path / "model/model.pt").exists()
