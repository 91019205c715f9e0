"""Selection of the candidates to label: no duplicates, far apart in descriptor space, within the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols

from redoxmd.config.sections import Select, Structures
from redoxmd.electrons.moves import neighbour_pairs, neighbour_swaps, swapped
from redoxmd.explore import GUARDS_BESIDE_SPREAD
from redoxmd.files.records import content_hash
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.neighbours import find_pairs
from redoxmd.structures.symmetry import ordering_class

FINGERPRINT_CUTOFF_A = 4.0
# MD frames are identified by structure and step; NEB images by path and index.
REFUSAL_COLUMNS = ("structure", "step", "path", "image", "spread_eV_A", "reason")


@dataclass(frozen=True)
class Selection:
    """Candidates chosen and refused by `select`.

    Attributes:
        frames: chosen candidates in order of choice, `info["label_id"]` set.
        refused: one row per candidate not chosen, columns `REFUSAL_COLUMNS`.
    """

    frames: list[Atoms]
    refused: list[dict[str, Any]]


def select(
    candidates: Sequence[Atoms],
    known: Sequence[Atoms],
    ensemble: Ensemble,
    settings: Select,
    generation: int,
) -> Selection:
    """Choose at most `settings.budget` candidates to label.

    Geometries that repeat another candidate (reason `duplicate`) or a training frame (`already_labelled`) are refused
    first; with a potential that distinguishes oxidation states, one geometry in two states is two candidates. The
    selection starts from the precursors of ends that the spread did not predict (`redoxmd.explore`) or, if
    there are none, from the candidate of largest spread; it then adds the candidate farthest from all chosen ones in
    the space of mean node features (farthest-point sampling) until the budget is used. If there are more precursors
    than the budget, it samples among them in the same way. Candidates left over have reason `over_budget`.

    With a potential that distinguishes oxidation states, a share `settings.other_states` of the budget is kept for
    second labels of the geometries chosen first, in the state that `other_state` gives (`info["other_state"]`). What
    these do not use is left to further candidates.
    """
    aware = ensemble.states is not None
    labelled_before = {geometry_hash(frame, settings.duplicate_tolerance_A, aware) for frame in known}
    distinct: list[Atoms] = []
    refused: list[dict[str, Any]] = []
    hashes: set[str] = set()
    for frame in sorted(candidates, key=lambda frame: not _is_precursor(frame)):
        identity = geometry_hash(frame, settings.duplicate_tolerance_A, aware)
        if identity in labelled_before or identity in hashes:
            refused.append(_refusal(frame, "already_labelled" if identity in labelled_before else "duplicate"))
            continue
        hashes.add(identity)
        distinct.append(frame)
    order = _farthest_points(distinct, ensemble, settings.budget)
    second: list[Atoms] = []
    if aware and settings.other_states:
        second_labels = min(max(1, round(settings.other_states * settings.budget)), settings.budget // 2)
        for index in order[: settings.budget - second_labels]:
            frame = other_state(distinct[index], ensemble) if len(second) < second_labels else None
            if frame is not None:
                identity = geometry_hash(frame, settings.duplicate_tolerance_A, aware)
                if identity not in labelled_before | hashes:
                    hashes.add(identity)
                    second.append(frame)
        order = order[: settings.budget - len(second)]
    chosen = [distinct[index] for index in order] + second
    for number, frame in enumerate(chosen):
        frame.info["label_id"] = f"g{generation}f{number:03d}"
    refused += [_refusal(frame, "over_budget") for index, frame in enumerate(distinct) if index not in order]
    return Selection(chosen, refused)


def other_state(frame: Atoms, ensemble: Ensemble) -> Atoms | None:
    """The frame in the charge order of lowest mean energy among those that one exchange of an electron gives.

    Two redox atoms of one element, at any distance, exchange their oxidation numbers. None if no exchange is possible.
    """
    oxidation = frame.arrays["oxidation"]
    pairs = neighbour_pairs(oxidation, frame.numbers, frame.positions, frame.cell.array, frame.pbc, np.inf)
    variants: list[Atoms] = []
    for state in swapped(oxidation, neighbour_swaps(oxidation, pairs)):
        variant = frame.copy()
        variant.arrays["oxidation"] = state
        variant.info["other_state"] = True
        variants.append(variant)
    if not variants:
        return None
    species = np.array([ensemble.species_of(variant) for variant in variants])
    return variants[int(ensemble.bind(frame).energies(frame.positions, species).mean(axis=0).argmin())]


def refuse_held_out(
    candidates: Sequence[Atoms], held_out: Mapping[str, str], structures: Structures
) -> tuple[list[Atoms], list[dict[str, Any]]]:
    """Candidates that may be trained on, and refusals of those in the ordering of a test or validation configuration.

    Labels of the latter could not be trained on, so the reference calculations would be wasted. The reasons are
    `test_ordering` and `validation_ordering`.

    Args:
        candidates: frames of explore runs and images of paths.
        held_out: class of an ordering (`redoxmd.structures.symmetry.ordering_class`) → test or validation.
        structures: section `structures`.
    """
    allowed: list[Atoms] = []
    refused = []
    for frame in candidates:
        ordering = ordering_class(frame, structures) if held_out else None
        if ordering is not None and ordering in held_out:
            refused.append(_refusal(frame, f"{held_out[ordering]}_ordering"))
        else:
            allowed.append(frame)
    return allowed, refused


def _refusal(frame: Atoms, reason: str) -> dict[str, Any]:
    return {**{key: frame.info.get(key) for key in REFUSAL_COLUMNS[:-1]}, "reason": reason}


def _farthest_points(frames: Sequence[Atoms], ensemble: Ensemble, budget: int) -> list[int]:
    if len(frames) <= 1 or budget == 0:
        return list(range(min(len(frames), budget)))
    precursors = [index for index, frame in enumerate(frames) if _is_precursor(frame)]
    pool = precursors if len(precursors) > budget else list(range(len(frames)))
    descriptors = np.stack([ensemble.descriptor(frames[index]) for index in pool])
    spread = np.array([frames[index].info.get("spread_eV_A", 0.0) for index in pool])
    start = precursors if 0 < len(precursors) <= budget else [int(np.argmax(spread))]
    return [pool[index] for index in farthest_points(descriptors, start, budget)]


def _is_precursor(frame: Atoms) -> bool:
    return frame.info.get("ended") in GUARDS_BESIDE_SPREAD


def farthest_points(descriptors: np.ndarray, start: Sequence[int], count: int) -> list[int]:
    """Greedy farthest-point order: indices of at most `count` rows of (N, D), beginning with `start`."""
    chosen = list(start)[:count]
    nearest = np.linalg.norm(descriptors[:, None] - descriptors[chosen], axis=2).min(axis=1)
    while len(chosen) < min(count, len(descriptors)):
        nearest[chosen] = -1.0
        following = int(np.argmax(nearest))
        chosen.append(following)
        nearest = np.minimum(nearest, np.linalg.norm(descriptors - descriptors[following], axis=1))
    return chosen


def geometry_hash(atoms: Atoms, tolerance_A: float, aware: bool = False) -> str:
    """Identity of a geometry up to translation, rotation, wrapping and order of like atoms.

    A hash of the composition and of all interatomic distances below 4 Å, sorted by element pair and rounded to the
    tolerance. It recognises repeated frames; similar frames are thinned by farthest-point sampling. If `aware`, atoms
    are like each other only in the same oxidation state (array `oxidation`).
    """
    pairs = find_pairs(atoms.positions, np.asarray(atoms.cell), atoms.pbc, FINGERPRINT_CUTOFF_A)
    distance = np.linalg.norm(pairs.vectors_A(atoms.positions, np.asarray(atoms.cell)), axis=1)
    kinds = atoms.numbers + len(chemical_symbols) * atoms.arrays["oxidation"] if aware else atoms.numbers
    a, b = kinds[pairs.receiver], kinds[pairs.sender]
    rows = np.stack([np.minimum(a, b), np.maximum(a, b), np.round(distance / tolerance_A).astype(int)], axis=1)
    rows = rows[np.lexsort(rows.T[::-1])]
    return content_hash([sorted(kinds.tolist()), rows.tolist()])
