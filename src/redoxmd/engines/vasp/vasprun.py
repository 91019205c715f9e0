"""Reader of vasprun.xml, one ionic step at a time.

pymatgen and ASE hold the whole tree of the file in memory, gigabytes for a long MD, and check electronic convergence of
the last step or not at all; the tests compare with both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLPullParser
from xml.parsers.expat import errors as expat

import numpy as np
from ase import Atoms
from ase.data import atomic_numbers
from ase.units import GPa

from redoxmd.engines.calculation import Calculation, Level, ReadFrame
from redoxmd.engines.vasp.level import joined_titles, level_of
from redoxmd.engines.vasp.text import logical, numbers, opened, tag_value
from redoxmd.errors import LabelRefusal, LabelRefused

# Negative, because VASP's stress is the pressure of the cell, ASE's stress the strain derivative of the energy.
EV_A3_PER_KBAR = -0.1 * GPa
# Energies have eight decimals.
RESOLUTION_eV = 1e-8
SAME_ENERGY_eV = 1e-6
BLOCK_BYTES = 1 << 16
# Tags that <parameters> cuts to the first species (VASP 5.2 to 6), gives as a bare T, or uses for another quantity
# (LAMBDA); <incar> has them as set.
AS_SET = ("LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ", "LREAL", "LAMBDA")
# The last change of the energy may exceed EDIFF by half.
EDIFF_ROUNDING = 1.5
# 5 to 8 displace atoms, 1 to 3 and from 40 on search a minimum or a saddle point; with -1 another code may move atoms.
IBRION_OF_MD = (-1, 0)
RESPONSE_TAGS = ("LEPSILON", "LCALCEPS", "LCHIMAG")
IBRION_OF_RESPONSE = (5, 6, 7, 8)
# Values of ALGO and IALGO that do not minimise the energy of density functional theory: no minimisation, bands of a
# fixed density, excitations, correlation energies.
NO_GROUND_STATE = frozenset(["NONE", "NOTHING", "EIGENVAL", "EXACT", "SUBROT", "CHI", "BSE", "TDHF", "TIMEEV"])
BEYOND_DFT = re.compile(r"GW|ACFDT|RPA|MP2")
NO_GROUND_STATE_NUMBERS = (2, 3, 4)
# ICHARG from 10 on keeps the initial density.
FIXED_DENSITY = 10
HEADER = frozenset(("generator", "incar", "parameters", "kpoints", "atominfo", "structure"))
CUT_SHORT = frozenset(
    expat.codes[message]
    for message in (expat.XML_ERROR_NO_ELEMENTS, expat.XML_ERROR_UNCLOSED_TOKEN, expat.XML_ERROR_UNCLOSED_CDATA_SECTION)
)
SECOND_RUN = frozenset(
    expat.codes[message] for message in (expat.XML_ERROR_JUNK_AFTER_DOC_ELEMENT, expat.XML_ERROR_MISPLACED_XML_PI)
)


def read_vasprun(path: str | Path) -> Calculation:
    """Calculation of a vasprun.xml (also .gz, .bz2, .xz): level of theory at once, frames one at a time in memory.

    Energy: E = F + (E₀ − F)ₛ − pV in eV, where F is e_fr_energy of the ionic step, (E₀ − F)ₛ the entropy correction of
    its last electronic step, and pV that of PSTRESS. ASE does the same, and so does pymatgen except for pV. e_0_energy
    itself is not used: that of an ionic step is the entropy in some versions (5.4.4), and that of an electronic step
    lacks van der Waals terms.
    Positions (n, 3) in Å are not wrapped. Stress (3, 3) in eV/Å³, symmetrised. Moments are not in the file (see
    `redoxmd.engines.vasp.outcar.read_spins`).

    For ISIF below 2 the stress is left out. Loops of linear response after the ground state are skipped.

    EDIFF and energies have eight decimals in this file. A loop of NELM steps therefore counts as converged only if its
    last change is below EDIFF by more than 1e-8 eV; for EDIFF of 1e-8 or less it never does.

    Raises:
        LabelRefused: did_not_start for a missing or empty file; unfinished or corrupted for a cut or unreadable header;
            not_self_consistent for a fixed density or an ALGO that seeks no ground state. The frames raise unfinished
            if the file (or its compression) ends too early, or a step lacks forces or energies; corrupted for invalid
            XML, a second run after the first, or stars instead of numbers.
    """
    path = Path(path)
    elements = _elements(path)
    try:
        level, symbols, settings = _header(elements, path)
    except (IndexError, TypeError, ValueError) as error:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: a header that cannot be read ({error})") from error
    notes: Counter[str] = Counter()
    frames = _frames(elements, symbols, settings, path, notes)
    return Calculation(path, level, frames, settings, notes)


def _header(elements: Iterator[Element], path: Path) -> tuple[Level, list[str], dict[str, Any]]:
    """Level of theory, element of every atom, tags."""
    settings: dict[str, Any] = {}
    incar: dict[str, Any] = {}
    symbols: list[str] = []
    types: list[tuple[str, str, float]] = []
    divisions = None
    for element in elements:
        if element.tag == "incar":
            incar = _tags(element)
        elif element.tag == "parameters":
            settings |= incar | _tags(element) | {tag: incar[tag] for tag in AS_SET if tag in incar}
        elif element.tag == "generator":
            texts = [element.findtext(f"i[@name='{name}']", "") for name in ("program", "version")]
            settings["program"] = " ".join(" ".join(texts).split())
        elif element.tag == "atominfo":
            symbols, types = _symbols(element, path), _types(element)
        elif element.tag == "kpoints":
            divisions = _divisions(element)
        elif symbols and settings and element.get("name") == "initialpos":
            cell = _vectors(element.find("crystal/varray[@name='basis']"), f"{path}, header")
            _refuse_fixed_density(settings, path)
            level = level_of(
                settings,
                incar,
                [symbol for symbol, _, _ in types],
                joined_titles([(symbol, title) for symbol, title, _ in types]),
                cell,
                divisions,
                valence_e=sum(valence for _, _, valence in types),
                atoms=len(symbols),
            )
            return level, symbols, settings
    raise LabelRefused(LabelRefusal.CORRUPTED, f"{path} is XML, but lacks the header of a vasprun.xml")


def _elements(path: Path) -> Iterator[Element]:
    """Elements of the header, then ionic steps; each element is cleared after use."""
    parser: Any = XMLPullParser(["end"])
    header = True
    with opened(path) as stream:
        try:
            while block := stream.read1(BLOCK_BYTES):  # type: ignore[attr-defined]
                parser.feed(block)
                for _, element in parser.read_events():
                    tag = element.tag
                    if tag == "calculation" or (header and tag in HEADER):
                        header = header and element.get("name") != "initialpos"
                        yield element
                        element.clear()
                    elif not header and tag == "set":
                        # Eigenvalues, densities of states and projections are the largest elements.
                        element.clear()
            parser.close()
        except ParseError as error:
            raise _refusal(error, path) from error


def _refusal(error: ParseError, path: Path) -> LabelRefused:
    if error.code in CUT_SHORT:
        return LabelRefused(LabelRefusal.UNFINISHED, f"{path} ends in mid-run ({error})")
    if error.code in SECOND_RUN:
        return LabelRefused(
            LabelRefusal.CORRUPTED, f"{path} has another run behind the first ({error}); keep one of them"
        )
    return LabelRefused(LabelRefusal.CORRUPTED, f"{path} is no XML ({error}); copy it again")


def _tags(element: Element) -> dict[str, Any]:
    tags: dict[str, Any] = {}
    for item in element.iter():
        name = (item.get("name") or "").upper()
        # Some names occur twice; the first occurrence is in the section of the tag.
        if item.tag in ("i", "v") and name and name not in tags:
            text = (item.text or "").strip()
            if item.get("type") == "string":
                tags[name] = text
            else:
                tags[name] = [tag_value(word) for word in text.split()] if item.tag == "v" else tag_value(text)
    return tags


def _symbols(atominfo: Element, path: Path) -> list[str]:
    symbols = [(row[0].text or "").strip() for row in atominfo.findall("array[@name='atoms']/set/rc")]
    unknown = [symbol for symbol in symbols if atomic_numbers.get(symbol, 0) == 0]
    if unknown or not symbols:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{path}: {unknown[0] if unknown else 'nothing'!r} among its atoms")
    return symbols


def _types(atominfo: Element) -> list[tuple[str, str, float]]:
    """Element, POTCAR title and valence electrons (of all its atoms) of every type."""
    rows = atominfo.findall("array[@name='atomtypes']/set/rc")
    cells = [[" ".join((cell.text or "").split()) for cell in row] for row in rows]
    return [(cell[1], cell[4], int(cell[0]) * float(cell[3])) for cell in cells]


def _divisions(kpoints: Element) -> list[int] | None:
    """Divisions of the k-point grid, [1, 1, 1] for a list with Γ alone; None for other lists."""
    grid = kpoints.find("generation/v[@name='divisions']")
    if grid is not None:
        return [int(word) for word in (grid.text or "").split()]
    points = [(item.text or "").split() for item in kpoints.findall("varray[@name='kpointlist']/v")]
    return [1, 1, 1] if len(points) == 1 and not any(map(float, points[0])) else None


def _vectors(varray: Element | None, where: str) -> np.ndarray:
    """Rows (m, 3)."""
    if varray is None:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: vectors are missing")
    return np.array([numbers(row.text or "", 3, where) for row in varray]).reshape(-1, 3)


def _frames(
    elements: Iterator[Element], symbols: list[str], settings: dict[str, Any], path: Path, notes: Counter[str]
) -> Iterator[ReadFrame]:
    step, isif = 0, int(settings.get("ISIF", 2))
    for element in elements:
        if element.tag == "calculation":
            frame = _frame(element, symbols, settings, step, f"{path}, ionic step {step} from 0")
            if isif < 2 and frame.stress_eV_A3 is not None:
                notes[f"stress left out: with ISIF = {isif} VASP calculates its trace at most; ISIF = 2 gives all"] += 1
                frame = replace(frame, stress_eV_A3=None)
            yield frame
            step += 1
    if step == 0:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{path} has no ionic step")


def _frame(element: Element, symbols: list[str], settings: dict[str, Any], step: int, where: str) -> ReadFrame:
    if element.find("varray[@name='forces']") is None:
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: no forces")
    forces = _vectors(element.find("varray[@name='forces']"), where)
    cell = _vectors(element.find("structure/crystal/varray[@name='basis']"), where)
    fractional = _vectors(element.find("structure/varray[@name='positions']"), where)
    if cell.shape != (3, 3) or fractional.shape != (len(symbols), 3):
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{where}: {len(fractional)} positions of {len(symbols)} atoms")
    free_eV, _ = _energies(element, where)
    loops = _ground_state_loop(element.findall("scstep"), free_eV, settings, where)
    last = [_energies(loop, where) for loop in loops[-2:]]
    entropy_eV = last[-1][1] - last[-1][0] if last else 0.0
    pressure_eV_A3 = float(settings.get("PSTRESS", 0.0)) * abs(EV_A3_PER_KBAR)
    change_eV = abs(last[-1][0] - last[-2][0]) if len(last) == 2 else None
    stress: np.ndarray | None = None
    if (varray := element.find("varray[@name='stress']")) is not None:
        stress = _vectors(varray, where)
        if stress.shape != (3, 3):
            raise LabelRefused(LabelRefusal.CORRUPTED, f"{where}: stress of shape {stress.shape}")
        stress = EV_A3_PER_KBAR * 0.5 * (stress + stress.T)
    return ReadFrame(
        atoms=Atoms(symbols, positions=fractional @ cell, cell=cell, pbc=True),
        step=step,
        energy_eV=round(free_eV + entropy_eV - pressure_eV_A3 * abs(float(np.linalg.det(cell))), 8),
        forces_eV_A=forces,
        stress_eV_A3=stress,
        scf_steps=len(loops),
        converged=_loop_converged(len(loops), change_eV, settings),
    )


def _ground_state_loop(loops: list[Element], free_eV: float, settings: dict[str, Any], where: str) -> list[Element]:
    """Electronic steps of the ground state, without the later steps of linear response.

    The last of them has the energy of the ionic step. If that energy has an additional van der Waals term, the last is
    the first step with a change of at most EDIFF.
    """
    if settings.get("IBRION") not in IBRION_OF_RESPONSE and not any(logical(settings.get(t)) for t in RESPONSE_TAGS):
        return loops
    energies = np.array([_energies(loop, where)[0] for loop in loops])
    same = np.flatnonzero(np.abs(energies - free_eV) <= SAME_ENERGY_eV)
    settled = 1 + np.flatnonzero(np.abs(np.diff(energies)) <= settings.get("EDIFF", 0.0))
    ends = [*same[-1:], *settled[:1]]
    return loops[: int(ends[0]) + 1] if ends else loops


def _energies(element: Element, where: str) -> tuple[float, float]:
    """e_fr_energy and e_0_energy of an ionic or electronic step, eV."""
    items = [element.find(f"energy/i[@name='{name}']") for name in ("e_fr_energy", "e_0_energy")]
    free, extrapolated = (item.text or "" if item is not None else "" for item in items)
    if not free.strip():
        raise LabelRefused(LabelRefusal.UNFINISHED, f"{where}: no energy")
    free_eV = numbers(free, 1, where)[0]
    return free_eV, numbers(extrapolated, 1, where)[0] if extrapolated.strip() else free_eV


def is_md(settings: Mapping[str, Any]) -> bool:
    """Whether ionic steps are consecutive in time, by IBRION; false for relaxations and displaced atoms."""
    return int(settings.get("IBRION", 0)) in IBRION_OF_MD


def _loop_converged(steps: int, change_eV: float | None, settings: Mapping[str, Any]) -> bool:
    """Whether an electronic loop ended because it had converged, by its steps and the last change of the energy.

    VASP ends a loop at NELM steps as well as at convergence, and some versions then print that EDIFF was reached. A
    loop of NELM steps therefore counts as converged only if its last change is certainly below EDIFF. The last change
    of a shorter loop must not contradict EDIFF, because STOPCAR ends loops too. A step without electronic steps is a
    prediction of VASP's own force field, not DFT.
    """
    max_steps, tolerance_eV = int(settings.get("NELM", 60)), float(settings.get("EDIFF", 0.0))
    if steps == 0 or change_eV is None:
        return False
    if steps >= max_steps:
        return change_eV + RESOLUTION_eV < tolerance_eV
    return change_eV <= EDIFF_ROUNDING * tolerance_eV + 2 * RESOLUTION_eV


def _refuse_fixed_density(settings: Mapping[str, Any], path: Path) -> None:
    """Refuse a run that is not self-consistent, whose energy and forces are no label."""
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
