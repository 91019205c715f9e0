"""Occupation matrices of the orbitals with +U, as columns of a frame, and changes of the orbital order of an atom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Array of a frame; shape, order and basis as in `occupation_columns`.
OCCUPATIONS = "orbital_occupations"
# A rotation of an occupied orbital by 17° towards an empty one; a step of MD turns orbitals by far less.
ORBITAL_CHANGE = 0.3


def occupation_columns(matrices: Mapping[int, np.ndarray], n_atoms: int, size: int) -> np.ndarray:
    """Occupation matrices as columns (n, m(m + 1)) of a frame; 0 for atoms without +U.

    A row is the upper triangle of the spin-up matrix, row by row, and then that of the spin-down matrix. An atom with
    fewer than m orbitals has its matrix in the first rows and columns, with zeros around it.

    Args:
        matrices: atom → (2, k, k) occupation matrix of each spin, k ≤ m, in the engine's real spherical harmonics.
        n_atoms: n.
        size: m, 2l + 1 of the largest l with +U.
    """
    rows, columns = np.triu_indices(size)
    table = np.zeros((n_atoms, size * (size + 1)))
    for atom, matrix in matrices.items():
        missing = size - matrix.shape[-1]
        padded = np.pad(np.real(matrix), ((0, 0), (0, missing), (0, missing)))
        table[atom] = padded[:, rows, columns].ravel()
    return table


def occupation_matrices(table: np.ndarray) -> np.ndarray:
    """Occupation matrices (n, 2, m, m) of the columns (n, m(m + 1)) of a frame.

    Raises:
        ValueError: the array has another shape.
    """
    width = table.shape[-1] if np.ndim(table) == 2 else 0
    size = round((np.sqrt(4 * width + 1) - 1) / 2)
    if not width or size * (size + 1) != width:
        raise ValueError(f"{OCCUPATIONS} of shape {np.shape(table)}: a row has m(m + 1) numbers for m orbitals")
    rows, columns = np.triu_indices(size)
    matrices = np.zeros((len(table), 2, size, size))
    matrices[:, :, rows, columns] = matrices[:, :, columns, rows] = table.reshape(len(table), 2, -1)
    return matrices


def orbital_changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Change (n,) of the orbital order of each atom: the largest |eigenvalue| of the difference of its matrices.

    1 if an electron has moved to an orthogonal orbital of the same atom, whatever the axes of the orbitals;
    |sin φ| if its orbital has turned by φ in the space of the orbitals.

    Args:
        before, after: columns (n, m(m + 1)) of two frames.

    Raises:
        ValueError: the arrays differ in shape or are no occupation matrices.
    """
    if np.shape(before) != np.shape(after):
        raise ValueError(f"{OCCUPATIONS} of shapes {np.shape(before)} and {np.shape(after)}")
    difference = occupation_matrices(after) - occupation_matrices(before)
    changes: np.ndarray = np.abs(np.linalg.eigvalsh(difference)).max(axis=(1, 2))
    return changes
