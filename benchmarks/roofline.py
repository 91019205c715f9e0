"""The arithmetic of an MD step on the compiled path, and how fast this machine could do it."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms

from benchmarks import works
from redoxmd.config.sections import Member, Train
from redoxmd.model.neighbours import find_pairs

# Multiplications and additions of a pair, a feature and a layer in kernels.cpp, forward and backward: of the first
# layer, and of later ones.
FIRST_MESSAGE, MESSAGE = 48, 127
SQUARE = 1024


@dataclass(frozen=True)
class Arithmetic:
    """Floating-point operations of one step in 10⁹, without the padding of features to whole vectors."""

    pairs: int
    layers_GFLOP: float
    filters_GFLOP: float
    messages_GFLOP: float

    @property
    def total_GFLOP(self) -> float:
        """All of it."""
        return self.layers_GFLOP + self.filters_GFLOP + self.messages_GFLOP


def count(atoms: Atoms, members: tuple[Member, ...] = works.TABLE_1) -> Arithmetic:
    """Energy and forces of some members: forward once, backward once; filters are made three times."""
    settings = Train()
    directed = find_pairs(atoms.positions, np.asarray(atoms.cell), atoms.pbc, settings.cutoff_A)
    pairs, n = len(directed.receiver) // 2, len(atoms)
    layers = filters = messages = 0
    for member in members:
        f = member.features
        for layer in range(member.layers):
            first, last = layer == 0, layer == member.layers - 1
            gates = 2 if last else 3
            per_atom = (0 if first else 4) * f * f + 6 * f * f + (2 + gates) * f * f
            layers += 2 * 2 * n * per_atom
            filters += 3 * 2 * pairs * settings.radial_functions * (2 if first else 3) * f
            messages += pairs * f * (FIRST_MESSAGE if first else MESSAGE)
        layers += 2 * 2 * n * f * (f // 2)
    return Arithmetic(pairs, 1e-9 * layers, 1e-9 * filters, 1e-9 * messages)


def matrix_product_GFLOP_s(goes: int = 20) -> float:
    """Speed of large products in single precision on one thread, by torch's library: the roof."""
    torch.set_num_threads(1)
    a, b = torch.randn(SQUARE, SQUARE), torch.randn(SQUARE, SQUARE)
    out, best = torch.empty(SQUARE, SQUARE), float("inf")
    for _ in range(goes):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2e-9 * SQUARE**3 / best


def words(atoms: Atoms, step_s: float) -> str:
    """How near a step that takes so long is to what the arithmetic alone would take."""
    work, roof = count(atoms), matrix_product_GFLOP_s()
    parts = f"{work.layers_GFLOP:.1f} in the layers of atoms, {work.filters_GFLOP:.1f} in filters"
    return (
        f"{len(atoms)} atoms, {work.pairs} pairs: {work.total_GFLOP:.1f} GFLOP a step ({parts}, "
        f"{work.messages_GFLOP:.1f} in messages), done at {work.total_GFLOP / step_s:.0f} GFLOP/s; "
        f"torch's library does {roof:.0f} GFLOP/s in large matrix products on one thread"
    )
