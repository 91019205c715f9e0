"""A training in pieces: from a restart file that is written whole, and not trusted when it cannot be read."""

from __future__ import annotations

import logging
import math
from typing import Any, Protocol

from redoxmd.errors import DataError, TrainingDiverged
from redoxmd.files.records import keep_damaged
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest, stop_on_sigterm
from redoxmd.model.files import load_record, save_record

logger = logging.getLogger("redoxmd")


class Restartable(Protocol):
    """A training that goes on from its `state` to the same end."""

    step: int

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""

    def run_interval(self, stop: StopRequest) -> None:
        """Steps up to the next validation; back at once when asked to stop."""

    def state(self) -> dict[str, Any]:
        """Everything the rest depends on."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""


def run(trainer: Restartable, checkpoint: Checkpoint, name: str) -> None:
    """Train to the end, from the restart file of that name if there is one, which is written after each interval.

    Raises:
        Interrupted: the job was asked to stop; the restart file is of the step it had come to.
    """
    path = checkpoint.path(f"{name}.pt")
    if path.exists():
        try:
            trainer.load_state(load_record(path))
        except DataError as error:
            kept = keep_damaged(path).name
            logger.warning("%s: damaged restart file, kept as %s; training starts anew (%s)", path, kept, error)
    with stop_on_sigterm() as stop:
        while not trainer.ended:
            trainer.run_interval(stop)
            save_record(path, trainer.state())
            stop.check(f"{name} at step {trainer.step}")


def check_loss(name: str, step: int, training: float, validation: float, remedy: str) -> None:
    """Stop a training that learns nothing any more.

    Raises:
        TrainingDiverged: a loss is no number.
    """
    if not (math.isfinite(training) and math.isfinite(validation)):
        raise TrainingDiverged(
            f"{name}: the loss is {training} (training), {validation} (validation) at step {step}; lower {remedy}"
        )
