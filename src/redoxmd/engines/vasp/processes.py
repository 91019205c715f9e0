"""End of all processes of a session, because MPI launchers put their children into separate process groups."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress

import psutil

# Longest wait for a killed process; only a process that waits for a dead file system takes longer.
KILLED_S = 10.0
CHECK_S = 0.02


def end_session(leader: subprocess.Popen[bytes], grace_s: float) -> None:
    """End all processes of a session and reap its leader: SIGTERM, then SIGKILL for those that remain after `grace_s`.

    Args:
        leader: started with `start_new_session`.
        grace_s: time between the two signals.
    """
    # Processes that left the session are found by their parents, as long as the parents live.
    strayed = _children(leader.pid) if leader.poll() is None else []
    _signal(_members(leader, strayed), kill=False)
    if not _wait_for_end(leader, strayed, grace_s):
        _signal(_members(leader, strayed), kill=True)
        _wait_for_end(leader, strayed, KILLED_S)


def _members(leader: subprocess.Popen[bytes], strayed: list[psutil.Process]) -> list[psutil.Process]:
    leader.poll()
    members = [process for process in psutil.process_iter() if _session(process.pid) == leader.pid]
    return [process for process in {*members, *strayed} if _is_alive(process)]


def _wait_for_end(leader: subprocess.Popen[bytes], strayed: list[psutil.Process], within_s: float) -> bool:
    end = time.monotonic() + within_s
    while _members(leader, strayed):
        if time.monotonic() > end:
            return False
        time.sleep(CHECK_S)
    return True


def _signal(processes: list[psutil.Process], *, kill: bool) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill() if kill else process.terminate()


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def _session(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except OSError:
        return None


def _is_alive(process: psutil.Process) -> bool:
    """Whether a process runs; a zombie has ended, even if its parent never reaps it."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
