"""SIGTERM, or the end of the walltime, as a request: finish the step, write the state, leave."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from redoxmd.errors import Interrupted
from redoxmd.jobs.walltime import margin_s, seconds_left


class StopRequest:
    """Whether the job was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self, where: str, further: bool = True) -> None:
        """Raise Interrupted once a stop was asked for; call it after the state is written."""
        if self.asked:
            raise Interrupted(f"asked to stop {where}; the state is written, start again to go on", further)


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn SIGTERM into a `StopRequest` for the duration, and the walltime of a Slurm job shortly before its end.

    Outside the main thread SIGTERM is not heard.
    """
    request = StopRequest()

    def ask(signum: int = signal.SIGTERM, frame: FrameType | None = None) -> None:
        request.asked = True

    left_s = seconds_left()
    if left_s is not None:
        alarm = threading.Timer(max(left_s - margin_s(left_s), 0.0), ask)
        alarm.daemon = True
        alarm.start()
    try:
        previous = signal.signal(signal.SIGTERM, ask)
    except ValueError:
        previous = None
    try:
        yield request
    finally:
        if previous is not None:
            signal.signal(signal.SIGTERM, previous)
        if left_s is not None:
            alarm.cancel()
