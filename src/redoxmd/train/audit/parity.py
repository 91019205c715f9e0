"""Labels that the ensemble contradicts: residuals that stand out from those of the frames around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from ase import Atoms

from redoxmd.seeds import derive_rng

if TYPE_CHECKING:  # the status of a run reads tables without loading torch
    from redoxmd.model.ensemble import Ensemble

# 0.16 s a frame of 40 atoms for the paper's ensemble on one core: eight minutes. Each generation draws anew.
MAX_AUDITED = 3000
# Steps to either side: along MD the error of the model changes slowly, that of a label does not.
REACH = 2
# Scores above which a frame is suspect, found by planting errors (docs/silent-errors.md), and fewest to score against.
FORCE_LIMIT = 7.0
ATOM_LIMIT = 18.0
ENERGY_LIMIT = 8.0
BATCH_LIMIT = 6.0
FEWEST_FRAMES = 8
FEWEST_CONFIGURATIONS = 5
FEWEST_ALIKE = 3
# Scatter of residuals below which none is scored, for forces also as a share of the usual residual: what a poor
# ensemble does not know is no one's error.
FORCE_FLOOR_EV_A = 0.003
FORCE_FLOOR_SHARE = 0.05
ENERGY_FLOOR_MEV_ATOM = 0.5
BATCH_FLOOR_MEV_ATOM = 1.0
NAMED = 8

COLUMNS = (
    "config_id",
    "step",
    "set",
    "force_rmse_eV_A",
    "force_score",
    "atom_score",
    "energy_error_meV_atom",
    "energy_score",
    "batch_score",
    "suspect",
    "why",
)


@dataclass(frozen=True)
class Residual:
    """Reference less ensemble mean for one frame.

    Attributes:
        config_id, step, set: which frame.
        symbols: (n,) elements.
        forces_eV_A: (n, 3).
        energy_meV_atom: of the total energy.
    """

    config_id: str
    step: int
    set: str
    symbols: np.ndarray
    forces_eV_A: np.ndarray
    energy_meV_atom: float


def frames_to_audit(frames: Sequence[Atoms], seed: int, generation: int, limit: int = MAX_AUDITED) -> list[Atoms]:
    """Whole configurations, up to `limit` frames: this generation's labels first, the others as drawn."""
    runs: dict[str, list[Atoms]] = {}
    for frame in frames:
        runs.setdefault(str(frame.info["config_id"]), []).append(frame)
    names = [list(runs)[k] for k in derive_rng(seed, "audit", generation).permutation(len(runs))]
    chosen: list[Atoms] = []
    for name in sorted(names, key=lambda name: not name.startswith(f"g{generation - 1}f")):
        if chosen and len(chosen) + len(runs[name]) > limit:
            continue
        chosen += runs[name]
    return chosen


def residuals(ensemble: Ensemble, frames: Sequence[Atoms]) -> list[Residual]:
    """Residuals of labelled frames with `info["set"]`."""
    found = []
    for frame in frames:
        prediction, results, info = ensemble.predict(frame), frame.calc.results, frame.info
        found.append(
            Residual(
                str(info["config_id"]),
                int(info["step"]),
                str(info["set"]),
                np.array(frame.get_chemical_symbols()),
                results["forces"] - prediction.forces_eV_A,
                1000 * (results["energy"] - prediction.energy_eV) / len(frame),
            )
        )
    return found


def suspects(found: Sequence[Residual]) -> pd.DataFrame:
    """One row per frame with the scores of its residual, and whether and why it is suspect.

    The residual of a frame is taken relative to the median of its run's frames within two steps, so that what the
    model does not know of a run cancels; a frame without such neighbours counts as it is. Scores are
    (q − median)/(1.4826·MAD) among frames with neighbours on as many sides, test frames apart; a run with larger
    residuals throughout (hotter, new) is scaled down to the others first.

    - force_score: q the rms of the relative force residual.
    - atom_score: largest relative force residual of an atom, over the median of its element.
    - energy_score: q the relative energy residual, its size.
    - batch_score: the median energy residual of the configuration among those of all configurations, its size.

    A score is NaN where there is too little to compare with.
    """
    if not found:
        return pd.DataFrame(columns=list(COLUMNS))
    forces, energies, sides = _relative(found)
    groups = [(residual.set == "test", side) for residual, side in zip(found, sides, strict=True)]
    names = np.array([residual.config_id for residual in found])
    rms = np.array([np.sqrt((force**2).mean()) for force in forces])
    raw = np.array([np.sqrt((residual.forces_eV_A**2).mean()) for residual in found])
    floor = max(FORCE_FLOOR_EV_A, FORCE_FLOOR_SHARE * float(np.median(raw)))
    level = _run_levels(rms, groups, names)
    energies = energies / _run_levels(np.abs(energies), groups, names)
    table = pd.DataFrame(
        {
            "config_id": names,
            "step": [residual.step for residual in found],
            "set": [residual.set for residual in found],
            "force_rmse_eV_A": raw,
            "force_score": _grouped(rms / level, groups, floor),
            "atom_score": _atom_scores(found, forces, groups) / level,
            "energy_error_meV_atom": [residual.energy_meV_atom for residual in found],
            "energy_score": np.abs(_grouped(energies, groups, ENERGY_FLOOR_MEV_ATOM)),
        }
    )
    table["batch_score"] = _batch_scores(found)
    why = [_why(row) for _, row in table.iterrows()]
    return table.assign(suspect=[bool(text) for text in why], why=why)[list(COLUMNS)]


def read_suspects(path: str | Path) -> pd.DataFrame:
    """A table of `suspects` from its CSV."""
    return pd.read_csv(path, dtype={"config_id": str}).fillna({"why": ""})


def names_of(table: pd.DataFrame) -> list[str]:
    """Names "config_id/step" of the suspects, as `train.exclude` takes them."""
    rows = table[table["suspect"]]
    return [f"{name}/{step}" for name, step in zip(rows["config_id"], rows["step"], strict=True)]


def suspicion(names: Sequence[str]) -> str:
    """The suspects in a line, with what to do about them."""
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return (
        f"{len(names)} suspect labels: {', '.join(names[:NAMED])}{more}; look at their calculations and at "
        "suspects.csv, and name in train.exclude what is wrong"
    )


def _relative(found: Sequence[Residual]) -> tuple[list[np.ndarray], np.ndarray, list[int]]:
    """Residuals of forces and energies less those of the frames around, and on how many sides there are any."""
    at = {(residual.config_id, residual.step): residual for residual in found}
    forces, energies, sides = [], [], []
    for residual in found:
        before, after = (_neighbours(at, residual, sign, REACH) for sign in (-1, 1))
        # Three on one side, so that a wrong neighbour is outvoted.
        before = before if after else _neighbours(at, residual, -1, REACH + 1)
        near = before + (after if before else _neighbours(at, residual, 1, REACH + 1))
        force = np.median([other.forces_eV_A for other in near], axis=0) if near else 0.0
        energy = float(np.median([other.energy_meV_atom for other in near])) if near else 0.0
        forces.append(residual.forces_eV_A - force)
        energies.append(residual.energy_meV_atom - energy)
        sides.append(bool(before) + bool(after))
    return forces, np.array(energies), sides


def _neighbours(at: dict[tuple[str, int], Residual], frame: Residual, sign: int, reach: int) -> list[Residual]:
    steps = [frame.step + sign * distance for distance in range(1, reach + 1)]
    others = [at[frame.config_id, step] for step in steps if (frame.config_id, step) in at]
    return [other for other in others if np.array_equal(other.symbols, frame.symbols)]


def robust_scores(values: np.ndarray, floor: float) -> np.ndarray:
    """(value − median)/(1.4826·MAD), the MAD's sigma at least `floor`; NaN for too few values."""
    if len(values) < FEWEST_FRAMES:
        return np.full(len(values), np.nan)
    median = np.median(values)
    scores: np.ndarray = (values - median) / max(1.4826 * float(np.median(np.abs(values - median))), floor)
    return scores


def _run_levels(sizes: np.ndarray, groups: Sequence[tuple[bool, int]], names: np.ndarray) -> np.ndarray:
    """How many times larger the residuals of each frame's run are than those of all runs, at least 1."""
    relative = sizes.copy()
    for group in set(groups):
        own = np.array([other == group for other in groups])
        relative[own] /= max(float(np.median(sizes[own])), 1e-12)
    levels = np.ones(len(sizes))
    for name in np.unique(names):
        own = names == name
        if own.sum() >= FEWEST_FRAMES:
            levels[own] = max(1.0, float(np.median(relative[own])))
    return levels


def _grouped(values: np.ndarray, groups: Sequence[tuple[bool, int]], floor: float) -> np.ndarray:
    scores = np.full(len(values), np.nan)
    for group in set(groups):
        own = np.array([other == group for other in groups])
        scores[own] = robust_scores(values[own], floor)
    return scores


def _atom_scores(
    found: Sequence[Residual], forces: Sequence[np.ndarray], groups: Sequence[tuple[bool, int]]
) -> np.ndarray:
    """Largest |force residual| of an atom over the median of its element in the frame's group."""
    scores = np.full(len(found), np.nan)
    for group in set(groups):
        own = [k for k, other in enumerate(groups) if other == group]
        if len(own) < FEWEST_FRAMES:
            continue
        sizes = [np.linalg.norm(forces[k], axis=1) for k in own]
        symbols = np.concatenate([found[k].symbols for k in own])
        joined = np.concatenate(sizes)
        usual = {s: max(float(np.median(joined[symbols == s])), FORCE_FLOOR_EV_A) for s in np.unique(symbols)}
        for k, size in zip(own, sizes, strict=True):
            scores[k] = max(size / np.array([usual[s] for s in found[k].symbols]))
    return scores


def _batch_scores(found: Sequence[Residual]) -> np.ndarray:
    """Score of each frame's configuration: its median energy residual among those of all configurations.

    The model's own error goes with the composition: where there are three configurations of one, or more, it is
    the distance from their median that is scored.
    """
    energies: dict[str, list[float]] = {}
    for residual in found:
        energies.setdefault(residual.config_id, []).append(residual.energy_meV_atom)
    if len(energies) < FEWEST_CONFIGURATIONS:
        return np.full(len(found), np.nan)
    medians = pd.Series({name: np.median(values) for name, values in energies.items()})
    compositions = pd.Series({residual.config_id: "".join(sorted(residual.symbols)) for residual in found})
    alike = medians.groupby(compositions)
    centres = alike.transform("median").where(alike.transform("size") >= FEWEST_ALIKE, medians.median())
    off = (medians - centres).abs()
    sigma = max(1.4826 * float(off.median()), BATCH_FLOOR_MEV_ATOM)
    return np.array([off[residual.config_id] / sigma for residual in found])


def _why(row: pd.Series) -> str:
    said = [
        (row["force_score"] > FORCE_LIMIT, "forces"),
        (row["atom_score"] > ATOM_LIMIT, "force of an atom"),
        (row["energy_score"] > ENERGY_LIMIT, "energy"),
        (row["batch_score"] > BATCH_LIMIT, "energies of the whole configuration"),
    ]
    return ", ".join(what for stands_out, what in said if stands_out)
