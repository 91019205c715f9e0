"""Van Hove functions of walkers whose distribution is known."""

import itertools

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.van_hove import distinct_part, lags_within, self_part, van_hove_table, van_hove_variables
from tests.diffusion.walkers import INTERVAL_FS, SITE_A, brownian, hoppers, times

D_A2_FS = 1e-3
TRICLINIC_A = np.array([[9.0, 0.0, 0.0], [3.0, 8.5, 0.0], [-2.0, 2.5, 9.5]])


def test_self_part_of_gaussian_walkers():
    positions, lags = brownian(D_A2_FS, 200, 1200, 0), np.array([10, 40])
    distance, found = self_part(positions, lags)
    for lag, density in zip(lags, found, strict=True):
        width = 4 * D_A2_FS * lag * INTERVAL_FS
        exact = 4 * np.pi * distance**2 * (np.pi * width) ** -1.5 * np.exp(-(distance**2) / width)
        assert density.sum() * 0.1 == pytest.approx(1)
        assert exact.sum() * 0.1 == pytest.approx(1, abs=1e-3)
        # The largest distance of two distributions; 200 ions × 30 independent windows of the longer lag.
        assert np.abs(np.cumsum(density - exact) * 0.1).max() < 0.02


def test_jumps_are_a_maximum_at_their_length():
    distance, found = self_part(hoppers(1e-5, 60, 2000, 0, rattle_A=0.1), np.array([200]))
    beyond = distance > 2
    assert distance[beyond][found[0][beyond].argmax()] == pytest.approx(SITE_A, abs=0.2)


def test_lags_are_those_asked_for_within_the_trajectory():
    time_fs = 10.0 * np.arange(1001)
    assert lags_within((1.0, 2.0, 100.0, 0.001), time_fs).tolist() == [1, 100, 200, 500]
    assert lags_within((1.0, 10.0), time_fs[:2]).tolist() == [1]


class TestDistinct:
    distance = np.arange(0.05, 5, 0.1)

    def test_an_ideal_gas_has_one_everywhere(self):
        positions = np.random.default_rng(0).random((300, 30, 3)) @ TRICLINIC_A
        found = distinct_part(positions, np.array([1]), TRICLINIC_A, self.distance)[0]
        inside = np.isfinite(found)
        assert 30 < inside.sum() < len(found)
        expected = 300 * 30 * 29 * 4 * np.pi * self.distance**2 * 0.1 / np.linalg.det(TRICLINIC_A)
        pulls = (found - 1)[inside] * np.sqrt(expected[inside])
        assert np.abs(pulls).max() < 4.5

    def test_triclinic_images_by_hand(self):
        rng = np.random.default_rng(1)
        places = rng.random((5, 3)) @ TRICLINIC_A
        still = np.repeat(places[None], 4, axis=0) + TRICLINIC_A.sum(axis=0) * np.array([0, 1, -2, 3])[:, None, None]
        found = distinct_part(still, np.array([1]), TRICLINIC_A, self.distance)[0]
        shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ TRICLINIC_A
        lengths = [
            np.linalg.norm(places[j] - places[i] + shifts, axis=1).min() for i, j in itertools.permutations(range(5), 2)
        ]
        edges = np.append(self.distance - 0.05, self.distance[-1] + 0.05)
        counts = np.histogram(lengths, edges)[0]
        shell = 4 / 3 * np.pi * np.diff(edges**3)
        exact = counts / (20 * shell / np.linalg.det(TRICLINIC_A))
        inside = np.isfinite(found)
        np.testing.assert_allclose(found[inside], exact[inside], rtol=1e-9)

    def test_ions_that_take_each_others_places_are_seen_at_the_origin(self):
        corners = np.array([[0, 0, 0], [4, 0, 0], [4, 4, 0], [0, 4, 0]], dtype=float)
        positions = np.array([corners[(np.arange(4) + step) % 4] for step in range(8)])
        after_one, after_four = distinct_part(positions, np.array([1, 4]), 12 * np.eye(3), self.distance)
        assert after_one[0] > 100 and after_four[0] == 0

    def test_one_ion_has_none(self):
        assert np.isnan(distinct_part(np.zeros((5, 1, 3)), np.array([1]), np.eye(3), self.distance)).all()


def dataset(positions, replica=0, x=2.0):
    variables = van_hove_variables(positions, times(positions), 50 * np.eye(3), Diffusion(van_hove_lags_ps=(1.0,)))
    length = {"n_ions": positions.shape[1], "duration_ps": float(np.ptp(times(positions))) / 1000}
    return xr.Dataset(variables | length, coords={"x": x, "temperature_K": 600.0, "replica": replica})


def test_replicas_are_averaged_where_one_went_farther():
    near, far = np.zeros((200, 3, 3)), brownian(0.05, 3, 200, 0)
    table = van_hove_table([dataset(near), dataset(far, 1), dataset(far, 0, x=3.0)])
    both, alone = table[table["x"] == 2], table[table["x"] == 3]
    assert both["self_per_A"].sum() * 0.1 == pytest.approx(1) and set(both["replicas"]) == {2}
    assert both["self_per_A"].iloc[0] == pytest.approx(5, rel=0.01)
    np.testing.assert_allclose(both["self_per_A"].iloc[1:], alone["self_per_A"].iloc[1:] / 2, atol=1e-9)
    assert len(both) == len(alone) and both["distance_A"].max() > 10


def test_replicas_count_by_their_ion_time():
    near, far = np.zeros((200, 3, 3)), brownian(0.05, 3, 1000, 0)
    table = van_hove_table([dataset(near), dataset(far, 1)])
    # 3 · 199 of 3 · 1198 ion intervals are those of ions that stay in the first bin, 0.1 Å wide.
    assert table["self_per_A"].iloc[0] == pytest.approx(10 * 199 / 1198, rel=0.01)


def test_a_trajectory_without_frames_or_ions_has_none():
    for positions in (np.zeros((1, 3, 3)), np.zeros((50, 0, 3))):
        assert van_hove_variables(positions, times(positions), np.eye(3), Diffusion()) == {}
    table = van_hove_table([xr.Dataset()])
    assert isinstance(table, pd.DataFrame) and table.empty and "self_per_A" in table
