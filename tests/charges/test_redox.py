import numpy as np
import pytest
import xarray as xr
from ase import Atoms

from redoxmd.charges.bader import partition
from redoxmd.charges.hops import Hops, find_hops, rank_jumps, relate_to_jumps
from redoxmd.charges.oxidation import fit_oxidation
from redoxmd.charges.redox import analyse_redox, difference_error, oxidation_table
from redoxmd.config.sections import Charges, Structures
from redoxmd.diffusion.jumps import Jumps
from redoxmd.engines import toy
from redoxmd.errors import DataError
from redoxmd.structures.geometry import Sites, bond_lengths, framework_drift, vacancy_distances
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.source import source_cell
from tests.engines.test_engines import nvp

CUBE = PeriodicCell(10.0 * np.eye(3))
TRICLINIC = PeriodicCell(np.array([[8.0, 0.0, 0.0], [3.0, 8.5, 0.0], [-2.5, 3.5, 9.0]]))
NVP = Structures()
SETTINGS = Charges(persistence_fs=0.0, pair_window_fs=25.0)
MOVES = 5
STEP_FS = 20.0


def jumps(*rows):
    """Jumps from (ion, time, start, end)."""
    ion, time, start, end = zip(*rows, strict=True) if rows else ((),) * 4
    return Jumps(
        np.array(ion, dtype=int),
        np.array(time, dtype=float),
        np.array(start, dtype=float).reshape(-1, 3),
        np.array(end, dtype=float).reshape(-1, 3),
    )


def still(*places):
    """Redox atoms that stay where they are, for any number of frames."""
    return lambda frames: np.broadcast_to(np.array(places, dtype=float), (frames, len(places), 3)).copy()


def hops_of(*columns, places=((1, 1, 1), (3, 1, 1), (9, 1, 1)), window=15.0, periodic=CUBE):
    states = np.array(columns).T
    return find_hops(states, np.arange(len(states)) * 10.0, still(*places)(len(states)), periodic, window)


class TestHops:
    def test_an_electron_goes_from_the_oxidised_to_the_reduced(self):
        hops = hops_of([0, 0, 1], [1, 1, 0], [0, 0, 0])
        assert (hops.time_fs[0], hops.donor[0], hops.acceptor[0]) == (20.0, 0, 1)
        np.testing.assert_allclose(hops.vector_A, [[2, 0, 0]])
        np.testing.assert_allclose(hops.middle_A, [[2, 1, 1]])

    def test_across_the_boundary(self):
        hops = hops_of([0, 1], [0, 0], [1, 0])
        np.testing.assert_allclose(hops.vector_A, [[-2, 0, 0]])
        corner = TRICLINIC.cell_A.sum(axis=0)
        hops = hops_of([0, 1], [1, 0], places=((0.5, 0.5, 0.5), corner - 0.5), periodic=TRICLINIC)
        np.testing.assert_allclose(hops.vector_A, [[-1, -1, -1]])

    def test_partners_are_the_nearest_in_time(self):
        hops = hops_of([0, 1, 1, 1, 1], [1, 1, 0, 0, 1], [1, 1, 1, 1, 0])
        assert list(zip(hops.time_fs, hops.donor, hops.acceptor, strict=True)) == [(15.0, 0, 1), (40.0, 1, 2)]

    def test_two_hops_in_one_frame_take_the_shorter_ways(self):
        places = ((1, 1, 1), (5, 5, 5), (2, 1, 1), (5, 6, 5))
        hops = hops_of([0, 1], [0, 1], [1, 0], [1, 0], places=places)
        assert list(zip(hops.donor, hops.acceptor, strict=True)) == [(0, 2), (1, 3)]

    def test_changes_without_a_partner(self):
        hops = hops_of([0, 1, 1, 1, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0])
        assert list(zip(hops.time_fs, hops.donor, hops.acceptor, strict=True)) == [(10.0, 0, -1), (40.0, -1, 1)]
        assert np.isnan(hops.vector_A).all()
        np.testing.assert_allclose(hops.middle_A, [[1, 1, 1], [3, 1, 1]])
        assert not hops.paired.any()

    def test_partners_are_known_only_where_frames_resolve_them(self):
        """Four atoms change in the same frame: across a long gap none of them is anyone's partner."""
        states = np.array([[0, 0, 1, 1], [1, 1, 0, 0], [0, 1, 1, 0]])
        places = still((1, 1, 1), (5, 5, 5), (2, 1, 1), (5, 6, 5))(3)
        hops = find_hops(states, np.array([0.0, 1000.0, 1020.0]), places, CUBE, 200.0)
        seen = list(zip(hops.time_fs, hops.donor, hops.acceptor, strict=True))
        assert seen == [(1000.0, -1, 2), (1000.0, -1, 3), (1000.0, 0, -1), (1000.0, 1, -1), (1020.0, 2, 0)]

    def test_no_wrong_partner_of_electrons_that_hop_at_random(self):
        """Frames at 20 fs hold the true pairs; of every 50th frame no pair is made that is none."""
        rng = np.random.default_rng(5)
        places = np.array(list(np.ndindex(2, 2, 2)), dtype=float) * 5.0
        states, true = np.array([[1, 1, 0, 0, 0, 0, 0, 0]]), set()
        for frame in range(1, 4000):
            new = states[-1].copy()
            if rng.random() < 0.02:
                donor, acceptor = rng.choice(np.flatnonzero(new == 0)), rng.choice(np.flatnonzero(new == 1))
                new[[donor, acceptor]] = 1, 0
                true.add((frame * STEP_FS, int(donor), int(acceptor)))
            states = np.vstack([states, new])
        time = STEP_FS * np.arange(len(states))
        for every, share in ((1, 1.0), (50, 0.0)):
            part = states[::every]
            hops = find_hops(part, time[::every], still(*places)(len(part)), CUBE, 200.0)
            paired = list(zip(hops.time_fs, hops.donor, hops.acceptor, strict=True))
            pairs = {row for row in paired if -1 not in row[1:]}
            assert pairs <= true and len(pairs) == pytest.approx(share * len(true), abs=0.1 * len(true))

    def test_a_flicker_of_one_atom_is_no_hop_to_itself(self):
        assert not hops_of([0, 1, 0], [0, 0, 0]).paired.any()

    def test_nothing_happens(self):
        for states in ([0, 0], [-1, 1]):
            assert len(hops_of(states)) == 0
        assert len(find_hops(np.zeros((0, 2), dtype=int), np.zeros(0), np.zeros((0, 2, 3)), CUBE, 10.0)) == 0


class TestJumpsBesideHops:
    HOPS = hops_of([0, 0, 1], [1, 1, 0], [0, 0, 0])  # at 20 fs, along +x, middle (2, 1, 1)

    def test_opposite_same_and_sideways(self):
        for way, cosine in (([-3, 0, 0], -1), ([2, 0, 0], 1), ([0, 3, 0], 0), ([-3, 3, 0], -np.sqrt(0.5))):
            start = np.array([2.0, 4.0, 1.0])
            found = relate_to_jumps(self.HOPS, jumps((0, 12.0, start, start + way)), CUBE, 50.0)
            assert found.cosine[0] == pytest.approx(cosine)
            assert found.lag_fs[0] == pytest.approx(8.0)

    def test_the_nearest_jump_in_time_and_its_distance(self):
        both = jumps((0, 0.0, [0, 0, 0], [1, 0, 0]), (1, 25.0, [9, 1, 1], [11, 1, 1]))
        found = relate_to_jumps(self.HOPS, both, CUBE, 50.0)
        assert (found.jump[0], found.lag_fs[0]) == (1, -5.0)
        assert found.distance_A[0] == pytest.approx(2.0)  # (10, 1, 1) is (0, 1, 1)

    def test_the_nearest_of_many_jumps_is_that_of_all_pairs(self):
        rng = np.random.default_rng(2)
        time_fs = np.sort(rng.integers(0, 60, 40) * 10.0)
        many = Jumps(np.arange(40), time_fs, np.zeros((40, 3)), np.ones((40, 3)))
        hop_fs = np.sort(rng.integers(-5, 130, 80) * 5.0)
        hops = Hops(hop_fs, np.zeros(80, int), np.ones(80, int), np.ones((80, 3)), np.zeros((80, 3)))
        nearest = relate_to_jumps(hops, many, CUBE, 1000.0)
        assert nearest.jump.tolist() == np.abs(hop_fs[:, None] - time_fs).argmin(axis=1).tolist()
        np.testing.assert_array_equal(nearest.lag_fs, hop_fs - time_fs[nearest.jump])

    def test_outside_the_window_or_no_jumps(self):
        for other in (jumps((0, 500.0, [0, 0, 0], [3, 0, 0])), jumps()):
            found = relate_to_jumps(self.HOPS, other, CUBE, 50.0)
            assert found.jump.tolist() == [-1]
            assert np.isnan([found.lag_fs, found.cosine, found.distance_A]).all()


class TestChoice:
    HOPS = hops_of([0, 0, 1], [1, 1, 0], [0, 0, 0])

    def choose(self, *rows, hops=HOPS):
        ranks = rank_jumps(jumps(*((i, t, [0, 0, 0], [d, 0, 0]) for i, t, d in rows)), hops, 500.0)
        return ranks.index(min(ranks))

    def test_a_concerted_one_with_a_hop_comes_first(self):
        assert self.choose((0, 10.0, 3), (0, 2000.0, 9)) == 0
        assert self.choose((0, 22.0, 3), (0, 400.0, 3), (1, 1300.0, 3)) == 1
        assert self.choose((0, 30.0, 3), (1, 22.0, 3)) == 1

    def test_without_a_hop_the_longest(self):
        assert self.choose((0, 1000.0, 3), (1, 2000.0, 4), (2, 3000.0, 3.5)) == 1
        assert self.choose((0, 10.0, 3), (1, 20.0, 4), hops=hops_of([0, 0])) == 1

    def test_no_jumps_have_no_ranks(self):
        assert rank_jumps(jumps(), self.HOPS, 500.0) == []


class TestSurroundings:
    SITES = Sites(np.array([[0.0, 0, 0], [0.5, 0, 0], [0.95, 0.5, 0.5]]), np.array([[0.25, 0.25, 0.25]]), np.ones(1))

    def test_vacancies(self):
        ions = np.array([[[0.1, 9.9, 0.0], [5.2, 0.0, 0.1]], [[0.1, 9.9, 0.0], [-0.4, 5.0, 15.1]]])
        redox = still((0.5, 5.0, 5.0), (6.0, 0.0, 0.0))(2)
        found = vacancy_distances(redox, ions, self.SITES, CUBE)
        np.testing.assert_allclose(found[0], [1.0, np.sqrt(3.5**2 + 50)])
        np.testing.assert_allclose(found[1], [np.sqrt(4.5**2 + 50), 1.0])

    def test_in_a_triclinic_cell_against_the_images(self):
        rng = np.random.default_rng(3)
        sites = Sites(rng.random((5, 3)), rng.random((1, 3)), np.ones(1))
        places = sites.mobile @ TRICLINIC.cell_A
        ions = (places[[0, 3, 4]] + TRICLINIC.cell_A[1] - 2 * TRICLINIC.cell_A[2])[None]
        redox = rng.uniform(-10, 20, (1, 4, 3))
        images = np.array([np.array(i) - 4 for i in np.ndindex(9, 9, 9)]) @ TRICLINIC.cell_A
        away = redox[0][:, None, None] - places[[1, 2]][None, :, None] + images
        expected = np.linalg.norm(away, axis=-1).min(axis=(1, 2))
        np.testing.assert_allclose(vacancy_distances(redox, ions, sites, TRICLINIC)[0], expected)

    def test_no_vacancies_and_one_ion(self):
        full = still((0, 0, 0), (5, 0, 0), (9.5, 5, 5))(1)
        assert np.isnan(vacancy_distances(still((1, 1, 1))(1), full, self.SITES, CUBE)).all()
        one = vacancy_distances(still((6, 0, 0))(1), full[:, :1], self.SITES, CUBE)
        np.testing.assert_allclose(one, [[1.0]])

    def test_drift_of_half_a_cell_and_wrapped_atoms(self):
        rng = np.random.default_rng(4)
        sites = Sites(np.zeros((1, 3)), rng.random((6, 3)), rng.uniform(1, 50, 6))
        rattle = 0.1 * rng.standard_normal((6, 3))
        rattle -= np.average(rattle, axis=0, weights=sites.masses_amu)
        drift = np.array([4.9, -3.0, 4.4])
        framework = np.array([sites.framework @ TRICLINIC.cell_A + rattle + drift + [t, 0, 0] for t in (0.0, 0.5)])
        framework += rng.integers(-1, 2, (6, 3)) @ TRICLINIC.cell_A
        found = framework_drift(framework, sites, TRICLINIC)
        np.testing.assert_allclose(TRICLINIC.minimum_image(found[0] - drift), 0, atol=1e-9)
        np.testing.assert_allclose(found[1] - found[0], [0.5, 0, 0], atol=1e-9)

    def test_bond_lengths_around_an_octahedron_on_the_corner(self):
        arms = np.vstack([np.eye(3), -np.eye(3)]) * np.array([[1.9], [2.0], [2.1]] * 2)
        fractional = np.linalg.solve(TRICLINIC.cell_A.T, arms.T).T % 1.0
        ligands = np.vstack([fractional @ TRICLINIC.cell_A, [[4.0, 4.0, 4.0]]])[None]
        found = bond_lengths(np.zeros((1, 1, 3)), ligands, TRICLINIC)
        np.testing.assert_allclose(found, [[2.0]])
        assert bond_lengths(np.zeros((1, 1, 3)), ligands, TRICLINIC, 1)[0, 0] == pytest.approx(1.9)
        assert np.isnan(bond_lengths(np.zeros((1, 1, 3)), ligands[:, :3], TRICLINIC)).all()

    def test_the_error_is_that_of_the_blocks(self):
        rng = np.random.default_rng(5)
        level = np.tile([0, 1], (2000, 2))
        spread = [
            difference_error(2.0 - 0.08 * level + 0.05 * rng.standard_normal(level.shape), level) for _ in range(20)
        ]
        # Two independent means over 4000 values each.
        assert np.mean(spread) == pytest.approx(0.05 * np.sqrt(2 / 4000), rel=0.3)
        assert np.isnan(difference_error(np.ones((5, 2)), np.zeros((5, 2), dtype=int)))


def walk():
    """A toy crystal whose sodium goes from site to vacancy, ion after ion, in small steps."""
    atoms = nvp(2.5, seed=3)
    full = source_cell(Structures()).atoms
    periodic = PeriodicCell(np.asarray(atoms.cell))
    places = full.get_scaled_positions()[full.arrays["site"] != "-"] @ periodic.cell_A
    rng = np.random.default_rng(8)
    frames = [atoms.copy()]
    for _ in range(MOVES):
        ions = np.flatnonzero(atoms.numbers == 11)
        away = periodic.distances_A(atoms.positions[ions], places)
        vacant = np.flatnonzero(away.min(axis=0) > 1.0)
        ion, site = rng.choice(ions), rng.choice(vacant)
        way = periodic.minimum_image(places[site] - atoms.positions[ion])
        for part in (0.25, 0.5, 0.75, 1.0):
            frame = atoms.copy()
            frame.positions[ion] += part * way
            frames.append(frame)
        atoms = frames[-1].copy()
    return frames


def charges_of(frames):
    parts = [partition(toy.gaussian_density(frame)) for frame in frames]
    dims = ("frame", "atom")
    return xr.Dataset(
        {
            "charge_e": (dims, [part.charge_e for part in parts]),
            "moment_muB": (dims, [part.moment_muB for part in parts]),
            "positions_A": ((*dims, "axis"), [frame.positions for frame in frames]),
            "cell_A": (("vector", "axis"), np.asarray(frames[0].cell)),
        },
        coords={
            "time_fs": ("frame", np.arange(len(frames)) * STEP_FS),
            "step": ("frame", np.arange(len(frames))),
            "number": ("atom", frames[0].numbers),
            "x": 2.5,
            "temperature_K": 600.0,
            "replica": 0,
        },
        attrs={"structure": "toy", "model": "toy"},
    )


@pytest.fixture(scope="module")
def story():
    """Frames, their charges, and a mixture fitted on other contents."""
    reference = [partition(toy.gaussian_density(nvp(x, seed=5))) for x in (3.0, 2.5, 2.0, 1.5)]
    vanadium = [nvp(x, seed=5).numbers == 23 for x in (3.0, 2.5, 2.0, 1.5)]
    charge, moment = (
        np.concatenate([getattr(part, name)[v] for part, v in zip(reference, vanadium, strict=True)])
        for name in ("charge_e", "moment_muB")
    )
    frames = walk()
    return frames, charges_of(frames), fit_oxidation(charge, moment)


@pytest.fixture(scope="module")
def sites():
    return Sites.of(source_cell(Structures()).atoms)


def true_levels(frames):
    return np.array([[state - 3 for state in toy.oxidation_states(frame).values()] for frame in frames])


class TestToy:
    def test_the_redox_sequence_is_recovered_hop_by_hop(self, story):
        frames, charges, model = story
        levels = true_levels(frames)
        changes = np.argwhere(np.diff(levels, axis=0) == 1)
        expected = [
            ((t + 1) * STEP_FS, d, int(np.flatnonzero(np.diff(levels, axis=0)[t] == -1)[0])) for t, d in changes
        ]
        assert len(expected) >= 3
        table = oxidation_table(charges, model, NVP, SETTINGS)
        np.testing.assert_array_equal(table["state"], levels + 3)
        redox = table["redox_atom"].to_numpy()
        places = charges["positions_A"].to_numpy()[:, redox]
        hops = find_hops(
            table["state"].to_numpy() - 3,
            charges["time_fs"].to_numpy(),
            places,
            PeriodicCell(np.asarray(frames[0].cell)),
            25.0,
        )
        assert list(zip(hops.time_fs, hops.donor, hops.acceptor, strict=True)) == expected

    def test_the_tables(self, story, sites):
        frames, charges, model = story
        table = oxidation_table(charges, model, NVP, SETTINGS)
        ion = jumps((0, 40.0, [0, 0, 0], [3, 0, 0]))
        row, hops = analyse_redox(table, ion, sites, NVP, SETTINGS, 1.0)
        assert row["n_frames"] == len(frames)
        assert row["n_high"] == row["n_high_expected"] == 1.0
        assert row["share_disagreeing"] == 0.0
        assert row["n_hops"] == len(hops) >= 3
        assert row["resolved_ps"] == pytest.approx(STEP_FS * (len(frames) - 1) / 1000)
        assert row["bond_high_A"] == pytest.approx(row["bond_low_A"], abs=0.01)  # the framework does not move
        assert row["vacancy_high_A"] < row["vacancy_low_A"]
        assert set(hops["donor"]) <= set(table["redox_atom"].to_numpy())
        assert hops["x"].eq(2.5).all()
        assert hops["ion"].eq(0).all()

    def test_without_jumps_or_frames(self, story, sites):
        _, charges, model = story
        thin = charges.isel(frame=slice(0, None, 20))
        row, _ = analyse_redox(
            oxidation_table(thin, model, NVP, SETTINGS),
            jumps(),
            sites,
            Structures(),
            SETTINGS,
            1.0,
        )
        assert row["resolved_ps"] == 0
        for part in (charges, charges.isel(frame=slice(0, 1)), charges.isel(frame=slice(0, 0))):
            table = oxidation_table(part, model, NVP, SETTINGS)
            row, _ = analyse_redox(table, jumps(), sites, NVP, SETTINGS, 1.0)
            assert np.isnan(row["mean_cosine"])

    def test_it_survives_a_file(self, story, sites, tmp_path):
        _, charges, model = story
        table = oxidation_table(charges, model, NVP, SETTINGS)
        table.to_netcdf(tmp_path / "table.nc", engine="h5netcdf")
        with xr.open_dataset(tmp_path / "table.nc", engine="h5netcdf") as back:
            _, one = analyse_redox(back.load(), jumps(), sites, NVP, SETTINGS, 1.0)
            _, other = analyse_redox(table, jumps(), sites, NVP, SETTINGS, 1.0)
        assert one.equals(other)

    def test_sites_of_another_cell_are_refused(self, story):
        _, charges, model = story
        table = oxidation_table(charges, model, NVP, SETTINGS)
        other = Sites.of(source_cell(Structures()).atoms.repeat((2, 1, 1)))
        with pytest.raises(DataError, match="supercell"):
            analyse_redox(table, jumps(), other, NVP, SETTINGS, 1.0)


def test_sites_of_a_full_cell():
    atoms = Atoms("NaVO", positions=[[0, 0, 0], [1, 1, 1], [3, 3, 3]], cell=[4, 4, 4], pbc=True)
    atoms.set_array("site", np.array(["Na1", "-", "-"]))
    sites = Sites.of(atoms)
    np.testing.assert_allclose(sites.mobile, [[0, 0, 0]])
    np.testing.assert_allclose(sites.framework, [[0.25] * 3, [0.75] * 3])
    np.testing.assert_allclose(sites.masses_amu, atoms.get_masses()[1:])
