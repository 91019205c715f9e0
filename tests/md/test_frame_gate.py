import numpy as np
import pytest

from redoxmd.md.frame_gate import GateOutcome, Guard, classify_spread, conformal_factor, frame_spread
from redoxmd.model.ensemble import force_spread
from redoxmd.model.neighbours import find_pairs


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        (0.0, GateOutcome.GO_ON),
        (0.999, GateOutcome.GO_ON),
        (1.0, GateOutcome.CANDIDATE),
        (1.001, GateOutcome.CANDIDATE),
        (4.999, GateOutcome.CANDIDATE),
        (5.0, GateOutcome.CANDIDATE),
        (5.001, GateOutcome.STOP),
        (float("nan"), GateOutcome.STOP),
        (float("inf"), GateOutcome.STOP),
        (-float("inf"), GateOutcome.STOP),
    ],
)
def test_gate_boundaries(spread, expected):
    assert classify_spread(spread, 1.0, 5.0) is expected


def test_empty_frame_stops():
    assert classify_spread(frame_spread(np.array([])), 1.0, 5.0) is GateOutcome.STOP


@pytest.mark.parametrize("statistic", ["max", "mean"])
def test_one_bad_atom_spoils_the_frame(statistic):
    spread = np.array([0.1, np.nan, 0.2])
    assert classify_spread(frame_spread(spread, statistic), 1.0, 5.0) is GateOutcome.STOP


def test_statistics():
    spread = np.array([1.0, 2.0, 6.0])
    assert frame_spread(spread, "max") == 6.0
    assert frame_spread(spread, "mean") == 3.0


def test_spread_definition():
    """σ_i = sqrt(Σ_m |F_i^m − F̄_i|²/(M − 1)), by hand for two members and three."""
    forces = np.zeros((2, 1, 3))
    forces[0, 0] = [1, 0, 0]
    forces[1, 0] = [-1, 0, 0]
    assert force_spread(forces)[0] == pytest.approx(np.sqrt(2))
    random = np.random.default_rng(0).standard_normal((4, 5, 3))
    expected = np.sqrt(random.var(axis=0, ddof=1).sum(axis=1))
    np.testing.assert_allclose(force_spread(random), expected)


def test_spread_grows_with_one_deviating_member():
    forces = np.zeros((4, 2, 3))
    forces[3, 1] = [0, 0, 3.0]
    np.testing.assert_allclose(force_spread(forces), [0.0, 1.5])


def test_one_member_has_no_spread():
    with pytest.raises(ValueError, match="two members"):
        force_spread(np.zeros((1, 3, 3)))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_spread_passes_bad_forces_on(bad):
    forces = np.zeros((3, 2, 3))
    forces[1, 0, 2] = bad
    assert not np.isfinite(force_spread(forces)[0])


def guarded(distance_A=2.0, force=0.0, temperature_K=300.0):
    positions = np.array([[0, 0, 0], [0, 0, distance_A]])
    cell = np.eye(3) * 20
    pairs = find_pairs(positions, cell, np.ones(3, bool), 5.0)
    guard = Guard(np.array([8, 15]), 0.6, 1000.0)
    return guard.reason(positions, np.full((2, 3), force), pairs, cell, temperature_K)


def test_the_conformal_factor_covers_as_many_as_it_says():
    """Of 19 ratios the 18th covers nine tenths of further ones, whatever their distribution."""
    rng = np.random.default_rng(1)
    ratios = np.sort(rng.exponential(size=(4000, 19)), axis=1)
    further = rng.exponential(size=4000)
    covered = np.mean([new <= conformal_factor(row, 0.9) for row, new in zip(ratios, further, strict=True)])
    # Three standard errors of the share: 0.014.
    assert covered == pytest.approx(0.9, abs=0.014)
    assert conformal_factor([1.0, 2.0, 5.0], 0.5) == 2.0
    assert conformal_factor([1.0, 2.0, 5.0], 0.75) == 5.0
    assert conformal_factor([1.0, 2.0, 5.0], 0.9) == conformal_factor([], 0.1) == np.inf


def test_guard():
    limit_A = 0.6 * (0.66 + 1.07)
    assert guarded() is None
    assert guarded(distance_A=limit_A + 0.01) is None
    assert guarded(distance_A=limit_A - 0.01) == "close_contact"
    assert guarded(force=np.nan) == "not_finite"
    assert guarded(temperature_K=1000.1) == "temperature_runaway"
    assert guarded(temperature_K=np.nan) == "not_finite"
