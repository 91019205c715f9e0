"""What a finished calculation of another code says: its level of theory and its frames, one at a time."""

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
    """What must agree before two calculations are trained on together.

    Attributes:
        code: vasp, gpaw, …
        functional: PBE, PBEsol, LDA, SCAN, …; "" where the file does not say.
        cutoff_eV: plane-wave cutoff, None where there is none.
        spin: spin-polarised; None where the file does not say.
        hubbard: element → (orbital, U − J in eV), elements where it is not zero only.
        potentials: element → pseudopotential or setup, in full ("PAW_PBE Na_pv 19Sep2006").
        kpoint_reach_A: smallest of divisions × cell length over the three axes, Å; None where the file does not say.
        details: further settings that change energies (smearing, precision, …).
        complete: whether a setting that `details` does not list has the code's default; else it is not known.
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
    """One ionic step as its file has it, unjudged.

    Attributes:
        atoms: species, positions, cell; fully periodic; no results.
        step: its number in the file, from 0.
        energy_eV: extrapolated to zero smearing where the file has that.
        forces_eV_A: (n, 3); of whatever shape the file gave.
        stress_eV_A3: (3, 3), ASE's sign; None where the file has none.
        moments_muB: (n,) or None.
        total_moment_muB: of the cell, None where the file does not say.
        scf_steps: electronic steps, None where the file does not say.
        converged: electronically; None where the file does not say.
        refusal: why the reader itself refuses this step, whose numbers mean nothing then; those behind it can be read.
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
    refusal: LabelRefused | None = None


@dataclass(frozen=True)
class Calculation:
    """A calculation as read: its level at once, its frames one at a time.

    Attributes:
        path: the file that carries the forces.
        level: its level of theory.
        frames: may be walked once; raises `LabelRefused` where the file stops making sense (unfinished where it ends
            early, corrupted where it cannot be read on), after the frames before were given.
        settings: every input tag the file shows, by name.
        electrons: valence electrons of the calculation, None where the file does not say.
        notes: what the reader left out or assumed, a sentence each, and of how many frames; grows as frames are walked.
    """

    path: Path
    level: Level
    frames: Iterator[ReadFrame]
    settings: dict[str, Any] = field(default_factory=dict)
    electrons: float | None = None
    notes: Counter[str] = field(default_factory=Counter)
