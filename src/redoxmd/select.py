"""Selection of the candidates to label: no duplicates, far apart in descriptor space, within the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
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
    selection starts from the precursors of ends that the spread did not predict (`redoxmd.explore`). With
    `novelty: mean` it starts, if there are none, from the candidate of largest spread, and adds the candidate farthest
    from all chosen ones in the space of mean node features (farthest-point sampling) until the budget is used. With
    `novelty: atoms` it adds the candidate with the atom farthest from all atoms of the training frames and of the
    chosen ones (`novel_frames`). If there are more precursors than the budget, it samples among them in the same way.
    Candidates left over have reason `over_budget`.

    With a potential that distinguishes oxidation states, a share `settings.other_states` of the budget is kept for
    second labels of the geometries chosen first, in the state that `other_state` gives (`info["other_state"]`). What
    these do not use is left to further candidates.

    Args:
        candidates: frames that may be labelled.
        known: frames of the data set; only those of its training set (`info["set"]`) are anchors of `novelty: atoms`.
        ensemble: of this generation; its node features are the descriptors.
        settings: section `select`.
        generation: number of the generation, for the label ids.
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
    anchors = [frame for frame in known if frame.info.get("set", "train") == "train"]
    order = _order(distinct, anchors if settings.novelty == "atoms" else None, ensemble, settings.budget)
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


def _order(frames: Sequence[Atoms], anchors: Sequence[Atoms] | None, ensemble: Ensemble, budget: int) -> list[int]:
    """At most `budget` indices of frames; with anchors by atoms, without by mean features."""
    if len(frames) <= 1 or budget == 0:
        return list(range(min(len(frames), budget)))
    precursors = [index for index, frame in enumerate(frames) if _is_precursor(frame)]
    pool = precursors if len(precursors) > budget else list(range(len(frames)))
    if anchors is not None:
        start = precursors if len(precursors) <= budget else []
        of_pool, of_anchors = (
            [AtomFeatures.of(f, ensemble) for f in group] for group in ([frames[i] for i in pool], anchors)
        )
        return [pool[index] for index in novel_frames(of_pool, of_anchors, start, budget)]
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


@dataclass(frozen=True)
class AtomFeatures:
    """Node features (n, D) of the atoms of a frame, and their species (n,)."""

    features: np.ndarray
    species: np.ndarray

    @classmethod
    def of(cls, frame: Atoms, ensemble: Ensemble) -> AtomFeatures:
        """Features of all members, in single precision."""
        return cls(ensemble.atom_descriptors(frame).astype(np.float32), ensemble.species_of(frame))


def novel_frames(
    candidates: Sequence[AtomFeatures], anchors: Sequence[AtomFeatures], start: Sequence[int], count: int
) -> list[int]:
    """Greedy choice by atoms: indices of at most `count` candidates, beginning with `start`.

    The novelty of an atom is its distance in feature space to the nearest atom of its species in the anchors and in the
    candidates chosen before, divided by the root mean square distance of two atoms of this species. The novelty of a
    frame is that of its most novel atom, so that one new surrounding counts in a cell of any size; the frame of largest
    novelty is next. An atom of a species that no anchor has is infinitely novel.
    """
    owner = np.repeat(np.arange(len(candidates)), [len(frame.species) for frame in candidates])
    features = np.concatenate([frame.features for frame in candidates])
    species = np.concatenate([frame.species for frame in candidates])
    known = np.concatenate([np.empty((0, features.shape[1]), np.float32), *(frame.features for frame in anchors)])
    known_species = np.concatenate([np.empty(0, int), *(frame.species for frame in anchors)])
    scale, nearest = np.ones(len(species)), np.full(len(species), np.inf)
    for kind in np.unique(species):
        rows = np.concatenate([features[species == kind], known[known_species == kind]])
        scale[species == kind] = np.sqrt(2 * rows.var(axis=0, dtype=float).sum()) or 1.0

    def approach(rows: np.ndarray, kinds: np.ndarray) -> None:
        """Shorten the distances of all atoms to the nearest of the rows."""
        for kind in np.unique(species):
            atoms = np.flatnonzero(species == kind)
            for block in np.array_split(rows[kinds == kind], 1 + len(rows) // 4096):
                if len(block):
                    gap = torch.cdist(torch.from_numpy(features[atoms]), torch.from_numpy(block)).min(dim=1).values
                    nearest[atoms] = np.minimum(nearest[atoms], gap.numpy())

    approach(known, known_species)
    chosen: list[int] = []
    while len(chosen) < min(count, len(candidates)):
        novelty = np.zeros(len(candidates))
        np.maximum.at(novelty, owner, nearest / scale)
        novelty[chosen] = -1.0
        chosen.append(start[len(chosen)] if len(chosen) < len(start) else int(np.argmax(novelty)))
        approach(candidates[chosen[-1]].features, candidates[chosen[-1]].species)
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
