"""Radial basis with a smooth cutoff."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def envelope(distance_A: Tensor, cutoff_A: float) -> Tensor:
    """Polynomial envelope: 1 at r = 0, 0 beyond the cutoff, with two continuous derivatives everywhere.

    u(x) = 1 − 28 x⁶ + 48 x⁷ − 21 x⁸ with x = r/r_c (Klicpera et al., ICLR 2020, p = 6).
    """
    x = (distance_A / cutoff_A).clamp(max=1.0)
    x6 = x * x * x
    x6 = x6 * x6
    return 1.0 + x6 * (-28.0 + x * (48.0 - 21.0 * x))


class RadialBasis(nn.Module):
    """K radial functions that vanish smoothly at the cutoff.

    R_0(r) = u(r), multiplied by the bias of a filter; R_k(r) = √(2/r_c)·sin(kπr/r_c)/r·u(r) for
    k = 1 … K − 1 (Bessel functions, PaiNN).

    Shapes: distances (E,) Å → (E, K).
    """

    frequencies: Tensor

    def __init__(self, size: int, cutoff_A: float) -> None:
        super().__init__()
        self.size = size
        self.cutoff_A = cutoff_A
        frequencies = torch.arange(1, size) * (math.pi / cutoff_A)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, distance_A: Tensor) -> Tensor:
        """Values (E, K) of the basis at distances (E,)."""
        u = envelope(distance_A, self.cutoff_A)
        scale = math.sqrt(2.0 / self.cutoff_A) * u / distance_A
        bessel = torch.sin(distance_A[:, None] * self.frequencies) * scale[:, None]
        return torch.cat([u[:, None], bessel], dim=1)
