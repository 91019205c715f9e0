"""Atomic writing of files (temporary file, fsync, rename), JSON records, and hashes that identify content."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from enum import StrEnum
from itertools import count
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from pydantic import BaseModel

from redoxmd.errors import DataError

# The umask of the user; it can be read only by setting it, which is safe while there is one thread.
UMASK = os.umask(0)
os.umask(UMASK)
# Suffix of damaged files that were renamed.
DAMAGED = ".damaged"
Record = TypeVar("Record")


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it into place, else remove it.

    A reader therefore sees the old file, the complete new one, or none.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.chmod(0o666 & ~UMASK)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write text atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, record: Any) -> None:
    """Write a record as JSON atomically: sorted keys; NaN and infinities become the strings "nan", "inf"."""
    write_text(path, json.dumps(plain(record), indent=1, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON record; a broken or missing file is a DataError that names it."""
    try:
        return json.loads(read_bytes(path))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such record; the stage that writes it has not finished") from error
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error}); delete it and run again") from error


def typed_record(kind: type[Record], record: Mapping[str, Any]) -> Record:
    """A record of a JSON file as the dataclass that wrote it, of this version or of another.

    A key that the file lacks has the default of its field, or is an AttributeError for who asks for it; further keys
    are kept.
    """
    made = object.__new__(kind)
    vars(made).update(record)
    return made


def with_numbers(value: Any) -> Any:
    """A record with NaN and infinities restored from the strings that `write_json` writes."""
    if isinstance(value, dict):
        return {key: with_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_numbers(item) for item in value]
    return float(value) if value in ("nan", "inf", "-inf") else value


class JsonRecord:
    """A dataclass that is one JSON file; a subclass changes how its fields are written or read."""

    def record(self) -> dict[str, Any]:
        """As written to the file, without fields that are None."""
        return {key: value for key, value in vars(self).items() if value is not None}

    def write(self, path: str | Path) -> None:
        """Write the file."""
        write_json(path, self.record())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """The record in a file."""
        return cls.from_json(read_json(path))

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Self:
        """The record of a JSON record; keys that it lacks as in `typed_record`."""
        return typed_record(cls, with_numbers(record))


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; an OSError names it, whether opening or reading failed."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        error.filename = str(path)
        raise


def keep_damaged(path: Path) -> Path:
    """Rename a damaged file or folder to `NAME.damaged`, or `NAME.damaged-2` and so on, and return its new name."""
    names = (path.with_name(f"{path.name}{DAMAGED}{'' if number == 1 else f'-{number}'}") for number in count(1))
    target = next(name for name in names if not name.exists())
    return path.rename(target)


def plain(value: Any, text_keys: bool = True) -> Any:
    """A record as JSON reads it back: models and dataclasses as objects, arrays as lists, NaN and infinities as text.

    Keys become text; without `text_keys` they stay, as in the settings of rules, which Snakemake compares as printed.
    """
    if isinstance(value, BaseModel):
        return {name: plain(getattr(value, name), text_keys) for name in type(value).model_fields}
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value), text_keys)
    if isinstance(value, dict):
        return {str(key) if text_keys else key: plain(item, text_keys) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, text_keys) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist(), text_keys)
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    return str(value) if isinstance(value, Path | StrEnum) else value


def content_hash(record: Any) -> str:
    """Sixteen hex digits of the SHA-256 of a JSON-like record, used to identify settings."""
    text = json.dumps(plain(record), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, read in blocks."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as handle:
        for block in iter(lambda: handle.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()
