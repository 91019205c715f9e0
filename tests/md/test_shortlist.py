"""Shortlists of swaps: first-order changes against finite differences, descents against enumeration, resume."""

import copy
import itertools

import numpy as np
import pytest
import torch

from redoxmd.electrons.moves import descend, neighbour_pairs, neighbour_swaps, swapped
from redoxmd.electrons.shortlist import Shortlist, first_order_changes
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.md.ensemble import ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.langevin import Langevin
from redoxmd.model import Ensemble, load_ensemble, save_ensemble
from redoxmd.model.painn import Painn
from tests.electrons.test_moves import nvp
from tests.md.test_electrons import OPEN, SPECIES, settings

STEP = 1e-4


@pytest.fixture
def saved(tmp_path):
    """File of two networks of random weights, in which swaps cost some tenths of an eV and states have references."""
    members = []
    for seed in range(2):
        torch.manual_seed(seed)
        member = Painn(SPECIES["elements"], 20, 3, 4.0, 6, states=SPECIES["states"])
        member.scale_eV.fill_(3.0)
        member.reference_eV.copy_(torch.tensor([-1.0, -2.0, -3.0, -4.0, -3.5]) + 0.1 * seed)
        members.append(member)
    save_ensemble(tmp_path / "ensemble.pt", Ensemble(members))
    return tmp_path / "ensemble.pt"


def frame_in_a_state(tmp_path, cell="1x1x1", holes=2):
    atoms = nvp(2.0, cell)
    vanadium = np.flatnonzero(atoms.numbers == 23)
    atoms.set_array("oxidation", np.where(atoms.numbers == 23, 3, 0))
    atoms.arrays["oxidation"][vanadium[:holes]] = 4
    write_frames(tmp_path / "frame.extxyz", [atoms])
    return read_frames(tmp_path / "frame.extxyz")[0]


def test_the_gradient_by_species_is_that_of_finite_differences(saved, tmp_path):
    """Weights of species move a little towards another species, in double precision."""
    ensemble, atoms = load_ensemble(saved, "cpu", "plain").to("cpu", torch.float64), frame_in_a_state(tmp_path)
    graph, species = ensemble.graph(atoms), ensemble.species_of(atoms)
    gradient = ensemble.bind(atoms)(atoms.positions, species, by_species=True).species_gradient_eV

    def energy(weights):
        values = [
            float(member.interaction_energy(graph, mixture=weights)) + float((weights @ member.reference_eV).sum())
            for member in ensemble.members
        ]
        return np.mean(values)

    pure = torch.eye(5, dtype=torch.float64)[torch.from_numpy(species)]
    assert energy(pure) == pytest.approx(ensemble.predict(atoms).energy_eV, abs=1e-9)
    for atom in np.flatnonzero(atoms.numbers == 23):
        for kind in (3, 4):
            shifted = [pure.clone(), pure.clone()]
            shifted[0][atom, kind] += STEP
            shifted[1][atom, kind] -= STEP
            expected = (energy(shifted[0]) - energy(shifted[1])) / (2 * STEP)
            assert gradient[atom, kind] == pytest.approx(expected, rel=1e-6)


def test_compiled_kernels_give_the_same_gradient_and_energies_of_states(saved, tmp_path):
    fast, atoms = load_ensemble(saved, "cpu"), frame_in_a_state(tmp_path)
    if fast.path != "compiled kernels":
        pytest.skip("no compiler")
    exact = load_ensemble(saved, "cpu", "plain").to("cpu", torch.float64)
    species = fast.species_of(atoms)
    found, expected = (e.bind(atoms)(atoms.positions, species, by_species=True) for e in (fast, exact))
    scale = abs(expected.species_gradient_eV).max()
    np.testing.assert_allclose(found.species_gradient_eV, expected.species_gradient_eV, rtol=0, atol=1e-5 * scale)
    # The forces do not depend on whether it is asked for.
    np.testing.assert_allclose(found.forces_eV_A, fast.predict(atoms).forces_eV_A, atol=1e-6)
    # Energies alone, of several states at once, against one prediction for each.
    states = np.array([np.where(species > 2, kind, species) for kind in (3, 4)])
    energies = [e.bind(atoms).energies(atoms.positions, states) for e in (fast, exact)]
    for number, kind in enumerate((3, 4)):
        other = atoms.copy()
        other.arrays["oxidation"][atoms.numbers == 23] = kind
        for e, values in zip((fast, exact), energies, strict=True):
            np.testing.assert_allclose(values[:, number], e.predict(other).energies_eV, rtol=0, atol=1e-6)


def calls(ensemble, atoms):
    """Mean energies of states and first-order changes of swaps."""
    bound = ensemble.bind(atoms)

    def species(state):
        other = atoms.copy()
        other.set_array("oxidation", state)
        return ensemble.species_of(other)

    def energies(states):
        return bound.energies(atoms.positions, np.array([species(state) for state in states])).mean(axis=0)

    def first_order(state, swaps):
        prediction = bound(atoms.positions, species(state), by_species=True)
        return first_order_changes(prediction.species_gradient_eV, species(state), swaps)

    return energies, first_order


def test_a_first_order_change_is_the_slope_of_the_energy_along_the_swap(saved, tmp_path):
    """Both atoms turn into each other by a small weight."""
    ensemble, atoms = load_ensemble(saved, "cpu", "plain").to("cpu", torch.float64), frame_in_a_state(tmp_path)
    state, species, graph = atoms.arrays["oxidation"], ensemble.species_of(atoms), ensemble.graph(atoms)
    swaps = np.array([[i, j] for i, j in itertools.combinations(np.flatnonzero(state), 2) if state[i] != state[j]])
    changes = calls(ensemble, atoms)[1](state, swaps)
    assert len(swaps) == 4
    for (i, j), change in zip(swaps, changes, strict=True):
        values = []
        for share in (STEP, -STEP):
            weights = torch.eye(5, dtype=torch.float64)[torch.from_numpy(species)]
            weights[[i, j]] = (1 - share) * weights[[i, j]] + share * weights[[j, i]]
            terms = [
                float(member.interaction_energy(graph, mixture=weights)) + float((weights @ member.reference_eV).sum())
                for member in ensemble.members
            ]
            values.append(np.mean(terms))
        assert change == pytest.approx((values[0] - values[1]) / (2 * STEP), rel=1e-5, abs=1e-7)


def test_descents_with_a_shortlist_end_where_full_ones_do(saved, tmp_path, monkeypatch):
    """Frames of one crystal in motion; the end of the full search is found by trying every swap."""
    monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 40)
    ensemble, rng = load_ensemble(saved, "cpu"), np.random.default_rng(3)
    atoms = frame_in_a_state(tmp_path, "2x1x1", holes=4)
    shortlist, evaluated, possible, moved = Shortlist(atoms.numbers), 0, 0, 0
    state = atoms.arrays["oxidation"].copy()
    home = atoms.positions.copy()
    for _ in range(25):
        atoms.positions = home + rng.normal(0.0, 0.1, home.shape)
        energies, first_order = calls(ensemble, atoms)
        pairs = neighbour_pairs(state, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, 6.5)

        def counted(states, energies=energies):
            nonlocal evaluated
            evaluated += len(states)
            return energies(states)

        listed = descend(state, counted, pairs, shortlist=(shortlist, first_order))
        full = state.copy()
        while True:
            swaps = neighbour_swaps(full, pairs)
            possible += len(swaps)
            values = energies(swapped(full, swaps)) - energies(full[None])[0]
            if values.min() >= -1e-4:
                break
            full = swapped(full, swaps)[values.argmin()]
        assert listed.oxidation.tolist() == full.tolist()
        moved += len(listed.moves)
        state = listed.oxidation
    assert moved > 5
    assert evaluated < 0.9 * possible
    assert shortlist.checked > 0
    assert shortlist.missed == 0


class TestStatistics:
    pairs = np.array([[0, k] for k in range(1, 9)])
    start = np.array([4] + [3] * 8)

    def table(self, heights):
        return lambda states: (states == 4) @ np.array(heights)

    def test_a_swap_whose_estimate_is_wrong_is_found_in_its_turn_and_counted(self, monkeypatch):
        """Seven swaps cost as much as estimated, 0.5 eV; the last one was estimated so and gains."""
        monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 10)
        monkeypatch.setattr("redoxmd.electrons.shortlist.CHECK_TURNS", 1)
        shortlist, first = Shortlist(np.full(9, 23)), lambda state, swaps: np.zeros(len(swaps))
        for _ in range(2):
            descend(self.start, self.table([0.0] + [0.5] * 8), self.pairs, shortlist=(shortlist, first))
        assert shortlist.checked == 0
        ends = []
        for _ in range(8):
            ends.append(
                descend(self.start, self.table([0.0] + [0.5] * 7 + [-0.2]), self.pairs, shortlist=(shortlist, first))
            )
        # From then on the deviation is in the statistics, and the margin is wide enough.
        assert [end.moves[0][:2] for end in ends if end.moves][:1] == [(8, 0)]
        assert not ends[0].moves
        assert shortlist.missed == 1

    def test_the_statistics_are_mean_and_variance_and_resume_from_a_file(self, tmp_path, monkeypatch):
        rng, shortlist = np.random.default_rng(0), Shortlist(np.full(9, 23))
        monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 1000)
        differences = 0.6 + 0.1 * rng.standard_normal((20, 8))
        for row in differences:
            # All gains, so that none is left out: −1 eV to first order, and the difference.
            heights = np.array([0.0, *(row - 1)])
            exact = shortlist.changes(self.start, self.pairs, -np.ones(8), lambda k, h=heights: h[self.pairs[k, 1]])
            assert np.isfinite(exact).all()
        count, mean, variance = shortlist.statistics[230304]
        assert count == 160
        assert mean == pytest.approx(differences.mean())
        assert variance == pytest.approx(differences.var())
        # The changes of each swap's own difference from one time to the next.
        count, mean, variance = shortlist.statistics[-230304]
        changes = np.diff(differences, axis=0)
        assert count == changes.size
        assert mean == pytest.approx(changes.mean())
        assert variance == pytest.approx(changes.var())
        np.savez(tmp_path / "state.npz", **shortlist.record())
        again = Shortlist(np.full(9, 23))
        with np.load(tmp_path / "state.npz") as record:
            again.restore(record)
        assert again.statistics == shortlist.statistics
        assert again.turn == shortlist.turn
        assert again.latest == shortlist.latest


def test_md_resumes_bit_for_bit_while_swaps_are_left_out(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 20)
    monkeypatch.setattr("redoxmd.electrons.shortlist.CHECK_TURNS", 1)
    ensemble, atoms = load_ensemble(saved, "cpu"), frame_in_a_state(tmp_path, "2x1x1", holes=4)

    def begin():
        langevin = Langevin(atoms.get_masses(), 1.0, 900.0, 0.02)
        return ensemble_md(HostEvaluator(ensemble), atoms, langevin, OPEN, settings(move_every_fs=1.0))

    whole = begin()
    whole.start(np.random.default_rng(5))
    for _ in range(12):
        whole.step()
    np.savez(tmp_path / "state.npz", **copy.deepcopy(whole.state_record()))
    for _ in range(12):
        whole.step()
    resumed = begin()
    with np.load(tmp_path / "state.npz") as record:
        resumed.restore(dict(record))
    for _ in range(12):
        resumed.step()
    assert whole.electrons.shortlist.checked > 0
    for key, value in whole.state_record().items():
        np.testing.assert_array_equal(resumed.state_record()[key], value, err_msg=key)
