"""Consistency of a reference run from its own frames, without a model or a second calculation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from ase import Atoms

from redoxmd.engines.calculation import ReadFrame
from redoxmd.errors import LabelRefusal
from redoxmd.train.audit.energy import FEWEST_INTERVALS, LARGEST_STEP_A, check_energies, imbalances_eV
from redoxmd.train.audit.places import (
    MD_ROUGHNESS,
    Finding,
    consecutive,
    displacement_A,
    find_position_jumps,
    jump_limit_A,
    roughness,
    usual_step_A,
)
from redoxmd.train.audit.smooth import MIDDLE, SHORTEST_STRETCH, outliers

# Norm of the mean force. Periodic forces sum to zero except for grid and SCF noise: GPAW reaches 0.016 eV/Å, VASP
# subtracts the net force. A constant 0.3 eV/Å on every atom is six times the limit.
NET_FORCE_LIMIT_EV_A = 0.05
# Smallest natural residual of a force: SCF noise of a loosely converged run.
FORCE_FLOOR_EV_A = 0.01
# Kinks of the path (thermostats that kick or rescale) cause kinks of the forces, at most by the stiffest bonds.
STIFFNESS_EV_A2 = 60.0
# Smallest natural residual of the path in steps; the geometry of the previous or next frame has 1.
PATH_FLOOR_STEPS = 0.2


# Check of `check_run` → number of frames one step apart that it needs.
FRAMES_NEEDED = {
    "jumps and work balance": 2,
    "course of forces and path": SHORTEST_STRETCH,
    "energies of other frames": FEWEST_INTERVALS + 1,
}


def check_run(frames: Sequence[ReadFrame], timestep_fs: float | None = None) -> dict[int, Finding]:
    """Frames of a run that are inconsistent with it.

    - net force: |Σ_i F_i|/n above 0.05 eV/Å → corrupted.
    - species or number of atoms other than in most frames; a jump of an atom, or two exchanged, between consecutive
      frames (the frames on the smaller side are flagged); a geometry off the run's smooth path → wrong_structure.
    - forces off the smooth course of those of their neighbours, see `redoxmd.train.audit.smooth.outliers` → corrupted.
    - work balance of consecutive frames, ΔE + ½ Σ_i (F_i + F_i')·Δr_i = O(Δr³): an energy offset of one frame or from
      one frame on (the smaller side is flagged), or a run whose energies belong to other forces → corrupted.

    The checks of path and forces need MD: at least six frames one step apart on a smooth path; they are not applied to
    relaxations and thinned runs. The first and the last frame have neighbours on one side only: of wrong forces in
    them, only exchanged ones are detected. The work balance needs two frames one step apart and, for six or more, a
    smooth path. If both sides of a jump or of an imbalance have as many frames, as in a run of two, all are flagged.

    Args:
        frames: of one run; `step` counts MD steps. Frames with forces of wrong shape or not finite are ignored.
        timestep_fs: of the MD; without it the limit of a jump comes from the run's own displacements.

    Returns:
        step → (reason, detail).
    """
    findings: dict[int, Finding] = {}
    readable = [frame for frame in sorted(frames, key=lambda frame: frame.step) if _readable(frame)]
    kinds = [frame.atoms.numbers.tobytes() for frame in readable]
    usual = max(kinds, key=kinds.count, default=b"")
    for frame, kind in zip(readable, kinds, strict=True):
        if kind != usual:
            detail = f"{frame.atoms.get_chemical_formula()}, unlike most frames of the run"
            findings[frame.step] = LabelRefusal.WRONG_STRUCTURE, detail
    for frame in readable:
        net = float(np.linalg.norm(frame.forces_eV_A.mean(axis=0)))
        # Constraints leave forces of exactly zero; the net force then has no meaning.
        if net > NET_FORCE_LIMIT_EV_A and np.any(frame.forces_eV_A, axis=1).all():
            findings.setdefault(frame.step, (LabelRefusal.CORRUPTED, f"forces add up to {net:.2g} eV/Å for each atom"))
    same_species = [frame for frame in readable if findings.get(frame.step, ("",))[0] != "wrong_structure"]
    for stretch in consecutive(same_species):
        for step, finding in _check_stretch(stretch, timestep_fs).items():
            findings.setdefault(step, finding)
    return findings


def check_states(
    frames: Sequence[ReadFrame], states: Sequence[bytes], timestep_fs: float | None = None
) -> dict[int, Finding]:
    """`check_run` for a run whose oxidation states change.

    Geometries are checked over the whole run. Different states lie on different energy surfaces, so energies and forces
    are checked among the frames of one state whose geometries are right.

    Args:
        frames: of one run.
        states: of each frame, equal where the oxidation states are.
        timestep_fs: as for `check_run`.
    """
    whole = check_run(frames, timestep_fs)
    if len(set(states)) < 2:
        return whole
    found = {step: finding for step, finding in whole.items() if finding[0] == LabelRefusal.WRONG_STRUCTURE}
    surfaces: dict[bytes, list[ReadFrame]] = {}
    for frame, state in zip(frames, states, strict=True):
        if frame.step not in found:
            surfaces.setdefault(state, []).append(frame)
    for surface in surfaces.values():
        for step, finding in check_run(surface, timestep_fs).items():
            if finding[0] == LabelRefusal.CORRUPTED:
                found[step] = finding
    return found


def check_labelled(frames: Sequence[Atoms]) -> dict[tuple[str, int], Finding]:
    """`check_states` for labelled frames of any number of runs, distinguished by `info["config_id"]` and composition.

    The array `oxidation` gives the state of a frame. A frame with `info["md"]` False, from a relaxation, has no
    neighbours in time and is checked alone.

    Returns:
        (config_id, step) → (reason, detail).
    """
    runs: dict[tuple[str, bytes, int | None], list[Atoms]] = {}
    for frame in frames:
        relaxation_step = None if frame.info.get("md", True) else int(frame.info["step"])
        key = str(frame.info["config_id"]), frame.numbers.tobytes(), relaxation_step
        runs.setdefault(key, []).append(frame)
    return {
        (name, step): finding
        for (name, *_), run in runs.items()
        for step, finding in check_states(list(map(_as_read, run)), list(map(_state, run)), _timestep_fs(run)).items()
    }


def work_imbalances(frames: Sequence[Atoms]) -> list[dict[str, Any]]:
    """Mean of ΔE + ½ Σ_i (F_i + F_i')·Δr_i over the intervals of each run, in meV per step.

    Converged labels give zero within the error. A negative value shows a self-consistent field that converges along the
    run, so that its first frames are not converged. Only frames one step apart in the same oxidation states are
    compared, and runs with at least eight such intervals.

    Args:
        frames: labelled, of any number of runs; `info["md"]` False marks relaxations, which are ignored.

    Returns:
        {"config_id", "mean_meV", "error_meV" (standard error), "intervals"} of each run.
    """
    runs: dict[str, dict[bytes, list[ReadFrame]]] = {}
    for frame in frames:
        if frame.info.get("md", True):
            states = runs.setdefault(str(frame.info["config_id"]), {})
            states.setdefault(frame.numbers.tobytes() + _state(frame), []).append(_as_read(frame))
    found = []
    for name, states in runs.items():
        ordered = [sorted(run, key=lambda frame: frame.step) for run in states.values()]
        values = np.concatenate([[], *(imbalances_eV(stretch) for run in ordered for stretch in consecutive(run))])
        if len(values) >= FEWEST_INTERVALS:
            error = float(values.std(ddof=1) / np.sqrt(len(values)))
            found.append(
                {
                    "config_id": name,
                    "mean_meV": round(1000 * float(values.mean()), 3),
                    "error_meV": round(1000 * error, 3),
                    "intervals": len(values),
                }
            )
    return found


def _state(frame: Atoms) -> bytes:
    return np.asarray(frame.arrays.get("oxidation", ()), dtype=np.int64).tobytes()


def _as_read(frame: Atoms) -> ReadFrame:
    results = frame.calc.results
    return ReadFrame(frame, int(frame.info["step"]), float(results["energy"]), np.asarray(results["forces"]))


def _timestep_fs(run: Sequence[Atoms]) -> float | None:
    """Time step from `time_fs` and `step` of the first and last frame; None if they do not determine it."""
    first, last = run[0].info, run[-1].info
    if "time_fs" not in first or "time_fs" not in last or last["step"] == first["step"]:
        return None
    return abs(float((last["time_fs"] - first["time_fs"]) / (last["step"] - first["step"]))) or None


def too_short(frames: Sequence[Atoms]) -> dict[str, list[str]]:
    """Check → configurations with too few frames one step apart for it; checks applied to all runs are omitted.

    Frames in different oxidation states do not count together: their energies and forces are not compared. A
    configuration is named if this is so for one of its states.
    """
    steps: dict[tuple[str, bytes], list[int]] = {}
    for frame in frames:
        md_steps = steps.setdefault((str(frame.info["config_id"]), _state(frame)), [])
        # Steps of a relaxation are not neighbours in time.
        if frame.info.get("md", True):
            md_steps.append(int(frame.info["step"]))
    longest = dict.fromkeys(steps, 1)
    for key, md_steps in steps.items():
        length = 1
        for before, after in pairwise(sorted(md_steps)):
            length = length + 1 if after == before + 1 else 1
            longest[key] = max(longest[key], length)
    unchecked = {
        check: list(dict.fromkeys(name for (name, _), length in longest.items() if length < needed))
        for check, needed in FRAMES_NEEDED.items()
    }
    return {check: names for check, names in unchecked.items() if names}


def _readable(frame: ReadFrame) -> bool:
    forces = np.asarray(frame.forces_eV_A)
    return forces.shape == (len(frame.atoms), 3) and bool(np.isfinite(forces).all() and np.isfinite(frame.energy_eV))


def _check_stretch(frames: list[ReadFrame], timestep_fs: float | None) -> dict[int, Finding]:
    moves = np.array([displacement_A(a.atoms, b.atoms) for a, b in pairwise(frames)])
    longest = np.linalg.norm(moves, axis=2).max(axis=1)
    smooth = roughness(moves) < MD_ROUGHNESS
    jumps = find_position_jumps(frames, moves, jump_limit_A(longest, timestep_fs, smooth))
    without_jumps = [frame for frame in frames if frame.step not in jumps]
    if len(frames) < SHORTEST_STRETCH:
        return jumps | check_energies(without_jumps)
    if not smooth or float(np.median(longest)) > LARGEST_STEP_A:
        return jumps
    return jumps | (_check_md(without_jumps) if len(without_jumps) > 1 else {})


def _check_md(frames: list[ReadFrame]) -> dict[int, Finding]:
    """Findings on path, forces and energies of MD frames without jumps."""
    steps = np.array([frame.step for frame in frames])
    numbers = frames[0].atoms.numbers
    moves = np.array([displacement_A(a.atoms, b.atoms) for a, b in pairwise(frames)])
    path = np.concatenate([np.zeros((1, *moves.shape[1:])), np.cumsum(moves, axis=0)])
    off_path = outliers(steps, path, numbers, PATH_FLOOR_STEPS * usual_step_A(moves), size_matters=False)
    findings: dict[int, Finding] = {
        frames[k].step: (
            LabelRefusal.WRONG_STRUCTURE,
            f"positions lie {item.error_rms:.2g} Å off the path of the frames around them, most atom {item.worst_atom}",
        )
        for k, item in off_path.items()
    }
    on_path = np.array([k for k in range(len(frames)) if k not in off_path])
    forces = np.array([frames[k].forces_eV_A for k in on_path])
    wrong = outliers(steps[on_path], forces, numbers, FORCE_FLOOR_EV_A, _allowance_eV_A(path[on_path]))
    for k, item in wrong.items():
        detail = (
            f"forces are {item.error_rms:.2g} eV/Å (rms) off the course of the frames around them, "
            f"where {item.natural_rms:.2g} is usual, most atom {item.worst_atom}"
        )
        if item.pair:
            detail = "forces of atoms {} and {} are exchanged".format(*item.pair)
        findings[int(steps[on_path[k]])] = LabelRefusal.CORRUPTED, detail
    return findings | check_energies([frame for frame in frames if frame.step not in findings])


def _allowance_eV_A(path: np.ndarray) -> np.ndarray:
    """Residual of forces (m,) that kinks of the path explain: stiffness × excess of a kink over twice the median."""
    allowance = np.zeros(len(path))
    if len(path) < 5:
        return allowance
    kinks = np.linalg.norm(np.diff(path, n=4, axis=0) / MIDDLE, axis=2).max(axis=1)
    allowance[2:-2] = STIFFNESS_EV_A2 * np.maximum(0.0, kinks - 2 * np.median(kinks))
    return allowance
