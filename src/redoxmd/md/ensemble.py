"""MD by the ensemble under the gate: the one loop that `explore` and `production` share."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.md.frame_gate import GateSettings, Guard, Passage, frame_spread, verdict
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.model.ensemble import Ensemble, EnsembleForces, Prediction
from redoxmd.units import ASE_TIME_PER_FS

logger = logging.getLogger("redoxmd")


@dataclass(frozen=True)
class Observation:
    """What is known of the frame after a step.

    Attributes:
        passage: the gate's word.
        reason: why the run ends here (spread_above_high, not_finite, close_contact, temperature_runaway); "" otherwise.
        spread_eV_A: the frame's spread.
    """

    passage: Passage
    reason: str
    spread_eV_A: float
    temperature_K: float
    energy_eV: float


def frame_of(atoms: Atoms, positions_A: np.ndarray, velocities_A_fs: np.ndarray) -> Atoms:
    """A structure elsewhere, with velocities."""
    frame = atoms.copy()
    frame.positions = positions_A
    frame.set_velocities(velocities_A_fs / ASE_TIME_PER_FS)
    return frame


class EnsembleMD:
    """Langevin MD of one structure with the mean force of an ensemble, every frame through gate and guards.

    Positions stay unwrapped. `state_record`/`restore` hold everything the next step depends on, the reference
    geometry of the neighbour list included, so that a continued run equals an uninterrupted one.
    """

    def __init__(self, ensemble: Ensemble, atoms: Atoms, langevin: Langevin, gate: GateSettings) -> None:
        self.atoms = atoms
        self.langevin = langevin
        self.gate = gate
        self._forces = EnsembleForces(ensemble, atoms)
        self.path = ensemble.path
        logger.info("%d atoms, %d members, evaluated by %s", len(atoms), len(ensemble.members), self.path)
        self._guard = Guard(
            atoms.numbers, gate.min_distance_fraction, gate.max_temperature_factor * langevin.temperature_K
        )
        self._cell = np.asarray(atoms.cell)
        self._prediction: Prediction | None = None
        self.state: MDState

    def start(self, rng: np.random.Generator) -> Observation:
        """Draw velocities and look at the starting frame."""
        self.state = self.langevin.start(self.atoms.positions, self._force(self.atoms.positions), rng)
        return self.observe()

    def step(self) -> Observation:
        """One time step and the gate's word on where it led."""
        self.langevin.step(self.state, self._force)
        return self.observe()

    def observe(self) -> Observation:
        """Gate and guards on the present frame."""
        prediction = self._prediction
        assert prediction is not None, "observe() follows start() or step()"
        temperature = self.langevin.temperature_of(self.state)
        spread = frame_spread(prediction.force_spread_eV_A, self.gate.statistic)
        found = self._guard.reason(
            self.state.positions_A, self.state.forces_eV_A, self._forces.pairs, self._cell, temperature
        )
        passage, reason = verdict(spread, self.gate.low_eV_A, self.gate.high_eV_A, found)
        return Observation(passage, reason, spread, temperature, prediction.energy_eV)

    def frame(self) -> Atoms:
        """The present structure, unwrapped, with velocities."""
        return frame_of(self.atoms, self.state.positions_A, self.state.velocities_A_fs)

    def state_record(self) -> dict[str, Any]:
        """Arrays for a restart file."""
        return {**self.state.record(), "list_positions_A": self._forces.list_positions_A}

    def restore(self, record: dict[str, Any]) -> None:
        """Go on from `state_record`."""
        self._forces.rebuild_list(np.array(record["list_positions_A"]))
        self.state = MDState.from_record(record)

    def _force(self, positions_A: np.ndarray) -> np.ndarray:
        if not np.isfinite(positions_A).all():
            return np.full_like(positions_A, np.nan)
        self._prediction = self._forces(positions_A)
        return self._prediction.forces_eV_A
