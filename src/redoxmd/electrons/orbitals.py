"""Occupation matrices of the orbitals with +U, as columns of a frame, and changes of the orbital order of an atom."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

# Array of a frame; shape, order and basis as in `occupation_columns`.
OCCUPATIONS = "orbital_occupations"
# Larger changes are listed: an occupied orbital has turned by more than 17° towards an empty one.
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


def are_occupations(table: np.ndarray) -> bool:
    """Whether an array has the form (n, m(m + 1)) of `occupation_columns` and finite numbers."""
    is_table = np.ndim(table) == 2 and table.dtype.kind == "f"
    return is_table and _orbitals(table) > 0 and bool(np.isfinite(table).all())


def _orbitals(table: np.ndarray) -> int:
    """Number m of orbitals of a table (n, m(m + 1)); 0 for another width."""
    width = table.shape[-1]
    size = int(np.sqrt(width))
    return size if size * (size + 1) == width else 0


def occupation_matrices(table: np.ndarray) -> np.ndarray:
    """Occupation matrices (n, 2, m, m) of the columns (n, m(m + 1)) of a frame."""
    size = _orbitals(table)
    rows, columns = np.triu_indices(size)
    matrices = np.zeros((len(table), 2, size, size))
    matrices[:, :, rows, columns] = matrices[:, :, columns, rows] = table.reshape(len(table), 2, -1)
    return matrices


def orbital_changes(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Change (n,) of the orbital order of each atom: the largest |eigenvalue| of the difference of its matrices.

    1 if an electron has moved to an orthogonal orbital of the same atom, |sin φ| if its orbital has turned by φ; the
    axes of the orbitals do not matter.

    Args:
        before, after: columns (n, m(m + 1)) of two frames of one structure.
    """
    difference = occupation_matrices(after) - occupation_matrices(before)
    changes: np.ndarray = np.abs(np.linalg.eigvalsh(difference)).max(axis=(1, 2))
    return changes
