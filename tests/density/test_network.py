"""What the density must obey, whatever the weights."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from redoxmd.density.model import DensityModel, EncodedAtoms
from redoxmd.density.multipoles import L_MAX, SphereProduct, component_degrees, harmonics, sphere_quadrature
from redoxmd.density.network import DensityNetwork
from redoxmd.density.probes import AtomImages, ProbePairs, brick_pairs, probe_block, scattered_pairs
from redoxmd.density.superposition import SPLINES, Superposition
from redoxmd.errors import DataError
from tests.conftest import rock

ELEMENTS = [8, 11, 15, 23]
CUTOFF_A = 4.0
EXACT = 1e-10  # double precision, the same sums in another order
VALENCE = {8: 6.0, 11: 7.0, 15: 5.0, 23: 13.0}


def random_model(seed=0, layers=2, features=16, plain=False):
    torch.manual_seed(seed)
    network = DensityNetwork(ELEMENTS, features, layers, CUTOFF_A, 6, 7, 2.2).double().eval()
    coefficients = np.random.default_rng(seed).random((len(ELEMENTS), SPLINES, 2)) * [0.1, 0.01]
    superposition = Superposition(ELEMENTS, CUTOFF_A, coefficients)
    return DensityModel(network, superposition, np.array([0.2, 0.1]), VALENCE, plain)


@pytest.fixture(scope="module")
def model():
    return random_model()


def points_of(atoms, count=60, seed=0):
    return np.random.default_rng(seed).random((count, 3)) @ np.asarray(atoms.cell)


def density(model, atoms, points):
    return EncodedAtoms(model, atoms).density_at(points)


def test_the_density_varies(model):
    atoms = rock(1)
    values = density(model, atoms, points_of(atoms))
    assert (values.std(axis=0) > 1e-3).all()


@pytest.mark.parametrize("layers", [1, 3])
def test_rotating_the_structure_rotates_the_density(layers):
    model, atoms = random_model(layers=layers), rock(1)
    points = points_of(atoms)
    turn = Rotation.from_euler("xyz", [0.3, -1.1, 2.2]).as_matrix()
    turned = atoms.copy()
    turned.set_cell(np.asarray(atoms.cell) @ turn.T)
    turned.positions = atoms.positions @ turn.T
    np.testing.assert_allclose(
        density(model, turned, points @ turn.T), density(model, atoms, points), rtol=0, atol=EXACT
    )


def test_inversion(model):
    atoms = rock(2)
    points = points_of(atoms)
    mirrored = atoms.copy()
    mirrored.set_cell(-np.asarray(atoms.cell))
    mirrored.positions = -atoms.positions
    np.testing.assert_allclose(density(model, mirrored, -points), density(model, atoms, points), rtol=0, atol=EXACT)


def test_translation_and_periodic_images(model):
    atoms = rock(3)
    points = points_of(atoms)
    expected = density(model, atoms, points)
    moved = atoms.copy()
    moved.positions += [0.7, -3.3, 11.0]
    moved.wrap()
    np.testing.assert_allclose(
        density(model, moved, points + np.array([0.7, -3.3, 11.0])), expected, rtol=0, atol=EXACT
    )
    shifted = points + np.array([2, -1, 3]) @ np.asarray(atoms.cell)
    np.testing.assert_allclose(density(model, atoms, shifted), expected, rtol=0, atol=EXACT)


def test_permutation(model):
    atoms = rock(4)
    points = points_of(atoms)
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(density(model, atoms[order], points), density(model, atoms, points), rtol=0, atol=EXACT)


def test_a_supercell_has_the_same_density(model):
    """The unit cell is smaller than the cutoff: its atoms meet their own images in it, and neighbours in the other."""
    atoms = rock(5)
    points = points_of(atoms)
    np.testing.assert_allclose(
        density(model, atoms.repeat(2), points), density(model, atoms, points), rtol=0, atol=EXACT
    )


def test_smooth_where_an_atom_enters_the_cutoff(model):
    atoms = rock(6)
    centre = atoms.positions[0]
    direction = np.array([0.48, 0.6, 0.64])
    distance = CUTOFF_A + np.array([-1e-5, 1e-5])
    values = density(model, atoms, centre + distance[:, None] * direction)
    assert np.abs(np.diff(values, axis=0)).max() < 1e-4


def test_finite_on_top_of_a_nucleus(model):
    atoms = rock(7)
    values = density(model, atoms, np.concatenate([atoms.positions, atoms.positions + 1e-7]))
    assert np.isfinite(values).all()
    np.testing.assert_allclose(values[: len(atoms)], values[len(atoms) :], atol=1e-4)


@pytest.mark.parametrize("repeat", [1, 2])
def test_blocks_of_pairs_equal_sums_over_all_images(model, repeat):
    """In a small cell several images of an atom are near; in a large one some atoms have none."""
    atoms = rock(8, repeat=repeat)
    network, n = model.network, len(atoms)
    points = 0.9 * np.random.default_rng(1).random((40, 3)) + [1.0, 1.0, 1.0]
    images = AtomImages(atoms.positions, np.asarray(atoms.cell), CUTOFF_A + 1.0)
    near = images.near(points.mean(axis=0), CUTOFF_A + 1.0)
    atom, positions = images.atom[near], images.positions_A[near]
    vectors = torch.from_numpy(positions - points[:, None])
    values, unit = network.basis(vectors)

    def summed(terms):
        return np.stack([terms.detach().numpy()[:, atom == a].sum(axis=1) for a in range(n)], axis=1)

    directed = np.stack([summed(values * unit[..., axis, None]) for axis in range(3)])
    expected = {"basis": summed(values), "directed": directed, "multipoles": summed(network.near_basis(vectors))}
    assert len(set(atom)) < len(atom)
    tensors = (torch.from_numpy(array) for array in (points, positions, atom))
    for pairs in (brick_pairs(*tensors, CUTOFF_A), scattered_pairs(points, images, CUTOFF_A)):
        block = probe_block(pairs, n, network)
        assert (len(block.columns) == n) == (repeat == 1)
        for name, sums in expected.items():
            columns = block.near_columns if name == "multipoles" else block.columns
            found = np.zeros(sums.shape)
            found[..., columns.numpy(), :] = getattr(block, name).detach().unflatten(-1, (len(columns), -1))
            np.testing.assert_allclose(found, sums, rtol=0, atol=EXACT)


def test_pairs_agree_with_brute_force():
    atoms = rock(9)
    cell = np.asarray(atoms.cell)
    points = points_of(atoms, 10) + 5 * cell[0]
    images = AtomImages(atoms.positions, cell, 3.5)
    pairs = scattered_pairs(points, images, 3.5)
    shifts = np.stack(np.meshgrid(*[np.arange(-8, 9)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    every = atoms.positions[:, None] + shifts
    for probe in range(len(points)):
        lengths = np.linalg.norm(every - points[probe], axis=2)
        expected = np.sort(lengths[lengths < 3.5])
        found = np.sort(pairs.vectors_A[pairs.probe == probe].norm(dim=1).numpy())
        np.testing.assert_allclose(found, expected, atol=1e-9)


def test_no_message_from_a_probe_to_atoms(model):
    """The density at a point does not depend on which other points are asked for."""
    atoms = rock(1)
    points = points_of(atoms)
    alone = np.concatenate([density(model, atoms, point[None]) for point in points[:5]])
    np.testing.assert_allclose(alone, density(model, atoms, points)[:5], rtol=0, atol=EXACT)


def test_unknown_element_is_named(model):
    atoms = rock(1)
    atoms.numbers[0] = 26
    with pytest.raises(DataError, match="26"):
        EncodedAtoms(model, atoms)


class TestMultipoles:
    def test_harmonics_have_unit_norm_for_every_degree(self):
        vectors = np.random.default_rng(0).standard_normal((50, 3))
        values = harmonics(torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1)[:, None])).numpy()
        for degree in range(L_MAX + 1):
            norm = (values[:, component_degrees().numpy() == degree] ** 2).sum(axis=1)
            np.testing.assert_allclose(norm, 1, atol=1e-12)

    def test_addition_theorem(self):
        """Σ_m Y_lm(a)·Y_lm(b) = P_l(a·b), which fixes the harmonics up to a rotation among m."""
        rng = np.random.default_rng(1)
        a, b = (v / np.linalg.norm(v, axis=1)[:, None] for v in rng.standard_normal((2, 30, 3)))
        values = (harmonics(torch.from_numpy(a)) * harmonics(torch.from_numpy(b))).numpy()
        for degree in range(L_MAX + 1):
            legendre = np.polynomial.legendre.Legendre.basis(degree)((a * b).sum(axis=1))
            np.testing.assert_allclose(
                values[:, component_degrees().numpy() == degree].sum(axis=1), legendre, atol=1e-12
            )

    def test_quadrature_is_exact_to_its_degree(self):
        points, weights = sphere_quadrature(3 * L_MAX)
        assert weights.sum() == pytest.approx(1)
        # ∫ z^n over the unit sphere, normalised: 1/(n + 1) for even n.
        for power in range(0, 3 * L_MAX + 1, 2):
            assert weights @ points[:, 0] ** power == pytest.approx(1 / (power + 1), abs=1e-12)
            assert weights @ points[:, 2] ** power == pytest.approx(1 / (power + 1), abs=1e-12)

    def test_product_of_low_degrees_is_the_product_of_functions(self):
        rng = np.random.default_rng(2)
        low = component_degrees() <= L_MAX // 2
        first, second = (torch.from_numpy(rng.standard_normal(len(low))) * low for _ in range(2))
        product = SphereProduct()(first, second)
        vectors = rng.standard_normal((20, 3))
        values = harmonics(torch.from_numpy(vectors / np.linalg.norm(vectors, axis=1)[:, None]))
        np.testing.assert_allclose(values @ product, (values @ first) * (values @ second), atol=1e-12)


def test_pairs_record_counts():
    pairs = ProbePairs(0, torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), torch.zeros(0, 3))
    assert Superposition(ELEMENTS, CUTOFF_A, np.zeros((4, SPLINES, 2))).sum(pairs, np.zeros(0, int)).shape == (0, 2)
