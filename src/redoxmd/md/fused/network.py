"""Energies and forces of an ensemble by fused kernels and matrix products, with derivatives by hand."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from redoxmd.md.batched.pairs import PairRows
from redoxmd.md.batched.replay import side_by_side
from redoxmd.md.fused.kernels import WARP, FusedKernels
from redoxmd.model.painn import Painn
from redoxmd.model.repulsion import COULOMB_EV_A


class FusedResult(NamedTuple):
    """Results of M members for B systems of A places; those that were not asked for are None.

    Attributes:
        energies_eV: (M, B).
        contact: (B,) as in `MemberForces`; above 10¹⁵⁰ without radii.
        forces_eV_A: (M, B, A, 3).
        by_species: (M, B·A, S) gradient by species, without references.
    """

    energies_eV: Tensor
    contact: Tensor
    forces_eV_A: Tensor | None
    by_species: Tensor | None


class SharedPairs(NamedTuple):
    """Functions of the pairs of n atoms that all members share, and the neighbours.

    Attributes:
        sender, reverse: of `PairRows`.
        species: (n,).
        rays: (n, J, 4) direction and distance.
        basis, slope: (n, J, K) R_k(r) and R_k′(r), not set beyond the cutoff.
        core_slope: (n, J) of the core repulsion.
    """

    sender: Tensor
    reverse: Tensor
    species: Tensor
    rays: Tensor
    basis: Tensor
    slope: Tensor
    core_slope: Tensor


class FusedNetworks:
    """The members of an ensemble in groups of one width, which are evaluated together.

    Weights get no derivatives and must not change. The matrix products of a group are batched over its members, the
    deepest first; everything else is done by the kernels.

    Args:
        members: with the same species, cutoff and radial basis.
        kernels: for them.
    """

    def __init__(self, members: Sequence[Painn], kernels: FusedKernels) -> None:
        first = members[0]
        self.kernels, self.cutoff_A = kernels, first.cutoff_A
        self.functions, self.dtype = first.radial.size, first.dtype
        order = sorted(range(len(members)), key=lambda m: (members[m].settings["features"], -len(members[m].updates)))
        widths = sorted({int(member.settings["features"]) for member in members})
        self.groups = [
            _Group([members[m] for m in order if members[m].settings["features"] == width], kernels, first.cutoff_A)
            for width in widths
        ]
        self._order = torch.tensor(order, device=first.device)
        self._places = torch.argsort(self._order)
        self._references_eV = torch.stack([member.reference_eV for member in members]).double()
        self._frequencies = first.radial.frequencies.double()
        self._core: Tensor | None = None
        if first.core is not None:
            columns = first.core.charges, first.core.shrinking_per_A, first.core.reach_A
            self._core = torch.stack([torch.from_numpy(column) for column in columns], dim=1).to(first.device)
        cuda = first.device.type == "cuda"
        self._streams = [torch.cuda.Stream(first.device) for _ in self.groups] if cuda else []

    def __call__(
        self,
        positions_A: Tensor,
        species: Tensor,
        rows: PairRows,
        occupied: Tensor,
        radius_A: Tensor | None = None,
        forces: bool = True,
        by_species: bool = False,
    ) -> FusedResult:
        """Evaluate systems at positions (B, A, 3) with species (B, A), where places are `occupied` (B, A)."""
        (systems, places), members, launch = species.shape, len(self._order), self.kernels.atoms.launch
        n, empty = systems * places, partial(torch.empty, dtype=torch.float64, device=species.device)
        kinds, taken = species.flatten().contiguous(), occupied.flatten().contiguous()
        pairs, core_eV, contact = self.pair_functions(positions_A, kinds, rows, radius_A)

        def of(group: _Group) -> tuple[Tensor, Tensor, Tensor | None]:
            energies, states, by_hidden = group.forward(pairs, taken)
            return energies, *(group.backward(pairs, states, by_hidden, by_species) if forces else (energies, None))

        results = side_by_side([partial(of, group) for group in self.groups], self._streams)
        energies = torch.cat([of_group[0] for of_group in results])
        totals, closest, net_forces, by_weights = empty(members, systems), empty(systems), None, None
        fixed = (kinds, taken, self._references_eV, self._order)
        sizes = (systems, places, members, self._references_eV.shape[1])
        launch("totals", systems, [energies, core_eV, contact, *fixed], [totals, closest], *sizes)
        if forces:
            net_forces = empty(members, systems, places, 3)
            orders = self._order.split([group.members for group in self.groups])
            for (_, by_rays, _), order in zip(results, orders, strict=True):
                size = len(order) * n
                reads = [pairs.reverse, pairs.rays, pairs.core_slope, by_rays, order]
                launch("forces", self._warps(size), reads, [net_forces], size, n, pairs.rays.shape[1])
        if by_species:
            by_weights = torch.cat([gradient for _, _, gradient in results if gradient is not None])[self._places]
        return FusedResult(totals, closest, net_forces, by_weights)

    def pair_functions(
        self, positions_A: Tensor, species: Tensor, rows: PairRows, radius_A: Tensor | None
    ) -> tuple[SharedPairs, Tensor, Tensor]:
        """Functions of the pairs, core repulsion (n,) and smallest squared distance over summed radii (n,) of atoms."""
        n, columns = rows.sender.shape
        empty = partial(torch.empty, device=species.device)
        real = [empty(n, columns, *more, dtype=self.dtype) for more in ((4,), (self.functions,), (self.functions,), ())]
        of_atoms = [empty(n, dtype=torch.float64) for _ in range(2)]
        radius = None if radius_A is None else radius_A.contiguous()
        reads = [positions_A.contiguous(), rows.sender, rows.offset_A, species, radius, self._frequencies, self._core]
        numbers = n, columns, self.functions, self.cutoff_A, COULOMB_EV_A
        self.kernels.atoms.launch("pair_functions", self._warps(n), reads, [*real, *of_atoms], *numbers)
        return SharedPairs(rows.sender, rows.reverse, species, *real), of_atoms[0], of_atoms[1]

    def _warps(self, count: int) -> int:
        """Blocks with so many warps."""
        return -(-count // (self.kernels.atoms.threads // WARP))


class _Linear:
    """The same layer of m networks: x (m, n, I) → x Wᵀ (m, n, O), without the bias (m, O)."""

    def __init__(self, layers: Sequence[nn.Linear]) -> None:
        self.weight = torch.stack([layer.weight.detach() for layer in layers])
        self.bias = None if layers[0].bias is None else torch.stack([layer.bias.detach() for layer in layers])

    def __call__(self, x: Tensor) -> Tensor:
        return torch.bmm(x, self.weight.transpose(1, 2))

    def back(self, by_out: Tensor) -> Tensor:
        """Derivative by x."""
        return torch.bmm(by_out, self.weight)


class _Layer:
    """A layer of those members that have it."""

    def __init__(self, members: Sequence[Painn], number: int) -> None:
        interactions: list[Any] = [member.interactions[number] for member in members]
        updates: list[Any] = [member.updates[number] for member in members]
        self.members = len(members)
        self.filters = torch.stack([each.filters.detach() for each in interactions])
        self.phi = [_Linear([each.phi[place] for each in interactions]) for place in (0, 2)]
        self.mix = _Linear([each.mix for each in updates])
        self.gates = [_Linear([each.gates[place] for each in updates]) for place in (0, 2)]


class _LayerStates(NamedTuple):
    """What the derivatives of a layer need; hidden layers without their bias."""

    hidden_phi: Tensor | None
    sent: Tensor
    vectors: Tensor | None
    both: Tensor
    mixed: Tensor
    hidden_gates: Tensor
    gates: Tensor


class _Group:
    """Members of one width F, the deepest first."""

    def __init__(self, members: Sequence[Painn], kernels: FusedKernels, cutoff_A: float) -> None:
        self.members, self.features, self.cutoff_A = len(members), int(members[0].settings["features"]), cutoff_A
        self.messages, self.kernels = kernels.messages[self.features], kernels.atoms
        depths = [len(member.updates) for member in members]
        self.layers = [
            _Layer([member for member, depth in zip(members, depths, strict=True) if depth > number], number)
            for number in range(depths[0])
        ]
        # What atoms of each species are and send in the first layer (m, S, F) and (m, S, 3F).
        with torch.no_grad():
            self._scalars = torch.stack([member.embedding.weight.detach() for member in members])
            firsts: list[Any] = [member.interactions[0] for member in members]
            sent = [first.phi(member.embedding.weight) for first, member in zip(firsts, members, strict=True)]
            self._sent = torch.stack(sent)
        heads: list[Any] = [member.readout for member in members]
        self._hidden, self._out = (_Linear([head[place] for head in heads]) for place in (0, 2))
        self._scale_eV = torch.stack([member.scale_eV for member in members])

    def forward(self, pairs: SharedPairs, occupied: Tensor) -> tuple[Tensor, list[_LayerStates], Tensor]:
        """Energies (m, n) of the atoms, states of the layers, and derivatives by the hidden readout (m, n, H)."""
        (n, columns), width, launch = pairs.sender.shape, self.features, self.kernels.launch
        scalars = self._scalars.new_empty(self.members, n, width)
        kinds, states, vectors = self._scalars.shape[1], [], None
        for number, layer in enumerate(self.layers):
            count, size = layer.members, layer.members * n * width
            hidden_phi, sent, table, name, bias = None, self._sent, self._scalars, "first_message", None
            if number:
                hidden_phi = layer.phi[0](scalars[:count])
                sent, table, name = layer.phi[1](self._activation(hidden_phi, layer.phi[0])), scalars, "later_message"
                bias = layer.phi[1].bias
            both, moved = scalars.new_empty(count, n, 2 * width), scalars.new_empty(count, n, 3, width)
            reads = [pairs.sender, pairs.species, pairs.rays, pairs.basis, table, sent, bias, vectors, layer.filters]
            self.messages.launch(name, count * n, reads, [both, moved], n, kinds, columns, self.cutoff_A)
            mixed = layer.mix(moved.view(count, 3 * n, width))
            launch("norms", self._blocks(size), [mixed], [both], size, width)
            hidden_gates = layer.gates[0](both)
            gates = layer.gates[1](self._activation(hidden_gates, layer.gates[0]))
            reads = [mixed, both, gates, layer.gates[1].bias]
            launch("update", self._blocks(size), reads, [scalars, moved], size, width, n)
            states.append(_LayerStates(hidden_phi, sent, vectors, both, mixed, hidden_gates, gates))
            vectors = moved
        hidden = self._hidden(scalars)
        by_hidden, rows = torch.empty_like(hidden), self.members * n
        energies_eV = torch.empty(self.members, n, dtype=torch.float64, device=hidden.device)
        reads = [hidden, self._hidden.bias, self._out.weight, self._out.bias, self._scale_eV, occupied]
        blocks = -(-rows // (self.kernels.threads // WARP))
        launch("readout", blocks, reads, [energies_eV, by_hidden], rows, hidden.shape[2], n)
        return energies_eV, states, by_hidden

    def backward(
        self, pairs: SharedPairs, states: Sequence[_LayerStates], by_hidden: Tensor, by_species: bool
    ) -> tuple[Tensor, Tensor | None]:
        """Derivatives (m, n, J, 4) by the pairs and, if they are asked for, (m, n, S) by species."""
        (n, columns), width, launch = pairs.sender.shape, self.features, self.kernels.launch
        kinds, begun = self._scalars.shape[1], 0
        by_scalars = self._hidden.back(by_hidden)
        # In turn: the derivatives by the vectors after and before a message.
        turns = by_scalars.new_zeros(2, self.members, n, 3, width)
        by_sent, by_rays = by_scalars, by_scalars.new_empty(self.members, *pairs.rays.shape)
        for number in reversed(range(len(self.layers))):
            layer, state = self.layers[number], states[number]
            count, size = layer.members, layer.members * n * width
            by_s, by_v = by_scalars[:count], turns[number % 2, :count]
            by_gates = torch.empty_like(state.gates)
            launch("update_gates", self._blocks(size), [state.mixed, by_s, by_v], [by_gates], size, width)
            by_hidden = self._activation(state.hidden_gates, layer.gates[0], layer.gates[1].back(by_gates))
            by_both, by_mixed = layer.gates[0].back(by_hidden), torch.empty_like(state.mixed)
            reads = [state.mixed, state.both, state.gates, layer.gates[1].bias, by_both, by_v]
            launch("update_mixed", self._blocks(size), reads, [by_s, by_mixed], size, width, n)
            by_v.view(count, 3 * n, width).baddbmm_(by_mixed, layer.mix.weight)
            by_sent = by_scalars.new_empty(count, n, 3 * width)
            of_pairs = [pairs.sender, pairs.species, pairs.reverse, pairs.rays, pairs.basis, pairs.slope]
            bias = layer.phi[1].bias if number else None
            of_atoms = [state.sent, bias, state.vectors, layer.filters, by_s, by_v]
            writes = [by_sent, turns[1 - number % 2], by_rays]
            name = "later_derivatives" if number else "first_derivatives"
            sizes = n, kinds, columns, begun
            self.messages.launch(name, count * n, [*of_pairs, *of_atoms], writes, *sizes, self.cutoff_A)
            begun = count
            if state.hidden_phi is not None:
                by_hidden = self._activation(state.hidden_phi, layer.phi[0], layer.phi[1].back(by_sent))
                by_s.baddbmm_(by_hidden, layer.phi[0].weight)
        if not by_species:
            return by_rays, None
        by_weights = torch.bmm(by_scalars, self._scalars.transpose(1, 2))
        return by_rays, by_weights.baddbmm_(by_sent, self._sent.transpose(1, 2))

    def _activation(self, hidden: Tensor, layer: _Linear, by_out: Tensor | None = None) -> Tensor:
        """silu(x + b), or its derivative times `by_out`, in place of it."""
        values, (_, atoms, width) = torch.empty_like(hidden) if by_out is None else by_out, hidden.shape
        size = hidden.numel()
        self.kernels.launch(
            "activation", self._blocks(size), [hidden, layer.bias, by_out], [values], size, width, atoms
        )
        return values

    def _blocks(self, threads: int) -> int:
        """Blocks with so many threads."""
        return -(-threads // self.kernels.threads)
