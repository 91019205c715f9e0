"""Pairs of many periodic systems, searched and stored on the device, with one row of neighbours per atom."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Distances computed at a time, which bounds the memory of a search.
CANDIDATES = 1_000_000
# Rows grow in these steps and by this factor, because an overflow allocates new buffers.
ROW_STEP = 8
ROOM = 1.05
# Largest number of cells between an atom and the image of a neighbour; unwrapped positions drift.
FARTHEST_SHIFT = 2**9


class PairList(NamedTuple):
    """Directed pairs of a search, sorted by receiver, sender and shift.

    Attributes:
        receiver, sender: (E,) indices of atoms i and j among the b·A places searched.
        shift: (E, 3) whole cells; the pair vector is r_j − r_i + shift·cell.
        reverse: (E,) index of the pair j → i with the opposite shift.
    """

    receiver: Tensor
    sender: Tensor
    shift: Tensor
    reverse: Tensor


def search(positions_A: Tensor, cell_A: Tensor, periodic: Tensor, present: Tensor, reach_A: float) -> PairList:
    """All directed pairs of b systems closer than `reach_A`, including images of small cells, by exhaustive search.

    The search covers images up to ⌊reach/h + ½⌋ cells from the nearest image in fractional coordinates, with h the
    distance of opposite faces. The host waits for the device.

    Args:
        positions_A: (b, A, 3) unwrapped, double precision.
        cell_A: (b, 3, 3), each with a volume.
        periodic: (b, 3).
        present: (b, A) places with an atom.
        reach_A: largest distance of a pair, Å.

    Raises:
        RuntimeError: an atom is farther than `FARTHEST_SHIFT` cells from a neighbour.
    """
    systems, atoms = present.shape
    inverse = torch.linalg.inv(cell_A)
    # Rows of the transposed inverse are normals of the faces, 1/h long.
    reach = torch.floor(reach_A * inverse.norm(dim=1) + 0.5) * periodic
    images = _images([int(count) for count in reach.amax(dim=0).tolist()], positions_A)
    fractional = (positions_A[:, :, :, None] * inverse[:, None]).sum(dim=2)
    rows = max(1, CANDIDATES // (atoms * len(images)))
    blocks = []
    for start in range(0, systems * atoms, rows):
        row = torch.arange(start, min(start + rows, systems * atoms), device=present.device)
        of, atom = row // atoms, row % atoms
        nearest = -torch.round(fractional[of] - fractional[of, atom][:, None]) * periodic[of][:, None]
        shift = nearest[:, :, None] + images
        vectors = (positions_A[of] - positions_A[of, atom][:, None])[:, :, None] + lattice(shift, cell_A[of])
        near = (vectors * vectors).sum(dim=-1) < reach_A**2
        near &= present[of][:, :, None] & present[of, atom][:, None, None]
        near &= (periodic[of][:, None, None] | (images == 0)).all(dim=-1)
        itself = torch.arange(atoms, device=row.device) == atom[:, None]
        near &= ~(itself[:, :, None] & (shift == 0).all(dim=-1))
        r, sender, image = near.nonzero(as_tuple=True)
        blocks.append((row[r], of[r] * atoms + sender, shift[r, sender, image]))
    receiver, sender, shift = (torch.cat(values) for values in zip(*blocks, strict=True))
    return PairList(receiver, sender, shift, _reverse(receiver, sender, shift, atoms))


def lattice(shift: Tensor, cell_A: Tensor) -> Tensor:
    """Lattice vectors (b, …, 3) of whole cells (b, …, 3), bitwise opposite for opposite shifts."""
    a, b, c = (cell_A[:, axis].view(-1, *[1] * (shift.dim() - 2), 3) for axis in range(3))
    return shift[..., :1] * a + shift[..., 1:2] * b + shift[..., 2:] * c


def _images(counts: list[int], like: Tensor) -> Tensor:
    """Whole cells (I, 3) up to `counts` cells away along each axis, in lexicographic order."""
    axes = [torch.arange(-count, count + 1, dtype=like.dtype, device=like.device) for count in counts]
    return torch.cartesian_prod(*axes)


def _reverse(receiver: Tensor, sender: Tensor, shift: Tensor, atoms: int) -> Tensor:
    """Index of the opposite pair; `atoms` places of each system, to which both atoms of a pair belong."""
    whole = shift.long()
    farthest = int(whole.abs().max()) if len(whole) else 0
    width = 2 * farthest + 1
    if len(receiver) and (int(receiver[-1]) + 1) * atoms * width**3 >= 2**63:
        raise RuntimeError(
            f"{int(receiver[-1]) + 1} atoms with pairs over {farthest} cells are too many for one search"
        )

    def pair_key(first: Tensor, second: Tensor, cells: Tensor) -> Tensor:
        x, y, z = (cells + farthest).unbind(dim=1)
        return (((first * atoms + second % atoms) * width + x) * width + y) * width + z

    # Pairs are sorted, so their keys ascend.
    keys = pair_key(receiver, sender, whole)
    reverse_keys = pair_key(sender, receiver, -whole)
    reverse = torch.searchsorted(keys, reverse_keys).clamp(max=max(len(keys) - 1, 0))
    if farthest >= FARTHEST_SHIFT or not bool((keys[reverse] == reverse_keys).all()):
        raise RuntimeError(f"an atom is more than {FARTHEST_SHIFT} cells away from a neighbour, or nowhere")
    return reverse


class PairRows:
    """At most J neighbours of each atom of B systems with A places each, in buffers that are not reallocated.

    An unused entry of a row is a pair of the atom with itself at distance `far_A`, where the basis and the core
    repulsion are exactly zero, and is its own reverse. Sums over all entries therefore equal sums over the pairs.

    Attributes:
        sender: (B·A, J).
        offset_A: (B·A, J, 3) lattice vectors, double precision.
        reverse: (B·A·J,) index of the opposite pair: a permutation that is its own inverse.
        generation: number of times that larger buffers replaced the present ones.
    """

    def __init__(self, systems: int, atoms: int, far_A: float, device: torch.device) -> None:
        self.systems, self.atoms, self.far_A, self.device = systems, atoms, far_A, device
        self.generation = 0
        self._allocate(ROW_STEP)

    @property
    def width(self) -> int:
        """Entries J of a row."""
        return self.sender.shape[1]

    def put(self, slots: Tensor, pairs: PairList, cell_A: Tensor) -> None:
        """Write the pairs of some systems (b,) with cells (b, 3, 3); rows that would overflow are widened first."""
        rows = len(slots) * self.atoms
        count = torch.bincount(pairs.receiver, minlength=rows)
        longest = int(count.max())
        if longest > self.width:
            self._widen(-(-int(ROOM * longest) // ROW_STEP) * ROW_STEP)
        column = torch.arange(len(pairs.receiver), device=self.device) - (count.cumsum(0) - count)[pairs.receiver]
        own = (slots[:, None] * self.atoms + torch.arange(self.atoms, device=self.device)).flatten()
        receiver, sender = own[pairs.receiver], own[pairs.sender]
        index = receiver * self.width + column
        self._empty(own)
        self.sender.view(-1)[index] = sender
        cells = cell_A[pairs.receiver // self.atoms]
        self.offset_A.view(-1, 3)[index] = lattice(pairs.shift, cells)
        self.reverse[index] = index[pairs.reverse]

    def copies(self, slot: int, count: int) -> PairRows:
        """Rows of so many systems, each with the pairs of one system of these."""
        rows, (atoms, width) = PairRows.__new__(PairRows), (self.atoms, self.width)
        rows.systems, rows.atoms, rows.far_A, rows.device, rows.generation = count, atoms, self.far_A, self.device, 0
        own, number = slice(slot * atoms, (slot + 1) * atoms), torch.arange(count, device=self.device)[:, None]
        sender, reverse = self.sender[own].flatten(), self.reverse.view(-1, width)[own].flatten()
        rows.sender = (sender + (number - slot) * atoms).view(-1, width)
        rows.reverse = (reverse + (number - slot) * atoms * width).flatten()
        rows.offset_A = self.offset_A[own].repeat(count, 1, 1)
        return rows

    def vectors_A(self, positions_A: Tensor) -> Tensor:
        """Pair vectors (B·A, J, 3) at positions (B, A, 3)."""
        flat = positions_A.view(-1, 3)
        return flat[self.sender] - flat[:, None] + self.offset_A

    def gather(self, values: Tensor) -> Tensor:
        """Values of the senders (B·A, J, …) from values (B·A, …); the backward pass sums in a fixed order."""
        gathered: Tensor = _Gather.apply(values, self.sender, self.reverse)
        return gathered

    def _allocate(self, width: int) -> None:
        rows = self.systems * self.atoms
        self.sender = torch.zeros(rows, width, dtype=torch.long, device=self.device)
        self.offset_A = torch.zeros(rows, width, 3, dtype=torch.float64, device=self.device)
        self.reverse = torch.zeros(rows * width, dtype=torch.long, device=self.device)
        self._empty(torch.arange(rows, device=self.device))

    def _empty(self, rows: Tensor) -> None:
        self.sender[rows] = rows[:, None].expand(-1, self.width)
        far = torch.zeros(3, dtype=torch.float64, device=self.device)
        far[0] = self.far_A
        self.offset_A[rows] = far
        own = rows[:, None] * self.width + torch.arange(self.width, device=self.device)
        self.reverse.view(-1, self.width)[rows] = own

    def _widen(self, width: int) -> None:
        old_width, sender, offset_A, reverse = self.width, self.sender, self.offset_A, self.reverse
        self._allocate(width)
        self.sender[:, :old_width], self.offset_A[:, :old_width] = sender, offset_A
        widened = reverse // old_width * width + reverse % old_width
        self.reverse.view(-1, width)[:, :old_width] = widened.view(-1, old_width)
        self.generation += 1


class _Gather(torch.autograd.Function):
    """values[sender]; the adjoint gathers over the opposite pairs and sums along rows, so that it is deterministic."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: Tensor, sender: Tensor, reverse: Tensor) -> Tensor:
        ctx.save_for_backward(reverse)
        return values[sender]

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        (reverse,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return opposite(gradient, reverse).sum(dim=1), None, None


def opposite(values: Tensor, reverse: Tensor) -> Tensor:
    """Values (B·A, J, …) of the opposite pairs."""
    return values.flatten(0, 1)[reverse].view_as(values)
