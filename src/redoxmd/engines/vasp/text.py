"""Common parts of the readers of OUTCAR and vasprun.xml: opening, numbers, tags, convergence of electronic loops."""

from __future__ import annotations

import lzma
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np

from redoxmd.density.exchange.text import COMPRESSED
from redoxmd.errors import LabelRefusal, LabelRefused, system_errno

# Fortran prints no blank before a negative number that fills its field.
FUSED = re.compile(r"(?<=\d)-(?=[\d.])")
# OUTCAR prints EDIFF with one digit: 1.4e-6 and 1e-6 are indistinguishable.
EDIFF_ROUNDING = 1.5
# 5 to 8 displace atoms, 1 to 3 and from 40 on search a minimum or a saddle point; with -1 another code may move atoms.
IBRION_OF_MD = (-1, 0)
RESPONSE_TAGS = ("LEPSILON", "LCALCEPS", "LCHIMAG")
IBRION_OF_RESPONSE = (5, 6, 7, 8)
FULL_OUTPUT = 2
LOGICAL_WORDS = {"T": True, "TRUE": True, "F": False, "FALSE": False}
# Values of ALGO and IALGO that do not minimise the energy of density functional theory: no minimisation, bands of a
# fixed density, excitations, correlation energies.
NO_GROUND_STATE = frozenset(["NONE", "NOTHING", "EIGENVAL", "EXACT", "SUBROT", "CHI", "BSE", "TDHF", "TIMEEV"])
BEYOND_DFT = re.compile(r"GW|ACFDT|RPA|MP2")
NO_GROUND_STATE_NUMBERS = (2, 3, 4)
# ICHARG from 10 on keeps the initial density.
FIXED_DENSITY = 10


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


def is_md(settings: dict[str, Any]) -> bool:
    """Whether ionic steps are consecutive in time, by IBRION; false for relaxations and displaced atoms."""
    return int(settings.get("IBRION", 0)) in IBRION_OF_MD


def response_tags(settings: dict[str, Any]) -> str:
    """Tags that add loops of linear response, fields or NMR after the ground state, as text; "" if none is set."""
    logicals = [f"{tag} = T" for tag in RESPONSE_TAGS if logical(settings.get(tag))]
    ibrion = int(settings.get("IBRION", 0))
    return ", ".join(([f"IBRION = {ibrion}"] if ibrion in IBRION_OF_RESPONSE else []) + logicals)


def partial_stress_note(settings: dict[str, Any]) -> str | None:
    """Note on why the stress of a run is not used; None if VASP calculates all of it (ISIF from 2 on)."""
    isif = int(settings.get("ISIF", 2))
    if isif >= 2:
        return None
    return f"stress left out: with ISIF = {isif} VASP calculates its trace at most; ISIF = 2 gives all of it"


def loop_converged(steps: int, change_eV: float | None, settings: dict[str, Any], resolution_eV: float) -> bool:
    """Whether an electronic loop ended because it had converged.

    VASP ends a loop at NELM steps as well as at convergence, and some versions then print that EDIFF was reached. A
    loop of NELM steps therefore counts as converged only if its last change is certainly below EDIFF. The last change
    of a shorter loop must not contradict EDIFF, because STOPCAR ends loops too. A step without electronic steps is a
    prediction of VASP's own force field, not DFT.

    Args:
        steps: electronic steps.
        change_eV: magnitude of the last change of the energy; None if unknown.
        settings: with NELM and EDIFF (eV).
        resolution_eV: resolution of the printed change.
    """
    max_steps, tolerance_eV = int(settings.get("NELM", 60)), float(settings.get("EDIFF", 0.0))
    if steps == 0 or change_eV is None:
        return False
    if steps >= max_steps:
        return change_eV + resolution_eV < tolerance_eV
    return change_eV <= EDIFF_ROUNDING * tolerance_eV + 2 * resolution_eV


def refuse_fixed_density(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse a run that is not self-consistent, whose energy and forces are no label.

    Raises:
        LabelRefused: not_self_consistent.
    """
    charge, number = settings.get("ICHARG"), settings.get("IALGO")
    word = str(settings.get("ALGO", "")).upper().split()[:1]
    if isinstance(charge, int) and charge >= FIXED_DENSITY:
        cause = f"ICHARG = {charge} keeps the density fixed (bands, densities of states)"
    elif word and (word[0] in NO_GROUND_STATE or BEYOND_DFT.search(word[0])):
        cause = f"ALGO = {word[0]} seeks no self-consistent ground state"
    elif number in NO_GROUND_STATE_NUMBERS:
        cause = f"IALGO = {number} seeks no self-consistent ground state"
    else:
        return
    raise LabelRefused(LabelRefusal.NOT_SELF_CONSISTENT, f"{path}: {cause}; import the self-consistent run before it")
