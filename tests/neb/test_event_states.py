"""Paths through an event of an MD with oxidation states, by the scripts of the workflow from H5MD to the images."""

import dataclasses

import h5py
import numpy as np
import pytest
from ase.io import read

from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Electrons, Neb, NebPath
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.files.frames import write_frames
from redoxmd.files.hdf5 import write_dataset
from redoxmd.files.records import read_json
from redoxmd.files.trajectory import join_segments, read_trajectory, write_segment
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateSettings
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import save_ensemble
from redoxmd.neb.run import PathTask, explore_path
from tests.diffusion.test_mechanism import planted
from tests.diffusion.test_sites import INTERVAL_FS, NVP, SETTINGS
from tests.model.test_ensemble import aware_ensemble
from tests.scripts import execute

PATH = {"name": "seen", "event": "auto"}
GATE = {"low_eV_A": 1e-6, "high_eV_A": 1e4, "min_distance_fraction": 0.01}
LEVELS = {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05}}}
# Between the frames 105 and 106, in which the first ion is on its way.
HOP_FS = 105.5 * INTERVAL_FS
IMAGES = 6
# Swaps that gain less are not made.
DESCENT_EV = 1e-4


def states_by_energy(atoms):
    """The four neutral states (4, n) of one V4+ among four V, from the lowest to the highest energy, and energies."""
    ensemble, vanadium = aware_ensemble(), np.flatnonzero(atoms.numbers == 23)
    states = np.tile(np.where(atoms.numbers == 23, 3, 0), (4, 1))
    states[range(4), vanadium] = 4
    energies = []
    for state in states:
        atoms.set_array("oxidation", state)
        energies.append(ensemble.predict(atoms).energy_eV)
    order = np.argsort(energies)
    return states[order], np.array(energies)[order]


@pytest.fixture(scope="module", params=[False, True], ids=["no hop", "a hop in the event"])
def files(request, tmp_path_factory):
    """Trajectory of an exchange in the highest state, then perhaps in the second highest; its event by the script."""
    folder, (trajectory, _) = tmp_path_factory.mktemp("event"), planted(100, 110)
    *_, second, highest = states_by_energy(trajectory.frame(0))[0]
    after = second if request.param else highest
    oxidation = np.where(trajectory.time_fs[:, None] < HOP_FS, highest, after)
    write_segment(folder / "0.h5", dataclasses.replace(trajectory, oxidation=oxidation))
    donor, acceptor = np.flatnonzero(second == 4)[0], np.flatnonzero(highest == 4)[0]
    hops = np.array([[HOP_FS, donor, acceptor, -0.1, 0.01]] if request.param else np.zeros((0, 5)))
    join_segments([folder / "0.h5"], folder / "t.h5", trajectory.metadata, hops=hops)
    write_dataset(folder / "jumps.nc", analyse_trajectory(read_trajectory(folder / "t.h5"), SETTINGS, 1, NVP))
    params = {"path": PATH, "diffusion": settings_for("neb_event", SETTINGS)}
    params |= {"structures": settings_for("neb_event", NVP)}
    inputs = {"analyses": [str(folder / "jumps.nc")], "trajectories": [str(folder / "t.h5")]}
    outputs = {"frames": str(folder / "event.extxyz"), "record": str(folder / "event.json")}
    execute("neb_event", folder, params, inputs, outputs)
    save_ensemble(folder / "ensemble.pt", aware_ensemble())
    return folder, highest, after


def images_of(files, tmp_path, electrons, reach_A):
    """Images of the script neb, and its log; forces are small enough at once, so that the ends stay where they are."""
    folder = files[0]
    settings = Neb(images=IMAGES, force_tolerance_eV_A=20.0, electrons=electrons)
    params = {"neb": settings_for("neb", settings), "path": PATH, "gate": GATE, "state": str(tmp_path / "state")}
    inputs = {"ends": [str(folder / f"event.{suffix}") for suffix in ("extxyz", "json")]}
    outputs = {name: str(tmp_path / name) for name in ("images", "candidates", "profile", "barriers")}
    config = {"electrons": {"levels": LEVELS, "reach_A": reach_A}, "structures": NVP.model_dump(mode="json")}
    inputs["ensemble"] = str(folder / "ensemble.pt")
    execute("neb", tmp_path, params, inputs, outputs, config=config, wildcards={"path": "seen"})
    return read(tmp_path / "images", ":", format="extxyz"), (tmp_path / "log").read_text()


def test_frames_of_an_event_have_the_recorded_states(files):
    folder, before, after = files
    frames = read(folder / "event.extxyz", ":")
    with h5py.File(folder / "t.h5") as file:
        time_fs, stored = (file[f"particles/atoms/oxidation/{name}"][()] for name in ("time", "value"))
    for frame in frames:
        (row,) = np.flatnonzero(np.isclose(time_fs, frame.info["time_fs"]))
        assert frame.arrays["oxidation"].tolist() == stored[row].tolist()
    ends = [frames[0].arrays["oxidation"].tolist(), frames[-1].arrays["oxidation"].tolist()]
    assert ends == [before.tolist(), after.tolist()]
    changed = read_json(folder / "event.json")["changed_states"]
    assert changed == np.flatnonzero(before != after).tolist()


def test_frozen_electrons_have_the_state_before_the_event(files, tmp_path):
    _, before, after = files
    images, log = images_of(files, tmp_path, "frozen", 100.0)
    assert [image.arrays["oxidation"].tolist() for image in images] == [before.tolist()] * IMAGES
    changed = ", ".join(f"V {atom}" for atom in np.flatnonzero(before != after))
    assert f"all images are in the state of the initial end; the final one differs on {changed}" in log or not changed
    assert ("all images are in the state" in log) == bool(changed)


def test_electrons_that_follow_start_from_the_recorded_states(files, tmp_path):
    """Without a neighbour in reach they stay in them; from anywhere else they would have started in the lowest."""
    _, before, after = files
    images, _ = images_of(files, tmp_path, "follow", 1.0)
    expected = [before.tolist()] * (IMAGES // 2) + [after.tolist()] * (IMAGES // 2)
    assert [image.arrays["oxidation"].tolist() for image in images] == expected


def test_electrons_that_follow_go_to_the_lowest_state_in_reach(files, tmp_path):
    images, _ = images_of(files, tmp_path, "follow", 100.0)
    for image in images:
        assert image.get_potential_energy() <= states_by_energy(image.copy())[1][0] + DESCENT_EV


def test_a_trajectory_without_states_gives_none(tmp_path):
    trajectory, _ = planted(100, 110)
    write_segment(tmp_path / "t.h5", trajectory)
    write_dataset(tmp_path / "jumps.nc", analyse_trajectory(read_trajectory(tmp_path / "t.h5"), SETTINGS, 1, NVP))
    params = {"path": NebPath(**PATH).model_dump(mode="json"), "diffusion": settings_for("neb_event", SETTINGS)}
    params |= {"structures": settings_for("neb_event", NVP)}
    inputs = {"analyses": [str(tmp_path / "jumps.nc")], "trajectories": [str(tmp_path / "t.h5")]}
    outputs = {"frames": str(tmp_path / "event.extxyz"), "record": str(tmp_path / "event.json")}
    execute("neb_event", tmp_path, params, inputs, outputs)
    assert not any("oxidation" in frame.arrays for frame in read(tmp_path / "event.extxyz", ":"))
    assert "changed_states" not in read_json(tmp_path / "event.json")


def test_a_path_from_recorded_states_continued_equals_uninterrupted(files, tmp_path):
    def explored(folder, max_band_steps):
        settings = Neb(images=5, force_tolerance_eV_A=0.05, max_band_steps=max_band_steps)
        # So short a reach that the states which swaps lead to differ from the lowest ones.
        electrons = Electrons(levels=LEVELS, reach_A=4.5)
        task = PathTask(
            read(files[0] / "event.extxyz", ":"), NebPath(**PATH), NVP,
            lambda: EnsembleCalculator(aware_ensemble(), electrons, all_swaps=True),
            settings, GateSettings(**GATE), Checkpoint(tmp_path / folder, 0),
        )  # fmt: skip
        return explore_path(task)

    whole = explored("whole", 4)
    explored("part", 2)
    part = explored("part", 4)
    assert whole.record.end_reason == "not_converged"
    for name, run in (("whole", whole), ("part", part)):
        write_frames(tmp_path / f"{name}.extxyz", run.candidates)
    assert (tmp_path / "part.extxyz").read_bytes() == (tmp_path / "whole.extxyz").read_bytes()
    states = [frame.arrays["oxidation"].tolist() for frame in read(tmp_path / "whole.extxyz", ":")]
    assert len(states) == 5
