"""Langevin molecular dynamics (BAOAB) that stops anywhere and goes on to the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from redoxmd.seeds import rng_from_text, rng_text
from redoxmd.units import ACCELERATION_A2_AMU_PER_EV_FS2, BOLTZMANN_EV_PER_K

# Positions (n, 3) Å → forces (n, 3) eV/Å.
ForceFunction = Callable[[np.ndarray], np.ndarray]


@dataclass
class MDState:
    """Everything the next step depends on.

    Attributes:
        positions_A: (n, 3), unwrapped.
        velocities_A_fs: (n, 3).
        forces_eV_A: (n, 3) at these positions.
        step: steps done.
        rng: the thermostat's random stream.
    """

    positions_A: np.ndarray
    velocities_A_fs: np.ndarray
    forces_eV_A: np.ndarray
    step: int
    rng: np.random.Generator

    def record(self) -> dict[str, Any]:
        """Plain arrays and text, exact, for `from_record`."""
        return {
            "positions_A": self.positions_A,
            "velocities_A_fs": self.velocities_A_fs,
            "forces_eV_A": self.forces_eV_A,
            "step": np.asarray(self.step),
            "rng": np.asarray(rng_text(self.rng)),
        }

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> MDState:
        """Rebuild a state; the random stream continues where it was."""
        return cls(
            np.array(record["positions_A"]),
            np.array(record["velocities_A_fs"]),
            np.array(record["forces_eV_A"]),
            int(record["step"]),
            rng_from_text(str(record["rng"])),
        )


@dataclass(frozen=True)
class Langevin:
    """The BAOAB splitting of Langevin dynamics (Leimkuhler and Matthews, 2013), total momentum zero.

    One step: half kick, half drift, v ← c v + √((1 − c²) k_B T / m) ξ with c = exp(−γΔt), half drift, new forces,
    half kick. The noise is projected so that the total momentum stays zero: 3n − 3 degrees of freedom.

    Attributes:
        masses_amu: (n,).
        timestep_fs: Δt.
        temperature_K: T.
        friction_per_fs: γ; 0 gives constant energy (velocity Verlet).
    """

    masses_amu: np.ndarray
    timestep_fs: float
    temperature_K: float
    friction_per_fs: float

    def start(self, positions_A: np.ndarray, forces_eV_A: np.ndarray, rng: np.random.Generator) -> MDState:
        """State at step 0 with Maxwell–Boltzmann velocities."""
        thermal = np.sqrt(self._thermal_A2_fs2)
        velocities = self._without_drift(thermal * rng.standard_normal(positions_A.shape))
        return MDState(np.array(positions_A, dtype=float), velocities, np.array(forces_eV_A, dtype=float), 0, rng)

    def step(self, state: MDState, force: ForceFunction) -> None:
        """Advance the state by one time step, in place."""
        half, kick = 0.5 * self.timestep_fs, self.kick
        velocities = state.velocities_A_fs + kick * state.forces_eV_A
        positions = state.positions_A + half * velocities
        if self.friction_per_fs > 0:
            velocities = self.keep * velocities + self.noise_A_fs * state.rng.standard_normal(velocities.shape)
            velocities = self._without_drift(velocities)
        positions = positions + half * velocities
        forces = force(positions)
        state.positions_A = positions
        state.velocities_A_fs = velocities + kick * forces
        state.forces_eV_A = forces
        state.step += 1

    def kinetic_eV(self, state: MDState) -> float:
        """Kinetic energy."""
        squared = (state.velocities_A_fs**2).sum(axis=1)
        return float(0.5 * (self.masses_amu * squared).sum() / ACCELERATION_A2_AMU_PER_EV_FS2)

    def temperature_of(self, state: MDState) -> float:
        """Instantaneous temperature in K from 3n − 3 degrees of freedom."""
        return 2 * self.kinetic_eV(state) / (self.degrees * BOLTZMANN_EV_PER_K)

    @property
    def degrees(self) -> int:
        """Degrees of freedom without the total momentum."""
        return max(3 * len(self.masses_amu) - 3, 1)

    @property
    def kick(self) -> np.ndarray:
        """Velocity for each unit of force in half a step (n, 1), in Å/fs per eV/Å."""
        kick: np.ndarray = 0.5 * self.timestep_fs * ACCELERATION_A2_AMU_PER_EV_FS2 / self.masses_amu[:, None]
        return kick

    @property
    def keep(self) -> float:
        """Share c of its velocity that an atom keeps in a step."""
        return float(np.exp(-self.friction_per_fs * self.timestep_fs))

    @property
    def noise_A_fs(self) -> np.ndarray:
        """Amplitude (n, 1) of the random velocities of a step."""
        amplitude: np.ndarray = np.sqrt((1 - self.keep**2) * self._thermal_A2_fs2)
        return amplitude

    @property
    def _thermal_A2_fs2(self) -> np.ndarray:
        scale: np.ndarray = BOLTZMANN_EV_PER_K * self.temperature_K * ACCELERATION_A2_AMU_PER_EV_FS2 / self.masses_amu
        return scale[:, None]

    def _without_drift(self, velocities: np.ndarray) -> np.ndarray:
        masses = self.masses_amu[:, None]
        drift: np.ndarray = (masses * velocities).sum(axis=0) / masses.sum()
        return velocities - drift
