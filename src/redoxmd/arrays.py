"""Arrays of the MD loop: NumPy on the host, torch tensors on a device; the same code computes with either."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # reference MD uses the integrator without loading torch
    import torch

# A NumPy array or a tensor.
Array = Any
DTYPES = {float: "float64", int: "int64", bool: "bool"}


def namespace(array: Array) -> Any:
    """The module, numpy or torch, whose functions take this array."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and isinstance(array, torch.Tensor) else np


@dataclass(frozen=True)
class Arrays:
    """Where arrays are allocated: NumPy for `device` None, torch otherwise; double precision either way."""

    device: torch.device | None = None

    def zeros(self, *shape: int, dtype: type = float) -> Array:
        """A buffer of zeros."""
        if self.device is None:
            return np.zeros(shape, dtype)
        import torch

        return torch.zeros(shape, dtype=getattr(torch, DTYPES[dtype]), device=self.device)

    def array(self, values: Any) -> Array:
        """Values of the host as an array."""
        values = np.ascontiguousarray(values)
        if self.device is None:
            return values
        import torch

        return torch.from_numpy(values).to(self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy on the host."""
        return np.array(array if self.device is None else array.cpu().numpy())
