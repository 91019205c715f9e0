"""One MD step of a batch of trajectories, gate and guards included, without host synchronisation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from redoxmd.arrays import Array, namespace
from redoxmd.md.forces import ForceEvaluator, MemberForces
from redoxmd.md.frame_gate import exceeds, frame_spreads, guard_codes
from redoxmd.md.langevin import propagate, temperature_K
from redoxmd.md.slots import Slots
from redoxmd.model.ensemble import force_spread


class BatchResult(NamedTuple):
    """Results of a step; all (B,).

    Attributes:
        done: whether the step was made: not where it waits for a search, or where nothing moves.
        step: MD steps so far.
        spread_eV_A, temperature_K, energy_eV: of the frame.
        guard: index into `redoxmd.md.frame_gate.GUARD_REASONS`.
    """

    done: Array
    step: Array
    spread_eV_A: Array
    temperature_K: Array
    energy_eV: Array
    guard: Array


class Log:
    """The last K frames of every slot, in buffers beside the slots.

    Attributes:
        results: (K, B, 6) the fields of `BatchResult`.
        positions_A, velocities_A_fs, forces_eV_A: (K, B, A, 3).
        cursor: (1,) index of the next frame.
    """

    def __init__(self, frames: int, slots: Slots) -> None:
        zeros, shape = slots.arrays.zeros, (frames, slots.count, slots.atoms, 3)
        self.frames = frames
        self.results = zeros(frames, slots.count, len(BatchResult._fields))
        self.positions_A, self.velocities_A_fs, self.forces_eV_A = (zeros(*shape) for _ in range(3))
        self.cursor = zeros(1, dtype=int)
        self._row = zeros(slots.count, len(BatchResult._fields))

    def clear(self) -> None:
        """Forget all results; the next frame is the first."""
        self.results[...] = 0
        self.cursor[...] = 0

    def write(self, result: BatchResult, slots: Slots) -> None:
        """Record the present frames; after the last index the first one is overwritten."""
        for field, values in enumerate(result):
            self._row[:, field] = values
        self.results[self.cursor] = self._row[None]
        self.positions_A[self.cursor] = slots.positions_A[None]
        self.velocities_A_fs[self.cursor] = slots.velocities_A_fs[None]
        self.forces_eV_A[self.cursor] = slots.forces_eV_A[None]
        self.cursor[...] = (self.cursor + 1) % self.frames


class BatchStep:
    """The BAOAB step of `redoxmd.md.langevin` for every active slot.

    Forces are never evaluated with a pair missing: where an atom has moved half the skin since the last search, the
    pairs are searched at the new positions first. An evaluator that cannot search during a step leaves such a slot as
    it was, with those positions in `Slots.search_at_A`, until they are searched there; the noise of a step is fixed, so
    the step is then made to the same positions. A slot whose frame is refused stays at that frame. A slot waits while
    its electrons are due to move.
    """

    def __init__(self, slots: Slots, evaluator: ForceEvaluator, log: Log, search: Callable[[], None]) -> None:
        self.slots, self.evaluator, self.log, self.search = slots, evaluator, log, search

    def __call__(self) -> None:
        """Advance in place and write the log."""
        slots, c = self.slots, self.slots.coefficients
        xp = namespace(slots.positions_A)
        positions, velocities = propagate(slots.positions_A, slots.velocities_A_fs, slots.forces_eV_A, slots.noise(), c)
        displacement_A2 = xp.amax(((positions - slots.searched_A) ** 2).sum(2), 1)
        finite = xp.isfinite(positions).all(2).all(1)
        near = displacement_A2 < (self.evaluator.skin_A / 2) ** 2
        outdated = slots.outdated | (slots.active & finite & ~near)
        new = (outdated & ~slots.outdated)[:, None, None]
        slots.search_at_A[...] = xp.where(new, positions, slots.search_at_A)
        slots.outdated[...] = outdated
        if self.evaluator.searches_during_steps:
            self.search()
        moving = slots.move_every > 0
        due = moving & (slots.step % xp.where(moving, slots.move_every, 1) == 0) & ~slots.moved
        done = slots.active & ~slots.outdated & ~due
        made = done[:, None, None]
        positions = xp.where(made, positions, slots.positions_A)

        evaluation = self.evaluator(positions, slots.species)
        forces = evaluation.forces_eV_A
        velocities = xp.where(made, velocities + c.kick * forces, slots.velocities_A_fs)
        slots.positions_A[...] = positions
        slots.velocities_A_fs[...] = velocities
        slots.forces_eV_A[...] = xp.where(made, forces, slots.forces_eV_A)
        slots.step += done
        slots.moved &= ~done
        result = self.judge(evaluation, done)
        stopped = (result.guard > 0) | exceeds(result.spread_eV_A, slots.high_eV_A)
        slots.active &= ~(done & stopped)
        self.log.write(result, slots)

    def evaluate_current(self) -> MemberForces:
        """Evaluate the present positions; nothing moves."""
        return self.evaluator(self.slots.positions_A, self.slots.species)

    def judge(self, evaluation: MemberForces, done: Array) -> BatchResult:
        """Spread, temperature and guards of the present frames, whose evaluation is given."""
        slots, xp = self.slots, namespace(self.slots.positions_A)
        forces = evaluation.member_forces_eV_A
        finite = (xp.isfinite(slots.positions_A).all(2) & xp.isfinite(forces).all(3).all(0)).all(1)
        temperature = temperature_K(slots.velocities_A_fs, slots.coefficients)
        limits = slots.max_temperature_K, slots.min_distance_fraction
        guard = guard_codes(finite, temperature, evaluation.contact, *limits)
        spread = frame_spreads(force_spread(forces), slots.by_mean, slots.n_atoms)
        return BatchResult(done, slots.step, spread, temperature, evaluation.energy_eV, guard)
