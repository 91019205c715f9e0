import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from redoxmd.config.sections import Select
from redoxmd.model.ensemble import Ensemble
from redoxmd.select import farthest_points, geometry_hash, select
from tests.conftest import rock
from tests.test_ensemble import members

TOLERANCE_A = 0.05


def candidate(seed, spread=1.5):
    atoms = rock(seed)
    atoms.info = {"structure": "s", "step": seed, "spread_eV_A": spread}
    return atoms


@pytest.fixture(scope="module")
def ensemble():
    return Ensemble(members())


def test_budget_and_reasons(ensemble):
    frames = [candidate(seed, spread=1 + seed / 10) for seed in range(8)]
    chosen = select([*frames, candidate(3)], [candidate(5)], ensemble, Select(budget=3), 2)
    assert len(chosen.frames) == 3
    assert [frame.info["label_id"] for frame in chosen.frames] == ["g2f000", "g2f001", "g2f002"]
    reasons = [row["reason"] for row in chosen.refused]
    assert sorted(set(reasons)) == ["already_labelled", "duplicate", "over_budget"]
    assert (reasons.count("already_labelled"), reasons.count("duplicate")) == (1, 1)
    assert len(chosen.frames) + len(chosen.refused) == 9


def test_the_most_uncertain_comes_first(ensemble):
    chosen = select([candidate(0, 1.1), candidate(1, 4.2), candidate(2, 2.0)], [], ensemble, Select(budget=2), 0)
    assert chosen.frames[0].info["step"] == 1


def test_precursors_of_unforeseen_ends_come_first(ensemble):
    frames = [candidate(0, 4.0), candidate(1, 0.2), candidate(2, 0.3), candidate(3, 2.0)]
    frames[1].info["ended"] = frames[2].info["ended"] = "close_contact"
    chosen = select(frames, [], ensemble, Select(budget=3), 0)
    assert {frame.info["step"] for frame in chosen.frames[:2]} == {1, 2}
    assert len(select(frames, [], ensemble, Select(budget=1), 0).frames) == 1


def test_nothing_to_select(ensemble):
    chosen = select([], [], ensemble, Select(), 0)
    assert (chosen.frames, chosen.refused) == ([], [])


def test_farthest_points_on_a_line():
    points = np.array([[0.0], [0.1], [5.0], [10.0], [9.9]])
    assert farthest_points(points, [0], 3) == [0, 3, 2]
    assert farthest_points(points, [0, 3], 3) == [0, 3, 2]
    assert sorted(farthest_points(points, [0], 99)) == [0, 1, 2, 3, 4]


def test_hash_sees_through_symmetry():
    atoms = rock(1)
    turned = atoms.copy()
    turn = Rotation.from_euler("xyz", [1.0, 0.2, -0.4]).as_matrix()
    turned.set_cell(np.asarray(atoms.cell) @ turn.T)
    turned.positions = (atoms.positions + np.array([0.5, 9.0, -3.0])) @ turn.T
    order = np.random.default_rng(0).permutation(len(atoms))
    assert geometry_hash(turned[order], TOLERANCE_A) == geometry_hash(atoms, TOLERANCE_A)


def test_hash_tells_geometries_apart():
    atoms = rock(1)
    moved = atoms.copy()
    moved.positions[2] += 0.2
    swapped = atoms.copy()
    swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]
    assert len({geometry_hash(a, TOLERANCE_A) for a in (atoms, moved, swapped)}) == 3
