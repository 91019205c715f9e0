"""Work balance of a run: energy changes compared with the work of the forces."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal
from redoxmd.train.audit.places import Finding, consecutive, displacement_A
from redoxmd.train.audit.smooth import SHORTEST_STRETCH

# An interval breaks a run if its imbalance exceeds this multiple of the run's median and this floor. GPAW's SCF energy
# falls by up to 0.14 eV, 11 medians, from one frame to the next if the electrons reach a lower state.
IMBALANCE_FACTOR = 20.0
IMBALANCE_FLOOR_EV = 0.3
# The same for runs too short for a median. SCF: GPAW's energy falls by up to 3.6 meV/atom in an interval (99 % of 183:
# 2.5). Error of the trapezoid rule as a share of Σ_i |½ (F_i' - F_i)·Δr_i|: up to 0.04 for MD of 2 to 5 fs at 1000 to
# 3000 K, 0.10 while atoms move to their sites; 1 is the bound for a step along which forces change monotonically.
SHORT_IMBALANCE_EV_ATOM = 0.005
TRAPEZOID_SHARE = 0.1
# Largest displacement for that share; the work balance is of third order in displacements.
LARGEST_STEP_A = 0.15
# Energies belong to other frames if pairing them one step off halves the median imbalance, or if the imbalance is most
# of the median energy change. GPAW at 2 fs: imbalance 0.1 of the change when paired correctly, 0.6 to 1 one step off.
SHIFTED_SHARE = 0.5
IMBALANCE_SHARE = 0.6
FEWEST_INTERVALS = 8
SMALLEST_IMBALANCE_EV = 0.005


def check_energies(frames: list[ReadFrame]) -> dict[int, Finding]:
    """Findings of the work balance over intervals of one step: step → (reason, detail)."""
    findings: dict[int, Finding] = {}
    for stretch in consecutive(frames):
        intervals = [_balance(a, b) for a, b in pairwise(stretch)]
        change = np.array([interval.change_eV for interval in intervals])
        work = np.array([interval.work_eV for interval in intervals])
        if len(stretch) < SHORTEST_STRETCH:
            shares = [TRAPEZOID_SHARE if item.longest_A <= LARGEST_STEP_A else 1.0 for item in intervals]
            curvature = np.array([interval.curvature_eV for interval in intervals])
            limits = SHORT_IMBALANCE_EV_ATOM * len(stretch[0].atoms) + np.array(shares) * curvature
            findings.update(_energy_offsets(stretch, change + work, limits))
        elif fault := _pairing_fault(change, work):
            findings.update({frame.step: (LabelRefusal.CORRUPTED, fault) for frame in stretch})
        else:
            scale = np.array([interval.scale_eV for interval in intervals])
            usual = float(np.median(np.abs(change + work)))
            limits = np.maximum(scale, max(IMBALANCE_FLOOR_EV, IMBALANCE_FACTOR * usual))
            findings.update(_energy_offsets(stretch, change + work, limits))
    return findings


def imbalances_eV(stretch: Sequence[ReadFrame]) -> np.ndarray:
    """ΔE + ½ Σ_i (F_i + F_i')·Δr_i of each interval between frames one step apart."""
    balances = [_balance(a, b) for a, b in pairwise(stretch)]
    return np.array([balance.change_eV + balance.work_eV for balance in balances])


class _Balance(NamedTuple):
    """Energy change and work over an interval, with w_i = ½ (F_i + F_i')·Δr_i; zeros if the cell changes.

    Attributes:
        change_eV: ΔE.
        work_eV: Σ_i w_i.
        scale_eV: (Σ_i w_i²)^½.
        curvature_eV: Σ_i |½ (F_i' - F_i)·Δr_i|.
        longest_A: largest displacement of an atom.
    """

    change_eV: float
    work_eV: float
    scale_eV: float
    curvature_eV: float
    longest_A: float


def _balance(a: ReadFrame, b: ReadFrame) -> _Balance:
    if not np.allclose(a.atoms.cell, b.atoms.cell, atol=1e-6, rtol=0):
        return _Balance(0.0, 0.0, 0.0, 0.0, 0.0)
    moved = displacement_A(a.atoms, b.atoms)
    work = 0.5 * ((a.forces_eV_A + b.forces_eV_A) * moved).sum(axis=1)
    curvature = 0.5 * ((b.forces_eV_A - a.forces_eV_A) * moved).sum(axis=1)
    return _Balance(
        b.energy_eV - a.energy_eV,
        float(work.sum()),
        float(np.linalg.norm(work)),
        float(np.abs(curvature).sum()),
        float(np.linalg.norm(moved, axis=1).max()),
    )


def _pairing_fault(change: np.ndarray, work: np.ndarray) -> str:
    """Reason why the energies of a whole run belong to other frames than its forces; "" if they belong together."""
    usual, size = float(np.median(np.abs(change + work))), float(np.median(np.abs(change)))
    if len(change) < FEWEST_INTERVALS or usual < SMALLEST_IMBALANCE_EV:
        return ""
    for shift, direction in ((-1, "before"), (1, "after")):
        shifted = np.roll(change, -shift)[1:-1] + work[1:-1]
        if np.median(np.abs(shifted)) < SHIFTED_SHARE * usual:
            return f"the energies fit the forces and positions of the frames one step {direction} theirs"
    if usual > IMBALANCE_SHARE * size:
        return f"energies change by {size:.2g} eV a step and forces leave {usual:.2g} eV of it unexplained"
    return ""


def _energy_offsets(frames: Sequence[ReadFrame], imbalance_eV: np.ndarray, limits_eV: np.ndarray) -> dict[int, Finding]:
    """Frames whose energies are offset from those of most frames by more than the forces explain."""
    detail = "energy lies {:+.2g} eV off the frames around it, by what their forces do not explain"
    findings: dict[int, Finding] = {}
    steps_eV = np.where(np.abs(imbalance_eV) > limits_eV, imbalance_eV, 0.0)
    for k in range(1, len(frames) - 1):
        if steps_eV[k - 1] and steps_eV[k]:
            neighbours = _balance(frames[k - 1], frames[k + 1])
            if abs(neighbours.change_eV + neighbours.work_eV) <= max(limits_eV[k - 1], limits_eV[k]):
                findings[frames[k].step] = (LabelRefusal.CORRUPTED, detail.format(steps_eV[k - 1]))
                steps_eV[k - 1] = steps_eV[k] = 0.0
    offsets = np.concatenate([[0.0], np.cumsum(steps_eV)])
    smallest = float(limits_eV.min())
    same_level = np.abs(offsets[:, None] - offsets[None, :]) <= smallest
    frames_on_level = same_level.sum(axis=1)
    usual = int(frames_on_level.argmax())
    if np.any((frames_on_level == frames_on_level[usual]) & ~same_level[usual]):
        no_majority = (
            f"energies lie on levels {np.ptp(offsets):.2g} eV apart, by what the forces do not explain, and no level "
            "has most frames"
        )
        return {frame.step: (LabelRefusal.CORRUPTED, no_majority) for frame in frames} | findings
    for frame, offset in zip(frames, offsets - offsets[usual], strict=True):
        if abs(offset) > smallest:
            findings.setdefault(frame.step, (LabelRefusal.CORRUPTED, detail.format(offset)))
    return findings
