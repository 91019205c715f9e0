"""One VASP command: started without old outputs, ended with all its processes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import psutil
from custodian.custodian import Job

from redoxmd.errors import Interrupted

OUT, ERR = "vasp.out", "vasp.err"
LOG = "custodian.json"
MOVED_ASIDE = "previous"
# Longest wait for a killed process; only a process that waits for a dead file system takes longer.
KILLED_S = 10.0
CHECK_S = 0.02
# Files that a run writes, without WAVECAR and CHGCAR, from which the next run starts.
OUTPUTS = (
    *("vasprun.xml", "OUTCAR", "OSZICAR", "CONTCAR", "XDATCAR", "REPORT", "IBZKPT", "EIGENVAL", "DOSCAR", "PCDAT"),
    *("PROCAR", "STOPCAR", OUT, ERR),
)


def move_aside(folder: Path) -> None:
    """Move the outputs of an earlier run to `previous/`, replacing its content."""
    outputs = [folder / name for name in (*OUTPUTS, LOG) if (folder / name).exists()]
    if outputs:
        shutil.rmtree(folder / MOVED_ASIDE, ignore_errors=True)
        (folder / MOVED_ASIDE).mkdir()
    for path in outputs:
        path.replace(folder / MOVED_ASIDE / path.name)


class NotStarted(Exception):
    """The command cannot be started."""


class Stopped(BaseException):
    """SIGTERM was received; a BaseException, because custodian catches every Exception of a handler."""


class VaspJob(Job):
    """One VASP command in its own session; its printed output goes to vasp.out and vasp.err."""

    def __init__(self, command: str, grace_s: float) -> None:
        self.command = command
        self.grace_s = grace_s
        self.started_at_s = 0.0
        self.starts = 0
        self.starting = False
        self.stop_requested = False
        self._process: subprocess.Popen[bytes] | None = None
        self._begun = time.monotonic()

    def setup(self, directory: str = "./") -> None:
        """Do nothing: the inputs exist already."""

    def run(self, directory: str = "./") -> subprocess.Popen[bytes]:
        """Start VASP without the outputs of the previous attempt, which custodian has archived in error.N.tar.gz."""
        self.terminate()
        folder = Path(directory)
        for name in OUTPUTS:
            (folder / name).unlink(missing_ok=True)
        self.starts += 1
        self._begun = time.monotonic()
        with (folder / OUT).open("wb") as out, (folder / ERR).open("wb") as err:
            self.started_at_s = (folder / OUT).stat().st_mtime
            # A SIGTERM between fork and assignment would lose the process, so its exception is delayed until then.
            self.starting = True
            try:
                self._process = subprocess.Popen(
                    shlex.split(self.command), cwd=folder, stdout=out, stderr=err, start_new_session=True
                )
            except OSError as error:
                raise NotStarted(f"{self.command}: {error.strerror}; correct engine.vasp.command") from error
            finally:
                self.starting = False
        if self.stop_requested:
            raise Stopped
        return self._process

    def postprocess(self, directory: str = "./") -> None:
        """Do nothing: the caller reads the files."""

    def terminate(self, directory: str = "./") -> None:
        """End every process of the session: SIGTERM, after `grace_s` SIGKILL."""
        if self._process is not None:
            end_session(self._process, self.grace_s)

    @property
    def running(self) -> bool:
        """Whether the command has not returned yet."""
        return self._process is not None and self._process.poll() is None

    @property
    def returncode(self) -> int | None:
        """Exit code of the last start; None while it runs or if there was none."""
        return None if self._process is None else self._process.poll()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the last start."""
        return time.monotonic() - self._begun


@contextmanager
def end_on_sigterm(job: VaspJob, folder: Path) -> Iterator[None]:
    """Turn SIGTERM into an exception, so that the job is ended first; without effect outside the main thread."""

    def request_stop(signum: int, frame: FrameType | None) -> None:
        # A second SIGTERM must not interrupt the end of the job.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        job.stop_requested = True
        if not job.starting:
            raise Stopped

    try:
        previous = signal.signal(signal.SIGTERM, request_stop)
    except ValueError:
        yield
        return
    try:
        yield
        if job.stop_requested:
            raise Stopped
    except Stopped:
        # SIGTERM may have arrived while the job was being ended.
        job.terminate()
        if callable(previous):
            previous(signal.SIGTERM, None)
        raise Interrupted(f"asked to stop while VASP ran in {folder}; start again to resume") from None
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)


def end_session(leader: subprocess.Popen[bytes], grace_s: float) -> None:
    """End all processes of a session and reap its leader: SIGTERM, then SIGKILL for those that remain after `grace_s`.

    MPI launchers put their children into separate process groups, but not into separate sessions.

    Args:
        leader: started with `start_new_session`.
        grace_s: time between the two signals.
    """
    strayed: list[psutil.Process] = []
    if leader.poll() is None:
        # Processes that left the session are found by their parents, as long as the parents live.
        with suppress(psutil.Error):
            strayed = psutil.Process(leader.pid).children(recursive=True)
    for signal_number, wait_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, KILLED_S)):
        for process in _living_members(leader, strayed):
            with suppress(psutil.Error):
                process.send_signal(signal_number)
        end = time.monotonic() + wait_s
        while _living_members(leader, strayed):
            if time.monotonic() > end:
                break
            time.sleep(CHECK_S)
        else:
            return


def _living_members(leader: subprocess.Popen[bytes], strayed: list[psutil.Process]) -> list[psutil.Process]:
    """Processes of a session and those that left it, without zombies, which have ended even if never reaped."""
    leader.poll()
    living = []
    for process in {*psutil.process_iter(), *strayed}:
        with suppress(psutil.Error, OSError):
            is_member = process in strayed or os.getsid(process.pid) == leader.pid
            if is_member and process.status() != psutil.STATUS_ZOMBIE:
                living.append(process)
    return living
