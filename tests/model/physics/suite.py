"""What any potential must obey. A new model inherits all of it by subclassing once and giving `model()`."""

import numpy as np
import pytest
import torch
from ase import Atoms
from scipy.spatial.transform import Rotation

from redoxmd.model.graph import build_graph, collate
from tests.conftest import rock

EXACT = 1e-9  # eV, eV/Å: double precision, same sums in another order
GRADIENT = 1e-6  # eV/Å: central differences with a step of 1e-4 Å
DIFFERENCE_STEP_A = 1e-4


class PotentialPhysics:
    """Subclass and implement `model() -> Painn-like module in double precision`."""

    blocked = True

    def model(self):
        raise NotImplementedError

    @pytest.fixture
    def potential(self):
        return self.model().double()

    def evaluate(self, potential, atoms):
        graph = build_graph(atoms, potential.elements, potential.cutoff_A, blocked=self.blocked)
        energy, forces, stress = potential(graph)
        return float(energy.detach()[0]), forces.detach().numpy(), stress.detach().numpy()[0]

    def test_rotation(self, potential):
        atoms = rock(1)
        energy, forces, stress = self.evaluate(potential, atoms)
        turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.2]).as_matrix()
        turned = atoms.copy()
        turned.set_cell(np.asarray(atoms.cell) @ turn.T)
        turned.positions = atoms.positions @ turn.T
        energy2, forces2, stress2 = self.evaluate(potential, turned)
        assert energy2 == pytest.approx(energy, abs=EXACT)
        np.testing.assert_allclose(forces2, forces @ turn.T, atol=EXACT)
        np.testing.assert_allclose(stress2, turn @ stress @ turn.T, atol=EXACT)

    def test_inversion(self, potential):
        atoms = rock(1)
        energy, forces, _ = self.evaluate(potential, atoms)
        mirrored = atoms.copy()
        mirrored.set_cell(-np.asarray(atoms.cell))
        mirrored.positions = -atoms.positions
        energy2, forces2, _ = self.evaluate(potential, mirrored)
        assert energy2 == pytest.approx(energy, abs=EXACT)
        np.testing.assert_allclose(forces2, -forces, atol=EXACT)

    def test_translation_and_wrapping(self, potential):
        atoms = rock(2)
        energy, forces, _ = self.evaluate(potential, atoms)
        moved = atoms.copy()
        moved.positions += [0.7, -3.3, 11.0]
        moved.wrap()
        energy2, forces2, _ = self.evaluate(potential, moved)
        assert energy2 == pytest.approx(energy, abs=EXACT)
        np.testing.assert_allclose(forces2, forces, atol=EXACT)

    def test_permutation(self, potential):
        atoms = rock(3)
        energy, forces, _ = self.evaluate(potential, atoms)
        order = np.random.default_rng(0).permutation(len(atoms))
        energy2, forces2, _ = self.evaluate(potential, atoms[order])
        assert energy2 == pytest.approx(energy, abs=EXACT)
        np.testing.assert_allclose(forces2, forces[order], atol=EXACT)

    def test_species_matter(self, potential):
        atoms = rock(3)
        energy, _, _ = self.evaluate(potential, atoms)
        swapped = atoms.copy()
        swapped.numbers[[0, 1]] = swapped.numbers[[1, 0]]
        assert abs(self.evaluate(potential, swapped)[0] - energy) > 1e-4

    def test_forces_against_central_differences(self, potential):
        atoms = rock(4)
        _, forces, _ = self.evaluate(potential, atoms)
        numeric = np.zeros_like(forces)
        for i in range(len(atoms)):
            for d in range(3):
                ends = []
                for sign in (1, -1):
                    moved = atoms.copy()
                    moved.positions[i, d] += sign * DIFFERENCE_STEP_A
                    ends.append(self.evaluate(potential, moved)[0])
                numeric[i, d] = -(ends[0] - ends[1]) / (2 * DIFFERENCE_STEP_A)
        assert np.abs(forces).max() > 1e-3
        np.testing.assert_allclose(forces, numeric, atol=GRADIENT)

    def test_stress_against_central_differences(self, potential):
        atoms = rock(5)
        _, _, stress = self.evaluate(potential, atoms)
        step = 1e-5
        numeric = np.zeros((3, 3))
        for a in range(3):
            for b in range(3):
                ends = []
                for sign in (1, -1):
                    strain = np.eye(3)
                    strain[a, b] += sign * step / 2
                    strain[b, a] += sign * step / 2
                    strained = atoms.copy()
                    strained.set_cell(np.asarray(atoms.cell) @ strain, scale_atoms=True)
                    ends.append(self.evaluate(potential, strained)[0])
                numeric[a, b] = (ends[0] - ends[1]) / (2 * step) / atoms.get_volume()
        assert np.abs(stress).max() > 1e-5
        np.testing.assert_allclose(stress, numeric, atol=GRADIENT)

    def test_total_force_is_zero(self, potential):
        _, forces, _ = self.evaluate(potential, rock(6))
        np.testing.assert_allclose(forces.sum(axis=0), 0, atol=EXACT)

    def test_smooth_at_the_cutoff(self, potential):
        """Energy and force of a pair go to those of two lone atoms, without a step, as it leaves the cutoff."""
        alone = self.pair_energy(potential, potential.cutoff_A + 1)
        distances = potential.cutoff_A + np.array([-0.02, -0.002, -1e-6, 1e-6])
        gaps = [abs(self.pair_energy(potential, r) - alone) for r in distances]
        assert gaps[2] < 1e-12 and gaps[3] < 1e-12
        # The envelope falls with the third power of the distance to the cutoff.
        assert gaps[1] < 2e-3 * gaps[0]
        assert abs(self.pair_force(potential, distances[1])) < 0.02 * abs(self.pair_force(potential, distances[0]))

    def test_large_separation(self, potential):
        """Two far parts have the sum of their energies, and the forces they have alone."""
        part = Atoms("NaO", positions=[[0, 0, 0], [0, 0, 2.2]])
        both = part + Atoms("VO", positions=[[50, 0, 0], [51.2, 0.9, 0]])
        energy, forces, _ = self.evaluate(potential, both)
        energies = [self.evaluate(potential, both[:2]), self.evaluate(potential, both[2:])]
        assert energy == pytest.approx(energies[0][0] + energies[1][0], abs=EXACT)
        np.testing.assert_allclose(forces, np.concatenate([energies[0][1], energies[1][1]]), atol=EXACT)

    def test_extensive_and_small_cells(self, potential):
        """A cell smaller than the cutoff meets its own images, and eight cells have eight times its energy."""
        atoms = rock(7)
        energy, forces, stress = self.evaluate(potential, atoms)
        energy8, forces8, stress8 = self.evaluate(potential, atoms.repeat(2))
        assert energy8 == pytest.approx(8 * energy, abs=1e-8)
        np.testing.assert_allclose(forces8, np.tile(forces, (8, 1)), atol=EXACT)
        np.testing.assert_allclose(stress8, stress, atol=EXACT)

    def test_batch_equals_one_by_one(self, potential):
        structures = [rock(8), rock(9).repeat((2, 1, 1)), rock(10)]
        graphs = [build_graph(a, potential.elements, potential.cutoff_A, blocked=self.blocked) for a in structures]
        energies, forces, stresses = potential(collate(graphs))
        singles = [self.evaluate(potential, a) for a in structures]
        np.testing.assert_allclose(energies.detach(), [s[0] for s in singles], atol=EXACT)
        np.testing.assert_allclose(forces.detach(), np.concatenate([s[1] for s in singles]), atol=EXACT)
        np.testing.assert_allclose(stresses.detach(), [s[2] for s in singles], atol=EXACT)

    def pair_energy(self, potential, distance_A):
        return self.evaluate(potential, Atoms("NaO", positions=[[0, 0, 0], [0, 0, distance_A]]))[0]

    def pair_force(self, potential, distance_A):
        return self.evaluate(potential, Atoms("NaO", positions=[[0, 0, 0], [0, 0, distance_A]]))[1][1, 2]

    def test_lone_atom(self, potential):
        energy, forces, _ = self.evaluate(potential, Atoms("V", positions=[[1, 2, 3]]))
        assert np.isfinite(energy) and not forces.any()

    def test_unknown_element_is_named(self, potential):
        with pytest.raises(ValueError, match="26"):
            build_graph(Atoms("Fe", positions=[[0, 0, 0]]), potential.elements, potential.cutoff_A)

    def test_forces_are_differentiable_in_the_weights(self, potential):
        graph = build_graph(rock(1), potential.elements, potential.cutoff_A, blocked=self.blocked)
        _, forces, _ = potential(graph, create_graph=True)
        (forces**2).sum().backward()
        touched = [p for name, p in potential.named_parameters() if p.grad is not None and torch.any(p.grad != 0)]
        assert len(touched) > len(list(potential.parameters())) / 2
