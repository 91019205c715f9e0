"""Valence electrons of atoms, from the user or from VASP files in the same folder as a density."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from ase.data import atomic_numbers

from redoxmd.density.exchange.text import read_unpacked, vasp_file
from redoxmd.errors import ConfigError, DensityRefusal, DensityRefused

VASP_FILES = ("OUTCAR", "vasprun.xml", "POTCAR")
DENSITIES = ("chgcar", "aeccar0", "aeccar1", "aeccar2", "parchg")
# ZVAL and NELECT occur near the start; the OUTCAR of a long run has gigabytes.
HEAD_BYTES = 8_000_000
ZVAL = re.compile(rb"TITEL\s*=\s*\S+\s+([A-Z][a-z]?)(?![a-z]).*?ZVAL\s*=\s*([\d.]+)", re.DOTALL)
ATOMTYPE = re.compile(rb"<rc><c>\s*\d+\s*</c><c>\s*([A-Z][a-z]?)\s*</c><c>[^<]*</c><c>\s*([\d.]+)\s*</c>")
NELECT = re.compile(rb"NELECT(?:\s*=|\">)\s*([\d.]+)")


def parse_valences(text: str) -> dict[str, float]:
    """Parse `Na=7,V=13`.

    Raises:
        ConfigError: an unknown element, or a number of electrons outside (0, Z].
    """
    valences = {}
    for item in filter(None, (word.strip() for word in text.split(","))):
        symbol, _, number = item.partition("=")
        try:
            valences[symbol] = float(number)
        except ValueError as error:
            raise ConfigError(f"--valence {text}: {item} is not of the form Na=7") from error
        if not 0 < valences[symbol] <= atomic_numbers.get(symbol, 0):
            raise ConfigError(f"--valence {text}: {item}: no element with that many electrons")
    return valences


def find_valences(path: Path, symbols: Sequence[str], by_element: Mapping[str, float] | None) -> np.ndarray:
    """Valence electrons (n,) of atoms by element, else from OUTCAR, vasprun.xml or POTCAR in the folder of `path`.

    Raises:
        DensityRefused: wrong_electrons; no source gives the valence electrons of an element.
    """
    valences = dict(by_element or {})
    for source in _run_files(path) if set(symbols) - set(valences) else ():
        valences = _read_valences(source, set(symbols) - set(valences)) | valences
    missing = sorted(set(symbols) - set(valences))
    if missing:
        example = ",".join(f"{symbol}=…" for symbol in missing)
        raise DensityRefused(
            DensityRefusal.WRONG_ELECTRONS,
            f"{path}: valence electrons of {', '.join(missing)} unknown; give --valence {example} or put "
            f"{', '.join(VASP_FILES[:-1])} or {VASP_FILES[-1]} of the run beside it",
        )
    return np.array([valences[symbol] for symbol in symbols], dtype=float)


def find_electrons(path: Path) -> float | None:
    """Number of electrons (NELECT) from OUTCAR or vasprun.xml in the folder of `path`; None without such a file."""
    for source in _run_files(path):
        match = NELECT.search(read_unpacked(source, HEAD_BYTES))
        if match:
            return float(match[1])
    return None


def _run_files(path: Path) -> Iterator[Path]:
    """OUTCAR, vasprun.xml and POTCAR of the run that wrote `path`, by the tag in their names (CHGCAR.1, OUTCAR.1).

    Files without a tag belong to a density without a tag. They also serve a density with a tag if the folder holds a
    single run: no OUTCAR or vasprun.xml with that tag, and no density with another tag.
    """
    kind, tag = vasp_file(path) or ("", "")
    files = [(file, vasp_file(file)) for file in sorted(path.parent.iterdir()) if file.is_file()]
    named = [(file, *name) for file, name in files if name is not None]
    several_runs = any(
        (file_tag == tag and file_kind in ("outcar", "vasprun")) or (file_tag != tag and file_kind in DENSITIES)
        for _, file_kind, file_tag in named
    )
    for wanted in ("outcar", "vasprun", "potcar"):
        tagged = [file for file, file_kind, file_tag in named if (file_kind, file_tag) == (wanted, tag)]
        untagged = [file for file, file_kind, file_tag in named if (file_kind, file_tag) == (wanted, "")]
        # The valence electrons of a POTCAR hold for every run.
        yield from (tagged or ([] if kind and tag and several_runs and wanted != "potcar" else untagged))[:1]


def _read_valences(source: Path, wanted: set[str]) -> dict[str, float]:
    content = read_unpacked(source, HEAD_BYTES)
    valences: dict[str, float] = {}
    for symbol, number in (pair for form in (ZVAL, ATOMTYPE) for pair in form.findall(content)):
        element, value = symbol.decode(), float(number)
        if element in wanted and valences.setdefault(element, value) != value:
            raise DensityRefused(
                DensityRefusal.WRONG_ELECTRONS,
                f"{source}: {element} has {valences[element]:g} and {value:g} valence electrons",
            )
    return {element: value for element, value in valences.items() if element in wanted}
