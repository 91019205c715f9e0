"""The gate on a single frame: go on, take it as a candidate, or end the run."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from ase.data import covalent_radii

from redoxmd.model.neighbours import Pairs


class Passage(Enum):
    """What the gate says of a frame."""

    GO_ON = "go_on"
    CANDIDATE = "candidate"
    STOP = "stop"


@dataclass(frozen=True)
class GateSettings:
    """Thresholds of the gate inside a run."""

    low_eV_A: float
    high_eV_A: float
    statistic: Literal["max", "mean"] = "max"
    min_distance_fraction: float = 0.6
    max_temperature_factor: float = 4.0


def frame_spread(spread_eV_A: np.ndarray, statistic: Literal["max", "mean"] = "max") -> float:
    """One number for a frame: the largest (or mean) spread over its atoms; NaN for no atoms or a NaN among them."""
    if len(spread_eV_A) == 0:
        return float("nan")
    return float(np.max(spread_eV_A) if statistic == "max" else np.mean(spread_eV_A))


def pass_gate(spread_eV_A: float, low_eV_A: float, high_eV_A: float) -> Passage:
    """σ < low: go on; low ≤ σ ≤ high: candidate; σ > high or not finite: stop (paper, section 2.6)."""
    if not np.isfinite(spread_eV_A) or spread_eV_A > high_eV_A:
        return Passage.STOP
    return Passage.CANDIDATE if spread_eV_A >= low_eV_A else Passage.GO_ON


def verdict(
    spread_eV_A: float, low_eV_A: float, high_eV_A: float, guard_reason: str | None = None
) -> tuple[Passage, str]:
    """Gate and guard together: what becomes of a frame, and why it is refused ("" where it is not)."""
    if guard_reason is not None:
        return Passage.STOP, guard_reason
    passage = pass_gate(spread_eV_A, low_eV_A, high_eV_A)
    if passage is not Passage.STOP:
        return passage, ""
    return passage, "spread_above_high" if np.isfinite(spread_eV_A) else "not_finite"


@dataclass(frozen=True)
class Guard:
    """Refuses unphysical frames, whatever the ensemble believes.

    Attributes:
        numbers: (n,) atomic numbers.
        min_distance_fraction: of the sum of covalent radii.
        max_temperature_K: a hotter frame has run away.
    """

    numbers: np.ndarray
    min_distance_fraction: float
    max_temperature_K: float

    def reason(
        self, positions_A: np.ndarray, forces_eV_A: np.ndarray, pairs: Pairs, cell_A: np.ndarray, temperature_K: float
    ) -> str | None:
        """Why this frame must not be used: not_finite, temperature_runaway, close_contact; None when it may."""
        if not (np.isfinite(positions_A).all() and np.isfinite(forces_eV_A).all() and np.isfinite(temperature_K)):
            return "not_finite"
        if temperature_K > self.max_temperature_K:
            return "temperature_runaway"
        radii = covalent_radii[self.numbers]
        allowed = self.min_distance_fraction * (radii[pairs.receiver] + radii[pairs.sender])
        vectors = pairs.vectors_A(positions_A, cell_A)
        if np.any((vectors**2).sum(axis=1) < allowed**2):
            return "close_contact"
        return None
