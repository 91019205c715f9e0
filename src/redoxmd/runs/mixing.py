"""Check that all labels of a run come from one reference method; otherwise the run is refused before any job."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Any

from redoxmd.config.sections import Config
from redoxmd.engines import reference_record
from redoxmd.errors import ConfigError
from redoxmd.files.records import read_json, write_json

LABELLED = ("aimd/*/frames.extxyz", "label/gen*/frames.extxyz")
HASH = re.compile(r'\bsettings_hash="?([0-9a-f]{16})\b')


def record_reference(results: Path, config: Config) -> None:
    """Write results/<run>/reference.json with the reference method, so that later changes can be named."""
    record = reference_record(config.engine)
    path = results / "reference.json"
    if not path.exists() or read_json(path) != record:
        write_json(path, record)


def refuse_mixing(results: Path, config: Config) -> None:
    """Compare the settings hash of the labels of a run with that of the engine section.

    Raises:
        ConfigError: labels have other reference settings; the message names the changes and the remedies. Or the run
            has generations, and an ensemble is given instead of them now.
    """
    if not config.has_loop and (decisions := sorted((results / "gate").glob("gen*.json"))):
        raise ConfigError(
            f"run {config.run}: {decisions[0]} is of a loop, whose data set and ensemble train.ensemble would replace; "
            "set another run name"
        )
    current = reference_record(config.engine)
    for path in (path for pattern in LABELLED for path in sorted(results.glob(pattern))):
        # The hash is in the comment line of the first frame.
        with path.open(encoding="utf-8") as handle:
            match = HASH.search("".join(islice(handle, 1, 2)))
        if match and match[1] != current["settings_hash"]:
            raise ConfigError(
                f"run {config.run}: {path} was labelled with reference settings {match[1]}, the engine section now "
                f"gives {current['settings_hash']}{_changes(results, match[1], current)}. Data of different reference "
                f"settings do not mix: set another run name (run: {config.run}-{current['settings_hash'][:6]}; "
                f"{results} stays as it is), or put the engine section back as it was, or remove {results}"
            )


def _changes(results: Path, before: str, current: dict[str, Any]) -> str:
    """Differences of the recorded reference method from the current one; "" without a record of that hash."""
    path = results / "reference.json"
    old = read_json(path) if path.exists() else {}
    if old.get("settings_hash") != before:
        return ""
    differences = [
        f"{key} was {old[key]}, is {current[key]}" for key in ("engine", "method_version") if old[key] != current[key]
    ]
    if old["engine"] == current["engine"]:
        was, now = old["settings"], current["settings"]
        changed = [key for key in sorted({*was, *now}) if was.get(key) != now.get(key)]
        differences += [f"{key} was {was.get(key)}, is {now.get(key)}" for key in changed]
    return f" ({'; '.join(differences)})" if differences else ""
