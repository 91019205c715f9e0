"""What VASP's two output files have in common: opening, numbers, tags, and when an electronic loop converged."""

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

# Fortran leaves no blank before a negative number that fills its field.
FUSED = re.compile(r"(?<=\d)-(?=[\d.])")
# OUTCAR prints EDIFF with one digit: 1.4e-6 and 1e-6 look the same.
EDIFF_ROUNDING = 1.5
# 5 to 8 displace atoms, 1 to 3 and 40 on look for a minimum or a saddle; -1 is moved from outside, if at all.
IBRION_OF_MD = (-1, 0)
RESPONSE_TAGS = ("LEPSILON", "LCALCEPS", "LCHIMAG")
IBRION_OF_RESPONSE = (5, 6, 7, 8)
FULL_OUTPUT = 2
WORDS_OF_TRUTH = {"T": True, "TRUE": True, "F": False, "FALSE": False}
# Values of ALGO and IALGO that do not minimise the energy of density functional theory: nothing at all, bands of a
# given density, excitations and correlation on top of it.
NO_GROUND_STATE = frozenset(["NONE", "NOTHING", "EIGENVAL", "EXACT", "SUBROT", "CHI", "BSE", "TDHF", "TIMEEV"])
BEYOND_DFT = re.compile(r"GW|ACFDT|RPA|MP2")
NO_GROUND_STATE_NUMBERS = (2, 3, 4)
# ICHARG + 10 keeps the density it starts from.
FIXED_DENSITY = 10


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """Bytes of a file, decompressed as its suffix says (.gz, .bz2, .xz).

    Raises:
        LabelRefused: did_not_start where there is no file or nothing in it; unfinished where a compressed file is cut,
            which is what a cut file in it would be too; corrupted where it cannot be decompressed otherwise.
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
    """`count` numbers of a text; NaN and Infinity are numbers.

    Raises:
        LabelRefused: corrupted, for stars (a number too large for its field), other words, or another count.
    """
    words = text.split()
    try:
        if len(words) == count:
            return [float(word) for word in words]
        found = [float(word) for word in FUSED.sub(" -", text).split()]
    except ValueError as error:
        cause = "a number too large for its field" if "*" in text else "no numbers"
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{where}: {text.strip()[:60]!r} is {cause}") from error
    if len(found) != count:
        raise LabelRefused(
            LabelRefusal.CORRUPTED, f"{where}: {len(found)} numbers where {count} belong: {text.strip()[:60]!r}"
        )
    return found


def truth(word: Any) -> bool | None:
    """A Fortran logical (T, .TRUE., …); None for any other word."""
    if isinstance(word, bool):
        return word
    return WORDS_OF_TRUTH.get(str(word).strip().strip(".").upper())


def tag_value(text: str) -> Any:
    """A tag's value: bool, int, float or the text."""
    text = text.strip()
    if (answer := truth(text)) is not None:
        return answer
    for kind in (int, float):
        try:
            return kind(text.replace("D", "E"))
        except ValueError:
            continue
    return text


def typed_value(value: Any) -> Any:
    """A tag as VASP takes it: without comment, words in capitals, one number for a vector of one."""
    if isinstance(value, list | tuple | np.ndarray):
        items = [typed_value(item) for item in value]
        return items[0] if len(items) == 1 else items
    return tag_value(tag_word(value)) if isinstance(value, str) else value


def tag_word(value: Any) -> str:
    """Text of a tag in capitals, without the comment that <incar> repeats."""
    return str(value).partition("!")[0].partition("#")[0].strip().upper()


def is_md(settings: dict[str, Any]) -> bool:
    """Whether ionic steps follow each other in time: not those of relaxations and of displaced atoms (IBRION)."""
    return int(settings.get("IBRION", 0)) in IBRION_OF_MD


def response_tags(settings: dict[str, Any]) -> str:
    """The tags that add loops of linear response, fields or NMR to the ground state's, as text; "" without any."""
    found = [f"{tag} = T" for tag in RESPONSE_TAGS if truth(settings.get(tag))]
    ibrion = int(settings.get("IBRION", 0))
    return ", ".join(([f"IBRION = {ibrion}"] if ibrion in IBRION_OF_RESPONSE else []) + found)


def partial_stress_note(settings: dict[str, Any]) -> str | None:
    """Why the stress of a run must not be used: VASP calculates all of it from ISIF = 2 on; None where it may."""
    isif = int(settings.get("ISIF", 2))
    if isif >= 2:
        return None
    return f"stress left out: with ISIF = {isif} VASP calculates its trace at most; ISIF = 2 gives all of it"


def loop_converged(steps: int, change_eV: float | None, settings: dict[str, Any], resolution_eV: float) -> bool:
    """Whether an electronic loop ended because it had converged.

    VASP stops at NELM steps as it stops at convergence, and some versions then say that EDIFF was reached. So a loop of
    NELM steps counts only if its last change is below EDIFF for certain; a shorter one must not contradict EDIFF, for
    STOPCAR ends loops too. No steps at all are a prediction of VASP's own force field, not DFT.

    Args:
        steps: electronic steps.
        change_eV: size of the last change of the energy; None where it is not known.
        settings: with NELM and EDIFF (eV).
        resolution_eV: to which the file prints the change.
    """
    most, tolerance_eV = int(settings.get("NELM", 60)), float(settings.get("EDIFF", 0.0))
    if steps == 0 or change_eV is None:
        return False
    if steps >= most:
        return change_eV + resolution_eV < tolerance_eV
    return change_eV <= EDIFF_ROUNDING * tolerance_eV + 2 * resolution_eV


def refuse_fixed_density(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse a run whose density is not that of its own orbitals: its energy and forces are no label.

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
