"""Messages of a network over rows of neighbours, in operations of torch: static shapes throughout."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from redoxmd.md.batched.pairs import PairRows
from redoxmd.model.representation import Interaction


@dataclass(frozen=True)
class PairFunctions:
    """Functions of the pairs of B·A rows that all members share.

    Attributes:
        distance_A: r (B·A, J).
        unit: r̂ (B·A, J, 3).
        basis, slope: R_k(r) and R_k′(r) (B·A, J, K).
        core_eV: (B·A,) core repulsion of the atoms; `core_slope` (B·A, J) of the pairs.
    """

    distance_A: Tensor
    unit: Tensor
    basis: Tensor
    slope: Tensor
    core_eV: Tensor
    core_slope: Tensor


class PlainMessages:
    """Messages by matrix products over the neighbours of each atom, made once for all members.

    A filter is linear in the radial basis, so the sum over an atom's neighbours is taken first, for each basis
    function, as a small matrix product; filter weights come after. The variables are R_k(r) as (B·A, K, J), matrices
    that sum over the neighbours of an atom, and R_k(r)·r̂ as (B·A, 3K, J).
    """

    def __init__(self, pairs: PairFunctions, rows: PairRows) -> None:
        self.pairs, self.rows = pairs, rows
        self._basis, self._slope = pairs.basis.transpose(1, 2), pairs.slope.transpose(1, 2)
        self._directed = (pairs.unit[..., None] * pairs.basis[:, :, None]).flatten(2).transpose(1, 2)

    def variables(self) -> list[Tensor]:
        """Basis and directed basis, by which a member's energy is differentiated; new at each call."""
        return [values.detach().requires_grad_() for values in (self._basis, self._directed)]

    def message(
        self, interaction: Interaction, sent: Tensor, vectors: Tensor | None, variables: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Changes of scalars (n, F) and vectors (n, 3, F), as `Interaction.forward` with `sent` (n, 3F)."""
        basis, directed = variables
        width, atoms = interaction.features, len(sent)
        phi_s, phi_v, phi_r = sent.split(width, dim=1)
        w_s, w_v, w_r = interaction.filters.split(width, dim=1)
        carried, weights = phi_s, w_s
        if vectors is not None:
            carried = torch.cat([phi_s, (phi_v[:, None] * vectors).flatten(1)], dim=1)
            weights = torch.cat([w_s, w_v, w_v, w_v], dim=1)
        sums = ((basis @ self.rows.gather(carried)) * weights).sum(dim=1).view(atoms, -1, width)
        along = directed @ self.rows.gather(phi_r)
        delta_v = (along.view(atoms, 3, -1, width) * w_r).sum(dim=2)
        return sums[:, 0], delta_v if vectors is None else delta_v + sums[:, 1:]

    def pair_gradient(self, *derivatives: Tensor) -> Tensor:
        """∂E/∂(pair vectors) (B·A, J, 3) from the derivatives by the variables, core repulsion included.

        With g = ∂E/∂R and G = ∂E/∂(R r̂): r̂ Σ_k (g_k + r̂·G_k) R_k′ + (1 − r̂ r̂ᵀ) Σ_k G_k R_k/r.
        """
        by_basis, by_direction = derivatives
        across = self.pairs.unit.transpose(1, 2)
        by_direction = by_direction.view(len(across), 3, -1, across.shape[2])
        slope = ((by_basis + (by_direction * across[:, :, None]).sum(dim=1)) * self._slope).sum(dim=1)
        slope = slope + self.pairs.core_slope
        turning = (by_direction * self._basis[:, None]).sum(dim=2)
        turning = (turning - across * (turning * across).sum(dim=1, keepdim=True)) / self.pairs.distance_A[:, None]
        return (across * slope[:, None] + turning).transpose(1, 2)
