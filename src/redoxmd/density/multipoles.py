"""Multipoles of the atoms, which give the density around an atom the shape of its d orbitals.

The residual density of V at short range is that of partly filled d orbitals, with angular momenta l = 0, 2 and 4;
messages of scalars and vectors alone learn it poorly. Each atom therefore carries C signals on a sphere, made from
its neighbours, multiplied with each other (so that the direction of an orbital may depend on the crystal field in a
nonlinear way) and handed to the probes nearby as real spherical harmonics up to l_max.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from redoxmd.model.constant import Constant
from redoxmd.model.graph import Graph
from redoxmd.model.radial import RadialBasis

L_MAX = 4
# Sums over some twenty neighbours start near one.
NEIGHBOUR_SCALE = 0.2


def harmonics(vectors: Tensor, l_max: int = L_MAX) -> Tensor:
    """Real solid harmonics (…, (l_max + 1)²) of vectors (…, 3), ordered by l and m = −l … l.

    Normalised so that Σ_m Y_lm(û)² = 1 for every unit vector and l: homogeneous polynomials of degree l.
    """
    x, y, z = vectors.unbind(dim=-1)
    squared = (vectors * vectors).sum(dim=-1)
    unity = torch.ones_like(x)
    cosine, sine = [unity], [torch.zeros_like(x)]
    for _ in range(l_max):
        cosine, sine = (
            [*cosine, x * cosine[-1] - y * sine[-1]],
            [*sine, x * sine[-1] + y * cosine[-1]],
        )
    legendre: dict[tuple[int, int], Tensor] = {}
    for m in range(l_max + 1):
        legendre[m, m] = unity * math.prod(range(1, 2 * m, 2))
        for degree in range(m + 1, l_max + 1):
            value = (2 * degree - 1) * z * legendre[degree - 1, m]
            if degree > m + 1:
                value = value - (degree + m - 1) * squared * legendre[degree - 2, m]
            legendre[degree, m] = value / (degree - m)
    components = []
    for degree in range(l_max + 1):
        for m in range(-degree, degree + 1):
            ratio = math.factorial(degree - abs(m)) / math.factorial(degree + abs(m))
            norm = math.sqrt(ratio * (2 if m else 1))
            components.append(norm * legendre[degree, abs(m)] * (sine[-m] if m < 0 else cosine[m]))
    return torch.stack(components, dim=-1)


def component_degrees(l_max: int = L_MAX) -> Tensor:
    """Degree l of each component ((l_max + 1)²,)."""
    return torch.tensor([degree for degree in range(l_max + 1) for _ in range(2 * degree + 1)])


def sphere_quadrature(degree: int) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, 3) and weights (P,), summing to 1, that integrate polynomials up to `degree` over the sphere."""
    z, weights = np.polynomial.legendre.leggauss(degree // 2 + 1)
    angle = 2 * np.pi * np.arange(degree + 1) / (degree + 1)
    radius = np.sqrt(1 - z**2)
    points = np.stack(
        [np.outer(radius, np.cos(angle)), np.outer(radius, np.sin(angle)), np.outer(z, np.ones_like(angle))], axis=-1
    )
    return points.reshape(-1, 3), np.repeat(weights / 2 / (degree + 1), degree + 1)


class SphereProduct(nn.Module):
    """Product of signals given by their components: evaluated on the sphere, multiplied, projected up to L_MAX.

    The quadrature is exact for this product, so that rotations of the factors rotate the product.
    """

    def __init__(self) -> None:
        super().__init__()
        points, weights = sphere_quadrature(3 * L_MAX)
        values = harmonics(torch.from_numpy(points))
        degree = component_degrees()
        # Projection: ∫ f Y_lm/∫ Y_lm², and ∫ Y_lm² = 1/(2l + 1) under this normalisation.
        projection = values * torch.from_numpy(weights)[:, None] * (2 * degree + 1)
        self._on_sphere, self._projection = Constant(values.t().contiguous()), Constant(projection)

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        """Components (…, M) of the product of signals (…, M)."""
        on_sphere, projection = self._on_sphere.like(first), self._projection.like(first)
        product: Tensor = ((first @ on_sphere) * (second @ on_sphere)) @ projection
        return product


class Multipoles(nn.Module):
    """Signals T (n, C, M) of every atom, M = (L_MAX + 1)², equivariant under rotation and inversion.

    A_c,lm = Σ_j W_c,l(r_ij)·φ_c(s_j)·Y_lm(r̂_ij); T mixes A, A·A and A·A·A, each weighted by gates, functions
    of the scalars of the atom and of the invariants Σ_m of A and of the products.

    Args:
        features: width F of the atoms' scalars.
        channels: C.
        radial: radial basis of the atoms.
    """

    degree: Tensor

    def __init__(self, features: int, channels: int, radial: RadialBasis) -> None:
        super().__init__()
        self.channels = channels
        self.radial = radial
        self.phi = nn.Linear(features, channels)
        self.filters = nn.Parameter(torch.randn(radial.size, L_MAX + 1, channels) / radial.size**0.5)
        self.mixes = nn.Parameter(torch.randn(5, L_MAX + 1, channels, channels) / channels**0.5)
        self.product = SphereProduct()
        orders = 3
        invariants = orders * channels * (L_MAX + 1)
        self.gates = nn.Sequential(
            nn.Linear(features + invariants, features), nn.SiLU(), nn.Linear(features, invariants)
        )
        self.register_buffer("degree", component_degrees(), persistent=False)

    def forward(self, graph: Graph, scalars: Tensor) -> Tensor:
        """Signals of the atoms of a graph whose scalars are (n, F)."""
        first = self._collect(graph, scalars)
        second = self.product(self._mixed(first, 0), self._mixed(first, 1))
        third = self.product(self._mixed(second, 2), self._mixed(first, 3))
        orders = torch.stack([first, second, third], dim=1)
        invariants = self._sum_over_m(orders * first[:, None])
        inputs = torch.cat([scalars, invariants.flatten(1)], dim=1)
        gates = self.gates(inputs).view(len(scalars), 3, self.channels, L_MAX + 1)
        return self._mixed((orders * gates[..., self.degree]).sum(dim=1), 4)

    def _collect(self, graph: Graph, scalars: Tensor) -> Tensor:
        distance = graph.vectors_A.norm(dim=1)
        angular = harmonics(graph.vectors_A / distance[:, None])
        weights = torch.einsum("ek,klc->elc", self.radial(distance), self.filters)
        weights = weights * self.phi(scalars)[graph.sender][:, None]
        terms = weights.transpose(1, 2)[..., self.degree] * angular[:, None]
        collected = terms.new_zeros(len(scalars), *terms.shape[1:]).index_add(0, graph.receiver, terms)
        return NEIGHBOUR_SCALE * collected

    def _mixed(self, signals: Tensor, matrix: int) -> Tensor:
        """Signals (n, C, M) with their channels mixed by the matrices of one mix, one for each l."""
        mixed: Tensor = torch.einsum("ncm,mcd->ndm", signals, self.mixes[matrix][self.degree])
        return mixed

    def _sum_over_m(self, products: Tensor) -> Tensor:
        zeros = products.new_zeros(*products.shape[:-1], L_MAX + 1)
        return zeros.index_add(-1, self.degree, products)


class MultipoleBasis(nn.Module):
    """Radial functions times harmonics of the direction atom → probe, R_k(r)·Y_lm: (…, K·M).

    R_k = (1 − r²/r_m²)³·cos(kπ·x(r)) with x = asinh(r/a)/asinh(r_m/a): the resolution is finest at the nucleus and the
    functions end at the distance r_m.
    """

    FINEST_A = 0.5
    FADE_A = 0.05

    def __init__(self, size: int, reach_A: float) -> None:
        super().__init__()
        self.size = size
        self.reach_A = reach_A
        self._stretch = math.pi / math.asinh(reach_A / self.FINEST_A)

    def forward(self, vectors_A: Tensor) -> Tensor:
        """Values at vectors (…, 3) from probes to atoms."""
        squared = (vectors_A * vectors_A).sum(dim=-1)
        x = torch.asinh(torch.sqrt(squared) / self.FINEST_A) * self._stretch
        order = torch.arange(self.size, device=x.device, dtype=x.dtype)
        window = (1 - squared / self.reach_A**2).clamp(min=0) ** 3
        radial = torch.cos(x[..., None] * order) * window[..., None]
        angular = harmonics(-vectors_A / torch.sqrt(squared + self.FADE_A**2)[..., None])
        return (radial[..., :, None] * angular[..., None, :]).flatten(-2)


class MultipoleMessage(nn.Module):
    """Features (R, C) of probes, Σ_j Σ_l W_c,l(r)·Σ_m T_j,c,lm·Y_lm(r̂), as one product with the basis of the probes."""

    degree: Tensor

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.filters = nn.Parameter(torch.randn(size, L_MAX + 1, channels) / size**0.5)
        self.register_buffer("degree", component_degrees(), persistent=False)

    def encode(self, signals: Tensor) -> Tensor:
        """Messages (n, K·M, C) of atoms with signals (n, C, M)."""
        weights = self.filters[:, self.degree]
        messages = weights[None] * signals.transpose(1, 2)[:, None]
        return messages.flatten(1, 2)
