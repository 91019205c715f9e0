"""MD by an ensemble under the gate: the one loop of explore and production, for one trajectory or many."""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.arrays import Array
from redoxmd.config.sections import Electrons
from redoxmd.errors import FrameRefusal
from redoxmd.md.batched.replay import Replay
from redoxmd.md.electrons import ElectronMD, StateCalls
from redoxmd.md.forces import ForceEvaluator, StateEvaluator
from redoxmd.md.frame_gate import GUARD_REASONS, GateOutcome, GateSettings, verdict
from redoxmd.md.fused.step import FusedStep
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.md.slots import Slots
from redoxmd.md.step import BatchResult, BatchStep, Log
from redoxmd.units import ASE_TIME_PER_FS

logger = logging.getLogger("redoxmd")

# On a device; on the host every step is read at once.
READ_EVERY_STEPS = 16


@dataclass(frozen=True)
class StepResult:
    """Result of a step.

    Attributes:
        outcome: of the gate and the guards.
        reason: why the run ends here; None where it does not.
        spread_eV_A: the frame's spread.
    """

    outcome: GateOutcome
    reason: FrameRefusal | None
    spread_eV_A: float
    temperature_K: float
    energy_eV: float


def frame_of(atoms: Atoms, positions_A: np.ndarray, velocities_A_fs: np.ndarray) -> Atoms:
    """A structure at other positions, with velocities."""
    frame = atoms.copy()
    frame.positions = positions_A
    frame.set_velocities(velocities_A_fs / ASE_TIME_PER_FS)
    return frame


class BatchMD:
    """Slots for trajectories that advance together, `read_every` steps at a time.

    The host reads the results of these steps afterwards, frame by frame, so no event is missed, however rarely it
    reads. In a batch of given size a trajectory's numbers do not depend, bit for bit, on the other slots, as long as
    rows are equally wide; in batches of other sizes, sums are rounded otherwise.

    Args:
        evaluator: of an ensemble of at least two members.
        slots: number of trajectories side by side.
        atoms: places for atoms in each.
        read_every: steps between readings; by default 1 on the host and `READ_EVERY_STEPS` on a device.
        captured: whether a GPU may capture the step as a CUDA graph.
        electrons: section `electrons`; not used by an ensemble that does not distinguish oxidation states.
    """

    def __init__(
        self,
        evaluator: ForceEvaluator,
        slots: int,
        atoms: int,
        read_every: int | None = None,
        captured: bool = True,
        electrons: Electrons | None = None,
    ) -> None:
        if evaluator.n_members < 2:
            raise ValueError(f"a spread needs at least two members, got {evaluator.n_members}")
        self.evaluator, self.arrays = evaluator, evaluator.arrays
        self.state_evaluator: StateEvaluator | None = None
        if isinstance(evaluator, StateEvaluator) and evaluator.moves_electrons:
            self.state_evaluator = evaluator
        self.electrons = electrons or Electrons()
        device = self.arrays.device
        evaluator.allocate(slots, atoms)
        self.slots = Slots(slots, atoms, self.arrays)
        self.log = Log(read_every or (1 if device is None else READ_EVERY_STEPS), self.slots)
        self.stretch = 0
        self.results = self.arrays.to_numpy(self.log.results)
        self.step = BatchStep(self.slots, evaluator, self.log, self.search)
        kernels = getattr(evaluator, "kernels", None)
        if kernels is not None:
            self.step = FusedStep(self.slots, evaluator, self.log, self.search, kernels.step)
        self.replay = Replay(self.step, device, captured)
        self._trajectories: dict[int, TrajectoryMD] = {}

    @property
    def description(self) -> str:
        """The kind of evaluation, for logs."""
        many = f", {self.slots.count} side by side" if self.slots.count > 1 else ""
        return f"{self.evaluator.description}{many}"

    def enter(self, slot: int, atoms: Atoms, langevin: Langevin, gate: GateSettings) -> TrajectoryMD:
        """Give a slot to a trajectory; it moves once it was started or restored."""
        self.leave(slot)
        electrons = None
        if self.state_evaluator is not None:
            electrons = ElectronMD(self.electrons, atoms, langevin.temperature_K, langevin.timestep_fs)
            atoms = atoms.copy()
            atoms.set_array("oxidation", electrons.oxidation)
        self.slots.put(slot, atoms, self.evaluator.enter(slot, atoms), langevin, gate)
        if electrons is not None and self.electrons.md != "frozen":
            self.slots.move_every[slot] = electrons.every
        self._trajectories[slot] = TrajectoryMD(self, slot, atoms, langevin, gate, electrons)
        return self._trajectories[slot]

    def leave(self, slot: int) -> None:
        """Take a slot back."""
        self._trajectories.pop(slot, None)
        self.evaluator.leave(slot)
        self.slots.clear(slot)

    def advance(self) -> None:
        """Advance by `read_every` steps, or until all electrons are due to move, after all earlier steps were read.

        Raises:
            RuntimeError: they were not.
        """
        unread = [slot for slot, trajectory in self._trajectories.items() if trajectory.pending]
        if unread:
            raise RuntimeError(f"slots {unread}: steps not read yet")
        self.search()
        to_move = [trajectory.move_electrons() for trajectory in self._trajectories.values()]
        self.log.clear()
        self.replay(min(self.log.frames, max(filter(None, to_move), default=self.log.frames)))
        # The only transfer between device and host.
        self.results = self.arrays.to_numpy(self.log.results)
        self.stretch += 1

    def search(self) -> None:
        """Search the pairs of all slots that are outdated."""
        slots = self.slots
        outdated = np.flatnonzero(self.arrays.to_numpy(slots.outdated)).tolist()
        if not outdated:
            return
        generation = self.evaluator.generation
        self.evaluator.search(outdated, slots.search_at_A[outdated])
        if self.evaluator.generation != generation:
            self.replay.forget()
        slots.searched_A[outdated] = slots.search_at_A[outdated]
        slots.outdated[outdated] = False


class LoggedState:
    """The state after a step, in the log; arrays are fetched when asked for, as long as the log holds them."""

    def __init__(self, batch: BatchMD, slot: int, index: int, n: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.step = int(batch.results[index, slot, BatchResult._fields.index("step")])
        self._batch, self._slot, self._index, self._n, self._stretch = batch, slot, index, n, batch.stretch

    @cached_property
    def positions_A(self) -> np.ndarray:
        """(n, 3), unwrapped."""
        return self._fetch(self._batch.log.positions_A)

    @cached_property
    def velocities_A_fs(self) -> np.ndarray:
        """(n, 3)."""
        return self._fetch(self._batch.log.velocities_A_fs)

    @cached_property
    def forces_eV_A(self) -> np.ndarray:
        """(n, 3) at these positions."""
        return self._fetch(self._batch.log.forces_eV_A)

    def _fetch(self, buffer: Array) -> np.ndarray:
        if self._stretch != self._batch.stretch:
            raise RuntimeError(f"the frame of step {self.step} is no longer in the log")
        return self._batch.arrays.to_numpy(buffer[self._index, self._slot, : self._n])


class TrajectoryMD:
    """One trajectory of a batch, step by step.

    Positions stay unwrapped. `state_record`/`restore` hold everything the next step depends on, the positions of the
    last pair search included, so that a continued run equals an uninterrupted one, in any slot of any batch of that
    size. Host and device read each other's records; they draw different noise, so that a trajectory that changes its
    backend continues with other random numbers.
    """

    def __init__(
        self,
        batch: BatchMD,
        slot: int,
        atoms: Atoms,
        langevin: Langevin,
        gate: GateSettings,
        electrons: ElectronMD | None = None,
    ) -> None:
        self.electrons = electrons
        self.atoms, self.langevin, self.gate, self.batch = atoms, langevin, gate, batch
        self.state: MDState | LoggedState
        self._slot, self._stretch = slot, batch.stretch
        self._unread: deque[int] = deque()
        members = batch.evaluator.n_members
        logger.info("%d atoms, %d members, evaluated by %s", len(atoms), members, batch.description)

    @property
    def pending(self) -> int:
        """Steps made and not read yet."""
        batch = self.batch
        if self._stretch != batch.stretch:
            self._stretch = batch.stretch
            self._unread.extend(np.flatnonzero(batch.results[:, self._slot, 0]).tolist())
            if not self._unread:
                # It waited from the first step on: its state has left the log and is unchanged.
                self.state = batch.slots.state(self._slot, len(self.atoms))
        return len(self._unread)

    def start(self, rng: np.random.Generator) -> StepResult:
        """Draw velocities and judge the starting frame."""
        batch, slot = self.batch, self._slot
        positions = np.array(self.atoms.positions, dtype=float)
        still = np.zeros_like(positions)
        self._place(MDState(positions, still, still, 0, rng), positions)
        if self.electrons is not None:
            self.electrons.start(positions, self.state_calls(), rng.spawn(1)[0])
            self._set_species(self.electrons.oxidation)
        evaluation = batch.step.evaluate_current()
        forces = batch.arrays.to_numpy(evaluation.forces_eV_A[slot, : len(positions)])
        self.state = self.langevin.start(positions, forces, rng)
        batch.slots.place(slot, self.state, positions)
        batch.slots.outdated[slot] = False
        result = batch.step.judge(evaluation, batch.slots.active)
        return self._result([float(values[slot]) for values in result])

    def step(self) -> StepResult:
        """Result of the next step; the whole batch advances when all were read."""
        while not self.pending:
            if not bool(self.batch.slots.active[self._slot]):
                raise RuntimeError("a trajectory that has ended makes no steps")
            self.batch.advance()
        index = self._unread.popleft()
        self.state = LoggedState(self.batch, self._slot, index, len(self.atoms), self.state.rng)
        return self._result(self.batch.results[index, self._slot].tolist())

    def move_electrons(self) -> int:
        """Move the electrons if they are due, before the next step; its forces are those of the new state.

        Returns the number of steps to the next move, 0 if there is none.
        """
        batch, slot, electrons = self.batch, self._slot, self.electrons
        if electrons is None or electrons.settings.md == "frozen" or not bool(batch.slots.active[slot]):
            return 0
        state, positions = self.state, self.state.positions_A
        # A slot that waits for its pairs after a move has made no step since.
        if not bool(batch.slots.moved[slot]):
            moved = electrons.move(state.step, positions, self.state_calls())
            batch.slots.moved[slot] = True
            if moved is not None:
                self._set_species(electrons.oxidation)
                batch.slots.forces_eV_A[slot, : len(positions)] = batch.arrays.array(moved.forces_eV_A)
        return electrons.every - state.step % electrons.every

    def state_calls(self) -> StateCalls:
        """Evaluations of the system in other states."""
        evaluator = self.batch.state_evaluator
        assert evaluator is not None
        return StateCalls(partial(evaluator.state_energies, self._slot), partial(evaluator.state_forces, self._slot))

    def _set_species(self, oxidation: np.ndarray) -> None:
        assert self.batch.state_evaluator is not None
        species = self.batch.state_evaluator.species_of(self._slot, oxidation)
        self.batch.slots.species[self._slot, : len(oxidation)] = self.batch.arrays.array(species)

    def frame(self) -> Atoms:
        """The present structure, unwrapped, with velocities and oxidation states."""
        frame = frame_of(self.atoms, self.state.positions_A, self.state.velocities_A_fs)
        if self.electrons is not None:
            frame.set_array("oxidation", self.electrons.oxidation)
        return frame

    def state_record(self) -> dict[str, Any]:
        """Arrays for a restart file."""
        now = self.state
        state = MDState(now.positions_A, now.velocities_A_fs, now.forces_eV_A, now.step, now.rng)
        searched = self.batch.arrays.to_numpy(self.batch.slots.searched_A[self._slot, : len(self.atoms)])
        electrons = {}
        if self.electrons is not None:
            moved = np.array(bool(self.batch.slots.moved[self._slot]))
            electrons = self.electrons.record() | {"electrons_moved": moved}
        return {**state.record(), "list_positions_A": searched, **electrons}

    def restore(self, record: dict[str, Any]) -> None:
        """Continue from `state_record`."""
        if self.electrons is not None:
            self.electrons.restore(record)
            self._set_species(self.electrons.oxidation)
        self._place(MDState.from_record(record), np.array(record["list_positions_A"]))
        if self.electrons is not None:
            self.batch.slots.moved[self._slot] = bool(record.get("electrons_moved", False))

    def _place(self, state: MDState, searched_A: np.ndarray) -> None:
        self.state = state
        self.batch.slots.place(self._slot, state, searched_A)
        self.batch.search()

    def _result(self, values: list[float]) -> StepResult:
        result = BatchResult(*values)
        spread, guard = float(result.spread_eV_A), GUARD_REASONS[int(result.guard)]
        outcome, reason = verdict(spread, self.gate.low_eV_A, self.gate.high_eV_A, guard)
        return StepResult(outcome, reason, spread, float(result.temperature_K), float(result.energy_eV))


def ensemble_md(
    evaluator: ForceEvaluator,
    atoms: Atoms,
    langevin: Langevin,
    gate: GateSettings,
    electrons: Electrons | None = None,
) -> TrajectoryMD:
    """MD of one structure: a batch of one."""
    return BatchMD(evaluator, 1, len(atoms), electrons=electrons).enter(0, atoms, langevin, gate)
