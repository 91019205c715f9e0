"""Common parts of the readers of OUTCAR and vasprun.xml: opening, numbers, values of tags."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from redoxmd.density.exchange.text import COMPRESSED
from redoxmd.errors import LabelRefusal, LabelRefused, system_errno

# Fortran prints no blank before a negative number that fills its field.
FUSED = re.compile(r"(?<=\d)-(?=[\d.])")
LOGICAL_WORDS = {"T": True, "TRUE": True, "F": False, "FALSE": False}


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Bytes of a file, decompressed as its suffix says (.gz, .bz2, .xz).

    Raises:
        LabelRefused: did_not_start if the file is missing or empty; unfinished if a compressed file is cut, as for an
            uncompressed file; corrupted if it cannot be decompressed for another reason.
    """
    try:
        with COMPRESSED.get(path.suffix, open)(path, "rb") as stream:
            if path.stat().st_size == 0 or not stream.peek(1):
                raise LabelRefused(
                    LabelRefusal.DID_NOT_START, f"{path} is empty; look at what VASP printed when it started"
                )
            yield stream
    except FileNotFoundError as error:
        raise LabelRefused(LabelRefusal.DID_NOT_START, f"{path}: no such file; look at what VASP printed") from error
    except EOFError as error:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{path} is cut ({error}); copy it again") from error
    except (OSError, zlib.error, lzma.LZMAError) as error:
        if system_errno(error) is not None:
            raise
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path} cannot be read ({error}); copy it again") from error


def numbers(text: str, count: int, where: str) -> list[float]:
    """`count` numbers from a text; NaN and Infinity count as numbers.

    Raises:
        LabelRefused: corrupted, for stars (a number too large for its field), other words, or another count.
    """
    words = text.split()
    try:
        if len(words) == count:
            return [float(word) for word in words]
        values = [float(word) for word in FUSED.sub(" -", text).split()]
    except ValueError as error:
        cause = "a number too large for its field" if "*" in text else "no numbers"
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{where}: {text.strip()[:60]!r} is {cause}") from error
    if len(values) != count:
        raise LabelRefused(
            LabelRefusal.CORRUPTED, f"{where}: {len(values)} numbers where {count} belong: {text.strip()[:60]!r}"
        )
    return values


def logical(word: Any) -> bool | None:
    """Value of a Fortran logical (T, .TRUE., …); None for any other word."""
    if isinstance(word, bool):
        return word
    return LOGICAL_WORDS.get(str(word).strip().strip(".").upper())


def tag_value(text: str) -> Any:
    """A tag's value: bool, int, float or the text."""
    text = text.strip()
    if (value := logical(text)) is not None:
        return value
    for kind in (int, float):
        try:
            return kind(text.replace("D", "E"))
        except ValueError:
            continue
    return text


def typed_value(value: Any) -> Any:
    """Value of a tag as VASP reads it: without comment, words in capitals, a vector of one element as a number."""
    if isinstance(value, list | tuple | np.ndarray):
        items = [typed_value(item) for item in value]
        return items[0] if len(items) == 1 else items
    return tag_value(tag_word(value)) if isinstance(value, str) else value


def tag_word(value: Any) -> str:
    """Text of a tag in capitals, without the comment that <incar> contains."""
    return str(value).partition("!")[0].partition("#")[0].strip().upper()
