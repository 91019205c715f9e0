"""One electron density on its grid, with the checks that it must pass."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from ase import Atoms

from redoxmd.errors import DensityRefusal, DensityRefused

# Hot GPAW frames of NVP are off by up to 0.1 %; a larger error means that the grid does not hold the charge.
ELECTRON_TOLERANCE = 5e-3


@dataclass(frozen=True)
class Density:
    """Valence electron density of a frame on a periodic grid; point (i, j, k) lies at (i/nx, j/ny, k/nz) of the cell.

    Attributes:
        total_e_A3: (nx, ny, nz) up + down, e/Å³.
        spin_e_A3: (nx, ny, nz) up − down, e/Å³; zeros if not spin-polarised.
        cell_A: (3, 3).
        positions_A: (n, 3).
        numbers: (n,).
        valence_e: (n,) valence electrons of each neutral atom, the reference of its Bader charge.
        electrons: expected number of valence electrons, equal to the integral of total.
        moment_muB: integral of spin.
        correction: factor that normalised the integral.
        source: engine and settings, or file.
        moments_muB: (n,) on-site moments of the calculation; None if they are unknown.
        oxidation: (n,) oxidation states, 0 except for redox atoms; None if they are not assigned.
    """

    total_e_A3: np.ndarray
    spin_e_A3: np.ndarray
    cell_A: np.ndarray
    positions_A: np.ndarray
    numbers: np.ndarray
    valence_e: np.ndarray
    electrons: float
    moment_muB: float
    correction: float
    source: str
    moments_muB: np.ndarray | None = None
    oxidation: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid points along the three axes."""
        nx, ny, nz = self.total_e_A3.shape
        return nx, ny, nz

    @property
    def atoms(self) -> Atoms:
        """The structure, fully periodic, with the array `oxidation` if states are assigned."""
        atoms = Atoms(self.numbers, self.positions_A, cell=self.cell_A, pbc=True)
        if self.oxidation is not None:
            atoms.set_array("oxidation", self.oxidation)
        return atoms

    @property
    def volume_A3(self) -> float:
        """Cell volume."""
        return float(abs(np.linalg.det(self.cell_A)))

    @property
    def voxel_A3(self) -> float:
        """Volume of a grid point."""
        return self.volume_A3 / self.total_e_A3.size


def accept_density(
    total_e_A3: np.ndarray,
    spin_e_A3: np.ndarray,
    cell_A: np.ndarray,
    positions_A: np.ndarray,
    numbers: np.ndarray,
    valence_e: np.ndarray,
    electrons: float,
    source: str,
) -> Density:
    """Check a density and normalise it to the expected number of electrons; `correction` records the factor.

    Raises:
        DensityRefused: wrong_shape (grids or atoms do not fit together), not_finite, or wrong_electrons (the
            integral is off by more than 0.5 %).
    """
    total, spin = np.asarray(total_e_A3, dtype=float), np.asarray(spin_e_A3, dtype=float)
    cell, positions, numbers = np.asarray(cell_A, float), np.asarray(positions_A, float), np.asarray(numbers)
    valence = np.asarray(valence_e, dtype=float)
    if total.ndim != 3 or total.shape != spin.shape or 0 in total.shape:
        raise DensityRefused(
            DensityRefusal.WRONG_SHAPE,
            f"{source}: shapes of total {total.shape} and spin {spin.shape} fit no grid",
        )
    n = len(numbers)
    if cell.shape != (3, 3) or positions.shape != (n, 3) or valence.shape != (n,) or not n:
        raise DensityRefused(
            DensityRefusal.WRONG_SHAPE,
            f"{source}: {positions.shape} positions and {valence.shape} valences for {n} atoms",
        )
    if not all(np.isfinite(values).all() for values in (total, spin, cell, positions)):
        raise DensityRefused(
            DensityRefusal.NOT_FINITE, f"{source}: NaN or infinite values in the density or the geometry"
        )
    voxel = abs(np.linalg.det(cell)) / total.size
    total_e = float(total.sum() * voxel)
    if not abs(total_e - electrons) <= ELECTRON_TOLERANCE * electrons:
        raise DensityRefused(
            DensityRefusal.WRONG_ELECTRONS, f"{source}: the density holds {total_e:.3f} electrons, not {electrons:g}"
        )
    correction = electrons / total_e
    return Density(
        total * correction,
        spin * correction,
        cell,
        positions,
        numbers,
        valence,
        float(electrons),
        float(spin.sum() * voxel * correction),
        correction,
        source,
    )


def nmae_percent(predicted: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """100·Σ|predicted − reference| / Σ|reference| over the first axis; NaN where the reference is zero."""
    norm = np.abs(reference).sum(axis=0)
    error = np.abs(predicted - reference).sum(axis=0)
    percent: np.ndarray = 100 * np.divide(error, norm, out=np.full_like(norm, np.nan), where=norm > 0)
    return percent
