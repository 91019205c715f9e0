"""Any ASE calculator as reference engine."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculatorError, PropertyNotImplementedError
from ase.stress import voigt_6_to_full_3x3_stress

from redoxmd.config import sections
from redoxmd.engines.base import Engine, Result, check_result, method_hash, package_version
from redoxmd.engines.verdict import judge_moments
from redoxmd.errors import EngineMissing, LabelRefusal, LabelRefused

METHOD_VERSION = 1
# Networks that predict magnitudes of moments have no spin state: those of CHGNet add up to 5.7 μB instead of 4 in a
# frame of the starter data (x = 1).
MOMENT_MAGNITUDES = ("chgnet.",)


def physical_settings(settings: sections.EngineSettings) -> dict[str, Any]:
    """The calculator and all its keywords."""
    return {"calculator": settings.ase.calculator, "keywords": settings.ase.keywords}


def import_calculator(path: str, key: str, remedy: str) -> Any:
    """The class of an ASE calculator by its import path; `key` of the config and `remedy` are for the message.

    Raises:
        EngineMissing: it cannot be imported.
    """
    module, _, name = path.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise EngineMissing(f"{key}: no {path} found ({error}); {remedy}") from error


def make_calculator(calculator: Any, keywords: Mapping[str, Any]) -> Any:
    """A calculator of a class, without what it prints at its start."""
    with Path(os.devnull).open("w") as quiet, contextlib.redirect_stdout(quiet):
        return calculator(**keywords)


def _calculator_class(settings: sections.AseEngineSettings) -> Any:
    remedy = f"pip install {settings.requires}" if settings.requires else "install what provides it"
    return import_calculator(settings.calculator, "engine.ase.calculator", remedy)


def available(settings: sections.EngineSettings) -> tuple[bool, str]:
    """Whether the calculator can be imported."""
    try:
        _calculator_class(settings.ase)
    except EngineMissing as error:
        return False, str(error)
    return True, f"{settings.ase.calculator} found"


def create(settings: sections.EngineSettings, repeats: Sequence[int], workdir: Path | None) -> AseEngine:
    """See `redoxmd.engines.get_engine`."""
    return AseEngine(settings, make_calculator(_calculator_class(settings.ase), settings.ase.keywords))


class AseEngine(Engine):
    """Labels by an ASE calculator; stress and moments if it has them, no density.

    A total moment or local moments are compared with the initial moments (see `judge_moments`).
    """

    name = "ase"

    def __init__(self, settings: sections.EngineSettings, calculator: Any) -> None:
        self.settings = settings
        self.settings_hash = method_hash(self.name, METHOD_VERSION, physical_settings(settings))
        self.calculator = calculator
        properties = set(getattr(calculator, "implemented_properties", ()))
        offered = {"energy", "forces", "stress"} & properties
        self._gives_total = "magmom" in properties
        self._has_spin_state = not settings.ase.calculator.startswith(MOMENT_MAGNITUDES)
        self.capabilities = frozenset(offered | ({"moments"} if "magmoms" in properties else set()))

    def calculate(self, atoms: Atoms) -> Result:
        """Label of a structure; a failure of the calculator is refused as unconverged."""
        working = atoms.copy()
        working.calc = self.calculator
        try:
            energy = float(working.get_potential_energy())
            forces = np.array(working.get_forces())
            stress = self._optional(lambda: voigt_6_to_full_3x3_stress(working.get_stress()))
            moments = self._optional(working.get_magnetic_moments) if "moments" in self.capabilities else None
            total = self._optional(working.get_magnetic_moment) if self._gives_total else None
        except CalculatorError as error:
            raise LabelRefused(LabelRefusal.UNCONVERGED, str(error)) from error
        total_muB = None if total is None else float(total)
        known_muB = total_muB if self._has_spin_state else None
        result = Result(energy, forces, stress, moments, total_moment_muB=known_muB)
        result = check_result(result, atoms, self.settings.force_ceiling_eV_A)
        if self._has_spin_state:
            judge_moments(total_muB, moments, atoms.get_initial_magnetic_moments())
        return result

    @staticmethod
    def _optional(getter: Any) -> np.ndarray | None:
        try:
            return np.array(getter())
        except PropertyNotImplementedError:
            return None

    def provenance(self) -> dict[str, Any]:
        """The package of the calculator and its version."""
        return package_version(self.settings.ase.calculator.partition(".")[0])
