"""Planes through densities, against functions and geometries known in closed form."""

import numpy as np
import pytest
from ase.build import bulk
from ase.data import atomic_numbers

from redoxmd.density.slices import (
    Plane,
    atoms_in_plane,
    interpolate_grid,
    plane_through,
    slice_reference,
    slice_table,
)
from redoxmd.engines.toy import gaussian_density
from redoxmd.errors import DataError
from tests.engines.test_engines import nvp

TRICLINIC = np.array([[5.0, 0.4, 0.0], [1.2, 4.6, 0.3], [-0.5, 0.8, 5.4]])
# A cubic spline of a wave sampled 16 times per period or more.
SPLINE = 1e-3
GEOMETRY = 1e-9


def on_grid(density):
    grids = (density.total_e_A3, density.spin_e_A3)
    return lambda points: np.stack([interpolate_grid(grid, density.cell_A, points) for grid in grids], axis=1)


def waves(fractional):
    a, b, c = np.moveaxis(2 * np.pi * np.asarray(fractional), -1, 0)
    return 1.0 + 0.5 * np.sin(a + b) + 0.3 * np.cos(2 * c - a)


def wave_grid(shape=(32, 36, 40)):
    axes = [np.arange(n) / n for n in shape]
    return waves(np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1))


def axes_at_random(seed=0):
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q[:, 0], q[:, 1]


def test_samples_are_those_of_the_function_far_outside_the_cell_too():
    origin, (u, v) = np.array([0.7, -1.3, 9.1]), axes_at_random()
    size, points = 14.0, 29
    sampled = interpolate_grid(wave_grid(), TRICLINIC, Plane(origin, u, v, 90.0).points_A(size, points))
    ticks = np.linspace(-size / 2, size / 2, points)
    places = origin + ticks[None, :, None] * u + ticks[:, None, None] * v
    assert sampled.shape == (points, points)
    np.testing.assert_allclose(sampled, waves(places @ np.linalg.inv(TRICLINIC)), atol=SPLINE)


def test_a_cell_vector_further_on_everything_is_the_same():
    u, v = axes_at_random(1)
    here, there = (
        interpolate_grid(wave_grid(), TRICLINIC, Plane(shift @ TRICLINIC, u, v, 90.0).points_A(4.0, 9))
        for shift in (np.zeros(3), [2, -1, 3])
    )
    np.testing.assert_allclose(here, there, atol=GEOMETRY)


def test_grid_points_keep_their_values():
    cell = np.diag([4.0, 4.0, 4.0])
    grid = np.random.default_rng(0).normal(size=(8, 8, 8))
    plane = Plane(np.array([1.0, 1.0, 1.5]), np.eye(3)[0], np.eye(3)[1], 90.0)
    sampled = interpolate_grid(grid, cell, plane.points_A(2.0, 5))
    np.testing.assert_allclose(sampled, grid[:5, :5, 3].T, atol=GEOMETRY)


def test_rock_salt_gives_a_right_angle():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    plane = plane_through(atoms.positions, np.asarray(atoms.cell), 0)
    assert plane.angle_degrees == pytest.approx(90.0)
    assert sorted(np.abs([*plane.u_axis, *plane.v_axis])) == pytest.approx([0, 0, 0, 0, 1, 1], abs=GEOMETRY)


def test_the_plane_holds_the_centre_and_two_ligands():
    atoms = nvp()
    vanadium = int(np.flatnonzero(atoms.numbers == atomic_numbers["V"])[0])
    plane = plane_through(atoms.positions, np.asarray(atoms.cell), vanadium)
    assert 80 < plane.angle_degrees < 100
    assert abs(plane.u_axis @ plane.v_axis) < GEOMETRY
    shown = atoms_in_plane(atoms.numbers, atoms.positions, np.asarray(atoms.cell), plane, 6.0)
    on_it = sorted(atom["symbol"] for atom in shown if abs(atom["off_plane_A"]) < GEOMETRY)
    assert on_it.count("V") == 1
    assert on_it.count("O") >= 2
    (centre,) = (atom for atom in shown if atom["symbol"] == "V" and abs(atom["u_A"]) + abs(atom["v_A"]) < GEOMETRY)
    assert centre["off_plane_A"] == pytest.approx(0.0, abs=GEOMETRY)


def test_neighbours_across_the_boundary_count():
    atoms = bulk("NaCl", "rocksalt", a=5.64)
    moved = atoms.positions + np.array([2, 0, -3]) @ np.asarray(atoms.cell) * np.array([[1], [0]])
    for positions in (atoms.positions, moved):
        plane = plane_through(positions, np.asarray(atoms.cell), 0)
        shown = atoms_in_plane(atoms.numbers, positions, np.asarray(atoms.cell), plane, 6.0)
        assert sorted(atom["symbol"] for atom in shown) == ["Cl"] * 4 + ["Na"] * 5


@pytest.mark.parametrize("positions", [[[0, 0, 0]], [[0, 0, 0], [0, 0, 2.0]]], ids=["alone", "in a line"])
def test_no_plane_is_refused(positions):
    with pytest.raises(DataError, match="span a plane"):
        plane_through(np.array(positions, dtype=float), np.diag([9.0, 9.0, 9.0]), 0)


def test_the_spin_of_vanadium_is_in_the_middle_of_its_slice():
    atoms = nvp()
    density = gaussian_density(atoms)
    vanadium = int(np.flatnonzero(atoms.numbers == atomic_numbers["V"])[0])
    slices = slice_reference(density, vanadium, on_grid(density), "toy", size_A=4.0, points=21)
    spin = slices["reference_spin"]
    assert np.unravel_index(spin.argmax(), spin.shape) == (10, 10)
    np.testing.assert_array_equal(slices["reference_total"], slices["predicted_total"])


def test_the_table_holds_what_is_drawn():
    values = np.arange(6.0).reshape(2, 3)
    names = ("reference_total", "predicted_total", "reference_spin", "predicted_spin")
    slices = {name: values * factor for factor, name in enumerate(names, start=1)}
    table = slice_table({**slices, "extent_A": (-1.0, 1.0, -2.0, 2.0), "atoms": [], "title": ""})
    assert list(table.columns) == ["u_A", "v_A", *(f"{name}_e_A3" for name in names)]
    assert table["u_A"].tolist() == [-1, 0, 1, -1, 0, 1]
    assert table["v_A"].tolist() == [-2, -2, -2, 2, 2, 2]
    assert table["predicted_spin_e_A3"].tolist() == [0, 4, 8, 12, 16, 20]
    assert slice_table({}).empty
