"""Export of an ensemble as a metatomic model, which LAMMPS, ASE, i-PI and others evaluate (metatomic-torch 0.1)."""

# No `from __future__ import annotations`: metatomic compares the annotations of `forward` with the types.
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Dict, List, Optional, cast

import torch
from ase.data import chemical_symbols
from metatensor.torch import Labels, TensorBlock, TensorMap
from metatomic.torch import AtomisticModel, ModelCapabilities, ModelMetadata, ModelOutput, NeighborListOptions, System
from torch import Tensor, nn

from redoxmd.files.records import atomic_path
from redoxmd.model.ensemble import Ensemble, load_ensemble
from redoxmd.model.graph import Graph
from redoxmd.model.painn import Painn
from redoxmd.model.repulsion import pair_energy


def atomic_types(ensemble: Ensemble) -> dict[int, str]:
    """Atomic type of each species, Z + 1000·(q mod 100) with its oxidation number q, and its name: 3023 for V3+."""
    if ensemble.states is None:
        return {number: chemical_symbols[number] for number in ensemble.elements}
    return {
        number + 1000 * (state % 100): f"{chemical_symbols[number]} with oxidation number {state}"
        for number, state in zip(ensemble.elements, ensemble.states, strict=True)
    }


class AtomicEnergies(nn.Module):
    """Energies of the atoms (n, M) in eV by each member, with the references of the elements and the core repulsion.

    A network runs in the precision of its weights; pair vectors and energies are in double precision, as in `Ensemble`.
    It is traced, not scripted, so that the code of the network stays the one of the training.
    """

    charges: Tensor
    reach_A: Tensor

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        members = deepcopy(ensemble.members)
        core = members[0].core
        # The constants of `CoreRepulsion` would stay on one device in a trace; buffers move.
        self.repels = core is not None
        if core is not None:
            self.register_buffer("charges", torch.from_numpy(core.charges))
            self.register_buffer("reach_A", torch.from_numpy(core.reach_A))
        for member in members:
            member.core = None
        self.members = nn.ModuleList(members)

    def forward(self, species: Tensor, atoms: Tensor, receiver: Tensor, sender: Tensor, vectors_A: Tensor) -> Tensor:
        """Energies (n, M); every atom is a structure of its own in the sums, so that they are not joined."""
        members = [cast(Painn, member) for member in self.members]
        vectors = vectors_A.to(members[0].dtype)
        graph = Graph(species, atoms, receiver, sender, vectors, torch.ones_like(species))
        pairs = members[0].pair_tensors(graph)
        energies = torch.stack(
            [member.interaction_energy(graph, pairs).double() + member.reference_eV[species] for member in members],
            dim=1,
        )
        if not self.repels:
            return energies
        first, second = species[receiver], species[sender]
        reach_A, distance_A = self.reach_A[first] + self.reach_A[second], vectors_A.norm(dim=1)
        core = pair_energy(self.charges[first], self.charges[second], reach_A, distance_A)
        return energies.index_add(0, receiver, core[:, None].expand(-1, energies.shape[1]))


class EnsembleModel(nn.Module):
    """Model of metatomic: the outputs energy, energy_ensemble (of the M members) and, if M > 1, energy_uncertainty.

    Energies are in eV, per system or per atom. The uncertainty is the standard deviation between members (ddof = 1) of
    the energy of a system, `Prediction.energy_spread_eV`.
    """

    types: Tensor

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.register_buffer("types", torch.tensor(list(atomic_types(ensemble)), dtype=torch.int32))
        self.cutoff_A = ensemble.cutoff_A
        index, vectors_A = torch.arange(2), torch.eye(3, dtype=torch.float64)[:2]
        example = (torch.zeros_like(index), index, index, index.flip(0), vectors_A)
        with warnings.catch_warnings():
            # The count of vectors per atom decides which sums there are; it is fixed for each layer.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            self.atomic_energies = torch.jit.trace(AtomicEnergies(ensemble), example)

    def requested_neighbor_lists(self) -> List[NeighborListOptions]:
        """All pairs within the cutoff, in both directions."""
        return [NeighborListOptions(cutoff=self.cutoff_A, full_list=True, strict=True)]

    def forward(
        self,
        systems: List[System],
        outputs: Dict[str, ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        """Outputs as metatomic defines them; of the selected atoms, which other atoms surround."""
        by_atom: List[Tensor] = []
        samples: List[Tensor] = []
        for number, system in enumerate(systems):
            pairs = system.get_neighbor_list(self.requested_neighbor_lists()[0])
            species = (system.types[:, None] == self.types[None, :]).int().argmax(dim=1)
            atoms = torch.arange(len(species), device=species.device)
            energies = self.atomic_energies(
                species,
                atoms,
                pairs.samples.column("first_atom").long(),
                pairs.samples.column("second_atom").long(),
                pairs.values[:, :, 0],
            )
            if selected_atoms is not None:
                atoms = selected_atoms.column("atom")[selected_atoms.column("system") == number].long()
            by_atom.append(energies[atoms])
            samples.append(torch.stack([torch.full_like(atoms, number), atoms], dim=1))
        results: Dict[str, TensorMap] = {}
        for name, output in outputs.items():
            if output.sample_kind == "atom":
                values, labels = torch.cat(by_atom), Labels(["system", "atom"], torch.cat(samples).int())
            else:
                values = torch.stack([energies.sum(dim=0) for energies in by_atom])
                labels = Labels(["system"], torch.arange(len(systems), device=values.device)[:, None].int())
            if name == "energy":
                values = values.mean(dim=1, keepdim=True)
            elif name == "energy_uncertainty":
                values = values.std(dim=1, keepdim=True)
            properties = Labels(["energy"], torch.arange(values.shape[1], device=values.device)[:, None].int())
            components: List[Labels] = []
            block = TensorBlock(values, labels, components, properties)
            results[name] = TensorMap(Labels(["_"], torch.zeros_like(properties.values[:1])), [block])
        return results


def export_metatomic(source: Path, to: Path) -> list[str]:
    """Write the ensemble of a file as a metatomic model.

    Returns:
        A line for each species: its atomic type in the model.

    Raises:
        DataError: as `load_ensemble`.
    """
    ensemble = load_ensemble(source, "cpu")
    types = atomic_types(ensemble)
    lines = [f"atomic type {number} = {name}" for number, name in types.items()]
    outputs = {"energy": ModelOutput(unit="eV", sample_kind="atom")}
    outputs["energy_ensemble"] = ModelOutput(unit="eV", sample_kind="atom", description="energy by each member")
    if len(ensemble.members) > 1:
        spread = "standard deviation of the energy between members (ddof = 1), not calibrated"
        outputs["energy_uncertainty"] = ModelOutput(unit="eV", sample_kind="system", description=spread)
    capabilities = ModelCapabilities(
        outputs=outputs,
        atomic_types=list(types),
        interaction_range=ensemble.cutoff_A * max(member.settings["layers"] for member in ensemble.members),
        length_unit="angstrom",
        supported_devices=["cuda", "cpu"],
        dtype="float64",
    )
    metadata = ModelMetadata(name=f"redoxmd ensemble {ensemble.identity}", description="; ".join(lines))
    with atomic_path(to) as temporary:
        AtomisticModel(EnsembleModel(ensemble).eval(), metadata, capabilities).save(temporary)
    return lines
