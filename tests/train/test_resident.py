"""Batches gathered from joined samples: each structure has the loss that it has alone."""

import numpy as np
import pytest
import torch

from redoxmd.train.resident import ResidentSamples, resident_losses
from redoxmd.train.samples import make_sample
from tests.conftest import rock, spring_label
from tests.model.test_ensemble import members

RHO = 0.9
CPU = torch.device("cpu")


def frames_of(sizes):
    return [spring_label(rock(n).repeat((size, 1, 1))) for n, size in enumerate(sizes)]


def loss_alone(model, frame):
    """Equation 1 of the paper for one frame, with the energy and forces of the plain network."""
    sample = make_sample(frame, model)
    energy, forces, _ = model(sample.graph.to(CPU, torch.float64), create_graph=True)
    reference = model.reference_energy(sample.graph)
    error = (energy - reference - sample.energy).squeeze()
    return (1 - RHO) * error**2 + RHO * ((forces - sample.forces) ** 2).sum(dim=1).mean()


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 2, 1, 3), (1, 13, 1, 2)], ids=["equal", "blocks", "pairs"])
@pytest.mark.parametrize("unused", [(0, 0), (1, 7), (9, 300)])
def test_a_structure_of_a_batch_has_its_loss_and_gradient(sizes, unused):
    """With any number of unused places; with a structure of more than 96 atoms the sums are pair by pair."""
    (model,) = members(1)
    frames = frames_of(sizes)
    samples = ResidentSamples([make_sample(frame, model) for frame in frames], CPU, torch.float64, model.cutoff_A)
    numbers = [2, 0, 3] if max(sizes) < 13 else [2, 1, 3]
    size = tuple(np.array(samples.size(numbers)) + unused)
    assert size[0] == sum(len(frames[n]) for n in numbers) + unused[0]
    batch = samples.batch(torch.tensor(numbers), size)
    assert (batch.graph.blocks is None) == (max(sizes) == 13)
    losses = resident_losses(model, batch, RHO, create_graph=True)
    expected = torch.stack([loss_alone(model, frames[n]) for n in numbers])
    torch.testing.assert_close(losses, expected, rtol=1e-10, atol=0)
    gradients = torch.autograd.grad(losses.mean(), list(model.parameters()))
    wanted = torch.autograd.grad(expected.mean(), list(model.parameters()))
    scale = max(float(values.abs().max()) for values in wanted)
    for values, exact in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(values, exact, rtol=0, atol=1e-10 * scale)


def test_samples_without_pairs():
    (model,) = members(1)
    atoms = rock(0)[:2]
    atoms.set_cell(np.eye(3) * 40)
    atoms.positions[:] = [[0, 0, 0], [20, 0, 0]]
    frame = spring_label(atoms)
    samples = ResidentSamples([make_sample(frame, model)], CPU, torch.float64, model.cutoff_A)
    assert samples.size([0]) == (2, 0)
    losses = resident_losses(model, samples.batch(torch.tensor([0]), (2, 0)), RHO, create_graph=False)
    torch.testing.assert_close(losses[0], loss_alone(model, frame), rtol=1e-10, atol=0)
