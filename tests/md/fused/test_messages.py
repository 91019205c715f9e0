"""The kernels of a message on the host: against the definition of the message, pair by pair, in double precision."""

from copy import deepcopy

import numpy as np
import pytest
import torch

from redoxmd.md.batched.messages import PairFunctions
from redoxmd.md.fused.messages import FusedMessages
from redoxmd.model.radial import RadialBasis
from redoxmd.model.representation import Interaction, PairTensors
from tests.conftest import rock
from tests.md.batched.test_pairs import crowd, padded, rows_of
from tests.md.fused.host import HostKernels

CUTOFF_A, REACH_A = 4.0, 5.2
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}  # relative to the largest value


class Example:
    """Rows of several systems, with pairs beyond the cutoff and unused entries, and random features."""

    def __init__(self, features, functions, first, systems=None):
        systems = crowd()[1::2] if systems is None else systems
        rng = np.random.default_rng(features)
        random = lambda *shape: torch.from_numpy(rng.normal(size=shape))  # noqa: E731
        self.rows = rows_of(systems, REACH_A)
        self.radial = RadialBasis(functions, CUTOFF_A).double()
        self.interaction = Interaction(features, functions).double().requires_grad_(False)
        self.vectors_A = self.rows.vectors_A(padded(systems)[0])
        atoms = len(self.vectors_A)
        self.sent = random(atoms, 3 * features)
        self.vectors = None if first else random(atoms, 3, features)
        self.by_s, self.by_v = random(atoms, features), random(atoms, 3, features)

    def definition(self):
        """Changes and derivatives by what is sent, vectors and pair vectors, by `Interaction` and autograd."""
        variables = [v.clone().requires_grad_() for v in (self.sent, self.vectors, self.vectors_A) if v is not None]
        sent, vectors, pair_vectors = variables[0], *([None] if self.vectors is None else []), *variables[1:]
        flat = pair_vectors.flatten(0, 1)
        distance = flat.norm(dim=1)
        basis = self.radial(distance)
        directed = ((flat / distance[:, None])[:, :, None] * basis[:, None]).flatten(1)
        receiver = torch.arange(len(sent)).repeat_interleave(self.rows.width)
        pairs = PairTensors(basis, directed, receiver, self.rows.sender.flatten(), None, None)
        changes = self.interaction(sent.new_empty(len(sent), 0), vectors, pairs, sent)
        energy = (changes[0] * self.by_s).sum() + (changes[1] * self.by_v).sum()
        return [value.detach() for value in changes] + list(torch.autograd.grad(energy, variables))

    def by_kernels(self, kernels, dtype):
        """The same numbers."""
        distance = self.vectors_A.norm(dim=-1)
        flat = distance.flatten().requires_grad_()
        basis, slope = (
            values.view(*distance.shape, -1).detach().to(dtype)
            for values in torch.func.jvp(self.radial, (flat,), (torch.ones_like(flat),))
        )
        distance, unit = distance.detach().to(dtype), (self.vectors_A / distance.detach()[..., None]).to(dtype)
        zeros = torch.zeros_like(distance)
        pairs = PairFunctions(distance, unit, basis, slope, zeros[:, 0], zeros)
        messages = FusedMessages({kernels.features: kernels}, CUTOFF_A, pairs, self.rows)
        variables = messages.variables()
        inputs = [v.to(dtype).requires_grad_() for v in (self.sent, self.vectors) if v is not None]
        sent, vectors = [*inputs, None][:2]
        changes = messages.message(deepcopy(self.interaction).to(dtype), sent, vectors, variables)
        energy = (changes[0] * self.by_s.to(dtype)).sum() + (changes[1] * self.by_v.to(dtype)).sum()
        *by_inputs, by_rays = torch.autograd.grad(energy, [*inputs, *variables])
        return [value.detach() for value in changes] + by_inputs + [messages.pair_gradient(by_rays)]


def assert_equal(found, expected, tolerance):
    assert len(found) == len(expected)
    for value, exact in zip(found, expected, strict=True):
        torch.testing.assert_close(value.double(), exact, rtol=0, atol=tolerance * float(exact.abs().max()))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("features", "functions"), [(128, 20), (148, 20), (8, 5), (33, 6), (64, 7), (7, 1)])
def test_messages_and_their_derivatives_are_those_of_the_definition(features, functions, first, dtype):
    example = Example(features, functions, first)
    distance = example.vectors_A.norm(dim=-1)
    assert (
        example.rows.width > 32
        and ((distance > CUTOFF_A) & (distance < REACH_A)).any()
        and (distance > 2 * REACH_A - 1e-6).any()
    )
    expected = example.definition()
    assert_equal(example.by_kernels(HostKernels(features, functions, dtype), dtype), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("first", [True, False])
def test_the_order_of_the_threads_changes_no_bit(first):
    """Threads that run in another order between barriers find a missing barrier."""
    kernels, example = HostKernels(33, 6), Example(33, 6, first, [rock(1), rock(2)])
    ascending = example.by_kernels(kernels, torch.float32)
    kernels.descending(1)
    descending = example.by_kernels(kernels, torch.float32)
    kernels.descending(0)
    assert all(map(torch.equal, ascending, descending))
