"""Self-tests of a GPU and of fused kernels before MD: forces against those of the plain path on the host."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from ase import Atoms

from redoxmd.errors import RedoxmdError
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.replay import Replay
from redoxmd.md.fused.kernels import MessageKernels, build_kernels
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.files import member_from_record, member_record

logger = logging.getLogger("redoxmd")

# Largest accepted error of a force, relative to the largest force; single precision gives 1e-6 to 1e-5.
TOLERANCE = 1e-4
# A perfect crystal has no forces to compare.
DISPLACEMENT_A = 0.1


def tested_kernels(ensemble: Ensemble, atoms: Atoms) -> dict[int, MessageKernels] | None:
    """Fused kernels of each width of the members that give the forces of `atoms`; None, and the reason in the log.

    Raises:
        RedoxmdError: the kernels stopped CUDA, which this process cannot use any more.
    """
    device = ensemble.members[0].device
    if ensemble.evaluation == "plain" or device.type != "cuda":
        return None
    try:
        kernels: dict[int, MessageKernels] = dict(build_kernels(ensemble.members))
        error = force_error(ensemble, atoms, kernels)
        failure = "" if error <= TOLERANCE else f"their forces are wrong by {error:.1e} of the largest"
    except (OSError, RuntimeError) as refused:
        failure = str(refused).splitlines()[0]
    if not failure:
        logger.info("fused kernels passed their self-test (forces within %.0e of the largest)", error)
        return kernels
    logger.warning("no fused kernels (%s): messages by PyTorch", failure)
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as stopped:
        cause = str(stopped).splitlines()[0]
        raise RedoxmdError(f"a fused kernel failed on the GPU ({cause}); set compute.evaluation: plain") from stopped
    return None


def force_error(ensemble: Ensemble, atoms: Atoms, kernels: Mapping[int, MessageKernels] | None = None) -> float:
    """Largest error of the members' forces on the device of an ensemble, relative to the largest force.

    The structure, with its atoms displaced at random, is evaluated twice as in a step of the MD, the second time by
    replay of a CUDA graph, and compared with the plain path on the host in double precision. Atoms have the lowest
    oxidation states that the members know; the gradient by species of such members is compared as well. `kernels` are
    those of the messages, as in `DeviceEvaluator`.

    Raises:
        RuntimeError: of CUDA.
    """
    atoms = atoms.copy()
    atoms.rattle(DISPLACEMENT_A, seed=0)
    if ensemble.states is not None:
        lowest = np.searchsorted(ensemble.elements, atoms.numbers)
        atoms.set_array("oxidation", np.asarray(ensemble.states)[lowest])
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
