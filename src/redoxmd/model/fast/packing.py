"""Weights of a network in the order and shape that kernels.cpp reads: (in, out), features padded to whole vectors."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from redoxmd.model.painn import Painn
from redoxmd.model.representation import Interaction, Update


class Packing:
    """The weights of a member and the sizes they are padded to.

    Attributes:
        features, hidden: padded widths of states and readout.
        layers: number of interactions.
        bias_eV: of the readout's last layer, in units of the scale.
        weights: all but that, one after the other, single precision.
    """

    def __init__(self, member: Painn, vector_width: int) -> None:
        self._width: int = member.settings["features"]
        first, last = cast(nn.Linear, member.readout[0]), cast(nn.Linear, member.readout[2])
        self.features = _padded(self._width, vector_width)
        self.hidden = _padded(first.out_features, vector_width)
        self.layers = len(member.interactions)
        self.bias_eV = last.bias.item()
        parts = [self._grown(member.embedding.weight, 0, 1)]
        for number, (interaction, update) in enumerate(zip(member.interactions, member.updates, strict=True)):
            parts += self._interaction(cast(Interaction, interaction), member.embedding.weight if number == 0 else None)
            parts += self._update(cast(Update, update))
        more = self.hidden - first.out_features
        read = np.pad(self._grown(first.weight.t(), 1, 0), ((0, 0), (0, more)))
        parts += [read, np.pad(_values(first.bias), (0, more)), read.T, np.pad(_values(last.weight)[0], (0, more))]
        self.weights = np.concatenate([np.ravel(part) for part in parts]).astype(np.float32)

    def _interaction(self, interaction: Interaction, embedding: Tensor | None) -> list[np.ndarray]:
        """Of the first layer, whose atoms have nothing but their species, what these send is all there is to know."""
        filters = self._grown(interaction.filters, 0, 3)
        if embedding is None:
            return [*self._dense(interaction.phi, 1, 3), filters]
        with torch.no_grad():
            sent = interaction.phi(embedding)
        of_vectors = np.s_[self.features : 2 * self.features]
        return [self._grown(sent, 0, 3), np.delete(filters, of_vectors, axis=1)]

    def _update(self, update: Update) -> list[np.ndarray]:
        mix = self._grown(update.mix.weight.t(), 1, 2)
        return [mix, mix.T, *self._dense(update.gates, 2, 3)]

    def _dense(self, layers: nn.Sequential, blocks_in: int, blocks_out: int) -> list[np.ndarray]:
        """Two linear layers of so many blocks, by way of one, with their biases; and both transposed."""
        first, last = cast(nn.Linear, layers[0]), cast(nn.Linear, layers[2])
        one, two = self._grown(first.weight.t(), blocks_in, 1), self._grown(last.weight.t(), 1, blocks_out)
        biases = [self._grown(first.bias[None], 0, 1), self._grown(last.bias[None], 0, blocks_out)]
        return [one, biases[0], two, biases[1], one.T, two.T]

    def _grown(self, matrix: Tensor, rows: int, columns: int) -> np.ndarray:
        """A matrix of so many blocks of features each way, every block padded; 0 for an axis without features."""
        values = _values(matrix)
        for axis, blocks in enumerate((rows, columns)):
            if blocks:
                more = [(0, 0), (0, 0)]
                more[axis] = (0, self.features - self._width)
                values = np.concatenate([np.pad(part, more) for part in np.split(values, blocks, axis=axis)], axis=axis)
        return values


def _values(tensor: Tensor) -> np.ndarray:
    values: np.ndarray = tensor.detach().numpy()
    return values


def _padded(size: int, width: int) -> int:
    return -(-size // width) * width
