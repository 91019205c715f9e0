"""One run, one reference method: a run whose labels were made otherwise is refused before any job starts."""

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
    """Write results/<run>/reference.json: the reference method in words, to say later what was changed."""
    record = reference_record(config.engine)
    path = results / "reference.json"
    if not path.exists() or read_json(path) != record:
        write_json(path, record)


def labelled_with(results: Path) -> dict[str, Path]:
    """Settings hash → a file of frames that carries it; the first frame of each file speaks for it."""
    found: dict[str, Path] = {}
    for pattern in LABELLED:
        for path in sorted(results.glob(pattern)):
            with path.open(encoding="utf-8") as handle:
                handle.readline()
                match = HASH.search(handle.readline())
            if match:
                found.setdefault(match[1], path)
    return found


def refuse_mixing(results: Path, config: Config) -> None:
    """Hold the labels of a run against the engine section.

    Raises:
        ConfigError: labels were made with other reference settings; the message says which changed, and the choices.
    """
    now = reference_record(config.engine)
    others = {value: path for value, path in labelled_with(results).items() if value != now["settings_hash"]}
    for before, path in others.items():
        raise ConfigError(
            f"run {config.run}: {path} was labelled with reference settings {before}, the engine section now gives "
            f"{now['settings_hash']}{_changes(results, before, now)}. Data of different reference settings do not mix: "
            f"set another run name (run: {config.run}-{now['settings_hash'][:6]}; {results} stays as it is), or put "
            f"the engine section back as it was, or remove {results}"
        )


def _changes(results: Path, before: str, now: dict[str, Any]) -> str:
    try:
        old = read_json(results / "reference.json")
    except DataError:
        return ""
    if old.get("settings_hash") != before:
        return ""
    words = [f"{key} was {old[key]}, is {now[key]}" for key in ("engine", "method_version") if old[key] != now[key]]
    if old["engine"] == now["engine"]:
        keys = sorted({*old["settings"], *now["settings"]})
        pairs = [(key, old["settings"].get(key), now["settings"].get(key)) for key in keys]
        words += [f"{key} was {was}, is {is_now}" for key, was, is_now in pairs if was != is_now]
    return f" ({'; '.join(words)})" if words else ""
