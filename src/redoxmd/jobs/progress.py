"""Progress of long work: one line now and then, with how far and how long still."""

from __future__ import annotations

import logging
import time

from redoxmd.units import ns_per_day

logger = logging.getLogger("redoxmd")


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
            logger.info("%s: going on from %d of %d %s", name, done, total, unit)

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


def duration(seconds: float) -> str:
    """A time span as a person says it."""
    if seconds == float("inf"):
        return "unknown time"
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
