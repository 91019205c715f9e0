"""Oxidation states from moments, against exhaustive enumeration and the moments of real DFT frames."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from redoxmd.electrons.states import OxidationLevels, assign_oxidation, judge_state
from redoxmd.errors import ConfigError, DataError, LabelRefused, StructureError

FRAMES = Path(__file__).parents[2] / "tests/data/nvp-loose/frames.extxyz"
NVP = OxidationLevels({"V": {3: 1.85, 4: 1.05, 5: 0.03}}, {"Na": 1, "P": 5, "O": -2})
NICKEL_MANGANESE = OxidationLevels({"Ni": {2: 1.7, 3: 0.9, 4: 0.1}, "Mn": {3: 3.8, 4: 3.0}}, {"Li": 1, "O": -2})


def enumerated(symbols, moments, levels):
    """All neutral assignments by cost, by trying every one."""
    charge = sum(levels.fixed.get(symbol, 0) for symbol in symbols)
    redox = [i for i, symbol in enumerate(symbols) if symbol in levels.moments_muB]
    found = []
    for states in itertools.product(*(levels.moments_muB[symbols[i]] for i in redox)):
        if charge + sum(states) == 0:
            heights = [levels.moments_muB[symbols[i]][state] for i, state in zip(redox, states, strict=True)]
            found.append((float(((np.abs(moments[redox]) - heights) ** 2).sum()), states))
    return redox, sorted(found)


@pytest.mark.parametrize("seed", range(20))
def test_the_assignment_is_the_cheapest_of_all_neutral_ones_and_the_margin_that_to_the_next(seed):
    rng = np.random.default_rng(seed)
    symbols = ["Li"] * int(rng.integers(0, 7)) + ["Ni"] * 3 + ["Mn"] * 3 + ["O"] * 12
    symbols = list(rng.permutation(symbols))
    moments = rng.uniform(-4, 4, len(symbols))
    redox, found = enumerated(symbols, moments, NICKEL_MANGANESE)
    if not found:
        with pytest.raises(StructureError, match="neutral"):
            assign_oxidation(symbols, moments, NICKEL_MANGANESE)
        return
    got = assign_oxidation(symbols, moments, NICKEL_MANGANESE)
    assert tuple(got.oxidation[redox]) == found[0][1]
    assert np.delete(got.oxidation, redox).tolist() == [0] * (len(symbols) - len(redox))
    assert got.margin_muB2 == pytest.approx(found[1][0] - found[0][0] if len(found) > 1 else np.inf, abs=1e-12)
    assert (got.deviations_muB**2).sum() == pytest.approx(found[0][0])


def test_equal_moments_still_give_a_neutral_assignment_without_a_margin():
    symbols = ["Na"] * 5 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24
    got = assign_oxidation(symbols, np.full(39, 1.5), NVP)
    assert sorted(got.oxidation[got.oxidation > 0]) == [3, 3, 3, 4]
    assert got.margin_muB2 == pytest.approx(0.0, abs=1e-12)


def test_a_composition_that_cannot_be_neutral_is_named_with_its_sums():
    symbols = ["Na"] * 9 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24
    with pytest.raises(StructureError, match=r"sum to \+9, and can to \+12 … \+20"):
        assign_oxidation(symbols, np.zeros(43), NVP)


def test_an_element_without_an_oxidation_number_is_named():
    with pytest.raises(ConfigError, match="F has no oxidation number"):
        assign_oxidation(["V", "F"], np.array([1.8, 0.0]), NVP)


def refusal(moments, total):
    frame = ["Na"] * 4 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24
    values = np.zeros(38)
    values[4:8] = moments
    values[-1] = total - sum(moments)
    with pytest.raises(LabelRefused) as caught:
        judge_state(frame, values, total, NVP)
    assert caught.value.reason == "wrong_electronic_state"
    return caught.value.detail


def test_the_refusal_says_what_was_found_and_what_neutrality_asks_for():
    """The moments of the frame x2.00_o1, step 10, of the starter data."""
    words = refusal([1.11, 1.84, 1.85, 1.86], 6.37)
    assert words.startswith("one V4+ and -0.3 μB on the other atoms; neutrality asks for two V4+")
    assert "total moment 6.37 μB is not an integer" in words


def test_a_moment_between_the_levels_is_refused():
    assert "|moment| 1.40 μB on V 4" in refusal([1.40, 1.1, 1.79, 1.82], 6.0)


def test_v5_beside_v3_is_a_state_of_its_own_where_it_is_allowed():
    symbols, moments = ["Na"] * 4 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24, np.zeros(38)
    moments[4:8] = [0.03, 1.77, 1.85, 1.89]
    assert judge_state(symbols, moments, None, NVP).oxidation[4:8].tolist() == [5, 3, 3, 3]
    two_states = OxidationLevels({"V": {3: 1.85, 4: 1.05}}, NVP.fixed)
    with pytest.raises(LabelRefused, match=r"one V4\+ .* neutrality asks for two V4\+; .*0.03 μB on V 4"):
        judge_state(symbols, moments, None, two_states)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_moments_that_are_no_numbers_are_refused(value):
    symbols, moments = ["Na"] * 4 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24, np.full(38, value)
    with pytest.raises(DataError):
        assign_oxidation(symbols, moments, NVP)
    # A label is refused, so that its run or its data set goes on without it.
    with pytest.raises(LabelRefused, match="wrong_electronic_state"):
        judge_state(symbols, moments, None, NVP)


def test_real_frames_of_dft_md():
    """Of 190 frames, those whose V moments (read by ASE) do not show as many V4+ as there are Na missing from x = 3."""
    wrong, refused = set(), set()
    for frame in read(FRAMES, ":"):
        symbols, moments = frame.get_chemical_symbols(), frame.get_magnetic_moments()
        vanadium = np.abs([moments[i] for i in range(len(frame)) if symbols[i] == "V"])
        name = (frame.info["config_id"], frame.info["step"])
        if (vanadium < 1.45).sum() != 6 - symbols.count("Na"):
            wrong.add(name)
        try:
            found = judge_state(symbols, moments, frame.info["total_moment_muB"], NVP)
        except LabelRefused:
            refused.add(name)
        else:
            assert (found.oxidation == 4).sum() == 6 - symbols.count("Na")
            assert found.margin_muB2 > 0.3
    assert wrong <= refused
    assert {name for name, _ in refused} == {"x1.00_o0", "x1.50_o0", "x2.00_o0", "x2.00_o1"}
    assert (len(wrong), len(refused)) == (30, 35)
