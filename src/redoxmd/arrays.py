"""Arrays of the MD loop: NumPy on the host, torch tensors on a device; the same code computes with either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

# A NumPy array or a tensor.
Array = Any
DTYPES = {float: torch.float64, int: torch.long, bool: torch.bool}


def namespace(array: Array) -> Any:
    """The module, numpy or torch, whose functions take this array."""
    return torch if isinstance(array, torch.Tensor) else np


@dataclass(frozen=True)
class Arrays:
    """Where arrays are allocated: NumPy for `device` None, torch otherwise; double precision either way."""

    device: torch.device | None = None

    def zeros(self, *shape: int, dtype: type = float) -> Array:
        """A buffer of zeros."""
        if self.device is None:
            return np.zeros(shape, dtype)
        return torch.zeros(shape, dtype=DTYPES[dtype], device=self.device)

    def array(self, values: Any) -> Array:
        """Values of the host as an array."""
        values = np.ascontiguousarray(values)
        return values if self.device is None else torch.from_numpy(values).to(self.device)

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy on the host."""
        return np.array(array if self.device is None else array.cpu().numpy())
