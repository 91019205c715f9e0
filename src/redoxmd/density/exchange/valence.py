"""Valence electrons that a file of another code does not say: as given, or from the VASP files beside it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from redoxmd.density.exchange.text import read_bytes, vasp_file
from redoxmd.errors import ConfigError, DensityRefusal, DensityRefused

VASP_FILES = ("OUTCAR", "vasprun.xml", "POTCAR")
DENSITIES = ("chgcar", "aeccar0", "aeccar1", "aeccar2", "parchg")
# Both facts stand near the start; a long run's OUTCAR has gigabytes.
HEAD_BYTES = 8_000_000
ZVAL = re.compile(rb"TITEL\s*=\s*\S+\s+([A-Z][a-z]?)(?![a-z]).*?ZVAL\s*=\s*([\d.]+)", re.DOTALL)
ATOMTYPE = re.compile(rb"<rc><c>\s*\d+\s*</c><c>\s*([A-Z][a-z]?)\s*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c>")
NELECT = re.compile(rb"NELECT(?:\s*=|\">)\s*([\d.]+)")


def parse_valences(text: str) -> dict[str, float]:
    """Read `Na=7,V=13`.

    Raises:
        ConfigError: no element, or a number of electrons that it cannot have.
    """
    valences = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        symbol, _, number = item.partition("=")
        try:
            valences[symbol] = float(number)
        except ValueError as error:
            raise ConfigError(f"--valence {text}: {item} is not of the form Na=7") from error
        if not 0 < valences[symbol] <= atomic_numbers.get(symbol, 0):
            raise ConfigError(f"--valence {text}: {item}: no element with that many electrons")
    return valences


def find_valences(path: Path, symbols: Sequence[str], given: Mapping[str, float] | None) -> np.ndarray:
    """Valence electrons (n,) of atoms: as given, else as OUTCAR, vasprun.xml or POTCAR beside `path` say.

    Raises:
        DensityRefused: wrong_electrons when nothing says what an element brings.
    """
    known = dict(given or {})
    for source in _beside(path) if set(symbols) - set(known) else ():
        known = _read_valences(source, set(symbols) - set(known)) | known
    missing = sorted(set(symbols) - set(known))
    if missing:
        example = ",".join(f"{symbol}=…" for symbol in missing)
        raise DensityRefused(
            DensityRefusal.WRONG_ELECTRONS,
            f"{path}: valence electrons of {', '.join(missing)} unknown; give --valence {example} or put the run's "
            f"{', '.join(VASP_FILES[:-1])} or {VASP_FILES[-1]} beside it",
        )
    return np.array([known[symbol] for symbol in symbols], dtype=float)


def find_electrons(path: Path) -> float | None:
    """Electrons (NELECT) of the run whose OUTCAR or vasprun.xml lies beside `path`; None without such a file."""
    for source in _beside(path):
        found = NELECT.search(read_bytes(source, HEAD_BYTES))
        if found:
            return float(found[1])
    return None


def _beside(path: Path) -> Iterator[Path]:
    """OUTCAR, vasprun.xml and POTCAR of the run that wrote `path`, by the tag in their names (CHGCAR.1, OUTCAR.1).

    Files without a tag belong to a density without one. They stand in for those of a tag only where the folder shows
    one run: no file of that tag says what it ran with, and no density of another tag is there.
    """
    kind, tag = vasp_file(path) or ("", "")
    files = [(file, vasp_file(file)) for file in sorted(path.parent.iterdir()) if file.is_file()]
    named = [(file, *name) for file, name in files if name is not None]
    several = any(
        (other == tag and its_kind in ("outcar", "vasprun")) or (other != tag and its_kind in DENSITIES)
        for _, its_kind, other in named
    )
    for wanted in ("outcar", "vasprun", "potcar"):
        own = [file for file, its_kind, other in named if (its_kind, other) == (wanted, tag)]
        # What an element brings a POTCAR says for every run.
        common = [file for file, its_kind, other in named if (its_kind, other) == (wanted, "")]
        yield from (own or ([] if kind and tag and several and wanted != "potcar" else common))[:1]


def _read_valences(source: Path, wanted: set[str]) -> dict[str, float]:
    content = read_bytes(source, HEAD_BYTES)
    valences: dict[str, float] = {}
    for symbol, number in (pair for form in (ZVAL, ATOMTYPE) for pair in form.findall(content)):
        element, value = symbol.decode(), float(number)
        if element in wanted and valences.setdefault(element, value) != value:
            raise DensityRefused(
                DensityRefusal.WRONG_ELECTRONS,
                f"{source}: {element} has {valences[element]:g} and {value:g} valence electrons there",
            )
    return {element: value for element, value in valences.items() if element in wanted}
