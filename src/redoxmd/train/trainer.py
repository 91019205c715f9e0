"""Training of one ensemble member: loss, optimiser, early stopping, exact resume."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from ase import Atoms
from torch import Tensor

from redoxmd.config.sections import Member, Moments, Train
from redoxmd.config.sections.train import replayed_frames
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.model.files import choose_device, load_record, member_from_record, member_record, save_record
from redoxmd.model.graph import Graph, build_graph, collate
from redoxmd.model.painn import Painn
from redoxmd.model.representation import Representation
from redoxmd.model.training import check_loss, run_training
from redoxmd.seeds import derive_rng
from redoxmd.train.dataset import Dataset
from redoxmd.train.start import initial_model, reference_energies

logger = logging.getLogger("redoxmd")

Network = TypeVar("Network", bound=Representation)
SampleType = TypeVar("SampleType")

GRADIENT_NORM_LIMIT = 100.0
SMALLEST_LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class TrainingResult(Generic[Network]):
    """A trained network and the course of its training.

    Attributes:
        member: the network, with averaged weights when EMA is on.
        history: one row per validation: step, learning rate, training and validation loss.
        best_step: gradient step of the weights kept.
        stopped: why training ended: patience, max_steps, learning_rate or unchanged_data.
    """

    member: Network
    history: list[dict[str, float]]
    best_step: int
    stopped: str


def loss_terms(
    energy: Tensor, forces: Tensor, target_energy: Tensor, target_forces: Tensor, system: Tensor, rho: float
) -> Tensor:
    """The paper's loss (eq. 1), averaged over the structures of a batch.

    ℓ = (1 − ρ)(E − Ê)² + ρ (1/n) Σ_i |F_i − F̂_i|², with E the total energy of a structure in eV and n its atoms.

    Args:
        energy, target_energy: (S,) eV.
        forces, target_forces: (n, 3) eV/Å.
        system: (n,) structure of each atom.
        rho: weight of the forces.
    """
    squared = ((forces - target_forces) ** 2).sum(dim=1)
    zeros = squared.new_zeros(len(energy))
    atoms = zeros.index_add(0, system, torch.ones_like(squared))
    force_term = zeros.index_add(0, system, squared) / atoms
    return ((1 - rho) * (energy - target_energy) ** 2 + rho * force_term).mean()


def train_member(
    dataset: Dataset,
    member: Member,
    settings: Train,
    generation: int,
    seed: int,
    previous: Painn | None,
    checkpoint: Any,
    name: str = "member",
    pretrained: Painn | None = None,
    replay: Sequence[Atoms] = (),
) -> TrainingResult[Painn]:
    """Train one member by Adam with decay on plateau, EMA and early stopping on the validation loss.

    Args:
        dataset: frames with their sets.
        member: width and depth.
        settings: section `train`.
        generation: generation 0 uses the initial ρ and step limit, later ones those of active learning.
        seed: of this member; it determines weights and batches. The same seed gives the same weights on a CPU.
        previous: the member of the previous generation, whose weights are the start if `settings.warm_start`.
        checkpoint: `redoxmd.jobs.checkpoint.Checkpoint`; a training that was asked to stop continues from that step, a
            killed one from its last validation.
        name: for the log.
        pretrained: a member trained on labels of a teacher, whose weights are the start if `previous` is not. The
            reference energies are fitted to the training frames, so that those of the teacher have no effect.
        replay: frames of the teacher, a share `settings.replay` of each batch, with reference energies of their own.

    Raises:
        TrainingDiverged: the loss became NaN or infinite.
        DataError: `pretrained` lacks an element or state of the training frames.
    """
    trainer = Trainer(dataset, member, settings, generation, seed, previous, name, pretrained, replay)
    run_training(trainer, checkpoint.path("training.pt"))
    return trainer.result()


@dataclass(frozen=True)
class Sample:
    """A labelled structure ready for the network: graph, interaction energy (eV) and forces (n, 3) (eV/Å)."""

    graph: Graph
    energy: Tensor
    forces: Tensor


def make_sample(frame: Atoms, model: Painn, reference_eV: Tensor | None = None) -> Sample:
    """Graph and targets of a labelled frame; the target energy is the total energy minus the reference energies.

    These are the ones of the model, or given for each of its species.
    """
    graph = build_graph(frame, model.elements, model.cutoff_A, states=model.states)
    reference_eV = model.reference_eV if reference_eV is None else reference_eV
    reference = reference_eV.detach().cpu()[graph.species].sum()
    energy = torch.tensor([frame.calc.results["energy"]], dtype=torch.float64) - reference
    forces = torch.from_numpy(np.array(frame.calc.results["forces"], dtype=float))
    return Sample(graph.to("cpu", torch.float32), energy, forces)


class EarlyStopping(ABC, Generic[Network, SampleType]):
    """Training by Adam with decay on plateau, EMA and early stopping: its state, and the steps that advance it.

    A subclass gives the loss of samples; `remedy` is the setting to lower if the loss becomes NaN.
    """

    remedy: ClassVar[str]

    def __init__(
        self,
        model: Network,
        training: Sequence[SampleType],
        validation: Sequence[SampleType],
        settings: Train | Moments,
        learning_rate: float,
        max_steps: int,
        seed: int,
        name: str,
    ) -> None:
        self.settings = settings
        self.seed = seed
        self.name = name
        self.max_steps = max_steps
        self.device = choose_device(settings.device)
        self.model = model.to(self.device)
        self.averaged = copy.deepcopy(self.model).requires_grad_(False)
        self.training, self.validation = training, validation
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self.step = 0
        self.best_step = 0
        self.best_loss = float("inf")
        self.best_state = copy.deepcopy(self.averaged.state_dict())
        self.since_best = self.since_decay = 0
        self.history: list[dict[str, float]] = []
        self.interval_start, self.interval_loss = 0, 0.0
        self.stopped = ""
        self.progress = Progress(name, self.max_steps)

    @abstractmethod
    def _loss(self, model: Network, samples: Sequence[SampleType], create_graph: bool) -> Tensor:
        """Loss of samples; with `create_graph` it is differentiable by the weights."""

    @property
    def ended(self) -> bool:
        """Whether a stopping criterion was met."""
        return bool(self.stopped)

    def run_interval(self, stop: StopRequest | None = None) -> None:
        """Take gradient steps to the next validation, then validate and decide; return at once if asked to stop."""
        until = min(self.interval_start + self.settings.validate_every, self.max_steps)
        while self.step < until:
            if stop is not None and stop.asked:
                return
            self.interval_loss += self.gradient_step()
            self.progress.update(self.step, f"validation loss {self.best_loss:.3g}")
        self._validate(self.interval_loss / max(self.step - self.interval_start, 1))
        self.interval_start, self.interval_loss = self.step, 0.0

    def gradient_step(self) -> float:
        """Take one optimiser step on the next batch and return its loss."""
        loss = self._loss(self.model, self.next_batch(), create_graph=True)
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM_LIMIT)
        self.optimiser.step()
        self.step += 1
        self._average()
        return float(loss.detach())

    def next_batch(self) -> list[SampleType]:
        """Samples of the next gradient step."""
        return self._draw(self.training, self.settings.batch_size, "epoch")

    def _draw(self, samples: Sequence[SampleType], size: int, name: str) -> list[SampleType]:
        """Samples of the next step, from a seeded permutation per epoch; they depend only on seed, name and step."""
        size = min(size, len(samples))
        epoch, batch = divmod(self.step, len(samples) // size)
        order = derive_rng(self.seed, name, epoch).permutation(len(samples))
        return [samples[index] for index in order[batch * size : (batch + 1) * size]]

    def _average(self) -> None:
        # The decay is smaller in the first steps, so that the average forgets the random initial weights.
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)

    def _validate(self, training_loss: float) -> None:
        chosen = self.validation or self.training
        losses = [float(self._loss(self.averaged, [sample], create_graph=False).detach()) for sample in chosen]
        loss = float(np.mean(losses))
        check_loss(self.name, self.step, training_loss, loss, self.remedy)
        rate = self.optimiser.param_groups[0]["lr"]
        self.history.append(
            {"step": self.step, "learning_rate": rate, "training_loss": training_loss, "validation_loss": loss}
        )
        if loss < self.best_loss:
            self.best_loss, self.best_step = loss, self.step
            self.best_state = copy.deepcopy(self.averaged.state_dict())
            self.since_best = self.since_decay = 0
        else:
            self.since_best += 1
            self.since_decay += 1
        if self.since_decay >= self.settings.decay_patience:
            self.since_decay = 0
            for group in self.optimiser.param_groups:
                group["lr"] = rate * self.settings.decay_factor
        if self.step >= self.max_steps:
            self.stopped = "max_steps"
        elif self.since_best >= self.settings.patience:
            self.stopped = "patience"
        elif self.optimiser.param_groups[0]["lr"] < SMALLEST_LEARNING_RATE:
            self.stopped = "learning_rate"

    def result(self) -> TrainingResult[Network]:
        """The network with the best averaged weights, and the course of its training."""
        self.averaged.load_state_dict(self.best_state)
        logger.info("%s: %d steps, best at %d, ended by %s", self.name, self.step, self.best_step, self.stopped)
        return TrainingResult(self.averaged.cpu(), self.history, self.best_step, self.stopped)

    def state(self) -> dict[str, Any]:
        """State from which the training continues exactly."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged.state_dict(),
            "best_state": self.best_state,
            "optimiser": self.optimiser.state_dict(),
            "numbers": [self.step, self.best_step, self.best_loss, self.since_best, self.since_decay],
            "history": self.history,
            "interval": [self.interval_start, self.interval_loss],
            "stopped": self.stopped,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a state of `state`."""
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.best_state = state["best_state"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best_step, self.best_loss, self.since_best, self.since_decay = state["numbers"]
        self.history = state["history"]
        self.interval_start, self.interval_loss = state["interval"]
        self.stopped = state["stopped"]
        self.progress = Progress(self.name, self.max_steps, done=self.step)


class Trainer(EarlyStopping[Painn, Sample]):
    """Training of a potential on energies and forces."""

    remedy = "train.learning_rate, or look for wrong labels (docs/silent-errors.md)"

    def __init__(
        self,
        dataset: Dataset,
        member: Member,
        settings: Train,
        generation: int,
        seed: int,
        previous: Painn | None,
        name: str,
        pretrained: Painn | None = None,
        replay: Sequence[Atoms] = (),
    ) -> None:
        self.rho = settings.rho_initial if generation == 0 else settings.rho_active
        max_steps = settings.max_steps if generation == 0 else settings.max_steps_active
        rate = settings.learning_rate if generation == 0 else settings.learning_rate_active
        model = initial_model(dataset, member, settings, seed, previous, pretrained, replay)
        self.replayed = replayed_frames(settings.replay, settings.batch_size) if replay else 0
        references = reference_energies(model, replay) if replay else None
        self.replay = [make_sample(frame, model, references) for frame in replay]
        training, validation = (
            [make_sample(frame, model) for frame in dataset.subset(subset)] for subset in ("train", "validation")
        )
        super().__init__(model, training, validation, settings, rate, max_steps, seed, name)

    def next_batch(self) -> list[Sample]:
        """Samples of the next gradient step; of `batch_size`, the share `replay` are labels of the teacher."""
        batch = self._draw(self.training, self.settings.batch_size - self.replayed, "epoch")
        return batch + (self._draw(self.replay, self.replayed, "replay") if self.replayed else [])

    def _loss(self, model: Painn, samples: Sequence[Sample], create_graph: bool) -> Tensor:
        graph = collate([sample.graph for sample in samples]).to(self.device, model.dtype)
        target_energy = torch.cat([sample.energy for sample in samples]).to(graph.vectors_A)
        target_forces = torch.cat([sample.forces for sample in samples]).to(graph.vectors_A)
        energy, forces, _ = model(graph, create_graph=create_graph)
        interaction = (energy - model.reference_energy(graph)).to(target_energy.dtype)
        return loss_terms(interaction, forces, target_energy, target_forces, graph.system, self.rho)


def save_member(path: Any, result: TrainingResult[Any], metadata: dict[str, Any]) -> None:
    """Write a trained network with its history and metadata (key `about`), atomically."""
    record = {**member_record(result.member), "history": result.history, "best_step": result.best_step}
    save_record(path, {**record, "stopped": result.stopped, "about": metadata})


def load_member(path: Any) -> tuple[Painn, dict[str, Any]]:
    """A member and its record, read from a file."""
    record = load_record(path)
    return member_from_record({"settings": record["settings"], "state": record["state"]}), record
