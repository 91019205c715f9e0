"""Consistency of one run of a reference calculation, judged by its own frames: no model, no second calculation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from ase import Atoms

from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal
from redoxmd.train.audit.energy import LARGEST_STEP_A, check_energies
from redoxmd.train.audit.places import (
    MD_ROUGHNESS,
    Finding,
    consecutive,
    displacement_A,
    find_jumps,
    jump_limit_A,
    roughness,
    usual_step_A,
)
from redoxmd.train.audit.smooth import MIDDLE, SHORTEST_COURSE, Outlier, outliers

# Norm of the mean force. Periodic forces sum to zero but for grid and SCF noise: GPAW reaches 0.016 eV/Å, VASP takes
# the rest out itself. A constant 0.3 eV/Å on every atom is six times the limit.
NET_FORCE_LIMIT_EV_A = 0.05
# Natural residual of a force below which nothing is looked for: SCF noise of a loosely converged run.
FORCE_FLOOR_EV_A = 0.01
# Kinks of the path (thermostats that kick or rescale) kink the forces too, by the stiffest bonds at most.
STIFFNESS_EV_A2 = 60.0
# The same of the path, in steps: the geometry of the frame before or after has 1.
PATH_FLOOR_STEPS = 0.2


def check_run(frames: Sequence[ReadFrame], timestep_fs: float | None = None) -> dict[int, Finding]:
    """Frames of a run that do not belong to it.

    - net force: |Σ_i F_i|/n above 0.05 eV/Å → corrupted.
    - species or number of atoms other than in most frames; a jump of an atom, or two exchanged, between consecutive
      frames (the smaller part of the run is at fault); a geometry off the run's smooth path → wrong_structure.
    - forces off the smooth course of their neighbours', see `redoxmd.train.audit.smooth.outliers` → corrupted.
    - work balance of consecutive frames, ΔE + ½ Σ_i (F_i + F_i')·Δr_i = O(Δr³): an energy that leaves its run for one
      frame or from one on (the smaller part is at fault), or a run whose energies belong to other forces → corrupted.

    Path and forces need MD: frames one step apart, six at least, on a smooth path; relaxations and thinned runs are
    not judged by them. The first and the last frame are known from one side only: of wrong forces there, only
    exchanged ones are found. The work balance needs two frames one step apart, of six and more a smooth path. Where
    neither side of a jump or of an imbalance has more frames, as in a run of two, both are left out.

    Args:
        frames: of one run; `step` counts MD steps. Frames with forces of wrong shape or not finite are left out.
        timestep_fs: of the MD; without it jumps are judged against the run's own steps.

    Returns:
        step → (reason, what was seen).
    """
    found: dict[int, Finding] = {}
    sound = [frame for frame in sorted(frames, key=lambda frame: frame.step) if _readable(frame)]
    found.update(_other_species(sound))
    for frame in sound:
        net = float(np.linalg.norm(frame.forces_eV_A.mean(axis=0)))
        # Constraints leave exact zeros, and the sum says nothing then.
        if net > NET_FORCE_LIMIT_EV_A and np.any(frame.forces_eV_A, axis=1).all():
            found.setdefault(frame.step, (LabelRefusal.CORRUPTED, f"forces add up to {net:.2g} eV/Å for each atom"))
    for part in consecutive(
        [frame for frame in sound if found.get(frame.step, (None,))[0] != LabelRefusal.WRONG_STRUCTURE]
    ):
        for step, finding in _check_stretch(part, timestep_fs).items():
            found.setdefault(step, finding)
    return found


def check_labelled(frames: Sequence[Atoms]) -> dict[tuple[str, int], Finding]:
    """`check_run` for labelled frames of any number of runs, told apart by `info["config_id"]` and composition.

    A frame of `info["md"]` False, of a relaxation, has no neighbours in time and is judged alone.

    Returns:
        (config_id, step) → (reason, what was seen).
    """
    runs: dict[tuple[str, bytes, int | None], list[Atoms]] = {}
    for frame in frames:
        alone = None if frame.info.get("md", True) else int(frame.info["step"])
        runs.setdefault((str(frame.info["config_id"]), frame.numbers.tobytes(), alone), []).append(frame)
    return {
        (name, step): finding
        for (name, *_), run in runs.items()
        for step, finding in check_run([_as_read(frame) for frame in run], _timestep_fs(run)).items()
    }


def _as_read(frame: Atoms) -> ReadFrame:
    results = frame.calc.results
    return ReadFrame(frame, int(frame.info["step"]), float(results["energy"]), np.asarray(results["forces"]))


def _timestep_fs(run: Sequence[Atoms]) -> float | None:
    """Time step by `time_fs` and `step` of the first and last frame, where they say it."""
    first, last = run[0].info, run[-1].info
    if "time_fs" not in first or "time_fs" not in last or last["step"] == first["step"]:
        return None
    return abs(float((last["time_fs"] - first["time_fs"]) / (last["step"] - first["step"]))) or None


def _readable(frame: ReadFrame) -> bool:
    forces = np.asarray(frame.forces_eV_A)
    return forces.shape == (len(frame.atoms), 3) and bool(np.isfinite(forces).all() and np.isfinite(frame.energy_eV))


def _other_species(frames: Sequence[ReadFrame]) -> dict[int, Finding]:
    kinds = [frame.atoms.numbers.tobytes() for frame in frames]
    usual = max(kinds, key=kinds.count, default=b"")
    return {
        frame.step: (
            LabelRefusal.WRONG_STRUCTURE,
            f"{frame.atoms.get_chemical_formula()}, unlike most frames of the run",
        )
        for frame, kind in zip(frames, kinds, strict=True)
        if kind != usual
    }


def _check_stretch(frames: list[ReadFrame], timestep_fs: float | None) -> dict[int, Finding]:
    moves = np.array([displacement_A(a.atoms, b.atoms) for a, b in pairwise(frames)])
    longest = np.linalg.norm(moves, axis=2).max(axis=1)
    smooth = roughness(moves) < MD_ROUGHNESS
    found = find_jumps(frames, moves, jump_limit_A(longest, timestep_fs, smooth))
    kept = [frame for frame in frames if frame.step not in found]
    if len(frames) < SHORTEST_COURSE:
        return found | check_energies(kept)
    if not smooth or float(np.median(longest)) > LARGEST_STEP_A:
        return found
    return found | (_check_md(kept) if len(kept) > 1 else {})


def _check_md(frames: list[ReadFrame]) -> dict[int, Finding]:
    """Path, forces and energies of frames of MD without jumps."""
    steps = np.array([frame.step for frame in frames])
    numbers = frames[0].atoms.numbers
    moves = np.array([displacement_A(a.atoms, b.atoms) for a, b in pairwise(frames)])
    path = np.concatenate([np.zeros((1, *moves.shape[1:])), np.cumsum(moves, axis=0)])
    off_path = outliers(steps, path, numbers, PATH_FLOOR_STEPS * usual_step_A(moves), size_matters=False)
    found: dict[int, Finding] = {
        frames[k].step: (
            LabelRefusal.WRONG_STRUCTURE,
            f"positions lie {seen.error_rms:.2g} Å off the path of the frames around them, most atom {seen.worst_atom}",
        )
        for k, seen in off_path.items()
    }
    kept = np.array([k for k in range(len(frames)) if k not in off_path])
    forces = np.array([frames[k].forces_eV_A for k in kept])
    wrong = outliers(steps[kept], forces, numbers, FORCE_FLOOR_EV_A, _allowance_eV_A(path[kept]))
    found.update({int(steps[kept[k]]): (LabelRefusal.CORRUPTED, _off_course(outlier)) for k, outlier in wrong.items()})
    return found | check_energies([frame for frame in frames if frame.step not in found])


def _off_course(outlier: Outlier) -> str:
    if outlier.pair:
        return "forces of atoms {} and {} are exchanged".format(*outlier.pair)
    return (
        f"forces are {outlier.error_rms:.2g} eV/Å (rms) off the course of the frames around them, "
        f"where {outlier.natural_rms:.2g} is usual, most atom {outlier.worst_atom}"
    )


def _allowance_eV_A(path: np.ndarray) -> np.ndarray:
    """Residual of forces that kinks of the path explain: stiffness × how far a kink exceeds twice the usual."""
    allowance = np.zeros(len(path))
    if len(path) < 5:
        return allowance
    kinks = np.linalg.norm(np.diff(path, n=4, axis=0) / MIDDLE, axis=2).max(axis=1)
    allowance[2:-2] = STIFFNESS_EV_A2 * np.maximum(0.0, kinks - 2 * np.median(kinks))
    return allowance
