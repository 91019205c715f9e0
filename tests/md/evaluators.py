"""Force evaluators for tests of the MD loop."""

import numpy as np
import torch

from redoxmd.arrays import Arrays
from redoxmd.md.forces import MemberForces


class FakeEvaluator:
    """Two members with given mean forces and a scripted spread of the first atom; no pairs, no close contact.

    Args:
        force: positions (B, A, 3) and masses (B, A, 1) → forces.
        spreads: spread of each call, in order; 1 for ever without.
        device: torch there, or NumPy for None.
        skin_A: an atom that moves half of it asks for a search.
    """

    n_members = 2
    generation = 0
    searches_during_steps = True
    description = "a test"

    def __init__(self, force, spreads=None, device=None, skin_A=0.5):
        self.skin_A = skin_A
        self.arrays = Arrays(None if device is None else torch.device(device))
        self.force, self.spreads = force, None if spreads is None else iter(spreads)
        self.searches_during_steps = device is None
        self.searched_A, self.calls = [], 0

    def allocate(self, systems, atoms):
        self.masses = self.arrays.zeros(systems, atoms, 1)

    def enter(self, slot, atoms):
        self.masses[slot, : len(atoms)] = self.arrays.array(atoms.get_masses()[:, None])
        return np.zeros(len(atoms), dtype=int)

    def leave(self, slot):
        self.masses[slot] = 0

    def search(self, slots, positions_A):
        self.searched_A.append(self.arrays.to_numpy(positions_A))

    def __call__(self, positions_A, species):
        self.calls += 1
        zeros, (systems, atoms) = self.arrays.zeros, species.shape
        forces = zeros(2, systems, atoms, 3)
        forces[:] = self.force(positions_A, self.masses)
        # Two members at ±σ/√2 have the spread σ.
        spread = (1.0 if self.spreads is None else next(self.spreads)) / 2**0.5
        forces[0, :, 0, 0] += spread
        forces[1, :, 0, 0] -= spread
        return MemberForces(zeros(2, systems), forces, zeros(systems) + np.inf)


class Held:
    """An evaluator whose atoms are held by springs; its members disagree as before.

    Untrained members alone would tear the crystal apart.
    """

    def __init__(self, evaluator, home_A, spring_eV_A2=5.0):
        self.inner, self.home_A, self.spring_eV_A2 = evaluator, home_A, spring_eV_A2

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def __call__(self, positions_A, species):
        found = self.inner(positions_A, species)
        springs = -self.spring_eV_A2 * (positions_A - self.home_A)
        return found._replace(member_forces_eV_A=found.member_forces_eV_A - found.forces_eV_A + springs)
