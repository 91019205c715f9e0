"""Paths that follow an event of production."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from redoxmd.config import parse_config
from redoxmd.config.sections import Neb, NebPath
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.errors import ConfigError
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.layout import event_trajectories
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.frame_gate import GateSettings
from redoxmd.neb.band import NoPath, find_path, interpolate_md_path
from redoxmd.neb.event import event_of_path, event_record, frames_of_event
from redoxmd.neb.profile import join_profiles
from redoxmd.neb.run import PathTask, run_path, without_path
from redoxmd.structures.occupation import Occupation
from redoxmd.structures.source import full_cell
from tests.diffusion.test_mechanism import planted
from tests.diffusion.test_sites import NVP, SETTINGS
from tests.surfaces import Surface, double_well, line_of_sites, occupied, toy_surface

AUTO = NebPath(name="seen", event="auto")
GATE = GateSettings(low_eV_A=1.0, high_eV_A=1e6, min_distance_fraction=0.1)


def event_in(*trajectories, path=AUTO):
    analyses = [analyse_trajectory(trajectory, SETTINGS, 1, NVP) for trajectory in trajectories]
    return event_of_path(path, analyses, lambda number: trajectories[number], SETTINGS)


def test_ends_are_before_and_after_the_event_at_its_sites(tmp_path):
    trajectory, atoms = planted(100, 110, drift_A=5.0)
    event = event_in(trajectory)
    write_frames(tmp_path / "event.extxyz", frames_of_event(event, NVP))
    frames = read_frames(tmp_path / "event.extxyz")
    assert len(frames) == event.after - event.before + 1
    occupation = Occupation(frames[0], full_cell(NVP, (1, 1, 1)))
    at = [
        dict(zip(occupation.ions, occupation.sites_of(frame.positions), strict=True))
        for frame in (frames[0], frames[-1])
    ]
    for move in event.moves:
        assert [occupation.labels[sites[move.ion]] for sites in at] == [move.from_site, move.to_site]
        assert frames[-1].arrays["site"][move.ion] == move.to_site.split(":")[0]
    others = set(occupation.ions) - set(atoms.values())
    assert all(at[0][ion] == at[1][ion] for ion in others)
    framework = frames[0].numbers != 11
    assert np.abs(frames[-1].positions - frames[0].positions)[framework].max() < 0.5
    record = event_record(AUTO, event, [])
    assert record["kind"] == "exchange" and record["reason"] == "" and len(record["moves"]) == 2


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A band of the toy crystal along a planted exchange."""
    event = event_in(planted(100, 110)[0])
    settings = Neb(images=7, force_tolerance_eV_A=2.0)
    checkpoint = Checkpoint(tmp_path_factory.mktemp("neb") / "state", 0)
    return event, run_path(PathTask(frames_of_event(event, NVP), AUTO, NVP, toy_surface, settings, GATE, checkpoint))


def test_the_band_runs_between_the_sites_of_the_event(run):
    event, found = run
    occupation = Occupation(found.images[0], full_cell(NVP, (1, 1, 1)))
    for image, which in ((found.images[0], "from_site"), (found.images[-1], "to_site")):
        sites = dict(zip(occupation.ions, occupation.sites_of(image.positions), strict=True))
        assert [occupation.labels[sites[move.ion]] for move in event.moves] == [
            getattr(move, which) for move in event.moves
        ]
    assert found.record["reason"] == "" and found.record["barrier_forward_eV"] > 0
    assert found.record["structure"] == event.metadata["structure"] == found.images[0].info["structure"]
    assert len(found.images) == len(found.profile) == 7


def test_an_event_between_no_two_minima_is_a_result_and_moves_are_an_error(tmp_path):
    """One well only, in the middle of the way: both ends relax into it."""
    event = event_in(planted(100, 110)[0])
    frames = frames_of_event(event, NVP)
    home = frames[0].positions

    def drawn_home(atoms):
        away = atoms.positions - home
        return float((away**2).sum()), -2 * away

    settings = Neb(images=5, force_tolerance_eV_A=0.1)
    task = PathTask(frames, AUTO, NVP, lambda: Surface(drawn_home), settings, GATE, Checkpoint(tmp_path / "s", 0))
    found = run_path(task)
    assert found.images == found.candidates == [] and found.profile.empty
    assert found.record["reason"] == "the event's ends are no two minima (left_its_site)"
    with pytest.raises(NoPath, match="max_relax_steps"):
        short = Neb(max_relax_steps=1, force_tolerance_eV_A=1e-9)
        run_path(replace(task, settings=short, checkpoint=Checkpoint(tmp_path / "t", 0)))


def test_without_an_event_the_path_says_why_and_the_others_are_there(run):
    still = planted()[0]
    assert event_in(still) is None
    analyses = [analyse_trajectory(still, SETTINGS, 1, NVP)] * 3
    record = event_record(AUTO, None, analyses)
    assert record == {"path": "seen", "reason": "no ion changed its site in 3 trajectories"}
    one = event_record(NebPath(name="a", event="auto", x=2.5), None, analyses[:1])
    assert one["reason"] == "no ion changed its site in 1 trajectory of x = 2.5"
    blind = analyse_trajectory(still, SETTINGS, 1, NVP.model_copy(update={"mobile_ion": "V"}))
    assert event_record(AUTO, None, [blind])["reason"].startswith("no sites are known in any trajectory: ")
    none = without_path(record)
    profiles, barriers = join_profiles(
        {"seen": none.profile, "there": run[1].profile}, {"seen": none.record, "there": run[1].record}, {}
    )
    assert set(profiles["path"]) == {"there"}
    assert barriers["reason"].tolist() == ["no ion changed its site in 3 trajectories", ""]
    assert barriers["barrier_forward_eV"].isna().tolist() == [True, False]
    alone, _ = join_profiles({"seen": pd.DataFrame(columns=["image"])}, {"seen": none.record}, {})
    assert alone.empty and "reference_eV" in alone


def test_a_named_event_that_is_not_there_is_refused():
    trajectory, atoms = planted(100, 110)
    named = {"x": 2.5, "temperature_K": 600, "number": 1}
    path = NebPath(name="third", event=named)
    assert {move.ion for move in event_in(trajectory, path=path).moves} == set(atoms.values())
    with pytest.raises(ConfigError, match=r"neb.paths, third, event: no site change number 2 .* it has 2"):
        event_in(trajectory, path=NebPath(name="third", event=named | {"number": 2}))


def test_where_an_event_is_looked_for():
    production = {"x": [2.0, 2.5], "temperatures_K": [300, 600], "replicas": 2, "supercell": [1, 1, 2]}
    made = parse_config({"production": production}).production
    assert len(event_trajectories(made, AUTO)) == 8
    some = event_trajectories(made, NebPath(name="a", event="auto", x=2.5))
    assert len(some) == 4 and all(name.startswith("x2.500") for name, _ in some)
    named = NebPath(name="a", event={"x": 2.5, "temperature_K": 600, "replica": 1, "number": 0})
    assert event_trajectories(made, named) == [("x2.500_preferred1_1x1x2", "600")]


class TestTheWay:
    def ends(self):
        first, last = occupied((0,)), occupied((0,))
        last.positions[0] = [3.0, 0.0, 0.0]
        last.positions[1] += 0.1
        return [first, last]

    def way(self, frames=40, wiggle=0.0):
        x = np.linspace(0, 3, frames)
        x = x + wiggle * np.sin(40 * x)
        positions = np.repeat(occupied((0,)).positions[None], frames, axis=0)
        positions[:, 0] = np.stack([x, 1 - (x - 1.5) ** 2 / 2.25, 0 * x], axis=1)
        # The rest of the cell shakes; the band does not.
        positions[:, 1] += np.random.default_rng(0).normal(size=(frames, 3))
        return positions

    @pytest.mark.parametrize("wiggle", [0.0, 0.1])
    def test_images_lie_on_it_at_equal_progress(self, wiggle):
        ends = self.ends()
        between = interpolate_md_path(ends, self.way(wiggle=wiggle), np.array([0]), 7)
        x, y = between[:, 0, :2].T
        np.testing.assert_allclose(x, np.linspace(0, 3, 7)[1:-1], atol=1e-9)
        np.testing.assert_allclose(y, 1 - (x - 1.5) ** 2 / 2.25, atol=0.05)
        np.testing.assert_allclose(
            between[:, 1] - ends[0].positions[1], np.linspace(0, 0.1, 7)[1:-1, None] * np.ones(3)
        )

    def test_with_too_few_frames_it_is_not_known(self):
        assert interpolate_md_path(self.ends(), self.way(3), np.array([0]), 9) is None
        assert interpolate_md_path(self.ends(), np.zeros((0, 2, 3)), np.array([0]), 9) is None

    def test_the_barrier_is_the_same_from_either_start(self, tmp_path):
        ends = self.ends()
        ends[1].positions[1] -= 0.1
        settings = Neb(images=7, force_tolerance_eV_A=0.005)
        barriers = []
        for number, way in enumerate((None, self.way())):
            images = find_path(
                tuple(ends), Occupation(ends[0], line_of_sites()), lambda: Surface(double_well(0.42)), settings, "p",
                Checkpoint(tmp_path / f"s{number}", 0), way,
            )  # fmt: skip
            barriers.append(max(image.get_potential_energy() for image in images))
        assert barriers == pytest.approx([0.42, 0.42], abs=1e-4)
