"""The sum over neighbours of a message, with its derivatives of every order, in the cache.

The sum is a form that is linear in each of four arrays,

    T = Σ_(b, c, r, k, f) a(b, c, r, k) x(b, c, f) w(k, f) g(b, r, f),

in blocks b of receivers r and senders c (`redoxmd.model.graph.Blocks`): the radial basis a, features x, filter weights
w and, for the sum itself, the array g that multiplies its result. What PyTorch writes to memory between its products,
as large as a and x together for every basis function, stays in the cache here. Training differentiates twice; a
derivative of T with respect to one array is a sum of the same kind over the three others, so four kernels are closed
under it.
"""

from __future__ import annotations

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from redoxmd.model.fast.build import kernels

# Blocks, columns, rows, functions, width.
Shape = tuple[int, int, int, int, int]
# Index of g in T, whose derivative is the sum itself.
RESULT = 3


def plain_sum(pairs: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """`filtered_sum` by PyTorch."""
    functions, width = weights.shape
    summed = torch.bmm(pairs.transpose(1, 2), values).view(-1, functions, width)
    return (summed * weights).sum(dim=1)


def filtered_sum(pairs: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Σ_(c, k) a(b, c, r, k) x(b, c, f) w(k, f).

    By kernels in single precision on one thread of a CPU, by PyTorch elsewhere.

    Args:
        pairs: a, (B, C, R·K) with the K functions of a receiver side by side.
        values: x, (B, C, F).
        weights: w, (K, F).

    Returns:
        (B·R, F), differentiable as often as one likes.
    """
    here = pairs.device.type == "cpu" and pairs.dtype == torch.float32 and torch.get_num_threads() == 1
    if not here or kernels() is None:
        return plain_sum(pairs, values, weights)
    blocks, columns, entries = pairs.shape
    functions, width = weights.shape
    shape = (blocks, columns, entries // functions, functions, width)
    result: Tensor = _Sum.apply(RESULT, shape, pairs, values, weights)
    return result


class _Sum(Function):
    """Derivative of T with respect to the array with index `wanted`, from the three others."""

    @staticmethod
    def forward(ctx: Any, wanted: int, shape: Shape, *others: Tensor) -> Tensor:
        ctx.wanted, ctx.shape = wanted, shape
        ctx.save_for_backward(*others)
        arrays: list[Tensor | None] = [*others[:wanted], None, *others[wanted:]]
        return _derivatives(shape, arrays, [wanted])[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        wanted, shape = ctx.wanted, ctx.shape
        arrays = [*ctx.saved_tensors[:wanted], gradients[0], *ctx.saved_tensors[wanted:]]
        others = [index for index in range(4) if index != wanted]
        needed = [index for index, asked in zip(others, ctx.needs_input_grad[2:], strict=True) if asked]
        if torch.is_grad_enabled():
            # To be differentiated again: each on its own.
            made = [_Sum.apply(index, shape, *arrays[:index], *arrays[index + 1 :]) for index in needed]
        else:
            # The last time: together, for they share products.
            made = _derivatives(shape, arrays, needed)
        derivatives = dict(zip(needed, made, strict=True))
        return None, None, *(derivatives.get(index) for index in others)


def _derivatives(shape: Shape, arrays: list[Tensor | None], wanted: list[int]) -> list[Tensor]:
    """Derivatives of T with respect to the arrays with the indices `wanted`; none needs its own array."""
    blocks, columns, rows, functions, width = shape
    sizes = (blocks, columns, rows * functions), (blocks, columns, width), (functions, width), (blocks * rows, width)
    given = [None if array is None else array.contiguous() for array in arrays]
    like = next(array for array in given if array is not None)
    made = {index: like.new_empty(sizes[index]) for index in wanted}
    pointers = [
        None if array is None else ctypes.c_void_p(array.data_ptr()) for array in (*given, *map(made.get, range(4)))
    ]
    library = kernels()
    assert library is not None
    if not library.redoxmd_filtered_sum(*shape, *pointers):
        raise MemoryError("no memory for a sum over neighbours")
    return list(made.values())
