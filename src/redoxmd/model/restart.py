"""The restart file of a training: written whole, and not trusted when it cannot be read."""

from __future__ import annotations

import logging
from typing import Any, Protocol

from redoxmd.checkpoint import Checkpoint
from redoxmd.errors import DataError
from redoxmd.interrupt import StopRequest
from redoxmd.model.ensemble import load_record, save_record

logger = logging.getLogger("redoxmd")


class Restartable(Protocol):
    """A training that goes on from its `state` to the same end."""

    step: int

    def state(self) -> dict[str, Any]:
        """Everything the rest depends on."""

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from `state`."""


def resume(trainer: Restartable, checkpoint: Checkpoint, name: str) -> None:
    """Go on from the restart file of that name, if there is one that can be read; one that cannot is removed."""
    path = checkpoint.path(f"{name}.pt")
    if not path.exists():
        return
    try:
        state = load_record(path)
    except DataError as error:
        logger.warning("%s: damaged restart file, training starts anew (%s)", path, error)
        path.unlink()
        return
    trainer.load_state(state)


def save(trainer: Restartable, checkpoint: Checkpoint, name: str, stop: StopRequest) -> None:
    """Write the restart file, and leave if that was asked for.

    Raises:
        Interrupted: see `redoxmd.interrupt.StopRequest`.
    """
    save_record(checkpoint.path(f"{name}.pt"), trainer.state())
    stop.check(f"{name} at step {trainer.step}")
