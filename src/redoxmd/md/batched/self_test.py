"""Self-test of a GPU before MD: its forces against those of the plain path on the host."""

from __future__ import annotations

import numpy as np
import torch
from ase import Atoms

from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.replay import Replay
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.files import member_from_record, member_record

# Largest accepted error of a force, relative to the largest force; single precision gives 1e-6 to 1e-5.
TOLERANCE = 1e-4
# A perfect crystal has no forces to compare.
DISPLACEMENT_A = 0.1


def force_error(ensemble: Ensemble, atoms: Atoms) -> float:
    """Largest error of the members' forces on the device of an ensemble, relative to the largest force.

    The structure, with its atoms displaced at random, is evaluated twice as in a step of the MD, the second time by
    replay of a CUDA graph, and compared with the plain path on the host in double precision. Atoms have the lowest
    oxidation states that the members know.

    Raises:
        RuntimeError: of CUDA.
    """
    atoms = atoms.copy()
    atoms.rattle(DISPLACEMENT_A, seed=0)
    if ensemble.states is not None:
        lowest = np.searchsorted(ensemble.elements, atoms.numbers)
        atoms.set_array("oxidation", np.asarray(ensemble.states)[lowest])
    members = [member_from_record(member_record(member)) for member in ensemble.members]
    expected = Ensemble(members, evaluation="plain").to("cpu", torch.float64).predict(atoms).member_forces_eV_A

    evaluator = DeviceEvaluator(ensemble)
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
    # NaN stays NaN, which no tolerance accepts.
    return float(np.max(errors))
