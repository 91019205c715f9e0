"""Everything against walks whose answer is known."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from redoxmd.config.sections import Diffusion, Figures
from redoxmd.diffusion.analysis import analyse_trajectory, diffusivities_by_cell, summarise
from redoxmd.diffusion.arrhenius import fit_arrhenius, fit_msd
from redoxmd.diffusion.jumps import (
    concerted_by_chance,
    concerted_count,
    diffusion_from_jumps,
    find_jumps,
    upper_limit_of_count,
    without_drift,
)
from redoxmd.diffusion.line_fit import LineFit, fit_line
from redoxmd.diffusion.msd import mean_squared_displacement
from redoxmd.figures.cell_sizes import draw as draw_cells
from redoxmd.files.trajectory import Trajectory
from redoxmd.units import BOLTZMANN_EV_PER_K, CM2_PER_S_PER_A2_PER_FS
from tests.diffusion.walkers import hoppers, times

SETTINGS = Diffusion(persistence_fs=40.0)
INTERVAL_FS = 20.0
SITE_A = 4.0


def lattice_walk(rate_per_fs, ions=20, frames=4000, rattle_A=0.25, seed=0):
    """Ions on a cubic lattice of spacing 4 Å that jump at random times; returns positions and true jump counts."""
    rng = np.random.default_rng(seed)
    jumps = rng.random((frames, ions)) < rate_per_fs * INTERVAL_FS
    # A rule that needs the ion to stay cannot see jumps that follow too soon.
    for ion in range(ions):
        last = -10
        for frame in np.flatnonzero(jumps[:, ion]):
            if frame - last < 6 or frame < 6 or frame > frames - 6:
                jumps[frame, ion] = False
            else:
                last = frame
    axis = rng.integers(0, 3, jumps.shape)
    sign = rng.choice([-1, 1], jumps.shape)
    moves = np.zeros((frames, ions, 3))
    for d in range(3):
        moves[..., d] = SITE_A * sign * (jumps & (axis == d))
    positions = moves.cumsum(axis=0) + rattle_A * rng.standard_normal((frames, ions, 3))
    return positions, INTERVAL_FS * np.arange(frames), jumps


class TestJumps:
    @pytest.mark.parametrize("seed", range(3))
    def test_every_jump_of_a_lattice_walk(self, seed):
        positions, time, truth = lattice_walk(2e-5, seed=seed)
        found = find_jumps(positions, time, SETTINGS)
        assert len(found) == truth.sum() > 20
        frame, ion = np.nonzero(truth)
        assert found.ion.tolist() == ion.tolist()
        np.testing.assert_allclose(found.time_fs, time[frame], atol=1e-9)
        np.testing.assert_allclose(found.distance_A, SITE_A, atol=1.2)

    def test_known_diffusion_coefficient(self):
        rate = 2e-5
        positions, time, truth = lattice_walk(rate, ions=60)
        found = find_jumps(positions, time, SETTINGS)
        D, error, _ = diffusion_from_jumps(found, 60, time[-1], 3.0)
        counted_rate = truth.sum() / (60 * time[-1])
        # Rattling lengthens the measured jump a little, by twice the variance of a site's mean.
        exact = SITE_A**2 * counted_rate / 6 * CM2_PER_S_PER_A2_PER_FS
        assert pytest.approx(exact, rel=0.05) == D
        assert error / D == pytest.approx(1 / np.sqrt(len(found)), rel=0.1)
        expected = SITE_A**2 * rate / 6 * CM2_PER_S_PER_A2_PER_FS
        assert abs(D - expected) < 5 * error + 0.05 * expected

    def test_no_jump_is_zero_with_a_limit(self):
        positions, time, _ = lattice_walk(0.0)
        D, error, limit = diffusion_from_jumps(find_jumps(positions, time, SETTINGS), 20, time[-1], 3.0)
        assert (D, error) == (0.0, 0.0)
        assert limit == pytest.approx(3 * 9 / 6 / (20 * time[-1]) * CM2_PER_S_PER_A2_PER_FS)

    def test_the_limit_covers_the_truth_in_95_percent(self):
        """At a true rate equal to the limit, nothing is seen in 5 % of runs."""
        assert np.exp(-3.0) == pytest.approx(0.05, abs=0.001)

    def test_rattling_is_no_jump(self):
        positions, time, _ = lattice_walk(0.0, rattle_A=0.4)
        positions[100:101, 3] += [3.5, 0, 0]
        assert len(find_jumps(positions, time, SETTINGS)) == 0
        positions[200:210, 3] += [4.0, 0, 0]
        there_and_back = find_jumps(positions, time, SETTINGS)
        assert there_and_back.ion.tolist() == [3, 3]

    @pytest.mark.parametrize(("distance", "count"), [(2.95, 0), (3.05, 1)])
    def test_the_3_angstrom_rule(self, distance, count):
        positions = np.zeros((100, 1, 3))
        positions[50:] = [0, distance, 0]
        assert len(find_jumps(positions, INTERVAL_FS * np.arange(100), SETTINGS)) == count

    def test_one_ion_one_frame_none(self):
        assert len(find_jumps(np.zeros((1, 1, 3)), np.zeros(1), SETTINGS)) == 0
        assert len(find_jumps(np.zeros((50, 0, 3)), INTERVAL_FS * np.arange(50), SETTINGS)) == 0

    def test_drift_is_removed(self):
        positions, time, truth = lattice_walk(2e-5, ions=10)
        framework = np.zeros((len(time), 5, 3))
        drift = np.outer(time, [1e-4, -2e-4, 3e-4])[:, None]
        whole = np.concatenate([positions, framework], axis=1) + drift
        mobile = np.arange(15) < 10
        relative = without_drift(whole, mobile, np.linspace(10, 60, 15))
        np.testing.assert_allclose(relative, positions, atol=1e-9)
        assert len(find_jumps(relative, time, SETTINGS)) == truth.sum()

    def test_gemdat_counts_the_same(self):
        """Displacements beyond the rule, as GEMDAT's trajectory gives them for unwrapped ions in a small cell."""
        from gemdat import Trajectory as Peer
        from pymatgen.core import Lattice, Species

        positions, time, truth = lattice_walk(2e-5, ions=4, frames=1500, rattle_A=0.1)
        wrapped = (positions / 14.0) % 1.0
        peer = Peer(
            species=[Species("Na")] * 4,
            coords=wrapped,
            lattice=Lattice.cubic(14.0),
            time_step=INTERVAL_FS * 1e-15,
            metadata={"temperature": 300},
        )
        distances = np.linalg.norm(14.0 * peer.cumulative_displacements, axis=2).T
        ours = np.linalg.norm(positions - positions[0], axis=2).T
        np.testing.assert_allclose(distances, ours, atol=1e-6)
        assert len(find_jumps(positions, time, SETTINGS)) == truth.sum()


class TestConcerted:
    def test_pairs_by_hand(self):
        time = np.array([0.0, 900.0, 5000.0, 6001.0, 9000.0, 9100.0])
        ion = np.array([0, 1, 2, 3, 4, 4])
        # The first two belong together; 2 and 3 are 1 fs too far apart; 4 jumps twice, alone.
        assert concerted_count(ion, time, 1.0) == 2

    def test_chance_level_of_independent_jumps(self):
        rng = np.random.default_rng(0)
        duration, jumps, window_ps = 1e6, 200, 1.0
        chance = concerted_by_chance(np.arange(jumps), np.arange(0, duration, 1.0), window_ps, rng)
        exact = jumps * (1 - (1 - 2 * window_ps * 1000 / duration) ** (jumps - 1))
        assert chance == pytest.approx(exact, rel=0.05)
        independent = concerted_count(np.arange(jumps), rng.uniform(0, duration, jumps), window_ps)
        assert abs(independent - chance) < 5 * np.sqrt(chance)

    @pytest.mark.parametrize("interval_fs", [50.0, 250.0, 500.0, 1000.0])
    def test_independent_ions_are_at_the_chance_level_however_far_apart_frames_are(self, interval_fs):
        """Ions hop at exponential times of their own; frames see the hop later."""
        rng = np.random.default_rng(21)
        time = interval_fs * np.arange(int(200_000 / interval_fs) + 1)
        excess = []
        for _ in range(60):
            positions = np.zeros((len(time), 8, 3))
            for ion in range(8):
                when = np.sort(rng.uniform(0, time[-1], rng.poisson(0.02 * time[-1] / 1000)))
                step = np.where(rng.random(len(when)) < 0.5, -4.0, 4.0)
                path = np.concatenate([[0.0], step.cumsum()])
                positions[:, ion, 0] = path[np.searchsorted(when, time, side="right")]
            jumps = find_jumps(positions, time, Diffusion())
            seen = concerted_count(jumps.ion, jumps.time_fs, 1.0)
            excess.append(seen - concerted_by_chance(jumps.ion, time, 1.0, rng, 50))
        assert abs(np.mean(excess)) < 3 * np.std(excess) / np.sqrt(len(excess))

    def test_planted_pairs_stand_out(self):
        rng = np.random.default_rng(1)
        first = rng.uniform(0, 1e7, 50)
        time = np.sort(np.concatenate([first, first + 300]))
        ion = np.arange(100)
        assert concerted_count(ion, time, 1.0) == 100
        assert concerted_by_chance(ion, np.arange(0, 1e7, 50.0), 1.0, rng) < 15


def points(counts):
    """D, its error and the counts behind it."""
    return 1e-7 * counts, 1e-7 * np.sqrt(counts), counts


def ratio_of_likelihoods(T, counts, Ea):
    """2·[max ln L − ln L(Ea)] of Poisson counts over equal ion-time, by a search over ln Γ0 and Ea."""
    inverse = 1 / (BOLTZMANN_EV_PER_K * T)

    def least(Ea_eV):
        shape = np.exp(-Ea_eV * (inverse - inverse.min()))
        mean = counts.sum() / shape.sum() * shape
        return (mean - counts * np.log(mean)).sum()

    return 2 * (least(Ea) - minimize_scalar(least, bounds=(-5, 5), method="bounded").fun)


def line_of(D, exponent=1.0, share=0.1, floor=1e-12):
    """The fit of an MSD whose slope has a relative error of `share`."""
    return LineFit(D, np.array([(share * D) ** 2, 0.0, 0.0]), exponent, 0.1, 100.0, floor)


class TestArrhenius:
    T = np.array([600.0, 800.0, 1000.0, 1200.0])

    def D(self, activation=0.25, prefactor=1e-3):
        return prefactor * np.exp(-activation / (BOLTZMANN_EV_PER_K * self.T))

    def test_exact_data(self):
        """Equal ion-time, then times that make the counts equal."""
        for time in (np.full(4, 50.0), 1e-3 / self.D()):
            counts = 1e6 * self.D() * time
            fit = fit_arrhenius(self.T, self.D(), 0.1 * self.D(), counts, SETTINGS, time)
            assert fit.fitted and (fit.n_temperatures, fit.dof) == (4, 2)
            assert fit.Ea_eV == pytest.approx(0.25, abs=1e-9) and fit.log10_D0 == pytest.approx(-3, abs=1e-9)
            assert fit.deviance == pytest.approx(0, abs=1e-9)
        fit = fit_msd(self.T, [line_of(D) for D in self.D()], SETTINGS)
        assert fit.Ea_eV == pytest.approx(0.25, abs=1e-4) and fit.log10_D0 == pytest.approx(-3, abs=1e-3)
        assert fit.deviance == pytest.approx(0, abs=1e-3) and fit.left_out == ""

    @pytest.mark.parametrize("Ea", [0.25, 0.45])
    @pytest.mark.parametrize("total", [20, 60])
    @pytest.mark.parametrize("kelvin", [(600, 800, 1000), (400, 500, 600, 800)])
    def test_intervals_hold_the_truth_as_often_as_stated(self, Ea, total, kelvin):
        """Few jumps, none in the cold: without bias; runs that cannot be fitted count as misses.

        Of 1000 runs 1.5 % are one standard deviation: at 0.68 chance alone fails the bounds once in 30 000 times.
        """
        rng, T = np.random.default_rng([total, len(kelvin), int(100 * Ea)]), np.array(kelvin, float)
        shape = np.exp(-Ea / BOLTZMANN_EV_PER_K * (1 / T - 1 / T[-1]))
        fits = []
        for counts in rng.poisson(total * shape / shape.sum(), (1000, len(T))):
            fits.append(fit_arrhenius(T, 1e-7 * counts, 1e-7 * np.sqrt(counts), counts, SETTINGS))
        inside = [abs(fit.Ea_eV - Ea) <= fit.Ea_error_eV for fit in fits]
        wide = [fit.Ea_low_eV <= Ea <= fit.Ea_high_eV for fit in fits if fit.fitted]
        assert 0.62 <= np.mean(inside) <= 0.74
        assert np.mean(wide) >= 0.92
        middle = np.median([fit.Ea_eV if fit.fitted else np.inf for fit in fits])
        assert middle == pytest.approx(Ea, abs=0.25 * np.median([fit.Ea_error_eV for fit in fits if fit.fitted]))

    def test_interval_and_deviance_against_a_search(self):
        counts = np.array([0, 3, 9, 30])
        fit = fit_arrhenius(self.T, *points(counts), SETTINGS)
        for end in (fit.Ea_low_eV, fit.Ea_high_eV):
            assert ratio_of_likelihoods(self.T, counts, end) == pytest.approx(3.841, abs=1e-3)
        mean = 10**fit.log10_D0 * np.exp(-fit.Ea_eV / (BOLTZMANN_EV_PER_K * self.T)) / 1e-7
        terms = np.where(counts > 0, counts * np.log(np.maximum(counts, 1) / mean), 0) - (counts - mean)
        assert fit.deviance == pytest.approx(2 * terms.sum()) and fit.dof == 2

    @pytest.mark.parametrize("counts", [[0, 0, 0, 0], [0, 0, 0, 9]])
    def test_jumps_at_one_temperature_refuse_and_say_so(self, counts):
        counts = np.array(counts)
        fit = fit_arrhenius(self.T, *points(counts), SETTINGS)
        assert not fit.fitted and np.isnan(fit.Ea_eV)
        assert fit.reason == f"jumps at {(counts > 0).sum()} of 4 temperatures, 2 are needed"

    def test_too_few_temperatures_refuse_and_say_so(self):
        counts, time = np.array([1, 3, 9, 30]), np.array([100.0, 100.0, 0.0, 0.0])
        fit = fit_arrhenius(self.T, *points(counts), SETTINGS, time)
        assert fit.reason == "2 of 4 temperatures can be fitted, 3 are needed"
        leads = np.array([True, True, False, False])
        fit = fit_arrhenius(self.T, *points(counts), SETTINGS, transport=leads)
        assert fit.reason == "2 of 4 temperatures can be fitted, 3 are needed, at 2 jumps make no transport"

    def test_of_the_msd_points_that_do_not_grow_as_time_are_left_out_by_name(self):
        lines = [line_of(5 * self.D()[0], exponent=0.5), *map(line_of, self.D()[1:])]
        fit = fit_msd(self.T, lines, SETTINGS)
        assert fit.fitted and fit.n_temperatures == 3 and fit.Ea_eV == pytest.approx(0.25, abs=1e-4)
        assert fit.left_out == "600 K: subdiffusive"
        fit = fit_msd(self.T, [line_of(D, exponent=0.5) for D in self.D()[:3]] + lines[3:], SETTINGS)
        assert not fit.fitted and fit.left_out == "600 K: subdiffusive, 800 K: subdiffusive, 1000 K: subdiffusive"
        assert fit.reason.startswith("1 of 4 temperatures have an MSD that is diffusive, 0 one that is not told")

    def test_of_the_msd_a_slope_that_is_not_told_from_zero_is_a_count_of_none(self):
        """Where jumps alone make the variance, the fit is that of Poisson counts."""
        counts, one = np.array([0, 3, 9, 30]), 1e-7
        lines = [line_of(one * count, share=0.0, floor=3 * one) for count in counts]
        assert [line.regime for line in lines] == ["not told from zero", *["diffusive"] * 3]
        fit, by_counts = fit_msd(self.T, lines, SETTINGS), fit_arrhenius(self.T, *points(counts), SETTINGS)
        for name in ("Ea_eV", "Ea_error_eV", "Ea_low_eV", "Ea_high_eV", "log10_D0", "deviance"):
            assert getattr(fit, name) == pytest.approx(getattr(by_counts, name), rel=2e-3), name

    def test_activation_energies_from_the_msd_of_hopping_ions_are_not_biased(self):
        """Cold trajectories of two jumps: Ea 0.35 eV; leaving those out that are not told from zero gave 0.27 eV."""
        T, frames, ions, runs = np.array([600.0, 800.0, 1000.0]), 800, 8, 24
        shape = np.exp(-0.35 / BOLTZMANN_EV_PER_K * (1 / T - 1 / T[-1]))
        fits = []
        for run in range(runs):
            lines = []
            for number, jumps in enumerate(40 * shape / shape.sum()):
                path = hoppers(jumps / (frames * ions * 20.0), ions, frames, [run, number])
                lines.append(fit_line(path, mean_squared_displacement(path), times(path), SETTINGS))
            fits.append(fit_msd(T, lines, SETTINGS, 16.0))
        fitted = [fit for fit in fits if fit.fitted]
        assert len(fitted) > 0.8 * runs
        assert abs(np.median([fit.Ea_eV for fit in fitted]) - 0.35) < 0.04
        assert np.mean([abs(fit.Ea_eV - 0.35) < fit.Ea_error_eV for fit in fitted]) > 0.45
        assert np.mean([fit.Ea_low_eV <= 0.35 <= fit.Ea_high_eV for fit in fitted]) > 0.85


class TestAnalysis:
    def trajectory(self, rate, kelvin=600.0, x=2.5, replica=0, seed=0):
        positions, time, _ = lattice_walk(rate, ions=8, frames=2500, seed=seed)
        framework = np.random.default_rng(1).normal(0, 0.1, (len(time), 4, 3))
        count = len(time)
        return Trajectory(
            numbers=np.array([11] * 8 + [8] * 4),
            positions_A=np.concatenate([positions, framework - framework.mean(axis=1, keepdims=True)], axis=1),
            cell_A=np.eye(3) * 20,
            steps=np.arange(count),
            time_fs=time,
            temperature_K=np.full(count, kelvin),
            energy_eV=np.zeros(count),
            spread_eV_A=np.full(count, 0.4),
            metadata={
                "x": x,
                "temperature_K": kelvin,
                "replica": replica,
                "mobile_ion": "Na",
                "end_reason": "completed",
            },
        )

    def test_from_trajectories_to_tables(self):
        rates = {600.0: 0.5e-5, 800.0: 1.5e-5, 1000.0: 3e-5}
        datasets = [
            analyse_trajectory(
                self.trajectory(rate, kelvin, replica=replica, seed=10 * replica + int(kelvin)), SETTINGS, 1
            )
            for kelvin, rate in rates.items()
            for replica in range(2)
        ]
        summary = summarise(datasets, SETTINGS)
        assert len(summary.trajectories) == 6 and len(summary.diffusivities) == 3 and len(summary.concerted) == 3
        row = summary.diffusivities.iloc[0]
        own = summary.trajectories.query("temperature_K == 600")
        assert row["D_jumps_cm2_s"] == pytest.approx(own["D_jumps_cm2_s"].mean())
        assert row["n_jumps"] == own["n_jumps"].sum()
        (fit,) = summary.arrhenius.to_dict("records")
        assert fit["fitted"] and fit["Ea_eV"] > 0
        assert datasets[0]["D_jumps_cm2_s"].attrs["units"] == "cm2/s"
        assert len(datasets[0]["jump_ion"]) == datasets[0]["n_jumps"].item()
        assert fit["sites_reason"].endswith("of 3 temperatures can be fitted, 3 are needed")
        assert fit["msd_fitted"] or "of 3 temperatures have an MSD that is diffusive" in fit["msd_reason"]

    def test_replicas_without_jumps_share_a_limit(self):
        datasets = [analyse_trajectory(self.trajectory(0.0, replica=replica), SETTINGS, 1) for replica in range(3)]
        row = summarise(datasets, SETTINGS).diffusivities.iloc[0]
        assert row["D_jumps_cm2_s"] == 0 and row["n_jumps"] == 0
        single = datasets[0]["D_jumps_limit_cm2_s"].item()
        assert row["D_jumps_limit_cm2_s"] == pytest.approx(single / 3)

    def test_few_jumps_of_all_replicas_are_a_limit(self):
        """One jump may be up to 4.74 of them (95 %, Poisson)."""
        assert upper_limit_of_count(0) == pytest.approx(3.0, abs=0.005)
        assert upper_limit_of_count(1) == pytest.approx(4.744, abs=0.001)
        datasets = [analyse_trajectory(self.trajectory(0.0, replica=replica), SETTINGS, 1) for replica in range(2)]
        # D of one jump is as large as its error.
        datasets[0]["n_jumps"], datasets[0]["D_jumps_cm2_s"], datasets[0]["D_jumps_error_cm2_s"] = 1, 2e-6, 2e-6
        row = summarise(datasets, SETTINGS).diffusivities.iloc[0]
        assert row["D_jumps_limit_cm2_s"] == pytest.approx(4.744e-6, rel=1e-3)
        datasets[1]["n_jumps"], datasets[1]["D_jumps_cm2_s"], datasets[1]["D_jumps_error_cm2_s"] = 1, 2e-6, 2e-6
        assert np.isnan(summarise(datasets, SETTINGS).diffusivities.iloc[0]["D_jumps_limit_cm2_s"])

    def test_cells_of_different_size_are_not_averaged(self, tmp_path):
        datasets = []
        for cell, rate, replicas in (("1x1x1", 4e-5, 2), ("2x2x2", 1e-5, 1)):
            for replica in range(replicas):
                found = analyse_trajectory(self.trajectory(rate, replica=replica, seed=replica), SETTINGS, 1)
                datasets.append(found.assign_attrs(structure=f"x2.000_preferred{replica}_{cell}"))
        table = diffusivities_by_cell(datasets, SETTINGS)
        assert table["supercell"].tolist() == ["1x1x1", "2x2x2"] and table["replicas"].tolist() == [2, 1]
        small, large = table["D_jumps_cm2_s"]
        assert large == datasets[2]["D_jumps_cm2_s"].item() and small > 2 * large
        for rows in (table, diffusivities_by_cell([], SETTINGS)):
            draw_cells(rows, Figures()).savefig(tmp_path / "cells.png")

    def test_netcdf_round_trip(self, tmp_path):
        import xarray as xr

        dataset = analyse_trajectory(self.trajectory(2e-5), SETTINGS, 1)
        dataset.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
        again = xr.load_dataset(tmp_path / "a.nc", engine="h5netcdf")
        xr.testing.assert_equal(again, dataset)

    def test_a_run_that_ended_at_once(self):
        trajectory = self.trajectory(0.0)
        for name in ("positions_A", "steps", "time_fs", "temperature_K", "energy_eV", "spread_eV_A"):
            setattr(trajectory, name, getattr(trajectory, name)[:1])
        dataset = analyse_trajectory(trajectory, SETTINGS, 1)
        assert dataset["n_jumps"].item() == 0 and dataset["duration_ps"].item() == 0.0
        summarise([dataset], SETTINGS)
