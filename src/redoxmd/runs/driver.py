"""Record of the driver of a run with a heartbeat: a second driver is refused, and a killed one is recognised.

Snakemake locks the files of a run, but its lock survives kill -9, and another run in the folder removes it at its end.
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

from redoxmd.config import read_config
from redoxmd.errors import DataError, DriverAlive
from redoxmd.files.records import content_hash, plain, read_json, write_text

HEARTBEAT_S = 30.0
# A driver on another host counts as dead after this time without heartbeat; its process cannot be inspected.
SILENCE_S = 300.0
CONFIG_VARIABLE = "REDOXMD_CONFIG"
KPOINT_KEYS = ("kpoints", "kpoint_spacing_1_A")
# Snakemake options that remove files of an active run without taking its lock.
DESTRUCTIVE_OPTIONS = (
    *("--unlock", "--delete-all-output", "--delete-temp-output", "--cleanup-metadata", "--cleanup-shadow"),
)


@dataclass(frozen=True)
class Driver:
    """Process that drives a run; its creation time `started` distinguishes it from later processes of that pid."""

    pid: int
    host: str
    started: float

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def export_config(results: Path, config: Mapping[str, Any]) -> None:
    """Pass the config as this driver read it to its jobs; a job on a cluster would otherwise reread an edited file.

    The config is written to a file named by its content hash, because the environment is limited to 128 KiB.
    """
    path = results / f"configs/{content_hash(config)}.json"
    if not path.exists():
        # The key order of the file is preserved: Snakemake compares parameters as they are printed.
        write_text(path, json.dumps(plain(config)))
    os.environ[CONFIG_VARIABLE] = str(path.absolute())


def exported_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Config of the driver of this job; the config that the job read itself if the environment variable is not set.

    Raises:
        DataError: the exported config does not exist.
    """
    return dict(read_json(os.environ[CONFIG_VARIABLE])) if CONFIG_VARIABLE in os.environ else dict(config)


def with_last_kpoints(
    config: Mapping[str, Any], files: Sequence[str | Path], options: Mapping[str, Any]
) -> dict[str, Any]:
    """The merged config with one choice of k-points for each engine: that of the last source that makes one.

    Snakemake merges config files key by key, so that a grid of one file meets a spacing of another. The choice is
    printed on stderr. A config that has not both is returned unchanged; both in one source are left to be refused.

    Args:
        config: the merged config.
        files: the config files in the order in which they were merged.
        options: settings of Snakemake's option `--config`, which replace those of the files.
    """
    merged = dict(config)
    for name in ("gpaw", "vasp"):
        if len(_kpoint_choices(merged, name)) < 2:
            continue
        sources = [*((str(file), read_config(file)) for file in files), ("--config", options)]
        choices = [(source, keys) for source, raw in sources if (keys := _kpoint_choices(raw, name))]
        if not choices or len(choices[-1][1]) > 1:
            continue
        source, (chosen,) = choices[-1]
        (replaced,) = {*KPOINT_KEYS} - {chosen}
        section = {key: value for key, value in merged["engine"][name].items() if key != replaced}
        merged["engine"] = {**merged["engine"], name: section}
        print(f"redoxmd: engine.{name}.{chosen} of {source} replaces {replaced}", file=sys.stderr)
    return merged


def _kpoint_choices(raw: Mapping[str, Any], name: str) -> list[str]:
    """Keys of KPOINT_KEYS that a config gives for an engine."""
    engine = raw.get("engine")
    section = engine.get(name) if isinstance(engine, Mapping) else None
    return [key for key in KPOINT_KEYS if isinstance(section, Mapping) and section.get(key) is not None]


def driver_file(results: Path) -> Path:
    """Path of the driver record of a run."""
    return results / "driver.json"


def recorded_driver(results: Path) -> Driver | None:
    """Driver in the record, active or dead; None without a record."""
    try:
        return Driver(**json.loads(driver_file(results).read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None


def active_driver(results: Path) -> Driver | None:
    """Driver in the record if active: its process runs on this host, or its heartbeat on another host is recent."""
    driver = recorded_driver(results)
    if driver is None:
        return None
    if driver.host == socket.gethostname():
        try:
            process = psutil.Process(driver.pid)
            same_process = abs(process.create_time() - driver.started) < 2.0
            return driver if same_process and process.status() != psutil.STATUS_ZOMBIE else None
        except psutil.NoSuchProcess:
            return None
    # The age of the heartbeat by the clock of the file system, which all hosts share.
    with tempfile.NamedTemporaryFile(dir=results) as probe:
        age_s = Path(probe.name).stat().st_mtime - driver_file(results).stat().st_mtime
    return driver if age_s < SILENCE_S else None


def acquire_run(results: Path) -> None:
    """Register this process as the driver of the run until it exits.

    Raises:
        DriverAlive: another driver is active.
        DataError: the folder of the run cannot be written.
    """
    active = active_driver(results)
    if active is not None:
        raise DriverAlive(already_running_message(results, active))
    path = driver_file(results)
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
    atexit.register(_release_run, path, own)
    threading.Thread(target=_write_heartbeats, args=(path,), daemon=True).start()


def already_running_message(results: Path, driver: Driver) -> str:
    """Message that refuses a second driver of a run."""
    return (
        f"{results} is being driven by {driver}; a second driver is refused. Wait for it, or stop it "
        f"(kill {driver.pid}); it stops after the running jobs, and writes their state"
    )


def report_driver(run: str, configs: Sequence[str] = (), root: Path = Path()) -> None:
    """Report an active or killed driver of the run on stderr, before Snakemake reports its locks.

    Raises:
        DriverAlive: a command-line option would remove locks, outputs or records of an active run.
    """
    results = root / "results" / run
    driver = recorded_driver(results)
    if driver is None:
        return
    if active_driver(results) is not None:
        for word in sys.argv:
            # Snakemake accepts abbreviated options too.
            if len(word) > len("--") and any(name.startswith(word.partition("=")[0]) for name in DESTRUCTIVE_OPTIONS):
                raise DriverAlive(f"{word} is refused: {already_running_message(results, driver)}")
        print(f"redoxmd: {already_running_message(results, driver)}", file=sys.stderr)
        return
    command = f"redoxmd recover {configs[0]}" if configs else "redoxmd recover"
    print(f"redoxmd: {results}: its driver ({driver}) was killed; `{command}` cleans up after it", file=sys.stderr)


def _write_heartbeats(path: Path) -> None:
    timer = threading.Event()
    while not timer.wait(HEARTBEAT_S):
        with contextlib.suppress(OSError):
            os.utime(path)


def _release_run(path: Path, own: Driver) -> None:
    if recorded_driver(path.parent) == own:
        path.unlink(missing_ok=True)
