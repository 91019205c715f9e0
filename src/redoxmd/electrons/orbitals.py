"""Occupation matrices of the orbitals with +U, as columns of a frame, and changes of the orbital order of an atom."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

# Array of a frame; shape, order and basis as in `occupation_columns`.
OCCUPATIONS = "orbital_occupations"
# Larger changes are listed: an occupied orbital has turned by more than 17° towards an empty one.
ORBITAL_CHANGE = 0.3
# Smallest difference between the occupations of the last filled and the first empty orbital of an ion. With GPAW and
# PBE+U it is 0.62 to 0.90 in clean V3+ and V4+, also at 1000 K, and below 0.1 where electrons share orbitals.
LEAST_GAP = 0.3
D_ORBITALS = 5


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


def filled_orbitals(element: str, oxidation: int, moment_muB: float) -> tuple[int, int] | None:
    """Numbers of filled d orbitals of an ion, of the majority and the minority spin.

    The d electrons are group minus oxidation number; the unpaired ones are the possible number nearest to the moment
    plus 0.5 μB, because on-site moments of covalent bonds are smaller than the number of unpaired electrons. None for
    an element that is no transition metal, or without a possible number of d electrons.
    """
    from pymatgen.core import Element

    if not Element(element).is_transition_metal:
        return None
    electrons = Element(element).group - oxidation
    if not 0 <= electrons <= 10:
        return None
    possible = range(electrons % 2, min(electrons, 10 - electrons) + 1, 2)
    unpaired = min(possible, key=lambda number: abs(number - abs(moment_muB) - 0.5))
    return (electrons + unpaired) // 2, (electrons - unpaired) // 2


def shared_orbitals(
    table: np.ndarray,
    symbols: Sequence[str],
    atoms: Sequence[int],
    oxidation: Sequence[int],
    moments_muB: Sequence[float],
    least_gap: float = LEAST_GAP,
) -> Iterator[str]:
    """A text for each ion whose electrons are spread over more d orbitals than they can fill.

    Such an ion has the moment of its state, but is not in its ground state: in an all-V3+ frame with one of them, the
    energy is 1.03 eV above that of integer occupations. Reported if the occupations of the last filled and the first
    empty orbital of a spin differ by less than `least_gap` (eigenvalues of the occupation matrix).

    Args:
        table: columns (n, m(m + 1)) of a frame; atoms without +U are skipped.
        symbols: (n,) elements.
        atoms: the ions that are judged.
        oxidation: oxidation number of each of them.
        moments_muB: on-site moment of each of them, with its sign.
        least_gap: smallest difference of occupations.
    """
    if not are_occupations(table) or _orbitals(table) < D_ORBITALS:
        return
    matrices = occupation_matrices(table)
    for atom, state, moment in zip(atoms, oxidation, moments_muB, strict=True):
        filled = filled_orbitals(symbols[atom], state, moment) if table[atom].any() else None
        majority_first = (0, 1) if moment >= 0 else (1, 0)
        for count, spin in zip(filled or (), majority_first, strict=False):
            occupations = np.linalg.eigvalsh(matrices[atom, spin])[::-1]
            if 0 < count < D_ORBITALS and occupations[count - 1] - occupations[count] < least_gap:
                numbers = ", ".join(f"{occupation:.2f}" for occupation in occupations[: count + 2])
                ion = f"{symbols[atom]} {atom} ({state}+)"
                yield f"{ion} fills {count} d orbitals of one spin, but has occupations {numbers}"
