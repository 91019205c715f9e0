"""The loop of all long jobs: advance a task, save its state, stop on request; the next start continues from there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from redoxmd.jobs.interrupt import StopRequest, stop_on_sigterm

SAVE_EVERY_S = 60.0
# A generator that yields its position after each unit of work, as in "at step 5 of 10".
Task = Callable[[StopRequest], Iterator[str]]


def run_resumable(task: Task, save: Callable[[], None], save_every_s: float = SAVE_EVERY_S) -> None:
    """Run a task to its end and save its state at intervals, at the end and before a requested stop.

    Args:
        task: yields its position before the first and after every unit of work. After a stop request a long unit
            returns early or raises by `stop.check`.
        save: writes everything that the remaining work depends on, each file atomically.
        save_every_s: time between saves; 0, for costly units, saves after each unit.

    Raises:
        Interrupted: SIGTERM, or the end of the walltime; the state is saved. `further` is true if the position has
            changed since the start.
    """
    with stop_on_sigterm() as stop:
        positions = task(stop)
        start = next(positions)
        saved_at, saved = time.monotonic(), True
        for position in positions:
            saved = stop.asked or time.monotonic() - saved_at >= save_every_s
            if saved:
                save()
                saved_at = time.monotonic()
                stop.check(position, position != start)
        if not saved:
            save()
