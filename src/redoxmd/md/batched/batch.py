"""Trajectories side by side on the device, each of them to its owner like `redoxmd.md.ensemble.EnsembleMD`."""

from __future__ import annotations

import logging
from collections import deque
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from ase import Atoms

from redoxmd.md.batched.evaluation import BatchEvaluation
from redoxmd.md.batched.pairs import PairRows, search
from redoxmd.md.batched.replay import Replay
from redoxmd.md.batched.slots import Slots
from redoxmd.md.batched.step import GUARDS, BatchStep, Log, Seen
from redoxmd.md.ensemble import EnsembleMD, Observation, frame_of
from redoxmd.md.frame_gate import GateSettings, verdict
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.model.ensemble import Ensemble

logger = logging.getLogger("redoxmd")

READ_EVERY_STEPS = 16
Backend = Literal["host", "device"]


class BatchMD:
    """Slots for trajectories that go forward together, `read_every` steps at a time.

    What happened on the way is read afterwards, frame by frame, so nothing is missed, however seldom it is read. Pairs
    are searched anew between two such stretches; a trajectory that needs them earlier waits (`BatchStep`).

    In a batch of given size a trajectory's numbers do not depend, bit for bit, on what is in the other slots, as long
    as rows are equally wide; in batches of other sizes, sums are rounded otherwise.

    Args:
        ensemble: at least two members, where the MD is to run.
        slots: how many trajectories side by side.
        atoms: places for atoms in each.
        captured: whether a GPU may take its CUDA graph.
    """

    def __init__(
        self,
        ensemble: Ensemble,
        slots: int,
        atoms: int,
        read_every: int = READ_EVERY_STEPS,
        skin_A: float = 0.5,
        captured: bool = True,
    ) -> None:
        if len(ensemble.members) < 2:
            raise ValueError(f"a spread needs at least two members, got {len(ensemble.members)}")
        evaluation = BatchEvaluation(ensemble)
        self.ensemble, self.device = ensemble, evaluation.device
        self.reach_A = ensemble.cutoff_A + skin_A
        self.slots = Slots(slots, atoms, ensemble.elements, self.device)
        self.rows = PairRows(slots, atoms, 2 * self.reach_A, self.device)
        self.log = Log(read_every, self.slots)
        self.stretch = 0
        self.seen = np.zeros((read_every, slots, len(Seen._fields)))
        self._step = BatchStep(self.slots, evaluation, self.rows, self.log, skin_A)
        self._replay = Replay(self._step, self.device, captured)
        self._tenants: dict[int, DeviceMD] = {}

    @property
    def path(self) -> str:
        """How it is evaluated, for logs."""
        many = f", {self.slots.count} side by side" if self.slots.count > 1 else ""
        return f"PyTorch on {self.device.type}, MD on the device{many}"

    def enter(self, slot: int, atoms: Atoms, langevin: Langevin, gate: GateSettings) -> DeviceMD:
        """Give a slot to a trajectory; it moves once it was started or restored."""
        self.leave(slot)
        self.slots.put(slot, atoms, langevin, gate)
        self._tenants[slot] = DeviceMD(self, slot, atoms, langevin, gate)
        return self._tenants[slot]

    def leave(self, slot: int) -> None:
        """Take a slot back."""
        self._tenants.pop(slot, None)
        self.slots.clear(slot)

    def advance(self) -> None:
        """Go forward by a stretch; what was seen of the one before must have been read.

        Raises:
            RuntimeError: it was not.
        """
        unread = [slot for slot, tenant in self._tenants.items() if tenant.pending]
        if unread:
            raise RuntimeError(f"slots {unread}: steps not read yet")
        self.search(self.slots.stale.nonzero().flatten())
        self._replay(self.log.frames)
        # The one word between device and host.
        self.seen = self.log.seen.cpu().numpy()
        self.stretch += 1

    def search(self, slots: torch.Tensor) -> None:
        """Search the pairs of some slots where they asked for it."""
        if len(slots) == 0:
            return
        here = self.slots
        cells, wanted = here.cell_A[slots], here.wanted_A[slots]
        generation = self.rows.generation
        self.rows.put(slots, search(wanted, cells, here.periodic[slots], here.present[slots], self.reach_A), cells)
        if self.rows.generation != generation:
            self._replay.forget()
        here.listed_A[slots] = wanted
        here.stale[slots] = False

    def look(self, slot: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean forces (A, 3) and the fields of `Seen` (6,) of a slot as it stands."""
        forces, seen = self._step.look()
        return forces[slot].cpu().numpy(), torch.stack(seen, dim=1)[slot].cpu().numpy()


class LoggedState:
    """The state after a step, in the log; what is asked for is fetched, as long as the log holds it."""

    def __init__(self, batch: BatchMD, slot: int, place: int, n: int, rng: np.random.Generator) -> None:
        self.rng = rng
        self.step = int(batch.seen[place, slot, Seen._fields.index("step")])
        self._batch, self._slot, self._place, self._n, self._stretch = batch, slot, place, n, batch.stretch

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

    def _fetch(self, buffer: torch.Tensor) -> np.ndarray:
        if self._stretch != self._batch.stretch:
            raise RuntimeError(f"the frame of step {self.step} is no longer in the log")
        values: np.ndarray = buffer[self._place, self._slot, : self._n].cpu().numpy().copy()
        return values


class DeviceMD:
    """One trajectory of a batch: step by step to its owner, frames and restart records those of `EnsembleMD`.

    A record of the one is taken up by the other. Here the thermostat's noise is keyed by the state of `rng`, which is
    left as it is; a trajectory that changes its path goes on with other random numbers.
    """

    def __init__(self, batch: BatchMD, slot: int, atoms: Atoms, langevin: Langevin, gate: GateSettings) -> None:
        self.atoms, self.langevin, self.gate = atoms, langevin, gate
        self.path = batch.path
        self.state: MDState | LoggedState
        self._batch, self._slot, self._stretch = batch, slot, batch.stretch
        self._unread: deque[int] = deque()
        logger.info("%d atoms, %d members, evaluated by %s", len(atoms), len(batch.ensemble.members), self.path)

    @property
    def pending(self) -> int:
        """Steps made and not read yet."""
        if self._stretch != self._batch.stretch:
            self._stretch = self._batch.stretch
            self._unread.extend(np.flatnonzero(self._batch.seen[:, self._slot, 0]).tolist())
            if not self._unread:
                # It waited from the first step on: its state has left the log, and is where it was.
                self.state = self._batch.slots.state(self._slot, len(self.atoms), self.state.rng)
        return len(self._unread)

    def start(self, rng: np.random.Generator) -> Observation:
        """Draw velocities and look at the starting frame."""
        positions = np.array(self.atoms.positions, dtype=float)
        still = np.zeros_like(positions)
        self._place(MDState(positions, still, still, 0, rng), positions)
        forces, _ = self._batch.look(self._slot)
        state = self.langevin.start(positions, forces[: len(positions)], rng)
        self._place(state, positions)
        return self._observation(self._batch.look(self._slot)[1])

    def step(self) -> Observation:
        """The next step and the gate's word on where it led; the whole batch advances when all were read."""
        while not self.pending:
            if not bool(self._batch.slots.going[self._slot]):
                raise RuntimeError("a trajectory that has ended makes no steps")
            self._batch.advance()
        place = self._unread.popleft()
        self.state = LoggedState(self._batch, self._slot, place, len(self.atoms), self.state.rng)
        return self._observation(self._batch.seen[place, self._slot])

    def frame(self) -> Atoms:
        """The present structure, unwrapped, with velocities."""
        return frame_of(self.atoms, self.state.positions_A, self.state.velocities_A_fs)

    def state_record(self) -> dict[str, Any]:
        """Arrays for a restart file."""
        now = self.state
        state = MDState(now.positions_A, now.velocities_A_fs, now.forces_eV_A, now.step, now.rng)
        listed = self._batch.slots.listed_A[self._slot, : len(self.atoms)].cpu().numpy().copy()
        return {**state.record(), "list_positions_A": listed}

    def restore(self, record: dict[str, Any]) -> None:
        """Go on from `state_record`."""
        self._place(MDState.from_record(record), np.array(record["list_positions_A"]))

    def _place(self, state: MDState, listed_A: np.ndarray) -> None:
        self.state = state
        self._batch.slots.place(self._slot, state, listed_A)
        self._batch.search(torch.tensor([self._slot], device=self._batch.device))

    def _observation(self, seen: np.ndarray) -> Observation:
        values = Seen(*seen.tolist())
        gate, guard = self.gate, GUARDS[int(values.guard)]
        passage, reason = verdict(float(values.spread_eV_A), gate.low_eV_A, gate.high_eV_A, guard)
        return Observation(
            passage, reason, float(values.spread_eV_A), float(values.temperature_K), float(values.energy_eV)
        )


def ensemble_md(
    ensemble: Ensemble, atoms: Atoms, langevin: Langevin, gate: GateSettings, backend: Backend = "host"
) -> EnsembleMD | DeviceMD:
    """MD of one structure: step by step on the host, or as a batch of one on the device of the ensemble."""
    if backend == "host":
        return EnsembleMD(ensemble, atoms, langevin, gate)
    return BatchMD(ensemble, 1, len(atoms)).enter(0, atoms, langevin, gate)
