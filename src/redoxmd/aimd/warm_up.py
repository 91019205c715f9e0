"""MD with a potential before the reference MD, so that no reference calculation is spent on heating a crystal."""

from __future__ import annotations

import contextlib
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator

from redoxmd.config.sections import Aimd, Electrons, WarmUp
from redoxmd.electrons.states import OxidationLevels, assign_oxidation
from redoxmd.errors import ConfigError, DataError, EngineMissing
from redoxmd.files.frames import bare
from redoxmd.md.langevin import Langevin
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import load_ensemble
from redoxmd.units import ASE_TIME_PER_FS

# A structure that is hotter than this many times the thermostat, in the second half, has left the potential's range.
HOTTEST = 3.0


def find_potential(settings: WarmUp, root: Path = Path()) -> Path | type[Calculator]:
    """The potential of the section: the file of an ensemble, relative to `root`, or the class of an ASE calculator.

    Raises:
        ConfigError: the file does not exist, or keywords are given with it.
        EngineMissing: the class cannot be imported.
    """
    if settings.potential.endswith(".pt"):
        if settings.keywords:
            raise ConfigError("aimd.warm_up.keywords are those of an ASE calculator; leave them out for an ensemble")
        if not (path := root / settings.potential).is_file():
            raise ConfigError(f"aimd.warm_up.potential: there is no file {path}")
        return path
    module, _, name = settings.potential.rpartition(".")
    try:
        found: type[Calculator] = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineMissing(
            f"aimd.warm_up.potential: no {settings.potential} found ({error}); install its package (CHGNet: "
            "pip install -e '.[chgnet]'), or name the ensemble.pt of an earlier run"
        ) from error
    return found


def warm_up_calculator(settings: WarmUp, electrons: Electrons) -> Calculator:
    """The calculator of the section's potential; electrons of an ensemble with states follow the ions."""
    potential = find_potential(settings)
    if isinstance(potential, Path):
        return EnsembleCalculator(load_ensemble(potential, device="cpu"), electrons)
    with Path(os.devnull).open("w") as quiet, contextlib.redirect_stdout(quiet):
        return potential(**settings.keywords)


def warm_up(atoms: Atoms, calculator: Any, settings: Aimd, rng: np.random.Generator, electrons: Electrons) -> Atoms:
    """The structure at the end of a Langevin MD of `warm_up.steps` at the temperature and friction of the section.

    Returns:
        The structure with its momenta. It has `oxidation` if the calculator gives that, or if it gives moments and
        there are levels to assign them by.

    Raises:
        DataError: forces are no numbers, or the structure is far hotter than the thermostat.
    """
    levels, steps = OxidationLevels.of(electrons), settings.warm_up.steps
    working, name = bare(atoms), atoms.info.get("config_id", atoms.get_chemical_formula())
    working.calc = calculator

    def force(positions_A: np.ndarray) -> np.ndarray:
        working.positions = positions_A
        forces: np.ndarray = working.get_forces()
        return forces

    md = Langevin(atoms.get_masses(), settings.warm_up.timestep_fs, settings.temperature_K, settings.friction_per_fs)
    state = md.start(atoms.positions, force(atoms.positions), rng)
    for step in range(steps):
        md.step(state, force)
        too_hot = 2 * step > steps and md.temperature_of(state) > HOTTEST * settings.temperature_K
        if too_hot or not np.isfinite(state.forces_eV_A).all():
            raise DataError(
                f"warm-up of {name}: the potential {settings.warm_up.potential} fails at step {step + 1} "
                f"({md.temperature_of(state):.0f} K); take another potential, or warm_up.steps: 0"
            )
    warm = atoms.copy()
    warm.positions = state.positions_A
    warm.set_velocities(state.velocities_A_fs / ASE_TIME_PER_FS)
    if "oxidation" in calculator.results:
        warm.set_array("oxidation", np.array(calculator.results["oxidation"]))
    elif levels is not None and "magmoms" in calculator.results:
        moments_muB = np.asarray(calculator.results["magmoms"])
        warm.set_array("oxidation", assign_oxidation(list(atoms.symbols), moments_muB, levels).oxidation)
    return warm
