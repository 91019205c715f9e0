"""Text files of other codes: compressed or not, with Fortran's numbers, read and written fast."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from redoxmd.errors import DensityRefused
from redoxmd.records import atomic_path

COMPRESSED: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
# vasprun.xml, vasprun_01.xml.gz, OUTCAR.relax1, run000001.CHGCAR: what is left tells the runs of a folder apart.
VASP_NAME = re.compile(r"(?:(.*)[._-])?(vasprun|OUTCAR|POTCAR|CHGCAR|AECCAR[012]|PARCHG)(?![A-Za-z])(.*)", re.DOTALL)
# Fortran leaves the letter out where an exponent takes three digits: 0.12345-102.
BARE_EXPONENT = re.compile(rb"^([-+]?\d*\.\d+)([-+]\d{3})$")


def vasp_name(path: Path) -> tuple[str, str]:
    """What a file of VASP is by its name, in small letters, and the tag of its run; two empty words for any other."""
    name = path.name
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    found = VASP_NAME.fullmatch(name)
    if found is None:
        return "", ""
    parts = [found[1] or "", found[3].replace(".xml", "", 1).strip("._-")]
    return found[2].lower(), ".".join(part for part in parts if part)


def read_bytes(path: Path, limit: int = -1) -> bytes:
    """The first `limit` bytes of a file, or all; decompressed as its suffix says (.gz, .bz2, .xz).

    Raises:
        DensityRefused: unreadable, for a file that is missing, damaged or cut.
    """
    try:
        with COMPRESSED.get(path.suffix, open)(path, "rb") as stream:
            content: bytes = stream.read(limit)
            return content
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DensityRefused("unreadable", f"{path}: {error}; copy the file again") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically, compressed when its name ends in .gz; the same content gives the same bytes."""
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(gzip.compress(content, 4, mtime=0) if path.suffix == ".gz" else content)


def parse_numbers(words: list[bytes], where: str) -> np.ndarray:
    """Numbers (n,) of n words.

    Raises:
        DensityRefused: not_finite where Fortran wrote stars, unreadable for any other word that is no number.
    """
    try:
        return np.array(words, dtype=float)
    except ValueError:
        return np.array([_number(word, where) for word in words])


def _number(word: bytes, where: str) -> float:
    try:
        return float(BARE_EXPONENT.sub(rb"\1E\2", word.upper().replace(b"D", b"E")))
    except ValueError as error:
        text = word[:40].decode(errors="replace")
        if b"*" in word:
            raise DensityRefused("not_finite", f"{where}: {text} is a number too large for its field") from error
        raise DensityRefused("unreadable", f"{where}: {text} is no number; the file is damaged") from error


def format_numbers(values: np.ndarray, form: str, per_line: int) -> bytes:
    """Lines of `per_line` numbers, each as `form` (printf), the last line with what is left."""
    lines, rest = divmod(values.size, per_line)
    pattern = (form * per_line + "\n") * lines + (form * rest + "\n" if rest else "")
    return (pattern % tuple(values.tolist())).encode()
