"""Velocity Verlet, with a Langevin thermostat (BAOAB) for MDALGO = 3.

A run goes on from its CONTCAR and the RANDOM_SEED in its REPORT as if it had never stopped, to the digits of CONTCAR.
"""

from dataclasses import dataclass

import numpy as np
from ase import Atoms

ACCELERATION = 0.009648533212331  # eV/Å/u in Å/fs²
BOLTZMANN_EV_K = 8.617333262e-5


@dataclass
class Frame:
    positions_A: np.ndarray
    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray
    moments_muB: np.ndarray
    kinetic_eV: float = 0.0
    temperature_K: float = 0.0


class Dynamics:
    """The positions, and where they go."""

    def __init__(self, job):
        incar, poscar = job.incar, job.poscar
        self.job = job
        self.cell_A = poscar.cell_A
        self.symbols = poscar.symbols
        self.masses = np.repeat([potcar.mass for potcar in job.potcars], poscar.counts)[:, None]
        self.positions_A = poscar.fractions @ poscar.cell_A
        self.timestep_fs = incar.get("POTIM", 0.5)
        self.seed = list(incar.get("RANDOM_SEED", [0, 0, 0]))
        self.begin_K = incar.get("TEBEG", 1e-4)
        self.end_K = incar.get("TEEND", self.begin_K)
        gamma = incar.get("LANGEVIN_GAMMA", [0.0] * len(job.potcars))
        thermostat = incar.get("MDALGO", 0) == 3
        self.friction_per_fs = np.repeat(gamma, poscar.counts)[:, None] / 1000 * thermostat
        self.velocities_A_fs = poscar.velocities_A_fs
        if self.velocities_A_fs is None:
            self.velocities_A_fs = self._maxwell() if job.molecular_dynamics else np.zeros_like(self.positions_A)
        self._known = None

    def frame(self):
        """The state now."""
        energy, forces, stress, moments = self._ask()
        kinetic = float(0.5 * (self.masses * self.velocities_A_fs**2).sum() / ACCELERATION)
        temperature = 2 * kinetic / (3 * max(1, len(self.masses) - 1) * BOLTZMANN_EV_K)
        return Frame(self.positions_A.copy(), energy, forces.copy(), stress, moments, kinetic, temperature)

    def advance(self, step):
        """One time step; `step` counts from 0."""
        half = 0.5 * self.timestep_fs
        velocities = self.velocities_A_fs + half * self._acceleration()
        self.positions_A = self.positions_A + half * velocities
        target_K = self.begin_K + (self.end_K - self.begin_K) * step / max(1, self.job.steps - 1)
        velocities = self._thermostat(velocities, target_K)
        self.positions_A = self.positions_A + half * velocities
        self._known = None
        self.velocities_A_fs = velocities + half * self._acceleration()

    def atoms(self):
        return Atoms(self.symbols, positions=self.positions_A, cell=self.cell_A, pbc=True)

    def _thermostat(self, velocities, target_K):
        if not self.friction_per_fs.any():
            return velocities
        decay = np.exp(-self.friction_per_fs * self.timestep_fs)
        spread = np.sqrt((1 - decay**2) * BOLTZMANN_EV_K * target_K * ACCELERATION / self.masses)
        noise = np.random.default_rng(self.seed).standard_normal(velocities.shape)
        # VASP's second integer counts the numbers drawn.
        self.seed[1] += noise.size
        return decay * velocities + spread * noise

    def _maxwell(self):
        generator = np.random.default_rng([*self.seed, 1])
        velocities = generator.standard_normal(self.positions_A.shape) / np.sqrt(self.masses)
        velocities -= (self.masses * velocities).sum(axis=0) / self.masses.sum()
        kinetic = 0.5 * (self.masses * velocities**2).sum() / ACCELERATION
        wanted = 1.5 * (len(self.masses) - 1) * BOLTZMANN_EV_K * self.begin_K
        return velocities * np.sqrt(wanted / kinetic)

    def _acceleration(self):
        return ACCELERATION * self._ask()[1] / self.masses

    def _ask(self):
        from redoxmd.engines.toy import ionic_energy, moments

        if self._known is None:
            atoms = self.atoms()
            self._known = (*ionic_energy(atoms), moments(atoms))
        return self._known
