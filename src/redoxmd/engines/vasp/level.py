"""Level of theory from VASP's tags, and the differences between two levels."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.tags import COMPARED, DEFAULTS, DETAILS, EXCESS_ELECTRONS, GGA_SHARES, PAIRWISE, is_harmless
from redoxmd.engines.vasp.text import logical, tag_word, typed_value

GGA_NAMES = {"PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "AM": "AM05", "CA": "LDA"}
# Long names, which the tag XC accepts as well.
XC_NAMES = {"PBESOL": "PBEsol", "REVPBE": "revPBE"}
# First word of a POTCAR's title.
TITLE_NAMES = {"PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA", "PAW_LDA": "LDA", "US": "LDA"}
# Base functional, exact exchange, screening in 1/Å.
HYBRIDS = {("PBE", 0.25, 0.2): "HSE06", ("PBE", 0.25, 0.3): "HSE03", ("PBE", 0.25, 0.0): "PBE0"}
PRECISIONS = {"a": "accurate", "n": "normal", "l": "low", "m": "medium", "h": "high", "s": "single"}
ORBITALS = "spdf"
LDAU_DEFAULTS = {"LDAUL": 2, "LDAUU": 0.0, "LDAUJ": 0.0}
UNSET = ("", "--", "NONE")
# MD and static runs differ in EDIFF; below this limit their energies differ by less than 0.1 meV/atom.
LOOSE_EDIFF_eV_PER_ATOM = 1e-4
NOT_STATED = {"EDIFF": "0.1 meV/atom or less"}
CUTOFF_TOLERANCE_eV = 0.1
TAG_TOLERANCE = 1e-6
KPOINT_RATIO = 1.35
DENSE_A = 25.0


def level_of(
    settings: Mapping[str, Any],
    incar: Mapping[str, Any],
    symbols: Sequence[str],
    potential_titles: Mapping[str, str],
    cell: np.ndarray,
    divisions: Sequence[int] | None,
    *,
    valence_e: float | None = None,
    atoms: int = 0,
) -> Level:
    """The level of theory given by the tags that were set and those that VASP reports.

    Args:
        settings: tag → value as used or reported; an absent tag has VASP's default.
        incar: the tags that were set.
        symbols: element of every type in POTCAR's order, or of every atom in POSCAR's order.
        potential_titles: element → POTCAR title, as far as known.
        cell: (3, 3) in Å.
        divisions: of the k-point grid; None if unknown.
        valence_e: electrons of the neutral cell; None if unknown.
        atoms: number of atoms in the cell; 0 if unknown.

    Raises:
        ValueError: +U is given for some types only.
    """
    cutoff = settings.get("ENMAX", settings.get("ENCUT"))
    gga = _gga(settings, potential_titles)
    return Level(
        code="vasp",
        functional=_functional(settings, gga),
        cutoff_eV=None if cutoff is None else float(cutoff),
        spin=int(settings.get("ISPIN", 1)) == 2 or bool(logical(settings.get("LNONCOLLINEAR"))),
        hubbard=_hubbard(settings, symbols),
        potentials={element: potential_titles.get(element, "") for element in dict.fromkeys(symbols)},
        kpoint_reach_A=None
        if divisions is None
        else float(np.min(np.asarray(divisions) * np.linalg.norm(np.asarray(cell, dtype=float), axis=1))),
        details=_details(settings, incar)
        | {"GGA": gga}
        | _further_details(settings, incar)
        | _details_per_atom(settings, valence_e, atoms),
        complete=True,
    )


def without_defaults(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details that a complete level states: without the tags of `DEFAULTS` that have their default."""
    return {
        tag: value for tag, value in details.items() if tag not in DEFAULTS or not _same_value(value, DEFAULTS[tag])
    }


def joined_titles(titles: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Element → title of its POTCAR; if its types have several titles, these joined by "and"."""
    joined: dict[str, list[str]] = {}
    for element, title in titles:
        distinct = joined.setdefault(element, [])
        if title not in distinct:
            distinct.append(title)
    return {element: " and ".join(distinct) for element, distinct in joined.items()}


def _functional(settings: Mapping[str, Any], gga: str) -> str:
    meta = settings.get("METAGGA", "--")
    if logical(meta) or logical(settings.get("LMETAGGA")):
        # VASP reports a meta-GGA, but not which one.
        return ""
    name = tag_word(meta)
    base = name if logical(meta) is None and name not in UNSET else gga
    if not logical(settings.get("LHFCALC")):
        return base
    exchange, screening = float(settings.get("AEXX", 0.25)), float(settings.get("HFSCREEN", 0.0))
    name = HYBRIDS.get((base, round(exchange, 4), round(screening, 2)), "")
    return name or f"{base} with {exchange:g} exact exchange, screened by {screening:g} 1/Å"


def _gga(settings: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """Base functional by XC or GGA, else that of the POTCARs; "" if these have several or unknown ones."""
    words = (tag_word(settings.get(tag) or "") for tag in ("XC", "GGA"))
    name = next((word for word in words if word not in UNSET), "")
    if name:
        return XC_NAMES.get(name, GGA_NAMES.get(name, name))
    names = {TITLE_NAMES.get(title.split()[0], "") for title in titles.values() if title.split()}
    return names.pop() if len(names) == 1 else ""


def _hubbard(settings: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Element → (orbital, U − J in eV); for types that differ the largest, marked in the text of the orbital.

    With separate U and J (LDAUTYPE other than 2), the text of the orbital includes J.
    """
    if not logical(settings.get("LDAU")):
        return {}
    lists = [np.atleast_1d(settings.get(tag, default)) for tag, default in LDAU_DEFAULTS.items()]
    longest = max(map(len, lists))
    types = list(symbols) if len(symbols) <= longest else [element for element, _ in groupby(symbols)]
    if longest < len(types) or any(1 < len(values) < len(types) for values in lists):
        counts = ", ".join(f"{len(values)} in {tag}" for tag, values in zip(LDAU_DEFAULTS, lists, strict=True))
        raise ValueError(f"+U of {counts} for {len(types)} species; <parameters> has the first only, <incar> has all")
    # VASP reads one number per type; a single number is the default of a tag that was not set, equal for all types.
    orbitals, coulomb, exchange = (
        np.broadcast_to(values, len(types)) if len(values) == 1 else values[: len(types)] for values in lists
    )
    separate = _ldau_type(settings) != 2
    shells: dict[str, list[tuple[str, float]]] = {}
    for element, orbital, u, j in zip(types, orbitals, coulomb, exchange, strict=True):
        effective = round(float(u) - float(j), 6)
        corrected = int(orbital) >= 0 and (effective != 0 or (separate and float(u) != 0))
        name = ORBITALS[int(orbital)] + (f" with J = {float(j):g} eV" if separate else "") if corrected else ""
        shells.setdefault(element, []).append((name, effective if corrected else 0.0))
    largest = {element: max(values, key=lambda shell: abs(shell[1])) for element, values in shells.items()}
    remarks = {element: " of some of its types" if len(set(values)) > 1 else "" for element, values in shells.items()}
    return {element: (name + remarks[element], u) for element, (name, u) in largest.items() if name}


def _ldau_type(settings: Mapping[str, Any]) -> int:
    """LDAUTYPE as a number; VASP writes it as a vector with one element."""
    return int(np.atleast_1d(settings.get("LDAUTYPE", 2))[0])


def _details(settings: Mapping[str, Any], incar: Mapping[str, Any]) -> dict[str, Any]:
    details = {tag: _normalised(tag, settings.get(tag, default)) for tag, default in DETAILS.items()}
    if details["LREAL"] is True and "LREAL" in incar:
        details["LREAL"] = "on"
    if details["ISMEAR"] <= -4:
        details["SIGMA"] = None
    if logical(settings.get("LDAU")):
        details["LDAUTYPE"] = _ldau_type(settings)
    if logical(settings.get("LVDW")):
        # LVDW is the older tag for Grimme's method, IVDW = 1.
        details["IVDW"] = details["IVDW"] or 1
    return details


def _further_details(settings: Mapping[str, Any], incar: Mapping[str, Any]) -> dict[str, Any]:
    """Tags beyond `DETAILS` that differ from VASP's default."""
    # Shares of a functional and vectors count only if they were set.
    scalars = [tag for tag, default in DEFAULTS.items() if tag not in GGA_SHARES and not isinstance(default, list)]
    details = {tag: typed_value(settings[tag]) for tag in scalars if tag in settings}
    set_by_hand = [
        tag for tag in incar if tag not in DETAILS and tag not in COMPARED and (tag in DEFAULTS or not is_harmless(tag))
    ]
    if details.get("I_CONSTRAINED_M") and "RWIGS" in incar:
        # Radii of the spheres in which the moments are constrained.
        set_by_hand.append("RWIGS")
    details |= {tag: value for tag in set_by_hand if not _same_value(value := typed_value(incar[tag]), False)}
    return without_defaults(details)


def _details_per_atom(settings: Mapping[str, Any], valence_e: float | None, atoms: int) -> dict[str, Any]:
    """Details that depend on the cell size: excess electrons per atom, and an EDIFF too loose for the cell."""
    details: dict[str, Any] = {}
    electrons, ediff = settings.get("NELECT", valence_e), settings.get("EDIFF")
    if atoms and valence_e is not None and electrons is not None:
        details[EXCESS_ELECTRONS] = round((float(electrons) - valence_e) / atoms, 8) + 0.0
    if atoms and ediff is not None and float(ediff) > LOOSE_EDIFF_eV_PER_ATOM * atoms:
        details["EDIFF"] = float(ediff)
    return details


def _same_value(first: Any, second: Any) -> bool:
    """Whether two values are equal, numbers to within 1e-6; the words of `UNSET` equal False."""
    a, b = (False if value in UNSET else value for value in (first, second))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_value, a, b))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    return abs(a - b) <= TAG_TOLERANCE if numeric else type(a) is type(b) and a == b


def _normalised(tag: str, value: Any) -> Any:
    if tag == "IVDW" and int(value) == 10:
        return 1
    if tag == "PREC":
        return PRECISIONS.get(str(value).strip().lower()[:1], str(value))
    if tag == "LREAL":
        # VASP reports T for Auto and for On, so that a T may be either.
        letter = str(value).strip().strip(".").upper()[:1]
        return {"A": "auto", "O": "on", "T": True}.get(letter, False)
    if isinstance(DETAILS[tag], bool):
        return logical(value)
    return value


def differences(a: Level, b: Level) -> list[str]:
    """Differences that forbid training on two levels together, a sentence each; empty if the levels agree.

    Properties that are unknown on one side are not compared, nor are those of an element that only one level has; a tag
    that a complete level does not state has its default. The reaches of k-points agree within 35 % or if both exceed
    25 Å. Fixed total moments (NUPDOWN) may differ, because they depend on the composition; a fixed and a free moment do
    not agree.
    """
    if a.code != b.code:
        return [f"code {a.code} against {b.code}"]
    found: list[str] = []
    if a.functional and b.functional and a.functional != b.functional:
        found.append(f"functional {a.functional} against {b.functional}")
    if a.cutoff_eV and b.cutoff_eV and abs(a.cutoff_eV - b.cutoff_eV) > CUTOFF_TOLERANCE_eV:
        found.append(f"cutoff {a.cutoff_eV:g} against {b.cutoff_eV:g} eV")
    if a.spin is not None and b.spin is not None and a.spin != b.spin:
        found.append("spin-polarised against not" if a.spin else "not spin-polarised against spin-polarised")
    if a.kpoint_reach_A and b.kpoint_reach_A:
        low, high = sorted((a.kpoint_reach_A, b.kpoint_reach_A))
        if low <= DENSE_A and high > KPOINT_RATIO * low:
            found.append(f"k-points that reach {a.kpoint_reach_A:.0f} against {b.kpoint_reach_A:.0f} Å")
    for element in sorted(set(a.potentials) & set(b.potentials)):
        title_a, title_b = a.potentials[element], b.potentials[element]
        if title_a and title_b and title_a != title_b:
            found.append(f"potential of {element}: {title_a} against {title_b}")
        (shell_a, u_a), (shell_b, u_b) = (level.hubbard.get(element, ("", 0.0)) for level in (a, b))
        if shell_a != shell_b or abs(u_a - u_b) > TAG_TOLERANCE:
            texts = (f"{u:g} eV on {shell}" if shell else "none" for shell, u in ((shell_a, u_a), (shell_b, u_b)))
            found.append(f"U of {element}: {' against '.join(texts)}")
    return [*found, *_tag_differences(a, b)]


def _tag_differences(a: Level, b: Level) -> Iterator[str]:
    for tag in sorted(set(a.details) | set(b.details)):
        # An absent tag has VASP's default in a complete level and is unknown in others.
        default = None if tag in PAIRWISE else DEFAULTS.get(tag, NOT_STATED.get(tag, "not set"))
        value_a, value_b = (level.details.get(tag, default if level.complete else None) for level in (a, b))
        if value_a in (None, "") or value_b in (None, ""):
            continue
        if tag == "GGA" and a.functional and b.functional:
            continue
        if tag == "NUPDOWN":
            value_a, value_b = (("free" if value < 0 else "fixed") for value in (value_a, value_b))
        if tag == "LREAL" and True in (value_a, value_b) and False not in (value_a, value_b):
            continue
        if not _same_value(value_a, value_b):
            yield f"{tag} {value_a} against {value_b}"
