import numpy as np
import pytest
from ase import Atoms
from ase.geometry import find_mic

from redoxmd.structures.periodic_cell import PeriodicCell, misplacements_A, same_cell

CELLS = {
    "orthogonal": np.diag([5.0, 6.0, 7.0]),
    "triclinic": np.array([[8.0, 0.0, 0.0], [3.0, 8.5, 0.0], [-2.5, 3.5, 9.0]]),
    "very oblique": np.array([[5.0, 0.0, 0.0], [14.0, 4.0, 0.0], [3.0, -9.0, 6.0]]),
    "left-handed": np.array([[8.0, 0.0, 0.0], [3.0, -8.5, 0.0], [-2.5, 3.5, 9.0]]),
}


def by_all_images(vectors, cell, n=20):
    images = np.stack(np.meshgrid(*[np.arange(-n, n + 1)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    return np.linalg.norm(vectors[:, None] + images, axis=-1).min(axis=1)


@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
def test_minimum_images_are_the_shortest_of_all_images(cell):
    vectors = np.random.default_rng(0).uniform(-6, 6, (20, 3))
    found = PeriodicCell(cell).minimum_image(vectors)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), by_all_images(vectors, cell), rtol=1e-9)
    lattice = (found - vectors) @ np.linalg.inv(cell)
    np.testing.assert_allclose(lattice, np.round(lattice), atol=1e-9)


@pytest.mark.parametrize("periodic", [(1, 1, 0), (0, 1, 1), (1, 0, 0), (0, 0, 0)])
def test_a_direction_without_a_vector_is_not_periodic(periodic):
    cell = CELLS["triclinic"] * np.array(periodic)[:, None]
    vectors = np.random.default_rng(1).uniform(-30, 30, (50, 3))
    found = PeriodicCell(cell).minimum_image(vectors)
    _, expected = find_mic(vectors, cell, pbc=np.array(periodic, dtype=bool))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), expected, rtol=1e-9)


@pytest.mark.parametrize(
    "cell", [np.ones((3, 3)), np.diag([5.0, np.nan, 5.0]), np.array([[5.0, 0, 0], [10.0, 0, 0], [0, 0, 0]])]
)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_cell_without_a_volume_wraps_nothing(cell):
    vectors = np.random.default_rng(2).uniform(-30, 30, (5, 3))
    np.testing.assert_array_equal(PeriodicCell(cell).minimum_image(vectors), vectors)
    assert PeriodicCell(cell).inscribed_radius_A == np.inf


def test_short_vectors_stay_as_they_are_to_the_last_bit():
    cell = PeriodicCell(CELLS["triclinic"])
    directions = np.random.default_rng(3).standard_normal((200, 3))
    vectors = 0.8 * cell.inscribed_radius_A * directions / np.linalg.norm(directions, axis=1)[:, None]
    np.testing.assert_array_equal(cell.minimum_image(vectors), vectors)
    np.testing.assert_array_equal(cell.nearest_image(vectors, np.zeros(3)), vectors)


def test_a_wrapped_path_is_unwrapped():
    cell, rng = CELLS["triclinic"], np.random.default_rng(4)
    path = np.cumsum(rng.uniform(-1, 1, (400, 6, 3)), axis=0)
    fractional = path @ np.linalg.inv(cell)
    wrapped = (fractional - np.floor(fractional)) @ cell
    unwrapped = [path[0]]
    for positions in wrapped[1:]:
        unwrapped.append(PeriodicCell(cell).nearest_image(positions, unwrapped[-1]))
    np.testing.assert_allclose(np.array(unwrapped), path, atol=1e-9)


def test_misplacements_are_modulo_lattice_vectors():
    atoms = Atoms("NaVO", positions=[[0, 0, 0], [1, 2, 3], [4, 5, 6]], cell=CELLS["triclinic"], pbc=True)
    moved = atoms.positions + CELLS["triclinic"][[0, 1, 2]]
    moved[2] += [0.03, 0.0, 0.04]
    np.testing.assert_allclose(misplacements_A(moved, atoms), [0, 0, 0.05], atol=1e-12)
    np.testing.assert_allclose(misplacements_A(moved[2], atoms)[2], 0.05, atol=1e-12)


def test_cells_agree_within_the_digits_of_an_outcar_and_nan_with_nothing():
    cell = CELLS["triclinic"]
    assert same_cell(cell, cell + 0.9e-4)
    assert not same_cell(cell, cell + 1.1e-4)
    assert not same_cell(cell, np.full((3, 3), np.nan))
