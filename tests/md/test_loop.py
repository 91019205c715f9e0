"""The MD loop by evaluators that are no potential: when it searches pairs, what it asks and what it judges."""

import itertools

import numpy as np
import pytest

from redoxmd.md.ensemble import BatchMD, ensemble_md
from redoxmd.md.evaluators import HostEvaluator, force_evaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.graph import species_index
from tests.conftest import rock
from tests.md.evaluators import FakeEvaluator
from tests.model.test_ensemble import ELEMENTS, members

OPEN = GateSettings(1e3, 1e4, "max", 0.01, 1e6)
BACKENDS = [None, "cpu"]


def free(positions, masses):
    return 0.0 * positions


def moving(evaluator, speed_A_fs, atoms=None):
    """MD without forces and thermostat, of which one atom moves."""
    atoms = rock(1) if atoms is None else atoms
    md = ensemble_md(evaluator, atoms, Langevin(atoms.get_masses(), 1.0, 300.0, 0.0), OPEN)
    md.start(np.random.default_rng(0))
    record = md.state_record()
    record["velocities_A_fs"][:] = 0
    record["velocities_A_fs"][0, 0] = speed_A_fs
    md.restore(record)
    evaluator.searched_A.clear()
    return md, record


@pytest.mark.parametrize("device", BACKENDS)
def test_pairs_are_searched_once_an_atom_has_moved_half_the_skin(device):
    evaluator = FakeEvaluator(free, device=device)
    md, record = moving(evaluator, 0.1)
    # Half the skin is 0.25 Å: the third step would pass it, the sixth and the ninth again.
    for step in range(1, 10):
        md.step()
        assert md.state.positions_A[0, 0] == pytest.approx(record["positions_A"][0, 0] + 0.1 * step)
        searched = md.state_record()["list_positions_A"]
        assert np.abs(md.state.positions_A - searched).max() < 0.25 or device is not None
    moves = [positions[0, 0, 0] - record["positions_A"][0, 0] for positions in evaluator.searched_A[:3]]
    assert moves == pytest.approx([0.3, 0.6, 0.9])


@pytest.mark.parametrize("device", BACKENDS)
def test_forces_are_asked_for_within_half_the_skin_of_a_search(device):
    evaluator = FakeEvaluator(free, device=device)
    asked, md = [], moving(evaluator, 0.1)[0]
    evaluator.force = lambda positions, masses: asked.append(evaluator.arrays.to_numpy(positions)) or 0.0 * positions
    evaluator.searched_A.append(md.state_record()["list_positions_A"][None])
    for _ in range(20):
        md.step()
    for positions in asked:
        assert min(np.abs(positions - searched).max() for searched in evaluator.searched_A) < 0.25


@pytest.mark.parametrize("device", BACKENDS)
def test_a_step_that_leads_nowhere_is_refused_and_not_searched(device):
    evaluator = FakeEvaluator(free, device=device)
    md = moving(evaluator, np.inf)[0]
    result = md.step()
    assert (result.outcome, result.reason, evaluator.searched_A) == (GateOutcome.STOP, "not_finite", [])


@pytest.mark.parametrize("device", BACKENDS)
def test_the_spread_of_each_step_decides(device):
    evaluator = FakeEvaluator(free, itertools.chain([0.5, 0.5, 2.0, 1.5], itertools.repeat(9.0)), device)
    atoms = rock(1)
    gate = GateSettings(1.0, 5.0, "max", 0.01, 1e6)
    md = ensemble_md(evaluator, atoms, Langevin(atoms.get_masses(), 0.1, 300.0, 0.01), gate)
    found = [md.start(np.random.default_rng(0)), *(md.step() for _ in range(4))]
    assert [one.spread_eV_A for one in found] == pytest.approx([0.5, 0.5, 2.0, 1.5, 9.0])
    assert [one.outcome.value for one in found] == ["go_on", "go_on", "candidate", "candidate", "stop"]
    assert (found[-1].reason, md.state.step) == ("spread_above_high", 4)
    with pytest.raises(RuntimeError, match="has ended"):
        md.step()


def test_many_trajectories_on_the_host_are_as_if_alone_bit_for_bit():
    systems = [(rock(1), 900.0), (rock(2)[:7], 300.0), (rock(3).repeat((2, 1, 1)), 600.0)]

    def entered(batch, slot, number):
        atoms, kelvin = systems[number]
        md = batch.enter(slot, atoms, Langevin(atoms.get_masses(), 2.0, kelvin, 0.02), OPEN)
        md.start(np.random.default_rng(number))
        return md

    batch = BatchMD(HostEvaluator(Ensemble(members())), 3, 16)
    together = [entered(batch, slot, slot) for slot in range(3)]
    for _ in range(30):
        results = [md.step() for md in together]
    for number, (atoms, _) in enumerate(systems):
        alone = entered(BatchMD(HostEvaluator(Ensemble(members())), 1, len(atoms)), 0, number)
        for _ in range(30):
            expected = alone.step()
        assert results[number].spread_eV_A == expected.spread_eV_A
        ours, theirs = together[number].state_record(), alone.state_record()
        for name in ours:
            np.testing.assert_array_equal(ours[name], theirs[name])


@pytest.mark.parametrize("evaluation", ["auto", "plain"])
def test_a_species_may_change_between_calls_without_a_search(evaluation):
    """As electrons will move; and several species of one frame may be asked for."""
    atoms, ensemble = rock(1), Ensemble([member.float() for member in members()], evaluation=evaluation)
    evaluator = HostEvaluator(ensemble)
    evaluator.allocate(1, len(atoms))
    species = evaluator.enter(0, atoms)[None]
    evaluator.search([0], atoms.positions[None])
    swapped = species[:, ::-1].copy()
    for asked in (species, swapped, species):
        other = atoms.copy()
        other.numbers = np.array(ELEMENTS)[asked[0]]
        assert np.array_equal(species_index(other.numbers, ELEMENTS), asked[0])
        found, expected = evaluator(atoms.positions[None], asked), ensemble.predict(other)
        np.testing.assert_allclose(found.member_forces_eV_A[:, 0], expected.member_forces_eV_A, atol=1e-5)
        np.testing.assert_allclose(found.energies_eV[:, 0], expected.energies_eV, atol=1e-5)


def test_without_a_gpu_the_automatic_choice_is_the_host_and_says_why():
    ensemble, atoms = Ensemble(members(2)), rock(1)
    evaluator = force_evaluator(ensemble, "auto", atoms)
    assert isinstance(evaluator, HostEvaluator)
    assert evaluator.description == f"{ensemble.path}, because no GPU is used"
    assert force_evaluator(ensemble).description == ensemble.path
