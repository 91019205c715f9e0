"""The verdict on a frame that was read: a label, or a reason why it must not become data."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from redoxmd.engines.base import Result, checked
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.structures.periodic_cell import SAME_POSITION_A, misplacements_A, same_cell

ELECTRON_TOLERANCE_E = 1e-3
# A spin that turns over changes the total moment by 2 μB, an electron more or less by 1: half of the smaller one, for
# smearing leaves the moment of a hot frame a few tenths beside the integer.
MOMENT_TOLERANCE_MUB = 0.5
# Local moments leave out what lies between the spheres: V³⁺ of 2 μB shows 1.8 to 1.9 (PAW, PBE+U).
BETWEEN_SPHERES = 0.15


def judge(
    frame: ReadFrame,
    force_ceiling_eV_A: float,
    expected: Atoms | None = None,
    initial_moments_muB: np.ndarray | None = None,
) -> Result:
    """A frame as a label.

    In the order of what is worth knowing first: another structure makes its numbers irrelevant, NaN has its own cure,
    an unconverged step has wrong forces whether large or not, so has another spin state, and only then is a force too
    large.

    Args:
        frame: as read.
        force_ceiling_eV_A: largest component a force may have.
        expected: what was to be calculated, atoms in the same order; None where that is not known.
        initial_moments_muB: (n,) the spin state asked for, see `judge_moments`; None where that is not known.

    Raises:
        LabelRefused: wrong_structure for other atoms, another order, positions or cell beyond 1e-4 Å, shapes that do
            not fit; not_finite; unconverged (a frame whose file does not say is not refused); wrong_moment;
            force_ceiling.
    """
    where = f"step {frame.step}"
    result = Result(
        energy_eV=frame.energy_eV,
        forces_eV_A=np.asarray(frame.forces_eV_A),
        stress_eV_A3=frame.stress_eV_A3,
        moments_muB=frame.moments_muB,
        iterations=frame.scf_steps,
    )
    if result.stress_eV_A3 is not None and np.shape(result.stress_eV_A3) != (3, 3):
        raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, f"{where}: stress of shape {np.shape(result.stress_eV_A3)}")
    if expected is not None:
        _check_structure(frame.atoms, expected, where)
    _check_finite(frame, where)
    checked(result, frame.atoms, np.inf)
    if frame.converged is False:
        raise LabelRefused(LabelRefusal.UNCONVERGED, f"{where}: {_electrons_text(frame.scf_steps)}")
    judge_moments(frame.total_moment_muB, frame.moments_muB, initial_moments_muB)
    return checked(result, frame.atoms, force_ceiling_eV_A)


def judge_electrons(found: float | None, expected: float | None) -> None:
    """Refuse another number of valence electrons than the structure and its POTCARs make; None is not judged.

    Raises:
        LabelRefused: wrong_settings.
    """
    if found is None or expected is None:
        return
    if not abs(found - expected) <= ELECTRON_TOLERANCE_E:
        raise LabelRefused(
            LabelRefusal.WRONG_SETTINGS,
            f"{found:g} electrons where {expected:g} belong: a charged cell (NELECT) or other POTCARs",
        )


def judge_moments(total_muB: float | None, local_muB: np.ndarray | None, initial_muB: np.ndarray | None) -> None:
    """Refuse a result whose total moment is not the sum of the initial moments: it is of another spin state.

    Args:
        total_muB: of the cell, within 0.5 μB; None where it is not known.
        local_muB: (n,) of the atoms; where the total is not known their sum is judged, within another 15 %. Without
            either nothing is judged.
        initial_muB: (n,) that were asked for; all zero, or None, for no spin state in particular.

    Raises:
        LabelRefused: wrong_moment.
    """
    if initial_muB is None or not np.any(initial_muB) or (total_muB is None and local_muB is None):
        return
    expected = float(np.sum(initial_muB))
    found, tolerance, what = total_muB, MOMENT_TOLERANCE_MUB, "total moment"
    if found is None:
        found, what = float(np.sum(np.asarray(local_muB))), "sum of local moments"
        tolerance += BETWEEN_SPHERES * abs(expected)
    # NaN compares false, so it differs.
    if not abs(found - expected) <= tolerance:
        raise LabelRefused(LabelRefusal.WRONG_MOMENT, f"{what} {found:.2f} μB, expected {expected:.2f}")


def _electrons_text(steps: int | None) -> str:
    if steps == 0:
        return "no electronic step; a force field (ML_LMLFF) predicted it; label it by a run without ML_LMLFF"
    return f"the electrons did not converge in {steps} steps; raise NELM, or change ALGO or the mixing"


def _check_finite(frame: ReadFrame, where: str) -> None:
    optional = {"stress": frame.stress_eV_A3, "moments": frame.moments_muB}
    values = {"positions": frame.atoms.positions, "cell": frame.atoms.cell.array, **optional}
    for name, array in values.items():
        if array is not None and not np.isfinite(array).all():
            raise LabelRefused(LabelRefusal.NOT_FINITE, f"{where}: {name} with NaN or infinite numbers")


def _check_structure(found: Atoms, expected: Atoms, where: str) -> None:
    if sorted(found.numbers) != sorted(expected.numbers):
        raise LabelRefused(
            LabelRefusal.WRONG_STRUCTURE, f"{where}: {found.symbols} where {expected.symbols} was asked for"
        )
    if not same_cell(found.cell, expected.cell):
        lengths = " against ".join(np.array2string(atoms.cell.lengths(), precision=4) for atoms in (found, expected))
        raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, f"{where}: another cell, of {lengths} Å")
    distances = misplacements_A(found.positions, expected)
    # NaN compares false, so it differs.
    wrong = (found.numbers != expected.numbers) | ~(distances <= SAME_POSITION_A)
    if wrong.any():
        raise LabelRefused(
            LabelRefusal.WRONG_STRUCTURE, f"{where}: {_misplaced(found, expected, distances, int(wrong.argmax()))}"
        )


def _misplaced(found: Atoms, expected: Atoms, distances: np.ndarray, first: int) -> str:
    """What is wrong with the first atom that differs, and whether all are there in another order."""
    atom = f"atom {first} ({found.symbols[first]})"
    order = _order(found, expected)
    if order is not None:
        return f"atoms swapped: {atom} is where atom {order[first]} was asked for; the same structure in another order"
    if found.numbers[first] != expected.numbers[first]:
        return f"{atom} where {expected.symbols[first]} was asked for"
    return f"{atom} is {distances[first]:.4f} Å from where it was asked for"


def _order(found: Atoms, expected: Atoms) -> list[int] | None:
    """Index in `expected` of every atom found; None unless it is a permutation."""
    order = []
    for number, position in zip(found.numbers, found.positions, strict=True):
        near = (misplacements_A(position, expected) <= SAME_POSITION_A) & (expected.numbers == number)
        if near.sum() != 1:
            return None
        order.append(int(near.argmax()))
    return order if len(set(order)) == len(order) else None
