"""Superposed atomic densities: radial profiles fitted to the training data, which the network corrects.

ρ₀(p) = Σ_j f_z(j)(|p − r_j|), likewise for the spin, with one profile f per element. The superposition removes the
sharp peaks at the nuclei, which no network of this size resolves, from the target.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy import sparse
from scipy.interpolate import BSpline
from torch import Tensor

from redoxmd.density.grid import Density
from redoxmd.density.probes import AtomImages, ProbePairs, scattered_pairs
from redoxmd.density.sampling import grid_points, points_near, points_uniform, values_at
from redoxmd.model.constant import Constant
from redoxmd.model.graph import species_index
from redoxmd.model.radial import envelope

SPLINES = 36
DEGREE = 3
# The splines are equidistant in asinh(r/a): about 0.03 Å apart at a nucleus, 0.7 Å at 5 Å.
FINEST_A = 0.15
TABLE_POINTS = 8192
POINTS_PER_DENSITY = 6000
# One third of the points lies anywhere, one third near atoms, one third at the nuclei (radii in Å).
NEAR_A, NUCLEUS_A = 1.5, 0.3
# Errors are weighted by 1/(density + this floor).
FLOOR_E_A3 = 0.1
# Penalties of the fit: on the coefficients, and on their curvature, which extrapolates the profile into the nucleus.
RIDGE, BENDING = 1e-6, 1e-3
# Inside this radius the profile of an atom is integrated exactly instead of on the grid; no Bader basin of an ion is
# smaller.
CORE_A = 0.5
CORE_QUADRATURE = 400


class Superposition:
    """Radial density profiles of the elements, total and spin.

    Args:
        elements: sorted atomic numbers.
        cutoff_A: distance at which the profiles end.
        coefficients: (elements, SPLINES, 2) spline coefficients, e/Å³.
    """

    def __init__(self, elements: Sequence[int], cutoff_A: float, coefficients: np.ndarray) -> None:
        self.elements = list(elements)
        self.cutoff_A = cutoff_A
        self.coefficients = np.asarray(coefficients, dtype=float)
        self._longest = float(np.arcsinh(cutoff_A / FINEST_A))
        x = np.linspace(0, self._longest, TABLE_POINTS)
        # The envelope belongs to the tabulated function, which therefore ends smoothly at the cutoff.
        basis = spline_basis(FINEST_A * np.sinh(x), cutoff_A).toarray()
        table = np.einsum("rk,zkd->zrd", basis, self.coefficients)
        self._table = Constant(torch.from_numpy(np.append(table, np.zeros((len(self.elements), 1, 2)), axis=1)))

    def profiles(self, distance_A: Tensor, species: Tensor) -> Tensor:
        """f(r) (…, 2) in e/Å³ of atoms by species index at distances r (…), total first, by linear interpolation."""
        table = self._table.like(distance_A)
        node = (torch.asinh(distance_A / FINEST_A) * ((TABLE_POINTS - 1) / self._longest)).clamp(max=TABLE_POINTS - 1)
        index = node.floor().long()
        fraction = (node - index)[..., None]
        flat = table.flatten(0, 1)
        row = species * (TABLE_POINTS + 1) + index
        values: Tensor = torch.lerp(flat[row], flat[row + 1], fraction)
        return values

    def at_probes(self, pairs: ProbePairs, species: Tensor) -> Tensor:
        """ρ₀ (P, 2) at the probes of `pairs`, on their device; `species` (n,) is the result of `species_index`."""
        values = self.profiles(pairs.vectors_A.norm(dim=1), species[pairs.atom])
        return values.new_zeros(pairs.n_probes, 2).index_add(0, pairs.probe, values)

    def sum(self, pairs: ProbePairs, species: np.ndarray) -> np.ndarray:
        """`at_probes` as an array of the host."""
        total: np.ndarray = self.at_probes(pairs, torch.from_numpy(species).to(pairs.atom.device)).cpu().numpy()
        return total

    def density_at(self, points_A: np.ndarray, images: AtomImages, species: np.ndarray) -> np.ndarray:
        """ρ₀ (P, 2) at arbitrary points (P, 3)."""
        return self.sum(scattered_pairs(points_A, images, self.cutoff_A), species)

    def core_profile(self, distance_A: np.ndarray, species: int) -> np.ndarray:
        """Core profile f·u (P, 2) of one atom at distances (P,); the envelope u ends at CORE_A."""
        distance = torch.from_numpy(distance_A)
        window = envelope(distance, CORE_A)[:, None]
        values: np.ndarray = (self.profiles(distance, torch.tensor(species)) * window).numpy()
        return values

    @cached_property
    def core_integrals(self) -> np.ndarray:
        """Integrals 4π∫ f·u·r² dr (elements, 2) up to CORE_A, in e and μB."""
        nodes, weights = np.polynomial.legendre.leggauss(CORE_QUADRATURE)
        radius = CORE_A / 2 * (nodes + 1)
        measure = 4 * np.pi * radius**2 * weights * CORE_A / 2
        return np.array([measure @ self.core_profile(radius, z) for z in range(len(self.elements))])

    def record(self) -> dict[str, Any]:
        """Plain data for a model file."""
        return {
            "elements": self.elements,
            "cutoff_A": self.cutoff_A,
            "coefficients": torch.from_numpy(self.coefficients),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> Superposition:
        """Rebuild a superposition from `record`."""
        return cls(record["elements"], record["cutoff_A"], record["coefficients"].numpy())


def spline_basis(distance_A: np.ndarray, cutoff_A: float) -> sparse.csr_array:
    """Cubic B-splines in asinh(r/a) times the envelope (len(distance), SPLINES), four of them at each distance."""
    longest = np.arcsinh(cutoff_A / FINEST_A)
    inner = np.linspace(0, longest, SPLINES - DEGREE + 1)
    knots = np.concatenate([[0.0] * DEGREE, inner, [longest] * DEGREE])
    x = np.clip(np.arcsinh(distance_A / FINEST_A), 0, longest * (1 - 1e-12))
    window = envelope(torch.from_numpy(np.asarray(distance_A, dtype=float)), cutoff_A).numpy()
    return sparse.diags_array(window) @ BSpline.design_matrix(x, knots, DEGREE)


def fit_superposition(
    densities: Iterable[Density], elements: Sequence[int], cutoff_A: float, rng: np.random.Generator
) -> Superposition:
    """Fit the profiles by least squares with relative weights to points of all densities, most of them near atoms.

    Only the normal equations are stored, so that densities are read one at a time.
    """
    size = len(elements) * SPLINES
    normal_matrix, right_side = np.zeros((size, size)), np.zeros((size, 2))
    for density in densities:
        images = AtomImages(density.positions_A, density.cell_A, cutoff_A)
        species = species_index(density.numbers, elements)
        third = POINTS_PER_DENSITY // 3
        near = [points_near(density, density.positions_A, radius, third, rng) for radius in (NEAR_A, NUCLEUS_A)]
        index = np.concatenate([points_uniform(density, third, rng), *near])
        # Sum of the splines of all atoms around each point (P, elements·SPLINES).
        pairs = scattered_pairs(grid_points(density, index), images, cutoff_A)
        row = pairs.probe.numpy() * len(elements) + species[pairs.atom.numpy()]
        sums = sparse.csr_array(
            (np.ones(len(row)), (row, np.arange(len(row)))), shape=(len(index) * len(elements), len(row))
        )
        design = (sums @ spline_basis(pairs.vectors_A.norm(dim=1).numpy(), cutoff_A)).toarray()
        design = design.reshape(len(index), size)
        target = values_at(density, index)
        weight = 1 / (np.abs(target[:, :1]) + FLOOR_E_A3)
        design *= weight
        normal_matrix += design.T @ design
        right_side += design.T @ (target * weight)
    second = np.diff(np.eye(SPLINES), n=2, axis=0)
    penalty = np.kron(np.eye(len(elements)), BENDING * second.T @ second) + RIDGE * np.eye(size)
    coefficients = np.linalg.solve(normal_matrix + penalty, right_side)
    return Superposition(elements, cutoff_A, coefficients.reshape(len(elements), SPLINES, 2))
