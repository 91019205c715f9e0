"""A VASP run under custodian, which corrects known failures and restarts VASP.

This module adds a limit of the total time, ends every process of the run, and records the corrections and the changes
of the inputs. Importing it imports pymatgen and takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from custodian.custodian import (
    Custodian,
    CustodianError,
    ErrorHandler,
    ReturnCodeError,
    ValidationError,
    Validator,
)
from custodian.vasp.handlers import WalltimeHandler
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from monty.json import MontyEncoder

from redoxmd.engines.vasp.changes import alters_energies, changed_inputs, read_inputs
from redoxmd.engines.vasp.handlers import FrozenJob, Limits, TotalTime, UnconvergedElectrons, handlers_for
from redoxmd.engines.vasp.job import ERR, OUT, NotStarted, Stopped, VaspJob, end_on_sigterm, move_aside
from redoxmd.errors import LabelRefusal

# Polling interval as a share of the elapsed time: the end of a short job is noticed promptly, a long job polled seldom.
POLL_SHARE = 0.1
SHORTEST_POLL_S = 0.05
NOT_FOUND_CODES = (126, 127)
OUT_OF_MEMORY_SIGNS = ("out of memory", "oom-kill", "oom_kill", "allocation would exceed memory limit")
TAIL_CHARACTERS = 4000
VERBOSE_LOGGERS = ("custodian.custodian", "VaspErrorHandler", VasprunXMLValidator.__name__)


@dataclass(frozen=True)
class CustodianOutcome:
    """Outcome of a VASP run under custodian.

    Attributes:
        corrections: by custodian, in order: handler, errors, actions (None: no correction possible); `skipped` if the
            handler itself failed.
        changed: INCAR tag, KPOINTS or POSCAR → (intended, final), for those that differ.
        physical: those of `changed` that alter energies.
        failure: (reason, detail) from exit code, printed output and handlers; None means that the files are complete,
            not that their content is right.
        seconds: duration of the run, restarts included.
        started_at_s: time of the last start by the clock of the file system; a file last written before it is stale.
        starts: number of starts of the command.
    """

    corrections: list[dict[str, Any]] = field(default_factory=list)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    physical: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    failure: tuple[LabelRefusal, str] | None = None
    seconds: float = 0.0
    started_at_s: float = 0.0
    starts: int = 0


def run_under_custodian(folder: Path, command: str, limits: Limits) -> CustodianOutcome:
    """Run VASP in a folder with its inputs; outputs of an earlier run are first moved to `previous/`.

    No process of the run survives its end, whether regular, by a limit, SIGTERM, KeyboardInterrupt or any exception.

    Args:
        folder: with INCAR, POSCAR, POTCAR and, unless KSPACING is set, KPOINTS.
        command: program and arguments, split as in a shell; other shell syntax has no effect.

    Raises:
        Interrupted: this process received SIGTERM; the handler that the caller had installed has been called.
    """
    folder = folder.resolve()
    move_aside(folder)
    intended = read_inputs(folder)
    job = VaspJob(command, limits.grace_s)
    begun = time.monotonic()
    error = None
    custodian = _Custodian(
        handlers_for(job, limits),
        [job],
        [VasprunXMLValidator(output_file=OUT, stderr_file=ERR), VaspFilesValidator()],
        max_errors=limits.max_errors,
        monitor_freq=1,
        skip_over_errors=True,
        directory=str(folder),
        longest_poll_s=limits.poll_s,
    )
    with end_on_sigterm(job, folder), _restored_process_state():
        try:
            custodian.run()
        except (CustodianError, NotStarted) as raised:
            error = raised
        finally:
            job.terminate()
    corrections = [_correction_record(item) for entry in custodian.run_log for item in entry["corrections"]]
    changed = changed_inputs(intended, read_inputs(folder))
    return CustodianOutcome(
        corrections,
        changed,
        {name: pair for name, pair in changed.items() if alters_energies(name, *pair)},
        _failure(error, job, corrections, folder),
        time.monotonic() - begun,
        job.started_at_s,
        job.starts,
    )


class _Custodian(Custodian):
    """Custodian with a polling interval that grows with the elapsed time of the job."""

    def __init__(
        self, handlers: list[ErrorHandler], jobs: list[VaspJob], validators: list[Validator], **settings: Any
    ) -> None:
        self._longest_poll_s = settings.pop("longest_poll_s")
        super().__init__(handlers, jobs, validators, **settings)

    @property
    def polling_time_step(self) -> float:
        """Seconds until the next poll; raises `Stopped` if the exception of an earlier SIGTERM was lost."""
        if self.jobs[0].stop_requested:
            raise Stopped
        return min(self._longest_poll_s, max(SHORTEST_POLL_S, POLL_SHARE * self.jobs[0].elapsed_s))

    @polling_time_step.setter
    def polling_time_step(self, value: float) -> None:
        """Ignored: custodian sets a constant interval."""


def _failure(
    error: Exception | None, job: VaspJob, corrections: list[dict[str, Any]], folder: Path
) -> tuple[LabelRefusal, str] | None:
    """The first reason that applies, from the most specific to the least."""
    done = [item for item in corrections if not item.get("skipped")]
    last = done[-1] if done else {"handler": "", "errors": []}
    errors = ", ".join(map(str, last["errors"]))
    if last["handler"] == WalltimeHandler.__name__:
        return LabelRefusal.TIMED_OUT, "stopped by STOPCAR before its wall time"
    vasprun = folder / "vasprun.xml"
    if error is None:
        stale = vasprun.stat().st_mtime < job.started_at_s
        return (LabelRefusal.STALE_OUTPUT, "vasprun.xml is older than the run") if stale else None
    if isinstance(error, NotStarted):
        return LabelRefusal.DID_NOT_START, str(error)
    failed_handler = "" if isinstance(error, ReturnCodeError | ValidationError) else last["handler"]
    if failed_handler in (FrozenJob.__name__, TotalTime.__name__):
        return LabelRefusal.TIMED_OUT, errors
    output = "\n".join(_tail(folder / name) for name in (OUT, ERR))
    if any(sign in output.lower() for sign in OUT_OF_MEMORY_SIGNS):
        return LabelRefusal.OUT_OF_MEMORY, _last_line(output)
    if failed_handler == UnconvergedElectrons.__name__:
        return LabelRefusal.UNCONVERGED, f"not self-consistent after {len(done) - 1} corrections"
    if failed_handler:
        return LabelRefusal.UNFINISHED, f"{failed_handler} gave up on {errors}"
    code = job.returncode
    no_output = not vasprun.exists() and not (folder / "OUTCAR").exists()
    if no_output or code in NOT_FOUND_CODES:
        return LabelRefusal.DID_NOT_START, f"no output, exit code {code}: {_last_line(output) or 'nothing printed'}"
    if vasprun.exists() and vasprun.stat().st_mtime < job.started_at_s:
        return LabelRefusal.STALE_OUTPUT, "vasprun.xml is older than the run"
    return LabelRefusal.UNFINISHED, f"exit code {code}: {_last_line(output)}"


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-TAIL_CHARACTERS:] if path.exists() else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _correction_record(correction: dict[str, Any]) -> dict[str, Any]:
    fields = {name: correction[name] for name in ("errors", "actions", "skipped") if name in correction}
    plain: dict[str, Any] = json.loads(json.dumps(fields, cls=MontyEncoder))
    return {"handler": type(correction["handler"]).__name__, **plain}


@contextmanager
def _restored_process_state() -> Iterator[None]:
    """Restore the process state that custodian changes: handlers of the root logger, its start time in the environment.

    Warnings and tracebacks of custodian are suppressed, because `corrections` and `failure` report the same.
    """
    root = logging.getLogger()
    verbose_loggers = [logging.getLogger(name) for name in VERBOSE_LOGGERS]
    before, levels = list(root.handlers), [logger.level for logger in verbose_loggers]
    for logger in verbose_loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(verbose_loggers, levels, strict=True):
            logger.setLevel(level)
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
        os.environ.pop("CUSTODIAN_WALLTIME_START", None)
