"""Checks of a trajectory before its analysis, and the framework that ion positions refer to."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import xarray as xr
from ase.data import atomic_masses, atomic_numbers, chemical_symbols

from redoxmd.diffusion.jumps import without_drift
from redoxmd.errors import DataError
from redoxmd.files.trajectory import BLOCK_FRAMES, Trajectory, refuse_not_finite
from redoxmd.structures.periodic_cell import PeriodicCell

# Relative difference of frame intervals that is accepted as rounding in the file.
ROUNDING = 1e-3
SAMPLED_FRAMES = 500
MEAN_FRAMES = 1000


def refuse_unfit(trajectory: Trajectory) -> None:
    """Raise an error if jumps and displacements from these frames would be wrong.

    Raises:
        DataError: a position is not finite, frames lie at unequal intervals, the cell has no
            volume, or positions are wrapped into the cell.
    """
    refuse_not_finite(trajectory)
    name = trajectory.source or str(trajectory.metadata.get("structure", "trajectory"))
    intervals = np.diff(trajectory.time_fs)
    # This form of the condition also refuses NaN.
    if len(intervals) and not (intervals.min() > 0 and np.ptp(intervals) <= ROUNDING * intervals[0]):
        odd = int(np.abs(intervals - np.nanmedian(intervals)).argmax())
        raise DataError(
            f"{name}: frames {odd} and {odd + 1} are {intervals[odd]:g} fs apart, others {np.nanmedian(intervals):g} "
            "fs; give frames at equal intervals, or each stretch as a trajectory of its own"
        )
    if not abs(np.linalg.det(trajectory.cell_A)) > 0:
        raise DataError(f"{name}: the cell has no volume; write the file again with the three vectors of the cell")
    if trajectory.metadata.get("image_flags"):
        # The code that ran the MD counted the crossings of the cell: displacements of any length are real.
        return
    periodic = PeriodicCell(trajectory.cell_A)
    for first in range(0, len(intervals), BLOCK_FRAMES):
        moved = np.diff(trajectory.positions_A[first : first + BLOCK_FRAMES + 1], axis=0)
        far = np.argwhere(np.linalg.norm(moved, axis=2) > periodic.inscribed_radius_A)
        vectors = moved[tuple(far.T)]
        lengths, shortest = (np.linalg.norm(item, axis=1) for item in (vectors, periodic.minimum_image(vectors)))
        wrapped = np.flatnonzero(shortest < lengths / 2)
        if len(wrapped):
            frame, atom = far[wrapped[0]].tolist()
            raise DataError(
                f"{name}: atom {atom} moves by {lengths[wrapped[0]]:.1f} Å from frame {first + frame} to the next, its "
                f"nearest image by {shortest[wrapped[0]]:.1f} Å: positions are wrapped into the cell, or frames too "
                "far apart; unwrap them (MDAnalysis: NoJump), or save frames more often (production.save_every_fs)"
            )


def diffusing_elements(trajectory: Trajectory, mobile: np.ndarray, distance_A: float) -> list[str]:
    """Elements besides the mobile ion with an atom that moves farther than `distance_A` from its first position.

    Their atoms do not belong to the framework. Displacements are relative to their median over atoms, which a
    diffusing minority does not shift.

    Args:
        mobile: (n,) True for mobile ions.
        distance_A: jump distance.
    """
    framework = np.flatnonzero(~mobile)
    if not len(framework) or not len(trajectory.time_fs):
        return []
    frames = np.unique(np.linspace(0, len(trajectory.time_fs) - 1, SAMPLED_FRAMES).astype(int))
    moved = trajectory.positions_A[np.ix_(frames, framework)] - trajectory.positions_A[0, framework]
    farthest = np.linalg.norm(moved - np.median(moved, axis=1, keepdims=True), axis=2).max(axis=0)
    return [chemical_symbols[z] for z in sorted(set(trajectory.numbers[framework[farthest > distance_A]].tolist()))]


def mean_framework(trajectory: Trajectory, moving: np.ndarray) -> np.ndarray:
    """Mean positions (f, 3) of the framework, drift removed.

    Args:
        trajectory: of n atoms.
        moving: (n,) mask of the atoms outside the framework.
    """
    # A subset of frames suffices; all frames would double the memory of the trajectory.
    sampled = trajectory.positions_A[:: max(1, len(trajectory.time_fs) // MEAN_FRAMES)]
    mean: np.ndarray = without_drift(sampled, moving, atomic_masses[trajectory.numbers], ~moving).mean(axis=0)
    return mean


def element_mask(numbers: np.ndarray, symbols: Iterable[str]) -> np.ndarray:
    """Mask (n,) of the atoms of the given elements."""
    result: np.ndarray = np.isin(numbers, [atomic_numbers[symbol] for symbol in symbols])
    return result


def moving_atoms(trajectory: Trajectory, analysis: xr.Dataset) -> np.ndarray:
    """Mask (n,) of atoms outside the framework: mobile ions, and elements that diffuse according to the analysis."""
    moving = [str(trajectory.metadata["mobile_ion"]), *str(analysis.attrs.get("diffusing_framework", "")).split()]
    return element_mask(trajectory.numbers, moving)
