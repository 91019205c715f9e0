"""The level of theory that VASP's tags make, and in what two levels differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np

from redoxmd.engines.calculation import Level
from redoxmd.engines.vasp.tags import COMPARED, DEFAULTS, DETAILS, EXCESS, PAIRWISE, SHARES, is_harmless
from redoxmd.engines.vasp.text import tag_word, truth, typed_value

GGA_NAMES = {"PE": "PBE", "PS": "PBEsol", "RP": "RPBE", "RE": "revPBE", "91": "PW91", "AM": "AM05", "CA": "LDA"}
# Long names, which the tag XC takes besides.
XC_NAMES = {"PBESOL": "PBEsol", "REVPBE": "revPBE"}
# First word of a POTCAR's title.
TITLE_NAMES = {"PAW_PBE": "PBE", "PAW_GGA": "PW91", "PAW": "LDA", "PAW_LDA": "LDA", "US": "LDA"}
# Base functional, exact exchange, screening in 1/Å.
HYBRIDS = {("PBE", 0.25, 0.2): "HSE06", ("PBE", 0.25, 0.3): "HSE03", ("PBE", 0.25, 0.0): "PBE0"}
PRECISIONS = {"a": "accurate", "n": "normal", "l": "low", "m": "medium", "h": "high", "s": "single"}
ORBITALS = "spdf"
LDAU_DEFAULTS = {"LDAUL": 2, "LDAUU": 0.0, "LDAUJ": 0.0}
UNSET = ("", "--", "NONE")
# MD and static runs differ in EDIFF; below this their energies differ by less than 0.1 meV/atom.
LOOSE_EDIFF_eV_PER_ATOM = 1e-4
NOT_STATED = {"EDIFF": "0.1 meV/atom or less"}
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
    *,
    incar: Mapping[str, Any] | None = None,
    valence_e: float | None = None,
    atoms: int = 0,
) -> Level:
    """The level that tags of an INCAR, or those VASP reports, stand for.

    Args:
        settings: tag → value; one that is absent has VASP's default, one that is None is not known.
        symbols: element of every type in POTCAR's order, or of every atom in POSCAR's.
        potential_titles: element → POTCAR title, as far as known.
        cell: (3, 3) in Å.
        divisions: of the k-point grid; None where not known.
        incar: the tags that were set; None where not known. With it the level is complete.
        valence_e: electrons of the neutral cell; None where not known.
        atoms: in the cell; 0 where not known.

    Raises:
        ValueError: +U of some types only.
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
        details=_details(settings, incar)
        | {"GGA": _gga(settings, potential_titles)}
        | _further(settings, incar)
        | _per_atom(settings, valence_e, atoms),
        complete=incar is not None,
    )


def without_defaults(details: Mapping[str, Any]) -> dict[str, Any]:
    """The details of a level without those of `DEFAULTS` that have their default, as a complete level states them."""
    return {
        tag: value for tag, value in details.items() if tag not in DEFAULTS or not _same_value(value, DEFAULTS[tag])
    }


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
    name = tag_word(meta)
    base = name if truth(meta) is None and name not in UNSET else _gga(settings, titles)
    return _hybrid(settings, base) if truth(settings.get("LHFCALC")) else base


def _gga(settings: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    words = (tag_word(settings.get(tag) or "") for tag in ("XC", "GGA"))
    name = next((word for word in words if word not in UNSET), "")
    return XC_NAMES.get(name, GGA_NAMES.get(name, name)) or _functional_of_titles(titles)


def _functional_of_titles(titles: Mapping[str, str]) -> str:
    names = {TITLE_NAMES.get(title.split()[0], "") for title in titles.values() if title.split()}
    return names.pop() if len(names) == 1 else ""


def _hybrid(settings: Mapping[str, Any], base: str) -> str:
    exchange, screening = float(settings.get("AEXX", 0.25)), float(settings.get("HFSCREEN", 0.0))
    known = HYBRIDS.get((base, round(exchange, 4), round(screening, 2)))
    return known or f"{base} with {exchange:g} exact exchange, screened by {screening:g} 1/Å"


def _hubbard(settings: Mapping[str, Any], symbols: Sequence[str]) -> dict[str, tuple[str, float]]:
    """Element → (orbital, U − J); of several types of an element the largest, which is then said.

    Where U and J act apart (LDAUTYPE other than 2), J is named beside the orbital.
    """
    if not truth(settings.get("LDAU")):
        return {}
    lists = [np.atleast_1d(settings.get(tag, default)) for tag, default in LDAU_DEFAULTS.items()]
    longest = max(map(len, lists))
    types = list(symbols) if len(symbols) <= longest else [element for element, _ in groupby(symbols)]
    if longest < len(types) or any(1 < len(values) < len(types) for values in lists):
        counts = ", ".join(f"{len(values)} in {tag}" for tag, values in zip(LDAU_DEFAULTS, lists, strict=True))
        raise ValueError(f"+U of {counts} for {len(types)} species; <parameters> has the first only, <incar> has all")
    # VASP reads as many as there are types; one number is the default of a tag that was not set, the same for all.
    orbitals, coulomb, exchange = (
        np.broadcast_to(values, len(types)) if len(values) == 1 else values[: len(types)] for values in lists
    )
    apart = _ldau_type(settings) != 2
    shells: dict[str, list[tuple[str, float]]] = {}
    for element, orbital, u, j in zip(types, orbitals, coulomb, exchange, strict=True):
        effective = round(float(u) - float(j), 6)
        acts = int(orbital) >= 0 and (effective != 0 or (apart and float(u) != 0))
        name = ORBITALS[int(orbital)] + (f" with J = {float(j):g} eV" if apart else "") if acts else ""
        shells.setdefault(element, []).append((name, effective if acts else 0.0))
    largest = {element: max(found, key=lambda shell: abs(shell[1])) for element, found in shells.items()}
    some = {element: " of some of its types" if len(set(found)) > 1 else "" for element, found in shells.items()}
    return {element: (name + some[element], u) for element, (name, u) in largest.items() if name}


def _ldau_type(settings: Mapping[str, Any]) -> int:
    """VASP writes it as a vector of one."""
    return int(np.atleast_1d(settings.get("LDAUTYPE", 2))[0])


def _reach(cell: np.ndarray, divisions: Sequence[int] | None) -> float | None:
    if divisions is None:
        return None
    return float(np.min(np.asarray(divisions) * np.linalg.norm(np.asarray(cell, dtype=float), axis=1)))


def _details(settings: Mapping[str, Any], incar: Mapping[str, Any] | None) -> dict[str, Any]:
    details = {tag: _plain(tag, settings.get(tag, default)) for tag, default in DETAILS.items()}
    if details["LREAL"] is True and "LREAL" in (incar or {}):
        details["LREAL"] = "on"
    if details["ISMEAR"] is not None and details["ISMEAR"] <= -4:
        details["SIGMA"] = None
    if truth(settings.get("LDAU")):
        details["LDAUTYPE"] = _ldau_type(settings)
    if truth(settings.get("LVDW")):
        # The older name of the method of Grimme that is number 1.
        details["IVDW"] = details["IVDW"] or 1
    return details


def _further(settings: Mapping[str, Any], incar: Mapping[str, Any] | None) -> dict[str, Any]:
    """Tags beyond `DETAILS` that depart from VASP's default; where the INCAR is not known, all that are stated."""
    # Of a vector an OUTCAR gives the first number.
    told = [tag for tag, default in DEFAULTS.items() if tag not in SHARES and not isinstance(default, list)]
    found = {tag: typed_value(settings[tag]) for tag in told if tag in settings}
    if incar is not None:
        known = {*DETAILS, *COMPARED}
        set_by_hand = [tag for tag in incar if tag not in known and (tag in DEFAULTS or not is_harmless(tag))]
        if found.get("I_CONSTRAINED_M") and "RWIGS" in incar:
            # The spheres in which the moments are held.
            set_by_hand.append("RWIGS")
        found |= {tag: value for tag in set_by_hand if not _same_value(value := typed_value(incar[tag]), False)}
    return found if incar is None else without_defaults(found)


def _per_atom(settings: Mapping[str, Any], valence_e: float | None, atoms: int) -> dict[str, Any]:
    """What grows with the cell: electrons beyond the neutral cell, and an EDIFF too loose for it."""
    found: dict[str, Any] = {}
    electrons, ediff = settings.get("NELECT", valence_e), settings.get("EDIFF")
    if atoms and valence_e is not None and electrons is not None:
        found[EXCESS] = round((float(electrons) - valence_e) / atoms, 8) + 0.0
    if atoms and ediff is not None and float(ediff) > LOOSE_EDIFF_eV_PER_ATOM * atoms:
        found["EDIFF"] = float(ediff)
    return found


def _same_value(one: Any, other: Any) -> bool:
    """Equal, numbers to within 1e-6; a word for nothing is "off"."""
    a, b = (False if value in UNSET else value for value in (one, other))
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(_same_value, a, b))
    numeric = all(isinstance(value, int | float) and not isinstance(value, bool) for value in (a, b))
    return abs(a - b) <= TAG_TOLERANCE if numeric else type(a) is type(b) and a == b


def _plain(tag: str, value: Any) -> Any:
    if value is None:
        return None
    if tag == "IVDW" and int(value) == 10:
        return 1
    if tag == "PREC":
        return PRECISIONS.get(str(value).strip().lower()[:1], str(value))
    if tag == "LREAL":
        # VASP reports T for Auto and for On, so that a T may be either.
        letter = str(value).strip().strip(".").upper()[:1]
        return {"A": "auto", "O": "on", "T": True}.get(letter, False)
    if isinstance(DETAILS[tag], bool):
        return truth(value)
    return value


def differences(a: Level, b: Level) -> list[str]:
    """What keeps two levels from being trained on together, a sentence each; none when they agree.

    Something not known on one side is no difference, nor is what concerns an element that only one of them has; a tag
    that a complete level does not state has its default there. The reaches of k-points agree within 35 % or if both
    exceed 25 Å. Fixed total moments (NUPDOWN) may differ, as they go with the composition; a fixed and a free one do
    not agree.
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
    for tag in sorted(set(a.details) | set(b.details)):
        one, other = (_stated(level, tag) for level in (a, b))
        if one in (None, "") or other in (None, ""):
            continue
        if tag == "GGA" and a.functional and b.functional:
            continue
        if tag == "NUPDOWN":
            one, other = (("free" if value < 0 else "fixed") for value in (one, other))
        if tag == "LREAL" and True in (one, other) and False not in (one, other):
            continue
        if not _same_value(one, other):
            yield f"{tag} {one} against {other}"


def _stated(level: Level, tag: str) -> Any:
    """A tag's value in a level, VASP's default where a complete level does not state it, else None."""
    if tag in level.details or not level.complete or tag in PAIRWISE or tag == EXCESS:
        return level.details.get(tag)
    return DEFAULTS.get(tag, NOT_STATED.get(tag, "not set"))
