"""Trajectories of every kind, good and bad, through the files that the workflow passes on."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redoxmd.charges.oxidation import OxidationModel
from redoxmd.charges.summary import summarise_redox
from redoxmd.charges.tables import frames_to_charge
from redoxmd.config.sections import Charges, Diffusion, Structures
from redoxmd.diffusion.analysis import analyse_trajectory
from redoxmd.diffusion.line_fit import fit_line, mean_of_fits
from redoxmd.diffusion.mechanism import find_event
from redoxmd.diffusion.msd import mean_squared_displacement
from redoxmd.diffusion.scene import jump_scene
from redoxmd.errors import DataError
from redoxmd.files.trajectory import join_segments, read_trajectory, write_segment
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS
from tests.diffusion.files import INTERVAL_FS, VISITED, analysed, tables_of, trajectory_of, walk
from tests.diffusion.test_sites import NVP, nvp_trajectory
from tests.diffusion.walkers import brownian, times


@pytest.fixture(autouse=True)
def _few_pairs(monkeypatch):
    """Distinct parts of van Hove functions are not looked at here."""
    monkeypatch.setattr("redoxmd.diffusion.van_hove.MOST_PAIRS", 1000)


def of_length(frames, seed=0, rate_per_ps=0.1, **about):
    return trajectory_of(walk(rate_per_ps, 6, 2000, seed)[:frames], **about)


class TestEmpty:
    def test_no_frames_make_empty_tables_with_a_reason(self, tmp_path):
        """As a production run leaves it that ends during equilibration."""
        write_segment(tmp_path / "segment.h5", of_length(0))
        about = {**of_length(0).metadata, "end_reason": "spread_above_high"}
        join_segments([tmp_path / "segment.h5"], tmp_path / "run.h5", about)
        trajectory = read_trajectory(tmp_path / "run.h5")
        analysis = analysed(tmp_path, trajectory)
        assert analysis["n_jumps"].item() == 0 and np.isnan(analysis["D_jumps_cm2_s"].item())
        tables = tables_of(tmp_path, [analysis])
        (row,) = tables["trajectories"].to_dict("records")
        assert row["no_sites"] == "no frames (spread_above_high)" and row["end_reason"] == "spread_above_high"
        assert tables["diffusivities"].loc[0, ["replicas", "n_jumps"]].tolist() == [0, 0]
        assert all(tables[name].empty for name in ("events", "sites", "occupancy", "van_hove"))
        assert tables["arrhenius"]["reason"].item().startswith("0 of 1 temperatures")
        # Figures and charges have nothing to show, and say so by being empty.
        assert find_event([analysis], lambda _: trajectory, VISITED) is None
        assert not len(jump_scene([analysis], lambda _: trajectory).positions_A)
        assert not len(frames_to_charge(trajectory.time_fs, analysis["jump_time_fs"].to_numpy(), Charges()))

    def test_no_frames_pass_the_charges_on(self, tmp_path):
        trajectory = nvp_trajectory(frames=0)
        analysis = analysed(tmp_path, trajectory, structures=NVP)
        none, atoms = np.zeros((0, len(trajectory.numbers))), len(trajectory.numbers)
        charges = xr.Dataset(
            {
                "charge_e": (("frame", "atom"), none),
                "moment_muB": (("frame", "atom"), none),
                "positions_A": (("frame", "atom", "axis"), np.zeros((0, atoms, 3))),
                "cell_A": (("vector", "axis"), trajectory.cell_A),
            },
            {"time_fs": ("frame", np.zeros(0)), "x": 2.5, "temperature_K": 600.0, "replica": 0}
            | {"number": ("atom", trajectory.numbers)},
            {"structure": trajectory.metadata["structure"]},
        )
        mixture = {"fitted": True, "states": [3, 4], "mean": [[2.0, 1.9], [2.2, 1.0]], "weight": [0.5, 0.5]}
        mixture |= {
            "covariance": [np.eye(2) / 100] * 2,
            "background": 0.1,
            "n_atoms": 9,
            "error_covariance": np.zeros((2, 2)),
        }
        summary = summarise_redox([charges], [analysis], OxidationModel.from_record(mixture, True), NVP, Charges())
        assert summary.table["n_frames"].tolist() == [0] and summary.hops.empty and summary.states.empty

    def test_beside_a_long_replica_a_dead_one_changes_nothing(self, tmp_path):
        long = [analysed(tmp_path, of_length(2000, seed, replica=seed), name=str(seed)) for seed in (1, 2)]
        dead = [analysed(tmp_path, of_length(frames, replica=8 + frames), name=f"dead{frames}") for frames in (0, 1)]
        without, beside = (tables_of(tmp_path, part)["diffusivities"] for part in (long, [*dead, *long]))
        pd.testing.assert_frame_equal(without, beside)
        still = analysed(tmp_path, of_length(2000, rate_per_ps=0.0), name="still")
        limits = [
            tables_of(tmp_path, part)["diffusivities"]["D_jumps_limit_cm2_s"].item()
            for part in ([still], [*dead, still])
        ]
        assert limits[0] == limits[1] > 0


class TestReplicas:
    def test_counts_are_pooled_over_ion_time(self, tmp_path):
        """A short replica in which nothing happened does not halve D."""
        long, short = (analysed(tmp_path, of_length(frames), name=str(frames)) for frames in (2000, 40))
        short = short.assign_coords(replica=1)
        row = tables_of(tmp_path, [long, short])["diffusivities"].iloc[0]
        squared = sum(float(((one["jump_end_A"] - one["jump_start_A"]) ** 2).sum()) for one in (long, short))
        ion_time_fs = 6 * INTERVAL_FS * (1999 + 39)
        assert row["D_jumps_cm2_s"] == pytest.approx(squared / (6 * ion_time_fs) * CM2_PER_S_PER_A2_PER_FS)
        assert row["ion_time_ps"] == pytest.approx(ion_time_fs / 1000) and row["replicas"] == 2
        assert row["D_msd_cm2_s"] == pytest.approx(long["D_msd_cm2_s"].item(), rel=0.1)

    def test_a_replica_without_sites_leaves_d_between_sites(self, tmp_path):
        """In a short one whose ions shake widely there are none."""
        long = [analysed(tmp_path, of_length(2000, seed, replica=seed), name=str(seed)) for seed in (1, 2)]
        short = analysed(tmp_path, trajectory_of(walk(0.0, 6, 40, 5, shake_A=1.2), replica=3), name="short")
        assert short.attrs["no_sites"] and "n_site_jumps" not in short
        without, beside = (tables_of(tmp_path, part)["diffusivities"].iloc[0] for part in (long, [short, *long]))
        for name in ("n_site_jumps", "D_sites_cm2_s", "D_sites_error_cm2_s", "sites_ion_time_ps"):
            assert without[name] == beside[name] > 0, name
        assert beside["ion_time_ps"] > beside["sites_ion_time_ps"] == without["ion_time_ps"]
        alone = tables_of(tmp_path, [short])["diffusivities"].iloc[0]
        assert np.isnan(alone["D_sites_cm2_s"]) and np.isnan(alone["n_site_jumps"])

    def test_intervals_of_replicas_of_unequal_length_hold_the_truth(self):
        """D* of walkers of 800, 200 and 40 frames together, as often as stated within three deviations of a count."""
        D, seeds, inside = 2e-4, 100, 0
        for seed in range(seeds):
            paths = [brownian(D, 6, frames, 3 * seed + number) for number, frames in enumerate((800, 200, 40))]
            fits = [fit_line(path, mean_squared_displacement(path), times(path), Diffusion()) for path in paths]
            grid, weight = mean_of_fits(fits).density()
            low, high = np.interp([0.16, 0.84], weight.cumsum(), grid)
            inside += low <= D * CM2_PER_S_PER_A2_PER_FS <= high
        # The larger of own errors and scatter is stated, so above 0.68 there is no harm within reason.
        assert 0.68 - 3 * 0.047 < inside / seeds < 0.9

    def test_occupancy_is_weighted_by_time(self, tmp_path):
        here, there = np.array([2.0, 2, 2]), np.array([10.0, 2, 2])
        rng = np.random.default_rng(0)
        parts = []
        for replica, (frames, share) in enumerate(((1000, 0.5), (100, 1.0))):
            first = np.arange(frames)[:, None] < share * frames
            both = np.stack([np.where(first, here, there), np.full((frames, 3), [2.0, 10, 2])], axis=1)
            path = both + 0.1 * rng.standard_normal(both.shape)
            parts.append(analysed(tmp_path, trajectory_of(path, replica=replica), name=str(replica)))
        for number, part in enumerate(parts):
            one = part.isel(kind=[0]).assign_coords(kind=["A"])
            parts[number] = one.assign(kind_occupancy=("kind", [float(part["n_frames"])]))
        table = tables_of(tmp_path, parts)["sites"]
        assert table["occupancy"].iloc[0] == pytest.approx((1000 * 999 + 100 * 99) / (999 + 99))


class TestRefused:
    def test_wrapped_positions(self, tmp_path):
        trajectory = trajectory_of(walk(0.2, 6, 1000, 1) % 16.0)
        write_segment(tmp_path / "t.h5", trajectory)
        with pytest.raises(DataError, match=r"t\.h5: atom \d+ moves by .* its nearest image by .*unwrap them"):
            analyse_trajectory(read_trajectory(tmp_path / "t.h5"), VISITED, 1)

    def test_a_long_way_between_frames_is_none_of_the_cell(self, tmp_path):
        """An ion that goes farther than half a cell in one frame, to a place that is no image of the one before."""
        path = walk(0.0, 4, 400, 0)
        path[200:, 0, 1] += 8.4
        assert analysed(tmp_path, trajectory_of(path))["n_jumps"].item() == 1

    def test_a_time_that_is_no_number_and_a_cell_without_volume(self, tmp_path):
        time = INTERVAL_FS * np.arange(400)
        time[300] = np.nan
        write_segment(tmp_path / "t.h5", trajectory_of(walk(0.1, 4, 400, 0), time_fs=time))
        with pytest.raises(DataError, match=r"t\.h5: frames 299 and 300 are nan fs apart, others 50 fs"):
            analyse_trajectory(read_trajectory(tmp_path / "t.h5"), VISITED, 1)
        write_segment(tmp_path / "t.h5", trajectory_of(walk(0.1, 4, 400, 0), cell=np.diag([16.0, 16.0, 0.0])))
        with pytest.raises(DataError, match=r"t\.h5: the cell has no volume"):
            analyse_trajectory(read_trajectory(tmp_path / "t.h5"), VISITED, 1)

    @pytest.mark.parametrize("late", [25.0, 50.0, -60.0])
    def test_frames_at_unequal_intervals(self, tmp_path, late):
        time = INTERVAL_FS * np.arange(400)
        time[300:] += late
        write_segment(tmp_path / "t.h5", trajectory_of(walk(0.1, 4, 400, 0), time_fs=time))
        with pytest.raises(DataError, match=r"t\.h5: frames 299 and 300 are .* fs apart, others 50 fs"):
            analyse_trajectory(read_trajectory(tmp_path / "t.h5"), VISITED, 1)

    def test_times_rounded_on_writing_pass(self, tmp_path):
        time = np.round(16.6667 * np.arange(400), 3)
        assert analysed(tmp_path, trajectory_of(walk(0.1, 4, 400, 0), time_fs=time))["n_frames"].item() == 400


def test_a_second_species_that_diffuses_is_no_framework(tmp_path):
    """Na shakes in place while K diffuses: without K in the framework nothing moves; centre of mass by hand."""
    rng = np.random.default_rng(31)
    potassium = 8 + np.cumsum(rng.normal(0, np.sqrt(2 * 5e-4 * INTERVAL_FS), (3000, 6, 3)), axis=0)
    oxygen = np.repeat(np.array(list(np.ndindex(2, 2, 4)), float)[None] * 4, 3000, axis=0)
    drift = np.linspace(0, 5.0, 3000)[:, None, None]
    others = {"O": oxygen + drift, "K": potassium + drift}
    analysis = analysed(tmp_path, trajectory_of(walk(0.0, 6, 3000, 0, shake_A=0.25) + drift, others=others))
    assert analysis.attrs["diffusing_framework"] == "K"
    row = tables_of(tmp_path, [analysis])["diffusivities"].iloc[0]
    assert row["n_jumps"] == 0 and row["msd_regime"] == "not told from zero"
    assert row["D_msd_limit_cm2_s"] == pytest.approx(row["D_jumps_limit_cm2_s"], rel=1e-6)
    # Alone, without K, it is the same to rounding.
    alone = analysed(tmp_path, trajectory_of(walk(0.0, 6, 3000, 0, shake_A=0.25) + drift, others={"O": oxygen + drift}))
    assert alone.attrs["diffusing_framework"] == ""
    np.testing.assert_allclose(analysis["msd_A2"], alone["msd_A2"], atol=1e-3)


def test_a_molten_framework_has_no_sites_and_says_so(tmp_path):
    """All atoms of a real cell leave their places: no sites, no NaN, and D of the ions from their own positions."""
    trajectory = nvp_trajectory(frames=60)
    path = np.random.default_rng(4).normal(0, 0.5, trajectory.positions_A.shape).cumsum(axis=0)
    trajectory.positions_A[:] = trajectory.positions_A[0] + path
    analysis = analysed(tmp_path, trajectory, Diffusion(), NVP)
    assert analysis.attrs["diffusing_framework"].split() == ["O", "P", "V"]
    assert "every element of the framework (O, P, V) go farther than" in analysis.attrs["no_sites"]
    sodium = path[:, trajectory.numbers == 11]
    assert analysis["msd_A2"].values[1] == pytest.approx((np.diff(sodium, axis=0) ** 2).sum(axis=2).mean(), rel=1e-3)
    assert tables_of(tmp_path, [analysis])["trajectories"]["diffusing_framework"].item() == "O P V"


def test_sites_nearer_than_the_radius_are_refused_by_name(tmp_path):
    trajectory = nvp_trajectory(frames=60)
    near = analysed(tmp_path, trajectory, Diffusion(site_radius_A=3.4), NVP)
    assert near.attrs["no_sites"].startswith("sites Na2:1 and Na1:0 are 3.32 Å apart")
    assert ", nearer than diffusion.site_radius_A (3.4 Å)" in near.attrs["no_sites"]
    assert "no_sites" in tables_of(tmp_path, [near])["trajectories"] and near["n_jumps"].item() == 0
    assert analysed(tmp_path, trajectory, Diffusion(site_radius_A=1.5), NVP).attrs["no_sites"] == ""


def test_an_ion_between_sites_is_at_none_and_a_site_holds_one(tmp_path):
    """A leaves its site for good for a place that is none; B comes to that site: one ion there, one nowhere."""
    source = tmp_path / "cell.cif"
    rows = ["Na0 Na 0 0 0 1", "Na1 Na 0.5 0 0 1", "O0 O 0.25 0.5 0.5 1", "O1 O 0.75 0.5 0.5 1"]
    lengths = "".join(f"_cell_length_{axis} 16\n" for axis in "abc")
    angles = "".join(f"_cell_angle_{name} 90\n" for name in ("alpha", "beta", "gamma"))
    columns = ("label", "type_symbol", "fract_x", "fract_y", "fract_z", "occupancy")
    names = "loop_\n" + "".join(f"_atom_site_{name}\n" for name in columns)
    source.write_text(
        f"data_x\n_symmetry_space_group_name_H-M 'P 1'\n{lengths}{angles}{names}" + "\n".join(rows) + "\n"
    )
    structures = Structures(
        source=str(source),
        mobile_ion="Na",
        redox_element="O",
        formula_units=1,
        preferred_site="Na1",
        sites={"Na1": (0,), "Na2": (1,)},
        moments_muB={},
        moments_x=1.0,
    )
    path = np.zeros((2000, 2, 3))
    path[:, 1] = (8, 0, 0)
    path[500:, 0] = (0, 3.5, 0)
    path[1000:, 1] = (0.4, 0, 0)
    path += 0.2 * np.random.default_rng(8).standard_normal(path.shape)
    others = {"O": np.repeat(np.array([[[4.0, 8, 8], [12, 8, 8]]]), 2000, axis=0)}
    analysis = analysed(tmp_path, trajectory_of(path, others=others), Diffusion(), structures)
    assert analysis.attrs["no_sites"] == ""
    tables = tables_of(tmp_path, [analysis], Diffusion())
    mean = dict(zip(tables["sites"]["kind"], tables["sites"]["occupancy"], strict=True))
    assert mean == {"Na1": pytest.approx(0.75), "Na2": pytest.approx(0.5)}
    end = tables["occupancy"].sort_values("time_ps").groupby("kind")["occupancy"].last()
    assert end.to_dict() == {"Na1": 1.0, "Na2": 0.0}
    assert tables["trajectories"]["at_no_site_fraction"].item() == pytest.approx(0.375)


def test_counts_are_whole_and_what_is_missing_is_empty(tmp_path):
    """In the text of the files: no 12.0, no −1, no nan; also where one trajectory has no sites."""
    path = walk(0.2, 6, 1000, 0)
    liquid = np.random.default_rng(0).normal(0, 0.3, (400, 6, 3)).cumsum(axis=0)
    known = analysed(tmp_path, trajectory_of(path), name="known")
    unknown = analysed(tmp_path, trajectory_of(liquid, replica=1, temperature_K=900.0), name="unknown")
    assert unknown.attrs["no_sites"]
    tables_of(tmp_path, [known, unknown])
    for name in ("trajectories", "diffusivities", "events", "concerted"):
        table = pd.read_csv(tmp_path / f"{name}.csv", dtype=str, keep_default_na=False)
        assert not table.isin(["nan", "NaN", "<NA>", "-1"]).any(axis=None)
        whole = [column for column in table if column.startswith("n_") and not column.endswith("_chance")]
        for column in [*whole, *({"replicas", "replica", "exchange", "number", "ion"} & set(table))]:
            assert table[column].str.fullmatch(r"\d*").all(), column
    with_sites = pd.read_csv(tmp_path / "diffusivities.csv", dtype=str, keep_default_na=False)["n_site_jumps"]
    assert with_sites.iloc[0].isdigit() and with_sites.iloc[1] == ""
    assert (pd.read_csv(tmp_path / "trajectories.csv")["structure"] == "x2.000_random0_1x1x1").all()


def test_every_variable_carries_its_own_unit(tmp_path):
    """By hand: a length is in Å, its inverse in 1/Å, a force in eV/Å, whatever the names end in."""
    analysis = analysed(tmp_path, trajectory_of(walk(0.2, 6, 400, 0)))
    expected = {
        "van_hove_self_per_A": "1/angstrom",
        "van_hove_distance_A": "angstrom",
        "max_spread_eV_A": "eV/angstrom",
        "msd_A2": "angstrom2",
        "D_msd_low_cm2_s": "cm2/s",
        "D_jumps_axis_cm2_s": "cm2/s",
        "site_rate_per_ps": "1/ps",
        "duration_ps": "ps",
        "jump_time_fs": "fs",
        "mean_temperature_K": "K",
    }
    assert {name: analysis[name].attrs["units"] for name in expected} == expected
    assert "v1 in cm2/s" in analysis["D_msd_variance"].attrs["long_name"]
    # None is left out: what has no unit is a count, a number of a site, a share, a name or an exponent.
    bare = {str(name) for name in analysis.variables if "units" not in analysis[name].attrs}
    assert not [name for name in bare if name.rsplit("_", 1)[-1] in ("A", "A2", "K", "fs", "ps", "s", "eV")]
