"""On-site moments of the redox atoms from the geometry alone, by a network that does not know oxidation states."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from torch import Tensor, nn

from redoxmd.config.sections import Moments
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import DataError
from redoxmd.model.files import load_record
from redoxmd.model.graph import Graph, build_graph, collate
from redoxmd.model.representation import Representation
from redoxmd.model.training import run_training
from redoxmd.seeds import derive_seed
from redoxmd.train.dataset import Dataset
from redoxmd.train.early_stopping import EarlyStopping, TrainingResult

logger = logging.getLogger("redoxmd")

# Standard deviation of the moments of an element that is in one state in all training frames.
SMALLEST_SCALE_MUB = 0.1


class MomentNetwork(Representation):
    """|on-site moment| of each redox atom in μB, m̄_element + σ_element·h(s_i).

    The species are the elements: the network never receives oxidation states, so that its moments do not repeat them.

    Args:
        elements: sorted atomic numbers.
        redox: those of the redox elements.
        features, layers, cutoff_A, radial_functions: as in `Representation`.
    """

    mean_muB: Tensor
    scale_muB: Tensor

    def __init__(
        self,
        elements: Sequence[int],
        redox: Sequence[int],
        features: int,
        layers: int,
        cutoff_A: float,
        radial_functions: int,
    ) -> None:
        super().__init__(elements, features, layers, cutoff_A, radial_functions)
        self.settings["redox"] = list(redox)
        self.readout = nn.Sequential(nn.Linear(features, features // 2), nn.SiLU(), nn.Linear(features // 2, 1))
        self.register_buffer("mean_muB", torch.zeros(len(elements)))
        self.register_buffer("scale_muB", torch.zeros(len(elements)))

    def forward(self, graph: Graph) -> Tensor:
        """|Moments| (n,) in μB; zero for all atoms but the redox atoms."""
        scalars, _ = self.node_states(graph, self.pair_tensors(graph))[-1]
        return self.mean_muB[graph.species] + self.scale_muB[graph.species] * self.readout(scalars).squeeze(1)

    @torch.no_grad()
    def predict(self, atoms: Atoms) -> np.ndarray:
        """|Moments| (n,) of a structure in μB; an array `oxidation` of the atoms is not read.

        Raises:
            ValueError: the network was not trained on an element.
        """
        graph = build_graph(atoms, self.elements, self.cutoff_A).to(self.device, self.dtype)
        moments: np.ndarray = self(graph).cpu().double().numpy()
        return moments


@dataclass(frozen=True)
class MomentSample:
    """A structure ready for the network: graph, |moments| (n,) in μB, and whether each atom (n,) is a redox atom."""

    graph: Graph
    moments_muB: Tensor
    redox: Tensor


class MomentTrainer(EarlyStopping[MomentNetwork, MomentSample]):
    """Training of a moment network on the mean squared error of |moment| over redox atoms, in μB²."""

    remedy = "electrons.moments.learning_rate, or check the moments of the labels"

    def _loss(self, model: MomentNetwork, samples: Sequence[MomentSample], create_graph: bool) -> Tensor:
        graph = collate([sample.graph for sample in samples]).to(self.device, model.dtype)
        redox = torch.cat([sample.redox for sample in samples]).to(self.device)
        target = torch.cat([sample.moments_muB for sample in samples]).to(graph.vectors_A)
        with torch.set_grad_enabled(create_graph):
            return ((model(graph)[redox] - target[redox]) ** 2).mean()


def train_moments(
    dataset: Dataset, levels: OxidationLevels, settings: Moments, seed: int, checkpoint: Any, name: str = "moments"
) -> TrainingResult[MomentNetwork]:
    """Train a moment network on the training frames that have moments, with early stopping on the validation frames.

    Args:
        dataset: frames with their sets; frames without moments are not used.
        levels: of the redox elements; only the names of the elements are used.
        settings: section `electrons.moments`.
        seed: determines weights and batches; the same seed gives the same weights on a CPU.
        checkpoint: `redoxmd.jobs.checkpoint.Checkpoint`; an interrupted training resumes from it.
        name: for the log.

    Raises:
        DataError: no training frame has moments of a redox atom.
        TrainingDiverged: the loss became NaN or infinite.
    """
    training, validation = (
        [frame for frame in dataset.subset(subset) if has_moments(frame, levels)] for subset in ("train", "validation")
    )
    if not training:
        raise DataError("no training frame has moments of a redox atom; set electrons.moments.enabled: false")
    network = _initial_network(training, dataset.frames, levels, settings, seed)
    samples, stopping = ([_sample(frame, network) for frame in frames] for frames in (training, validation))
    rate, steps = settings.learning_rate, settings.max_steps
    trainer = MomentTrainer(network, samples, stopping, settings, rate, steps, seed, name)
    run_training(trainer, checkpoint.path("moments.pt"))
    return trainer.result()


def load_moments(path: str | Path) -> MomentNetwork:
    """The network of a file that `redoxmd.train.trainer.save_member` wrote.

    Raises:
        DataError: the file is missing, damaged, or of another model.
    """
    record = load_record(path)
    if "redox" not in record.get("settings", {}):
        raise DataError(f"{path}: not a moment network; delete it and run the rule moments again")
    network = MomentNetwork(**record["settings"])
    network.load_state_dict(record["state"])
    return network


def has_moments(frame: Atoms, levels: OxidationLevels) -> bool:
    """Whether a labelled frame has moments and a redox atom."""
    moments = None if frame.calc is None else frame.calc.results.get("magmoms")
    return moments is not None and levels.redox_atoms(list(frame.symbols)).size > 0


def _initial_network(
    training: Sequence[Atoms], frames: Sequence[Atoms], levels: OxidationLevels, settings: Moments, seed: int
) -> MomentNetwork:
    """The network before training, with mean and standard deviation of the training moments of each redox element."""
    moments: dict[int, list[float]] = {}
    for frame in training:
        for atom in levels.redox_atoms(list(frame.symbols)):
            moments.setdefault(int(frame.numbers[atom]), []).append(abs(frame.calc.results["magmoms"][atom]))
    elements = sorted({int(z) for frame in frames for z in frame.numbers})
    torch.manual_seed(derive_seed(seed, "weights"))
    size = (settings.features, settings.layers, settings.cutoff_A, settings.radial_functions)
    network = MomentNetwork(elements, sorted(moments), *size)
    for element, values in moments.items():
        network.mean_muB[elements.index(element)] = float(np.mean(values))
        network.scale_muB[elements.index(element)] = max(float(np.std(values)), SMALLEST_SCALE_MUB)
    return network


def _sample(frame: Atoms, network: MomentNetwork) -> MomentSample:
    graph = build_graph(frame, network.elements, network.cutoff_A).to("cpu", torch.float32)
    moments = np.abs(np.asarray(frame.calc.results["magmoms"], dtype=float))
    return MomentSample(
        graph, torch.from_numpy(moments), torch.from_numpy(np.isin(frame.numbers, network.settings["redox"]))
    )
