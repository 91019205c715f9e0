"""Provenance: the manifest of a run, and the chain of files from which a figure was made.

Snakemake records rule, inputs, parameters and times of every output in its own folder; the manifest combines them with
checksums and versions in one file beside the results.
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from graphlib import TopologicalSorter
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from redoxmd.config.sections import Config
from redoxmd.engines import reference_record
from redoxmd.errors import DataError
from redoxmd.files.records import content_hash, file_sha256, plain, read_json, write_json
from redoxmd.runs.job_records import files_by_output
from redoxmd.runs.versions import PACKAGE, code_hash

LIBRARIES = ("redoxmd", "torch", "numpy", "scipy", "ase", "pymatgen", "h5py", "numba", "vesin", "snakemake")
ENGINE_LIBRARIES = {"gpaw": ("gpaw", "gpaw-data"), "vasp": ("custodian",), "ase": (), "toy": ()}
FINGERPRINT = ("sha256", "size", "mtime_ns")
# Files of one rule that `trace` lists; further files are only counted.
MAX_FILES_PER_RULE = 6
RECORD_KEYS = ("rule", "input", "params", "starttime", "endtime")


def write_manifest(path: Path, config: Config, targets: Iterable[str], root: Path = Path()) -> None:
    """Write the manifest of a run; files unchanged in size and date since the last manifest are not read again.

    Their checksums are stored in a separate file, because Snakemake removes an output before it is remade. The manifest
    covers all ancestors of the `targets`.
    """
    checksums_path = path.with_name("checksums.json")
    manifest = make_manifest(config, targets, root, read_json(checksums_path) if checksums_path.exists() else {})
    hashed = {name: entry for name, entry in manifest["files"].items() if "sha256" in entry}
    write_json(checksums_path, {name: {key: entry[key] for key in FINGERPRINT} for name, entry in hashed.items()})
    write_json(path, manifest)


def make_manifest(
    config: Config, targets: Iterable[str], root: Path, previous: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Manifest: config, versions, and sha256, size, rule, inputs, parameters and times of all ancestors of the targets.

    `previous` holds sha256, size and mtime_ns of files hashed before; they are reused if size and date are unchanged.
    """
    records: dict[str, dict[str, Any]] = {}
    for name, path in files_by_output(root / ".snakemake/metadata").items():
        with suppress(ValueError):
            records[name] = json.loads(path.read_text(encoding="utf-8"))
    files: dict[str, dict[str, Any]] = {}
    waiting = list(targets)
    while waiting:
        name = waiting.pop()
        if name in files:
            continue
        record, path = records.get(name, {}), root / name
        files[name] = {key: record[key] for key in RECORD_KEYS if record.get(key) is not None}
        if path.is_file():
            state, earlier = path.stat(), (previous or {}).get(name, {})
            unchanged = (earlier.get("size"), earlier.get("mtime_ns")) == (state.st_size, state.st_mtime_ns)
            checksum = earlier["sha256"] if unchanged else file_sha256(path)
            files[name] |= {"sha256": checksum, "size": state.st_size, "mtime_ns": state.st_mtime_ns}
        waiting += files[name].get("input", [])
    return {
        "run": config.run,
        "seed": config.seed,
        "config": plain(config),
        "reference": reference_record(config.engine),
        **({"teacher": config.pretrain.potential} if config.pretrain.enabled else {}),
        "software": software(config),
        "files": dict(sorted(files.items())),
    }


def software(config: Config) -> dict[str, Any]:
    """Versions of libraries and Python, the platform, the content hash of the package and its git commit if any.

    The commit has a "+" if tracked files differ from it.
    """
    versions = {}
    teacher = [config.pretrain.potential.partition(".")[0]] if config.pretrain.enabled else []
    for name in (*LIBRARIES, *ENGINE_LIBRARIES[config.engine.name], *teacher):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    commit = None
    with suppress(OSError, subprocess.SubprocessError):
        head, changes = (
            subprocess.run(["git", *words], cwd=PACKAGE, capture_output=True, text=True, check=True, timeout=60).stdout
            for words in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
        commit = head.strip() + ("+" if changes.strip() else "")
    return {
        "versions": versions,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "source": code_hash([PACKAGE]),
        "commit": commit,
    }


def chain_of(manifest: dict[str, Any], name: str) -> list[str]:
    """Ancestors of a file, the file itself first, each once and after all files made from it.

    Raises:
        DataError: the manifest has no such file.
    """
    files = manifest["files"]
    if name not in files:
        figures = sorted({Path(file).stem for file in files if "/figures/" in file})
        raise DataError(f"{name}: not in the manifest; it has the figures {', '.join(figures) or 'none'}")
    graph: dict[str, list[str]] = {}
    waiting = [name]
    while waiting:
        file = waiting.pop()
        if file not in graph:
            graph[file] = [parent for parent in files[file].get("input", []) if parent in files]
            waiting += graph[file]
    return list(TopologicalSorter(graph).static_order())[::-1]


def describe_chain(manifest: dict[str, Any], name: str, root: Path = Path(), named: int = MAX_FILES_PER_RULE) -> str:
    """Ancestors of a file as text, by rule, each with its checksum; files that differ from the manifest are marked.

    Of each rule at most `named` files and all that differ are listed; the others are counted.
    """
    files = manifest["files"]
    by_rule: dict[str, list[str]] = {}
    for file in chain_of(manifest, name):
        by_rule.setdefault(files[file].get("rule", "given"), []).append(file)
    lines = []
    for rule, rule_files in by_rule.items():
        lines.append(rule)
        with_changes = [(file, changed_since(root / file, files[file])) for file in rule_files]
        shown = [(file, change) for number, (file, change) in enumerate(with_changes) if number < named or change]
        lines += [f"  {files[file].get('sha256', 'missing')[:16]}  {file}{change}" for file, change in shown]
        if len(shown) < len(with_changes):
            lines.append(f"  … and {len(with_changes) - len(shown)} more")
    reference, software_record = manifest["reference"], manifest["software"]
    words = ", ".join(f"{key} {value}" for key, value in reference["settings"].items())
    versions = ", ".join(f"{key} {value}" for key, value in software_record["versions"].items())
    lines += [
        "",
        f"reference  {reference['engine']}, method version {reference['method_version']}, settings "
        f"{reference['settings_hash']}{': ' + words if words else ''}",
        *([f"teacher    {manifest['teacher']}"] if "teacher" in manifest else []),
        f"config     {content_hash(manifest['config'])}, run {manifest['run']}, seed {manifest['seed']}",
        f"software   {versions}, Python {software_record['python']}",
        f"source     {software_record['source']}, commit {software_record['commit'] or 'none'}",
    ]
    return "\n".join(lines)


def changed_since(path: Path, entry: dict[str, Any]) -> str:
    """Remark on a file that differs from its entry in the manifest; empty if it is the same, by date or by sha256."""
    if not path.is_file():
        return "  (no longer there)"
    state = path.stat()
    if (state.st_size, state.st_mtime_ns) == (entry.get("size"), entry.get("mtime_ns")):
        return ""
    return "" if file_sha256(path) == entry.get("sha256") else "  (has changed since)"
