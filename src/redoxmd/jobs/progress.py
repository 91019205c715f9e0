"""Progress of long work: one line now and then, with how far and how long still."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path

from redoxmd.units import ns_per_day

logger = logging.getLogger("redoxmd")


# The end of a log in which its last line is read.
LAST_BYTES = 2000
# The message that `Progress` logs, at the end of a line of a log.
MESSAGE = re.compile(r"INFO +(?P<text>.+: (?P<done>\d+)/(?P<total>\d+) \w+, .+ left.*)$")


class Progress:
    """Log `name: done/total unit, rate, time left` at most every `interval_s` seconds.

    Args:
        name: of the task.
        total: how many units there are.
        done: how many were done before this start.
        unit: name of a unit of work.
        timestep_fs: of MD, whose units are steps: the speed is then said in ns/day as well.
    """

    def __init__(
        self,
        name: str,
        total: int,
        done: int = 0,
        unit: str = "steps",
        interval_s: float = 10.0,
        timestep_fs: float | None = None,
    ) -> None:
        self.name, self.total, self.unit, self.interval_s = name, total, unit, interval_s
        self.timestep_fs = timestep_fs
        self._first_done = done
        self._started = self._last = time.monotonic()
        if done:
            logger.info("%s: resuming from %d of %d %s", name, done, total, unit)

    def update(self, done: int, note: str = "") -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._last < self.interval_s and done < self.total:
            return
        self._last = now
        rate = (done - self._first_done) / max(now - self._started, 1e-9)
        left = (self.total - done) / rate if rate > 0 else float("inf")
        speed = f"{rate:.3g}/s"
        if self.timestep_fs is not None and rate > 0:
            speed += f", {ns_per_day(self.timestep_fs, 1 / rate):.3g} ns/day"
        logger.info(
            "%s: %d/%d %s, %s, %s left%s",
            *(self.name, done, self.total, self.unit, speed, duration(left), f", {note}" if note else ""),
        )


def last_progress(log: Path) -> str | None:
    """The message of unfinished work with which a log ends; None if it ends otherwise."""
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - LAST_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    message = MESSAGE.search(lines[-1]) if lines else None
    return message["text"] if message and int(message["done"]) < int(message["total"]) else None


def duration(seconds: float) -> str:
    """A time span as a person says it."""
    if seconds == float("inf"):
        return "unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
