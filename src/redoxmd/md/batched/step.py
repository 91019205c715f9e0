"""One MD step of a whole batch, gate and guards included, without a word to the host."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from redoxmd.md.batched.evaluation import BatchEvaluation, Evaluated
from redoxmd.md.batched.noise import normals
from redoxmd.md.batched.pairs import PairRows
from redoxmd.md.batched.slots import Slots
from redoxmd.units import ACCELERATION_A2_AMU_PER_EV_FS2, BOLTZMANN_EV_PER_K

# What a guard says, as numbers on the device, in the order of `redoxmd.md.frame_gate.Guard`.
GUARDS = (None, "not_finite", "temperature_runaway", "close_contact")


class Seen(NamedTuple):
    """What is known of frames after a step; all (B,), double precision.

    Attributes:
        done: 1 where the step was made, 0 where it waits for a search, or there is nothing to move.
        guard: index into `GUARDS`.
    """

    done: Tensor
    step: Tensor
    spread_eV_A: Tensor
    temperature_K: Tensor
    energy_eV: Tensor
    guard: Tensor


class Log:
    """The last K frames of every slot, whatever became of them, in buffers on the device.

    Attributes:
        seen: (K, B, 6) the fields of `Seen`.
        positions_A, velocities_A_fs, forces_eV_A: (K, B, A, 3).
        cursor: (1,) the next place.
    """

    def __init__(self, frames: int, slots: Slots) -> None:
        shape = (frames, *slots.positions_A.shape)
        like = slots.positions_A
        self.frames = frames
        self.seen = like.new_zeros(frames, slots.count, len(Seen._fields))
        self.positions_A, self.velocities_A_fs, self.forces_eV_A = (like.new_zeros(shape) for _ in range(3))
        self.cursor = torch.zeros(1, dtype=torch.long, device=like.device)

    def write(self, seen: Seen, slots: Slots) -> None:
        """Put down what is in the slots; the place after the last is the first."""
        self.seen.index_copy_(0, self.cursor, torch.stack(seen, dim=1)[None])
        self.positions_A.index_copy_(0, self.cursor, slots.positions_A[None])
        self.velocities_A_fs.index_copy_(0, self.cursor, slots.velocities_A_fs[None])
        self.forces_eV_A.index_copy_(0, self.cursor, slots.forces_eV_A[None])
        self.cursor.add_(1).remainder_(self.frames)


class BatchStep:
    """The BAOAB step of `redoxmd.md.langevin.Langevin` for every slot that goes on.

    Before forces are asked for at new positions, a slot in which an atom has moved half the skin since its pairs were
    searched is left as it was, with those positions in `Slots.wanted_A`, and so at every call until they are
    searched there: the noise belongs to the step, so the same positions come out again. No step is ever made with a
    pair missing, and none is lost. A slot whose frame the gate or a guard refuses stays at that frame.
    """

    def __init__(self, slots: Slots, evaluation: BatchEvaluation, rows: PairRows, log: Log, skin_A: float) -> None:
        self.slots, self.evaluation, self.rows, self.log, self.skin_A = slots, evaluation, rows, log, skin_A

    @torch.no_grad()
    def __call__(self) -> None:
        """Advance in place, write the log."""
        slots = self.slots
        velocities = slots.velocities_A_fs + slots.kick * slots.forces_eV_A
        positions = slots.positions_A + slots.half_fs * velocities
        noise = normals(slots.key, slots.step, slots.atoms)
        shaken = self._without_drift(slots.keep * velocities + slots.noise_A_fs * noise)
        velocities = torch.where(slots.coupled, shaken, velocities)
        positions = positions + slots.half_fs * velocities

        moved = ((positions - slots.listed_A) ** 2).sum(dim=2).amax(dim=1)
        finite = positions.isfinite().all(dim=2).all(dim=1)
        stale = slots.stale | (slots.going & finite & ~(moved < (self.skin_A / 2) ** 2))
        done = slots.going & ~stale
        made = done[:, None, None]
        slots.wanted_A.copy_(torch.where((stale & ~slots.stale)[:, None, None], positions, slots.wanted_A))
        slots.stale.copy_(stale)
        positions = torch.where(made, positions, slots.positions_A)

        evaluated = self.evaluation(positions, slots.species, slots.present, self.rows)
        forces = evaluated.member_forces_eV_A.mean(dim=0)
        velocities = torch.where(made, velocities + slots.kick * forces, slots.velocities_A_fs)
        slots.positions_A.copy_(positions)
        slots.velocities_A_fs.copy_(velocities)
        slots.forces_eV_A.copy_(torch.where(made, forces, slots.forces_eV_A))
        slots.step.add_(done)
        seen = self.judge(evaluated, done)
        stop = (seen.guard > 0) | ~(seen.spread_eV_A <= slots.high_eV_A)
        slots.going.logical_and_(~(done & stop))
        self.log.write(seen, slots)

    @torch.no_grad()
    def look(self) -> tuple[Tensor, Seen]:
        """Mean forces (B, A, 3) at the present positions, and what the gate reads there; nothing moves."""
        slots = self.slots
        evaluated = self.evaluation(slots.positions_A, slots.species, slots.present, self.rows)
        return evaluated.member_forces_eV_A.mean(dim=0), self.judge(evaluated, slots.going)

    def judge(self, evaluated: Evaluated, done: Tensor) -> Seen:
        """Spread, temperature and guards of the present frames."""
        slots = self.slots
        squared = (slots.mass_amu * slots.velocities_A_fs**2).sum(dim=(1, 2))
        temperature = squared / (ACCELERATION_A2_AMU_PER_EV_FS2 * BOLTZMANN_EV_PER_K) / slots.degrees.clamp(min=1)
        finite = slots.positions_A.isfinite().all(dim=2) & evaluated.member_forces_eV_A.isfinite().all(dim=3).all(dim=0)
        radius = slots.radius_A
        allowed = (radius[:, None] + radius[self.rows.sender]).view(slots.count, -1)
        allowed = slots.distance_fraction[:, None] * allowed
        close = ((evaluated.vectors_A**2).sum(dim=2).view(slots.count, -1) < allowed**2).any(dim=1)
        guard = torch.where(temperature > slots.hottest_K, 2, torch.where(close, 3, 0))
        guard = torch.where(finite.all(dim=1) & temperature.isfinite(), guard, 1)
        spread = self._spread(evaluated.member_forces_eV_A)
        return Seen(*(value.double() for value in (done, slots.step, spread, temperature, evaluated.energy_eV, guard)))

    def _spread(self, member_forces_eV_A: Tensor) -> Tensor:
        """As `redoxmd.model.ensemble.force_spread` and `redoxmd.md.frame_gate.frame_spread`."""
        slots = self.slots
        deviation = member_forces_eV_A - member_forces_eV_A.mean(dim=0)
        spread = torch.sqrt((deviation**2).sum(dim=(0, 3)) / (len(member_forces_eV_A) - 1))
        mean = spread.sum(dim=1) / slots.present.sum(dim=1)
        return torch.where(slots.by_mean, mean, spread.amax(dim=1))

    def _without_drift(self, velocities: Tensor) -> Tensor:
        mass = self.slots.mass_amu
        drift = (mass * velocities).sum(dim=1, keepdim=True) / mass.sum(dim=1, keepdim=True).clamp(min=1e-9)
        return velocities - drift * self.slots.present[..., None]
