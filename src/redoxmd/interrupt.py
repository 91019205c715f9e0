"""SIGTERM as a request: finish the step, write the state, leave."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from redoxmd.errors import Interrupted


class StopRequest:
    """Whether the job was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self, where: str) -> None:
        """Raise Interrupted once a stop was asked for; call it after the state is written."""
        if self.asked:
            raise Interrupted(f"asked to stop {where}; the state is written, start again to go on")


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a `StopRequest` for the duration; outside the main thread it never fires."""
    request = StopRequest()

    def ask(signum: int, frame: FrameType | None) -> None:
        request.asked = True

    try:
        previous = signal.signal(signal.SIGTERM, ask)
    except ValueError:
        yield request
        return
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, previous)
