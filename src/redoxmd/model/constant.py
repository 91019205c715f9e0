"""Constants of networks, copied once to each device."""

from __future__ import annotations

import torch
from torch import Tensor


class Constant:
    """A tensor of the host that never changes, with one copy for each device and precision.

    It is no buffer of a module: it stays exact when the module is converted to single precision and back.
    """

    def __init__(self, values: Tensor) -> None:
        self.values = values
        self._copies: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def like(self, other: Tensor) -> Tensor:
        """The values on the device and in the precision of another tensor."""
        key = other.device, other.dtype
        if key not in self._copies:
            self._copies[key] = self.values.to(other)
        return self._copies[key]
