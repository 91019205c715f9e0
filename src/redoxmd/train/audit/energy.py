"""Work balance: do the energies of a run follow from its forces?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal
from redoxmd.train.audit.places import Finding, consecutive, displacement_A
from redoxmd.train.audit.smooth import SHORTEST_COURSE

# Imbalance that breaks a run, over its median and at least. GPAW's SCF falls by up to 0.14 eV, 11 medians, from one
# frame to the next where the electrons find a lower state.
IMBALANCE_FACTOR = 20.0
IMBALANCE_FLOOR_EV = 0.3
# The same for runs without a median to speak of. SCF: GPAW falls by up to 3.6 meV/atom in an interval (99 % of 183:
# 2.5). Trapezoid rule, as a share of Σ_i |½ (F_i' - F_i)·Δr_i|: up to 0.04 for MD of 2 to 5 fs at 1000 to 3000 K, 0.10
# where atoms fall into place; 1 bounds any step along which forces change monotonically.
SHORT_IMBALANCE_EV_ATOM = 0.005
TRAPEZOID_SHARE = 0.1
# Work balance is of third order in displacements.
LARGEST_STEP_A = 0.15
# Energies belong to other frames when pairing them one step off halves the median imbalance, or when it is most of the
# median energy change anyway. GPAW at 2 fs: right 0.1 of the change, one off 0.6 to 1.
SHIFTED_SHARE = 0.5
IMBALANCE_SHARE = 0.6
FEWEST_INTERVALS = 8
SMALLEST_IMBALANCE_EV = 0.005


def check_energies(frames: list[ReadFrame]) -> dict[int, Finding]:
    """Work balance of what is left, over intervals of one step."""
    found: dict[int, Finding] = {}
    for part in consecutive(frames):
        intervals = [_balance(a, b) for a, b in pairwise(part)]
        change = np.array([interval.change_eV for interval in intervals])
        done = np.array([interval.work_eV for interval in intervals])
        if len(part) < SHORTEST_COURSE:
            limits = np.array([_short_limit_eV(interval, len(part[0].atoms)) for interval in intervals])
            found.update(_off_level(part, change + done, limits))
        elif others := _other_frames(change, done):
            found.update({frame.step: (LabelRefusal.CORRUPTED, others) for frame in part})
        else:
            scale = np.array([interval.scale_eV for interval in intervals])
            usual = float(np.median(np.abs(change + done)))
            limits = np.maximum(scale, max(IMBALANCE_FLOOR_EV, IMBALANCE_FACTOR * usual))
            found.update(_off_level(part, change + done, limits))
    return found


class _Balance(NamedTuple):
    """An interval, with w_i = ½ (F_i + F_i')·Δr_i; zeros where the cell changes.

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


def _short_limit_eV(interval: _Balance, atoms: int) -> float:
    """Largest imbalance of an interval that has no others to compare with."""
    share = TRAPEZOID_SHARE if interval.longest_A <= LARGEST_STEP_A else 1.0
    return SHORT_IMBALANCE_EV_ATOM * atoms + share * interval.curvature_eV


def _other_frames(change: np.ndarray, done: np.ndarray) -> str:
    """Why the energies of a whole run belong to other frames than its forces; "" where they do not."""
    usual, size = float(np.median(np.abs(change + done))), float(np.median(np.abs(change)))
    if len(change) < FEWEST_INTERVALS or usual < SMALLEST_IMBALANCE_EV:
        return ""
    for shift, there in ((-1, "before"), (1, "after")):
        shifted = np.roll(change, -shift)[1:-1] + done[1:-1]
        if np.median(np.abs(shifted)) < SHIFTED_SHARE * usual:
            return f"the energies fit the forces and positions of the frames one step {there} theirs"
    if usual > IMBALANCE_SHARE * size:
        return f"energies change by {size:.2g} eV a step and forces leave {usual:.2g} eV of it unexplained"
    return ""


def _off_level(frames: Sequence[ReadFrame], work: np.ndarray, limits_eV: np.ndarray) -> dict[int, Finding]:
    """Frames whose energies stand off from those of most frames by what the forces do not explain."""
    said = "energy lies {:+.2g} eV off the frames around it, by what their forces do not explain"
    found: dict[int, Finding] = {}
    left = np.where(np.abs(work) > limits_eV, work, 0.0)
    for k in range(1, len(frames) - 1):
        if left[k - 1] and left[k]:
            across = _balance(frames[k - 1], frames[k + 1])
            if abs(across.change_eV + across.work_eV) <= max(limits_eV[k - 1], limits_eV[k]):
                found[frames[k].step] = (LabelRefusal.CORRUPTED, said.format(left[k - 1]))
                left[k - 1] = left[k] = 0.0
    offsets = np.concatenate([[0.0], np.cumsum(left)])
    smallest = float(limits_eV.min())
    alike = np.abs(offsets[:, None] - offsets[None, :]) <= smallest
    together = alike.sum(axis=1)
    usual = int(together.argmax())
    if np.any((together == together[usual]) & ~alike[usual]):
        apart = (
            f"energies lie on levels {np.ptp(offsets):.2g} eV apart, by what the forces do not explain, and no level "
            "has most frames"
        )
        return {frame.step: (LabelRefusal.CORRUPTED, apart) for frame in frames} | found
    for frame, offset in zip(frames, offsets - offsets[usual], strict=True):
        if abs(offset) > smallest:
            found.setdefault(frame.step, (LabelRefusal.CORRUPTED, said.format(offset)))
    return found
