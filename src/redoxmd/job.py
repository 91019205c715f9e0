"""What every job of the workflow does first: log to its file and to the terminal, mind its threads, fail plainly."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redoxmd.errors import Interrupted, RedoxmdError
from redoxmd.walltime import requeue_at_the_end

logger = logging.getLogger("redoxmd")


@contextmanager
def job(name: str, log: str, threads: int = 1) -> Iterator[None]:
    """Run the body as a job: messages go to `log` and to stderr, a RedoxmdError becomes one line and exit status 1.

    Numerical libraries loaded inside the body use `threads` threads.
    """
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    _log_to(log, name)
    started = time.monotonic()
    try:
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        yield
    except RedoxmdError as error:
        logger.error("%s", error)
        if isinstance(error, Interrupted) and error.further:
            requeue_at_the_end()
        sys.exit(1)
    except Exception:
        logger.exception("unexpected failure")
        raise
    logger.debug("done in %.1f s", time.monotonic() - started)


def _log_to(log: str, name: str) -> None:
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    form = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    to_file = logging.FileHandler(log, mode="a", encoding="utf-8")
    to_file.setFormatter(form)
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.INFO)
    to_terminal.setFormatter(logging.Formatter(f"%(asctime)s  {name}: %(message)s", "%H:%M:%S"))
    logger.handlers = [to_file, to_terminal]
