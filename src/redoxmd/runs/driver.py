"""Who drives a run: a record with a heartbeat, so that a second driver is refused and a dead one is known as such.

Snakemake locks the files of a run, but its lock outlives kill -9, and another run in the folder removes it when done.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from redoxmd.errors import DataError, DriverAlive
from redoxmd.files.records import content_hash, plain, read_json, write_text

HEARTBEAT_S = 30.0
# Of a driver on another host, whose process cannot be looked at.
SILENCE_S = 300.0
PASSED_ON = "REDOXMD_CONFIG"
# Options of Snakemake that remove what a run at work needs, without taking its lock.
REMOVING = ("--unlock", "--delete-all-output", "--delete-temp-output", "--cleanup-metadata", "--cleanup-shadow")


@dataclass(frozen=True)
class Driver:
    """A process that drives a run; `started` is its creation time, which tells it from a later one of that pid."""

    pid: int
    host: str
    started: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def pass_on(results: Path, config: Mapping[str, Any]) -> None:
    """Give the config as this driver read it to its jobs: one on a cluster would read the file again, edited or not.

    By a file named after its content, for the environment takes no more than 128 KiB.
    """
    path = results / f"configs/{content_hash(config)}.json"
    if not path.exists():
        # In the order of the file: Snakemake compares parameters as they are printed.
        write_text(path, json.dumps(plain(config)))
    os.environ[PASSED_ON] = str(path.absolute())


def passed_on(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a job's driver; what the job read itself where its environment does not reach it.

    Raises:
        DataError: the driver's config is not there.
    """
    return dict(read_json(os.environ[PASSED_ON])) if PASSED_ON in os.environ else dict(config)


def record_path(results: Path) -> Path:
    """Where the driver of a run says that it is at work."""
    return results / "driver.json"


def recorded(results: Path) -> Driver | None:
    """The driver on record, living or dead."""
    try:
        return Driver(**json.loads(record_path(results).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def living(results: Path) -> Driver | None:
    """The driver on record if it is at work: here its process runs, on another host its heart beat lately."""
    driver = recorded(results)
    if driver is None:
        return None
    if driver.host == socket.gethostname():
        return driver if _runs(driver) else None
    return driver if _silence_s(record_path(results)) < SILENCE_S else None


def begin(results: Path) -> None:
    """Take the run for this process until it exits.

    Raises:
        DriverAlive: another driver is at work on it.
        DataError: nothing can be written there.
    """
    other = living(results)
    if other is not None:
        raise DriverAlive(already(results, other))
    path = record_path(results)
    own = Driver(os.getpid(), socket.gethostname(), psutil.Process().create_time())
    try:
        results.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(asdict(own), file)
    except FileExistsError as error:
        raise DriverAlive(f"{results}: another driver began at the same moment; start one of them again") from error
    except OSError as error:
        raise DataError(f"{results}: cannot be written ({error.strerror}); no job was started") from error
    atexit.register(_end, path, own)
    threading.Thread(target=_beat, args=(path,), daemon=True).start()


def already(results: Path, driver: Driver) -> str:
    """The sentence for whoever starts a second driver."""
    return (
        f"{results} is being driven by {driver}; a second driver is refused. Wait for it, or stop it "
        f"(kill {driver.pid}); it stops after the running jobs, and writes their state"
    )


def announce(run: str, configs: Sequence[str] = (), root: Path = Path()) -> None:
    """Say on stderr, before Snakemake's own words on locks, that a driver is at work on a run, or that one was killed.

    Raises:
        DriverAlive: locks, outputs or records of a run at work would be removed.
    """
    results = root / "results" / run
    driver = recorded(results)
    if driver is None:
        return
    if living(results) is not None:
        if removal := next((word for word in sys.argv if _removes(word)), None):
            raise DriverAlive(f"{removal} is refused: {already(results, driver)}")
        print(f"redoxmd: {already(results, driver)}", file=sys.stderr)
        return
    command = f"redoxmd recover {configs[0]}" if configs else "redoxmd recover"
    print(f"redoxmd: {results}: its driver ({driver}) was killed; `{command}` mends what it left", file=sys.stderr)


def _removes(word: str) -> bool:
    """Whether a word of the command line is an option that removes something; Snakemake takes shortened ones too."""
    return len(word) > len("--") and any(option.startswith(word.partition("=")[0]) for option in REMOVING)


def _runs(driver: Driver) -> bool:
    try:
        process = psutil.Process(driver.pid)
        return abs(process.create_time() - driver.started) < 2.0 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _silence_s(path: Path) -> float:
    """Seconds since the last heartbeat by the clock of the file system, which both hosts share."""
    with tempfile.NamedTemporaryFile(dir=path.parent) as probe:
        return Path(probe.name).stat().st_mtime - path.stat().st_mtime


def _beat(path: Path) -> None:
    waiting = threading.Event()
    while not waiting.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)


def _end(path: Path, own: Driver) -> None:
    if recorded(path.parent) == own:
        path.unlink(missing_ok=True)
