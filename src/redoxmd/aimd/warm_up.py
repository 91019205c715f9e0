"""MD with a potential before the reference MD, so that no reference calculation is spent on heating a crystal."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from redoxmd.config.sections import Aimd, Electrons, Pretrain, WarmUp
from redoxmd.electrons.states import OxidationLevels, assign_oxidation
from redoxmd.engines.ase import import_calculator, make_calculator
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.frames import bare
from redoxmd.md.langevin import Langevin, MDState
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import load_ensemble
from redoxmd.units import ASE_TIME_PER_FS

# A structure that is hotter than this many times the thermostat, in the second half, has left the potential's range.
HOTTEST = 3.0
# A rule reads a part of its section, which has the same name.
SECTION_NAMES = {"WarmUp": "aimd.warm_up", "Pretrain": "pretrain"}


def find_potential(settings: WarmUp | Pretrain, root: Path = Path()) -> Path | type[Calculator]:
    """The potential of a section: the file of an ensemble, relative to `root`, or the class of an ASE calculator.

    Raises:
        ConfigError: the file does not exist, or keywords are given with it.
        EngineMissing: the class cannot be imported.
    """
    section = SECTION_NAMES[type(settings).__name__]
    if settings.potential.endswith(".pt"):
        if settings.keywords:
            raise ConfigError(f"{section}.keywords are those of an ASE calculator; leave them out for an ensemble")
        if not (path := root / settings.potential).is_file():
            raise ConfigError(f"{section}.potential: there is no file {path}")
        return path
    remedy = "install its package (CHGNet: pip install -e '.[chgnet]'), or name the ensemble.pt of an earlier run"
    calculator: type[Calculator] = import_calculator(settings.potential, f"{section}.potential", remedy)
    return calculator


def potential_calculator(settings: WarmUp | Pretrain, electrons: Electrons) -> Calculator:
    """The calculator of a section's potential; electrons of an ensemble with states follow the ions."""
    potential = find_potential(settings)
    if isinstance(potential, Path):
        return EnsembleCalculator(load_ensemble(potential, device="cpu"), electrons)
    calculator: Calculator = make_calculator(potential, settings.keywords)
    return calculator


def run_potential(
    working: Atoms, md: Langevin, steps: int, rng: np.random.Generator, task: str, remedy: str
) -> Iterator[MDState]:
    """The states of an MD of `steps` with the calculator of `working`, whose results are those of each state in turn.

    Args:
        working: the start; its positions follow the MD.
        md: thermostat and time step.
        steps: number of steps; the first state is that of the start, with new velocities.
        rng: of the velocities and the thermostat.
        task, remedy: begin and end of the error message.

    Raises:
        DataError: forces are no numbers, or the structure is far hotter than the thermostat.
    """

    def force(positions_A: np.ndarray) -> np.ndarray:
        working.positions = positions_A
        forces: np.ndarray = working.get_forces()
        return forces

    state = md.start(working.positions, force(working.positions), rng)
    for step in range(steps + 1):
        if step:
            md.step(state, force)
        too_hot = 2 * (step - 1) > steps and md.temperature_of(state) > HOTTEST * md.temperature_K
        if too_hot or not np.isfinite(state.forces_eV_A).all():
            raise DataError(f"{task} fails at step {step} ({md.temperature_of(state):.0f} K); {remedy}")
        yield state


def warm_up(atoms: Atoms, calculator: Any, settings: Aimd, rng: np.random.Generator, electrons: Electrons) -> Atoms:
    """The structure at the end of a Langevin MD of `warm_up.steps` at the temperature and friction of the section.

    Returns:
        The structure with its momenta, and its states if the calculator gives them (`set_states`).

    Raises:
        DataError: as `run_potential`.
    """
    working, name = bare(atoms), atoms.info.get("config_id", atoms.get_chemical_formula())
    working.calc = calculator
    chosen = settings.warm_up
    md = Langevin(atoms.get_masses(), chosen.timestep_fs, settings.temperature_K, settings.friction_per_fs)
    task, remedy = f"warm-up of {name}: the potential {chosen.potential}", "take another potential, or warm_up.steps: 0"
    *_, state = run_potential(working, md, chosen.steps, rng, task, remedy)
    warm = atoms.copy()
    warm.positions = state.positions_A
    warm.set_velocities(state.velocities_A_fs / ASE_TIME_PER_FS)
    set_states(warm, calculator.results, OxidationLevels.of(electrons))
    return warm


def set_states(atoms: Atoms, results: dict[str, Any], levels: OxidationLevels | None) -> None:
    """Set the array `oxidation` from the results of a potential: its states, or its moments if there are levels."""
    if "oxidation" in results:
        atoms.set_array("oxidation", np.array(results["oxidation"]))
    elif levels is not None and "magmoms" in results:
        moments_muB = np.asarray(results["magmoms"])
        atoms.set_array("oxidation", assign_oxidation(list(atoms.symbols), moments_muB, levels).oxidation)
