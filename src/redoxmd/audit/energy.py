"""Work balance: do the energies of a run follow from its forces?"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from redoxmd.audit.places import Finding, consecutive, displacement_A
from redoxmd.calculation import ReadFrame

# Imbalance that breaks a run, over its median and at least. GPAW's SCF falls by up to 0.14 eV, 11 medians, from one
# frame to the next where the electrons find a lower state.
IMBALANCE_FACTOR = 20.0
IMBALANCE_FLOOR_EV = 0.3
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
        change, done, scale = np.array([_balance_eV(a, b) for a, b in pairwise(part)]).T
        usual = float(np.median(np.abs(change + done)))
        if others := _other_frames(change, done):
            found.update({frame.step: ("corrupted", others) for frame in part})
        else:
            limits = np.maximum(scale, max(IMBALANCE_FLOOR_EV, IMBALANCE_FACTOR * usual))
            found.update(_off_level(part, change + done, limits))
    return found


def _balance_eV(a: ReadFrame, b: ReadFrame) -> tuple[float, float, float]:
    """ΔE, Σ_i w_i and (Σ_i w_i²)^½ with w_i = ½ (F_i + F_i')·Δr_i of two frames, eV; zeros where the cell changes."""
    if not np.allclose(a.atoms.cell, b.atoms.cell, atol=1e-6, rtol=0):
        return 0.0, 0.0, 0.0
    done = 0.5 * ((a.forces_eV_A + b.forces_eV_A) * displacement_A(a.atoms, b.atoms)).sum(axis=1)
    return b.energy_eV - a.energy_eV, float(done.sum()), float(np.linalg.norm(done))


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
            change, done, _ = _balance_eV(frames[k - 1], frames[k + 1])
            if abs(change + done) <= max(limits_eV[k - 1], limits_eV[k]):
                found[frames[k].step] = ("corrupted", said.format(left[k - 1]))
                left[k - 1] = left[k] = 0.0
    offsets = np.concatenate([[0.0], np.cumsum(left)])
    smallest = float(limits_eV.min())
    together = (np.abs(offsets[:, None] - offsets[None, :]) <= smallest).sum(axis=1)
    offsets -= offsets[int(together.argmax())]
    for frame, offset in zip(frames, offsets, strict=True):
        if abs(offset) > smallest:
            found.setdefault(frame.step, ("corrupted", said.format(offset)))
    return found
