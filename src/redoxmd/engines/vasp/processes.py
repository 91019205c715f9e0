"""The end of every process of a session: launchers put their children into groups of their own."""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import suppress

import psutil

# How long a killed process may take to vanish; longer only where the kernel waits for a dead file system.
KILLED_S = 10.0
CHECK_S = 0.02


def end_session(leader: subprocess.Popen[bytes], grace_s: float) -> None:
    """End all processes of a session and reap its leader: SIGTERM, and SIGKILL for those left after `grace_s`.

    Args:
        leader: started with `start_new_session`.
        grace_s: between the two.
    """
    # Those that left the session are known by their parents, as long as these live.
    strayed = _children(leader.pid) if leader.poll() is None else []
    _signal(_members(leader, strayed), kill=False)
    if not _gone(leader, strayed, grace_s):
        _signal(_members(leader, strayed), kill=True)
        _gone(leader, strayed, KILLED_S)


def _members(leader: subprocess.Popen[bytes], strayed: list[psutil.Process]) -> list[psutil.Process]:
    leader.poll()
    found = [process for process in psutil.process_iter() if _session(process.pid) == leader.pid]
    return [process for process in {*found, *strayed} if _lives(process)]


def _gone(leader: subprocess.Popen[bytes], strayed: list[psutil.Process], within_s: float) -> bool:
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


def _lives(process: psutil.Process) -> bool:
    """A zombie has ended; whoever started it may never ask."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
