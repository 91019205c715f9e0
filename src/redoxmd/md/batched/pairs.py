"""Pairs of many periodic systems, searched and kept on the device: one row of neighbours for each atom."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Distances computed at a time: what bounds the memory of a search.
CANDIDATES = 1_000_000
# Rows grow in such steps, with some room: an overflow costs a new search.
ROW_STEP = 8
ROOM = 1.05
# Most cells between an atom and the image of another; unwrapped atoms travel.
FARTHEST_SHIFT = 2**9


class Found(NamedTuple):
    """Directed pairs of a search, sorted by receiver, sender and shift.

    Attributes:
        receiver, sender: (E,) atoms i and j of the b·A searched, counted through.
        shift: (E, 3) whole cells; the pair vector is r_j − r_i + shift·cell.
        reverse: (E,) place of the pair j → i with the opposite shift.
    """

    receiver: Tensor
    sender: Tensor
    shift: Tensor
    reverse: Tensor


def search(positions_A: Tensor, cell_A: Tensor, periodic: Tensor, present: Tensor, reach_A: float) -> Found:
    """All directed pairs of b systems closer than `reach_A`, images of small cells included, by looking at all.

    From the nearest image in fractional coordinates, those up to ⌊reach/h + ½⌋ cells away are enough, h the distance
    of opposite faces. Waits for the device.

    Args:
        positions_A: (b, A, 3) unwrapped, double precision.
        cell_A: (b, 3, 3), none of them flat.
        periodic: (b, 3).
        present: (b, A); the other places are empty.
        reach_A: in Å.

    Raises:
        RuntimeError: an atom is farther than `FARTHEST_SHIFT` cells from a neighbour.
    """
    systems, atoms = present.shape
    inverse = torch.linalg.inv(cell_A)
    # Rows of the transposed inverse are normals of the faces, 1/h long.
    reach = torch.floor(reach_A * inverse.norm(dim=1) + 0.5) * periodic
    images = _images([int(most) for most in reach.amax(dim=0).tolist()], positions_A)
    fractional = (positions_A[:, :, :, None] * inverse[:, None]).sum(dim=2)
    rows = max(1, CANDIDATES // (atoms * len(images)))
    parts = []
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
        parts.append((row[r], of[r] * atoms + sender, shift[r, sender, image]))
    receiver, sender, shift = (torch.cat(values) for values in zip(*parts, strict=True))
    return Found(receiver, sender, shift, _reverse(receiver, sender, shift, systems * atoms))


def lattice(shift: Tensor, cell_A: Tensor) -> Tensor:
    """Lattice vectors (b, …, 3) of whole cells (b, …, 3), opposite for opposite shifts to the last bit."""
    a, b, c = (cell_A[:, axis].view(-1, *[1] * (shift.dim() - 2), 3) for axis in range(3))
    return shift[..., :1] * a + shift[..., 1:2] * b + shift[..., 2:] * c


def _images(most: list[int], like: Tensor) -> Tensor:
    """(I, 3) whole cells up to so many away along each axis, in lexicographic order."""
    axes = [torch.arange(-count, count + 1, dtype=like.dtype, device=like.device) for count in most]
    return torch.cartesian_prod(*axes)


def _reverse(receiver: Tensor, sender: Tensor, shift: Tensor, atoms: int) -> Tensor:
    width = 2 * FARTHEST_SHIFT
    whole = shift.long()

    def place(first: Tensor, second: Tensor, cells: Tensor) -> Tensor:
        x, y, z = (cells + FARTHEST_SHIFT).unbind(dim=1)
        return (((first * atoms + second) * width + x) * width + y) * width + z

    # Ascending as they were found.
    places = place(receiver, sender, whole)
    wanted = place(sender, receiver, -whole)
    reverse = torch.searchsorted(places, wanted).clamp(max=max(len(places) - 1, 0))
    if not bool((places[reverse] == wanted).all() & (whole.abs() < FARTHEST_SHIFT).all()):
        raise RuntimeError(f"an atom is more than {FARTHEST_SHIFT} cells away from a neighbour, or nowhere")
    return reverse


class PairRows:
    """Neighbours of the atoms of B systems of A places each, J at most, in buffers that stay where they are.

    Free places of a row lead from the atom to itself over `far_A`, where the basis and the core repulsion are exactly
    zero, and are their own reverse: what is computed over all places is what the pairs alone would give.

    Attributes:
        sender: (B·A, J).
        offset_A: (B·A, J, 3) lattice vectors, double precision.
        reverse: (B·A·J,) place of the opposite pair: a permutation, its own inverse.
        generation: raised when the buffers are exchanged for larger ones.
    """

    def __init__(self, systems: int, atoms: int, far_A: float, device: torch.device) -> None:
        self.systems, self.atoms, self.far_A, self.device = systems, atoms, far_A, device
        self.generation = 0
        self._allocate(ROW_STEP)

    @property
    def width(self) -> int:
        """J."""
        return self.sender.shape[1]

    def put(self, slots: Tensor, found: Found, cell_A: Tensor) -> None:
        """Write the pairs of some systems (b,), their cells (b, 3, 3); rows that would overflow are widened first."""
        rows = len(slots) * self.atoms
        count = torch.bincount(found.receiver, minlength=rows)
        longest = int(count.max())
        if longest > self.width:
            self._widen(-(-int(ROOM * longest) // ROW_STEP) * ROW_STEP)
        column = torch.arange(len(found.receiver), device=self.device) - (count.cumsum(0) - count)[found.receiver]
        own = (slots[:, None] * self.atoms + torch.arange(self.atoms, device=self.device)).flatten()
        receiver, sender = own[found.receiver], own[found.sender]
        place = receiver * self.width + column
        self._empty(own)
        self.sender.view(-1)[place] = sender
        cells = cell_A[found.receiver // self.atoms]
        self.offset_A.view(-1, 3)[place] = lattice(found.shift, cells)
        self.reverse[place] = place[found.reverse]

    def vectors_A(self, positions_A: Tensor) -> Tensor:
        """Pair vectors (B·A, J, 3) at positions (B, A, 3)."""
        flat = positions_A.view(-1, 3)
        return flat[self.sender] - flat[:, None] + self.offset_A

    def gather(self, values: Tensor) -> Tensor:
        """Values (B·A, …) of the senders (B·A, J, …), differentiable, summed in a fixed order on the way back."""
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
        kept = reverse // old_width * width + reverse % old_width
        self.reverse.view(-1, width)[:, :old_width] = kept.view(-1, old_width)
        self.generation += 1


class _Gather(torch.autograd.Function):
    """values[sender]; the adjoint gathers over the opposite pairs and sums along rows: the same every time."""

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
    """What stands at the opposite pairs: (B·A, J, …) of values (B·A, J, …)."""
    return values.flatten(0, 1)[reverse].view_as(values)
