import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from redoxmd.model.neighbours import VerletList, find_pairs
from tests.conftest import rock


@pytest.mark.parametrize("cutoff_A", [2.5, 5.0, 9.0])
@pytest.mark.parametrize("turned", [False, True])
def test_pairs_against_ase(cutoff_A, turned):
    atoms = rock(3)
    if turned:
        turn = Rotation.from_euler("xyz", [0.4, 1.0, -0.7]).as_matrix()
        atoms.set_cell(np.asarray(atoms.cell) @ turn.T, scale_atoms=True)
    pairs = find_pairs(atoms.positions, np.asarray(atoms.cell), atoms.pbc, cutoff_A)
    i, j, shift = neighbor_list("ijS", atoms, cutoff_A)
    ours = {(a, b, *s) for a, b, s in zip(pairs.receiver, pairs.sender, pairs.shift.astype(int).tolist(), strict=True)}
    theirs = {(a, b, *s) for a, b, s in zip(i, j, shift.tolist(), strict=True)}
    assert ours == theirs


def test_skin_keeps_and_renews():
    atoms = rock(1)
    cell = np.asarray(atoms.cell)
    verlet = VerletList(4.0, skin_A=0.5)
    verlet.update(atoms.positions, cell, atoms.pbc)
    near, far = atoms.positions.copy(), atoms.positions.copy()
    near[0, 0] += 0.249
    far[0, 0] += 0.251
    verlet.update(near, cell, atoms.pbc)
    assert verlet.generation == 1
    pairs = verlet.update(far, cell, atoms.pbc)
    assert verlet.generation == 2
    assert len(pairs.receiver) == len(find_pairs(far, cell, atoms.pbc, 4.5).receiver)


def test_not_finite_positions_are_noticed():
    atoms = rock(1)
    verlet = VerletList(4.0)
    verlet.update(atoms.positions, np.asarray(atoms.cell), atoms.pbc)
    assert verlet._moved(np.full_like(atoms.positions, np.nan), np.asarray(atoms.cell))
