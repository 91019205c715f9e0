"""Interface of reference engines, and the checks common to their results."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from ase import Atoms

from redoxmd.density.grid import Density
from redoxmd.electrons.orbitals import OCCUPATIONS
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.files.frames import labelled
from redoxmd.files.records import content_hash


@dataclass(frozen=True)
class Result:
    """Energy, forces and further results of a labelled structure.

    Attributes:
        energy_eV: total energy, extrapolated to zero smearing if the method has one.
        forces_eV_A: (n, 3).
        stress_eV_A3: (3, 3) or None.
        moments_muB: (n,) local magnetic moments or None.
        scf_steps: number of SCF steps, of a first structure with those that find its state; None if unknown.
        remarks: info key → text for readers of the frame, such as corrections made during the run.
        total_moment_muB: of the cell or None.
        oxidation: (n,) oxidation states assigned to the moments (`redoxmd.electrons`), or None.
        orbital_occupations: (n, m(m + 1)) occupation matrices of the orbitals with +U, as columns
            (`electrons.orbitals.occupation_columns`), or None.
    """

    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray | None = None
    moments_muB: np.ndarray | None = None
    scf_steps: int | None = None
    remarks: dict[str, str] = field(default_factory=dict)
    total_moment_muB: float | None = None
    oxidation: np.ndarray | None = None
    orbital_occupations: np.ndarray | None = None

    def __post_init__(self) -> None:
        # One line each, because extended XYZ cannot hold line breaks.
        lines = {key: " ".join(text.split()) for key, text in self.remarks.items()}
        object.__setattr__(self, "remarks", lines)

    def label(self, atoms: Atoms, **info: Any) -> Atoms:
        """A copy of `atoms` with this label, its states and occupations, SCF steps, remarks and the `info` keys."""
        moments = self.moments_muB
        if self.total_moment_muB is not None:
            info["total_moment_muB"] = self.total_moment_muB
        if self.scf_steps is not None:
            info["scf_steps"] = self.scf_steps
        frame = labelled(atoms, self.energy_eV, self.forces_eV_A, self.stress_eV_A3, moments, **info, **self.remarks)
        if self.oxidation is not None:
            frame.set_array("oxidation", self.oxidation)
        if self.orbital_occupations is not None:
            frame.set_array(OCCUPATIONS, self.orbital_occupations)
        return frame


@dataclass
class Inspection:
    """Result of an inspection before a run: problems that stop it, and notes that do not."""

    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class ReferenceMDSettings(Protocol):
    """Settings that the sections `aimd` and `label` share."""

    steps: int
    timestep_fs: float
    temperature_K: float
    friction_per_fs: float
    density_every: int


@dataclass
class MDSegment:
    """A segment of an MD that the engine itself integrated.

    Attributes:
        results: labels of the accepted steps, in order.
        positions_A: (n, 3) of each, unwrapped.
        end_positions_A: (n, 3) of the next step; None after a refusal.
        end_velocities_A_fs: (n, 3) of the next step.
        refusal: of the step after the accepted ones.
    """

    results: list[Result] = field(default_factory=list)
    positions_A: list[np.ndarray] = field(default_factory=list)
    end_positions_A: np.ndarray | None = None
    end_velocities_A_fs: np.ndarray | None = None
    refusal: LabelRefused | None = None


class Engine(ABC):
    """A reference method that labels structures.

    Attributes:
        name: of its section in the config.
        capabilities: quantities that it gives; "md" if it integrates MD itself.
        settings_hash: see `redoxmd.engines.settings_hash`.
        chunk_steps: steps of a segment of its own MD.
        can_start_without_hubbard: whether `forget` can ask for a first SCF without +U.
        starts_without_hubbard: whether the first SCF is without +U unless `forget` asks for the other way.
    """

    name: str
    capabilities: frozenset[str]
    settings_hash: str
    chunk_steps: int
    can_start_without_hubbard: bool = False
    starts_without_hubbard: bool = False

    @abstractmethod
    def calculate(self, atoms: Atoms) -> Result:
        """Label a structure.

        Raises:
            LabelRefused: the result is never used as data.
        """

    @abstractmethod
    def provenance(self) -> dict[str, Any]:
        """Origin of the labels beyond the settings: versions, checksums of potentials."""

    def forget(self, without_hubbard: bool | None = None) -> None:
        """Start the next calculation from initial moments, not from the electrons of the previous one.

        Args:
            without_hubbard: converge them without +U first. From atoms, +U can hold electrons in orbitals that they do
                not fill; without it there are fewer such solutions, but at symmetric positions it shares electrons
                between orbitals. None: as `starts_without_hubbard`. Only with `can_start_without_hubbard`.
        """
        return

    def density(self) -> Density | None:
        """Density of the structure labelled last; None if the engine has no density."""
        return None

    def evidence(self) -> list[Path]:
        """Files of the last calculation that explain a refusal."""
        return []

    def retained_files(self) -> Path | None:
        """Folder of the files that the engine keeps by its settings; None if there are none."""
        return None

    def run_segment(self, atoms: Atoms, settings: ReferenceMDSettings, steps: int, seed: int) -> MDSegment:
        """A segment of Langevin MD from the positions and velocities of `atoms`, with `steps` steps."""
        raise NotImplementedError

    def static(self, atoms: Atoms) -> Result:
        """Label of a single-point calculation for the density of a frame of the engine's own MD.

        Raises:
            LabelRefused: see `calculate`.
        """
        raise NotImplementedError


def method_hash(name: str, version: int, physical: dict[str, Any]) -> str:
    """Hash of a reference method: engine, METHOD_VERSION, and the settings that change energies and forces."""
    return content_hash([name, version, physical])


def supercell_kpoints(kpoints: Sequence[int], repeats: Sequence[int]) -> tuple[int, int, int]:
    """k-point grid (3,) of a supercell: the grid of the source cell divided by the repeats, rounded up."""
    a, b, c = (math.ceil(k / r) for k, r in zip(kpoints, repeats, strict=True))
    return a, b, c


def package_version(name: str) -> dict[str, Any]:
    """Package name → installed version, or None if it is not an installed package."""
    try:
        return {name: version(name)}
    except PackageNotFoundError:
        # A module may be in a package of another name.
        packages = packages_distributions().get(name, [])
        return {name: version(packages[0]) if packages else None}


def check_result(result: Result, atoms: Atoms, force_ceiling_eV_A: float) -> Result:
    """The result of an engine after the checks common to all engines.

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
