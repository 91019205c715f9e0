import numpy as np
import pytest
import torch

from redoxmd.model import graph as graphs
from redoxmd.model.graph import build_graph
from redoxmd.model.painn import Painn
from tests.conftest import rock
from tests.model.physics.suite import PotentialPhysics

ELEMENTS = [8, 11, 15, 23]


class TestPainn(PotentialPhysics):
    def model(self):
        torch.manual_seed(0)
        return Painn(ELEMENTS, features=16, layers=2, cutoff_A=4.0, radial_functions=6)


class TestPainnWithoutCore(PotentialPhysics):
    """The network alone, as in the paper."""

    def model(self):
        torch.manual_seed(0)
        return Painn(ELEMENTS, features=16, layers=2, cutoff_A=4.0, radial_functions=6, core_repulsion=False)


class TestPainnPairByPair(TestPainn):
    """The plain sums, without blocks."""

    blocked = False


@pytest.mark.parametrize("layers", [1, 3])
def test_blocks_equal_pairs(layers):
    """The fast sums give what the plain ones give, first and second derivatives included."""
    torch.manual_seed(1)
    model = Painn(ELEMENTS, 12, layers, 4.5, 7).double()
    results = []
    for blocked in (True, False):
        model.zero_grad()
        graph = build_graph(rock(2), ELEMENTS, 4.5, blocked=blocked)
        assert (graph.blocks is not None) is blocked
        energy, forces, stress = model(graph, create_graph=True)
        (energy.sum() + (forces**2).sum()).backward()
        gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
        results.append([energy.detach(), forces.detach(), stress.detach(), *gradients])
    for fast, plain in zip(*results, strict=True):
        np.testing.assert_allclose(fast, plain, atol=1e-10)


def test_large_structures_take_the_plain_sums():
    atoms = rock(1).repeat((3, 3, 2))
    assert len(atoms) > graphs.DENSE_BLOCK_ATOMS
    assert build_graph(atoms, ELEMENTS, 4.0).blocks is None


def test_references_and_scale_enter_the_energy():
    torch.manual_seed(0)
    model = Painn(ELEMENTS, 8, 1, 4.0, 5, core_repulsion=False).double()
    graph = build_graph(rock(1), ELEMENTS, 4.0)
    before, forces, _ = model(graph)
    model.reference_eV += torch.tensor([1.0, 2.0, 3.0, 4.0])
    model.scale_eV *= 2
    after, forces2, _ = model(graph)
    counts = [np.count_nonzero(rock(1).numbers == z) for z in ELEMENTS]
    expected = 2 * float(before.detach()[0]) + float(np.dot(counts, [1, 2, 3, 4]))
    assert float(after.detach()[0]) == pytest.approx(expected, abs=1e-9)
    np.testing.assert_allclose(forces2.detach(), 2 * forces.detach(), atol=1e-12)
