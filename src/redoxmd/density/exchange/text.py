"""Read and write text files of other codes fast: optional compression, Fortran number formats."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import re
import zlib
from collections.abc import Callable, Collection
from itertools import count
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
# vasprun.xml, vasprun_01.xml.gz, OUTCAR.relax1, run1_CHGCAR: prefix and suffix distinguish the runs of a folder.
VASP_NAME = re.compile(
    r"(?:(.*)[._-])?(vasprun|OUTCAR|POTCAR|CHGCAR|AECCAR[012]|PARCHG|vaspout)(?![A-Za-z])(.*)", re.DOTALL
)
# Suffixes of scripts, figures and tables that are named after files of VASP.
OTHER_SUFFIXES = {
    *(".py", ".ipynb", ".sh", ".png", ".pdf", ".svg", ".json", ".yaml", ".yml", ".csv", ".md", ".npy", ".npz"),
    *(".cube", ".html"),
}
# Fortran omits the letter before an exponent of three digits: 0.12345-102.
BARE_EXPONENT = re.compile(rb"^([-+]?\d*\.\d+)([-+]\d{3})$")


def by_number(name: str) -> list[tuple[int, str]]:
    """Sort key by the numbers in a name: run9 before run10."""
    return [(int(word), "") if word.isdecimal() else (-1, word) for word in re.split(r"(\d+)", name)]


def safe_name(name: str, empty: str = "") -> str:
    """A name reduced to letters, digits, `.`, `_` and `-`, as configurations and HDF5 groups need; else `empty`."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._") or empty


def unused_name(name: str, used: Collection[str]) -> str:
    """A name, or NAME-2, NAME-3, …, whichever is the first that is not used."""
    names = (name if number == 1 else f"{name}-{number}" for number in count(1))
    return next(candidate for candidate in names if candidate not in used)


def is_packed(path: Path) -> bool:
    """Whether the suffix is that of an archive, or of a compression that is not supported."""
    return any(suffix.lower() in NOT_UNPACKED for suffix in path.suffixes)


def plain_name(path: Path) -> str:
    """File name without the suffix of a supported compression."""
    return path.stem if path.suffix in COMPRESSED else path.name


def vasp_file(path: Path) -> tuple[str, str] | None:
    """Kind of a VASP file (vasprun, outcar, …) and the tag of its run (prefix and suffix of the name), or None."""
    name = plain_name(path)
    match = VASP_NAME.fullmatch(name)
    if match is None or Path(name).suffix.lower() in OTHER_SUFFIXES or is_packed(path):
        return None
    affixes = (match[1] or "", match[3].removesuffix(".h5").replace(".xml", "", 1))
    return match[2].lower(), "_".join(filter(None, (affix.strip("._-") for affix in affixes)))


def read_unpacked(path: Path, limit: int = -1) -> bytes:
    """Read the first `limit` bytes of a file, or all, decompressed according to its suffix (.gz, .bz2, .xz).

    Raises:
        DensityRefused: unreadable; the file is missing, damaged or truncated.
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
    """Write a file atomically, compressed according to its suffix; the same content gives the same bytes."""
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(PACK[path.suffix](content) if path.suffix in PACK else content)


def parse_numbers(words: list[bytes], source: str) -> np.ndarray:
    """Parse n words to numbers (n,).

    Raises:
        DensityRefused: not_finite for asterisks of Fortran, unreadable for any other word that is not a number.
    """
    try:
        return np.array(words, dtype=float)
    except ValueError:
        return np.array([_number(word, source) for word in words])


def _number(word: bytes, source: str) -> float:
    try:
        return float(BARE_EXPONENT.sub(rb"\1E\2", word.upper().replace(b"D", b"E")))
    except ValueError as error:
        text = word[:40].decode(errors="replace")
        if b"*" in word:
            raise DensityRefused(
                DensityRefusal.NOT_FINITE, f"{source}: {text} is a number too large for its field"
            ) from error
        raise DensityRefused(
            DensityRefusal.UNREADABLE, f"{source}: {text} is not a number; the file is damaged"
        ) from error


def format_numbers(values: np.ndarray, form: str, per_line: int) -> bytes:
    """Lines of `per_line` numbers in the printf format `form`; the last line may be shorter."""
    lines, remainder = divmod(values.size, per_line)
    pattern = (form * per_line + "\n") * lines + (form * remainder + "\n" if remainder else "")
    return (pattern % tuple(values.tolist())).encode()
