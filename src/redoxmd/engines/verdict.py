"""Checks of a frame that was read: it becomes a label or is refused with a reason."""

from __future__ import annotations

import numpy as np
from ase import Atoms

from redoxmd.engines.base import Result, check_result
from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.structures.periodic_cell import SAME_POSITION_A, misplacements_A, same_cell

ELECTRON_TOLERANCE_E = 1e-3
# A spin flip changes the total moment by 2 μB, one electron more or less by 1. The tolerance is half of the smaller
# change, because smearing shifts the moment of a hot frame by a few tenths from the integer.
MOMENT_TOLERANCE_MUB = 0.5
# Local moments omit the density between the spheres: V³⁺ of 2 μB has 1.8 to 1.9 (PAW, PBE+U).
INTERSTITIAL_SHARE = 0.15


def judge_frame(
    frame: ReadFrame,
    force_ceiling_eV_A: float,
    expected: Atoms | None = None,
    initial_moments_muB: np.ndarray | None = None,
) -> Result:
    """Label from a frame that passes all checks.

    The order of the checks gives the most informative reason first: the structure, NaN, electronic convergence, the
    spin state, and last the force ceiling, because the forces of an unconverged step or of another spin state are wrong
    whether large or not.

    Args:
        frame: as read.
        force_ceiling_eV_A: largest allowed force component.
        expected: requested structure, atoms in the same order; None if it is unknown.
        initial_moments_muB: (n,) requested spin state, see `judge_moments`; None if it is unknown.

    Raises:
        LabelRefused: wrong_structure for other atoms, another order, positions or cell that differ by more than 1e-4 Å,
            or shapes that do not match; not_finite; unconverged (a frame whose file does not state convergence is not
            refused); wrong_moment; force_ceiling.
    """
    where = f"step {frame.step}"
    result = Result(
        energy_eV=frame.energy_eV,
        forces_eV_A=np.asarray(frame.forces_eV_A),
        stress_eV_A3=frame.stress_eV_A3,
        moments_muB=frame.moments_muB,
        total_moment_muB=frame.total_moment_muB,
        scf_steps=frame.scf_steps,
        orbital_occupations=frame.orbital_occupations,
    )
    if result.stress_eV_A3 is not None and np.shape(result.stress_eV_A3) != (3, 3):
        raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, f"{where}: stress of shape {np.shape(result.stress_eV_A3)}")
    if expected is not None:
        _check_structure(frame.atoms, expected, where)
    values = {"positions": frame.atoms.positions, "cell": frame.atoms.cell.array}
    values |= {"stress": frame.stress_eV_A3, "moments": frame.moments_muB}
    for name, array in values.items():
        if array is not None and not np.isfinite(array).all():
            raise LabelRefused(LabelRefusal.NOT_FINITE, f"{where}: {name} with NaN or infinite numbers")
    check_result(result, frame.atoms, np.inf)
    if frame.converged is False:
        cause = f"the electrons did not converge in {frame.scf_steps} steps; raise NELM, or change ALGO or the mixing"
        if frame.scf_steps == 0:
            cause = "no electronic step; a force field (ML_LMLFF) predicted it; label it by a run without ML_LMLFF"
        raise LabelRefused(LabelRefusal.UNCONVERGED, f"{where}: {cause}")
    judge_moments(frame.total_moment_muB, frame.moments_muB, initial_moments_muB)
    return check_result(result, frame.atoms, force_ceiling_eV_A)


def judge_electrons(electrons: float | None, expected: float | None) -> None:
    """Refuse a number of valence electrons that differs from that of the structure's POTCARs; None is not checked.

    Raises:
        LabelRefused: wrong_settings.
    """
    if electrons is None or expected is None:
        return
    if not abs(electrons - expected) <= ELECTRON_TOLERANCE_E:
        raise LabelRefused(
            LabelRefusal.WRONG_SETTINGS,
            f"{electrons:g} electrons, expected {expected:g}: a charged cell (NELECT) or other POTCARs",
        )


def judge_moments(total_muB: float | None, local_muB: np.ndarray | None, initial_muB: np.ndarray | None) -> None:
    """Refuse a result in another spin state, whose total moment differs from the sum of the initial moments.

    Args:
        total_muB: of the cell, checked to 0.5 μB; None if it is unknown.
        local_muB: (n,) of the atoms; if the total is unknown their sum is checked with another 15 % of tolerance.
            Without either nothing is checked.
        initial_muB: (n,) requested moments; all zero or None if no spin state was requested.

    Raises:
        LabelRefused: wrong_moment.
    """
    if initial_muB is None or not np.any(initial_muB) or (total_muB is None and local_muB is None):
        return
    expected = float(np.sum(initial_muB))
    moment, tolerance, name = total_muB, MOMENT_TOLERANCE_MUB, "total moment"
    if moment is None:
        moment, name = float(np.sum(np.asarray(local_muB))), "sum of local moments"
        tolerance += INTERSTITIAL_SHARE * abs(expected)
    # A comparison with NaN is false, so NaN is refused.
    if not abs(moment - expected) <= tolerance:
        raise LabelRefused(LabelRefusal.WRONG_MOMENT, f"{name} {moment:.2f} μB, expected {expected:.2f}")


def _check_structure(atoms: Atoms, expected: Atoms, where: str) -> None:
    detail = ""
    if sorted(atoms.numbers) != sorted(expected.numbers):
        detail = f"{atoms.symbols} where {expected.symbols} was asked for"
    elif not same_cell(atoms.cell, expected.cell):
        lengths = " against ".join(np.array2string(item.cell.lengths(), precision=4) for item in (atoms, expected))
        detail = f"another cell, of {lengths} Å"
    else:
        distances = misplacements_A(atoms.positions, expected)
        # A comparison with NaN is false, so NaN is refused.
        wrong = (atoms.numbers != expected.numbers) | ~(distances <= SAME_POSITION_A)
        if wrong.any():
            first = int(wrong.argmax())
            detail = (
                f"atom {first} ({atoms.symbols[first]}) is {distances[first]:.4f} Å from where atom {first} "
                f"({expected.symbols[first]}) was asked for: moved, or in another order"
            )
    if detail:
        raise LabelRefused(LabelRefusal.WRONG_STRUCTURE, f"{where}: {detail}")
