"""The kernels of a message on the host: against the definition of the message, pair by pair, in double precision."""

import numpy as np
import pytest
import torch

from redoxmd.md.fused.kernels import MESSAGE, message_options, threads_per_block
from redoxmd.model.radial import RadialBasis
from redoxmd.model.representation import Interaction, PairTensors
from tests.conftest import rock
from tests.md.batched.test_pairs import crowd, padded, rows_of
from tests.md.fused.host import HostKernels

CUTOFF_A, REACH_A = 4.0, 5.2
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-6}  # relative to the largest value
MEMBERS, SPECIES = 2, 3


def kernels_of(features, functions, dtype=torch.float32):
    return HostKernels(MESSAGE, threads_per_block(features), message_options(features, functions), dtype)


class Example:
    """Two members on rows of several systems, with pairs beyond the cutoff and unused entries; random features."""

    def __init__(self, features, functions, first, systems=None):
        systems = crowd()[1::2] if systems is None else systems
        rng = np.random.default_rng(features)
        random = lambda *shape: torch.from_numpy(rng.normal(size=(MEMBERS, *shape)))  # noqa: E731
        self.features, self.first, self.rows = features, first, rows_of(systems, REACH_A)
        self.radial = RadialBasis(functions, CUTOFF_A).double()
        self.interactions = [Interaction(features, functions).double().requires_grad_(False) for _ in range(MEMBERS)]
        self.vectors_A = self.rows.vectors_A(padded(systems)[0])
        self.atoms = atoms = len(self.vectors_A)
        self.species = torch.from_numpy(rng.integers(0, SPECIES, atoms))
        rows = SPECIES if first else atoms
        self.scalars, self.sent, self.vectors = random(rows, features), random(rows, 3 * features), None
        self.bias = None if first else random(3 * features)
        if not first:
            self.vectors = random(atoms, 3, features)
        self.by_s, self.by_v = random(atoms, features), random(atoms, 3, features)
        self.before = random(*self.rows.sender.shape, 4)

    def definition(self):
        """Results and derivatives by what is sent, vectors and pair vectors, by `Interaction` and autograd."""
        found = []
        for m, interaction in enumerate(self.interactions):
            scalars, sent = (self.scalars[m], self.sent[m])
            if self.first:
                scalars, sent = scalars[self.species], sent[self.species]
            else:
                sent = sent + self.bias[m]
            start = [sent] if self.first else [sent, self.vectors[m]]
            *inputs, pair_vectors = (value.clone().requires_grad_() for value in (*start, self.vectors_A))
            flat = pair_vectors.flatten(0, 1)
            distance = flat.norm(dim=1)
            basis = self.radial(distance)
            directed = ((flat / distance[:, None])[:, :, None] * basis[:, None]).flatten(1)
            receiver = torch.arange(self.atoms).repeat_interleave(self.rows.width)
            pairs = PairTensors(basis, directed, receiver, self.rows.sender.flatten(), None, None)
            vectors = None if self.first else inputs[1]
            delta_s, delta_v = interaction(sent.new_empty(self.atoms, 0), vectors, pairs, inputs[0])
            new = [scalars + delta_s, delta_v if self.first else vectors + delta_v]
            energy = (new[0] * self.by_s[m]).sum() + (new[1] * self.by_v[m]).sum()
            found.append([*(v.detach() for v in new), *torch.autograd.grad(energy, [*inputs, pair_vectors])])
        return [torch.stack(values) for values in zip(*found, strict=True)]

    def by_kernels(self, kernels, dtype):
        """The same numbers; the derivatives by the pairs of the first member are added to `before`."""
        distance = self.vectors_A.norm(dim=-1)
        flat = distance.flatten()
        basis, slope = (
            values.view(*distance.shape, -1).to(dtype)
            for values in torch.func.jvp(self.radial, (flat,), (torch.ones_like(flat),))
        )
        unit = self.vectors_A / distance[..., None]
        rays = torch.cat([unit, distance[..., None]], dim=-1).to(dtype)
        filters = torch.stack([interaction.filters for interaction in self.interactions])
        given = (self.scalars, self.sent, self.bias, self.vectors, filters, self.by_s, self.by_v)
        scalars, sent, bias, vectors, filters, by_s, by_v = (None if v is None else v.to(dtype) for v in given)
        both = rays.new_full((MEMBERS, self.atoms, 2 * self.features), float("nan"))
        moved, by_vectors = torch.empty_like(by_v), torch.empty_like(by_v)
        sizes = self.atoms, SPECIES, self.rows.width
        reads = [self.rows.sender, self.species, rays, basis, scalars, sent, bias, vectors, filters]
        name = "first" if self.first else "later"
        blocks = MEMBERS * self.atoms
        kernels.launch(f"{name}_message", blocks, reads, [both, moved], *sizes, CUTOFF_A)
        by_sent, by_rays = by_v.new_empty(MEMBERS, self.atoms, 3 * self.features), self.before.to(dtype, copy=True)
        reads = [self.rows.sender, self.species, self.rows.reverse, rays, basis, slope, sent, bias, vectors, filters]
        writes = [by_sent, by_vectors, by_rays]
        kernels.launch(f"{name}_derivatives", blocks, [*reads, by_s, by_v], writes, *sizes, 1, CUTOFF_A)
        by_rays[0] -= self.before[0].to(dtype)
        by_unit, by_distance = by_rays.split([3, 1], dim=-1)
        unit = rays[..., :3]
        turning = (by_unit - unit * (by_unit * unit).sum(dim=-1, keepdim=True)) / rays[..., 3:]
        results = [both[..., : self.features], moved, by_sent]
        if not self.first:
            # The vectors themselves are in the result.
            results.append(by_vectors)
        return [*results, unit * by_distance + turning]


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
    assert_equal(example.by_kernels(kernels_of(features, functions, dtype), dtype), expected, TOLERANCE[dtype])


@pytest.mark.parametrize("first", [True, False])
def test_the_order_of_the_threads_changes_no_bit(first):
    """Threads that run in another order between barriers find a missing barrier."""
    kernels, example = kernels_of(33, 6), Example(33, 6, first, [rock(1), rock(2)])
    ascending = example.by_kernels(kernels, torch.float32)
    kernels.descending(1)
    descending = example.by_kernels(kernels, torch.float32)
    kernels.descending(0)
    assert all(map(torch.equal, ascending, descending))
