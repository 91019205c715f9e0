"""Charges along trajectories, the jump to show, the summary, and the commands, on the toy engine's known redox."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from ase.io import write

from redoxmd.charges.event import NO_JUMP, describe_best_jump
from redoxmd.charges.oxidation import OxidationModel, OxidationStates, fit_record
from redoxmd.charges.summary import TABLE_COLUMNS, summarise_redox
from redoxmd.charges.tables import frames_to_charge, reference_charges, trajectory_charges
from redoxmd.cli import main
from redoxmd.config.sections import Charges, Diffusion, Structures
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.store import density_keys, write_densities
from redoxmd.density.superposition import fit_superposition
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.engines import toy
from redoxmd.files.trajectory import Trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from tests.density.test_network import random_model

STRUCTURE = "x2.500_preferred0_1x1x1"
SETTINGS = Charges(spacing_A=0.25, every_fs=0.0, persistence_fs=0.0, region_radius_A=1.5)


def redox_rows(charge, moment, error=0.01):
    """Rows of the redox element as `reference_charges` gives them."""
    charge, moment = np.array(charge), np.array(moment)
    return pd.DataFrame(
        {
            "set": np.where(np.arange(len(charge)) % 3 == 0, "validation", "train"),
            "reference_charge_e": charge,
            "predicted_charge_e": charge + error * (-1.0) ** np.arange(len(charge)),
            "reference_moment_muB": moment,
            "predicted_moment_muB": moment,
        }
    )


MIXTURE = fit_record(
    redox_rows(
        [2.0, 2.01, 1.99, 2.02, 1.98, 2.0, 2.25, 2.26, 2.24, 2.25, 2.23, 2.27] * 2,
        [2.0, 1.98, 2.02, 2.0, 1.97, 2.03, 1.0, 1.02, 0.98, 1.0, 1.01, 0.97] * 2,
    ),
    (3, 4),
)
MODEL = OxidationModel.from_record(MIXTURE, predicted=True)


def walk():
    """An ion leaves its site in the middle of 60 frames of 20 fs, slowly enough to be followed."""
    atoms = build_structure(parse_name(STRUCTURE), Structures(), 1)
    positions = np.repeat(atoms.positions[None], 60, axis=0)
    ion = int(np.flatnonzero(atoms.numbers == 11)[0])
    positions[30:, ion] += [3.4, 0.5, 0.0]
    steps = np.arange(60)
    about = {"structure": STRUCTURE, "mobile_ion": "Na", "x": 2.5, "temperature_K": 900.0, "replica": 0, "model": "m"}
    ones = np.ones(60)
    return Trajectory(atoms.numbers, positions, np.asarray(atoms.cell), steps, 20.0 * steps, ones, ones, ones, about)


def charges_of(trajectory, frames, hop_at=31):
    """Charges as a perfect model would give them: one V4+, which changes place once."""
    v = np.flatnonzero(trajectory.numbers == 23)
    charge = np.full((len(frames), len(trajectory.numbers)), np.nan)
    moment = charge.copy()
    charge[:, v], moment[:, v] = 2.0, 2.0
    for row, frame in enumerate(frames):
        high = v[0] if frame < hop_at else v[2]
        charge[row, high], moment[row, high] = 2.25, 1.0
    return xr.Dataset(
        {
            "charge_e": (("frame", "atom"), charge),
            "moment_muB": (("frame", "atom"), moment),
            "positions_A": (("frame", "atom", "axis"), trajectory.positions_A[frames]),
            "cell_A": (("vector", "axis"), trajectory.cell_A),
        },
        coords={
            "time_fs": ("frame", trajectory.time_fs[frames]),
            "number": ("atom", trajectory.numbers),
            "x": 2.5,
            "temperature_K": 900.0,
            "replica": 0,
        },
        attrs={"structure": STRUCTURE, "model": "m"},
    )


@pytest.fixture(scope="module")
def story():
    trajectory = walk()
    analysis = analyse_trajectory(trajectory, Diffusion(), 1)
    return trajectory, analysis, charges_of(trajectory, np.arange(0, 60, 2))


class TestFrames:
    def test_stride(self):
        frames = frames_to_charge(np.arange(100) * 20.0, np.zeros(0), Charges(every_fs=200.0))
        assert frames.tolist() == list(range(0, 100, 10))

    def test_around_jumps(self):
        settings = Charges(every_fs=0.0, max_jumps=1, jump_window_fs=60.0)
        frames = frames_to_charge(np.arange(100) * 20.0, np.array([1000.0]), settings)
        assert frames.tolist() == list(range(47, 54))

    def test_as_many_jumps_as_allowed_spread_over_time(self):
        settings = Charges(every_fs=0.0, max_jumps=2, jump_window_fs=1.0)
        frames = frames_to_charge(np.arange(100) * 20.0, np.array([200.0, 600.0, 1800.0]), settings)
        assert frames.tolist() == [10, 90]

    def test_nothing_to_look_at(self):
        assert len(frames_to_charge(np.zeros(0), np.zeros(0), Charges())) == 0
        assert len(frames_to_charge(np.arange(5) * 20.0, np.zeros(0), Charges(every_fs=0.0))) == 0


@pytest.fixture(scope="module")
def model():
    """Superposed toy atoms under a network that says nothing."""
    densities = [
        toy.gaussian_density(build_structure(parse_name(f"x{x:.3f}_random0_1x1x1"), Structures(), 1))
        for x in (2.0, 2.5, 3.0)
    ]
    silent = random_model(0, layers=1)
    with torch.no_grad():
        for parameter in silent.network.parameters():
            parameter.zero_()
    silent.superposition = fit_superposition(densities, [8, 11, 15, 23], 4.0, np.random.default_rng(0))
    return silent


class TestTrajectoryCharges:
    def test_only_the_redox_element_has_charges_in_a_region(self, tmp_path, model):
        trajectory = walk()
        table = trajectory_charges(trajectory, [0, 5], model, SETTINGS, Structures(), Checkpoint(tmp_path / "s", 1))
        vanadium = trajectory.numbers == 23
        # Superposed atoms know one V only: the mean of both states.
        assert np.abs(table["charge_e"].to_numpy()[:, vanadium] - 2.06).max() < 0.1
        assert np.isfinite(table["charge_e"].to_numpy()[:, vanadium]).all()
        assert np.isnan(table["charge_e"].to_numpy()[:, ~vanadium]).all()
        assert table["charge_e"].attrs["units"] == "e"
        assert table["time_fs"].to_numpy().tolist() == [0.0, 100.0]
        assert float(table["x"]) == 2.5

    def test_an_interrupted_run_goes_on(self, tmp_path, model):
        trajectory, frames = walk(), [0, 31, 40]
        whole = trajectory_charges(trajectory, frames, model, SETTINGS, Structures(), Checkpoint(tmp_path / "a", 1))
        checkpoint = Checkpoint(tmp_path / "b", 1)
        values = np.stack([whole["charge_e"], whole["moment_muB"]], axis=-1)
        values[0] = 7.0
        checkpoint.save("charges", {"done": np.asarray(1), "values": values[:1]})
        again = trajectory_charges(trajectory, frames, model, SETTINGS, Structures(), checkpoint)
        np.testing.assert_array_equal(again["charge_e"][1:], whole["charge_e"][1:])
        assert float(again["charge_e"][0, 0]) == 7.0


class TestReferenceCharges:
    def test_both_sides_of_every_atom(self, tmp_path, model):
        densities = {}
        for x, key in ((2.5, "a/step00000"), (3.0, "b/step00000")):
            atoms = build_structure(parse_name(f"x{x:.3f}_preferred0_1x1x1"), Structures(), 1)
            densities[key] = toy.gaussian_density(atoms)
        write_densities(tmp_path / "s.h5", densities)
        entries = (
            Entry(str(tmp_path / "s.h5"), "a/step00000", "train"),
            Entry(str(tmp_path / "s.h5"), "b/step00000", "test"),
        )
        table = reference_charges(random_model(0, layers=1), DensitySet(entries), 0.4)
        assert len(table) == sum(len(density.numbers) for density in densities.values())
        assert set(table["set"]) == {"train", "test"}
        v = table[table["element"] == "V"]
        assert sorted(v["reference_moment_muB"].round().tolist()) == [1.0] + 7 * [2.0]


class TestSummary:
    def test_the_table_tells_the_story(self, story):
        _, analysis, charges = story
        summary = summarise_redox([charges], [analysis], MODEL, Structures(), SETTINGS)
        (row,) = summary.table.to_dict("records")
        assert list(summary.table.columns) == list(TABLE_COLUMNS)
        assert (row["n_hops"], row["n_high_mean"], row["n_high_expected"]) == (1, 1, 1)
        assert row["charge_high_e"] == pytest.approx(2.25)
        assert row["bond_low_A"] == pytest.approx(2.01, abs=0.06)
        assert (
            summary.hops.loc[0, ["donor", "acceptor"]].tolist() == np.flatnonzero(walk().numbers == 23)[[2, 0]].tolist()
        )
        assert set(summary.states["state"]) == {3.0, 4.0}

    def test_without_two_states_there_are_no_words_put_into_its_mouth(self, story):
        _, analysis, charges = story
        record = fit_record(redox_rows(np.full(8, 2.0), np.full(8, 2.0)), (3, 4))
        assert not record["fitted"]
        assert "one oxidation state only" in record["summary"]
        model = OxidationStates.from_record(record).predicted
        summary = summarise_redox([charges], [analysis], model, Structures(), SETTINGS)
        assert summary.table.empty and summary.hops.empty and summary.states.empty


class TestStates:
    def test_predictions_are_judged_with_their_own_error(self):
        rows = redox_rows([2.0, 2.01, 1.99] * 8 + [2.25, 2.26, 2.24] * 8, [2.0] * 24 + [1.0] * 24, error=0.06)
        record = fit_record(rows, (3, 4))
        wide, narrow = (OxidationModel.from_record(record, predicted) for predicted in (True, False))
        added = wide.covariance[0] - narrow.covariance[0]
        assert np.sqrt(added[0, 0]) == pytest.approx(0.06)
        # Off by more than a reference charge ever is: unlike both states there, likely V3+ here.
        assert narrow.probability(np.array(1.85), np.array(2.0)) == pytest.approx(0.5, abs=0.01)
        assert wide.probability(np.array(1.85), np.array(2.0)) < 0.05

    def test_too_few_validation_atoms_add_nothing(self):
        rows = redox_rows([2.0] * 6 + [2.25] * 6, [2.0] * 6 + [1.0] * 6, error=0.06).assign(set="train")
        assert not np.any(fit_record(rows, (3, 4))["error_covariance"])


class TestEvent:
    def show(self, charges, analyses, trajectory, model=MODEL):
        return describe_best_jump(charges, analyses, lambda _: trajectory, model, Structures(), SETTINGS)

    def test_the_jump_with_its_hop(self, story):
        trajectory, analysis, charges = story
        event = self.show([charges], [analysis], trajectory)
        assert event.jump_time_fs == pytest.approx(600.0)
        assert event.hop_times_fs == [pytest.approx(640.0)]
        assert [shot.title for shot in event.snapshots] == ["before", "during", "after"]
        jumping = event.displacements.query("jumps").groupby("ion")["displacement_A"].max()
        assert jumping.tolist() == [pytest.approx(np.hypot(3.4, 0.5), abs=0.05)]
        # From the site left: the ion is beyond the distance of a jump when the jump is recorded.
        at_jump = event.displacements.query("jumps and time_fs == 600.0")["displacement_A"]
        assert at_jump.min() > Diffusion().jump_distance_A
        assert len(event.series["atom"].unique()) == 4

    def test_a_trajectory_with_a_hop_is_preferred(self, story):
        trajectory, analysis, charges = story
        calm = charges_of(trajectory, np.arange(0, 60, 2), hop_at=1000)
        event = self.show([calm, charges], [analysis, analysis], trajectory)
        assert event.hop_times_fs

    def test_a_jump_between_distant_frames_with_charges_is_not_shown(self, story):
        """Charges every few picoseconds, and around one jump of each trajectory: other jumps have none to show."""
        trajectory, analysis, charges = story
        sparse = charges.isel(frame=[0, -1])
        assert self.show([sparse], [analysis], trajectory) is NO_JUMP
        # A frame at the time of the jump by chance shows no change.
        (at_jump,) = np.flatnonzero(charges["time_fs"].to_numpy() == 600.0)
        assert self.show([charges.isel(frame=[0, at_jump, -1])], [analysis], trajectory) is NO_JUMP
        calm = charges_of(trajectory, np.arange(0, 60, 2), hop_at=1000)
        event = self.show([sparse, calm], [analysis, analysis], trajectory)
        assert [shot.title for shot in event.snapshots] == ["before", "during", "after"] and len(event.series)

    def test_no_jump_no_states(self, story):
        trajectory, analysis, charges = story
        still = analysis.isel(jump=slice(0, 0))
        assert self.show([charges], [still], trajectory) is NO_JUMP
        assert self.show([charges], [analysis], trajectory, None) is NO_JUMP


def test_from_stores_to_charges_on_the_command_line(tmp_path, capsys):
    """Train on an archive, fit the states, follow a trajectory of one's own."""
    densities = {}
    for number, x in enumerate((2.0, 2.5, 2.0, 2.5)):
        atoms = build_structure(parse_name(f"x{x:.3f}_random{number}_1x1x1"), Structures(), 1)
        densities[f"c{number}/step00000"] = toy.gaussian_density(atoms)
    frames = [build_structure(parse_name("x2.500_random9_1x1x1"), Structures(), 1) for _ in range(3)]
    write_densities(tmp_path / "s.h5", densities)
    write(tmp_path / "mine.extxyz", frames)
    config = tmp_path / "config.json"
    section = {"features": 8, "layers": 1, "cutoff_A": 3.0, "max_steps": 2}
    section |= {"points_per_density": 500, "points_per_structure": 50}
    config.write_text(json.dumps({"density": section, "charges": {"spacing_A": 0.4, "region_radius_A": 1.5}}))
    model = str(tmp_path / "model")
    options = ["--config", str(config)]
    assert main(["density", "train", str(tmp_path / "s.h5"), "--into", model, "--test", "c3", *options]) == 0
    assert "test: NMAE" in capsys.readouterr().out
    assert main(["charges", "reference", model, *options]) == 0
    assert "3+ at" in capsys.readouterr().out
    target = tmp_path / "mine.nc"
    arguments = [model, str(tmp_path / "mine.extxyz"), "--to", str(target), "--every", "2", *options]
    assert main(["charges", "along", *arguments]) == 0
    assert "2 frames" in capsys.readouterr().out
    table = xr.load_dataset(target, engine="h5netcdf")
    assert table["state"].dims == ("frame", "redox")
    store = tmp_path / "predicted.h5"
    arguments = [f"{model}/model.pt", str(tmp_path / "mine.extxyz"), "--into", str(store), "--spacing", "0.8"]
    assert main(["density", "predict", *arguments, "--every", "2"]) == 0
    assert density_keys(store) == ["mine/step00000", "mine/step00002"]
    assert pd.read_csv(f"{model}/errors.csv")["set"].tolist().count("test") == 1
