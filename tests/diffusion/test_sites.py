"""Sites, changes of site and their company against lattice gases whose every move is known."""

import numpy as np
import pytest

from redoxmd.config.sections import Diffusion, Structures
from redoxmd.diffusion.analysis import analyse_trajectory, summarise
from redoxmd.diffusion.concerted import ConcertedAnalysis
from redoxmd.diffusion.jumps import close_pairs, concerted_count, diffusion_from_jumps
from redoxmd.diffusion.site_jumps import SiteJumps, find_stays, held_keys, jumps_between, occupancy, rate_of
from redoxmd.diffusion.sites import NONE, SiteMap, SiteTree, coordination, site_of, source_sites
from redoxmd.diffusion.visited import visited_sites
from redoxmd.errors import StructureError
from redoxmd.files.hdf5 import read_dataset, write_dataset
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.build import build_structure
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.request import StructureRequest
from redoxmd.structures.source import source_cell
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS

SETTINGS = Diffusion(persistence_fs=40.0)
INTERVAL_FS = 20.0
WINDOW = 2
ABSENCE = 3
RATTLE_A = 0.25
SIGMAS = 4.0
TRICLINIC = np.array([[8.0, 0.0, 0.0], [5.5, 7.0, 0.0], [-3.0, 4.5, 9.0]])
CUBIC = 16.0 * np.eye(3)
SITE_A = 4.0
ROUNDING = 1e-9
NVP = Structures(volume_A3_per_fu={1.0: 230.0, 3.0: 240.0})


def grid_sites(n=4, edge_A=SITE_A):
    """A cubic lattice of sites, even ones P and odd ones Q as on a chessboard."""
    index = np.indices((n, n, n)).reshape(3, -1).T
    kind = np.where(index.sum(axis=1) % 2, "Q", "P")
    return SiteMap((index + 0.5) / n, kind, np.zeros(len(index), int), n * edge_A * np.eye(3), "source")


def lattice_gas(rate_per_fs, ions=12, frames=4000, seed=0, gap=80, n=4):
    """Unwrapped ions that hop to a neighbouring site at random, never twice within `gap` frames; moves (frame, ion)."""
    rng = np.random.default_rng(seed)
    moves = np.zeros((frames, ions, 3))
    truth = []
    for ion in range(ions):
        last = -gap
        for frame in np.flatnonzero(rng.random(frames) < rate_per_fs * INTERVAL_FS):
            if frame - last >= gap and 6 < frame < frames - 6:
                moves[frame, ion, rng.integers(3)] = rng.choice([-SITE_A, SITE_A])
                truth.append((frame, ion))
                last = frame
    start = SITE_A * (rng.integers(0, n, (ions, 3)) + 0.5)
    positions = start + moves.cumsum(axis=0) + RATTLE_A * rng.standard_normal((frames, ions, 3))
    return positions, INTERVAL_FS * np.arange(frames), sorted(truth)


def site_jumps(positions, time, sites, settings=SETTINGS, window=WINDOW):
    tree = SiteTree(sites.fractional, sites.cell_A, settings.site_radius_A)
    stays = find_stays(tree.keys(positions), window)
    return jumps_between(stays, time, tree, settings.return_fs), stays


def filled_by(positions, sites, absence=0):
    keys = SiteTree(sites.fractional, sites.cell_A, SETTINGS.site_radius_A).keys(positions)
    return occupancy(held_keys(keys, find_stays(keys, WINDOW), absence), sites)


def staircase(places, frames=20):
    """One ion that stays `frames` frames at each place in turn."""
    return np.repeat(np.array(places, dtype=float), frames, axis=0)[:, None]


class TestNearestSite:
    @pytest.mark.parametrize("cell", [CUBIC, TRICLINIC, np.asarray(source_cell(Structures()).atoms.cell)])
    def test_as_by_all_images(self, cell):
        """Against minimum images in the reduced cell, of points many cells away."""
        rng = np.random.default_rng(0)
        fractional = rng.uniform(-1.5, 1.5, (7, 3))
        points = rng.uniform(-60, 60, (500, 1, 3))
        tree = SiteTree(fractional, cell, 3.0)
        keys = tree.keys(points)[:, 0]
        distances = PeriodicCell(cell).distances_A(points[:, 0], fractional @ cell)
        near = distances.min(axis=1) < 3.0
        assert 50 < near.sum() < 500
        assert np.array_equal(keys != NONE, near)
        assert np.array_equal(site_of(keys[near]), distances.argmin(axis=1)[near])
        away = np.linalg.norm(tree.site_positions_A(keys[near]) - points[near, 0], axis=1)
        np.testing.assert_allclose(away, distances.min(axis=1)[near], atol=ROUNDING)

    def test_blocks_of_frames_change_nothing(self, monkeypatch):
        positions, _, _ = lattice_gas(1e-4, frames=500)
        sites = grid_sites()
        tree = SiteTree(sites.fractional, sites.cell_A, 1.5)
        whole = tree.keys(positions)
        monkeypatch.setattr("redoxmd.diffusion.sites.CHUNK_POINTS", 37)
        assert np.array_equal(tree.keys(positions), whole)


class TestNvpSites:
    def test_two_na1_and_six_na2_with_six_and_eight_oxygen(self):
        cell = source_cell(Structures()).atoms
        mobile = cell.arrays["site"] != "-"
        symbols = np.array(cell.get_chemical_symbols())[~mobile]
        counts = coordination(cell.positions[mobile], cell.positions[~mobile], symbols, np.asarray(cell.cell))
        kinds = cell.arrays["site"][mobile]
        assert counts[kinds == "Na1"].tolist() == [6] * 2
        assert counts[kinds == "Na2"].tolist() == [8] * 6

    @pytest.mark.parametrize("repeats", [(1, 1, 1), (2, 2, 2), (1, 2, 1)])
    def test_supercells_keep_kinds_and_ions_start_on_them(self, repeats):
        trajectory = nvp_trajectory(repeats, drift_A=(3.0, -5.0, 40.0))
        sites = source_sites(trajectory, NVP)
        cells = int(np.prod(repeats))
        assert (sites.kind == "Na1").sum() == 2 * cells and (sites.kind == "Na2").sum() == 6 * cells
        assert set(sites.coordination[sites.kind == "Na2"].tolist()) == {8}
        ions = trajectory.numbers == 11
        keys = SiteTree(sites.fractional, sites.cell_A, 0.5).keys(trajectory.positions_A[:, ions])
        assert len(set(site_of(keys[0]).tolist())) == ions.sum()

    def test_another_framework_is_refused(self):
        trajectory = nvp_trajectory((1, 1, 1))
        trajectory.numbers[trajectory.numbers == 23] = 22
        with pytest.raises(StructureError, match="site_reference: visited"):
            source_sites(trajectory, NVP)


def nvp_trajectory(repeats=(1, 1, 1), frames=60, drift_A=(0.0, 0.0, 0.0), rattle_A=0.05, x=2.5):
    if x * 2 * np.prod(repeats) % 1:
        x = 2.0
    request = StructureRequest(x, "preferred", 0, repeats)
    atoms = build_structure(request, NVP, 1)
    rng = np.random.default_rng(0)
    noise = rattle_A * rng.standard_normal((frames, len(atoms), 3))
    return trajectory_of(atoms.positions + np.array(drift_A) + noise, atoms.numbers, atoms.cell, structure=request.name)


def trajectory_of(positions, numbers, cell, interval_fs=INTERVAL_FS, **about):
    count = len(positions)
    return Trajectory(
        numbers=np.array(numbers),
        positions_A=np.array(positions),
        cell_A=np.asarray(cell),
        steps=np.arange(count),
        time_fs=interval_fs * np.arange(count),
        temperature_K=np.full(count, 600.0),
        energy_eV=np.zeros(count),
        spread_eV_A=np.zeros(count),
        metadata={
            "x": 2.5,
            "temperature_K": 600.0,
            "replica": 0,
            "mobile_ion": "Na",
            "end_reason": "completed",
            **about,
        },
    )


class TestChanges:
    @pytest.mark.parametrize("seed", range(3))
    def test_every_move_of_a_lattice_gas(self, seed):
        positions, time, truth = lattice_gas(5e-5, seed=seed)
        jumps, _ = site_jumps(positions, time, grid_sites())
        assert len(jumps) == len(truth) > 20
        assert list(zip((jumps.time_fs / INTERVAL_FS).astype(int).tolist(), jumps.ion.tolist(), strict=True)) == truth
        np.testing.assert_allclose(jumps.distance_A, SITE_A, atol=ROUNDING)
        kind = grid_sites().kind
        assert (kind[jumps.from_site] != kind[jumps.to_site]).all()
        assert not jumps.returned.any()

    def test_rate_and_diffusion_of_free_hops(self):
        """Hops at rate Γ to six neighbours: D = d²Γ/6, both within their errors over seeds."""
        rate, gap, pulls, pulls_D = 2e-5, 6, [], []
        for seed in range(30):
            positions, time, truth = lattice_gas(rate, ions=10, frames=3000, seed=seed, gap=gap)
            settings = Diffusion(persistence_fs=40.0, return_fs=0.0)
            jumps, _ = site_jumps(positions, time, grid_sites(), settings)
            assert len(jumps) == len(truth)
            observed, error, _ = rate_of(len(jumps), 10, time[-1] / 1000)
            # A dead time after each hop lowers the rate that the ions can have.
            true = rate / (1 + rate * gap * INTERVAL_FS) * (3000 - 13) / 2999
            pulls.append((observed - 1000 * true) / error)
            D, D_error, _ = diffusion_from_jumps(jumps, 10, time[-1], 3.0)
            exact = SITE_A**2 * true / 6 * CM2_PER_S_PER_A2_PER_FS
            pulls_D.append((D - exact) / D_error)
        for values in (pulls, pulls_D):
            assert abs(np.mean(values)) < SIGMAS / np.sqrt(len(values)) * 1.2
            assert 0.6 < np.std(values) < 1.5

    def test_an_ion_round_the_cell_many_times_moves_the_whole_way(self):
        """In a triclinic cell with one site, every hop is to an image of the same site."""
        sites = SiteMap(np.array([[0.9, 0.2, 0.4]]), np.array(["A"]), np.zeros(1, int), TRICLINIC, "source")
        steps = np.arange(30)[:, None] * TRICLINIC[0] - np.arange(30)[:, None] * TRICLINIC[2]
        path = staircase(steps + sites.fractional @ TRICLINIC)
        jumps, stays = site_jumps(path, INTERVAL_FS * np.arange(len(path)), sites)
        assert len(jumps) == 29 and not jumps.returned.any()
        np.testing.assert_allclose(jumps.distance_A, np.linalg.norm(TRICLINIC[0] - TRICLINIC[2]), rtol=ROUNDING)
        np.testing.assert_allclose(jumps.end_A[-1], path[-1, 0], atol=ROUNDING)
        assert len(np.unique(stays.key)) == 30
        np.testing.assert_allclose(filled_by(path, sites), 1.0)

    def test_no_jump_is_a_rate_of_zero_with_a_limit(self):
        positions, time, _ = lattice_gas(0.0)
        jumps, _ = site_jumps(positions, time, grid_sites())
        rate, error, limit = rate_of(len(jumps), 12, time[-1] / 1000)
        assert (len(jumps), rate, error) == (0, 0.0, 0.0)
        assert limit == pytest.approx(3 / (12 * time[-1] / 1000))

    def test_hysteresis_between_two_sites(self):
        """Half-way and on short visits an ion keeps its site."""
        sites = grid_sites()
        here, there = np.array([2.0, 2.0, 2.0]), np.array([6.0, 2.0, 2.0])
        middle = (here + there) / 2
        path = np.concatenate([[here] * 10, [middle] * 10, [there], [middle] * 5, [here] * 5, [there], [here] * 5])
        time = INTERVAL_FS * np.arange(len(path))
        assert len(site_jumps(path[:, None], time, sites)[0]) == 0
        path[-4:] = there
        assert site_jumps(path[:, None], time, sites)[0].time_fs.tolist() == [time[-4]]
        # Away for 16 frames and back, the ion holds its site if that is no longer than asked for, else none meanwhile.
        for absence, meanwhile in ((16, 1 / 32), (15, 0.0)):
            filled = filled_by(path[:, None], sites, absence)[:, 0].tolist()
            assert filled == [1 / 32] * 10 + [meanwhile] * 16 + [1 / 32] * (len(path) - 30) + [0.0] * 4

    @pytest.mark.parametrize("window", [1, 2, 4])
    def test_stays_and_occupancy_as_by_walking_frame_by_frame(self, window):
        rng = np.random.default_rng(window)
        sites = grid_sites(2)
        keys = np.repeat(rng.integers(-1, 8, (150, 5)), rng.integers(1, 5, 150), axis=0)
        home = SiteTree(sites.fractional, sites.cell_A, 1.5).keys((sites.fractional @ sites.cell_A)[None])[0]
        keys = np.where(keys == NONE, NONE, home[keys])
        stays = find_stays(keys, window)
        filled = occupancy(held_keys(keys, stays, ABSENCE), sites)
        expected, slow = np.zeros_like(filled), []
        holders = {(frame, kind): set() for frame in range(len(keys)) for kind in "PQ"}
        for ion in range(5):
            at, since, own = NONE, 0, np.full(len(keys), NONE)
            for frame in range(len(keys)):
                since = since + 1 if frame and keys[frame, ion] == keys[frame - 1, ion] else 1
                if since == window and keys[frame, ion] not in (NONE, at):
                    at = keys[frame, ion]
                    slow.append((ion, at, frame - window + 1))
                    own[frame - window + 1 :] = at
            own[: slow[[row[0] for row in slow].index(ion)][2]] = next(row[1] for row in slow if row[0] == ion)
            there = np.flatnonzero(keys[:, ion] == own)
            for frame in range(len(keys)):
                before, after = there[there <= frame], there[there >= frame]
                near = len(before) and len(after) and after[0] - before[-1] - 1 <= ABSENCE
                if near and (own[before[-1] : after[0] + 1] == own[frame]).all():
                    site = int(site_of(own[frame]))
                    holders[frame, sites.kind[site]].add(site)
        for (frame, kind), full in holders.items():
            expected[frame, "PQ".index(kind)] = len(full) / 4
        assert list(zip(stays.ion.tolist(), stays.key.tolist(), stays.frame.tolist(), strict=True)) == slow
        np.testing.assert_allclose(filled, expected, atol=ROUNDING)
        assert filled.max() <= 1

    def test_one_ion_one_frame_none(self):
        sites = grid_sites()
        for shape in [(1, 1, 3), (50, 0, 3), (0, 2, 3), (50, 1, 3)]:
            jumps, stays = site_jumps(np.full(shape, 2.0), INTERVAL_FS * np.arange(shape[0]), sites)
            assert len(jumps) == 0
            assert filled_by(np.full(shape, 2.0), sites).shape == (shape[0], 2) and len(stays.key) <= 1

    def test_gemdat_sees_the_same_sites(self):
        """Sequences of sites of each ion, as GEMDAT's transitions give them for the same sites and radius."""
        from gemdat import Trajectory as Peer
        from pymatgen.core import Lattice, Species, Structure

        rng = np.random.default_rng(0)
        fractional = np.array([[0.1, 0.1, 0.1], [0.5, 0.2, 0.9], [0.3, 0.6, 0.4], [0.8, 0.7, 0.6]])
        cell = 1.4 * TRICLINIC
        sites = SiteMap(fractional, np.array(list("AABB")), np.zeros(4, int), cell, "source")
        visits = rng.integers(0, 4, (25, 3))
        images = rng.integers(-2, 3, (25, 3, 3))
        path = np.repeat((fractional[visits] + images) @ cell, 20, axis=0)
        path += RATTLE_A * rng.standard_normal(path.shape)
        peer = Peer(
            species=[Species("Na")] * 3,
            coords=(path @ np.linalg.inv(cell)) % 1.0,
            lattice=Lattice(cell),
            time_step=INTERVAL_FS * 1e-15,
            metadata={"temperature": 300},
        )
        known = Structure(Lattice(cell), ["Na"] * 4, fractional, labels=list("AABB"))
        theirs = peer.transitions_between_sites(sites=known, floating_specie="Na", site_radius=1.5).states
        ours = SiteTree(fractional, cell, 1.5).keys(path)
        assert np.array_equal(np.where(ours == NONE, NONE, site_of(ours)), theirs)
        assert (theirs != NONE).mean() > 0.99
        _, stays = site_jumps(path, INTERVAL_FS * np.arange(len(path)), sites)
        for ion in range(3):
            mine = site_of(stays.key[stays.ion == ion])
            mine = mine[np.concatenate([[True], mine[1:] != mine[:-1]])]
            visited = visits[:, ion]
            assert mine.tolist() == visited[np.concatenate([[True], visited[1:] != visited[:-1]])].tolist()


class TestRattling:
    HERE, THERE, BEYOND = [2.0, 2.0, 2.0], [6.0, 2.0, 2.0], [10.0, 2.0, 2.0]

    def moves(self, places, frames=20):
        path = staircase(places, frames)
        return site_jumps(path, INTERVAL_FS * np.arange(len(path)), grid_sites())[0]

    def test_there_and_back_is_no_transport(self):
        jumps = self.moves([self.HERE, self.THERE, self.HERE])
        assert jumps.returned.tolist() == [True, True] and len(jumps.transport) == 0

    def test_back_later_than_stated_is(self):
        assert SETTINGS.return_fs == 1000.0
        assert self.moves([self.HERE, self.THERE, self.HERE], 50).returned.all()
        assert not self.moves([self.HERE, self.THERE, self.HERE], 51).returned.any()

    def test_net_path_is_kept(self):
        jumps = self.moves([self.HERE, self.THERE, self.HERE, self.THERE])
        assert jumps.returned.tolist() == [True, True, False]
        nested = self.moves([self.HERE, self.THERE, self.BEYOND, self.THERE, self.HERE], 10)
        assert nested.returned.all()
        assert not self.moves([self.HERE, self.THERE, self.BEYOND]).returned.any()

    def test_an_image_of_the_site_is_another_place(self):
        """A→B→A' into the next cell is transport, although the indices say there and back."""
        cell = np.diag([6.0, 6.0, 6.0])
        sites = SiteMap(np.array([[0.0, 0, 0], [0.5, 0, 0]]), np.array(["A", "B"]), np.zeros(2, int), cell, "source")
        path = staircase([[0, 0, 0], [3, 0, 0], [6, 0, 0]])
        jumps = site_jumps(path, INTERVAL_FS * np.arange(len(path)), sites)[0]
        assert jumps.from_site[0] == jumps.to_site[1] and not jumps.returned.any()

    def test_random_planted_rattling(self):
        positions, time, truth = lattice_gas(3e-5, seed=3, gap=200)
        rng = np.random.default_rng(4)
        busy = {(frame + k, ion) for frame, ion in truth for k in range(-90, 90)}
        planted = 0
        for ion in range(positions.shape[1]):
            for frame in range(100, len(time) - 100, 200):
                if (frame, ion) not in busy:
                    positions[frame : frame + 10, ion, rng.integers(3)] += SITE_A
                    planted += 1
        jumps, _ = site_jumps(positions, time, grid_sites())
        assert planted > 50
        assert jumps.returned.sum() == 2 * planted
        assert len(jumps.transport) == len(truth)


class TestCompany:
    def jumps(self, rows):
        """SiteJumps from (ion, time, from, to)."""
        ion, time, old, new = (np.array(column) for column in zip(*rows, strict=True))
        zero = np.zeros((len(rows), 3))
        return SiteJumps(ion, time.astype(float), zero, zero, old, new, np.zeros(len(rows), bool))

    def line(self, kinds="PQPQPQPQ", spacing_A=4.0, distance_A=4.5):
        """Sites in a row, periodic."""
        n = len(kinds)
        fractional = np.zeros((n, 3))
        fractional[:, 0] = np.arange(n) / n
        sites = SiteMap(fractional, np.array(list(kinds)), np.zeros(n, int), np.diag([n * spacing_A, 30, 30]), "source")
        return ConcertedAnalysis(sites, "P", Diffusion(concerted_distance_A=distance_A))

    def test_pairs_as_counted_before(self):
        rng = np.random.default_rng(0)
        for _ in range(20):
            ion, time = rng.integers(0, 6, 60), np.round(rng.uniform(0, 40_000, 60))
            pairs = close_pairs(ion, time, 1000.0)
            apart = np.abs(time[:, None] - time) <= 1000
            assert concerted_count(ion, time, 1.0) == (apart & (ion[:, None] != ion)).any(axis=1).sum()
            assert (time[pairs[:, 0]] <= time[pairs[:, 1]]).all() and (ion[pairs[:, 0]] != ion[pairs[:, 1]]).all()

    def test_near_in_time_or_in_space_is_not_enough(self):
        concert = self.line().analyse(self.jumps([(0, 0, 0, 1), (1, 500, 4, 5), (2, 900, 2, 3), (3, 5000, 1, 2)]))
        assert concert.within.tolist() == [True, True, True, False]
        # Site 5 is next to site 4 of its own jump only; 1 and 2, 3 and 4 are neighbours.
        assert concert.neighbouring.tolist() == [True, True, True, False]
        far = self.line(distance_A=3.0).analyse(self.jumps([(0, 0, 0, 1), (1, 500, 4, 5), (2, 900, 2, 3)]))
        assert far.within.all() and not far.neighbouring.any()

    def test_neighbours_through_the_boundary(self):
        concert = self.line().analyse(self.jumps([(0, 0, 0, 1), (1, 500, 6, 7)]))
        assert concert.neighbouring.all()

    @pytest.mark.parametrize("delay", [300.0, -200.0, 0.0])
    def test_exchange_and_its_order(self, delay):
        """Ion 0 leaves P (site 2) for Q, ion 1 comes from Q on the other side."""
        concert = self.line().analyse(self.jumps([(0, 1000, 2, 3), (1, 1000 + delay, 1, 2)]))
        assert len(concert.exchanges) == 1
        assert concert.exchanges.leaving.tolist() == [0] and concert.exchanges.entering.tolist() == [1]
        assert concert.exchanges.delay_fs.tolist() == [delay]

    def test_what_is_no_exchange(self):
        for rows in (
            [(0, 1000, 2, 3), (1, 2500, 1, 2)],
            [(0, 1000, 2, 3), (1, 1200, 3, 4)],
            [(0, 1000, 2, 3), (0, 1200, 3, 2)],
            [(0, 1000, 1, 2), (1, 1200, 2, 1), (2, 1300, 7, 0)][::2],
        ):
            assert len(self.line().analyse(self.jumps(rows)).exchanges) == 0

    def test_each_move_takes_part_once(self):
        """Two newcomers to one place that was left: the one nearer in time."""
        concert = self.line().analyse(self.jumps([(0, 1000, 2, 3), (1, 1700, 1, 2), (2, 1200, 3, 2)]))
        assert concert.exchanges.entering.tolist() == [2]

    def test_chance_level_of_independent_neighbours(self):
        """J jumps of different ions at random times: 1 − (1 − p)^k with k neighbours each and p = 2w/T."""
        duration, copies, window = 1e6, 40, 1000.0
        rows = [(ion, 0.0, 2 * (ion % 4), 2 * (ion % 4) + 1) for ion in range(4 * copies)]
        rng = np.random.default_rng(0)
        company = self.line(spacing_A=8.0, distance_A=4.5)
        within, near, exchanges = company.chance_counts(self.jumps(rows), np.arange(0, duration, 1.0), rng)
        p = 2 * window / duration
        exact = [len(rows) * (1 - (1 - p) ** k) for k in (len(rows) - 1, copies - 1)]
        assert within == pytest.approx(exact[0], rel=0.05)
        assert near == pytest.approx(exact[1], rel=0.05)
        assert exchanges == 0

    def test_chance_level_of_exchanges(self):
        """One leaves, one enters: together by chance with p = 2w/T."""
        rng = np.random.default_rng(0)
        pair = self.jumps([(0, 0.0, 2, 3), (1, 0.0, 1, 2)])
        duration = 40_000.0
        chance = self.line().chance_counts(pair, np.arange(0, duration, 1.0), rng, shuffles=20_000)[2]
        exact = 2 * 1000 / duration - (1000 / duration) ** 2
        assert chance == pytest.approx(exact, abs=SIGMAS * np.sqrt(exact / 20_000))

    def test_independent_jumps_are_at_the_chance_level(self):
        """Over many lattice gases, observed and shuffled counts agree within their scatter."""
        excess = []
        sites = grid_sites()
        company = ConcertedAnalysis(sites, "P", SETTINGS)
        for seed in range(12):
            positions, time, _ = lattice_gas(8e-5, seed=seed, frames=2000)
            jumps = site_jumps(positions, time, sites)[0].transport
            chance = company.chance_counts(jumps, time, np.random.default_rng(seed))
            excess.append(company.analyse(jumps).counts - chance)
        error = np.std(excess, axis=0, ddof=1) / np.sqrt(len(excess))
        assert (np.abs(np.mean(excess, axis=0)) < SIGMAS * np.maximum(error, 0.1)).all()

    def test_planted_exchanges_stand_out(self):
        """Pairs through one P site each, 300 fs apart, entering last."""
        rows = []
        for event in range(40):
            time, shift = 5000.0 * event + 1000, 2 * (event % 3)
            rows += [(2 * event, time, 2 + shift, 3 + shift), (2 * event + 1, time + 300, 1 + shift, 2 + shift)]
        company = self.line()
        concert = company.analyse(self.jumps(rows))
        assert concert.counts.tolist() == [80, 80, 40] and (concert.exchanges.delay_fs == 300).all()
        _, near, exchanges = company.chance_counts(
            self.jumps(rows), np.arange(0, 200_000.0, 20.0), np.random.default_rng(0)
        )
        assert near < 45 and exchanges < 10


class TestVisited:
    def test_sites_of_a_lattice_gas_are_found(self):
        positions, time, truth = lattice_gas(2e-4, ions=12, frames=6000, gap=20)
        found = visited_sites(positions, np.zeros((0, 3)), np.zeros(0, int), CUBIC, 1.5, WINDOW)
        known = grid_sites()
        distance = PeriodicCell(CUBIC).distances_A(found.fractional @ CUBIC, known.fractional @ CUBIC)
        keys = SiteTree(known.fractional, CUBIC, 1.5).keys(positions)
        visits = np.bincount(site_of(keys[keys != NONE]), minlength=len(known))
        assert sorted(distance.argmin(axis=1).tolist()) == np.flatnonzero(visits).tolist()
        error = RATTLE_A * np.sqrt(3 / visits[distance.argmin(axis=1)])
        assert (distance.min(axis=1) < SIGMAS * error).all()
        assert len(site_jumps(positions, time, found)[0]) == len(truth)

    def test_kinds_by_ligands(self):
        trajectory = nvp_trajectory((1, 1, 1), x=4.0)
        ions = trajectory.numbers == 11
        framework = trajectory.positions_A[:, ~ions].mean(axis=0)
        numbers = trajectory.numbers[~ions]
        found = visited_sites(trajectory.positions_A[:, ions], framework, numbers, trajectory.cell_A, 1.5, WINDOW)
        assert sorted(found.kind.tolist()) == ["6-fold"] * 2 + ["8-fold"] * 6

    def test_a_liquid_is_refused(self):
        rng = np.random.default_rng(0)
        positions = rng.uniform(0, 10, (1, 12, 3)) + rng.normal(0, 0.2, (5000, 12, 3)).cumsum(axis=0)
        with pytest.raises(StructureError, match="as in a liquid"):
            visited_sites(positions, np.zeros((0, 3)), np.zeros(0, int), 10.0 * np.eye(3), 1.5, WINDOW)

    def test_two_ions_at_one_place_are_refused(self):
        positions = 2.0 + 0.1 * np.random.default_rng(0).standard_normal((100, 2, 3))
        with pytest.raises(StructureError, match="1 places where an ion has stayed for 2 ions"):
            visited_sites(positions, np.zeros((0, 3)), np.zeros(0, int), CUBIC, 1.5, WINDOW)


class TestAnalysis:
    def exchanging(self, repeats=(2, 2, 2), drift=True):
        """NVP in which, once, an Na(1) ion leaves for a free Na(2) and an Na(2) ion takes its place 200 fs later."""
        trajectory = nvp_trajectory(repeats, frames=400, rattle_A=0.1)
        sites = source_sites(trajectory, NVP)
        cell, ions = np.asarray(trajectory.cell_A), np.flatnonzero(trajectory.numbers == 11)
        at = site_of(SiteTree(sites.fractional, cell, 1.5).keys(trajectory.positions_A[:1, ions])[0])
        near = sites.distances_A()
        na2 = sites.kind == "Na2"
        empty = na2 & ~np.isin(np.arange(len(sites)), at)
        full = na2 & ~empty
        one = next(s for s in np.flatnonzero(~na2) if (near[s] < 3.6)[empty].any() and (near[s] < 3.6)[full].any())
        target = np.flatnonzero(empty & (near[one] < 3.6))[0]
        origin = np.flatnonzero(full & (near[one] < 3.6))[0]
        places = sites.fractional @ cell
        for start, end, frame in ((one, target, 200), (origin, one, 210)):
            atom = ions[np.flatnonzero(at == start)[0]]
            trajectory.positions_A[frame:, atom] += PeriodicCell(cell).minimum_image(places[end] - places[start])
        if drift:
            trajectory.positions_A += 1e-2 * np.arange(400)[:, None, None] * np.array([1.0, -2.0, 0.5])
        return trajectory

    def test_an_exchange_in_nvp_from_trajectory_to_tables(self, tmp_path):
        dataset = analyse_trajectory(self.exchanging(), SETTINGS, 1, NVP)
        assert dataset.attrs["site_origin"] == "source" and dataset.attrs["no_sites"] == ""
        assert (int(dataset["n_site_jumps"]), int(dataset["n_exchanges"])) == (2, 1)
        assert (int(dataset["n_leaving_first"]), float(dataset["exchange_delay_fs"])) == (1, 200.0)
        assert dataset["kind"].to_numpy().tolist() == ["Na1", "Na2"]
        assert dataset["kind_sites"].to_numpy().tolist() == [16, 48]
        # 40 ions in 16 f.u. at x = 2.5: all Na(1) full but for ten frames, 24 of 48 Na(2).
        np.testing.assert_allclose(dataset["kind_occupancy"], [1 - 10 / 400 / 16, (24 + 10 / 400) / 48], rtol=ROUNDING)
        assert dataset["D_sites_cm2_s"].attrs["units"] == "cm2/s"
        assert dataset["site_rate_per_ps"].attrs["units"] == "1/ps"
        write_dataset(tmp_path / "a.nc", dataset)
        summary = summarise([read_dataset(tmp_path / "a.nc")] * 2, SETTINGS)
        events = summary.events
        assert len(events) == 4 and events["neighbouring"].all() and not events["returned"].any()
        assert events[["from_kind", "to_kind"]].iloc[:2].to_numpy().tolist() == [["Na1", "Na2"], ["Na2", "Na1"]]
        assert events["exchange"].tolist() == [0] * 4 and events["delay_fs"].tolist() == [200.0] * 4
        row = summary.concerted.iloc[0]
        assert (row["neighbouring_fraction"], row["exchange_fraction"]) == (1.0, 1.0)
        assert 0 < row["neighbouring_chance"] < 1
        assert summary.sites["sites"].tolist() == [16, 48]
        assert summary.occupancy.groupby("kind")["occupancy"].mean()["Na1"] == pytest.approx(1 - 10 / 400 / 16)
        assert summary.diffusivities["D_sites_cm2_s"].iloc[0] == pytest.approx(float(dataset["D_sites_cm2_s"]))

    def test_without_known_sites_they_are_found(self):
        dataset = analyse_trajectory(
            self.exchanging(), Diffusion(persistence_fs=40.0, site_reference="visited"), 1, NVP
        )
        assert dataset.attrs["site_origin"] == "visited" and int(dataset["n_site_jumps"]) == 2
        assert set(dataset["kind"].to_numpy().tolist()) == {"6-fold", "8-fold"}

    def test_sites_that_are_not_where_the_ions_are_are_refused(self):
        trajectory = self.exchanging((1, 1, 1))
        ions = np.flatnonzero(trajectory.numbers == 11)
        trajectory.positions_A[:, ions[: len(ions) // 2 + 1]] += [0.0, 0.0, 1.8]
        dataset = analyse_trajectory(trajectory, SETTINGS, 1, NVP)
        assert "at the sites of the source cell for 40% of the time" in dataset.attrs["no_sites"]
        assert "n_site_jumps" not in dataset and "n_jumps" in dataset

    def test_no_sites_is_said_and_the_distance_rule_goes_on(self, tmp_path):
        rng = np.random.default_rng(0)
        walk = rng.uniform(0, 10, (1, 12, 3)) + rng.normal(0, 0.2, (2000, 12, 3)).cumsum(axis=0)
        liquid = trajectory_of(walk, [11] * 12, 10 * np.eye(3), structure="melt")
        dataset = analyse_trajectory(liquid, SETTINGS, 1)
        assert dataset.attrs["no_sites"] and "n_site_jumps" not in dataset
        assert int(dataset["n_jumps"]) > 0
        summary = summarise([dataset], SETTINGS)
        assert summary.events.empty and summary.sites.empty and summary.occupancy.empty
        assert np.isnan(summary.diffusivities["D_sites_cm2_s"].iloc[0])
        assert np.isnan(summary.concerted["neighbouring_fraction"].iloc[0])
        assert summary.trajectories["no_sites"].iloc[0] == dataset.attrs["no_sites"]
        both = summarise([dataset, analyse_trajectory(self.exchanging((1, 1, 1)), SETTINGS, 1, NVP)], SETTINGS)
        assert len(both.events) == 2 and len(both.sites) == 2

    @pytest.mark.parametrize("frames", [1, 2, 400])
    def test_one_ion_and_few_frames(self, frames):
        """An ion alone has no company; a run that ended at once has no sites, and says so."""
        trajectory = nvp_trajectory((1, 1, 1), frames=frames, x=0.5)
        assert (trajectory.numbers == 11).sum() == 1
        dataset = analyse_trajectory(trajectory, SETTINGS, 1, NVP)
        table = summarise([dataset], SETTINGS)
        if frames == 1:
            assert "fewer than two frames" in dataset.attrs["no_sites"]
            return
        assert (int(dataset["n_site_jumps"]), int(dataset["n_exchanges"])) == (0, 0)
        limit = dataset["D_sites_limit_cm2_s"].item()
        assert limit == pytest.approx(3 * 9 / 6 / float(dataset["duration_ps"]) / 1000 * CM2_PER_S_PER_A2_PER_FS)
        assert table.diffusivities["D_sites_limit_cm2_s"].iloc[0] == pytest.approx(limit)

    def test_same_seed_same_numbers(self):
        one, other = (analyse_trajectory(self.exchanging((1, 1, 1)), SETTINGS, 5, NVP) for _ in range(2))
        assert one.identical(other)
