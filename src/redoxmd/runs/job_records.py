"""What each result was made from, in a file beside the results: rule, settings, inputs and their content.

Snakemake decides by its own memory, `.snakemake/metadata`, which is not part of the results: it stays behind when they
are moved, and misses what a job finishes after its driver died. Here every job writes its record itself, and at each
start records that are new to Snakemake's memory are put into it. A result without any record is refused.
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

# `redoxmd.files.records.atomic_path`: a dot, the name, eight random characters, the suffix.
TEMPORARY = re.compile(r"^\..+\.[a-z0-9_]{8}(\.\w+)?$")
FOLDER = "records"
# Of Snakemake 9, `snakemake.persistence.RECORD_FORMAT_VERSION`.
FORMAT_VERSION = 6
# As `max-checksum-file-size` in profiles/default: larger inputs are known by their date.
CHECKSUM_LIMIT_BYTES = 200_000_000
# Folders of a run that hold no results of rules.
NO_RESULTS = {FOLDER, "state", "logs", "benchmarks", "configs", "refused", "files"}
PARAMETER_TYPES = (int, float, bool, str, complex, range, list, tuple, dict, set, frozenset, bytes, type(None))
# Words on Snakemake's command line with which no job runs, or with which results are accepted as they are.
NO_JOBS = {"--touch", "-t", "--unlock", "--report", "--cleanup-metadata", "--delete-all-output", "--delete-temp-output"}


class ScriptJob(Protocol):
    """The object `snakemake` of a script."""

    rule: str
    input: Sequence[str]
    output: Sequence[str]
    params: Any
    log: Sequence[str]


class Rule(Protocol):
    """A rule of Snakemake."""

    name: str

    def is_producer(self, requested_output: str) -> bool:
        """Whether a file is one of its outputs."""


def record_path(output: str) -> Path | None:
    """Where the record of a job lies, by its first output, `results/<run>/…`; None for another file."""
    top, run, *rest = Path(output).parts
    return Path(top, run, FOLDER, *rest[:-1], f"{rest[-1]}.json") if top == "results" and rest else None


def forget_record(job: ScriptJob) -> None:
    """Remove the record of a job that begins: what it writes from now on is not what that was about."""
    path = record_path(job.output[0])
    if path is not None:
        path.unlink(missing_ok=True)


def write_record(job: ScriptJob, started: float) -> None:
    """Write the record of a job that has ended well, in Snakemake's own words, so that both can be compared."""
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
    """The record of the job that made a result; its `settings` are parameters by name. None where there is none."""
    path = record_path(output)
    if path is None or not (root / path).exists():
        return None
    record: dict[str, Any] = read_json(root / path)
    return record


def recorded_since(run: str, root: Path, since_ns: int) -> dict[str, int]:
    """Outputs whose job has written its record after a date, and when."""
    records = {path: path.stat().st_mtime_ns for path in (root / "results" / run / FOLDER).rglob("*.json")}
    return {name: date for path, date in records.items() if date > since_ns for name in read_json(path)["outputs"]}


def adopt_records(run: str, root: Path = Path()) -> None:
    """Put records of jobs into Snakemake's memory where it lacks them, or where they are new to this folder.

    New are those of jobs that a dead driver did not see ending, and of results that came from another folder. Which
    were seen is kept in `.snakemake/redoxmd`. Only names and dates of the others are looked at.
    """
    folder = root / "results" / run / FOLDER
    seen_path = root / f".snakemake/redoxmd/{run}.json"
    seen = read_json(seen_path) if seen_path.exists() else {}
    remembered = _remembered(run, root)
    now = {}
    for path in sorted(folder.rglob("*.json")):
        name = path.relative_to(folder).as_posix()
        state = path.stat()
        now[name] = [state.st_mtime_ns, state.st_size]
        if now[name] != seen.get(name) or _output(run, name) not in remembered:
            _remember(path, root)
    # Of jobs that began again and failed, until they are done: `lost_results`.
    now |= {name: date for name, date in seen.items() if name not in now and not (root / _output(run, name)).exists()}
    if now != seen:
        write_json(seen_path, now)


def lost_results(run: str, root: Path = Path()) -> list[str]:
    """Results that other results were made from, whose jobs began again, for an edit say, and failed.

    Snakemake 9.27 removes the output of a job that fails, remembers its new parameters, and at the next start misses
    nothing as long as what was made from the old output is there: the edit would be forgotten. Results deleted
    on purpose, whose records are as Snakemake remembers them, are not among them.
    """
    seen_path = root / f".snakemake/redoxmd/{run}.json"
    seen = read_json(seen_path) if seen_path.exists() else {}
    missing = [_output(run, name) for name in seen if not (root / _output(run, name)).exists()]
    lost = {name for name in missing if not _as_remembered(name, root)}
    if not lost:
        return []
    records = (read_json(path) for path in (root / "results" / run / FOLDER).rglob("*.json"))
    return sorted(lost & {name for record in records for name in record["input"]})


def _as_remembered(name: str, root: Path) -> bool:
    record, target = read_record(root, name), memory_path(root / ".snakemake/metadata", name)
    if record is None or not target.exists():
        return False
    known = json.loads(target.read_text())
    return all(known.get(key) == record[key] for key in ("input", "params", "input_checksums"))


def _output(run: str, name: str) -> str:
    """The first output of the job whose record has that name."""
    return f"results/{run}/{name.removesuffix('.json')}"


def _remembered(run: str, root: Path) -> set[str]:
    """Results of a run that Snakemake's memory knows."""
    folder = root / ".snakemake/metadata"
    names = (record_name(path, folder) for path in folder.rglob("*") if path.is_file())
    return {name for name in names if name.startswith(f"results/{run}/")}


def _remember(path: Path, root: Path) -> None:
    """Write what a record says into Snakemake's memory, for each of its outputs that is there."""
    record = read_json(path)
    outputs = record.pop("outputs")
    record.pop("settings")
    for name in outputs:
        file = root / name
        if not file.exists():
            continue
        target = memory_path(root / ".snakemake/metadata", name)
        target.parent.mkdir(parents=True, exist_ok=True)
        # Without this folder beside it Snakemake takes its memory for one of version 7.
        (root / ".snakemake/incomplete").mkdir(exist_ok=True)
        # As Snakemake writes it, for thousands of files; one cut short is written again, for then it is not `seen`.
        target.write_text(json.dumps({**record, "incomplete": False}), encoding="utf-8")


def record_name(path: Path, folder: Path) -> str:
    """The file that a record of Snakemake is about; long names are cut into folders that begin with @."""
    parts = path.relative_to(folder).parts
    return urlsafe_b64decode("".join(part.removeprefix("@") for part in parts)).decode()


def memory_path(folder: Path, name: str) -> Path:
    """Where Snakemake remembers a file: under its name in base64, long ones in folders that begin with @."""
    longest = os.pathconf(next(path for path in (folder, *folder.parents) if path.exists()), "PC_NAME_MAX") - 1
    code = urlsafe_b64encode(name.encode()).decode()
    parts = [code[start : start + longest] for start in range(0, len(code), longest)]
    return folder.joinpath(*(f"@{part}" for part in parts[:-1]), parts[-1])


def refuse_unrecorded(run: str, rules: Iterable[Rule], config: str, argv: Sequence[str], root: Path = Path()) -> None:
    """Stop before any job where results have no record of what they were made from.

    Snakemake would take them for those of the present settings.

    Raises:
        DataError: the message says how many, which, and how they are accepted or made anew.
    """
    if NO_JOBS & set(argv):
        return
    made_by = {name: _producer(name, rules) for name in _unrecorded(run, root)}
    found = {name: rule for name, rule in made_by.items() if rule}
    if not found:
        return
    names, makers = sorted(found), " ".join(sorted(set(found.values())))
    raise DataError(
        f"results/{run}: {len(found)} results have no record of the settings they were made with ({names[0]}, …): they "
        "came without results/<run>/records or, if an earlier version made them, without .snakemake/metadata. Bring "
        "those along; or, if you know that they were made with the settings of this config, accept them and what was "
        f"made from them: snakemake --configfile {config} --touch --forcerun {makers}; or move them away, and they are "
        "made anew"
    )


def _producer(name: str, rules: Iterable[Rule]) -> str:
    return next((rule.name for rule in rules if rule.is_producer(name)), "")


def _unrecorded(run: str, root: Path) -> list[str]:
    """Files of a run that Snakemake's memory does not know and that no job is making now."""
    known = _remembered(run, root)
    making = root / ".snakemake/incomplete"
    return [name for name in _result_files(run, root) if name not in known and not memory_path(making, name).exists()]


def _result_files(run: str, root: Path) -> Iterator[str]:
    results = root / "results" / run
    for folder, folders, names in os.walk(results):
        if Path(folder) == results:
            folders[:] = [name for name in folders if name not in NO_RESULTS]
        for name in names:
            if not TEMPORARY.match(name) and DAMAGED not in name:
                yield (Path(folder) / name).relative_to(root).as_posix()
