import json

import numpy as np
import pytest

from redoxmd.charges.oxidation import OxidationModel, assign_states, fit_oxidation
from redoxmd.errors import OneOxidationState, RedoxmdError
from redoxmd.files.records import plain

MEAN = np.array([[2.01, 1.89], [2.22, 1.09]])
SPREAD = np.array([0.025, 0.04])
MEAN_E = 0.01  # of 60 and 40 atoms: 0.025/√40, twice


def mixture(lower=60, higher=40, seed=0, spread=SPREAD):
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1], [lower, higher])
    data = MEAN[truth] + spread * rng.standard_normal((len(truth), 2))
    return data[:, 0], data[:, 1] * rng.choice([-1, 1], len(truth)), truth


class TestFit:
    def test_known_mixtures_are_recovered(self):
        charge, moment, truth = mixture()
        model = fit_oxidation(charge, moment)
        np.testing.assert_allclose(model.mean[:, 0], MEAN[:, 0], atol=MEAN_E)
        np.testing.assert_allclose(model.mean[:, 1], MEAN[:, 1], atol=2 * MEAN_E)
        np.testing.assert_allclose(model.weight, [0.6, 0.4], atol=0.02)
        np.testing.assert_array_equal(model.probability(charge, moment) > 0.5, truth == 1)
        assert model.agrees(charge, moment).mean() > 0.98

    @pytest.mark.parametrize("higher", [5, 8, 95])
    def test_a_rare_state_counts(self, higher):
        charge, moment, truth = mixture(100 - higher, higher)
        model = fit_oxidation(charge, moment)
        np.testing.assert_array_equal(model.probability(charge, moment) > 0.5, truth == 1)

    def test_the_order_of_the_data_does_not_matter(self):
        charge, moment, _ = mixture()
        order = np.random.default_rng(1).permutation(len(charge))
        one, other = fit_oxidation(charge, moment), fit_oxidation(charge[order], moment[order])
        np.testing.assert_allclose(one.mean, other.mean, rtol=1e-9)
        assert plain(fit_oxidation(charge, moment)) == plain(one)

    def test_an_artefact_drags_no_state_and_is_not_sure_of_itself(self):
        charge, moment, _ = mixture(33, 22)
        clean = fit_oxidation(charge, moment)
        dirty = fit_oxidation(np.append(charge, 1.72), np.append(moment, 1.88))
        np.testing.assert_allclose(dirty.mean, clean.mean, atol=1e-3)
        np.testing.assert_allclose(dirty.covariance, clean.covariance, atol=1e-4)
        assert 0.2 < dirty.probability(1.72, 1.88) < 0.8

    def test_exact_charges_keep_a_floor(self):
        model = fit_oxidation(np.repeat([2.0, 2.25], 10), np.repeat([2.0, 1.0], 10))
        assert model.probability(2.02, 1.95) < 0.01
        assert model.probability(2.23, 1.05) > 0.99

    def test_without_moments_the_charge_decides(self):
        charge, _, truth = mixture(spread=np.array([0.02, 0.04]))
        for nothing in (np.zeros(100), np.full(100, np.nan)):
            model = fit_oxidation(charge, nothing)
            assert model.mean.shape == (2, 1)
            assert ((model.probability(charge, nothing) > 0.5) == (truth == 1)).mean() > 0.98
            assert model.agrees(charge, nothing).all()

    def test_lost_basins_are_left_out(self):
        charge, moment, _ = mixture()
        model = fit_oxidation(np.append(charge, np.nan), np.append(moment, np.nan))
        assert model.n_atoms == 100
        assert np.isnan(model.probability(np.nan, np.nan))
        assert not model.agrees(np.nan, np.nan)

    def test_disagreement_is_flagged(self):
        charge, moment, _ = mixture()
        model = fit_oxidation(charge, moment)
        assert not model.agrees(2.03, 1.10)
        np.testing.assert_array_equal(model.agrees(np.array([[2.0, 2.2]]), np.array([[1.9, -1.1]])), [[True, True]])

    def test_it_survives_json(self):
        charge, moment, _ = mixture()
        model = fit_oxidation(charge, moment)
        back = OxidationModel.from_record(json.loads(json.dumps(plain(model))))
        np.testing.assert_array_equal(back.probability(charge, moment), model.probability(charge, moment))
        assert back.states == (3, 4)


class TestRefusal:
    @pytest.mark.parametrize("seed", range(5))
    @pytest.mark.parametrize("n", [12, 60, 400])
    def test_one_state_is_refused(self, n, seed):
        charge, moment, _ = mixture(n, 0, seed)
        with pytest.raises(OneOxidationState) as caught:
            fit_oxidation(charge, moment)
        assert "3+ and 4+" in str(caught.value)
        assert isinstance(caught.value, RedoxmdError)

    def test_an_artefact_is_no_second_state(self):
        charge, moment, _ = mixture(40, 0)
        with pytest.raises(OneOxidationState):
            fit_oxidation(np.append(charge, 1.72), np.append(moment, 1.88))

    def test_a_broad_or_lopsided_state_is_one(self):
        rng = np.random.default_rng(2)
        for charge in (rng.uniform(1.95, 2.1, 200), 1.95 + 0.03 * rng.exponential(size=200)):
            with pytest.raises(OneOxidationState):
                fit_oxidation(charge, np.zeros(200))

    def test_too_few(self):
        with pytest.raises(OneOxidationState, match="too few"):
            fit_oxidation(np.array([2.0, 2.2, np.nan]), np.array([2.0, 1.0, np.nan]))


def column(*probabilities):
    return np.array(probabilities, dtype=float)[:, None]


class TestHysteresis:
    @pytest.mark.parametrize("seed", range(3))
    def test_a_noisy_telegraph_signal(self, seed):
        rng = np.random.default_rng(seed)
        truth = np.zeros((400, 3), dtype=int)
        for atom in range(3):
            for frame in rng.choice(np.arange(20, 390, 15), 6, replace=False):
                truth[frame:, atom] = 1 - truth[frame:, atom]
        noisy = np.clip(truth + 0.12 * rng.standard_normal(truth.shape), 0, 1)
        wrong = rng.random(truth.shape) < 0.02
        noisy[wrong] = 0.5
        np.testing.assert_array_equal(np.diff(truth, axis=0).any(axis=1).sum() > 0, True)
        found = assign_states(noisy, np.arange(400) * 10.0, persistence_fs=50.0)
        assert (found != truth).mean() < 0.01
        np.testing.assert_array_equal(
            np.abs(np.diff(found, axis=0)).sum(axis=0), np.abs(np.diff(truth, axis=0)).sum(axis=0)
        )

    def test_excursions_and_half_hearted_frames_are_no_change(self):
        time = np.arange(8) * 10.0
        assert not assign_states(column(0, 0, 1, 1, 0, 0, 0.7, 0.7), time, persistence_fs=20).any()
        assert assign_states(column(1, 1, 0.3, 0.4, 0.5, 0.3, 1, 1), time, persistence_fs=20).all()

    def test_the_change_is_dated_to_its_first_frame(self):
        found = assign_states(column(0, 0, 0, 0.9, 0.6, 0.9, 1, 1), np.arange(8) * 10.0, persistence_fs=20)
        assert found[:, 0].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]

    def test_time_counts_not_frames(self):
        probability = column(0, 0, 0, 1, 1, 1)
        assert assign_states(probability, np.array([0.0, 100, 200, 300, 310, 320]), persistence_fs=50).sum() == 0
        assert assign_states(probability, np.array([0.0, 100, 200, 300, 310, 350]), persistence_fs=50).sum() == 3

    def test_gaps_carry_the_last_state(self):
        nan = np.nan
        found = assign_states(column(nan, 1, 1, nan, nan, 0, nan, 0), np.arange(8) * 10.0, persistence_fs=10)
        assert found[:, 0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
        assert assign_states(column(nan, nan), np.arange(2.0)).tolist() == [[-1], [-1]]
        assert assign_states(column(0.6, 0.6), np.arange(2.0)).tolist() == [[1], [1]]

    def test_nothing_in_nothing_out(self):
        assert assign_states(np.zeros((0, 4)), np.zeros(0)).shape == (0, 4)
        assert assign_states(np.zeros((5, 0)), np.arange(5.0)).shape == (5, 0)
