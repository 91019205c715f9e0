"""Plane-wave mode of GPAW in which real wave functions (Γ point) are transformed two at a time."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
import torch
from gpaw import PW
from gpaw.wavefunctions.pw import PWWaveFunctions


class PairTransform:
    """Two real functions a and b in one complex Fourier transform of a + ib.

    Since a(−G) = a(G)*, the coefficients of a + ib are a(G) + ib(G) at G and a(G)* + ib(G)* at −G.

    Args:
        descriptor: GPAW's `PWDescriptor` of real wave functions on one rank; its basis has one G of each pair ±G.
    """

    def __init__(self, descriptor: Any) -> None:
        shape = tuple(int(points) for points in descriptor.gd.N_c)
        index = np.array(np.unravel_index(descriptor.Q_qG[0], descriptor.tmp_Q.shape))
        self._plus = np.ravel_multi_index(tuple(index), shape)
        self._minus = np.ravel_multi_index(tuple(-index % np.array(shape)[:, None]), shape)
        self._sphere = np.zeros(shape, complex)

    def to_grid(self, pair: np.ndarray) -> np.ndarray:
        """The functions of one or two rows of coefficients on the grid, as real and imaginary part."""
        a, b = pair[0], pair[1] if len(pair) == 2 else np.zeros_like(pair[0])
        coefficients = self._sphere.ravel()
        coefficients[self._minus] = a.conj() + 1j * b.conj()
        coefficients[self._plus] = a + 1j * b
        return torch.fft.ifftn(torch.from_numpy(self._sphere)).numpy()

    def to_basis(self, grid: np.ndarray) -> np.ndarray:
        """Two rows: the coefficients of the real and of the imaginary part of a function on the grid."""
        transformed = torch.fft.fftn(torch.from_numpy(grid)).numpy().ravel()
        plus, minus = transformed[self._plus], transformed[self._minus].conj()
        return np.array([0.5 * (plus + minus), -0.5j * (plus - minus)])


class PairedWaveFunctions(PWWaveFunctions):
    """Wave functions whose local potential and density are computed by pairs where they are real and on one rank."""

    @cached_property
    def _transform(self) -> PairTransform | None:
        is_paired = self.collinear and self.dtype == float and self.gd.comm.size == 1
        return PairTransform(self.pd) if is_paired else None

    def apply_pseudo_hamiltonian(self, kpt: Any, ham: Any, psit_xG: np.ndarray, Htpsit_xG: np.ndarray) -> None:
        """T ψ + v ψ of all rows, as in GPAW's own method."""
        if self._transform is None:
            super().apply_pseudo_hamiltonian(kpt, ham, psit_xG, Htpsit_xG)
            return
        potential, kinetic = ham.vt_sG[kpt.s], 0.5 * self.pd.G2_qG[kpt.q]
        for first in range(0, len(psit_xG), 2):
            pair = psit_xG[first : first + 2]
            grid = self._transform.to_grid(pair) * potential
            Htpsit_xG[first : first + 2] = kinetic * pair + self._transform.to_basis(grid)[: len(pair)]
        ham.xc.apply_orbital_dependent_hamiltonian(kpt, psit_xG, Htpsit_xG, ham.dH_asp)

    def add_to_density_from_k_point_with_occupation(self, nt_xR: np.ndarray, kpt: Any, f_n: np.ndarray) -> None:
        """Add Σ f |ψ|² to the density, as in GPAW's own method."""
        if self._transform is None:
            super().add_to_density_from_k_point_with_occupation(nt_xR, kpt, f_n)
            return
        for first in range(0, self.bd.mynbands, 2):
            occupation = np.append(f_n[first : first + 2], 0.0)
            if occupation.any():
                grid = self._transform.to_grid(kpt.psit.array[first : first + 2])
                nt_xR[kpt.s] += occupation[0] * grid.real**2 + occupation[1] * grid.imag**2


class PairedPW(PW):
    """GPAW's mode `PW` with `PairedWaveFunctions`: the same numbers to rounding.

    A build without FFTW transforms one function at a time with NumPy, which takes longer.
    """

    def __call__(self, *arguments: Any, **keywords: Any) -> PWWaveFunctions:
        """Wave functions of a calculation."""
        waves = super().__call__(*arguments, **keywords)
        waves.__class__ = PairedWaveFunctions
        return waves
