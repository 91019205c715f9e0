import numpy as np
import pytest
import torch

from redoxmd.md.batched import pairs as device_pairs
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.pairs import PairRows, search
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.graph import species_index
from redoxmd.model.neighbours import find_pairs
from tests.conftest import rock
from tests.model.test_ensemble import ELEMENTS, members

DOUBLE = 1e-10  # relative to the largest force: the same sums in another order
SINGLE = 1e-5


def crowd():
    """Systems of several sizes; one has wandered through many cells, one has free faces, one atom is missing of one."""
    systems = [rock(1), rock(2), rock(1).repeat((2, 1, 3)), rock(1).repeat((1, 2, 1))[:-1]]
    systems[1].positions += np.random.default_rng(1).integers(-7, 8, (len(systems[1]), 3)) @ np.asarray(systems[1].cell)
    systems[2].pbc = [True, False, True]
    return systems


def padded(systems):
    """Positions, cells, periodic, present, species as the batch has them."""
    most = max(map(len, systems)) + 2
    positions, present = np.zeros((len(systems), most, 3)), np.zeros((len(systems), most), dtype=bool)
    species = np.zeros((len(systems), most), dtype=int)
    for number, atoms in enumerate(systems):
        positions[number, : len(atoms)], present[number, : len(atoms)] = atoms.positions, True
        species[number, : len(atoms)] = species_index(atoms.numbers, ELEMENTS)
    cells = np.array([np.asarray(atoms.cell) for atoms in systems])
    periodic = np.array([atoms.pbc for atoms in systems])
    return tuple(map(torch.from_numpy, (positions, cells, periodic, present, species.reshape(-1))))


def rows_of(systems, reach_A=4.5):
    positions, cells, periodic, present, _ = padded(systems)
    rows = PairRows(*present.shape, far_A=2 * reach_A, device=torch.device("cpu"))
    rows.put(torch.arange(len(systems)), search(positions, cells, periodic, present, reach_A), cells)
    return rows


def evaluator_of(ensemble, systems):
    """An evaluator with these systems in its slots, their pairs searched where they are."""
    positions, _, _, present, _ = padded(systems)
    evaluator = DeviceEvaluator(ensemble)
    evaluator.allocate(*present.shape)
    for slot, atoms in enumerate(systems):
        evaluator.enter(slot, atoms)
    evaluator.search(range(len(systems)), positions.to(evaluator.device))
    return evaluator


@pytest.mark.parametrize("candidates", [1, 3000, 10**7])
def test_the_same_pairs_as_the_host_s(monkeypatch, candidates):
    monkeypatch.setattr(device_pairs, "CANDIDATES", candidates)
    systems = crowd()
    positions, cells, periodic, present, _ = padded(systems)
    if candidates == 1:
        systems, (positions, cells, periodic, present) = (
            systems[:1],
            (positions[:1], cells[:1], periodic[:1], present[:1]),
        )
    found = search(positions, cells, periodic, present, 4.5)
    most = present.shape[1]
    for number, atoms in enumerate(systems):
        mine = found.receiver // most == number
        i, j = found.receiver[mine] - number * most, found.sender[mine] - number * most
        shift = found.shift[mine].long().tolist()
        ours = [(a, b, *s) for a, b, s in zip(i.tolist(), j.tolist(), shift, strict=True)]
        pairs = find_pairs(atoms.positions, np.asarray(atoms.cell), atoms.pbc, 4.5)
        shifts = pairs.shift.astype(int).tolist()
        theirs = {(a, b, *s) for a, b, s in zip(pairs.receiver, pairs.sender, shifts, strict=True)}
        assert len(ours) == len(set(ours))
        assert set(ours) == theirs


def test_a_place_and_its_reverse_are_one_pair_both_ways():
    systems = crowd()
    rows = rows_of(systems)
    positions = padded(systems)[0]
    vectors = rows.vectors_A(positions).view(-1, 3)
    paired = vectors.norm(dim=1) < 4.5
    assert torch.equal(rows.reverse[rows.reverse], torch.arange(len(rows.reverse)))
    assert torch.equal(vectors[rows.reverse][paired], -vectors[paired])
    receiver = torch.arange(len(rows.sender)).repeat_interleave(rows.width)
    assert torch.equal(rows.sender.view(-1)[rows.reverse], receiver)
    assert torch.equal(rows.reverse[~paired], torch.arange(len(paired))[~paired])


def test_rows_that_overflow_are_widened_and_lose_nothing():
    systems = crowd()
    positions, cells, periodic, present, _ = padded(systems)
    rows = PairRows(*present.shape, far_A=9.0, device=torch.device("cpu"))
    expected = rows_of(systems)
    widths = set()
    for number in (2, 0, 3, 1):
        one = slice(number, number + 1)
        found = search(positions[one], cells[one], periodic[one], present[one], 4.5)
        rows.put(torch.tensor([number]), found, cells[one])
        widths.add(rows.width)
    assert len(widths) > 1 and rows.generation == len(widths)
    assert torch.equal(rows.sender, expected.sender)
    assert torch.equal(rows.offset_A, expected.offset_A)
    assert torch.equal(rows.reverse, expected.reverse)


def test_a_system_that_leaves_takes_its_pairs_along():
    systems = crowd()
    rows = rows_of(systems)
    positions, cells, periodic, present, _ = padded(systems)
    found = search(positions[:1], cells[:1], periodic[:1], present[:1], 4.5)
    rows.put(torch.tensor([1]), found, cells[:1])
    assert int((rows.sender[present.shape[1] : 2 * present.shape[1]] // present.shape[1] != 1).sum()) == 0
    assert torch.equal(rows.reverse[rows.reverse], torch.arange(len(rows.reverse)))


def test_an_atom_lost_in_space_is_an_error():
    positions, cells, periodic, present, _ = padded([rock(1)])
    positions[0, 0] += 600 * cells[0, 0]
    with pytest.raises(RuntimeError, match="cells away"):
        search(positions, cells, periodic, present, 4.5)


def test_pairs_of_a_hundred_thousand_places():
    """More than 2^63 pairs of places and shifts of up to 512 cells: one atom in each cell, with its own images."""
    systems, edge_A, reach_A = 100_000, 3.0, 3.1
    cells = (edge_A * torch.eye(3, dtype=torch.float64)).expand(systems, 3, 3)
    positions = torch.linspace(0, 1, 3 * systems, dtype=torch.float64).view(systems, 1, 3)
    present = torch.ones(systems, 1, dtype=torch.bool)
    found = search(positions, cells, torch.ones(systems, 3, dtype=torch.bool), present, reach_A)
    assert torch.equal(torch.bincount(found.receiver), torch.full((systems,), 6))
    assert torch.equal(found.receiver[found.reverse], found.sender)
    assert torch.equal(found.shift[found.reverse], -found.shift)
    assert torch.equal(found.reverse[found.reverse], torch.arange(6 * systems))


def agreeing_forces(found, systems, plain, tolerance):
    """Compares the forces of a batch with the plain path, and gives the predictions of that path."""
    predictions = [plain.predict(atoms) for atoms in systems]
    for number, (atoms, expected) in enumerate(zip(systems, predictions, strict=True)):
        size = np.abs(expected.member_forces_eV_A).max()
        forces = found.member_forces_eV_A[:, number]
        np.testing.assert_allclose(forces[:, : len(atoms)], expected.member_forces_eV_A, atol=tolerance * size, rtol=0)
        assert not forces[:, len(atoms) :].any()
    return predictions


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
@pytest.mark.parametrize("core", [True, False])
def test_forces_and_energies_are_those_of_the_plain_path(dtype, tolerance, core):
    systems = crowd()
    positions, _, _, present, species = padded(systems)
    ensemble = Ensemble(members(3, dtype, layers=3, core_repulsion=core), evaluation="plain")
    for number, member in enumerate(ensemble.members):
        member.reference_eV += torch.arange(4) + number
    found = evaluator_of(ensemble, systems)(positions, species.view(present.shape))
    exact = Ensemble([member.double() for member in ensemble.members], evaluation="plain")
    for number, expected in enumerate(agreeing_forces(found, systems, exact, tolerance)):
        scale = np.abs(expected.energies_eV).max()
        assert float(found.energy_eV[number]) == pytest.approx(expected.energy_eV, abs=tolerance * scale)


def test_empty_places_and_other_systems_change_nothing():
    """Bit by bit: more room in a row, other systems beside it, not even a system that is nowhere."""
    systems = crowd()
    ensemble = Ensemble(members(2, torch.float32), evaluation="plain")
    positions, _, _, present, species = padded(systems)
    evaluator, species = evaluator_of(ensemble, systems), species.view(present.shape)
    first = evaluator(positions, species)
    positions[2] = np.nan
    second = evaluator(positions, species)
    kept = [0, 1, 3]
    assert torch.equal(second.member_forces_eV_A[:, kept], first.member_forces_eV_A[:, kept])
    assert torch.equal(second.energy_eV[kept], first.energy_eV[kept])
    assert second.member_forces_eV_A[:, 2, : len(systems[2])].isnan().all()
