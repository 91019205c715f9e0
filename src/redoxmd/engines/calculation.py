"""A finished calculation as read from files: its level of theory, and its frames one at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.errors import LabelRefused

# A note of readers, see `Calculation.notes`.
NONCOLLINEAR = "moments of noncollinear spins are left out: a frame has one number for each atom"


@dataclass(frozen=True)
class Level:
    """Level of theory, which must agree between calculations that are trained on together.

    Attributes:
        code: vasp, gpaw, …
        functional: PBE, PBEsol, LDA, SCAN, …; "" if the file does not state it.
        cutoff_eV: plane-wave cutoff; None if there is none.
        spin: spin-polarised; None if the file does not state it.
        hubbard: element → (orbital, U − J in eV), for nonzero values.
        potentials: element → full name of its pseudopotential or setup ("PAW_PBE Na_pv 19Sep2006").
        kpoint_reach_A: smallest of divisions × cell length over the three axes, Å; None if the file does not state it.
        details: further settings that change energies (smearing, precision, …).
        complete: whether a setting missing from `details` has the code's default; else its value is unknown.
    """

    code: str
    functional: str = ""
    cutoff_eV: float | None = None
    spin: bool | None = None
    hubbard: dict[str, tuple[str, float]] = field(default_factory=dict)
    potentials: dict[str, str] = field(default_factory=dict)
    kpoint_reach_A: float | None = None
    details: dict[str, Any] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True)
class ReadFrame:
    """One ionic step as read from its file, not checked.

    Attributes:
        atoms: species, positions, cell; fully periodic; no results.
        step: its number in the file, from 0.
        energy_eV: extrapolated to zero smearing if the file has that energy.
        forces_eV_A: (n, 3), or the shape in the file.
        stress_eV_A3: (3, 3), ASE's sign; None if the file has no stress.
        moments_muB: (n,) or None.
        total_moment_muB: of the cell; None if the file does not state it.
        orbital_occupations: (n, m(m + 1)) as in `engines.base.Result`; None if the file has none.
        scf_steps: number of electronic steps; None if the file does not state it.
        converged: electronically; None if the file does not state it.
        refusal: reason why the reader refuses this step, whose numbers are then meaningless; later steps can be read.
    """

    atoms: Atoms
    step: int
    energy_eV: float
    forces_eV_A: np.ndarray
    stress_eV_A3: np.ndarray | None = None
    moments_muB: np.ndarray | None = None
    scf_steps: int | None = None
    converged: bool | None = None
    total_moment_muB: float | None = None
    orbital_occupations: np.ndarray | None = None
    refusal: LabelRefused | None = None


@dataclass(frozen=True)
class Calculation:
    """A calculation as read from its files; the level is read at once, the frames one at a time.

    Attributes:
        path: the file with the forces.
        level: its level of theory.
        frames: iterator over the frames, once; after the last valid frame it raises `LabelRefused` if the file ends
            early (unfinished) or cannot be read further (corrupted).
        settings: input tag → value, for every tag in the file.
        notes: omissions and assumptions of the reader, a sentence each → number of frames; grows during iteration.
    """

    path: Path
    level: Level
    frames: Iterator[ReadFrame]
    settings: dict[str, Any] = field(default_factory=dict)
    notes: Counter[str] = field(default_factory=Counter)
