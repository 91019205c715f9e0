"""The event that Fig. 5 shows and NEB starts from, against planted ones."""

import numpy as np
import pytest

from redoxmd.diffusion.analysis import analyse_trajectory, summarise
from redoxmd.diffusion.mechanism import COLUMNS, MARGIN_FS, choose_event, event_frames, event_with_jump, find_event
from redoxmd.diffusion.sites import SiteTree, site_of, source_sites
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.periodic_cell import PeriodicCell
from tests.diffusion import test_sites
from tests.diffusion.test_sites import INTERVAL_FS, NVP, SETTINGS, nvp_trajectory

FRAMES = 200
# Frames that a planted move takes; the new site is nearer from its middle on.
TAKES = 10


def planted(leaves=None, enters=None, drift_A=0.0, seed=0, frames=FRAMES) -> tuple[Trajectory, dict]:
    """NVP in which an Na(1) ion goes to a free Na(2) from frame `leaves` on, an Na(2) ion follows from `enters`."""
    trajectory = nvp_trajectory((1, 1, 1), frames=frames, rattle_A=0.05)
    sites = source_sites(trajectory, NVP)
    cell, ions = np.asarray(trajectory.cell_A), np.flatnonzero(trajectory.numbers == 11)
    at = site_of(SiteTree(sites.fractional, cell, 1.5).keys(trajectory.positions_A[:1, ions])[0])
    near, na2 = sites.distances_A() < 3.6, sites.kind == "Na2"
    empty, full = na2 & ~np.isin(np.arange(len(sites)), at), na2 & np.isin(np.arange(len(sites)), at)
    one = next(s for s in np.flatnonzero(~na2) if (near[s] & empty).any() and (near[s] & full).any())
    target, origin = np.flatnonzero(empty & near[one])[0], np.flatnonzero(full & near[one])[0]
    places = sites.fractional @ cell
    atoms = {}
    for name, start, end, frame in (("leaves", one, target, leaves), ("enters", origin, one, enters)):
        atoms[name] = int(ions[np.flatnonzero(at == start)[0]])
        if frame is not None:
            share = np.clip((np.arange(frames) - frame) / TAKES, 0, 1)[:, None]
            trajectory.positions_A[:, atoms[name]] += share * PeriodicCell(cell).minimum_image(
                places[end] - places[start]
            )
    trajectory.positions_A += drift_A * np.linspace(0, 1, frames)[:, None, None]
    return trajectory, atoms


def found(*trajectories, jump=None):
    analyses = [analyse_trajectory(trajectory, SETTINGS, 1, NVP) for trajectory in trajectories]
    return find_event(analyses, lambda number: trajectories[number], SETTINGS, jump)


@pytest.mark.parametrize(
    ("leaves", "enters", "order"), [(100, 110, ("leaves", "enters")), (115, 100, ("enters", "leaves"))]
)
def test_a_planted_exchange_is_found_with_its_ions_and_order(leaves, enters, order):
    trajectory, atoms = planted(leaves, enters, drift_A=6.0)
    event = found(planted()[0], trajectory)
    assert event.kind == "exchange"
    assert [move.ion for move in event.moves] == [atoms[name] for name in order]
    # Both leave at the same point of their ways, so the delay is that of the starts.
    assert event.delay_fs == pytest.approx(abs(enters - leaves) * INTERVAL_FS, abs=INTERVAL_FS)
    sites = {move.ion: (move.from_site, move.to_site) for move in event.moves}
    assert sites[atoms["leaves"]][0] == sites[atoms["enters"]][1]
    assert sites[atoms["leaves"]][0].startswith("Na1") and sites[atoms["enters"]][0].startswith("Na2")
    for move in event.moves:
        assert 0 < move.arrived_fs - move.left_fs < TAKES * INTERVAL_FS
        # The site is where the ion was, in its own image, whatever the drift.
        for frame, place in ((event.before, move.start_A), (event.after, move.end_A)):
            assert np.linalg.norm(event.positions_A[frame, move.ion] - place) < 0.3
    assert event.time_fs[event.before] <= event.moves[0].left_fs
    assert event.time_fs[event.after] >= max(move.arrived_fs for move in event.moves)
    assert event.time_fs[0] >= event.moves[0].left_fs - MARGIN_FS
    framework = event.numbers != 11
    assert np.abs(event.positions_A[-1, framework] - event.positions_A[0, framework]).max() < 0.5


def test_an_exchange_goes_before_a_pair_and_a_pair_before_a_jump():
    apart, _ = planted(40, 40 + 75)
    exchange, _ = planted(60, 70)
    assert found(apart).kind == "single"
    assert found(apart, exchange).kind == "exchange"
    # Two neighbours that do not pass through one site: only the second kind is left.
    dataset = analyse_trajectory(exchange, SETTINGS, 1, NVP)
    dataset["event_exchange"] = dataset["event_exchange"] * 0 - 1
    assert choose_event([dataset], 1000.0).kind == "pair"


def test_the_exchange_with_the_least_delay_is_the_clearest():
    event = found(planted(60, 80)[0], planted(60, 65)[0], planted(60, 75)[0])
    assert event.delay_fs == pytest.approx(5 * INTERVAL_FS, abs=INTERVAL_FS)


def test_a_named_jump_brings_its_partner():
    trajectory, atoms = planted(100, 110)
    dataset = analyse_trajectory(trajectory, SETTINGS, 1, NVP)
    assert event_with_jump(dataset, 0) == event_with_jump(dataset, 1)
    assert {move.ion for move in found(trajectory, jump=1).moves} == set(atoms.values())
    events = summarise([dataset], SETTINGS).events
    assert events["number"].tolist() == [0, 1]


def test_frames_halfway_and_the_plotted_numbers():
    trajectory, atoms = planted(100, 110)
    event = found(trajectory)
    for frame, (old, new) in zip(event.halfway(), event.distances_A(), strict=True):
        assert abs(old[frame] - new[frame]) < 0.5
    table = event_frames(event)
    assert tuple(table.columns) == COLUMNS and set(table["ion"]) == set(atoms.values())
    rows = table[table["ion"] == atoms["leaves"]]
    assert rows["from_distance_A"].iloc[0] < 0.5 and rows["to_distance_A"].iloc[-1] < 0.5
    np.testing.assert_allclose(rows[["x_A", "y_A", "z_A"]], event.positions_A[:, atoms["leaves"]])


def test_without_a_jump_there_is_no_event():
    assert found(planted()[0]) is None
    assert found() is None
    table = event_frames(None)
    assert table.empty and tuple(table.columns) == COLUMNS


def test_partners_are_the_nearest_in_time():
    company = test_sites.TestCompany().line()
    jumps = test_sites.TestCompany().jumps([(0, 1000, 2, 3), (1, 1700, 1, 2), (2, 1200, 3, 2), (3, 9000, 7, 0)])
    partner = company.analyse(jumps).partner
    by_time = {
        float(time): float(jumps.time_fs[other]) if other >= 0 else None
        for time, other in zip(jumps.time_fs, partner, strict=True)
    }
    assert by_time == {1000.0: 1200.0, 1200.0: 1000.0, 1700.0: 1200.0, 9000.0: None}
