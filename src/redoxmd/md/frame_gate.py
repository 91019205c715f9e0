"""The gate on single frames: continue, take the frame as a candidate, or end the run.

Written for one frame or for a batch of them, in NumPy or in torch: explore, production, relaxations and the MD on a
device share these formulas.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

import numpy as np
from ase.data import covalent_radii

from redoxmd.arrays import Array, namespace
from redoxmd.errors import FrameRefusal
from redoxmd.model.neighbours import Pairs

# Reasons of the guards, by code.
GUARD_REASONS = (None, FrameRefusal.NOT_FINITE, FrameRefusal.TEMPERATURE_RUNAWAY, FrameRefusal.CLOSE_CONTACT)


class GateOutcome(Enum):
    """Outcome of the gate for a frame."""

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
    """Spread of a frame: the largest (or mean) over its atoms (n,); NaN for no atoms or a NaN among them."""
    if len(spread_eV_A) == 0:
        return float("nan")
    return float(frame_spreads(spread_eV_A, np.asarray(statistic == "mean"), len(spread_eV_A)))


def frame_spreads(spread_eV_A: Array, by_mean: Array, n_atoms: Array) -> Array:
    """Spreads (…,) of frames: the largest over atoms (…, n), zero where there is none, or the mean where `by_mean`."""
    xp = namespace(spread_eV_A)
    return xp.where(by_mean, spread_eV_A.sum(-1) / n_atoms, xp.amax(spread_eV_A, -1))


def classify_spread(spread_eV_A: float, low_eV_A: float, high_eV_A: float) -> GateOutcome:
    """σ < low: continue; low ≤ σ ≤ high: candidate; σ > high or not finite: stop (paper, section 2.6)."""
    if not np.isfinite(spread_eV_A) or exceeds(spread_eV_A, high_eV_A):
        return GateOutcome.STOP
    return GateOutcome.CANDIDATE if spread_eV_A >= low_eV_A else GateOutcome.GO_ON


def exceeds(spread_eV_A: Array, high_eV_A: Array) -> Array:
    """Whether a spread is above the upper threshold, or no number."""
    return namespace(spread_eV_A).logical_not(spread_eV_A <= high_eV_A)


def verdict(
    spread_eV_A: float, low_eV_A: float, high_eV_A: float, guard_reason: FrameRefusal | None = None
) -> tuple[GateOutcome, FrameRefusal | None]:
    """Outcome of gate and guards for a frame, and the reason of a refusal."""
    if guard_reason is not None:
        return GateOutcome.STOP, guard_reason
    outcome = classify_spread(spread_eV_A, low_eV_A, high_eV_A)
    if outcome is not GateOutcome.STOP:
        return outcome, None
    return outcome, FrameRefusal.SPREAD_ABOVE_HIGH if np.isfinite(spread_eV_A) else FrameRefusal.NOT_FINITE


def conformal_factor(ratios: Sequence[float], coverage: float) -> float:
    """Of n sorted ratios the ⌈(n + 1)·coverage⌉-th; ∞ if n is too small.

    Split conformal prediction (Vovk, Gammerman and Shafer, 2005): a further ratio lies below it with this probability,
    if it is exchangeable with the others. Frames of one run are correlated: for other runs it is an estimate.
    """
    rank = math.ceil((len(ratios) + 1) * coverage - 1e-9)
    return float(ratios[rank - 1]) if 1 <= rank <= len(ratios) else math.inf


def closest_contact(vectors_A: Array, radius_sums_A: Array) -> Array:
    """Smallest pair distance in units of the summed covalent radii (…,), from pairs (…, E, 3) and (…, E)."""
    xp = namespace(vectors_A)
    ratios = (vectors_A**2).sum(-1) / radius_sums_A**2
    if ratios.shape[-1] == 0:
        return ratios.sum(-1) + float("inf")
    return xp.sqrt(xp.amin(ratios, -1))


def guard_codes(
    finite: Array, temperature_K: Array, contact: Array, max_temperature_K: Array, min_distance_fraction: Array
) -> Array:
    """Index into `GUARD_REASONS` for frames (…,): the first guard that refuses the frame.

    Args:
        finite: whether all positions and forces are numbers.
        temperature_K: instantaneous temperature.
        contact: of `closest_contact`.
        max_temperature_K: a hotter frame has run away.
        min_distance_fraction: a smaller `contact` is refused.
    """
    xp = namespace(temperature_K)
    code = xp.where(temperature_K > max_temperature_K, 2, xp.where(contact < min_distance_fraction, 3, 0))
    return xp.where(finite & xp.isfinite(temperature_K), code, 1)


@dataclass(frozen=True)
class Guard:
    """Refuses unphysical frames, independent of the ensemble.

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
    ) -> FrameRefusal | None:
        """Why this frame must not be used; None when it may."""
        finite = np.isfinite(positions_A).all() and np.isfinite(forces_eV_A).all()
        radii = covalent_radii[self.numbers]
        contact = closest_contact(pairs.vectors_A(positions_A, cell_A), radii[pairs.receiver] + radii[pairs.sender])
        limits = self.max_temperature_K, self.min_distance_fraction
        return GUARD_REASONS[int(guard_codes(finite, np.asarray(temperature_K), contact, *limits))]
