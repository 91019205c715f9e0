"""Self-tests of a GPU and of fused kernels before MD: forces against those of the plain path on the host."""

from __future__ import annotations

import logging
from functools import partial

import numpy as np
import torch
from ase import Atoms

from redoxmd.errors import RedoxmdError
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.replay import Replay
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.fused.kernels import FusedKernels, build_kernels
from redoxmd.md.fused.step import FusedStep
from redoxmd.md.langevin import Langevin
from redoxmd.md.slots import Slots
from redoxmd.md.step import BatchStep, Log
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.files import member_from_record, member_record

logger = logging.getLogger("redoxmd")

# Largest accepted error of a force, relative to the largest force; single precision gives 1e-6 to 1e-5.
TOLERANCE = 1e-4
# A perfect crystal has no forces to compare.
DISPLACEMENT_A = 0.1


def tested_kernels(ensemble: Ensemble, atoms: Atoms) -> FusedKernels | None:
    """Fused kernels that give the forces of `atoms` and a step of their MD; None, and the reason in the log.

    Raises:
        RedoxmdError: the kernels stopped CUDA, which this process cannot use any more.
    """
    device = ensemble.members[0].device
    if ensemble.evaluation == "plain" or device.type != "cuda":
        return None
    try:
        kernels = build_kernels(ensemble.members)
        error, of_step = force_error(ensemble, atoms, kernels), step_error(ensemble, atoms, kernels)
        failure = "" if error <= TOLERANCE else f"their forces are wrong by {error:.1e} of the largest"
        if not failure and not of_step <= TOLERANCE:
            failure = f"their MD step is wrong by {of_step:.1e}"
    except (OSError, RuntimeError) as refused:
        failure = str(refused).splitlines()[0]
    if not failure:
        logger.info("fused kernels passed their self-test (forces within %.0e of the largest)", error)
        return kernels
    logger.warning("no fused kernels (%s): MD by operations of PyTorch", failure)
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as stopped:
        cause = str(stopped).splitlines()[0]
        raise RedoxmdError(f"a fused kernel failed on the GPU ({cause}); set compute.evaluation: plain") from stopped
    return None


def force_error(ensemble: Ensemble, atoms: Atoms, kernels: FusedKernels | None = None) -> float:
    """Largest error of the members' forces on the device of an ensemble, relative to the largest force.

    The structure, with its atoms displaced at random, is evaluated twice as in a step of the MD, the second time by
    replay of a CUDA graph, and compared with the plain path on the host in double precision. Atoms have the lowest
    oxidation states that the members know; the gradient by species of such members is compared as well. `kernels` as
    in `DeviceEvaluator`.

    Raises:
        RuntimeError: of CUDA.
    """
    atoms = _displaced(ensemble, atoms)
    members = [member_from_record(member_record(member)) for member in ensemble.members]
    exact = Ensemble(members, evaluation="plain").to("cpu", torch.float64)
    prediction = exact.predict_graph(exact.graph(atoms), ensemble.states is not None)
    expected = prediction.member_forces_eV_A

    evaluator = DeviceEvaluator(ensemble, kernels=kernels)
    arrays = evaluator.arrays
    evaluator.allocate(1, len(atoms))
    species = arrays.array(evaluator.enter(0, atoms)[None])
    positions_A = arrays.array(atoms.positions[None])
    evaluator.search([0], positions_A)
    forces = arrays.zeros(len(members), 1, len(atoms), 3)

    def evaluate() -> None:
        forces[...] = evaluator(positions_A, species).member_forces_eV_A

    replay = Replay(evaluate, evaluator.device)
    errors = []
    for _ in ("plain", "captured"):
        forces[...] = np.nan
        replay(1)
        errors.append(np.abs(arrays.to_numpy(forces)[:, 0] - expected).max() / np.abs(expected).max())
    if prediction.species_gradient_eV is not None:
        gradient = evaluator.state_forces(0, atoms.positions, atoms.arrays["oxidation"]).species_gradient_eV
        own = prediction.species_gradient_eV - np.mean([member.reference_eV for member in exact.members], axis=0)
        errors.append(np.abs(gradient - prediction.species_gradient_eV).max() / np.abs(own).max())
    # NaN stays NaN, which no tolerance accepts.
    return float(np.max(errors))


def step_error(ensemble: Ensemble, atoms: Atoms, kernels: FusedKernels) -> float:
    """Largest error of an MD step with `FusedStep`, relative to the largest value, against `BatchStep` on the device.

    Compared are displacements, velocities, forces and each result of the gate, for the same random numbers.
    """
    atoms = _displaced(ensemble, atoms)
    evaluator = DeviceEvaluator(ensemble, kernels=kernels)
    evaluator.allocate(1, len(atoms))
    slots = Slots(1, len(atoms), evaluator.arrays)
    langevin = Langevin(atoms.get_masses(), 1.0, 300.0, 0.01)
    slots.put(0, atoms, evaluator.enter(0, atoms), langevin, GateSettings(1e3, 1e4))
    log, outcomes = Log(1, slots), []
    state = langevin.start(atoms.positions, np.zeros_like(atoms.positions), np.random.default_rng(0))
    for kind in (BatchStep, partial(FusedStep, kernels=kernels.step)):
        slots.place(0, state, atoms.positions)
        evaluator.search([0], slots.search_at_A)
        slots.searched_A[...], slots.outdated[...] = slots.search_at_A, False
        log.clear()
        kind(slots, evaluator, log, lambda: None)()
        moved = slots.positions_A - evaluator.arrays.array(atoms.positions)
        values = [moved, slots.velocities_A_fs, slots.forces_eV_A, *log.results.unbind(dim=2)]
        outcomes.append([evaluator.arrays.to_numpy(value) for value in values])
    errors = [np.abs(new - old).max() / max(np.abs(old).max(), 1e-12) for old, new in zip(*outcomes, strict=True)]
    return float(np.max(errors))


def _displaced(ensemble: Ensemble, atoms: Atoms) -> Atoms:
    """A structure with displaced atoms, in the lowest oxidation states that the members know."""
    atoms = atoms.copy()
    atoms.rattle(DISPLACEMENT_A, seed=0)
    if ensemble.states is not None:
        lowest = np.searchsorted(ensemble.elements, atoms.numbers)
        atoms.set_array("oxidation", np.asarray(ensemble.states)[lowest])
    return atoms
