"""A VASP run under custodian, which corrects known failures and restarts VASP.

This module adds a limit of the total time, ends every process of the run, and records the corrections and the changes
of the inputs. Importing it imports pymatgen and takes seconds.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from custodian.custodian import Custodian, CustodianError, ReturnCodeError, ValidationError
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from monty.json import MontyEncoder
from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar
from pymatgen.util.coord import pbc_diff

from redoxmd.engines.vasp.handlers import FrozenJob, Limits, TotalTime, UnconvergedElectrons, handlers_for
from redoxmd.engines.vasp.job import ERR, OUT, NotStarted, Stopped, VaspJob, end_on_sigterm, move_aside
from redoxmd.engines.vasp.tags import is_numerical
from redoxmd.errors import LabelRefusal

# Polling interval as a share of the elapsed time: the end of a short job is noticed promptly, a long job polled seldom.
POLL_SHARE = 0.1
SHORTEST_POLL_S, LONGEST_POLL_S = 0.05, 10.0
NOT_FOUND_CODES = (126, 127)
OUT_OF_MEMORY_SIGNS = ("out of memory", "oom-kill", "oom_kill", "allocation would exceed memory limit")
TAIL_CHARACTERS = 4000
VERBOSE_LOGGERS = ("custodian.custodian", "VaspErrorHandler", VasprunXMLValidator.__name__)
# A rewritten POSCAR has rounded numbers.
SAME_FRACTION = 1e-7
SAME_VELOCITY_A_FS = 1e-9
# VASP's defaults, for comparison with tags that are set.
DEFAULT_SYMPREC = 1e-5
DEFAULT_EDIFF_EV = 1e-4


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
        started_at_s: time of the last start by the clock of the file system; a file last written before it is stale.
        starts: number of starts of the command.
    """

    corrections: list[dict[str, Any]] = field(default_factory=list)
    changed: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    physical: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    failure: tuple[LabelRefusal, str] | None = None
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
    error = None
    custodian = _Custodian(
        handlers_for(job, limits),
        [job],
        [VasprunXMLValidator(output_file=OUT, stderr_file=ERR), VaspFilesValidator()],
        max_errors=limits.max_errors,
        monitor_freq=1,
        skip_over_errors=True,
        directory=str(folder),
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
        job.started_at_s,
        job.starts,
    )


class _Custodian(Custodian):
    """Custodian with a polling interval that grows with the elapsed time of the job."""

    @property
    def polling_time_step(self) -> float:
        """Seconds until the next poll; raises `Stopped` if the exception of an earlier SIGTERM was lost."""
        if self.jobs[0].stop_requested:
            raise Stopped
        return min(LONGEST_POLL_S, max(SHORTEST_POLL_S, POLL_SHARE * self.jobs[0].elapsed_s))

    @polling_time_step.setter
    def polling_time_step(self, value: float) -> None:
        """Ignored: custodian sets a constant interval."""


def _failure(
    error: Exception | None, job: VaspJob, corrections: list[dict[str, Any]], folder: Path
) -> tuple[LabelRefusal, str] | None:
    """The first reason that applies, from the most specific to the least."""
    vasprun = folder / "vasprun.xml"
    stale = None
    if vasprun.exists() and vasprun.stat().st_mtime < job.started_at_s:
        stale = LabelRefusal.STALE_OUTPUT, "vasprun.xml is older than the run"
    if error is None:
        return stale
    if isinstance(error, NotStarted):
        return LabelRefusal.DID_NOT_START, str(error)
    done = [item for item in corrections if not item.get("skipped")]
    failed_handler, errors = "", ""
    if done and not isinstance(error, ReturnCodeError | ValidationError):
        failed_handler, errors = done[-1]["handler"], ", ".join(map(str, done[-1]["errors"]))
    if failed_handler in (FrozenJob.__name__, TotalTime.__name__):
        return LabelRefusal.TIMED_OUT, errors
    printed = [path.read_text(errors="replace") for path in (folder / OUT, folder / ERR) if path.exists()]
    output = "\n".join(text[-TAIL_CHARACTERS:] for text in printed)
    last_line = next((line.strip() for line in reversed(output.splitlines()) if line.strip()), "")
    if any(sign in output.lower() for sign in OUT_OF_MEMORY_SIGNS):
        return LabelRefusal.OUT_OF_MEMORY, last_line
    if failed_handler == UnconvergedElectrons.__name__:
        return LabelRefusal.UNCONVERGED, f"not self-consistent after {len(done) - 1} corrections"
    if failed_handler:
        return LabelRefusal.UNFINISHED, f"{failed_handler} gave up on {errors}"
    code = job.returncode
    no_output = not vasprun.exists() and not (folder / "OUTCAR").exists()
    if no_output or code in NOT_FOUND_CODES:
        return LabelRefusal.DID_NOT_START, f"no output, exit code {code}: {last_line or 'nothing printed'}"
    return stale or (LabelRefusal.UNFINISHED, f"exit code {code}: {last_line}")


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


@dataclass(frozen=True)
class InputFiles:
    """INCAR, KPOINTS (in one line; None without the file) and POSCAR of a folder as read."""

    incar: dict[str, Any]
    kpoints: str | None
    poscar: Poscar


def read_inputs(folder: Path) -> InputFiles:
    """Read the input files that custodian may change."""
    kpoints = folder / "KPOINTS"
    return InputFiles(
        dict(Incar.from_file(folder / "INCAR")),
        " ".join(str(Kpoints.from_file(kpoints)).split()) if kpoints.exists() else None,
        Poscar.from_file(folder / "POSCAR", check_for_potcar=False),
    )


def changed_inputs(intended: InputFiles, final: InputFiles) -> dict[str, tuple[Any, Any]]:
    """INCAR tag, KPOINTS or POSCAR → (intended, final), for those that differ; None for a missing tag."""
    tags = sorted(set(intended.incar) | set(final.incar))
    pairs = {tag: (intended.incar.get(tag), final.incar.get(tag)) for tag in tags}
    changed = {tag: pair for tag, pair in pairs.items() if pair[0] != pair[1]}
    if intended.kpoints != final.kpoints:
        changed["KPOINTS"] = (intended.kpoints, final.kpoints)
    if not _same_structure(intended.poscar, final.poscar):
        changed["POSCAR"] = ("as written", "another structure, cell or velocities")
    return changed


def alters_energies(name: str, intended: Any, final: Any) -> bool:
    """Whether a change alters converged energies or forces.

    In addition to `tags.is_numerical`: less symmetry and a tighter tolerance are harmless, more symmetry and a looser
    tolerance are not; a run with ICHARG from 10 on is not self-consistent; another ALGO or mixing may end in another
    magnetic state, which the check of the moments detects.
    """
    if name == "ISYM":
        return final not in (0, -1)
    if name == "SYMPREC":
        return float(final or DEFAULT_SYMPREC) > float(intended or DEFAULT_SYMPREC)
    if name == "EDIFF":
        return float(final or DEFAULT_EDIFF_EV) > float(intended or DEFAULT_EDIFF_EV)
    if name == "ICHARG":
        return final is not None and int(final) >= 10
    if name == "NBANDS":
        return intended is not None and (final is None or int(final) < int(intended))
    return not is_numerical(name)


def _same_structure(a: Poscar, b: Poscar) -> bool:
    if [site.species_string for site in a.structure] != [site.species_string for site in b.structure]:
        return False
    if not np.allclose(a.structure.lattice.matrix, b.structure.lattice.matrix, rtol=SAME_FRACTION, atol=0):
        return False
    if np.abs(pbc_diff(a.structure.frac_coords, b.structure.frac_coords)).max() >= SAME_FRACTION:
        return False
    if a.velocities is None or b.velocities is None:
        return a.velocities is None and b.velocities is None
    return bool(np.abs(np.asarray(a.velocities) - np.asarray(b.velocities)).max() < SAME_VELOCITY_A_FS)
