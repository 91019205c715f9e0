"""D and its error from the mean squared displacement, against walkers of known D and against kinisi."""

import numpy as np
import pytest

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.line_fit import NO_FIT, fit_line, mean_of_fits
from redoxmd.diffusion.msd import (
    collective_coordinate,
    mean_squared_displacement,
    overlap_sums,
    squared_displacements,
)
from redoxmd.diffusion.msd_analysis import coefficients_of_replicas, haven_ratio, msd_variables
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS
from tests.diffusion.walkers import INTERVAL_FS, SITE_A, brownian, hoppers, rattlers, times

SETTINGS = Diffusion()
SEEDS = 150
KINISI = 1e-6
# Three standard deviations of a binomial count.
MARGIN = 3.0
D_BROWNIAN = 2e-4
RATE = 2.5e-5


def fit(positions, settings=SETTINGS):
    return fit_line(positions, mean_squared_displacement(positions), times(positions), settings)


def covered(fits, truth_cm2_s, share):
    """How many posteriors hold the truth in their middle `share`."""
    inside = 0
    for one in fits:
        D, weight = one.density()
        low, high = np.interp([0.5 - share / 2, 0.5 + share / 2], weight.cumsum(), D)
        inside += low <= truth_cm2_s <= high
    return inside


def kinisi_of(positions):
    """The peer's analysis of the same ions in a cell that they do not leave."""
    import scipp as sc
    from ase import Atoms
    from kinisi.analyze import DiffusionAnalyzer

    ions = Atoms(f"Na{positions.shape[1]}O", positions=np.zeros((positions.shape[1] + 1, 3)), cell=[400] * 3, pbc=True)
    frames = []
    for places in positions:
        ions.positions[:-1] = (places + 200) % 400
        frames.append(ions.copy())
    return DiffusionAnalyzer.from_ase(
        frames,
        specie="Na",
        time_step=sc.scalar(INTERVAL_FS, unit="fs"),
        step_skip=sc.scalar(1, unit="dimensionless"),
        progress=False,
    )


class TestMsd:
    def test_fourier_equals_the_double_sum(self):
        positions = brownian(1e-3, 3, 60, 0)
        fast = squared_displacements(positions)
        for lag in (0, 1, 7, 31, 59):
            slow = ((positions[lag:] - positions[: len(positions) - lag]) ** 2).sum(axis=2).mean(axis=0)
            np.testing.assert_allclose(fast[lag], slow, atol=1e-8)

    def test_some_ions_at_a_time_are_all_ions(self, monkeypatch):
        positions = brownian(1e-3, 7, 50, 0)
        whole = squared_displacements(positions).mean(axis=1)
        monkeypatch.setattr("redoxmd.diffusion.msd.BLOCK_POINTS", 120)
        np.testing.assert_allclose(mean_squared_displacement(positions), whole, rtol=1e-12)

    def test_far_from_the_origin_nothing_is_lost(self):
        positions = brownian(1e-3, 3, 60, 0)
        far = squared_displacements(positions + 1e5)
        np.testing.assert_allclose(far, squared_displacements(positions), rtol=1e-6)

    def test_against_kinisi(self):
        """The same MSD from kinisi, which averages over all time origins too.

        Given ASE frames, kinisi 2.1.0 takes the first frame twice (its displacements begin with that frame's zero), so
        it is given here to ours twice as well; the rest is equal to rounding.
        """
        positions = brownian(1e-3, 6, 120, 1)
        peer = kinisi_of(positions)
        lags = np.round(peer.dt.values / INTERVAL_FS).astype(int)
        shown = lags < 60
        assert shown.sum() > 20
        mine = mean_squared_displacement(np.concatenate([positions[:1], positions]))
        np.testing.assert_allclose(mine[lags[shown]], peer.msd.values[shown], rtol=KINISI)


class TestCovariance:
    def test_overlaps_equal_the_double_sum(self):
        lags, frames = np.array([1, 3, 7, 20]), 40
        mean, mean_squared = overlap_sums(lags, frames)
        for row, one in enumerate(lags):
            for column, other in enumerate(lags):
                first, second = np.arange(frames - one)[:, None], np.arange(frames - other)
                shared = np.minimum(first + one, second + other) - np.maximum(first, second)
                shared = np.maximum(shared, 0).astype(float)
                assert mean[row, column] == pytest.approx(shared.mean())
                assert mean_squared[row, column] == pytest.approx((shared**2).mean())

    def test_variance_of_the_msd_of_brownian_motion(self):
        lags, frames, ions = np.array([5, 20, 60]), 200, 4
        curves = np.array([mean_squared_displacement(brownian(1e-3, ions, frames, seed))[lags] for seed in range(1500)])
        _, mean_squared = overlap_sums(lags, frames)
        stated = 2 / 3 * mean_squared / np.outer(lags, lags) / ions
        found = np.cov(curves.T) / np.outer(curves.mean(axis=0), curves.mean(axis=0))
        # Relative error of a covariance of so many draws, of which the longest lag's is skewed.
        np.testing.assert_allclose(found, stated, rtol=0.2)


class TestPosterior:
    @pytest.mark.parametrize(
        ("walk", "D_A2_fs"),
        [
            (lambda seed: brownian(D_BROWNIAN, 12, 600, seed), D_BROWNIAN),
            (lambda seed: hoppers(RATE, 20, 2000, seed), SITE_A**2 * RATE / 6),
            (lambda seed: brownian(D_BROWNIAN, 1, 2000, seed), D_BROWNIAN),
            (lambda seed: collective_coordinate(hoppers(5 * RATE, 12, 1000, seed)), 5 * SITE_A**2 * RATE / 6),
        ],
        ids=["Brownian", "lattice gas", "one ion", "all ions together"],
    )
    def test_intervals_hold_the_truth_as_often_as_stated(self, walk, D_A2_fs):
        fits = [fit(walk(seed)) for seed in range(SEEDS)]
        truth = D_A2_fs * CM2_PER_S_PER_A2_PER_FS
        for share in (0.68, 0.95):
            spread = MARGIN * np.sqrt(SEEDS * share * (1 - share))
            assert abs(covered(fits, truth, share) - share * SEEDS) < spread, share
        estimates = np.array([one.D_cm2_s for one in fits])
        assert abs(estimates.mean() - truth) < MARGIN * estimates.std() / np.sqrt(SEEDS)
        diffusive = np.mean([one.regime == "diffusive" for one in fits if one.moved])
        assert diffusive > 0.9

    @pytest.mark.parametrize("walk", [lambda: brownian(1e-3, 12, 400, 0), lambda: hoppers(4e-4, 12, 400, 0)])
    def test_against_kinisi(self, walk):
        """kinisi fits all lags from the first on, with the covariance of independent windows."""
        import scipp as sc

        positions = walk()
        peer = kinisi_of(positions)
        start_fs = round(SETTINGS.msd_fit[0] * (len(positions) - 1)) * INTERVAL_FS
        peer.diffusion(
            sc.scalar(start_fs, unit="fs"), progress=False, random_state=np.random.RandomState(1), n_samples=500
        )
        mine, error = fit(positions).posterior(), peer.D.values.std()
        assert abs(mine.value - peer.D.values.mean()) < 0.7 * error
        assert 0.8 < mine.error / error < 1.8
        assert mine.low < peer.D.values.mean() < mine.high

    @pytest.mark.parametrize("memory", [0.0, 0.95])
    def test_a_crystal_without_jumps_has_an_upper_limit(self, memory):
        """Never less than three jumps allow."""
        for seed in range(10):
            found = fit(rattlers(20, 2000, seed, memory=memory))
            D = found.posterior()
            assert found.regime == "not told from zero"
            three_jumps = 3 * SETTINGS.jump_distance_A**2 / 6 / (20 * INTERVAL_FS * 1999) * CM2_PER_S_PER_A2_PER_FS
            assert D.low == 0 and D.limit >= three_jumps * (1 - 1e-9) and D.value < D.limit <= D.high

    def test_cages_that_relax_as_slowly_as_the_fit_begins_are_not_diffusive(self):
        for seed in range(20):
            assert fit(rattlers(20, 2000, seed, memory=0.995)).regime in ("subdiffusive", "not told from zero")

    def test_no_motion_at_all(self):
        found = fit(np.zeros((500, 4, 3)))
        D = found.posterior()
        assert (D.value, D.error, D.low) == (0, 0, 0)
        assert D.limit == pytest.approx(3 * 9 / 6 / (4 * 499 * INTERVAL_FS) * CM2_PER_S_PER_A2_PER_FS)
        assert found.regime == "not told from zero"

    def test_back_and_forth_between_two_sites_is_not_diffusive(self):
        """The MSD levels off within the window."""
        rng = np.random.default_rng(0)
        seen = []
        for _ in range(5):
            flips = rng.random((2000, 30)) < 4e-3
            places = np.zeros((2000, 30, 3))
            places[..., 0] = 3.5 * (flips.cumsum(axis=0) % 2)
            seen.append(fit(places + 0.2 * rng.standard_normal(places.shape)).regime)
        assert "diffusive" not in seen

    @pytest.mark.parametrize("frames", [1, 2, 4])
    def test_too_few_frames_or_ions(self, frames):
        for ions in (0, 5):
            found = fit(np.zeros((frames, ions, 3)))
            assert np.isnan(found.posterior().value) and found.regime == "too few frames or ions"

    def test_one_ion_has_an_error(self):
        D = fit(brownian(1e-3, 1, 300, 0)).posterior()
        assert 0 < D.low < D.value < D.high and D.error > 0.2 * D.value

    @pytest.mark.parametrize("fraction", [(0.0, 1.0), (0.1, 1.0), (0.0, 0.1)])
    def test_any_window(self, fraction):
        D = fit(brownian(1e-3, 10, 300, 0), Diffusion(msd_fit=fraction)).posterior()
        assert D.low < 1e-3 * CM2_PER_S_PER_A2_PER_FS < D.high


class TestReplicas:
    def test_errors_fall_and_scatter_counts(self):
        fits = [fit(brownian(D_BROWNIAN, 12, 600, seed)) for seed in range(4)]
        together = mean_of_fits(fits)
        own = np.sqrt(np.mean([one.error_cm2_s**2 for one in fits]))
        assert together.D_cm2_s == pytest.approx(np.mean([one.D_cm2_s for one in fits]))
        assert together.error_cm2_s >= 0.9 * own / 2
        assert together.floor_cm2_s == pytest.approx(fits[0].floor_cm2_s / 4)
        different = mean_of_fits([fits[0], fit(brownian(20 * D_BROWNIAN, 12, 600, 9))])
        scatter = abs(fits[0].D_cm2_s - different.D_cm2_s)
        assert different.error_cm2_s == pytest.approx(scatter, rel=0.01)

    def test_a_replica_that_ended_at_once_takes_no_part(self):
        import xarray as xr

        datasets = []
        for positions in (brownian(D_BROWNIAN, 12, 600, 0), np.zeros((1, 12, 3))):
            variables, notes = msd_variables(positions, times(positions), SETTINGS)
            datasets.append(xr.Dataset(variables, attrs=notes))
        assert coefficients_of_replicas(datasets)["D_msd_cm2_s"] == pytest.approx(datasets[0]["D_msd_cm2_s"].item())
        assert np.isnan(coefficients_of_replicas(datasets[1:])["D_msd_cm2_s"])
        assert datasets[1].attrs["no_haven_ratio"] == "D*: too few frames or ions"


class TestHaven:
    def ratio(self, positions):
        return haven_ratio(fit(positions), fit(collective_coordinate(positions)))

    def test_independent_walkers_have_one(self):
        ratios = [self.ratio(hoppers(2e-4, 12, 1000, seed)) for seed in range(60)]
        held = sum(ratio["haven_ratio_low"] <= 1 <= ratio["haven_ratio_high"] for ratio in ratios)
        assert held > 60 * 0.95 - MARGIN * np.sqrt(60 * 0.95 * 0.05)
        assert np.median([ratio["haven_ratio"] for ratio in ratios]) == pytest.approx(1, abs=0.25)

    def test_walkers_that_move_as_one_have_one_over_their_number(self):
        path = brownian(1e-3, 1, 2000, 0)
        together = np.repeat(path, 8, axis=1)
        np.testing.assert_allclose(
            mean_squared_displacement(collective_coordinate(together)),
            8 * mean_squared_displacement(together),
            atol=1e-9,
        )
        ratio = self.ratio(together)
        assert ratio["haven_ratio_low"] < 1 / 8 < ratio["haven_ratio_high"] < 0.5
        assert fit(together).D_cm2_s / fit(collective_coordinate(together)).D_cm2_s == pytest.approx(1 / 8, rel=0.05)

    def test_both_have_one_limit_where_nothing_moved(self):
        still = np.zeros((100, 4, 3))
        variables, _ = msd_variables(still, times(still), SETTINGS)
        assert variables["D_sigma_limit_cm2_s"] == variables["D_msd_limit_cm2_s"]

    def test_one_ion_is_its_own_charge(self):
        path = brownian(1e-3, 1, 2000, 0)
        assert fit(collective_coordinate(path)).D_cm2_s == pytest.approx(fit(path).D_cm2_s)

    def test_refused_with_a_reason(self):
        assert self.ratio(rattlers(8, 1000, 0))["no_haven_ratio"] == "no ion's diffusion is told from zero"
        assert self.ratio(np.zeros((100, 4, 3)))["no_haven_ratio"] == "no ion's diffusion is told from zero"
        assert haven_ratio(NO_FIT, NO_FIT)["no_haven_ratio"] == "D*: too few frames or ions"
