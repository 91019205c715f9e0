import logging
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator


def pytest_collection_modifyitems(items):
    """Campaigns first: they take longest, and one through Slurm mostly waits."""
    order = ("test_slurm.py", "test_artefacts.py")
    items.sort(
        key=lambda item: (item.path.name != order[0], "workflow" not in item.path.parts, item.path.name == order[1])
    )


@pytest.fixture(autouse=True)
def _quiet_log():
    logging.getLogger("redoxmd").setLevel(logging.WARNING)


@pytest.fixture(autouse=True)
def _numpy_as_it_is():
    """Undo after each test what GPAW does on import under pytest: new arrays filled with NaN, NumPy warnings raised."""
    empty, empty_like, errors = np.empty, np.empty_like, np.geterr()
    yield
    np.empty, np.empty_like = empty, empty_like
    np.seterr(**errors)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    import torch

    torch.set_num_threads(1)


def rock(seed: int = 0, rattle_A: float = 0.15, repeat: int = 1) -> Atoms:
    """A rattled triclinic crystal of four species, 8 atoms per repeat cube; small enough to meet its own images."""
    rng = np.random.default_rng(seed)
    cell = np.array([[4.2, 0.3, 0.0], [0.0, 4.5, 0.4], [0.2, 0.0, 4.1]])
    sites = np.array([[i, j, k] for i in (0, 0.5) for j in (0, 0.5) for k in (0, 0.5)])
    atoms = Atoms("NaOVOPOOO", cell=cell, pbc=True, scaled_positions=sites)
    atoms = atoms.repeat(repeat)
    atoms.positions += rattle_A * rng.standard_normal(atoms.positions.shape)
    return atoms


def spring_label(atoms: Atoms, **info) -> Atoms:
    """Label by a smooth pair potential, so that there is something to learn."""
    from redoxmd.model.neighbours import find_pairs

    pairs = find_pairs(atoms.positions, np.asarray(atoms.cell), atoms.pbc, 3.5)
    vectors = pairs.vectors_A(atoms.positions, np.asarray(atoms.cell))
    r = np.linalg.norm(vectors, axis=1)
    window = (1 - (r / 3.5) ** 2) ** 3
    slope = -6 * r / 3.5**2 * (1 - (r / 3.5) ** 2) ** 2
    energy = 0.5 * 2.0 * window.sum() - 1.5 * (atoms.numbers == 11).sum()
    forces = np.zeros((len(atoms), 3))
    np.add.at(forces, pairs.receiver, 2.0 * (slope / r)[:, None] * vectors)
    frame = atoms.copy()
    frame.calc = SinglePointCalculator(frame, energy=energy, forces=forces)
    frame.info.update({"config_id": "a", "step": 0, "converged": True, "settings_hash": "h", **info})
    return frame
