"""Energies and forces of an ensemble for a batch of systems over rows of neighbours: static shapes throughout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
from ase import Atoms
from ase.data import covalent_radii
from torch import Tensor
from torch.func import jvp

from redoxmd.arrays import Arrays
from redoxmd.md.batched.messages import PairFunctions, PlainMessages
from redoxmd.md.batched.pairs import PairRows, opposite, search
from redoxmd.md.batched.replay import side_by_side
from redoxmd.md.forces import SKIN_A, MemberForces, StateForces
from redoxmd.md.frame_gate import closest_contact
from redoxmd.md.fused.kernels import FusedKernels
from redoxmd.md.fused.network import FusedNetworks
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.painn import Painn
from redoxmd.model.representation import Interaction
from redoxmd.model.repulsion import pair_energy

# States of a system that are evaluated together.
STATES = 8


class DeviceEvaluator:
    """Evaluation in torch tensors where the ensemble is: the numbers of its plain path, summed in another order.

    Everything is per atom or per row: systems of a batch do not touch. Shapes are static, nothing waits for the host:
    a call can be captured as a CUDA graph.

    Args:
        ensemble: the members.
        skin_A: pairs are complete until an atom has moved half of it.
        reason: of an automatic choice, for the description.
        kernels: for the members; None: operations of torch alone.
    """

    searches_during_steps = False

    def __init__(
        self,
        ensemble: Ensemble,
        skin_A: float = SKIN_A,
        reason: str = "",
        kernels: FusedKernels | None = None,
    ) -> None:
        self.ensemble, self.members, self.reason, self.kernels = ensemble, ensemble.members, reason, kernels
        self.n_members, self.skin_A = len(ensemble.members), skin_A
        self.moves_electrons = ensemble.states is not None
        self.fused = None if kernels is None else FusedNetworks(self.members, kernels)
        self._atoms: dict[int, Atoms] = {}
        self.reach_A = ensemble.cutoff_A + skin_A
        first = self.members[0]
        self.device, self.dtype = first.device, first.dtype
        self.arrays = Arrays(self.device)
        self._streams = [torch.cuda.Stream(self.device) for _ in self.members] if self.device.type == "cuda" else []
        self._references_eV = torch.stack([member.reference_eV for member in self.members])
        self._core: tuple[Tensor, Tensor] | None = None
        if first.core is not None:
            self._core = (
                torch.from_numpy(first.core.charges).to(self.device, self.dtype),
                torch.from_numpy(first.core.reach_A).to(self.device, self.dtype),
            )

    @property
    def description(self) -> str:
        """The kind of evaluation, for logs and trajectories, with the reason of an automatic choice."""
        where = f"on {self.device.type}"
        kind = f"PyTorch {where}" if self.fused is None else f"fused kernels {where}"
        return ", ".join(filter(None, [kind, "MD on the device", self.reason]))

    @property
    def generation(self) -> int:
        """Raised when rows were widened, which replaces their buffers."""
        return self.rows.generation

    def allocate(self, systems: int, atoms: int) -> None:
        """Make room for so many systems of so many places; all are empty."""
        zeros = self.arrays.zeros
        self.rows = PairRows(systems, atoms, 2 * self.reach_A, self.device)
        self.occupied = zeros(systems, atoms, dtype=bool)
        self.radius_A = zeros(systems, atoms)
        self.cell_A, self.periodic = zeros(systems, 3, 3), zeros(systems, 3, dtype=bool)

    def enter(self, slot: int, atoms: Atoms) -> np.ndarray:
        """Put a system into a slot and return the species (n,) of its atoms."""
        n = len(atoms)
        self.leave(slot)
        self.occupied[slot, :n] = True
        self.radius_A[slot, :n] = self.arrays.array(covalent_radii[atoms.numbers])
        self.cell_A[slot] = self.arrays.array(np.asarray(atoms.cell.complete()))
        self.periodic[slot] = self.arrays.array(atoms.pbc)
        self._atoms[slot] = atoms.copy()
        return self.ensemble.species_of(atoms)

    def leave(self, slot: int) -> None:
        """Empty a slot."""
        self.occupied[slot], self.radius_A[slot] = False, 0.0

    def search(self, slots: Sequence[int], positions_A: Tensor) -> None:
        """Search the pairs of some systems at unwrapped positions (b, A, 3)."""
        index = self.arrays.array(slots)
        cells = self.cell_A[index]
        found = search(positions_A, cells, self.periodic[index], self.occupied[index], self.reach_A)
        self.rows.put(index, found, cells)

    @torch.no_grad()
    def __call__(self, positions_A: Tensor, species: Tensor) -> MemberForces:
        """Evaluate all systems at unwrapped positions (B, A, 3) with species (B, A)."""
        rows = self.rows
        if self.fused is not None:
            fused = self.fused(positions_A, species, rows, self.occupied, self.radius_A)
            assert fused.forces_eV_A is not None
            return MemberForces(fused.energies_eV, fused.forces_eV_A, fused.contact)
        vectors = rows.vectors_A(positions_A)
        radii = self.radius_A.flatten()
        radius_sums = (radii[:, None] + radii[rows.sender]).view(len(positions_A), -1)
        contact = closest_contact(vectors.view(len(positions_A), -1, 3), radius_sums)
        energies, forces, _ = self._evaluate(vectors, species, rows, self.occupied, by_species=False)
        return MemberForces(energies, forces, contact)

    def species_of(self, slot: int, oxidation: np.ndarray) -> np.ndarray:
        """Species (n,) of the atoms of a system in oxidation states (n,)."""
        atoms = self._atoms[slot]
        atoms.set_array("oxidation", oxidation)
        return self.ensemble.species_of(atoms)

    @torch.no_grad()
    def state_energies(self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray) -> np.ndarray:
        """Energies (M, k) in eV of the members for the oxidation states (k, n) of a system at positions (n, 3)."""
        parts = []
        for begin in range(0, len(oxidation), STATES):
            positions, species, rows, places = self._copies(slot, positions_A, oxidation[begin : begin + STATES])
            if self.fused is not None:
                parts.append(self.fused(positions, species, rows, places, forces=False).energies_eV)
                continue
            kinds, occupied = species.flatten(), places.flatten()
            pairs = self._pairs(rows.vectors_A(positions).to(self.dtype), kinds, rows)
            messages = PlainMessages(pairs, rows)
            variables = messages.variables()
            for_members = [_atom_energies(m, kinds, messages, variables) * occupied for m in self.members]
            parts.append(self._totals([each.double() + pairs.core_eV for each in for_members], species, places))
        return self.arrays.to_numpy(torch.cat(parts, dim=1))

    @torch.no_grad()
    def state_forces(self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray) -> StateForces:
        """Evaluation of a system in the state (n,) at positions (n, 3)."""
        n, host = len(positions_A), self.arrays.to_numpy
        positions, species, rows, places = self._copies(slot, positions_A, oxidation[None])
        if self.fused is None:
            vectors = rows.vectors_A(positions)
            energies, forces, gradient = self._evaluate(vectors, species, rows, places, by_species=True)
        else:
            fused = self.fused(positions, species, rows, places, by_species=True)
            assert fused.forces_eV_A is not None
            energies, forces, gradient = fused.energies_eV, fused.forces_eV_A, fused.by_species
        assert gradient is not None
        gradient = (gradient.double() + self._references_eV[:, None]).view(self.n_members, *species.shape, -1)
        mean = gradient.mean(dim=0)[0, :n]
        return StateForces(host(energies[:, 0]), host(forces.mean(dim=0)[0, :n]), host(species[0, :n]), host(mean))

    def _copies(
        self, slot: int, positions_A: np.ndarray, oxidation: np.ndarray
    ) -> tuple[Tensor, Tensor, PairRows, Tensor]:
        """Positions (k, A, 3), species (k, A), rows and occupied places (k, A) of a system in states (k, n)."""
        count, n = oxidation.shape
        rows = self.rows.copies(slot, count)
        positions = self.arrays.zeros(count, rows.atoms, 3)
        species = self.arrays.zeros(count, rows.atoms, dtype=int)
        positions[:, :n] = self.arrays.array(positions_A)
        species[:, :n] = self.arrays.array(np.array([self.species_of(slot, state) for state in oxidation]))
        return positions, species, rows, self.occupied[slot].expand(count, -1)

    def _evaluate(
        self, vectors_A: Tensor, species: Tensor, rows: PairRows, occupied: Tensor, by_species: bool
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Energies (M, B), forces (M, B, A, 3) and, if asked for, by species (M, B·A, S) without references."""
        kinds, is_atom = species.flatten(), occupied.flatten()
        pairs = self._pairs(vectors_A.to(self.dtype), kinds, rows)
        messages = PlainMessages(pairs, rows)

        def of(member: Painn) -> list[Tensor]:
            with torch.enable_grad():
                variables, mixtures = messages.variables(), []
                if by_species:
                    weights = torch.nn.functional.one_hot(kinds, len(member.elements)).to(self.dtype)
                    mixtures = [weights.requires_grad_()]
                per_atom = _atom_energies(member, kinds, messages, variables, *mixtures) * is_atom
                derivatives = torch.autograd.grad(per_atom.sum(), [*variables, *mixtures])
            by_weight = derivatives[len(variables) :]
            gradient = messages.pair_gradient(*derivatives[: len(variables)])
            # The force of a pair has two terms, from the pair and its reverse.
            forces = (gradient - opposite(gradient, rows.reverse)).sum(dim=1)
            return [per_atom.detach().double() + pairs.core_eV, forces.view(*species.shape, 3), *by_weight]

        energies, forces, *gradients = (list(values) for values in zip(*self._all(of), strict=True))
        by_weights = torch.stack(gradients[0]) if by_species else None
        return self._totals(energies, species, occupied), torch.stack(forces).double(), by_weights

    def _totals(self, per_atom_eV: Sequence[Tensor], species: Tensor, occupied: Tensor) -> Tensor:
        """Energies (M, B) with references, from those of the atoms (B·A,) of each member."""
        total = torch.stack(list(per_atom_eV)) + self._references_eV[:, species.flatten()] * occupied.flatten()
        return total.view(self.n_members, len(species), -1).sum(dim=2)

    def _all(self, of: Callable[[Painn], list[Tensor]]) -> list[list[Tensor]]:
        """Results of all members; on a GPU each on its stream, because one member uses little of a GPU."""
        return side_by_side([partial(of, member) for member in self.members], self._streams)

    def _pairs(self, vectors_A: Tensor, species: Tensor, rows: PairRows) -> PairFunctions:
        """Functions of the pairs, with their derivatives in r."""
        distance = vectors_A.norm(dim=-1)
        radial = self.members[0].radial
        shape = (*distance.shape, -1)
        basis, slope = _with_slope(lambda r: radial(r.flatten()).view(shape), distance)
        core, core_slope = _with_slope(lambda r: self._core_eV(species, r, rows), distance)
        unit = vectors_A / distance[..., None]
        return PairFunctions(distance, unit, basis, slope, core.sum(dim=1).double(), core_slope)

    def _core_eV(self, species: Tensor, distance_A: Tensor, rows: PairRows) -> Tensor:
        """Core repulsion of each pair in one direction (B·A, J)."""
        if self._core is None:
            return 0.0 * distance_A
        charge, reach = (table[species] for table in self._core)
        return pair_energy(charge[:, None], charge[rows.sender], reach[:, None] + reach[rows.sender], distance_A)


def _with_slope(function: Callable[[Tensor], Tensor], distance_A: Tensor) -> tuple[Tensor, Tensor]:
    """f(r) and f′(r) of a function that acts on each distance separately."""
    value, slope = jvp(function, (distance_A,), (torch.ones_like(distance_A),))[:2]
    return value, slope


def _atom_energies(
    member: Painn, species: Tensor, messages: PlainMessages, variables: list[Tensor], mixture: Tensor | None = None
) -> Tensor:
    """Energies (B·A,) of the atoms without references and core repulsion; `mixture` as in `Representation`."""
    scalars, sent = member.first_scalars(species, mixture)
    vectors: Tensor | None = None
    for layer, update in zip(member.interactions, member.updates, strict=True):
        interaction = cast(Interaction, layer)
        sent = interaction.phi(scalars) if sent is None else sent
        delta_s, delta_v = messages.message(interaction, sent, vectors, variables)
        sent = None
        scalars, vectors = update(scalars + delta_s, delta_v if vectors is None else vectors + delta_v)
    energies: Tensor = member.readout(scalars).squeeze(1) * member.scale_eV
    return energies
