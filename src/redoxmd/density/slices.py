"""Slices of densities in planes through atoms, as arrays and as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from ase.data import chemical_symbols
from scipy.ndimage import map_coordinates

from redoxmd.density.grid import Density
from redoxmd.errors import DataError
from redoxmd.files.records import read_json
from redoxmd.model.neighbours import find_pairs
from redoxmd.structures.periodic_cell import PeriodicCell

SEARCH_A = 4.0
# Ligands are the atoms within this multiple of the shortest distance: six around an octahedral site.
SHELL = 1.35
# Ligands in line with the centre span no plane.
LEAST_SINE = 0.1
PLANE_SIZE_A = 6.0
PLANE_POINTS = 121
NEAR_PLANE_A = 0.6
CUBIC = 3


@dataclass(frozen=True)
class Plane:
    """A plane with axes u and v; point (u, v) lies at origin + u·u_axis + v·v_axis.

    Attributes:
        origin_A: (3,) the centre.
        u_axis: (3,) unit vector, towards the nearer ligand.
        v_axis: (3,) unit vector in the plane, perpendicular to u.
        angle_degrees: angle ligand – centre – ligand.
    """

    origin_A: np.ndarray
    u_axis: np.ndarray
    v_axis: np.ndarray
    angle_degrees: float

    def components_A(self, points_A: np.ndarray) -> np.ndarray:
        """(n, 3) u, v and height above the plane of points (n, 3)."""
        axes = np.stack([self.u_axis, self.v_axis, np.cross(self.u_axis, self.v_axis)])
        components: np.ndarray = (np.asarray(points_A) - self.origin_A) @ axes.T
        return components

    def points_A(self, size_A: float, points: int) -> np.ndarray:
        """Points (points, points, 3) of a square of side size_A around the origin, with edges, first axis along v."""
        ticks = np.linspace(-size_A / 2, size_A / 2, points)
        v, u = np.meshgrid(ticks, ticks, indexing="ij")
        grid_A: np.ndarray = self.origin_A + u[..., None] * self.u_axis + v[..., None] * self.v_axis
        return grid_A


def plane_through(positions_A: np.ndarray, cell_A: np.ndarray, centre: int) -> Plane:
    """The plane of an atom and the two of its nearest neighbours whose angle is nearest to 90°.

    Args:
        positions_A: (n, 3).
        cell_A: (3, 3), periodic along all three.
        centre: index of the central atom.

    Raises:
        DataError: the atom has fewer than two neighbours within 4 Å, or all neighbours lie on a line.
    """
    positions, cell = np.asarray(positions_A, dtype=float), np.asarray(cell_A, dtype=float)
    near = find_pairs(positions, cell, np.ones(3, dtype=bool), SEARCH_A)
    vectors = near.vectors_A(positions, cell)[near.receiver == centre]
    lengths = np.linalg.norm(vectors, axis=1)
    order = np.argsort(lengths, kind="stable")
    ligands = vectors[order][lengths[order] <= SHELL * lengths.min(initial=np.inf)]
    units = ligands / np.linalg.norm(ligands, axis=1)[:, None]
    # Perfect crystals have equal angles: after rounding, the order of distance decides.
    pairs = sorted(combinations(range(len(units)), 2), key=lambda pair: round(abs(units[pair[0]] @ units[pair[1]]), 6))
    if not pairs or np.linalg.norm(np.cross(*units[list(pairs[0])])) < LEAST_SINE:
        raise DataError(f"atom {centre} has no two neighbours within {SEARCH_A:g} Å that span a plane with it")
    first, second = units[list(pairs[0])]
    upright = second - (second @ first) * first
    angle = float(np.degrees(np.arccos(np.clip(first @ second, -1.0, 1.0))))
    return Plane(positions[centre], first, upright / np.linalg.norm(upright), angle)


def interpolate_grid(grid: np.ndarray, cell_A: np.ndarray, points_A: np.ndarray) -> np.ndarray:
    """Interpolate a periodic grid at points (…, 3) by cubic splines; point (i, j, k) is at (i/nx, j/ny, k/nz)."""
    coordinates = points_A @ np.linalg.inv(cell_A) * np.array(grid.shape)
    values: np.ndarray = map_coordinates(
        np.asarray(grid, dtype=float), np.moveaxis(coordinates, -1, 0), order=CUBIC, mode="grid-wrap"
    )
    return values


def atoms_in_plane(
    numbers: np.ndarray, positions_A: np.ndarray, cell_A: np.ndarray, plane: Plane, size_A: float
) -> list[dict[str, Any]]:
    """Atoms and images within 0.6 Å of the square: symbol, u_A, v_A, off_plane_A."""
    radius_A = size_A / np.sqrt(2) + NEAR_PLANE_A
    images, owners = _images(positions_A, cell_A, plane.origin_A, radius_A)
    components = plane.components_A(images)
    inside = (np.abs(components) <= [size_A / 2, size_A / 2, NEAR_PLANE_A]).all(axis=1)
    return [
        {"symbol": chemical_symbols[numbers[owner]], "u_A": float(u), "v_A": float(v), "off_plane_A": float(height)}
        for owner, (u, v, height) in zip(owners[inside], components[inside], strict=True)
    ]


def _images(
    positions: np.ndarray, cell: np.ndarray, centre: np.ndarray, radius_A: float
) -> tuple[np.ndarray, np.ndarray]:
    """Images (m, 3) of atoms within a radius_A of a point, and their atom indices (m,)."""
    near = PeriodicCell(cell).minimum_image(positions - centre)
    farthest = radius_A + np.linalg.norm(near, axis=1).max(initial=0.0)
    counts = np.ceil(farthest * np.linalg.norm(np.linalg.inv(cell), axis=0)).astype(int)
    shifts = np.stack(np.meshgrid(*[np.arange(-n, n + 1) for n in counts], indexing="ij"), axis=-1).reshape(-1, 3)
    offsets = near[:, None] + (shifts @ cell)[None]
    owner, image = np.nonzero(np.linalg.norm(offsets, axis=-1) <= radius_A)
    return centre + offsets[owner, image], owner


def slice_reference(
    reference: Density,
    centre: int,
    predict: Callable[[np.ndarray], np.ndarray],
    title: str = "",
    size_A: float = PLANE_SIZE_A,
    points: int = PLANE_POINTS,
) -> dict[str, Any]:
    """Slices of a reference density and of its prediction in the plane through atom `centre` and its ligands.

    Args:
        reference: density whose grid is interpolated.
        centre: index of the central atom.
        predict: function that returns total and spin (P, 2) in e/Å³ at points (P, 3).
        title: title of the figure.
        size_A: side of the square.
        points: number of points along each side.

    Returns:
        reference_total, predicted_total, reference_spin, predicted_spin (points, points) in e/Å³, first axis v;
        extent_A (u0, u1, v0, v1); atoms, see `atoms_in_plane`; title.
    """
    plane = plane_through(reference.positions_A, reference.cell_A, centre)
    half, points_A = size_A / 2, plane.points_A(size_A, points)
    slices: dict[str, Any] = {"extent_A": (-half, half, -half, half), "title": title}
    for component, grid in (("total", reference.total_e_A3), ("spin", reference.spin_e_A3)):
        slices[f"reference_{component}"] = interpolate_grid(grid, reference.cell_A, points_A)
    values = predict(points_A.reshape(-1, 3))
    slices["predicted_total"], slices["predicted_spin"] = values.T.reshape(2, points, points)
    slices["atoms"] = atoms_in_plane(reference.numbers, reference.positions_A, reference.cell_A, plane, size_A)
    return slices


def read_slices(path: str | Path) -> dict[str, Any]:
    """Read slices from JSON; grids become arrays."""
    record: dict[str, Any] = read_json(path)
    return {key: np.array(value) if key.endswith(("_total", "_spin")) else value for key, value in record.items()}


def slice_table(slices: dict[str, Any]) -> pd.DataFrame:
    """Slices as a long table with u_A, v_A and the four values in e/Å³."""
    names = ("reference_total", "predicted_total", "reference_spin", "predicted_spin")
    if not slices:
        return pd.DataFrame(columns=["u_A", "v_A", *(f"{name}_e_A3" for name in names)])
    rows, columns = np.shape(slices[names[0]])
    u0, u1, v0, v1 = (float(value) for value in slices["extent_A"])
    v, u = np.meshgrid(np.linspace(v0, v1, rows), np.linspace(u0, u1, columns), indexing="ij")
    values = {f"{name}_e_A3": np.asarray(slices[name]).ravel() for name in names}
    return pd.DataFrame({"u_A": u.ravel(), "v_A": v.ravel(), **values})
