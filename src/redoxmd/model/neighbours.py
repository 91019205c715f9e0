"""Periodic neighbour pairs from vesin, and a Verlet list with a skin."""

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


class VerletList:
    """Pairs within cutoff + skin; a new search follows only when an atom has moved by half the skin.

    Positions must be unwrapped: a shift by a cell vector counts as a move. `generation` increases with every search, so
    that quantities derived from the pairs can be cached until then.
    """

    def __init__(self, cutoff_A: float, skin_A: float = 0.5) -> None:
        self.cutoff_A = cutoff_A
        self.skin_A = skin_A
        self.generation = 0
        self._positions: np.ndarray | None = None
        self._cell: np.ndarray | None = None
        self._pairs: Pairs | None = None

    def update(self, positions_A: np.ndarray, cell_A: np.ndarray, pbc: np.ndarray) -> Pairs:
        """Pairs that include all pairs within the cutoff at these positions."""
        if self._pairs is None or self._moved(positions_A, cell_A):
            self._pairs = find_pairs(positions_A, cell_A, pbc, self.cutoff_A + self.skin_A)
            self._positions = positions_A.copy()
            self._cell = cell_A.copy()
            self.generation += 1
        return self._pairs

    @property
    def pairs(self) -> Pairs:
        """The pairs of the last update."""
        if self._pairs is None:
            raise ValueError("update() the list first")
        return self._pairs

    @property
    def searched_at_A(self) -> np.ndarray:
        """Positions (n, 3) of the last search."""
        if self._positions is None:
            raise ValueError("update() the list first")
        return self._positions

    def _moved(self, positions_A: np.ndarray, cell_A: np.ndarray) -> bool:
        if self._positions is None or self._cell is None or positions_A.shape != self._positions.shape:
            return True
        if not np.array_equal(cell_A, self._cell):
            return True
        squared = ((positions_A - self._positions) ** 2).sum(axis=1).max(initial=0.0)
        return not squared < (self.skin_A / 2) ** 2
