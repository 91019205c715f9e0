"""The one loop of long jobs: advance a task, save its state, stop on request; the next start goes on from the save."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from redoxmd.jobs.interrupt import StopRequest, stop_on_sigterm

SAVE_EVERY_S = 60.0
# A generator that works: it yields how far it has come, as in "at step 5 of 10".
Task = Callable[[StopRequest], Iterator[str]]


def run_resumable(task: Task, save: Callable[[], None], save_every_s: float = SAVE_EVERY_S) -> None:
    """Run a task to its end; its state is saved every so often, at the end, and when it is asked to stop.

    Args:
        task: yields its position first where it goes on from, then after every unit of work. A long unit returns
            early, or raises by `stop.check`, once a stop was asked for.
        save: writes everything that the rest of the task depends on, each file whole or not at all.
        save_every_s: time between saves; 0, for costly units, saves after each.

    Raises:
        Interrupted: SIGTERM, or the end of the walltime; the state is saved. `further` says whether this start came
            further than the one before.
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
