"""A VASP run under custodian: known failures are mended, nothing is left behind, no change of the inputs goes unseen.

Custodian decides what to mend and starts again; here stand the limits it lacks (total time, the end of every process of
the run) and the record of what it did. Importing this module imports pymatgen and takes seconds.
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

from redoxmd.engines.vasp.changes import changed_inputs, moves_energies, read_inputs
from redoxmd.engines.vasp.handlers import FrozenJob, Limits, TotalTime, UnconvergedElectrons, handlers_for
from redoxmd.engines.vasp.job import ERR, OUT, NotStarted, Stopped, VaspJob, move_aside, sigterm_ends
from redoxmd.errors import LabelRefusal

# A job is looked at after this share of the time it has run: short ones end promptly, long ones are left alone.
POLL_SHARE = 0.1
SHORTEST_POLL_S = 0.05
NOT_FOUND_CODES = (126, 127)
OUT_OF_MEMORY_SIGNS = ("out of memory", "oom-kill", "oom_kill", "allocation would exceed memory limit")
TAIL_CHARACTERS = 4000
TALKATIVE = ("custodian.custodian", "VaspErrorHandler", VasprunXMLValidator.__name__)


@dataclass(frozen=True)
class Custody:
    """How a run went.

    Attributes:
        corrections: what custodian did, in order: handler, errors, actions (None: nothing could be done); `skipped`
            where the handler itself failed.
        changed: INCAR tag, KPOINTS or POSCAR → (intended, final), where they differ.
        physical: those of `changed` that move energies.
        failure: (reason, detail) as far as the running shows it; None says that the files are there and whole, not that
            they are right.
        seconds: it took.
        started_at_s: time of the last start on the clock of the file system; a file last written before is stale.
        starts: how often the command was started.
    """

    corrections: list[dict[str, Any]] = field(default_factory=list)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    physical: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    failure: tuple[LabelRefusal, str] | None = None
    seconds: float = 0.0
    started_at_s: float = 0.0
    starts: int = 0


def run_under_custodian(folder: Path, command: str, limits: Limits) -> Custody:
    """Run VASP in a folder that has its inputs; outputs of an earlier run go to `previous/` first.

    However it ends — by itself, by a limit, by SIGTERM, KeyboardInterrupt or any exception — no process of it is left.

    Args:
        folder: with INCAR, POSCAR, POTCAR and, unless KSPACING is set, KPOINTS.
        command: as in a shell, without shell syntax.

    Raises:
        Interrupted: this process was sent SIGTERM; a handler that the caller had installed has been called.
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
    with sigterm_ends(job, folder), _nothing_kept():
        try:
            custodian.run()
        except (CustodianError, NotStarted) as raised:
            error = raised
        finally:
            job.terminate()
    corrections = [_plain(item) for entry in custodian.run_log for item in entry["corrections"]]
    changed = changed_inputs(intended, read_inputs(folder))
    return Custody(
        corrections,
        changed,
        {name: pair for name, pair in changed.items() if moves_energies(name, *pair)},
        _failure(error, job, corrections, folder),
        time.monotonic() - begun,
        job.started_at_s,
        job.starts,
    )


class _Custodian(Custodian):
    """Custodian that looks often at a young job and seldom at an old one."""

    def __init__(
        self, handlers: list[ErrorHandler], jobs: list[VaspJob], validators: list[Validator], **settings: Any
    ) -> None:
        self._longest_poll_s = settings.pop("longest_poll_s")
        super().__init__(handlers, jobs, validators, **settings)

    @property
    def polling_time_step(self) -> float:
        """Seconds until the next look; a SIGTERM whose exception was lost on the way is raised here."""
        if self.jobs[0].stop_asked:
            raise Stopped
        return min(self._longest_poll_s, max(SHORTEST_POLL_S, POLL_SHARE * self.jobs[0].elapsed_s))

    @polling_time_step.setter
    def polling_time_step(self, value: float) -> None:
        """Custodian sets one length for all; it is not used."""


def _failure(
    error: Exception | None, job: VaspJob, corrections: list[dict[str, Any]], folder: Path
) -> tuple[LabelRefusal, str] | None:
    """The first reason that fits, from the clear to the vague."""
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
    given_up = "" if isinstance(error, ReturnCodeError | ValidationError) else last["handler"]
    if given_up in (FrozenJob.__name__, TotalTime.__name__):
        return LabelRefusal.TIMED_OUT, errors
    said = "\n".join(_tail(folder / name) for name in (OUT, ERR))
    if any(sign in said.lower() for sign in OUT_OF_MEMORY_SIGNS):
        return LabelRefusal.OUT_OF_MEMORY, _last_line(said)
    if given_up == UnconvergedElectrons.__name__:
        return LabelRefusal.UNCONVERGED, f"not self-consistent after {len(done) - 1} corrections"
    if given_up:
        return LabelRefusal.UNFINISHED, f"{given_up} gave up on {errors}"
    code = job.returncode
    nothing = not vasprun.exists() and not (folder / "OUTCAR").exists()
    if nothing or code in NOT_FOUND_CODES:
        return LabelRefusal.DID_NOT_START, f"no output, exit code {code}: {_last_line(said) or 'it said nothing'}"
    if vasprun.exists() and vasprun.stat().st_mtime < job.started_at_s:
        return LabelRefusal.STALE_OUTPUT, "vasprun.xml is older than the run"
    return LabelRefusal.UNFINISHED, f"exit code {code}: {_last_line(said)}"


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-TAIL_CHARACTERS:] if path.exists() else ""


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _plain(correction: dict[str, Any]) -> dict[str, Any]:
    kept = {name: correction[name] for name in ("errors", "actions", "skipped") if name in correction}
    plain: dict[str, Any] = json.loads(json.dumps(kept, cls=MontyEncoder))
    return {"handler": type(correction["handler"]).__name__, **plain}


@contextmanager
def _nothing_kept() -> Iterator[None]:
    """Undo what custodian leaves in the process: a root log handler and its start time in the environment.

    Its warnings, and a traceback for every file that is cut short, are left out: `corrections` and `failure` say it.
    """
    root = logging.getLogger()
    talkative = [logging.getLogger(name) for name in TALKATIVE]
    before, levels = list(root.handlers), [logger.level for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(talkative, levels, strict=True):
            logger.setLevel(level)
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
        os.environ.pop("CUSTODIAN_WALLTIME_START", None)
