"""Check that all labels of a run come from one reference method; otherwise the run is refused before any job."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from redoxmd.config.sections import Config
from redoxmd.engines import reference_record
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.records import read_json, write_json

LABELLED = ("aimd/*/frames.extxyz", "label/gen*/frames.extxyz")
HASH = re.compile(r'\bsettings_hash="?([0-9a-f]{16})\b')


def record_reference(results: Path, config: Config) -> None:
    """Write results/<run>/reference.json with the reference method, so that later changes can be named."""
    record = reference_record(config.engine)
    path = results / "reference.json"
    if not path.exists() or read_json(path) != record:
        write_json(path, record)


def label_hashes(results: Path) -> dict[str, Path]:
    """Settings hash → a file of frames with this hash, read from the first frame of each file."""
    path_of_hash: dict[str, Path] = {}
    for pattern in LABELLED:
        for path in sorted(results.glob(pattern)):
            with path.open(encoding="utf-8") as handle:
                handle.readline()
                match = HASH.search(handle.readline())
            if match:
                path_of_hash.setdefault(match[1], path)
    return path_of_hash


def refuse_mixing(results: Path, config: Config) -> None:
    """Compare the settings hash of the labels of a run with that of the engine section.

    Raises:
        ConfigError: labels have other reference settings; the message names the changes and the remedies.
    """
    current = reference_record(config.engine)
    mismatches = {value: path for value, path in label_hashes(results).items() if value != current["settings_hash"]}
    for before, path in mismatches.items():
        raise ConfigError(
            f"run {config.run}: {path} was labelled with reference settings {before}, the engine section now gives "
            f"{current['settings_hash']}{_changes(results, before, current)}. Data of different reference settings "
            f"do not mix: set another run name (run: {config.run}-{current['settings_hash'][:6]}; {results} stays as "
            f"it is), or put the engine section back as it was, or remove {results}"
        )


def _changes(results: Path, before: str, current: dict[str, Any]) -> str:
    try:
        old = read_json(results / "reference.json")
    except DataError:
        return ""
    if old.get("settings_hash") != before:
        return ""
    words = [
        f"{key} was {old[key]}, is {current[key]}" for key in ("engine", "method_version") if old[key] != current[key]
    ]
    if old["engine"] == current["engine"]:
        keys = sorted({*old["settings"], *current["settings"]})
        pairs = [(key, old["settings"].get(key), current["settings"].get(key)) for key in keys]
        words += [
            f"{key} was {old_value}, is {new_value}" for key, old_value, new_value in pairs if old_value != new_value
        ]
    return f" ({'; '.join(words)})" if words else ""
