"""Job records: rule, settings, inputs and checksums of every result, in files beside the results.

Snakemake decides by its own metadata in `.snakemake/metadata`, which is not part of the results: it is not moved with
them, and it lacks jobs that end after their driver was killed. Therefore every job writes its own record, and each
start copies new records into the metadata of Snakemake. A result without any record is refused.
"""

from __future__ import annotations

import json
import os
import re
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from redoxmd.errors import DataError
from redoxmd.files.records import DAMAGED, file_sha256, read_json, write_json

# Names that `redoxmd.files.records.atomic_path` makes: a dot, the name, eight random characters, the suffix.
TEMPORARY = re.compile(r"^\..+\.[a-z0-9_]{8}(\.\w+)?$")
FOLDER = "records"
# `snakemake.persistence.RECORD_FORMAT_VERSION` of Snakemake 9.
FORMAT_VERSION = 6
# Same value as `max-checksum-file-size` in profiles/default; larger inputs are compared by date.
CHECKSUM_LIMIT_BYTES = 200_000_000
# Folders of a run without results of rules.
FOLDERS_WITHOUT_RESULTS = {FOLDER, "state", "logs", "benchmarks", "configs", "refused", "files"}
PARAMETER_TYPES = (int, float, bool, str, complex, range, list, tuple, dict, set, frozenset, bytes, type(None))
# Snakemake options with which no job runs, or with which results are accepted as they are.
OPTIONS_WITHOUT_JOBS = {
    *("--touch", "-t", "--unlock", "--report", "--cleanup-metadata", "--delete-all-output", "--delete-temp-output"),
}


class ScriptJob(Protocol):
    """The object `snakemake` of a script."""

    rule: str
    input: Sequence[str]
    output: Sequence[str]
    params: Any
    log: Sequence[str]


def record_path(output: str) -> Path | None:
    """Path of the record of a job, from its first output `results/<run>/…`; None for files elsewhere."""
    top, run, *names = Path(output).parts
    return Path(top, run, FOLDER, *names[:-1], f"{names[-1]}.json") if top == "results" and names else None


def remove_record(job: ScriptJob) -> None:
    """Remove the record of a job that starts, because its outputs are about to change."""
    path = record_path(job.output[0])
    if path is not None:
        path.unlink(missing_ok=True)


def write_record(job: ScriptJob, started: float) -> None:
    """Write the record of a successful job in the format of Snakemake, so that both can be compared."""
    path = record_path(job.output[0])
    if path is None:
        return
    sizes = {name: Path(name).stat().st_size for name in job.input}
    checksums = {name: f"sha256:{file_sha256(name)}" for name in sizes if sizes[name] <= CHECKSUM_LIMIT_BYTES}
    record = {
        "outputs": [str(name) for name in job.output],
        "rule": job.rule,
        "input": sorted(str(name) for name in job.input),
        "log": sorted(str(name) for name in job.log),
        "params": sorted(repr(value) for value in job.params if isinstance(value, PARAMETER_TYPES)),
        "input_checksums": checksums,
        "record_format_version": FORMAT_VERSION,
        "starttime": started,
        "endtime": time.time(),
        "settings": dict(job.params.items()),
    }
    write_json(path, record)


def read_record(root: Path, output: str) -> dict[str, Any] | None:
    """Record of the job that made a result, with its parameters by name under `settings`; None without a record."""
    path = record_path(output)
    if path is None or not (root / path).exists():
        return None
    record: dict[str, Any] = read_json(root / path)
    return record


def recorded_since(run: str, root: Path, since_ns: int) -> dict[str, int]:
    """Outputs whose record was written after a date (ns), with the date of the record."""
    records = {path: path.stat().st_mtime_ns for path in (root / "results" / run / FOLDER).rglob("*.json")}
    return {name: date for path, date in records.items() if date > since_ns for name in read_json(path)["outputs"]}


def update_snakemake_records(run: str, root: Path = Path()) -> None:
    """Copy job records into the metadata of Snakemake if it lacks them or if they are new in this folder.

    New records belong to jobs that ended after their driver was killed, and to results copied from another folder.
    Dates and sizes of the records already copied are stored in `.snakemake/redoxmd`; those records are not read again.
    """
    folder = root / "results" / run / FOLDER
    previous_path = root / f".snakemake/redoxmd/{run}.json"
    previous = read_json(previous_path) if previous_path.exists() else {}
    in_snakemake = _snakemake_outputs(run, root)
    current = {}
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        state = path.stat()
        current[name] = [state.st_mtime_ns, state.st_size]
        if current[name] != previous.get(name) or _first_output(run, name) not in in_snakemake:
            _copy_to_snakemake(read_json(path), root)
    # Keep entries of jobs that started again and failed until they succeed (`lost_results`).
    current |= {
        name: date
        for name, date in previous.items()
        if name not in current and not (root / _first_output(run, name)).exists()
    }
    if current != previous:
        write_json(previous_path, current)


def lost_results(run: str, root: Path = Path()) -> list[str]:
    """Results that other results depend on, removed because their jobs were repeated (after an edit, say) and failed.

    Snakemake 9.27 removes the output of a failed job and stores its new parameters; at the next start it does not
    repeat the job while results made from the old output exist, so the edit would have no effect. Results deleted on
    purpose, whose records match the metadata of Snakemake, are not included.
    """
    previous_path = root / f".snakemake/redoxmd/{run}.json"
    previous = read_json(previous_path) if previous_path.exists() else {}
    lost = set()
    for name in (_first_output(run, name) for name in previous):
        if (root / name).exists():
            continue
        record, metadata = read_record(root, name), encoded_path(root / ".snakemake/metadata", name)
        stored = json.loads(metadata.read_text()) if metadata.exists() else {}
        if record is None or any(stored.get(key) != record[key] for key in ("input", "params", "input_checksums")):
            lost.add(name)
    if not lost:
        return []
    records = (read_json(path) for path in (root / "results" / run / FOLDER).rglob("*.json"))
    return sorted(lost & {name for record in records for name in record["input"]})


def _first_output(run: str, name: str) -> str:
    """First output of the job with this record name."""
    return f"results/{run}/{name.removesuffix('.json')}"


def _snakemake_outputs(run: str, root: Path) -> set[str]:
    """Results of a run in the metadata of Snakemake."""
    return {name for name in files_by_output(root / ".snakemake/metadata") if name.startswith(f"results/{run}/")}


def _copy_to_snakemake(record: dict[str, Any], root: Path) -> None:
    """Copy a record into the metadata of Snakemake, once for each existing output."""
    copied = {key: value for key, value in record.items() if key not in ("outputs", "settings")}
    metadata = json.dumps({**copied, "incomplete": False})
    for name in record["outputs"]:
        if (root / name).exists():
            target = encoded_path(root / ".snakemake/metadata", name)
            target.parent.mkdir(parents=True, exist_ok=True)
            # Without this folder Snakemake takes its metadata for that of version 7.
            (root / ".snakemake/incomplete").mkdir(exist_ok=True)
            # Not atomic, for speed, as in Snakemake; an incomplete file is rewritten: it is not yet in `previous`.
            target.write_text(metadata, encoding="utf-8")


def files_by_output(folder: Path) -> dict[str, Path]:
    """Output → its record or marker in a folder of Snakemake, whose file names are those of `encoded_path`."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "migration_underway"]
    return {decoded_name(path, folder): path for path in paths}


def decoded_name(path: Path, folder: Path) -> str:
    """File that a record of Snakemake describes; long base64 names are split into folders that begin with @."""
    pieces = path.relative_to(folder).parts
    return urlsafe_b64decode("".join(piece.removeprefix("@") for piece in pieces)).decode()


def encoded_path(folder: Path, name: str) -> Path:
    """Path of the record of a file in a folder of Snakemake: its base64 name, split into folders that begin with @."""
    longest = os.pathconf(next(path for path in (folder, *folder.parents) if path.exists()), "PC_NAME_MAX") - 1
    code = urlsafe_b64encode(name.encode()).decode()
    pieces = [code[start : start + longest] for start in range(0, len(code), longest)]
    return folder.joinpath(*(f"@{piece}" for piece in pieces[:-1]), pieces[-1])


def refuse_unrecorded(run: str, rules: Iterable[Any], config: str, argv: Sequence[str], root: Path = Path()) -> None:
    """Raise an error if results have no record; Snakemake would take them for results of the present settings.

    Args:
        rules: rules of Snakemake, each with its `name` and `is_producer(file)`; files that none makes are no results.
        config: path of the config, for the message.
        argv: command line of Snakemake.
        root: working directory of the workflow.

    Raises:
        DataError: results without record; the message says how to accept or remake them.
    """
    if OPTIONS_WITHOUT_JOBS & set(argv):
        return
    recorded, incomplete = _snakemake_outputs(run, root), root / ".snakemake/incomplete"
    producers: dict[str, str] = {}
    for name in _result_files(run, root):
        # A file with a marker is being written by a job.
        if name not in recorded and not encoded_path(incomplete, name).exists():
            producers |= [(name, rule.name) for rule in rules if rule.is_producer(name)][:1]
    if not producers:
        return
    raise DataError(
        f"results/{run}: {len(producers)} results have no record of the settings they were made with "
        f"({min(producers)}, …): they came without results/<run>/records or, if an earlier version made them, without "
        ".snakemake/metadata. Bring those along; or, if you know that they were made with the settings of this config, "
        f"accept them and what was made from them: snakemake --configfile {config} --touch --forcerun "
        f"{' '.join(sorted(set(producers.values())))}; or move them away, and they are made again"
    )


def _result_files(run: str, root: Path) -> Iterator[str]:
    results = root / "results" / run
    for folder, folders, names in os.walk(results):
        if Path(folder) == results:
            folders[:] = [name for name in folders if name not in FOLDERS_WITHOUT_RESULTS]
        for name in names:
            if not TEMPORARY.match(name) and DAMAGED not in name:
                yield (Path(folder) / name).relative_to(root).as_posix()
