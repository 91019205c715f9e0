"""The batched evaluation with fused messages, on the host."""

import numpy as np
import pytest
import torch

from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.model.ensemble import Ensemble
from tests.md.batched.test_electrons import exact  # noqa: F401
from tests.md.batched.test_pairs import DOUBLE, SINGLE, agreeing_forces, crowd, padded
from tests.md.fused.host import host_kernels
from tests.md.test_shortlist import frame_in_a_state, saved  # noqa: F401
from tests.model.test_ensemble import members


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
def test_forces_and_energies_are_those_of_the_plain_path(dtype, tolerance):
    """With several systems in a batch, unused entries of rows, members of two widths and pairs beyond the cutoff."""
    systems = crowd()
    positions, _, _, present, species = padded(systems)
    ensemble = Ensemble([*members(1, dtype, layers=3), *members(1, dtype, features=37, layers=2)], evaluation="plain")
    evaluator = DeviceEvaluator(ensemble, kernels=host_kernels(ensemble))
    assert evaluator.description == "PyTorch on cpu, MD on the device, messages by fused kernels"
    evaluator.allocate(*present.shape)
    for slot, atoms in enumerate(systems):
        evaluator.enter(slot, atoms)
    evaluator.search(range(len(systems)), positions)
    found = evaluator(positions, species.view(present.shape))
    reference = Ensemble([member.double() for member in ensemble.members], evaluation="plain")
    for number, expected in enumerate(agreeing_forces(found, systems, reference, tolerance)):
        np.testing.assert_allclose(found.energies_eV[:, number], expected.energies_eV, rtol=tolerance)


def test_gradients_by_species_are_those_of_the_host(exact, tmp_path):  # noqa: F811
    """Where atoms of the first layer are mixtures of species."""
    atoms = frame_in_a_state(tmp_path)
    device, host = DeviceEvaluator(exact, kernels=host_kernels(exact)), HostEvaluator(exact)
    for evaluator in (device, host):
        evaluator.allocate(1, len(atoms))
        evaluator.enter(0, atoms)
        evaluator.search([0], evaluator.arrays.array(atoms.positions[None]))
    found, expected = (e.state_forces(0, atoms.positions, atoms.arrays["oxidation"]) for e in (device, host))
    for name in ("energies_eV", "forces_eV_A", "species_gradient_eV"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-9)
    energies = [e.state_energies(0, atoms.positions, atoms.arrays["oxidation"][None]) for e in (device, host)]
    np.testing.assert_allclose(energies[0], energies[1], rtol=0, atol=1e-9)
