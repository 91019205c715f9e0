"""Trainings of both models: from a restart file that is written whole, and not trusted when it cannot be read."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from redoxmd.errors import DataError, TrainingDiverged
from redoxmd.files.records import keep_damaged
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.resumable import run_resumable
from redoxmd.model.files import load_record, save_record

logger = logging.getLogger("redoxmd")


class TrainingLoop(Protocol):
    """A training that continues from its `state` to the same end."""

    step: int

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""

    def run_interval(self, stop: StopRequest) -> None:
        """Steps up to the next validation; back at once when asked to stop."""

    def state(self) -> dict[str, Any]:
        """Everything the rest depends on."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""


def run_training(trainer: TrainingLoop, file: Path) -> None:
    """Train to the end, from the restart file if there is one; it is written after every validation.

    Args:
        trainer: at its start.
        file: the restart file; a damaged one is renamed, and the training starts from the beginning.

    Raises:
        Interrupted: SIGTERM; the restart file is of the step that the training had come to.
    """
    if file.exists():
        try:
            trainer.load_state(load_record(file))
        except DataError as error:
            kept = keep_damaged(file).name
            logger.warning("%s: damaged restart file, kept as %s; training starts again (%s)", file, kept, error)

    def train(stop: StopRequest) -> Iterator[str]:
        yield f"{file.stem} at step {trainer.step}"
        while not trainer.ended:
            trainer.run_interval(stop)
            yield f"{file.stem} at step {trainer.step}"

    run_resumable(train, lambda: save_record(file, trainer.state()), save_every_s=0)


def check_loss(name: str, step: int, training: float, validation: float, remedy: str) -> None:
    """Stop a training whose loss became NaN or infinite.

    Raises:
        TrainingDiverged: names the training, the step and the remedy.
    """
    if not (math.isfinite(training) and math.isfinite(validation)):
        raise TrainingDiverged(
            f"{name}: the loss is {training} (training), {validation} (validation) at step {step}; lower {remedy}"
        )
