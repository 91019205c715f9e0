"""SIGTERM, or the end of the walltime of a Slurm job: finish the step, write the state, leave, back to the queue."""

from __future__ import annotations

import logging
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from redoxmd.errors import Interrupted

logger = logging.getLogger("redoxmd")

# A job asks itself to stop this long before its end: a share of what it had, within limits.
MARGIN_SHARE = 0.05
MARGIN_S = (20.0, 300.0)
TO_BE_KILLED_S = 60.0


class StopRequest:
    """Whether the job was asked to stop."""

    def __init__(self) -> None:
        self.asked = False

    def check(self, where: str, further: bool = True) -> None:
        """Raise Interrupted once a stop was asked for; call it after the state is written."""
        if self.asked:
            raise Interrupted(f"asked to stop {where}; the state is written, start again to resume", further)


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


def margin_s(left_s: float) -> float:
    """How long before its end a job that has so much time left is to begin writing its state."""
    shortest, longest = MARGIN_S
    return min(longest, max(shortest, MARGIN_SHARE * left_s))


def seconds_left() -> float | None:
    """Time left to the workflow's Slurm job that this process is part of; None where there is none, or no limit.

    A job of which Slurm says anything but RUNNING (it was cancelled, say) has none left to speak of: None.
    """
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return None
    command = ["squeue", "--noheader", f"--jobs={job}", "--format=%T|%L|%k"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    state, left, comment = [*told.strip().split("|", 2), "", ""][:3]
    # Snakemake's comment: a driver or an interactive shell in a job of its own is not ours to requeue.
    if state != "RUNNING" or not comment.startswith("rule_"):
        return None
    # Slurm's [days-][[hours:]minutes:]seconds, or UNLIMITED.
    match = re.fullmatch(r"(?:(\d+)-)?(?:(?:(\d+):)?(\d+):)?(\d+)", left)
    if match is None:
        return None
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def requeue_at_the_end() -> None:
    """Put this Slurm job back in the queue if its time is nearly up; it continues from its state.

    Snakemake counts that as one start. Where Slurm does not let it, the job fails and Snakemake starts it again.
    """
    left_s = seconds_left()
    if left_s is None or left_s > 2 * MARGIN_S[1]:
        return
    job = os.environ["SLURM_JOB_ID"]
    try:
        subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        logger.info("Slurm job %s is not put back in the queue (%s)", job, error)
        return
    logger.info("%.0f s before its time is up: Slurm job %s is back in the queue", left_s, job)
    # Leaving before Slurm's own signal would be taken for a failure.
    time.sleep(TO_BE_KILLED_S)
