"""Messages by fused kernels, with derivatives by hand (`message.cu`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from redoxmd.md.batched.messages import PairFunctions
from redoxmd.md.batched.pairs import PairRows
from redoxmd.md.fused.kernels import MessageKernels
from redoxmd.model.representation import Interaction


class FusedMessages:
    """As `PlainMessages`, but nothing over pairs and features is stored, and pairs beyond the cutoff are skipped.

    The variable is (x, y, z, r) of each pair (B·A, J, 4), with r̂ = (x, y, z). Its derivatives hold at the basis
    functions of these distances. Weights of a network get no derivatives.

    Args:
        kernels: of each width of the members.
        cutoff_A: distance from which on basis and slope are zero.
        pairs, rows: of this evaluation.
    """

    def __init__(
        self, kernels: Mapping[int, MessageKernels], cutoff_A: float, pairs: PairFunctions, rows: PairRows
    ) -> None:
        self.kernels, self.pairs = kernels, pairs
        self._rays = torch.cat([pairs.unit, pairs.distance_A[..., None]], dim=-1)
        self._fixed = _Fixed(rows.sender, rows.reverse, pairs.basis.contiguous(), pairs.slope.contiguous(), cutoff_A)

    def variables(self) -> list[Tensor]:
        """Direction and distance of the pairs, as in `Messages`."""
        return [self._rays.detach().requires_grad_()]

    def message(
        self, interaction: Interaction, sent: Tensor, vectors: Tensor | None, variables: list[Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Changes of scalars and vectors, as in `Messages`."""
        kernels, filters = self.kernels[interaction.features], interaction.filters.detach().contiguous()
        changes: tuple[Tensor, Tensor] = _Message.apply(sent, vectors, variables[0], filters, self._fixed, kernels)
        return changes

    def pair_gradient(self, *derivatives: Tensor) -> Tensor:
        """As in `Messages`: with G = ∂E/∂r̂, r̂ ∂E/∂r + (1 − r̂ r̂ᵀ) G/r."""
        by_unit, by_distance = derivatives[0].split([3, 1], dim=-1)
        unit = self.pairs.unit
        turning = (by_unit - unit * (by_unit * unit).sum(dim=-1, keepdim=True)) / self.pairs.distance_A[..., None]
        return unit * (by_distance + self.pairs.core_slope[..., None]) + turning


class _Fixed(NamedTuple):
    """Tensors of the pairs that are not differentiated."""

    sender: Tensor
    reverse: Tensor
    basis: Tensor
    slope: Tensor
    cutoff_A: float


class _Message(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        sent: Tensor,
        vectors: Tensor | None,
        rays: Tensor,
        filters: Tensor,
        fixed: _Fixed,
        kernels: MessageKernels,
    ) -> tuple[Tensor, Tensor]:
        sent, vectors = sent.contiguous(), None if vectors is None else vectors.contiguous()
        atoms, columns = fixed.sender.shape
        delta_s = sent.new_empty(atoms, kernels.features)
        delta_v = sent.new_empty(atoms, 3, kernels.features)
        inputs = (fixed.sender, rays, fixed.basis, sent, vectors, filters)
        name = "first_message" if vectors is None else "later_message"
        kernels.launch(name, atoms, [*inputs, delta_s, delta_v, columns, fixed.cutoff_A])
        ctx.save_for_backward(sent, vectors, rays, filters)
        ctx.fixed, ctx.kernels = fixed, kernels
        return delta_s, delta_v

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_s, by_v = (gradient.contiguous() for gradient in gradients)
        (sent, vectors, rays, filters), fixed = ctx.saved_tensors, ctx.fixed
        atoms, columns = fixed.sender.shape
        by_sent = torch.empty_like(sent) if ctx.needs_input_grad[0] else None
        by_vectors = None if vectors is None else torch.empty_like(vectors)
        by_rays = torch.empty_like(rays)
        inputs = (fixed.sender, fixed.reverse, rays, fixed.basis, fixed.slope, sent, vectors, filters, by_s, by_v)
        name = "first_derivatives" if vectors is None else "later_derivatives"
        ctx.kernels.launch(name, atoms, [*inputs, by_sent, by_vectors, by_rays, columns, fixed.cutoff_A])
        return by_sent, by_vectors, by_rays, None, None, None
