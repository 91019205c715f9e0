"""Graphs of structures: atoms, directed pairs, and blocks that turn message sums into matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from redoxmd.errors import StructureError
from redoxmd.model.neighbours import Pairs, find_pairs

# On one core the (n × n) products are faster up to this number of atoms, and the sums over pairs beyond it.
DENSE_BLOCK_ATOMS = 96


@dataclass(frozen=True)
class Blocks:
    """Receivers in blocks of R rows with C common sender columns; a block holds the atoms of one small structure.

    A message sum Σ_j a(ij)·x_j becomes a batched (R × C)·(C × F) product, and the pair function a is scattered once for
    all layers. Padding has no effect, because no pair refers to a padded slot.

    Attributes:
        columns: (B, C) atom index of each sender column.
        slot: (E,) index of each pair in the flattened (B, C, R).
        row: (n,) index of each atom in the flattened (B, R).
        rows_per_block: R.
    """

    columns: Tensor
    slot: Tensor
    row: Tensor
    rows_per_block: int


@dataclass(frozen=True)
class Graph:
    """One or several structures as one disconnected graph.

    Attributes:
        species: (n,) index of each atom among the species of the model.
        system: (n,) index of the structure of each atom.
        receiver, sender: (E,) directed pairs.
        vectors_A: (E, 3) r_sender − r_receiver, with periodic images.
        volume_A3: (S,) cell volumes.
        blocks: blocks for the matrix products; None: sums over pairs.
    """

    species: Tensor
    system: Tensor
    receiver: Tensor
    sender: Tensor
    vectors_A: Tensor
    volume_A3: Tensor
    blocks: Blocks | None = None

    @property
    def n_systems(self) -> int:
        """Number of structures."""
        return self.volume_A3.shape[0]  # `len` would be a constant in a traced network

    def with_vectors(self, vectors_A: Tensor) -> Graph:
        """Copy of the graph with other pair vectors and the same pairs."""
        return replace(self, vectors_A=vectors_A)

    def to(self, device: torch.device | str, dtype: torch.dtype) -> Graph:
        """Move to a device; pair vectors and volumes take the given precision."""
        blocks = self.blocks
        if blocks is not None:
            blocks = Blocks(
                blocks.columns.to(device), blocks.slot.to(device), blocks.row.to(device), blocks.rows_per_block
            )
        return Graph(
            self.species.to(device),
            self.system.to(device),
            self.receiver.to(device),
            self.sender.to(device),
            self.vectors_A.to(device, dtype),
            self.volume_A3.to(device, dtype),
            blocks,
        )


def species_index(numbers: np.ndarray, elements: Sequence[int]) -> np.ndarray:
    """Indices of atomic numbers in the sorted list of elements of the model.

    Raises:
        ValueError: the model was not trained on an element.
    """
    trained = np.asarray(elements)
    index = np.searchsorted(trained, numbers)
    unknown = (index >= len(trained)) | (trained[np.minimum(index, len(trained) - 1)] != numbers)
    if unknown.any():
        raise ValueError(
            f"atomic number(s) {sorted(set(numbers[unknown].tolist()))} unknown to the model ({list(elements)})"
        )
    return index


def atom_species(atoms: Atoms, elements: Sequence[int], states: Sequence[int] | None) -> np.ndarray:
    """Index (n,) of each atom among the species of a model: pairs of element and oxidation number.

    Args:
        atoms: with an array `oxidation` (n,) of integers if the model distinguishes states.
        elements: atomic number of each species.
        states: oxidation number of each species; None: the species are the elements.

    Raises:
        StructureError: the atoms have no oxidation numbers although the model distinguishes them, or have others than
            those of the training.
        ValueError: the model was not trained on an element.
    """
    if states is None:
        return species_index(atoms.numbers, elements)
    if "oxidation" not in atoms.arrays:
        raise StructureError(
            "the model distinguishes oxidation states (states: aware), which these atoms lack; set the array "
            "`oxidation` (an integer per atom, 0 except for redox atoms), or train with states: blind"
        )
    index_of = {pair: k for k, pair in enumerate(zip(elements, states, strict=True))}
    pairs = list(zip(atoms.numbers.tolist(), np.asarray(atoms.arrays["oxidation"]).tolist(), strict=True))
    species_index(atoms.numbers, sorted(set(elements)))
    unknown = sorted({pair for pair in pairs if pair not in index_of})
    if unknown:
        named = ", ".join(f"{chemical_symbols[z]} with oxidation {state}" for z, state in unknown)
        raise StructureError(f"{named}: no training frame has it; label frames in this state, or set another one")
    return np.array([index_of[pair] for pair in pairs], dtype=np.int64)


def volume_A3(atoms: Atoms) -> float:
    """Volume of the cell; 1 without a cell, so that the stress is the virial."""
    return float(abs(np.linalg.det(np.asarray(atoms.cell)))) or 1.0


def build_graph(
    atoms: Atoms,
    elements: Sequence[int],
    cutoff_A: float,
    pairs: Pairs | None = None,
    blocked: bool = True,
    states: Sequence[int] | None = None,
) -> Graph:
    """Graph of one structure in double precision on the CPU; `elements` sorted, `states` as in `atom_species`."""
    positions, cell = atoms.positions, np.asarray(atoms.cell)
    if pairs is None:
        pairs = find_pairs(positions, cell, atoms.pbc, cutoff_A)
    return Graph(
        species=torch.from_numpy(atom_species(atoms, elements, states)),
        system=torch.zeros(len(atoms), dtype=torch.long),
        receiver=torch.from_numpy(pairs.receiver),
        sender=torch.from_numpy(pairs.sender),
        vectors_A=torch.from_numpy(pairs.vectors_A(positions, cell)),
        volume_A3=torch.tensor([volume_A3(atoms)], dtype=torch.float64),
        blocks=build_blocks(pairs, len(atoms)) if blocked else None,
    )


def build_blocks(pairs: Pairs, n_atoms: int) -> Blocks | None:
    """One block for a structure of at most `DENSE_BLOCK_ATOMS` atoms; None (sums over pairs) for a larger structure."""
    if n_atoms > DENSE_BLOCK_ATOMS:
        return None
    atoms = torch.arange(n_atoms)
    slot = torch.from_numpy(pairs.sender * n_atoms + pairs.receiver)
    return Blocks(columns=atoms[None], slot=slot, row=atoms, rows_per_block=n_atoms)


def collate(graphs: Sequence[Graph]) -> Graph:
    """Join graphs into one graph; blocks are padded to the largest block."""
    sizes = [len(graph.species) for graph in graphs]
    offsets = np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    return Graph(
        species=torch.cat([graph.species for graph in graphs]),
        system=torch.repeat_interleave(torch.arange(len(graphs)), torch.tensor(sizes)),
        receiver=torch.cat([graph.receiver + offset for graph, offset in zip(graphs, offsets, strict=True)]),
        sender=torch.cat([graph.sender + offset for graph, offset in zip(graphs, offsets, strict=True)]),
        vectors_A=torch.cat([graph.vectors_A for graph in graphs]),
        volume_A3=torch.cat([graph.volume_A3 for graph in graphs]),
        blocks=_collate_blocks([graph.blocks for graph in graphs], offsets),
    )


def _collate_blocks(blocks: Sequence[Blocks | None], offsets: Sequence[int]) -> Blocks | None:
    present = [block for block in blocks if block is not None]
    if len(present) < len(blocks):
        return None
    rows = max(block.rows_per_block for block in present)
    width = max(block.columns.shape[1] for block in present)
    columns, slots, row, count = [], [], [], 0
    for block, offset in zip(present, offsets, strict=True):
        number, old_width = block.columns.shape
        columns.append(torch.nn.functional.pad(block.columns + offset, (0, width - old_width)))
        r, block_column = block.slot % block.rows_per_block, block.slot // block.rows_per_block
        c, b = block_column % old_width, block_column // old_width
        slots.append(((b + count) * width + c) * rows + r)
        row.append((block.row // block.rows_per_block + count) * rows + block.row % block.rows_per_block)
        count += number
    return Blocks(torch.cat(columns), torch.cat(slots), torch.cat(row), rows)
