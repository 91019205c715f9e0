"""The network from which the training of a member starts: random weights, the previous generation, or a teacher's."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
from ase import Atoms
from ase.data import chemical_symbols
from torch import Tensor

from redoxmd.config.sections import Member, Train
from redoxmd.errors import DataError
from redoxmd.model.files import member_from_record, member_record
from redoxmd.model.graph import build_graph
from redoxmd.model.painn import Painn
from redoxmd.seeds import derive_seed
from redoxmd.train.dataset import Dataset, find_species, fit_element_energies, force_scale

logger = logging.getLogger("redoxmd")


def initial_model(
    dataset: Dataset,
    member: Member,
    settings: Train,
    seed: int,
    previous: Painn | None,
    pretrained: Painn | None = None,
    replay: Sequence[Atoms] = (),
) -> Painn:
    """The network at the start of a training; arguments as for `redoxmd.train.trainer.train_member`.

    Raises:
        DataError: `pretrained` lacks an element or state of the frames.
    """
    training = dataset.subset("train")
    # A blind potential knows the elements of all sets; a state that no training frame has cannot be learned.
    known = training if settings.states == "aware" else dataset.frames
    elements, states = find_species([*known, *replay], settings.states)
    torch.manual_seed(derive_seed(seed, "weights"))
    model = Painn(
        elements,
        member.features,
        member.layers,
        settings.cutoff_A,
        settings.radial_functions,
        settings.core_repulsion,
        states,
    )
    lacking = _differences(previous, model) if previous is not None and settings.warm_start else ""
    if previous is not None and settings.warm_start and not lacking:
        # The element references are copied with the weights, which were fitted to energies above them.
        return member_from_record(member_record(previous))
    if pretrained is not None:
        if differences := _differences(pretrained, model):
            raise DataError(
                f"pretrain: the member trained on labels of the teacher lacks {differences}; add structures that have "
                "it to pretrain.starts, or take other pretrain.members"
            )
        model = member_from_record(member_record(pretrained))
        model.reference_eV.copy_(reference_energies(model, training))
        return model
    if lacking:
        logger.warning("the previous member lacks %s: the training starts from random weights", lacking)
    model.reference_eV.copy_(torch.from_numpy(fit_element_energies(training, elements)))
    model.scale_eV.fill_(force_scale(training))
    return model


def _differences(start: Painn, model: Painn) -> str:
    """Species of a model that a network lacks, or its other size; "" if its weights are a start for the model.

    A network may have more species: the teacher's frames can have states that the first reference data lack.
    """
    lacking = sorted(set(_species(model)) - set(_species(start)))
    if lacking:
        return ", ".join(
            chemical_symbols[z] + ("" if state is None else f" with oxidation {state}") for z, state in lacking
        )
    any_species = {"elements": None, "states": None}
    return "" if start.settings | any_species == model.settings | any_species else "the size of this one"


def _species(model: Painn) -> list[tuple[int, int | None]]:
    states: list[int] | list[None] = [None] * len(model.elements) if model.states is None else model.states
    return list(zip(model.elements, states, strict=True))


@torch.no_grad()
def reference_energies(model: Painn, frames: Sequence[Atoms]) -> Tensor:
    """Reference energies (eV) of the species of a network, fitted to energies of frames above its interaction energies.

    Constants of the elements in which two levels of theory differ are in them, and in nothing else.
    """
    graphs = [build_graph(frame, model.elements, model.cutoff_A, states=model.states) for frame in frames]
    interaction_eV = [float(model.interaction_energy(graph.to("cpu", model.dtype))) for graph in graphs]
    return torch.from_numpy(fit_element_energies(frames, model.elements, interaction_eV))
