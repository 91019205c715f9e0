"""Labels of a frame from one source, under the names that codes and potentials use."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from ase import Atoms
from ase.io.extxyz import key_val_str_to_dict
from ase.stress import voigt_6_to_full_3x3_stress

from redoxmd.engines.calculation import NONCOLLINEAR, ReadFrame
from redoxmd.errors import LabelRefusal, LabelRefused

# Source and quantity of a label: energy, REF_energy, dft_force, forces_ref, …
LABEL = re.compile(r"(ref_|dft_|plain_)?(energy|forces?|stress|virials?|magmoms)(_ref|_dft)?", re.IGNORECASE)
LABEL_LIKE = re.compile(r"(?!.*(weight|unit|mask|initial)).*(energy|force|stress|virial|magmoms)", re.IGNORECASE)
# Further results of ASE, which accompany its energy and forces.
COMPANIONS = {"free_energy", "energies", "stresses"}
# Source of labels under ASE's own names.
PLAIN = ""
# ASE reads these as 3×3 matrices and fails for six components, unless they have another name.
MATRICES = re.compile(r"(^|\s)(stress|virial)(\s*=)")
# NEP writes these keys in lower case, which ASE ignores together with the columns.
CAPITALS = re.compile(r"(^|\s)(lattice|properties)(?=\s*=)")
UNIT_NAME = re.compile(r"(?:.*[_-])?units?", re.IGNORECASE)
OUR_UNITS = {"ev", "ev/a", "ev/å", "ev/ang", "ev/angstrom", "ev/a^3", "ev/å^3", "ev/ang^3", "ev/angstrom^3", "metal"}
OUR_UNITS |= {"a", "å", "ang", "angstrom", "fs", "k"}
STRESS_TOLERANCE = 1e-3
STRESS_FLOOR_eV_A3 = 1e-6
# 160 GPa; larger numbers are in GPa or kbar.
STRESS_CEILING_eV_A3 = 1.0


def parse_comment(line: str) -> dict[str, Any]:
    """Keys of the second line of extended XYZ; stress and virial as `plain_stress`, `plain_virial`, of any shape."""
    capitals = CAPITALS.sub(lambda match: match[1] + match[2].capitalize(), line)
    keys: dict[str, Any] = key_val_str_to_dict(MATRICES.sub(r"\1plain_\2\3", capitals))
    return keys


def read_labels(atoms: Atoms, step: int, notes: Counter[str]) -> ReadFrame:
    """A frame with the labels of one source: those named REF_ or dft_, else those under ASE's names.

    Energy and forces always have the same source. Stress is −virial/V if the frame has a virial only; if stress and
    virial differ, neither is used. Six components of stress are in ASE's order: xx, yy, zz, yz, xz, xy.

    Args:
        atoms: with labels in results, `info` or `arrays`.
        step: number of the frame in its file.
        notes: receives omissions and assumptions.

    Raises:
        LabelRefused: unfinished without energy and forces under known names, corrupted for mixed sources or a label
            that is no number, wrong_settings for other units.
    """
    _check_units(atoms.info)
    stores: list[Mapping[str, Any]] = [getattr(atoms.calc, "results", {}), atoms.info, atoms.arrays]
    candidates = [(name, value) for store in stores for name, value in store.items() if LABEL_LIKE.match(name)]
    sources = _by_source(candidates)
    source = _choose(sources, [name for name, _ in candidates])
    labels = sources[source]
    energy = _numbers(*labels["energy"])
    if energy.size != 1:
        raise LabelRefused(
            LabelRefusal.CORRUPTED, f"{_shown(labels['energy'][0])} has {energy.size} numbers; a frame has one"
        )
    # Moments under ASE's names belong to the labels under ASE's names, if the frame has these labels.
    only_moments = not {"energy", "forces"} & sources.get(PLAIN, {}).keys()
    moments = labels.get("magmoms") or (sources[PLAIN].get("magmoms") if only_moments and PLAIN in sources else None)
    total = None
    if only_moments or source == PLAIN:
        # Labels of redoxmd state the total moment in `info`.
        total = getattr(atoms.calc, "results", {}).get("magmom", atoms.info.get("total_moment_muB"))
    stress = _stress(labels, abs(float(np.linalg.det(atoms.cell.array))), notes)
    used = {name for name, _ in labels.values()} | ({moments[0]} if moments else set()) | COMPANIONS
    unused = [_shown(name) for name, _ in candidates if name not in used]
    if unused:
        taken = " and ".join(labels[quantity][0] for quantity in ("energy", "forces"))
        notes[f"{taken} are the labels; left out beside them: {', '.join(unused)}"] += 1
    if total is not None and np.size(total) != 1:
        notes[NONCOLLINEAR] += 1
        total = None
    return ReadFrame(
        atoms,
        step,
        energy_eV=float(energy.item()),
        forces_eV_A=_numbers(*labels["forces"]),
        stress_eV_A3=stress,
        moments_muB=None if moments is None else _numbers(*moments),
        total_moment_muB=None if total is None else float(_numbers("magmom", total).item()),
    )


def _check_units(info: Mapping[str, Any]) -> None:
    """Refuse a frame that states other units for its labels."""
    for key, value in info.items():
        texts = value.values() if isinstance(value, dict) else [value]
        words = [word for text in texts if isinstance(text, str) for word in re.split(r"[\s,;]+", text.strip()) if word]
        if UNIT_NAME.fullmatch(key) and any(word.lower() not in OUR_UNITS for word in words):
            raise LabelRefused(
                LabelRefusal.WRONG_SETTINGS, f"{key} = {value}; convert the labels to eV, eV/Å and eV/Å³"
            )


def _by_source(candidates: list[tuple[str, Any]]) -> dict[str, dict[str, tuple[str, Any]]]:
    """Source → quantity → (name, value)."""
    sources: dict[str, dict[str, tuple[str, Any]]] = {}
    for name, value in candidates:
        match = LABEL.fullmatch(name)
        if match is None or value is None:
            continue
        source = (match[1] or match[3] or PLAIN).lower().strip("_").replace("plain", PLAIN)
        quantity = match[2].lower()
        quantity = {"force": "forces", "virials": "virial"}.get(quantity, quantity)
        earlier, earlier_value = sources.setdefault(source, {}).setdefault(quantity, (name, value))
        if earlier_value is not value and not np.array_equal(earlier_value, value):
            raise LabelRefused(
                LabelRefusal.CORRUPTED, f"{_shown(earlier)} and {_shown(name)} differ; keep the one that is right"
            )
    return sources


def _choose(sources: Mapping[str, Mapping[str, tuple[str, Any]]], names: list[str]) -> str:
    """Source of the labels, with energy and forces: a named reference has precedence over ASE's names."""
    partial = [source for source in sources if {"energy", "forces"} & sources[source].keys()]
    named = [source for source in partial if source != PLAIN]
    shown = ", ".join(map(_shown, names)) or "none"
    if len(named) > 1:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"labels of several references ({shown}); keep one of them")
    source = (named or partial or [PLAIN])[0]
    if {"energy", "forces"} <= sources.get(source, {}).keys():
        return source
    if len(partial) > 1:
        raise LabelRefused(
            LabelRefusal.CORRUPTED, f"energy and forces of two sources ({shown}); keep the energy and forces of one"
        )
    raise LabelRefused(
        LabelRefusal.UNFINISHED,
        f"no energy and forces; only a finished calculation is a label. Names found: {shown}; the labels must be named "
        "energy and forces, or REF_energy and REF_forces",
    )


def _stress(labels: Mapping[str, tuple[str, Any]], volume_A3: float, notes: Counter[str]) -> np.ndarray | None:
    """Stress (3, 3) in eV/Å³, ASE's sign; None if absent or, with a note, unusable."""
    stress: np.ndarray | None = None
    if "stress" in labels:
        name, value = labels["stress"]
        stress = _numbers(name, value)
        # The stress of an ASE calculator is always in this order.
        if stress.size == 6 and name != "stress":
            notes[f"six components of {_shown(name)} read in ASE's order: xx, yy, zz, yz, xz, xy"] += 1
        full = voigt_6_to_full_3x3_stress(stress.ravel()) if stress.size == 6 else stress
        stress = full.reshape(3, 3) if full.size == 9 else full
        if stress.size and np.abs(stress).max() > STRESS_CEILING_eV_A3:
            notes[f"{_shown(name)} left out: beyond {STRESS_CEILING_eV_A3:g} eV/Å³ (160 GPa), so of another unit"] += 1
            stress = None
    if "virial" not in labels:
        return stress
    name, value = labels["virial"]
    virial_eV = _numbers(name, value)
    if virial_eV.size != 9 or not volume_A3 > 0:
        notes[f"{_shown(name)} left out: without a cell, or not of nine components"] += 1
        return stress
    of_virial = -virial_eV.reshape(3, 3) / volume_A3
    if stress is None:
        return of_virial
    limit = STRESS_TOLERANCE * np.abs(of_virial).max() + STRESS_FLOOR_eV_A3
    if stress.shape == (3, 3) and np.abs(stress - of_virial).max() <= limit:
        return stress
    notes[
        f"{_shown(labels['stress'][0])} and {_shown(name)} left out: stress is not −virial/V (another sign or unit)"
    ] += 1
    return None


def _numbers(name: str, value: Any) -> np.ndarray:
    try:
        return np.asarray(value, dtype=float)
    except (TypeError, ValueError) as error:
        raise LabelRefused(LabelRefusal.CORRUPTED, f"{_shown(name)} is no number: {str(value)[:40]!r}") from error


def _shown(name: str) -> str:
    """A name as in the file."""
    return name.removeprefix("plain_")
