"""What a batch of trajectories is made of: buffers that stay where they are, one slot for each trajectory."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from torch import Tensor

from redoxmd.md.batched.noise import noise_key
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.model.graph import species_index


class Slots:
    """B slots of A places for atoms each, empty until `put`; places beyond a system's atoms never move.

    Attributes:
        positions_A, velocities_A_fs, forces_eV_A: (B, A, 3) present state, positions unwrapped.
        step: (B,) MD steps done.
        going: (B,) whether the slot holds a trajectory that goes on.
        listed_A: (B, A, 3) where the pairs were last searched.
        wanted_A: (B, A, 3) where they are to be searched next, in a slot that is `stale`.
        stale: (B,) whether the next step needs a new search.
        present: (B, A) places with an atom; `species` (B·A,) of the model, `radius_A` (B·A,) covalent.
        cell_A, periodic: (B, 3, 3), (B, 3).
        key: (B, 2) of the noise.
        half_fs, keep, coupled: (B, 1, 1) half a time step; share of velocity kept; whether there is a thermostat.
        kick, noise_A_fs, mass_amu: (B, A, 1), zero at empty places.
        degrees, hottest_K, high_eV_A, distance_fraction, by_mean: (B,) for the gate and its guards.
    """

    def __init__(self, slots: int, atoms: int, elements: list[int], device: torch.device) -> None:
        self.count, self.atoms, self.elements, self.device = slots, atoms, elements, device

        def zeros(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
            return torch.zeros(*shape, dtype=dtype, device=device)

        place, single = (slots, atoms, 3), (slots, 1, 1)
        self.positions_A, self.velocities_A_fs, self.forces_eV_A = (zeros(*place) for _ in range(3))
        self.listed_A, self.wanted_A = zeros(*place), zeros(*place)
        self.step = zeros(slots, dtype=torch.long)
        self.going, self.stale = (zeros(slots, dtype=torch.bool) for _ in range(2))
        self.present = zeros(slots, atoms, dtype=torch.bool)
        self.species = zeros(slots * atoms, dtype=torch.long)
        self.radius_A = zeros(slots * atoms)
        self.cell_A, self.periodic = zeros(slots, 3, 3), zeros(slots, 3, dtype=torch.bool)
        self.key = zeros(slots, 2, dtype=torch.long)
        self.half_fs, self.keep = zeros(*single), zeros(*single)
        self.coupled = zeros(*single, dtype=torch.bool)
        self.kick, self.noise_A_fs, self.mass_amu = (zeros(slots, atoms, 1) for _ in range(3))
        self.degrees, self.hottest_K, self.high_eV_A, self.distance_fraction = (zeros(slots) for _ in range(4))
        self.by_mean = zeros(slots, dtype=torch.bool)

    def put(self, slot: int, atoms: Atoms, langevin: Langevin, gate: GateSettings) -> None:
        """Let a system take a slot; its state comes with `place`."""
        if len(atoms) > self.atoms:
            raise ValueError(f"{len(atoms)} atoms in a slot for {self.atoms}")
        n = len(atoms)
        self._write(self.present, slot, np.ones(n, dtype=bool))
        self._write(self.species.view(self.count, -1), slot, species_index(atoms.numbers, self.elements))
        self._write(self.radius_A.view(self.count, -1), slot, covalent_radii[atoms.numbers])
        self._write(self.mass_amu, slot, langevin.masses_amu[:, None])
        self._write(self.kick, slot, langevin.kick)
        self._write(self.noise_A_fs, slot, langevin.noise_A_fs)
        self.cell_A[slot] = torch.from_numpy(np.asarray(atoms.cell.complete()))
        self.periodic[slot] = torch.from_numpy(atoms.pbc)
        self.half_fs[slot], self.keep[slot] = 0.5 * langevin.timestep_fs, langevin.keep
        self.coupled[slot] = langevin.friction_per_fs > 0
        self.degrees[slot] = langevin.degrees
        self.hottest_K[slot] = gate.max_temperature_factor * langevin.temperature_K
        self.high_eV_A[slot], self.distance_fraction[slot] = gate.high_eV_A, gate.min_distance_fraction
        self.by_mean[slot] = gate.statistic == "mean"

    def place(self, slot: int, state: MDState, listed_A: np.ndarray) -> None:
        """Go on from a state whose pairs were searched at `listed_A` (n, 3)."""
        self._write(self.positions_A, slot, state.positions_A)
        self._write(self.velocities_A_fs, slot, state.velocities_A_fs)
        self._write(self.forces_eV_A, slot, state.forces_eV_A)
        self.step[slot] = state.step
        self.key[slot] = torch.tensor(noise_key(state.rng))
        self.list_at(slot, listed_A)
        self.going[slot] = True

    def state(self, slot: int, n: int, rng: np.random.Generator) -> MDState:
        """The state of a slot's n atoms on the host."""

        def host(buffer: Tensor) -> np.ndarray:
            values: np.ndarray = buffer[slot, :n].cpu().numpy().copy()
            return values

        moving = host(self.positions_A), host(self.velocities_A_fs), host(self.forces_eV_A)
        return MDState(*moving, int(self.step[slot]), rng)

    def list_at(self, slot: int, positions_A: np.ndarray) -> None:
        """Ask for pairs searched at these positions (n, 3)."""
        self._write(self.wanted_A, slot, positions_A)
        self.stale[slot] = True

    def clear(self, slot: int) -> None:
        """Leave a slot empty."""
        self.going[slot] = self.stale[slot] = False
        self.present[slot] = False

    def _write(self, buffer: Tensor, slot: int, values: np.ndarray) -> None:
        buffer[slot] = 0
        buffer[slot, : len(values)] = torch.from_numpy(np.ascontiguousarray(values)).to(buffer)
