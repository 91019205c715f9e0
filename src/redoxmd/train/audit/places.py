"""Where atoms go from frame to frame: steps, jumps, exchanges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from ase import Atoms
from ase.cell import Cell

from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.train.audit.smooth import MIDDLE

# Reason of the refusal, and what was seen.
Finding = tuple[LabelRefusal, str]

# Largest speed of an atom, Å/fs: 19 eV for O; a step beyond is no dynamics.
SPEED_LIMIT_A_FS = 0.15
JUMP_LIMIT_A = 0.3
JUMP_FACTOR = 5.0
EXCHANGE_DISTANCE_A = 0.7
QUIET_A = 0.3
# Consecutive frames are MD when the path is smooth: what a cubic misses, over a step. GPAW at 2 fs: 0.08, toy: 0.05.
MD_ROUGHNESS = 0.4


def consecutive(frames: Sequence[ReadFrame]) -> Iterator[list[ReadFrame]]:
    """Stretches of frames one step apart."""
    breaks = [k for k in range(1, len(frames)) if frames[k].step != frames[k - 1].step + 1]
    for first, last in zip([0, *breaks], [*breaks, len(frames)], strict=True):
        if last - first > 1:
            yield list(frames[first:last])


def displacement_A(a: Atoms, b: Atoms) -> np.ndarray:
    """Minimum-image displacements (n, 3) from a to b, without the strain of the cell between them."""
    moved = b.get_scaled_positions(wrap=False) - a.get_scaled_positions(wrap=False)
    mean = Cell(0.5 * (a.cell.array + b.cell.array))
    return PeriodicCell(mean.array).minimum_image(mean.cartesian_positions(moved))


def roughness(moves: np.ndarray) -> float:
    """Median over frames of the rms that a cubic misses of the path, over the median rms step."""
    if len(moves) < 4:
        return np.inf
    missed = np.sqrt((np.diff(moves, n=3, axis=0) ** 2).mean(axis=(1, 2))) / MIDDLE
    step = usual_step_A(moves)
    return float(np.median(missed)) / step if step else np.inf


def usual_step_A(moves: np.ndarray) -> float:
    """Median over intervals of the rms displacement of a coordinate."""
    return float(np.median(np.sqrt((moves**2).mean(axis=(1, 2)))))


def jump_limit_A(longest: np.ndarray, timestep_fs: float | None, smooth: bool) -> float:
    """Largest displacement of an atom between consecutive frames; without limit where there is no MD to judge by."""
    if timestep_fs:
        return SPEED_LIMIT_A_FS * timestep_fs
    return max(JUMP_LIMIT_A, JUMP_FACTOR * float(np.median(longest))) if smooth else np.inf


def find_position_jumps(frames: Sequence[ReadFrame], moves: np.ndarray, limit_A: float) -> dict[int, Finding]:
    """Frames on the smaller side of a jump, or on both of equal size; parts that fit together across others are one."""
    breaks, said = [], {}
    for k, move in enumerate(moves):
        distance = np.linalg.norm(move, axis=1)
        pair = _exchanged_places(frames[k].atoms, frames[k + 1].atoms, distance)
        if pair or distance.max() > limit_A:
            atom = int(distance.argmax())
            what = (
                "atoms {} and {} exchanged places".format(*pair)
                if pair
                else f"atom {atom} moved {distance[atom]:.2g} Å in a step"
            )
            breaks.append(k + 1)
            said[k + 1] = f"{what} between steps {frames[k].step} and {frames[k + 1].step}"
    bounds = list(zip([0, *breaks], [*breaks, len(frames)], strict=True))
    groups: list[list[tuple[int, int]]] = []
    for first, last in bounds:
        for group in groups:
            before = group[-1][1] - 1
            move = np.linalg.norm(displacement_A(frames[before].atoms, frames[first].atoms), axis=1)
            pair = _exchanged_places(frames[before].atoms, frames[first].atoms, move)
            if not pair and move.max() <= min(limit_A, JUMP_LIMIT_A) * (first - before):
                group.append((first, last))
                break
        else:
            groups.append([(first, last)])
    sizes = [sum(last - first for first, last in group) for group in groups]
    # Of parts as large as each other none is the run.
    largest = groups[sizes.index(max(sizes))] if sizes.count(max(sizes)) == 1 else None
    return {
        frames[k].step: (LabelRefusal.WRONG_STRUCTURE, said.get(first) or said[last])
        for group in groups
        if group is not largest
        for first, last in group
        for k in range(first, last)
    }


def _exchanged_places(a: Atoms, b: Atoms, distance: np.ndarray) -> tuple[int, int] | None:
    """Two atoms of which each is now where the other was, while most others stay."""
    movers = np.flatnonzero(distance > EXCHANGE_DISTANCE_A)
    if len(movers) < 2 or np.median(distance) > QUIET_A:
        return None
    there_A = a.cell.cartesian_positions(b.get_scaled_positions(wrap=False)[movers])
    to = PeriodicCell(a.cell.array).distances_A(there_A, a.positions[movers])
    hits = np.triu((to < EXCHANGE_DISTANCE_A / 2) & (to.T < EXCHANGE_DISTANCE_A / 2), k=1)
    if not hits.any():
        return None
    i, j = np.argwhere(hits)[0]
    return int(movers[i]), int(movers[j])
