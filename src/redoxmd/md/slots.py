"""State of a batch of trajectories, in buffers that stay where they are: one slot for each trajectory."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from redoxmd.arrays import Array, Arrays
from redoxmd.md.batched.noise import noise_key, normals
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.langevin import Coefficients, Langevin, MDState


class Slots:
    """B slots of A places for atoms each, empty until `put`; places beyond a system's atoms never move.

    Attributes:
        positions_A, velocities_A_fs, forces_eV_A: (B, A, 3) present state, positions unwrapped.
        step: (B,) MD steps done.
        active: (B,) whether the slot holds a trajectory that has not ended.
        searched_A: (B, A, 3) positions of the last pair search.
        search_at_A: (B, A, 3) positions of the next pair search, in a slot that is `outdated`.
        outdated: (B,) whether the pairs must be searched before the next step.
        move_every: (B,) steps between moves of the electrons, 0 where they do not move; `moved` (B,) whether they have
            moved since the last step.
        occupied: (B, A) places with an atom; `species` (B, A) as the evaluator counts them.
        generators: random stream of each slot; `key` (B, 2) made from it for the noise on a device.
        coefficients: of the integrator.
        max_temperature_K, high_eV_A, min_distance_fraction, by_mean: (B,) for gate and guards.
    """

    def __init__(self, slots: int, atoms: int, arrays: Arrays) -> None:
        self.count, self.atoms, self.arrays = slots, atoms, arrays
        zeros, place, single = arrays.zeros, (slots, atoms, 3), (slots, 1, 1)
        self.positions_A, self.velocities_A_fs, self.forces_eV_A = (zeros(*place) for _ in range(3))
        self.searched_A, self.search_at_A = zeros(*place), zeros(*place)
        self.step = zeros(slots, dtype=int)
        self.active, self.outdated, self.moved, self.by_mean = (zeros(slots, dtype=bool) for _ in range(4))
        self.move_every = zeros(slots, dtype=int)
        self.occupied = zeros(slots, atoms, dtype=bool)
        self.n_atoms = zeros(slots) + 1.0
        self.species = zeros(slots, atoms, dtype=int)
        self.generators: dict[int, np.random.Generator] = {}
        self.key = zeros(slots, 2, dtype=int)
        per_atom = [zeros(slots, atoms, 1) for _ in range(4)]
        self.coefficients = Coefficients(
            half_fs=zeros(*single),
            kick=per_atom[0],
            keep=zeros(*single),
            noise_A_fs=per_atom[1],
            thermostatted=zeros(*single, dtype=bool),
            mass_amu=per_atom[2],
            total_mass_amu=zeros(slots, 1) + 1.0,
            occupied=per_atom[3],
            degrees=zeros(slots) + 1.0,
        )
        self.max_temperature_K, self.high_eV_A, self.min_distance_fraction = (zeros(slots) for _ in range(3))

    def put(self, slot: int, atoms: Atoms, species: np.ndarray, langevin: Langevin, gate: GateSettings) -> None:
        """Give a slot to a system; its state comes with `place`."""
        if len(atoms) > self.atoms:
            raise ValueError(f"{len(atoms)} atoms in a slot for {self.atoms}")
        n = len(atoms)
        self._write(self.occupied, slot, np.ones(n, dtype=bool))
        self._write(self.species, slot, species)
        self.n_atoms[slot] = n
        own, c = self.coefficients, langevin.coefficients
        for buffer, values in zip(own, c, strict=True):
            if getattr(values, "ndim", 0) == 2:
                self._write(buffer, slot, values)
            else:
                buffer[slot] = values
        self.max_temperature_K[slot] = gate.max_temperature_factor * langevin.temperature_K
        self.high_eV_A[slot], self.min_distance_fraction[slot] = gate.high_eV_A, gate.min_distance_fraction
        self.by_mean[slot] = gate.statistic == "mean"

    def place(self, slot: int, state: MDState, searched_A: np.ndarray) -> None:
        """Set the state of a slot, whose pairs are to be searched at `searched_A` (n, 3)."""
        self._write(self.positions_A, slot, state.positions_A)
        self._write(self.velocities_A_fs, slot, state.velocities_A_fs)
        self._write(self.forces_eV_A, slot, state.forces_eV_A)
        self.step[slot] = state.step
        self.generators[slot] = state.rng
        self.key[slot] = self.arrays.array(np.array(noise_key(state.rng)))
        self._write(self.search_at_A, slot, searched_A)
        self.outdated[slot] = self.active[slot] = True
        self.moved[slot] = False

    def state(self, slot: int, n: int) -> MDState:
        """The state of a slot's n atoms on the host."""

        def host(buffer: Array) -> np.ndarray:
            return self.arrays.to_numpy(buffer[slot, :n])

        step, rng = int(self.step[slot]), self.generators[slot]
        return MDState(host(self.positions_A), host(self.velocities_A_fs), host(self.forces_eV_A), step, rng)

    def clear(self, slot: int) -> None:
        """Leave a slot empty."""
        self.active[slot] = self.outdated[slot] = False
        self.occupied[slot] = False
        self.move_every[slot] = 0
        self.coefficients.occupied[slot] = 0

    def noise(self) -> Array:
        """Standard normal deviates (B, A, 3) of the next step.

        On the host from the random stream of each trajectory; on a device from its key and step, so that a step that
        had to wait for its pairs is made with the same ones.
        """
        if self.arrays.device is not None:
            return normals(self.key, self.step, self.atoms)
        noise = self.arrays.zeros(self.count, self.atoms, 3)
        for slot, rng in self.generators.items():
            if self.active[slot] and self.coefficients.thermostatted[slot]:
                n = int(self.n_atoms[slot])
                noise[slot, :n] = rng.standard_normal((n, 3))
        return noise

    def _write(self, buffer: Array, slot: int, values: np.ndarray) -> None:
        buffer[slot] = 0
        buffer[slot, : len(values)] = self.arrays.array(values)
