"""Text files of other codes: compressed or not, with Fortran's numbers, read and written fast."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np

from redoxmd.errors import DensityRefusal, DensityRefused, system_errno
from redoxmd.files.records import atomic_path

COMPRESSED: dict[str, Callable[..., IO[Any]]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": lambda content: gzip.compress(content, 4, mtime=0),
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
}
NOT_UNPACKED = {".tar", ".tgz", ".zip", ".7z", ".rar", ".zst", ".lzma", ".lz4", ".z"}
UNPACK_IT = "packed in a form that is not read (.gz, .bz2, .xz are); unpack it"
# vasprun.xml, vasprun_01.xml.gz, OUTCAR.relax1, run1_CHGCAR: what stands around the name tells files of a folder apart.
VASP_NAME = re.compile(
    r"(?:(.*)[._-])?(vasprun|OUTCAR|POTCAR|CHGCAR|AECCAR[012]|PARCHG|vaspout)(?![A-Za-z])(.*)", re.DOTALL
)
# Scripts, figures and tables that are named after VASP's files.
OTHER_SUFFIXES = {
    ".py",
    ".ipynb",
    ".sh",
    ".png",
    ".pdf",
    ".svg",
    ".json",
    ".yaml",
    ".yml",
    ".csv",
    ".md",
    ".npy",
    ".npz",
}
OTHER_SUFFIXES |= {".cube", ".html"}
# Fortran leaves the letter out where an exponent takes three digits: 0.12345-102.
BARE_EXPONENT = re.compile(rb"^([-+]?\d*\.\d+)([-+]\d{3})$")


def is_packed(path: Path) -> bool:
    """Whether a name is of an archive of files, or of a compression that is not read."""
    return any(suffix.lower() in NOT_UNPACKED for suffix in path.suffixes)


def plain_name(path: Path) -> str:
    """File name without the suffix of its compression."""
    return path.stem if path.suffix in COMPRESSED else path.name


def vasp_file(path: Path) -> tuple[str, str] | None:
    """Which of VASP's files a name is of (vasprun, outcar, …), and the tag of its run, the words around it; or None."""
    name = plain_name(path)
    match = VASP_NAME.fullmatch(name)
    if match is None or Path(name).suffix.lower() in OTHER_SUFFIXES or is_packed(path):
        return None
    parts = [match[1] or "", match[3].removesuffix(".h5").replace(".xml", "", 1)]
    return match[2].lower(), "_".join(part for part in (part.strip("._-") for part in parts) if part)


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
        if system_errno(error) not in (None, errno.ENOENT):
            raise
        raise DensityRefused(DensityRefusal.UNREADABLE, f"{path}: {error}; copy the file again") from error


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file atomically, compressed as its suffix says; the same content gives the same bytes."""
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(PACK[path.suffix](content) if path.suffix in PACK else content)


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
            raise DensityRefused(
                DensityRefusal.NOT_FINITE, f"{where}: {text} is a number too large for its field"
            ) from error
        raise DensityRefused(DensityRefusal.UNREADABLE, f"{where}: {text} is no number; the file is damaged") from error


def format_numbers(values: np.ndarray, form: str, per_line: int) -> bytes:
    """Lines of `per_line` numbers, each as `form` (printf), the last line with what is left."""
    lines, rest = divmod(values.size, per_line)
    pattern = (form * per_line + "\n") * lines + (form * rest + "\n" if rest else "")
    return (pattern % tuple(values.tolist())).encode()
