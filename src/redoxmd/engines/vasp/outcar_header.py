"""Header of an OUTCAR: everything above its first electronic step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from ase.data import atomic_numbers

from redoxmd.engines.vasp.text import numbers, tag_value
from redoxmd.errors import LabelRefusal, LabelRefused

TAG = re.compile(r"\b([A-Z][A-Z0-9_]+)\s*=\s*([^\s;]+)")
VALENCE = re.compile(r"POMASS =\s*[\d.]+; ZVAL\s*=\s*([\d.]+)")
# Repeated values of an INCAR, such as "3*0.0".
REPEATED = re.compile(r"(\d+)\*(\S+)")
SPECIES_TAG = re.compile(r"for each species (LDAU[LUJ])\s*=(.*)")
ELEMENT = re.compile(r"VRHFIN\s*=\s*([A-Z][a-z]?)")
TITLE_ELEMENT = re.compile(r"\S+\s+([A-Z][a-z]?)(?![a-z])")
# The header rounds these, or prints F or T; the INCAR above the header (VASP 6) has the full values.
SHORTENED = ("EDIFF", "SIGMA", "LDAUU", "LDAUJ", "METAGGA", "LREAL")


@dataclass
class Header:
    """Tags, atoms and cell.

    Attributes:
        incar: tags of the INCAR; empty if the file does not contain it.
        tags: tags as VASP uses them.
        elements: of every type.
        titles: POTCAR titles of every type.
        listed: the same titles as listed above the potentials, in some files twice.
        valences: valence electrons per atom of every type.
        counts: number of atoms of every type.
        cell: (3, 3), Å.
        divisions: of the k-point grid if stated, (1, 1, 1) for Γ alone, else None.
    """

    incar: dict[str, Any] = field(default_factory=dict)
    tags: dict[str, Any] = field(default_factory=dict)
    elements: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    valences: list[float] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    cell: np.ndarray = field(default_factory=lambda: np.zeros((3, 3)))
    divisions: list[int] | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """Every tag with the value that VASP uses, else the value in the INCAR."""
        return {**self.incar, **self.tags, **{tag: self.incar[tag] for tag in SHORTENED if tag in self.incar}}

    @property
    def valence_e(self) -> float | None:
        """Electrons of the neutral cell; None if a POTCAR does not state its valence."""
        if len(self.valences) != len(self.counts):
            return None
        return sum(valence * count for valence, count in zip(self.valences, self.counts, strict=True))

    @property
    def symbols(self) -> list[str]:
        """Element of every atom."""
        return [element for element, count in zip(self.elements, self.counts, strict=True) for _ in range(count)]


def read_header(lines: Iterator[str], path: Path) -> tuple[Header, str]:
    """The header, and the line of the first electronic step.

    Raises:
        LabelRefused: unfinished or corrupted.
    """
    try:
        return _read(lines, path)
    except ValueError as error:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: a header that cannot be read ({error})") from error


def _read(lines: Iterator[str], path: Path) -> tuple[Header, str]:
    header = Header()
    section, runs, predicted = "start", 0, False
    for line in lines:
        if "-- Iteration" in line:
            _check_header(header, path)
            return header, line
        runs += "executed on" in line
        predicted |= "TOTAL-FORCE" in line and "(ML)" in line
        if runs > 1:
            raise second_run(path)
        if line.startswith((" INCAR:", " POTCAR:", " Dimension of arrays:")):
            section = line.split()[0]
        elif section == "INCAR:":
            _incar_line(line, header)
        elif section == "Dimension":
            _tag_line(line, header)
        _structure_line(line, lines, header, path)
    if predicted:
        raise LabelRefused(
            LabelRefusal.UNCONVERGED,
            f"{path}: no electronic step; a force field (ML_LMLFF = T) predicted all of it; label its geometries by "
            "runs without ML_LMLFF",
        )
    raise LabelRefused(LabelRefusal.UNFINISHED, f"{path} ends before the first electronic step")


def _incar_line(line: str, header: Header) -> None:
    tag, equals, value = line.partition("=")
    if equals:
        words = [word for item in value.split() for word in _repeated(item)]
        header.incar[tag.strip().upper()] = tag_value(value) if len(words) < 2 else [tag_value(word) for word in words]


def _repeated(word: str) -> list[str]:
    match = REPEATED.fullmatch(word)
    return [match[2]] * int(match[1]) if match else [word]


def _tag_line(line: str, header: Header) -> None:
    if line.startswith(" SYSTEM ="):
        header.tags["SYSTEM"] = line.partition("=")[2].strip()
    elif match := SPECIES_TAG.search(line):
        header.tags |= {"LDAU": True, match[1]: [tag_value(word) for word in match[2].split()]}
    elif "=" in line:
        for tag, value in TAG.findall(line):
            header.tags.setdefault(tag, tag_value(value))


def _structure_line(line: str, lines: Iterator[str], header: Header, path: Path) -> None:
    if match := ELEMENT.search(line):
        header.elements.append(match[1])
    elif line.startswith(" POTCAR:"):
        header.listed.append(" ".join(line.partition(":")[2].split()))
    elif line.startswith("   TITEL  ="):
        header.titles.append(" ".join(line.partition("=")[2].split()))
    elif match := VALENCE.search(line):
        header.valences.append(float(match[1]))
    elif "ions per type =" in line:
        header.counts = [int(word) for word in line.partition("=")[2].split()]
    elif "generate k-points for:" in line:
        header.divisions = [int(word) for word in line.partition(":")[2].split()]
    elif "k-points in units of 2pi/SCALE" in line and header.divisions is None and header.tags.get("NKPTS") == 1:
        # The k-point list has one point, possibly Γ.
        only = read_rows(lines, 1, 4, f"{path}, header")[0, :3]
        header.divisions = None if only.any() else [1, 1, 1]
    elif "direct lattice vectors" in line:
        header.cell = read_rows(lines, 3, 6, f"{path}, header")[:, :3]


def _check_header(header: Header, path: Path) -> None:
    if not header.elements:
        _elements_of_titles(header)
    unknown = [element for element in header.elements if element not in atomic_numbers]
    if unknown or not header.elements:
        raise LabelRefused(
            LabelRefusal.CORRUPTED,
            f"{path}: {unknown[0] if unknown else 'nothing'!r} among its elements; where NWRITE below 2 left its "
            "POTCARs out, take the vasprun.xml",
        )
    if not header.cell.any():
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path} has no lattice vectors in its header")
    if not len(header.elements) == len(header.titles) == len(header.counts):
        raise LabelRefused(
            LabelRefusal.CORRUPTED,
            f"{path}: {len(header.elements)} elements, {len(header.titles)} POTCARs, {len(header.counts)} types",
        )


def _elements_of_titles(header: Header) -> None:
    """Set the elements from the POTCAR titles, which files with NWRITE below 2 still list."""
    types = len(header.counts)
    listed = header.titles or header.listed
    header.titles = listed[:types] if listed == 2 * listed[:types] else listed
    matches = [TITLE_ELEMENT.match(title) for title in header.titles]
    header.elements = [match[1] if match else title for match, title in zip(matches, header.titles, strict=True)]


def read_rows(lines: Iterator[str], count: int, columns: int, where: str) -> np.ndarray:
    """The next lines as numbers (count, columns).

    Raises:
        LabelRefused: unfinished or corrupted.
    """
    rows = [numbers(line, columns, where) for line in islice(lines, count)]
    if len(rows) < count:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: the file ends in a table")
    return np.array(rows)


def second_run(path: Path) -> LabelRefused:
    """The refusal of a file with the output of two runs."""
    return LabelRefused(LabelRefusal.CORRUPTED, f"{path} has another run behind the first; keep one of them")
