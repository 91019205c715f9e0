"""Relaxation of structures with the ensemble, and gate and guards on the result."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import covalent_radii
from ase.optimize import FIRE, LBFGS

from redoxmd.config.sections import Relaxation
from redoxmd.errors import FrameRefusal
from redoxmd.md.frame_gate import GateOutcome, GateSettings, Guard, frame_spread, verdict
from redoxmd.model.neighbours import find_pairs

OPTIMIZERS = {"FIRE": FIRE, "LBFGS": LBFGS}


@dataclass(frozen=True)
class GatedStructure:
    """Outcome of gate and guards for a structure.

    Attributes:
        energy_eV: of the ensemble's mean.
        spread_eV_A: the frame's spread (`redoxmd.md.frame_gate.frame_spread`).
        outcome: of the gate.
        refused: why it is refused; None if it is not.
    """

    energy_eV: float
    spread_eV_A: float
    outcome: GateOutcome
    refused: FrameRefusal | None


def relax(atoms: Atoms, settings: Relaxation, interrupt: Callable[[], None]) -> bool:
    """Move the atoms to a minimum of their calculator's energy, in place and at constant cell.

    Args:
        atoms: with a calculator.
        settings: optimizer, tolerance, limit.
        interrupt: called before every step; an exception from it ends the relaxation.

    Returns:
        Whether every force is below the tolerance; false as well where a force is no number.
    """
    optimizer = OPTIMIZERS[settings.optimizer](atoms, logfile=None)
    for converged in optimizer.irun(fmax=settings.force_tolerance_eV_A, steps=settings.max_relax_steps):
        interrupt()
        if converged:
            return True
        if not np.isfinite(atoms.get_forces()).all():
            return False
    return False


def judge(atoms: Atoms, gate: GateSettings, relaxed: bool = True) -> GatedStructure:
    """Gate and guards on a structure whose calculator gives `force_spread` (n,) beside energy and forces."""
    energy, forces = float(atoms.get_potential_energy()), atoms.get_forces(apply_constraint=False)
    spread = frame_spread(np.asarray(atoms.calc.results["force_spread"]), gate.statistic)
    cell = np.asarray(atoms.cell)
    reach = 2 * gate.min_distance_fraction * float(covalent_radii[atoms.numbers].max())
    pairs = find_pairs(atoms.positions, cell, atoms.pbc, reach)
    guard = Guard(atoms.numbers, gate.min_distance_fraction, float("inf"))
    guard_reason = guard.reason(atoms.positions, forces, pairs, cell, 0.0)
    outcome, refused = verdict(spread, gate.low_eV_A, gate.high_eV_A, guard_reason)
    if not relaxed and refused is None:
        outcome, refused = GateOutcome.STOP, FrameRefusal.NOT_RELAXED
    return GatedStructure(energy, spread, outcome, refused)
