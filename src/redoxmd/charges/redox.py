"""A trajectory's redox story: states along it, hops beside jumps, vacancies and bonds around each state.

The charges of a trajectory are a dataset with dims (frame, atom, axis): charge_e and moment_muB (frame, atom),
positions_A (frame, atom, axis) unwrapped; coords time_fs and step (frame), number (atom), scalars x, temperature_K and
replica; attrs structure and model. Frames may lie at any spacing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_numbers

from redoxmd.charges.hop_table import hop_table
from redoxmd.charges.hops import (
    NONE,
    Hops,
    coincidence,
    find_hops,
    mean_of,
    relate_to_jumps,
)
from redoxmd.charges.oxidation import OxidationModel, assign_states
from redoxmd.config.sections import Charges, Structures
from redoxmd.diffusion.jumps import Jumps
from redoxmd.errors import DataError
from redoxmd.seeds import derive_rng
from redoxmd.structures.geometry import Sites, bond_lengths, framework_drift, vacancy_distances
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

ABOUT = ("structure", "x", "temperature_K", "replica")
MAX_BLOCKS = 10


@dataclass(frozen=True)
class RedoxSettings:
    """How states and hops are read.

    Attributes:
        redox_element, mobile_ion, ligand: symbols.
        n_ligands: nearest ligands that count as bonded.
        low, high: probabilities beyond which a state may change.
        persistence_fs: time a new state must last.
        pair_window_fs: largest time between the two changes of a hop.
        jump_window_fs: largest time between a hop and its jump.
    """

    redox_element: str = "V"
    mobile_ion: str = "Na"
    ligand: str = "O"
    n_ligands: int = 6
    low: float = 0.2
    high: float = 0.8
    persistence_fs: float = 100.0
    pair_window_fs: float = 200.0
    jump_window_fs: float = 1000.0

    @classmethod
    def of(cls, structures: Structures, charges: Charges) -> RedoxSettings:
        """From the sections of a config."""
        return cls(
            structures.redox_element,
            structures.mobile_ion,
            charges.ligand,
            charges.n_ligands,
            charges.low,
            charges.high,
            charges.persistence_fs,
            charges.pair_window_fs,
            charges.hop_window_fs,
        )


@dataclass(frozen=True)
class RedoxAnalysis:
    """Tables of one trajectory; units are in the column names.

    Attributes:
        hops: one row per hop; donor, acceptor, jump and ion are missing where there is none. Atoms are counted as in
            the trajectory, ions among the mobile ones.
        trajectory: one row.
    """

    hops: pd.DataFrame
    trajectory: pd.DataFrame


def oxidation_table(charges: xr.Dataset, model: OxidationModel, settings: RedoxSettings) -> xr.Dataset:
    """The charges with, over (frame, redox), the probability of the higher state, the state and whether both agree.

    `state` is the oxidation number (−1: never known), `agrees` tells whether charge alone and moment alone point to the
    same state, `redox_atom` (redox) is the atom's index.
    """
    redox = np.flatnonzero(charges["number"].to_numpy() == atomic_numbers[settings.redox_element])
    charge, moment = (charges[name].to_numpy()[:, redox] for name in ("charge_e", "moment_muB"))
    probability = model.probability(charge, moment)
    limits = (settings.low, settings.high, settings.persistence_fs)
    level = assign_states(probability, charges["time_fs"].to_numpy(), *limits)
    dims = ("frame", "redox")
    table = charges.assign(
        probability=(dims, probability),
        state=(dims, np.where(level == NONE, NONE, np.array(model.states)[level])),
        agrees=(dims, model.agrees(charge, moment)),
    )
    table["state"].attrs["states"] = list(model.states)
    return table.assign_coords(redox_atom=("redox", redox))


@dataclass(frozen=True)
class Frames:
    """What the analysis needs of an oxidation table: arrays, the framework held where the sites are.

    Attributes:
        level: (T, m) 0 the lower state, 1 the higher, −1 not known.
        time_fs: (T,).
        redox_A, ions_A, ligands_A: (T, …, 3).
        start_A: (3,) where the framework of the first frame is, from the sites' (jumps are counted from there).
        redox_atom: (m,) indices in the trajectory.
    """

    level: np.ndarray
    time_fs: np.ndarray
    redox_A: np.ndarray
    ions_A: np.ndarray
    ligands_A: np.ndarray
    start_A: np.ndarray
    redox_atom: np.ndarray


def levels_of(table: xr.Dataset) -> np.ndarray:
    """(T, m) 0 the lower state, 1 the higher, −1 not known, of an oxidation table."""
    low, high = table["state"].attrs["states"]
    state = table["state"].to_numpy()
    return np.select([state == low, state == high], [0, 1], NONE)


def frames_of(table: xr.Dataset, sites: Sites, periodic: PeriodicCell, settings: RedoxSettings) -> Frames:
    """The arrays behind an oxidation table.

    Raises:
        DataError: the sites are those of another cell.
    """
    number, positions = table["number"].to_numpy(), table["positions_A"].to_numpy()
    mobile = number == atomic_numbers[settings.mobile_ion]
    if (~mobile).sum() != len(sites.framework):
        raise DataError(
            f"{table.attrs.get('structure', 'charges')}: {(~mobile).sum()} framework atoms, the sites are those of a "
            f"cell with {len(sites.framework)}; give the sites of its own supercell"
        )
    drift = framework_drift(positions[:, ~mobile], sites, periodic) if len(positions) else np.zeros((1, 3))
    positions = positions - drift[:, None] if len(positions) else positions
    redox = table["redox_atom"].to_numpy()
    return Frames(
        levels_of(table),
        table["time_fs"].to_numpy(),
        positions[:, redox],
        positions[:, mobile],
        positions[:, number == atomic_numbers[settings.ligand]],
        drift[0],
        redox,
    )


def analyse_redox(
    table: xr.Dataset,
    jumps: Jumps,
    sites: Sites,
    cell_A: np.ndarray,
    settings: RedoxSettings,
    expected_high: float,
    seed: int,
    jump_frames_fs: np.ndarray,
) -> RedoxAnalysis:
    """Hops, their jumps, and what surrounds each state, of one trajectory.

    Args:
        table: of `oxidation_table`.
        jumps: of the mobile ions of the same trajectory, on the same clock, both from its first frame on.
        sites: all sites in the trajectory's (repeated) cell.
        cell_A: (3, 3).
        settings: how hops are read.
        expected_high: atoms in the higher state that the composition asks for.
        seed: root of the shuffles behind the chance levels.
        jump_frames_fs: times of the frames in which jumps were looked for.
    """
    periodic = PeriodicCell(cell_A)
    frames = frames_of(table, sites, periodic, settings)
    about = about_of(table)
    places = frames.redox_A + frames.start_A
    hops = find_hops(frames.level, frames.time_fs, places, periodic, settings.pair_window_fs)
    relation = relate_to_jumps(hops, jumps, periodic, settings.jump_window_fs)
    bonds = bond_lengths(frames.redox_A, frames.ligands_A, periodic, settings.n_ligands)
    vacancies = vacancy_distances(frames.redox_A, frames.ions_A, sites, periodic)
    row = {
        **about,
        **_state_row(table, frames, expected_high),
        **_by_state("bond", bonds, frames.level),
        **_by_state("vacancy", vacancies, frames.level),
        **_hop_row(hops, jumps, frames, periodic, settings, seed, jump_frames_fs),
    }
    return RedoxAnalysis(hop_table(hops, relation, jumps, frames.redox_atom, about), pd.DataFrame([row]))


def about_of(table: xr.Dataset) -> dict[str, float | str]:
    """Columns `ABOUT` that say which trajectory a table is of."""
    return {"structure": table.attrs.get("structure", ""), **{name: table[name].item() for name in ABOUT[1:]}}


def _state_row(table: xr.Dataset, frames: Frames, expected_high: float) -> dict[str, float]:
    known = np.isfinite(table["probability"].to_numpy())
    disagree = known & ~table["agrees"].to_numpy()
    return {
        "n_frames": len(frames.time_fs),
        "n_redox": len(frames.redox_atom),
        "n_high": mean_of((frames.level == 1).sum(axis=1)),
        "n_high_expected": expected_high,
        "share_disagreeing": float(disagree.sum() / known.sum()) if known.any() else float("nan"),
        "share_unknown": mean_of(~known),
    }


def _hop_row(
    hops: Hops,
    jumps: Jumps,
    frames: Frames,
    periodic: PeriodicCell,
    settings: RedoxSettings,
    seed: int,
    jump_frames_fs: np.ndarray,
) -> dict[str, float]:
    span = (float(frames.time_fs[0]), float(frames.time_fs[-1])) if len(frames.time_fs) else (0.0, 0.0)
    interval_fs = np.diff(frames.time_fs)
    # Hops are seen only where frames are close enough to pair both sides.
    resolved_ps = float(interval_fs[interval_fs <= settings.pair_window_fs].sum()) / FS_PER_PS
    window = settings.jump_window_fs
    near, drawn = (
        np.flatnonzero((times >= span[0] - window) & (times <= span[1] + window))
        for times in (jumps.time_fs, jump_frames_fs)
    )
    seen = Jumps(jumps.ion[near], jumps.time_fs[near], jumps.start_A[near], jumps.end_A[near])
    together = coincidence(hops, seen, periodic, window, jump_frames_fs[drawn], derive_rng(seed, "hops"))
    n_hops = int(hops.paired.sum())
    return {
        "duration_ps": (span[1] - span[0]) / FS_PER_PS,
        "resolved_ps": resolved_ps,
        "n_hops": n_hops,
        "n_unpaired": len(hops) - n_hops,
        "hops_per_ps": n_hops / resolved_ps if resolved_ps else float("nan"),
        "n_jumps": len(seen),
        "share_with_jump": together.share,
        "share_with_jump_chance": together.share_by_chance,
        "mean_cosine": together.cosine,
        "mean_cosine_chance": together.cosine_by_chance,
    }


def _by_state(name: str, values_A: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """Mean in the lower and the higher state, and their difference with its error, Å."""
    low, high = (mean_of(values_A[level == state]) for state in (0, 1))
    return {
        f"{name}_low_A": low,
        f"{name}_high_A": high,
        f"{name}_difference_A": high - low,
        f"{name}_difference_error_A": difference_error(values_A, level),
    }


def difference_error(values: np.ndarray, level: np.ndarray) -> float:
    """Standard error of mean(higher) − mean(lower), by blocks of time; NaN with fewer than two blocks of both states.

    Frames follow one another, so that single values are no independent samples: up to ten stretches of the trajectory
    each give a difference, and their scatter (ddof 1) over √blocks is the error.

    Args:
        values: (T, m).
        level: (T, m) 0 or 1.
    """
    parts = np.array_split(np.arange(len(values)), max(1, min(MAX_BLOCKS, len(values))))
    differences = [mean_of(values[part][level[part] == 1]) - mean_of(values[part][level[part] == 0]) for part in parts]
    known = np.array(differences)[np.isfinite(differences)]
    return float(known.std(ddof=1) / np.sqrt(len(known))) if len(known) > 1 else float("nan")
