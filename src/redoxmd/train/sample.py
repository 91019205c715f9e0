"""Labelled structures as input and targets of a network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from redoxmd.model.graph import Graph, build_graph
from redoxmd.model.painn import Painn


@dataclass(frozen=True)
class Sample:
    """A labelled structure ready for the network: graph, interaction energy (eV) and forces (n, 3) (eV/Å)."""

    graph: Graph
    energy: Tensor
    forces: Tensor


def make_sample(frame: Atoms, model: Painn) -> Sample:
    """Graph and targets of a labelled frame; the target energy is the total energy minus the element references."""
    graph = build_graph(frame, model.elements, model.cutoff_A)
    reference = model.reference_eV.detach().cpu()[graph.species].sum()
    energy = torch.tensor([frame.calc.results["energy"]], dtype=torch.float64) - reference
    forces = torch.from_numpy(np.array(frame.calc.results["forces"], dtype=float))
    return Sample(graph.to("cpu", torch.float32), energy, forces)
