"""Training with early stopping of any network: Adam, decay on plateau, EMA, validation."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from redoxmd.config.sections import Moments, Train
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.model.files import choose_device
from redoxmd.model.representation import Representation
from redoxmd.model.training import check_loss
from redoxmd.seeds import derive_rng

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
