"""Periodic neighbour pairs from vesin."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Pairs:
    """Directed pairs within the cutoff, each pair of atoms in both directions.

    Attributes:
        receiver: (E,) index i.
        sender: (E,) index j.
        shift: (E, 3) integer cell shifts; the pair vector is r_j − r_i + shift·cell.
    """

    receiver: np.ndarray
    sender: np.ndarray
    shift: np.ndarray

    def vectors_A(self, positions_A: np.ndarray, cell_A: np.ndarray) -> np.ndarray:
        """Pair vectors (E, 3) in Å, in double precision."""
        offset = self.shift @ cell_A
        vectors: np.ndarray = positions_A[self.sender] - positions_A[self.receiver] + offset
        return vectors


def find_pairs(positions_A: np.ndarray, cell_A: np.ndarray, pbc: np.ndarray, cutoff_A: float) -> Pairs:
    """All directed pairs within the cutoff, including multiple images in small cells; the cost is linear in atoms."""
    # Imported late, because it loads torch if torch is installed.
    import vesin

    search = vesin.NeighborList(cutoff=cutoff_A, full_list=True)
    i, j, shift = search.compute(
        points=np.ascontiguousarray(positions_A, dtype=float),
        box=np.ascontiguousarray(cell_A, dtype=float),
        periodic=[bool(value) for value in pbc],
        quantities="ijS",
        copy=True,
    )
    order = np.lexsort((j, i))
    return Pairs(i[order].astype(np.int64), j[order].astype(np.int64), shift[order].astype(float))
