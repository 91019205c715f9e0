"""Start of every job: log to its file and to the terminal, limit its threads, report failures in one line."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from redoxmd.errors import Interrupted, RedoxmdError, system_errno
from redoxmd.jobs.interrupt import requeue_at_the_end
from redoxmd.runs.job_records import remove_record, write_record

logger = logging.getLogger("redoxmd")
# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**31 - 1
TOP_PAD = 64 * 2**20


@contextmanager
def job(name: str, log: str, threads: int = 1, ranks: int = 1) -> Iterator[None]:
    """Run the body as a job: messages go to `log` and to stderr, a RedoxmdError becomes one line and exit status 1.

    A full disk, a folder that cannot be written and memory that is not there are said in one line as well. Numerical
    libraries loaded inside the body use `threads` threads; the cores of a parallel job are for its `ranks`, not for
    threads of each. A script of Snakemake also writes the record of its inputs and settings (`runs.job_records`).
    """
    threads = max(1, threads // ranks)
    for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[variable] = str(threads)
    # Figures are files; the backend of a notebook that the user's environment names may not even be installed.
    os.environ["MPLBACKEND"] = "Agg"
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")
    keep_freed_memory()
    _log_to(log, name)
    if "SLURM_JOB_ID" in os.environ:
        slurm_job, node = os.environ["SLURM_JOB_ID"], os.environ.get("SLURMD_NODENAME", "?")
        of_node, of_core = os.environ.get("SLURM_MEM_PER_NODE"), os.environ.get("SLURM_MEM_PER_CPU")
        memory = f", memory {of_node} MB" if of_node else f", memory {of_core} MB a core" if of_core else ""
        logger.debug(
            f"Slurm job {slurm_job} on {node}{memory}. If this log ends without a reason, Slurm has killed the job, "
            f"mostly for its memory: Slurm's own words are in .snakemake/slurm_logs/…/{slurm_job}.log"
        )
    started = time.time()
    # In a script of Snakemake, what the job is.
    script = getattr(sys.modules["__main__"], "snakemake", None)
    try:
        if script is not None:
            remove_record(script)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
        yield
        if script is not None:
            write_record(script, started)
    except RedoxmdError as error:
        logger.error("%s", error)
        if isinstance(error, Interrupted) and error.further:
            requeue_at_the_end()
        sys.exit(1)
    except Exception as error:
        words = _shortage(error, name)
        if words is None:
            logger.exception("unexpected failure")
            raise
        logger.error("%s", words)
        sys.exit(1)
    logger.debug("done in %.1f s", time.time() - started)


def keep_freed_memory() -> bool:
    """Let the process keep memory that torch frees, and has to ask for again a step later; whether that was possible.

    Otherwise each large array of each training step is mapped, filled with zeros by the system, and unmapped: a tenth
    of the time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: TOP_PAD}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


FULL = (errno.ENOSPC, errno.EDQUOT)
NO_ACCESS = (errno.EACCES, errno.EPERM)
# 524: ENOTSUPP of the Linux kernel, which has no name in Python.
NO_LOCK = (errno.ENOLCK, errno.EAGAIN, errno.EOPNOTSUPP, errno.ENOSYS, 524)
# What a file system may answer for a while: a server away, a node out of handles. It says nothing about the file.
PASSING = {
    *(errno.ESTALE, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.EAGAIN, errno.ENOLCK, errno.EBUSY),
    *(errno.EREMOTEIO, errno.ENOTCONN, errno.EHOSTDOWN, errno.ESHUTDOWN),
}


# Job → the setting that lowers its memory on a GPU.
GPU_REMEDIES = {
    "production": "lower compute.batch",
    "pretrain": "lower train.batch_size",
    "train": "lower train.batch_size",
    "density": "lower density.points_per_structure or density.structures_per_step",
    "electrons": "lower electrons.moments.batch_size",
}


def _shortage(error: BaseException, name: str) -> str | None:
    """A sentence on the exhausted resource of the machine; None for another failure.

    Libraries hide the system's word: h5py writes its number into the text, torch says that writing failed while the
    OSError is the context.
    """
    number = system_errno(error)
    where = getattr(error, "filename", None) or "a file of this job"
    kept = "finished results and restart states are whole"
    if number in FULL:
        return f"{where}: the disk is full; make room and start again, {kept}"
    if number == errno.EROFS:
        return f"{where}: may not be written ({os.strerror(number)}); give the run a folder that is writable, {kept}"
    if number in NO_ACCESS:
        return f"{where}: may not be read or written ({os.strerror(number)}); look at who owns it, {kept}"
    if number in NO_LOCK and "lock" in str(error):
        words = "set HDF5_USE_FILE_LOCKING=FALSE, for files of redoxmd need no locks"
        return f"{where}: the file system gives no lock ({error}); {words}, {kept}"
    if number in PASSING:
        return f"{where}: the file system does not serve it now ({os.strerror(number)}); start again later, {kept}"
    text = str(error)
    if ("CUDA" in text and "out of memory" in text) or "CUBLAS_STATUS_ALLOC_FAILED" in text:
        # The first sentences: of torch the size asked for, the memory of the GPU and its free part.
        words = ". ".join(text.splitlines()[0].split(". ")[:3])
        remedy = GPU_REMEDIES.get(name, "use a GPU with more memory, or device: cpu in the config")
        return f"the GPU is out of memory ({words}); {remedy}, {kept}"
    if isinstance(error, MemoryError) or "can't allocate memory" in text or "out of memory" in text:
        return (
            f"out of memory ({text.splitlines()[0] if text else 'no more is known'}); raise {name}'s mem_mb in "
            f"config/resources.yaml, {kept}"
        )
    return _shortage(error.__context__, name) if error.__context__ is not None else None


def _log_to(log: str, name: str) -> None:
    # A log on a full disk is no reason for a traceback beside the message that says so.
    logging.raiseExceptions = False
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    form = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    to_file = logging.FileHandler(log, mode="a", encoding="utf-8")
    to_file.setFormatter(form)
    to_terminal = logging.StreamHandler(sys.stderr)
    to_terminal.setLevel(logging.INFO)
    to_terminal.setFormatter(logging.Formatter(f"%(asctime)s  {name}: %(message)s", "%H:%M:%S"))
    logger.handlers = [to_file, to_terminal]
