import numpy as np
import pytest
from ase.neighborlist import neighbor_list
from scipy.spatial.transform import Rotation

from redoxmd.model.neighbours import find_pairs
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
