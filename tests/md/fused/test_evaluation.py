"""The batched evaluation by fused kernels, on the host: against the plain path."""

import numpy as np
import pytest
import torch

from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.model.ensemble import Ensemble
from tests.md.batched.test_electrons import exact  # noqa: F401
from tests.md.batched.test_pairs import SINGLE, agreeing_forces, crowd, padded
from tests.md.fused.host import fused_kernels
from tests.md.test_shortlist import frame_in_a_state, saved  # noqa: F401
from tests.model.test_ensemble import members

DOUBLE = 1e-12  # relative to the largest value


def mixed_members(dtype):
    """Of two widths, in no order, and two of one width with different numbers of layers."""
    sizes = [{"layers": 1}, {"features": 37, "layers": 2}, {"layers": 3}]
    made = [members(1, dtype, seed, **size)[0] for seed, size in enumerate(sizes)]
    for number, member in enumerate(made):
        member.reference_eV += torch.arange(4) + number
    return made


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, DOUBLE), (torch.float32, SINGLE)])
def test_forces_and_energies_are_those_of_the_plain_path(dtype, tolerance):
    """With several systems in a batch, unused entries of rows, pairs beyond the cutoff, and a close contact."""
    systems = crowd()
    systems[0].positions[1] = systems[0].positions[0] + [0.7, 0.9, 0.4]
    positions, _, _, present, species = padded(systems)
    ensemble = Ensemble(mixed_members(dtype), evaluation="plain")
    found = []
    for kernels in (None, fused_kernels(ensemble.members)):
        evaluator = DeviceEvaluator(ensemble, kernels=kernels)
        evaluator.allocate(*present.shape)
        for slot, atoms in enumerate(systems):
            evaluator.enter(slot, atoms)
        evaluator.search(range(len(systems)), positions)
        found.append(evaluator(positions, species.view(present.shape)))
    assert evaluator.description == "fused kernels on cpu, MD on the device"
    np.testing.assert_allclose(found[1].contact, found[0].contact, rtol=1e-14 if dtype == torch.float64 else 1e-6)
    reference = Ensemble([member.double() for member in ensemble.members], evaluation="plain")
    for number, expected in enumerate(agreeing_forces(found[1], systems, reference, tolerance)):
        np.testing.assert_allclose(found[1].energies_eV[:, number], expected.energies_eV, rtol=tolerance)


def test_functions_of_the_pairs_are_those_of_the_plain_path():
    """Basis and slope within the cutoff, the repulsion of a contact and its slope; one species for each state."""
    systems = crowd()
    systems[0].positions[1] = systems[0].positions[0] + [0.7, 0.9, 0.4]
    positions, _, _, present, species = padded(systems)
    ensemble = Ensemble(mixed_members(torch.float64), evaluation="plain")
    evaluator = DeviceEvaluator(ensemble, kernels=fused_kernels(ensemble.members))
    evaluator.allocate(*present.shape)
    for slot, atoms in enumerate(systems):
        evaluator.enter(slot, atoms)
    evaluator.search(range(len(systems)), positions)
    expected = evaluator._pairs(evaluator.rows.vectors_A(positions), species, evaluator.rows)
    found, core_eV, _ = evaluator.fused.pair_functions(positions, species, evaluator.rows, None)
    near = expected.distance_A < ensemble.cutoff_A
    assert 0 < int(near.sum()) < near.numel() and float(expected.core_eV.max()) > 1
    values = [
        (found.rays[..., :3], expected.unit),
        (found.rays[..., 3], expected.distance_A),
        (found.basis[near], expected.basis[near]),
        (found.slope[near], expected.slope[near]),
        (found.core_slope, expected.core_slope),
        (core_eV, expected.core_eV),
    ]
    for ours, theirs in values:
        torch.testing.assert_close(ours, theirs, rtol=0, atol=DOUBLE * float(theirs.abs().max()))
    assert not expected.basis[~near].any() and not expected.slope[~near].any()


def test_gradients_by_species_are_those_of_the_host(exact, tmp_path):  # noqa: F811
    """Where atoms of the first layer are mixtures of species."""
    atoms = frame_in_a_state(tmp_path)
    device, host = DeviceEvaluator(exact, kernels=fused_kernels(exact.members)), HostEvaluator(exact)
    for evaluator in (device, host):
        evaluator.allocate(1, len(atoms))
        evaluator.enter(0, atoms)
        evaluator.search([0], evaluator.arrays.array(atoms.positions[None]))
    found, expected = (e.state_forces(0, atoms.positions, atoms.arrays["oxidation"]) for e in (device, host))
    for name in ("energies_eV", "forces_eV_A", "species_gradient_eV"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=0, atol=1e-9)
    energies = [e.state_energies(0, atoms.positions, atoms.arrays["oxidation"][None]) for e in (device, host)]
    np.testing.assert_allclose(energies[0], energies[1], rtol=0, atol=1e-9)
