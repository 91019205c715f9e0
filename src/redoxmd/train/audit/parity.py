"""Labels that the ensemble contradicts: outliers among the residuals of labelled frames."""

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

# Frames of an audit: 0.16 s per frame of 40 atoms for the paper's ensemble on one core, eight minutes in all. Each
# generation draws its own sample.
MAX_AUDITED = 3000
# Steps to either side that count as neighbours: along MD the error of the model changes slowly, that of a label not.
NEIGHBOUR_STEPS = 2
# Scores above which a frame is suspect, determined with planted errors (docs/silent-errors.md), and the smallest
# numbers of frames, configurations and configurations of a composition for a score.
FORCE_LIMIT = 7.0
ATOM_LIMIT = 18.0
ENERGY_LIMIT = 8.0
BATCH_LIMIT = 6.0
FEWEST_FRAMES = 8
FEWEST_CONFIGURATIONS = 5
FEWEST_OF_COMPOSITION = 3
# Smallest scatter of residuals in a score; for forces also as a share of the median residual, so that the errors of a
# poor ensemble are not taken for label errors.
FORCE_FLOOR_EV_A = 0.003
FORCE_FLOOR_SHARE = 0.05
ENERGY_FLOOR_MEV_ATOM = 0.5
BATCH_FLOOR_MEV_ATOM = 1.0
SUSPECTS_NAMED = 8

# Score → its limit, and the reason above it.
CRITERIA = {
    "force_score": (FORCE_LIMIT, "forces"),
    "atom_score": (ATOM_LIMIT, "force of an atom"),
    "energy_score": (ENERGY_LIMIT, "energy"),
    "batch_score": (BATCH_LIMIT, "energies of the whole configuration"),
}
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
    """Reference minus ensemble mean for one frame.

    Attributes:
        config_id, step, set: identity and set of the frame.
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
    """Frames of whole configurations, at most `limit`: first the newest labels, then others in random order."""
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
    rows = []
    for frame in frames:
        prediction, results, info = ensemble.predict(frame), frame.calc.results, frame.info
        rows.append(
            Residual(
                str(info["config_id"]),
                int(info["step"]),
                str(info["set"]),
                np.array(frame.get_chemical_symbols()),
                results["forces"] - prediction.forces_eV_A,
                1000 * (results["energy"] - prediction.energy_eV) / len(frame),
            )
        )
    return rows


def suspects(frames: Sequence[Residual]) -> pd.DataFrame:
    """One row per frame with the scores of its residual, whether it is suspect, and the reason.

    The residual of a frame is taken relative to the median of its run's frames within two steps, so that the model's
    error common to a run cancels; the residual of a frame without such neighbours is used unchanged. Scores are
    (q − median)/(1.4826·MAD) among frames with neighbours on the same number of sides; test frames are scored
    separately. The residuals of a run that are larger throughout (hotter, new) are first scaled down to the others.

    - force_score: q is the rms of the relative force residual.
    - atom_score: largest relative force residual of an atom, over the median of its element.
    - energy_score: q is the relative energy residual; absolute value of the score.
    - batch_score: absolute score of the configuration's median energy residual among those of all configurations.

    A score is NaN if there are too few frames or configurations to compare with.
    """
    if not frames:
        return pd.DataFrame(columns=list(COLUMNS))
    forces, energies, sides = _relative(frames)
    groups = [(residual.set == "test", side) for residual, side in zip(frames, sides, strict=True)]
    names = np.array([residual.config_id for residual in frames])
    rms = np.array([np.sqrt((force**2).mean()) for force in forces])
    raw = np.array([np.sqrt((residual.forces_eV_A**2).mean()) for residual in frames])
    floor = max(FORCE_FLOOR_EV_A, FORCE_FLOOR_SHARE * float(np.median(raw)))
    level = _run_levels(rms, groups, names)
    energies = energies / _run_levels(np.abs(energies), groups, names)
    table = pd.DataFrame(
        {
            "config_id": names,
            "step": [residual.step for residual in frames],
            "set": [residual.set for residual in frames],
            "force_rmse_eV_A": raw,
            "force_score": _grouped(rms / level, groups, floor),
            "atom_score": _atom_scores(frames, forces, groups) / level,
            "energy_error_meV_atom": [residual.energy_meV_atom for residual in frames],
            "energy_score": np.abs(_grouped(energies, groups, ENERGY_FLOOR_MEV_ATOM)),
        }
    )
    table["batch_score"] = _batch_scores(frames)
    reasons = [
        ", ".join(text for column, (limit, text) in CRITERIA.items() if row[column] > limit)
        for _, row in table.iterrows()
    ]
    return table.assign(suspect=[bool(text) for text in reasons], why=reasons)[list(COLUMNS)]


def read_suspects(path: str | Path) -> pd.DataFrame:
    """A table of `suspects`, read from its CSV file."""
    return pd.read_csv(path, dtype={"config_id": str}).fillna({"why": ""})


def suspect_names(table: pd.DataFrame) -> list[str]:
    """Names "config_id/step" of the suspects, as `train.exclude` takes them."""
    rows = table[table["suspect"]]
    return [f"{name}/{step}" for name, step in zip(rows["config_id"], rows["step"], strict=True)]


def describe_suspects(names: Sequence[str]) -> str:
    """One line that lists the suspects and the remedy."""
    more = f" and {len(names) - SUSPECTS_NAMED} more" if len(names) > SUSPECTS_NAMED else ""
    return (
        f"{len(names)} suspect labels: {', '.join(names[:SUSPECTS_NAMED])}{more}; look at their calculations and at "
        "suspects.csv, and name in train.exclude what is wrong"
    )


def _relative(frames: Sequence[Residual]) -> tuple[list[np.ndarray], np.ndarray, list[int]]:
    """Residuals of forces and energies minus the median of the neighbours, and the number of sides with neighbours."""
    by_step = {(residual.config_id, residual.step): residual for residual in frames}
    forces, energies, sides = [], [], []
    for residual in frames:
        before, after = (_neighbours(by_step, residual, sign, NEIGHBOUR_STEPS) for sign in (-1, 1))
        # Three neighbours if there is only one side, so that the median excludes a wrong one.
        before = before if after else _neighbours(by_step, residual, -1, NEIGHBOUR_STEPS + 1)
        neighbours = before + (after if before else _neighbours(by_step, residual, 1, NEIGHBOUR_STEPS + 1))
        force = np.median([item.forces_eV_A for item in neighbours], axis=0) if neighbours else 0.0
        energy = float(np.median([item.energy_meV_atom for item in neighbours])) if neighbours else 0.0
        forces.append(residual.forces_eV_A - force)
        energies.append(residual.energy_meV_atom - energy)
        sides.append(bool(before) + bool(after))
    return forces, np.array(energies), sides


def _neighbours(by_step: dict[tuple[str, int], Residual], frame: Residual, sign: int, n_steps: int) -> list[Residual]:
    steps = [frame.step + sign * distance for distance in range(1, n_steps + 1)]
    neighbours = [by_step[frame.config_id, step] for step in steps if (frame.config_id, step) in by_step]
    return [item for item in neighbours if np.array_equal(item.symbols, frame.symbols)]


def robust_scores(values: np.ndarray, floor: float) -> np.ndarray:
    """(value − median)/(1.4826·MAD), with 1.4826·MAD at least `floor`; NaN for too few values."""
    if len(values) < FEWEST_FRAMES:
        return np.full(len(values), np.nan)
    median = np.median(values)
    scores: np.ndarray = (values - median) / max(1.4826 * float(np.median(np.abs(values - median))), floor)
    return scores


def _run_levels(sizes: np.ndarray, groups: Sequence[tuple[bool, int]], names: np.ndarray) -> np.ndarray:
    """Factor by which the residuals of each frame's run exceed those of all runs, at least 1."""
    relative = sizes.copy()
    for group in set(groups):
        selected = np.array([item == group for item in groups])
        relative[selected] /= max(float(np.median(sizes[selected])), 1e-12)
    levels = np.ones(len(sizes))
    for name in np.unique(names):
        selected = names == name
        if selected.sum() >= FEWEST_FRAMES:
            levels[selected] = max(1.0, float(np.median(relative[selected])))
    return levels


def _grouped(values: np.ndarray, groups: Sequence[tuple[bool, int]], floor: float) -> np.ndarray:
    scores = np.full(len(values), np.nan)
    for group in set(groups):
        selected = np.array([item == group for item in groups])
        scores[selected] = robust_scores(values[selected], floor)
    return scores


def _atom_scores(
    frames: Sequence[Residual], forces: Sequence[np.ndarray], groups: Sequence[tuple[bool, int]]
) -> np.ndarray:
    """Largest |force residual| of an atom over the median of its element in the frame's group."""
    scores = np.full(len(frames), np.nan)
    for group in set(groups):
        selected = [k for k, item in enumerate(groups) if item == group]
        if len(selected) < FEWEST_FRAMES:
            continue
        sizes = [np.linalg.norm(forces[k], axis=1) for k in selected]
        symbols = np.concatenate([frames[k].symbols for k in selected])
        joined = np.concatenate(sizes)
        usual = {s: max(float(np.median(joined[symbols == s])), FORCE_FLOOR_EV_A) for s in np.unique(symbols)}
        for k, size in zip(selected, sizes, strict=True):
            scores[k] = max(size / np.array([usual[s] for s in frames[k].symbols]))
    return scores


def _batch_scores(frames: Sequence[Residual]) -> np.ndarray:
    """Score of each frame's configuration: its median energy residual among those of all configurations.

    The model's error depends on the composition: for a composition with at least three configurations the distance
    from their median is scored.
    """
    energies: dict[str, list[float]] = {}
    for residual in frames:
        energies.setdefault(residual.config_id, []).append(residual.energy_meV_atom)
    if len(energies) < FEWEST_CONFIGURATIONS:
        return np.full(len(frames), np.nan)
    medians = pd.Series({name: np.median(values) for name, values in energies.items()})
    compositions = pd.Series({residual.config_id: "".join(sorted(residual.symbols)) for residual in frames})
    by_composition = medians.groupby(compositions)
    enough = by_composition.transform("size") >= FEWEST_OF_COMPOSITION
    centres = by_composition.transform("median").where(enough, medians.median())
    deviations = (medians - centres).abs()
    sigma = max(1.4826 * float(deviations.median()), BATCH_FLOOR_MEV_ATOM)
    return np.array([deviations[residual.config_id] / sigma for residual in frames])
