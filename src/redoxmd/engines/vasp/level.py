"""The level of theory that VASP's tags make, and in what two levels differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from redoxmd.calculation import Level
from redoxmd.engines.vasp.text import truth

GGA_NAMES = {"PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "AM": "AM05", "CA": "LDA"}
# First word of a POTCAR's title.
TITLE_NAMES = {"PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA", "PAW_LDA": "LDA", "US": "LDA"}
# Base functional, exact exchange, screening in 1/Å.
HYBRIDS = {("PBE", 0.25, 0.2): "HSE06", ("PBE", 0.25, 0.3): "HSE03", ("PBE", 0.25, 0.0): "PBE0"}
PRECISIONS = {"a": "accurate", "n": "normal", "l": "low", "m": "medium", "h": "high", "s": "single"}
ORBITALS = "spdf"
UNSET = ("", "--", "NONE")
# Further tags that move energies by more than meV/atom, with VASP's defaults.
DETAILS: dict[str, Any] = {
    "ISMEAR": 1,
    "SIGMA": 0.2,
    "PREC": "normal",
    "LASPH": False,
    "LREAL": False,
    "IVDW": 0,
    "LUSE_VDW": False,
    "NUPDOWN": -1,
    "LNONCOLLINEAR": False,
    "LSORBIT": False,
    "LDIPOL": False,
    "LSOL": False,
}
CUTOFF_TOLERANCE_eV = 0.1
TAG_TOLERANCE = 1e-6
KPOINT_RATIO = 1.35
DENSE_A = 25.0


def level_of(
    settings: Mapping[str, Any],
    symbols: Sequence[str],
    potential_titles: Mapping[str, str],
    cell: np.ndarray,
    divisions: Sequence[int] | None,
) -> Level:
    """The level that tags of an INCAR, or those VASP reports, stand for.

    Args:
        settings: tag → value; one that is absent has VASP's default, one that is None is not known.
        symbols: element of every type in POTCAR's order, or of every atom in POSCAR's.
        potential_titles: element → POTCAR title, as far as known.
        cell: (3, 3) in Å.
        divisions: of the k-point grid; None where not known.
    """
    cutoff = settings.get("ENMAX", settings.get("ENCUT"))
    spin = settings.get("ISPIN", 1)
    return Level(
        code="vasp",
        functional=_functional(settings, potential_titles),
        cutoff_eV=None if cutoff is None else float(cutoff),
        spin=None if spin is None else int(spin) == 2 or bool(truth(settings.get("LNONCOLLINEAR"))),
        hubbard=_hubbard(settings, symbols),
        potentials={element: potential_titles.get(element, "") for element in dict.fromkeys(symbols)},
        kpoint_reach_A=_reach(cell, divisions),
        details=_details(settings) | {"GGA": _gga(settings, potential_titles)},
    )


def joined_titles(titles: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Element → title of its POTCAR, or titles where its types have several."""
    joined: dict[str, list[str]] = {}
    for element, title in titles:
        kept = joined.setdefault(element, [])
        if title not in kept:
            kept.append(title)
    return {element: " and ".join(kept) for element, kept in joined.items()}


def _functional(settings: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    meta = settings.get("METAGGA", "--")
    if meta is None or truth(meta) or truth(settings.get("LMETAGGA")):
        # Whether there is a meta-GGA is not known, or only that there is one.
        return ""
    name = str(meta).strip().upper()
    base = name if truth(meta) is None and name not in UNSET else _gga(settings, titles)
    return _hybrid(settings, base) if truth(settings.get("LHFCALC")) else base


def _gga(settings: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    tag = str(settings.get("GGA") or "").strip().upper()
    return GGA_NAMES.get(tag, tag) if tag not in UNSET else _functional_of_titles(titles)


def _functional_of_titles(titles: Mapping[str, str]) -> str:
    names = {TITLE_NAMES.get(title.split()[0], "") for title in titles.values() if title.split()}
    return names.pop() if len(names) == 1 else ""


def _hybrid(settings: Mapping[str, Any], base: str) -> str:
    exchange, screening = float(settings.get("AEXX", 0.25)), float(settings.get("HFSCREEN", 0.0))
    known = HYBRIDS.get((base, round(exchange, 4), round(screening, 2)))
    return known or f"{base} with {exchange:g} exact exchange, screened by {screening:g} 1/Å"


def _hubbard(settings: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Element → (orbital, U − J); of several types of an element the one with the largest."""
    if not truth(settings.get("LDAU")):
        return {}
    orbitals, coulomb = (np.atleast_1d(settings.get(tag, [])) for tag in ("LDAUL", "LDAUU"))
    exchange = np.atleast_1d(settings.get("LDAUJ", np.zeros(len(coulomb))))
    types = list(symbols) if len(symbols) == len(orbitals) else [element for element, _ in groupby(symbols)]
    found: dict[str, tuple[str, float]] = {}
    for element, orbital, u, j in zip(types, orbitals, coulomb, exchange, strict=False):
        effective = round(float(u) - float(j), 6)
        if int(orbital) >= 0 and effective != 0 and effective >= found.get(element, ("", -np.inf))[1]:
            found[element] = (ORBITALS[int(orbital)], effective)
    return found


def _reach(cell: np.ndarray, divisions: Sequence[int] | None) -> float | None:
    if divisions is None:
        return None
    return float(np.min(np.asarray(divisions) * np.linalg.norm(np.asarray(cell, dtype=float), axis=1)))


def _details(settings: Mapping[str, Any]) -> dict[str, Any]:
    details = {tag: _plain(tag, settings.get(tag, default)) for tag, default in DETAILS.items()}
    if details["ISMEAR"] is not None and details["ISMEAR"] <= -4:
        details["SIGMA"] = None
    if truth(settings.get("LDAU")):
        details["LDAUTYPE"] = settings.get("LDAUTYPE", 2)
    return details


def _plain(tag: str, value: Any) -> Any:
    if value is None:
        return None
    if tag == "PREC":
        return PRECISIONS.get(str(value).strip().lower()[:1], str(value))
    if tag == "LREAL":
        # Auto and On are told apart by INCAR only, not by what VASP reports.
        return str(value).strip().strip(".").upper()[:1] in ("T", "A", "O")
    if isinstance(DETAILS[tag], bool):
        return truth(value)
    return value


def differences(a: Level, b: Level) -> list[str]:
    """What keeps two levels from being trained on together, a sentence each; none when they agree.

    Something not known on one side is no difference, nor is what concerns an element that only one of them has. The
    reaches of k-points agree within 35 % or if both exceed 25 Å. Fixed total moments (NUPDOWN) may differ, as they go
    with the composition; a fixed and a free one do not agree.
    """
    if a.code != b.code:
        return [f"code {a.code} against {b.code}"]
    return [*_scalars(a, b), *_elements(a, b), *_tags(a, b)]


def _scalars(a: Level, b: Level) -> Iterator[str]:
    if a.functional and b.functional and a.functional != b.functional:
        yield f"functional {a.functional} against {b.functional}"
    if a.cutoff_eV and b.cutoff_eV and abs(a.cutoff_eV - b.cutoff_eV) > CUTOFF_TOLERANCE_eV:
        yield f"cutoff {a.cutoff_eV:g} against {b.cutoff_eV:g} eV"
    if a.spin is not None and b.spin is not None and a.spin != b.spin:
        yield "spin-polarised against not" if a.spin else "not spin-polarised against spin-polarised"
    if a.kpoint_reach_A and b.kpoint_reach_A:
        low, high = sorted((a.kpoint_reach_A, b.kpoint_reach_A))
        if low <= DENSE_A and high > KPOINT_RATIO * low:
            yield f"k-points that reach {a.kpoint_reach_A:.0f} against {b.kpoint_reach_A:.0f} Å"


def _elements(a: Level, b: Level) -> Iterator[str]:
    for element in sorted(set(a.potentials) & set(b.potentials)):
        one, other = a.potentials[element], b.potentials[element]
        if one and other and one != other:
            yield f"potential of {element}: {one} against {other}"
        if not _same_hubbard(a.hubbard.get(element), b.hubbard.get(element)):
            yield f"U of {element}: {_hubbard_text(a, element)} against {_hubbard_text(b, element)}"


def _same_hubbard(a: tuple[str, float] | None, b: tuple[str, float] | None) -> bool:
    if a is None or b is None:
        return a == b
    return a[0] == b[0] and abs(a[1] - b[1]) <= TAG_TOLERANCE


def _hubbard_text(level: Level, element: str) -> str:
    found = level.hubbard.get(element)
    return f"{found[1]:g} eV on {found[0]}" if found else "none"


def _tags(a: Level, b: Level) -> Iterator[str]:
    for tag in sorted(set(a.details) & set(b.details)):
        one, other = a.details[tag], b.details[tag]
        if one in (None, "") or other in (None, ""):
            continue
        if tag == "GGA" and a.functional and b.functional:
            continue
        if tag == "NUPDOWN":
            one, other = (("free" if value < 0 else "fixed") for value in (one, other))
        numeric = all(isinstance(value, int | float) for value in (one, other))
        if abs(one - other) > TAG_TOLERANCE if numeric else one != other:
            yield f"{tag} {one} against {other}"
