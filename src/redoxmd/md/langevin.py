"""Langevin molecular dynamics (BAOAB) with bit-for-bit restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from redoxmd.arrays import Array, namespace
from redoxmd.seeds import rng_from_text, rng_text
from redoxmd.units import ACCELERATION_A2_AMU_PER_EV_FS2, BOLTZMANN_EV_PER_K

# Positions (n, 3) Å → forces (n, 3) eV/Å.
ForceFunction = Callable[[np.ndarray], np.ndarray]


class Coefficients(NamedTuple):
    """Coefficients of a BAOAB step for one trajectory, or for a batch with a leading axis (B, …).

    Attributes:
        half_fs: half a time step.
        kick: (n, 1) velocity per unit of force in half a step, in Å/fs per eV/Å.
        keep: fraction of its velocity that an atom keeps in a step.
        noise_A_fs: (n, 1) amplitude of the random velocities of a step.
        thermostatted: whether there is a thermostat.
        mass_amu: (n, 1); zero where a batch has no atom.
        total_mass_amu: Σ mass.
        occupied: (n, 1) 1 where there is an atom, 0 elsewhere.
        degrees: degrees of freedom without the total momentum.
    """

    half_fs: Array
    kick: Array
    keep: Array
    noise_A_fs: Array
    thermostatted: Array
    mass_amu: Array
    total_mass_amu: Array
    occupied: Array
    degrees: Array


def propagate(
    positions_A: Array, velocities_A_fs: Array, forces_eV_A: Array, noise: Array | None, c: Coefficients
) -> tuple[Array, Array]:
    """Positions and velocities (…, n, 3) after the first part of a BAOAB step: all but the kick by the new forces.

    `noise` are standard normal deviates (…, n, 3); None for constant energy.
    """
    velocities = velocities_A_fs + c.kick * forces_eV_A
    positions = positions_A + c.half_fs * velocities
    if noise is not None:
        random = remove_drift(c.keep * velocities + c.noise_A_fs * noise, c)
        velocities = namespace(velocities).where(c.thermostatted, random, velocities)
    return positions + c.half_fs * velocities, velocities


def remove_drift(velocities_A_fs: Array, c: Coefficients) -> Array:
    """Velocities (…, n, 3) with zero total momentum."""
    drift = (c.mass_amu * velocities_A_fs).sum(-2) / c.total_mass_amu
    return velocities_A_fs - drift[..., None, :] * c.occupied


def kinetic_energy_eV(velocities_A_fs: Array, c: Coefficients) -> Array:
    """Kinetic energies (…,) of velocities (…, n, 3)."""
    squared = (velocities_A_fs**2).sum(-1)
    return 0.5 * (c.mass_amu[..., 0] * squared).sum(-1) / ACCELERATION_A2_AMU_PER_EV_FS2


def temperature_K(velocities_A_fs: Array, c: Coefficients) -> Array:
    """Instantaneous temperatures (…,) from 3n − 3 degrees of freedom."""
    return 2 * kinetic_energy_eV(velocities_A_fs, c) / (c.degrees * BOLTZMANN_EV_PER_K)


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

    @cached_property
    def coefficients(self) -> Coefficients:
        """Coefficients of a step."""
        masses = self.masses_amu[:, None]
        keep = float(np.exp(-self.friction_per_fs * self.timestep_fs))
        return Coefficients(
            half_fs=0.5 * self.timestep_fs,
            kick=0.5 * self.timestep_fs * ACCELERATION_A2_AMU_PER_EV_FS2 / masses,
            keep=keep,
            noise_A_fs=np.sqrt((1 - keep**2) * self._thermal_A2_fs2),
            thermostatted=self.friction_per_fs > 0,
            mass_amu=masses,
            total_mass_amu=masses.sum(),
            occupied=np.ones_like(masses),
            degrees=max(3 * len(masses) - 3, 1),
        )

    def start(self, positions_A: np.ndarray, forces_eV_A: np.ndarray, rng: np.random.Generator) -> MDState:
        """State at step 0 with Maxwell–Boltzmann velocities."""
        thermal = np.sqrt(self._thermal_A2_fs2)
        velocities = remove_drift(thermal * rng.standard_normal(positions_A.shape), self.coefficients)
        return MDState(np.array(positions_A, dtype=float), velocities, np.array(forces_eV_A, dtype=float), 0, rng)

    def step(self, state: MDState, force: ForceFunction) -> None:
        """Advance the state by one time step, in place."""
        c = self.coefficients
        noise = state.rng.standard_normal(state.positions_A.shape) if c.thermostatted else None
        positions, velocities = propagate(
            state.positions_A, state.velocities_A_fs, state.forces_eV_A, noise, self.coefficients
        )
        forces = force(positions)
        state.positions_A = positions
        state.velocities_A_fs = velocities + c.kick * forces
        state.forces_eV_A = forces
        state.step += 1

    def kinetic_eV(self, state: MDState) -> float:
        """Kinetic energy."""
        return float(kinetic_energy_eV(state.velocities_A_fs, self.coefficients))

    def temperature_of(self, state: MDState) -> float:
        """Instantaneous temperature in K."""
        return float(temperature_K(state.velocities_A_fs, self.coefficients))

    @property
    def _thermal_A2_fs2(self) -> np.ndarray:
        scale: np.ndarray = BOLTZMANN_EV_PER_K * self.temperature_K * ACCELERATION_A2_AMU_PER_EV_FS2 / self.masses_amu
        return scale[:, None]
