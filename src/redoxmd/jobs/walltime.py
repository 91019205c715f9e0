"""The walltime of a Slurm job: checkpoint before its end and put the job back in the queue."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time

logger = logging.getLogger("redoxmd")

# A job asks itself to stop this long before its end: a share of what it had, within limits.
MARGIN_SHARE = 0.05
MARGIN_S = (20.0, 300.0)
TO_BE_KILLED_S = 60.0


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
    """Put this Slurm job back in the queue if its time is nearly up; it goes on from its state.

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
