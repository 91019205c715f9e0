import functools

import numpy as np
import pytest
import torch

from redoxmd.density import predict as prediction
from redoxmd.density.cores import MAX_COUNT_ERROR, integrate_cores, repair_nuclei, sphere_points
from redoxmd.density.grid import accept_density
from redoxmd.density.model import EncodedAtoms, clip_to_physical, load_density_model, save_density_model
from redoxmd.density.predict import Region, grid_shape, predict_density, region_mask
from redoxmd.density.sampling import nucleus_points, points_near, points_uniform
from redoxmd.density.superposition import CORE_A, fit_superposition
from redoxmd.errors import DataError
from redoxmd.model.graph import species_index
from tests.conftest import rock
from tests.density.test_network import ELEMENTS, VALENCE, random_model

CHUNKS = 1e-5  # e/Å³: what the size of bricks may change, in single precision
CUSP_A, CUSP_E = 0.01, 0.001  # a cusp far narrower than any grid, and what it holds


@pytest.fixture(scope="module")
def model():
    return random_model(3)


class TestPrediction:
    def test_grid_values_are_the_point_values(self, model):
        atoms = rock(1)
        shape = (14, 16, 12)
        density = predict_density(model, atoms, shape, exact_electrons=False)
        index = np.random.default_rng(0).integers(0, shape, (50, 3))
        far = np.ones(len(index), dtype=bool)
        for position in atoms.positions:
            core, _ = sphere_points(shape, np.asarray(atoms.cell), position, CORE_A)
            far &= ~(index[:, None] == core).all(axis=2).any(axis=1)
        values = clip_to_physical(EncodedAtoms(model, atoms).density_at(index[far] / shape @ np.asarray(atoms.cell)))
        found = np.stack([grid[tuple(index[far].T)] for grid in (density.total_e_A3, density.spin_e_A3)], axis=1)
        assert far.sum() > 20
        np.testing.assert_allclose(found, values, atol=1e-9)

    def test_bricks_change_nothing(self, model, monkeypatch):
        atoms, shape = rock(2), (15, 13, 14)
        single = random_model(3)
        single.network.float()
        results = []
        for edge in (3, 5, 20):
            monkeypatch.setitem(prediction.BRICK_POINTS, "cpu", edge)
            results.append(predict_density(single, atoms, shape))
        for other in results[1:]:
            np.testing.assert_allclose(other.total_e_A3, results[0].total_e_A3, atol=CHUNKS)
            np.testing.assert_allclose(other.spin_e_A3, results[0].spin_e_A3, atol=CHUNKS)

    def test_both_spins_are_never_negative(self, model):
        density = predict_density(model, rock(3), (12, 12, 12), exact_electrons=False)
        assert (density.total_e_A3 + density.spin_e_A3).min() > -1e-9
        assert (density.total_e_A3 - density.spin_e_A3).min() > -1e-9

    def test_electrons_and_moment_can_be_made_exact(self, model):
        atoms = rock(4)
        density = predict_density(model, atoms, (14, 14, 14), moment_muB=2.5)
        assert density.total_e_A3.sum() * density.voxel_A3 == pytest.approx(density.electrons, rel=1e-9)
        assert density.electrons == sum(VALENCE[z] for z in atoms.numbers)
        assert density.spin_e_A3.sum() * density.voxel_A3 == pytest.approx(2.5, rel=1e-9)
        raw = predict_density(model, atoms, (14, 14, 14), exact_electrons=False)
        np.testing.assert_allclose(raw.total_e_A3 * density.correction, density.total_e_A3, rtol=1e-9)

    def test_a_region_asks_the_network_there_only(self, model):
        atoms, shape = rock(5, repeat=2), (20, 20, 20)
        region = Region(np.array([2]), 1.6)
        everywhere = predict_density(model, atoms, shape, exact_electrons=False)
        partly = predict_density(model, atoms, shape, region, exact_electrons=False)
        inside = region_mask(atoms, shape, region)
        assert 0 < inside.sum() < inside.size
        np.testing.assert_allclose(partly.total_e_A3[inside], everywhere.total_e_A3[inside], atol=1e-9)
        assert np.abs(partly.total_e_A3 - everywhere.total_e_A3)[~inside].max() > 1e-3
        untrained = random_model(3)
        with torch.no_grad():
            for parameter in untrained.network.parameters():
                parameter.zero_()
        superposed = predict_density(untrained, atoms, shape, exact_electrons=False)
        np.testing.assert_allclose(partly.total_e_A3[~inside], superposed.total_e_A3[~inside], atol=1e-9)

    def test_plain_models_give_the_network_alone(self):
        atoms = rock(6)
        plain, difference = random_model(1, plain=True), random_model(1)
        points = np.random.default_rng(0).random((20, 3)) @ np.asarray(atoms.cell)
        encoded = EncodedAtoms(difference, atoms)
        from redoxmd.density.probes import AtomImages

        images = AtomImages(atoms.positions, np.asarray(atoms.cell), difference.superposition.cutoff_A)
        superposed = difference.superposition.density_at(points, images, encoded.species)
        np.testing.assert_allclose(
            encoded.density_at(points) - superposed, EncodedAtoms(plain, atoms).density_at(points), atol=1e-9
        )
        for each in (encoded, EncodedAtoms(plain, atoms)):
            values = each.density_and_superposition_at(points, chunk=6)
            np.testing.assert_allclose(values[0], each.density_at(points), atol=1e-9)
            np.testing.assert_allclose(values[1], superposed, atol=1e-9)

    def test_grid_shape_is_even_and_fine_enough(self):
        cell = np.diag([8.0, 9.1, 3.0])
        shape = grid_shape(cell, 0.15)
        assert all(size % 2 == 0 for size in shape)
        assert max(np.linalg.norm(cell, axis=1) / shape) <= 0.15

    def test_file(self, model, tmp_path):
        atoms = rock(7)
        points = np.random.default_rng(0).random((10, 3)) @ np.asarray(atoms.cell)
        save_density_model(tmp_path / "model.pt", model, {"note": "x"})
        again, about = load_density_model(tmp_path / "model.pt", "cpu")
        again.network.double()
        assert about == {"note": "x"}
        np.testing.assert_allclose(
            EncodedAtoms(again, atoms).density_at(points), EncodedAtoms(model, atoms).density_at(points)
        )

    @pytest.mark.parametrize("damage", ["missing", "truncated", "another"])
    def test_a_damaged_file_is_named(self, model, tmp_path, damage):
        path = tmp_path / "model.pt"
        save_density_model(path, model, {})
        if damage == "missing":
            path.unlink()
        elif damage == "truncated":
            path.write_bytes(path.read_bytes()[:500])
        else:
            torch.save({"format": 1}, path)
        with pytest.raises(DataError, match=r"model\.pt"):
            load_density_model(path, "cpu")


@functools.cache
def peaked(seed, shape, on_a_point=True):
    """Every atom of a rock a core and a shell of Gaussians under a cusp; the first one on a grid point, or between."""
    atoms = rock(seed)
    cell = np.asarray(atoms.cell)
    positions = atoms.positions.copy()
    if on_a_point:
        positions[0] = np.round(positions[0] @ np.linalg.inv(cell) * shape) / shape @ cell
    points = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3) / shape @ cell
    shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) @ cell
    total = np.zeros(len(points))
    for centre in (positions[:, None] + shifts).reshape(-1, 3):
        squared = ((points - centre) ** 2).sum(axis=1)
        # Farther away than nine widths of the shell there is nothing.
        near = np.flatnonzero(squared < 4.5**2)
        squared, distance = squared[near], np.sqrt(squared[near])
        for width, electrons in ((0.15, 1.0), (0.5, 4.0 - CUSP_E)):
            total[near] += electrons * np.exp(-squared / (2 * width**2)) / (2 * np.pi * width**2) ** 1.5
        total[near] += CUSP_E * np.exp(-distance / CUSP_A) / (8 * np.pi * CUSP_A**3)
    electrons = 5.0 * len(atoms)
    grid = total.reshape(shape)
    valence = np.full(len(atoms), 5.0)
    return accept_density(grid, 0.2 * grid, cell, positions, atoms.numbers, valence, electrons, "test")


class TestCores:
    @pytest.fixture(scope="class")
    def superposition(self):
        frames = [peaked(seed, (28, 30, 28)) for seed in range(4)]
        return fit_superposition(frames, [8, 11, 15, 23], 3.5, np.random.default_rng(0))

    def test_a_point_in_a_cusp_is_put_right(self, superposition):
        density = peaked(9, (28, 30, 28))
        repaired = repair_nuclei(density, superposition)
        before, after = (abs(item.correction - 1) * density.electrons for item in (density, repaired))
        assert before > 0.08
        assert after < 0.02
        assert repaired.total_e_A3.sum() * density.voxel_A3 == pytest.approx(density.electrons, rel=1e-9)
        # The others no longer pay for the first.
        index, _ = sphere_points(density.shape, density.cell_A, density.positions_A[0], 0.4)
        held = [item.total_e_A3[tuple(index.T)].sum() * density.voxel_A3 for item in (density, repaired)]
        assert held[0] - held[1] == pytest.approx(before, rel=0.2)

    def test_a_grid_too_coarse_to_know_the_cores_is_left_alone(self):
        frames = [peaked(seed, (14, 14, 14), on_a_point=False) for seed in range(2)]
        superposition = fit_superposition(frames, [8, 11, 15, 23], 3.5, np.random.default_rng(0))
        density = frames[0]
        repaired = repair_nuclei(density, superposition)
        assert abs(repaired.correction - 1) <= max(abs(density.correction - 1), MAX_COUNT_ERROR)

    def test_every_core_gets_its_own_charge(self, superposition):
        density = peaked(9, (28, 30, 28))
        species = species_index(density.numbers, superposition.elements)
        grids = np.stack([density.total_e_A3, density.spin_e_A3], axis=-1)
        before = grids.copy()
        integrate_cores(grids, density.cell_A, density.positions_A, species, superposition)
        for atom, kind in enumerate(species):
            index, distance = sphere_points(density.shape, density.cell_A, density.positions_A[atom], CORE_A)
            added = (grids - before)[tuple(index.T)].sum(axis=0) * density.voxel_A3
            core = superposition.core_profile(distance, int(kind)).sum(axis=0) * density.voxel_A3
            np.testing.assert_allclose(core + added, superposition.core_integrals[kind], atol=1e-9)

    def test_profiles_are_the_atoms(self, superposition):
        from redoxmd.density.probes import AtomImages
        from redoxmd.density.sampling import grid_points, values_at

        density = peaked(9, (28, 30, 28))
        images = AtomImages(density.positions_A, density.cell_A, superposition.cutoff_A)
        index = points_uniform(density, 2000, np.random.default_rng(0))
        found = superposition.density_at(
            grid_points(density, index), images, species_index(density.numbers, [8, 11, 15, 23])
        )
        reference = values_at(density, index)
        assert np.abs(found - reference).sum() < 0.01 * np.abs(reference).sum()

    def test_sphere_points_against_all_points(self):
        atoms, shape = rock(1), (11, 12, 13)
        cell = np.asarray(atoms.cell)
        index, distance = sphere_points(shape, cell, atoms.positions[0], 1.7)
        every = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1).reshape(-1, 3)
        shifts = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
        away = ((every[:, None] / shape + shifts) @ cell) - atoms.positions[0]
        lengths = np.linalg.norm(away, axis=2)
        np.testing.assert_allclose(np.sort(distance), np.sort(lengths[lengths < 1.7]), atol=1e-9)
        assert len(index) == len(distance)


class TestSampling:
    def test_points_at_nuclei_are_left_out(self):
        density = peaked(1, (28, 28, 28))
        nuclei = {tuple(index) for index in nucleus_points(density)}
        rng = np.random.default_rng(0)
        for index in (points_uniform(density, 5000, rng), points_near(density, density.positions_A, 0.6, 5000, rng)):
            assert len(index) > 2500
            assert not nuclei & {tuple(point) for point in index}

    def test_near_points_are_near(self):
        density = peaked(1, (30, 30, 30))
        index = points_near(density, density.positions_A[:1], 1.0, 1000, np.random.default_rng(0))
        wanted, _ = sphere_points(density.shape, density.cell_A, density.positions_A[0], 1.0 + 0.2)
        assert {tuple(point) for point in index} <= {tuple(point) for point in wanted}


def test_elements_of_the_helpers_agree():
    assert sorted(VALENCE) == ELEMENTS
