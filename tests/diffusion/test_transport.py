"""Jumps that lead somewhere and jumps that do not."""

import numpy as np
import pytest

from redoxmd.diffusion.analysis import analyse_trajectory, averages
from redoxmd.diffusion.correlation import jump_correlation
from redoxmd.diffusion.jumps import Jumps
from redoxmd.units import CM2_PER_S_PER_A2_PER_FS
from tests.diffusion.files import VISITED, analysed, tables_of, trajectory_of, walk

FRAMES = 3000
RUNS = 12


@pytest.fixture(autouse=True)
def _few_pairs(monkeypatch):
    """Van Hove functions are not looked at here."""
    monkeypatch.setattr("redoxmd.diffusion.van_hove.MOST_PAIRS", 1000)


HOMES = 4.0 * np.array([[0, i % 4, i // 4] for i in range(8)])


def rattlers(rate_per_ps, seed=0, frames=FRAMES):
    """Ions that hop for ever between two sites, 3.5 Å apart: D = 0."""
    rng = np.random.default_rng(seed)
    flips = rng.random((frames, len(HOMES))) < rate_per_ps * 0.05
    positions = np.zeros((frames, len(HOMES), 3))
    positions[..., 0] = 3.5 * (flips.cumsum(axis=0) % 2)
    return HOMES + positions + 0.2 * rng.standard_normal(positions.shape)


def test_two_site_rattlers_are_a_limit_and_make_no_activation_energy(tmp_path):
    rates = {600.0: 0.1, 800.0: 0.2, 1000.0: 0.3}
    found = [
        analysed(tmp_path, trajectory_of(rattlers(rate), temperature_K=kelvin), name=str(kelvin))
        for kelvin, rate in rates.items()
    ]
    tables = tables_of(tmp_path, found)
    table = tables["diffusivities"]
    assert (table["D_jumps_cm2_s"] > 1e-5).all() and (table["n_jumps"] > 100).all()
    for name in ("jumps", "sites"):
        assert table[f"{name}_no_transport"].str.contains("the MSD is not told from zero and allows less").all()
        np.testing.assert_allclose(table[f"D_{name}_limit_cm2_s"], table["D_msd_limit_cm2_s"])
    assert (table["correlation_high"] < 0.1).all() and (table["jump_correlation"] < 0.1).all()
    (fit,) = tables["arrhenius"].to_dict("records")
    assert not fit["fitted"] and not fit["sites_fitted"]
    assert fit["reason"] == "0 of 3 temperatures can be fitted, 3 are needed, at 3 jumps make no transport"


@pytest.mark.parametrize("rate_per_ps", [0.001, 0.01, 0.1])
def test_free_walkers_are_hardly_ever_taken_for_rattlers(rate_per_ps):
    """Of 12 runs of each rate one at most, and where they jump often the interval of f holds 1.

    The files of such runs are those of the other tests; writing and reading them would take most of the time here.
    """
    flagged, held = 0, 0
    for seed in range(RUNS):
        analysis = analyse_trajectory(trajectory_of(walk(rate_per_ps, 12, 2000, seed)), VISITED, 1)
        row = averages([analysis], VISITED)[1].iloc[0]
        flagged += row["jumps_no_transport"] != ""
        held += row["correlation_low"] < 1 < row["correlation_high"]
    assert flagged <= 1
    assert rate_per_ps < 0.1 or held >= 9


@pytest.mark.parametrize("back", [0.5, 0.75, 0.9])
def test_factor_of_a_walk_that_remembers(back):
    """Jumps to and fro along a line, back with probability b: f = (1 + ⟨cos⟩)/(1 − ⟨cos⟩), ⟨cos⟩ = 1 − 2b."""
    rng = np.random.default_rng(1)
    jumps, ions = 400, 200
    turns = np.where(rng.random((ions, jumps)) < back, -1.0, 1.0)
    vector = np.zeros((ions * jumps, 3))
    vector[:, 1] = 3.4 * np.cumprod(turns, axis=1).ravel()
    ion, zero = np.repeat(np.arange(ions), jumps), np.zeros((ions * jumps, 3))
    factor, error = jump_correlation([Jumps(ion, np.arange(ions * jumps) * 1.0, zero, vector)])
    assert 0 < error < 0.25 * factor
    assert abs(factor - (1 - back) / back) < 3 * error


def test_no_jump_has_no_factor(tmp_path):
    row = tables_of(tmp_path, [analysed(tmp_path, trajectory_of(walk(0.0, 4, 500, 0)))])["diffusivities"].iloc[0]
    assert np.isnan(row["jump_correlation"]) and np.isnan(row["correlation_factor"])


def test_an_ion_that_moves_along_one_axis_has_its_d_there(tmp_path):
    """As in LiFePO4: D along x is three times the mean over the axes, D across is none."""
    rate, ions = 0.2, 10
    analysis = analysed(tmp_path, trajectory_of(walk(rate, ions, FRAMES, 4, axes=1)))
    row = tables_of(tmp_path, [analysis])["diffusivities"].iloc[0]
    true = 16 * rate / 1000 / 2 * CM2_PER_S_PER_A2_PER_FS
    assert row["D_jumps_x_cm2_s"] == pytest.approx(true, rel=0.2)
    assert row["D_msd_x_cm2_s"] == pytest.approx(true, rel=0.5)
    for name in ("jumps", "msd"):
        assert max(row[f"D_{name}_{axis}_cm2_s"] for axis in "yz") < 0.05 * true
    mean = np.mean([row[f"D_jumps_{axis}_cm2_s"] for axis in "xyz"])
    assert mean == pytest.approx(row["D_jumps_cm2_s"])
