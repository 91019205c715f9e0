"""Energies and forces of an ensemble for a batch of systems over rows of neighbours: static shapes throughout."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor

from redoxmd.device.pairs import PairRows, opposite
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.painn import Painn
from redoxmd.model.representation import Interaction
from redoxmd.model.repulsion import pair_energy


class Evaluated(NamedTuple):
    """What M members say of B systems of A places.

    Attributes:
        energy_eV: (B,) mean over members, references included.
        member_forces_eV_A: (M, B, A, 3), zero at empty places.
        vectors_A: (B·A, J, 3) pair vectors, double precision.
    """

    energy_eV: Tensor
    member_forces_eV_A: Tensor
    vectors_A: Tensor


class BatchEvaluation:
    """The potentials of an ensemble on rows of neighbours; the numbers of its plain path, summed in another order.

    A filter is linear in the radial basis, so the sum over an atom's neighbours is taken first, for each basis
    function, as a small matrix product; filter weights come after. Everything is per atom or per row: systems of a
    batch do not touch.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.members = ensemble.members
        first = self.members[0]
        self.device, self.dtype = first.device, first.dtype
        self._references_eV = torch.stack([member.reference_eV for member in self.members])
        self._core: tuple[Tensor, Tensor] | None = None
        if first.core is not None:
            self._core = (
                torch.from_numpy(first.core.charges).to(self.device, self.dtype),
                torch.from_numpy(first.core.reach_A).to(self.device, self.dtype),
            )

    def __call__(self, positions_A: Tensor, species: Tensor, present: Tensor, rows: PairRows) -> Evaluated:
        """Evaluate at positions (B, A, 3) in double precision; species (B·A,), present (B, A)."""
        double_vectors = rows.vectors_A(positions_A)
        there = present.flatten()
        with torch.enable_grad():
            vectors = double_vectors.to(self.dtype).detach().requires_grad_()
            distance = vectors.norm(dim=-1)
            basis, directed = _pair_sums(self.members[0], vectors, distance)
            core_eV = self._core_eV(species, distance, rows)
            energies, forces = [], []
            for number, member in enumerate(self.members):
                per_atom = _atom_energies(member, species, basis, directed, rows) * there
                if core_eV is not None:
                    per_atom = per_atom + core_eV
                last = number == len(self.members) - 1
                (gradient,) = torch.autograd.grad(per_atom.sum(), vectors, retain_graph=not last)
                # Of a pair both ways: a place and its reverse.
                forces.append((gradient - opposite(gradient, rows.reverse)).sum(dim=1).view(positions_A.shape))
                energies.append(per_atom.detach().double())
        total = torch.stack(energies) + self._references_eV[:, species] * there
        energy = total.mean(dim=0).view(present.shape).sum(dim=1)
        return Evaluated(energy, torch.stack(forces).double(), double_vectors)

    def _core_eV(self, species: Tensor, distance_A: Tensor, rows: PairRows) -> Tensor | None:
        if self._core is None:
            return None
        charge, reach = (table[species] for table in self._core)
        energy = pair_energy(charge[:, None], charge[rows.sender], reach[:, None] + reach[rows.sender], distance_A)
        return energy.sum(dim=1)


def _pair_sums(member: Painn, vectors_A: Tensor, distance_A: Tensor) -> tuple[Tensor, Tensor]:
    """R_k(r) as (B·A, K, J) and R_k(r)·r̂ as (B·A, 3K, J): matrices that sum over the neighbours of an atom."""
    rows, width = distance_A.shape
    basis = member.radial(distance_A.flatten()).view(rows, width, -1)
    unit = vectors_A / distance_A[..., None]
    directed = (unit[..., None] * basis[:, :, None]).flatten(2)
    return basis.transpose(1, 2), directed.transpose(1, 2)


def _atom_energies(member: Painn, species: Tensor, basis: Tensor, directed: Tensor, rows: PairRows) -> Tensor:
    """Energies (B·A,) of the atoms without references and core repulsion."""
    scalars: Tensor = member.embedding(species)
    vectors: Tensor | None = None
    for interaction, update in zip(member.interactions, member.updates, strict=True):
        delta_s, delta_v = _message(cast(Interaction, interaction), scalars, vectors, basis, directed, rows)
        scalars, vectors = update(scalars + delta_s, delta_v if vectors is None else vectors + delta_v)
    energies: Tensor = member.readout(scalars).squeeze(1) * member.scale_eV
    return energies


def _message(
    interaction: Interaction, scalars: Tensor, vectors: Tensor | None, basis: Tensor, directed: Tensor, rows: PairRows
) -> tuple[Tensor, Tensor]:
    """As `Interaction.forward`."""
    width = interaction.features
    phi_s, phi_v, phi_r = interaction.phi(scalars).split(width, dim=1)
    w_s, w_v, w_r = interaction.filters.split(width, dim=1)
    carried, weights = phi_s, w_s
    if vectors is not None:
        carried = torch.cat([phi_s, (phi_v[:, None] * vectors).flatten(1)], dim=1)
        weights = torch.cat([w_s, w_v, w_v, w_v], dim=1)
    sums = ((basis @ rows.gather(carried)) * weights).sum(dim=1).view(len(scalars), -1, width)
    along = directed @ rows.gather(phi_r)
    delta_v = (along.view(len(scalars), 3, -1, width) * w_r).sum(dim=2)
    return sums[:, 0], delta_v if vectors is None else delta_v + sums[:, 1:]
