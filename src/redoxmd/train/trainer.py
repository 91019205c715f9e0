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
from redoxmd.errors import DataError
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.model.files import choose_device, load_record, member_from_record, member_record, save_record
from redoxmd.model.graph import collate
from redoxmd.model.painn import Painn
from redoxmd.model.representation import Representation
from redoxmd.model.training import check_loss, run_training
from redoxmd.seeds import derive_rng
from redoxmd.train.dataset import Dataset
from redoxmd.train.resident import resident_training
from redoxmd.train.samples import Sample, make_sample, structure_losses
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
        # Samples of which batches are drawn.
        self.drawable = training
        self.optimiser = torch.optim.Adam(self.model.parameters(), lr=learning_rate)
        self.step = 0
        self.best_step = 0
        self.best_loss = float("inf")
        self.best_state = copy.deepcopy(self.averaged.state_dict())
        self.since_best = self.since_decay = 0
        self.history: list[dict[str, float]] = []
        self.interval_start = 0
        # A tensor of the device, which is read at the end of the interval.
        self.interval_loss: float | Tensor = 0.0
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
        self._validate(float(self.interval_loss) / max(self.step - self.interval_start, 1))
        self.interval_start, self.interval_loss = self.step, 0.0

    def gradient_step(self) -> Tensor:
        """Take one optimiser step on the next batch and return its loss, without waiting for it."""
        loss = self._loss(self.model, self.next_batch(), create_graph=True)
        self.descend(loss)
        self.step += 1
        self.average_weights(1 - self.ema_decay(self.step))
        return loss.detach().double()

    def descend(self, loss: Tensor) -> None:
        """Change the weights by one step of the optimiser, with clipped gradients."""
        parameters = list(self.model.parameters())
        self.optimiser.zero_grad()
        # Not by the pair vectors, which are leaves as well.
        loss.backward(inputs=parameters)
        torch.nn.utils.clip_grad_norm_(parameters, GRADIENT_NORM_LIMIT)
        self.optimiser.step()

    def next_batch(self) -> list[SampleType]:
        """Samples of the next gradient step."""
        return [self.drawable[number] for number in self.batch_numbers(self.step)]

    def batch_parts(self) -> list[tuple[int, int]]:
        """Number of samples, and those of them in each batch, for each successive part of `drawable`."""
        return [(len(self.training), min(self.settings.batch_size, len(self.training)))]

    def batch_numbers(self, step: int) -> list[int]:
        """Numbers of the samples of a step, from a seeded permutation per epoch and part of `drawable`."""
        numbers: list[int] = []
        first = 0
        for name, (count, size) in zip(("epoch", "replay"), self.batch_parts(), strict=False):
            epoch, batch = divmod(step, count // size)
            order = derive_rng(self.seed, name, epoch).permutation(count)
            numbers += [first + int(number) for number in order[batch * size : (batch + 1) * size]]
            first += count
        return numbers

    def ema_decay(self, step: int) -> float:
        """Decay of the averaged weights at a step; smaller in the first steps, to forget the random initial weights."""
        return min(self.settings.ema_decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def average_weights(self, weight: float | Tensor) -> None:
        """Move the averaged weights towards the present ones, by this share of the difference."""
        for mean, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
            mean.lerp_(value, weight)

    def _validation_losses(self) -> Tensor:
        """Losses of the averaged weights for each validation structure, or training structure if there is none."""
        chosen = self.validation or self.training
        losses = [self._loss(self.averaged, [sample], create_graph=False).detach() for sample in chosen]
        return torch.stack(losses)

    def _validate(self, training_loss: float) -> None:
        loss = float(np.mean(self._validation_losses().double().tolist()))
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
            "interval": [self.interval_start, float(self.interval_loss)],
            "stopped": self.stopped,
        }

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a state of `state`."""
        self.model.load_state_dict(state["model"])
        self.averaged.load_state_dict(state["averaged"])
        self.best_state = state["best_state"]
        # Whether steps are captured is a property of this training, not of the one that wrote the file.
        capturable = self.optimiser.param_groups[0]["capturable"]
        groups = [{**group, "capturable": capturable} for group in state["optimiser"]["param_groups"]]
        self.optimiser.load_state_dict({**state["optimiser"], "param_groups": groups})
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
        self.drawable = [*training, *self.replay]
        self.resident = resident_training(self)

    def batch_parts(self) -> list[tuple[int, int]]:
        """Frames of the reference and, with `replay`, of the teacher: their number, and that in each batch."""
        sizes = (self.settings.batch_size - self.replayed, self.replayed)
        counts = (len(self.training), len(self.replay))
        return [(count, min(size, count)) for count, size in zip(counts, sizes, strict=True) if size]

    def gradient_step(self) -> Tensor:
        """Take one optimiser step on the next batch and return its loss, without waiting for it."""
        if self.resident is None:
            return super().gradient_step()
        loss = self.resident.gradient_step()
        self.step += 1
        return loss

    def _validation_losses(self) -> Tensor:
        return super()._validation_losses() if self.resident is None else self.resident.validation_losses()

    def load_state(self, state: dict[str, Any]) -> None:
        """Restore a state of `state`, of a training on any device."""
        super().load_state(state)
        if self.resident is not None:
            self.resident.forget()

    def _loss(self, model: Painn, samples: Sequence[Sample], create_graph: bool) -> Tensor:
        graph = collate([sample.graph for sample in samples]).to(self.device, model.dtype)
        target_energy = torch.cat([sample.energy for sample in samples]).to(graph.vectors_A)
        target_forces = torch.cat([sample.forces for sample in samples]).to(graph.vectors_A)
        energy, forces, _ = model(graph, create_graph=create_graph)
        interaction = (energy - model.reference_energy(graph)).to(target_energy.dtype)
        return structure_losses(interaction, forces, target_energy, target_forces, graph.system, self.rho).mean()


def save_member(path: Any, result: TrainingResult[Any], metadata: dict[str, Any]) -> None:
    """Write a trained network with its history and metadata (key `about`), atomically."""
    record = {**member_record(result.member), "history": result.history, "best_step": result.best_step}
    save_record(path, {**record, "stopped": result.stopped, "about": metadata})


def load_member(path: Any) -> tuple[Painn, dict[str, Any]]:
    """A member and its record, read from a file.

    Raises:
        DataError: the file is missing or of another kind.
    """
    record = load_record(path)
    if not {"settings", "state"} <= record.keys():
        raise DataError(f"{path}: no member of an ensemble (member0.pt, …); an ensemble.pt holds all members together")
    return member_from_record({"settings": record["settings"], "state": record["state"]}), record
