"""One GPU for each job of a machine."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from typing import IO

import torch

logger = logging.getLogger("redoxmd")

# Locks are held as long as their files are open.
_held: list[IO[str]] = []


@cache
def reserve_gpu() -> int:
    """Index of a GPU for this process until it ends: a free one, or the one with the fewest jobs of this user.

    Snakemake counts the GPUs of a machine and does not say which one a job has. Each job locks a file of its GPU; the
    system removes the lock when the job ends, however it ends. Only the GPUs in CUDA_VISIBLE_DEVICES are considered; a
    Slurm job has one. The GPU becomes the current device of torch.
    """
    index = 0
    try:
        index, jobs = _lock_gpu()
        if jobs:
            logger.info("all GPUs are in use: GPU %d is shared with %d other jobs", index, jobs)
    except OSError as error:
        logger.warning("no lock for a GPU (%s): jobs of this machine may share GPU %d", error, index)
    torch.cuda.set_device(index)
    return index


def _lock_gpu() -> tuple[int, int]:
    """Index of the locked GPU and its number of earlier jobs."""
    folder = Path(tempfile.gettempdir()) / f"redoxmd-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    names = [torch.cuda.get_device_properties(index).uuid for index in range(torch.cuda.device_count())]
    for jobs in count():
        for index, name in enumerate(names):
            file = (folder / f"{name}.{jobs}").open("w")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            _held.append(file)
            return index, jobs
    raise AssertionError
