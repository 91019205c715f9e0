"""The MD step by two kernels around the evaluation of the forces (`step.cu`)."""

from __future__ import annotations

from collections.abc import Callable

import torch

from redoxmd.md.forces import ForceEvaluator
from redoxmd.md.fused.kernels import Kernels
from redoxmd.md.slots import Slots
from redoxmd.md.step import BatchStep, Log
from redoxmd.units import ACCELERATION_A2_AMU_PER_EV_FS2, BOLTZMANN_EV_PER_K


class FusedStep(BatchStep):
    """`BatchStep` on a device: noise, integrator, gate, guards and log in two kernels, sums in another order."""

    def __init__(
        self, slots: Slots, evaluator: ForceEvaluator, log: Log, search: Callable[[], None], kernels: Kernels
    ) -> None:
        super().__init__(slots, evaluator, log, search)
        self.kernels = kernels

    def __call__(self) -> None:
        """Advance in place and write the log."""
        slots, c, log = self.slots, self.slots.coefficients, self.log
        positions, velocities = (torch.empty_like(slots.positions_A) for _ in range(2))
        done = torch.empty_like(slots.active)
        state = [slots.positions_A, slots.velocities_A_fs, slots.forces_eV_A]
        reads = [*state, c.kick, c.half_fs, c.keep, c.noise_A_fs, c.thermostatted, c.mass_amu, c.total_mass_amu]
        reads += [c.occupied, slots.key, slots.step, slots.searched_A, slots.active, slots.moved, slots.move_every]
        writes = [positions, velocities, slots.search_at_A, slots.outdated, done]
        self.kernels.launch("propagate", slots.count, reads, writes, slots.atoms, self.evaluator.skin_A / 2)

        evaluation = self.evaluator(positions, slots.species)
        reads = [evaluation.energies_eV, evaluation.member_forces_eV_A, evaluation.contact, done, positions, velocities]
        reads += [c.kick, c.mass_amu, c.degrees, slots.n_atoms, slots.by_mean]
        reads += [slots.max_temperature_K, slots.min_distance_fraction, slots.high_eV_A, log.cursor]
        writes = [*state, slots.step, slots.active, slots.moved]
        writes += [log.results, log.positions_A, log.velocities_A_fs, log.forces_eV_A]
        sizes = slots.atoms, self.evaluator.n_members, slots.count
        constants = ACCELERATION_A2_AMU_PER_EV_FS2, BOLTZMANN_EV_PER_K
        self.kernels.launch("finish", slots.count, reads, writes, *sizes, *constants)
        log.cursor.add_(1).remainder_(log.frames)
