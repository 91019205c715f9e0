"""What every reference engine promises, and the verdict on what it returns."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from ase import Atoms

from redoxmd.density.grid import Density
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.files.frames import labelled
from redoxmd.files.records import content_hash


@dataclass(frozen=True)
class Result:
    """A label.

    Attributes:
        energy_eV: total energy, extrapolated to zero smearing where that applies.
        forces_eV_A: (n, 3).
        stress_eV_A3: (3, 3) or None.
        moments_muB: (n,) local magnetic moments or None.
        iterations: SCF steps it took, where there are any.
        remarks: what a reader of the frame should know (corrections made on the way), as info keys and text.
    """

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray | None = None
    moments_muB: np.ndarray | None = None
    iterations: int | None = None
    remarks: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # One line each: files of frames hold no other text.
        lines = {key: " ".join(text.split()) for key, text in self.remarks.items()}
        object.__setattr__(self, "remarks", lines)

    def label(self, atoms: Atoms, **info: Any) -> Atoms:
        """A copy of `atoms` that carries this label, its remarks and the given `info` keys."""
        moments = self.moments_muB
        return labelled(atoms, self.energy_eV, self.forces_eV_A, self.stress_eV_A3, moments, **info, **self.remarks)


@dataclass
class Inspection:
    """What was found before a run: problems would stop it, notes would not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class ReferenceMDSettings(Protocol):
    """What `aimd` and `label` have in common."""

    steps: int
    timestep_fs: float
    temperature_K: float
    friction_per_fs: float
    density_every: int


class Engine(Protocol):
    """A reference method: labels a structure, and says what it can give."""

    name: str
    capabilities: frozenset[str]
    settings_hash: str

    def calculate(self, atoms: Atoms) -> Result:
        """Label a structure.

        Raises:
            LabelRefused: the result never becomes data.
        """

    def density(self) -> Density | None:
        """Density of the structure labelled last; None where the engine has none."""

    def evidence(self) -> list[Path]:
        """Files of the last calculation that explain a refusal."""

    def provenance(self) -> dict[str, Any]:
        """What the settings do not say of where the labels come from: versions, checksums of potentials."""


@dataclass
class MDSegment:
    """A piece of an MD that an engine drove itself.

    Attributes:
        results: labels of the accepted steps, in order.
        positions_A: (n, 3) of each, unwrapped.
        end_positions_A: (n, 3) of the step that comes next; None after a refusal.
        end_velocities_A_fs: (n, 3) there.
        refusal: of the step after the accepted ones.
    """

    results: list[Result] = field(default_factory=list)
    positions_A: list[np.ndarray] = field(default_factory=list)
    end_positions_A: np.ndarray | None = None
    end_velocities_A_fs: np.ndarray | None = None
    refusal: LabelRefused | None = None


@runtime_checkable
class MDEngine(Engine, Protocol):
    """An engine with an MD of its own (capability "md")."""

    chunk_steps: int

    def run_segment(self, atoms: Atoms, settings: ReferenceMDSettings, steps: int, seed: int) -> MDSegment:
        """Langevin MD from the positions and velocities of `atoms`, for so many steps."""

    def static(self, atoms: Atoms) -> Result:
        """A single point for its density, beside an MD.

        Raises:
            LabelRefused: see `calculate`.
        """


def method_hash(name: str, version: int, physical: dict[str, Any]) -> str:
    """Identity of a reference method: engine, its deliberate version, and what changes energies and forces."""
    return content_hash([name, version, physical])


def supercell_kpoints(kpoints: Sequence[int], repeats: Sequence[int]) -> tuple[int, int, int]:
    """Grid (3,) of a supercell: that of the source cell divided by the repeats, rounded up."""
    a, b, c = (math.ceil(k / r) for k, r in zip(kpoints, repeats, strict=True))
    return a, b, c


def package_version(name: str) -> dict[str, Any]:
    """The installed version of a package, by its name; None where it is none."""
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        return {name: None}


def checked(result: Result, atoms: Atoms, force_ceiling_eV_A: float) -> Result:
    """The verdict every engine passes its result through.

    Raises:
        LabelRefused: wrong_structure for wrong shapes, not_finite, force_ceiling.
    """
    forces = np.asarray(result.forces_eV_A)
    if forces.shape != (len(atoms), 3):
        raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, f"forces of shape {forces.shape} for {len(atoms)} atoms")
    if result.moments_muB is not None and np.shape(result.moments_muB) != (len(atoms),):
        raise LabelRefused(
            LabelRefusal.WRONG_STRUCTURE, f"moments of shape {np.shape(result.moments_muB)} for {len(atoms)} atoms"
        )
    if not (np.isfinite(result.energy_eV) and np.isfinite(forces).all()):
        raise LabelRefused(LabelRefusal.NOT_FINITE, "energy or forces are NaN or infinite")
    largest = float(np.abs(forces).max(initial=0.0))
    if largest > force_ceiling_eV_A:
        raise LabelRefused(LabelRefusal.FORCE_CEILING, f"a force of {largest:.1f} eV/Å exceeds {force_ceiling_eV_A:g}")
    return result
