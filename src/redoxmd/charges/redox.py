"""Redox analysis of one trajectory: oxidation states, hops and jumps, bonds and vacancies around each state.

The charges of a trajectory are a dataset with dims (frame, atom, axis): charge_e and moment_muB (frame, atom),
positions_A (frame, atom, axis) unwrapped; coords time_fs and step (frame), number (atom), scalars x, temperature_K and
replica; attrs structure and model. The spacing of frames is arbitrary.
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
    finite_mean,
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

METADATA_COLUMNS = ("structure", "x", "temperature_K", "replica")
MAX_BLOCKS = 10


@dataclass(frozen=True)
class RedoxSettings:
    """Settings of the detection of states and hops.

    Attributes:
        redox_element, mobile_ion, ligand: element symbols.
        n_ligands: number of nearest ligands that count as bonded.
        low, high: thresholds of the probability for a change of state.
        persistence_fs: minimum time of a new state.
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
        """Settings from the sections of a config."""
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
        hops: one row per hop; unknown donor, acceptor, jump and ion are missing values. Atoms have the indices of the
            trajectory, ions their index among the mobile ions.
        trajectory: one row.
    """

    hops: pd.DataFrame
    trajectory: pd.DataFrame


def oxidation_table(charges: xr.Dataset, model: OxidationModel, settings: RedoxSettings) -> xr.Dataset:
    """Charges of a trajectory with probability, state and agreement (frame, redox).

    `probability` is that of the higher state, `state` the oxidation number (−1: unknown); `agrees` is true if charge
    alone and moment alone assign the same state; `redox_atom` (redox) is the index of the atom.
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
class RedoxFrames:
    """States and positions of a trajectory, with the framework of every frame aligned to that of the sites.

    Attributes:
        level: (T, m) 0: lower state, 1: higher state, −1: unknown.
        time_fs: (T,).
        redox_A, ions_A, ligands_A: (T, …, 3).
        start_A: (3,) displacement of the framework in the first frame from that of the sites, the origin of the jumps.
        redox_atom: (m,) indices in the trajectory.
    """

    level: np.ndarray
    time_fs: np.ndarray
    redox_A: np.ndarray
    ions_A: np.ndarray
    ligands_A: np.ndarray
    start_A: np.ndarray
    redox_atom: np.ndarray


def state_levels(table: xr.Dataset) -> np.ndarray:
    """State levels (T, m) of an oxidation table: 0: lower, 1: higher, −1: unknown."""
    low, high = table["state"].attrs["states"]
    state = table["state"].to_numpy()
    return np.select([state == low, state == high], [0, 1], NONE)


def redox_frames(table: xr.Dataset, sites: Sites, periodic: PeriodicCell, settings: RedoxSettings) -> RedoxFrames:
    """Arrays of an oxidation table, corrected for the drift of the framework.

    Raises:
        DataError: the sites belong to another cell.
    """
    number, positions = table["number"].to_numpy(), table["positions_A"].to_numpy()
    mobile = number == atomic_numbers[settings.mobile_ion]
    if (~mobile).sum() != len(sites.framework):
        raise DataError(
            f"{table.attrs.get('structure', 'charges')}: {(~mobile).sum()} framework atoms, but the sites are those "
            f"of a cell with {len(sites.framework)}; give the sites of its own supercell"
        )
    drift = framework_drift(positions[:, ~mobile], sites, periodic) if len(positions) else np.zeros((1, 3))
    positions = positions - drift[:, None] if len(positions) else positions
    redox = table["redox_atom"].to_numpy()
    return RedoxFrames(
        state_levels(table),
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
    """Hops with their jumps, bonds and vacancy distances by state, of one trajectory.

    Args:
        table: result of `oxidation_table`.
        jumps: jumps of the mobile ions of the same trajectory, with times relative to the same first frame.
        sites: all sites in the (repeated) cell of the trajectory.
        cell_A: (3, 3).
        settings: settings of states and hops.
        expected_high: number of atoms in the higher state that follows from the composition.
        seed: seed of the shuffles for the chance levels.
        jump_frames_fs: times of the frames in which jumps were detected.
    """
    periodic = PeriodicCell(cell_A)
    frames = redox_frames(table, sites, periodic, settings)
    metadata = trajectory_metadata(table)
    redox_A = frames.redox_A + frames.start_A
    hops = find_hops(frames.level, frames.time_fs, redox_A, periodic, settings.pair_window_fs)
    relation = relate_to_jumps(hops, jumps, periodic, settings.jump_window_fs)
    bonds = bond_lengths(frames.redox_A, frames.ligands_A, periodic, settings.n_ligands)
    vacancies = vacancy_distances(frames.redox_A, frames.ions_A, sites, periodic)
    row = {
        **metadata,
        **_state_row(table, frames, expected_high),
        **_by_state("bond", bonds, frames.level),
        **_by_state("vacancy", vacancies, frames.level),
        **_hop_row(hops, jumps, frames, periodic, settings, seed, jump_frames_fs),
    }
    return RedoxAnalysis(hop_table(hops, relation, jumps, frames.redox_atom, metadata), pd.DataFrame([row]))


def trajectory_metadata(table: xr.Dataset) -> dict[str, float | str]:
    """Values of `METADATA_COLUMNS`, which identify the trajectory of a table."""
    return {
        "structure": table.attrs.get("structure", ""),
        **{name: table[name].item() for name in METADATA_COLUMNS[1:]},
    }


def _state_row(table: xr.Dataset, frames: RedoxFrames, expected_high: float) -> dict[str, float]:
    defined = np.isfinite(table["probability"].to_numpy())
    disagree = defined & ~table["agrees"].to_numpy()
    return {
        "n_frames": len(frames.time_fs),
        "n_redox": len(frames.redox_atom),
        "n_high": finite_mean((frames.level == 1).sum(axis=1)),
        "n_high_expected": expected_high,
        "share_disagreeing": float(disagree.sum() / defined.sum()) if defined.any() else float("nan"),
        "share_unknown": finite_mean(~defined),
    }


def _hop_row(
    hops: Hops,
    jumps: Jumps,
    frames: RedoxFrames,
    periodic: PeriodicCell,
    settings: RedoxSettings,
    seed: int,
    jump_frames_fs: np.ndarray,
) -> dict[str, float]:
    span = (float(frames.time_fs[0]), float(frames.time_fs[-1])) if len(frames.time_fs) else (0.0, 0.0)
    interval_fs = np.diff(frames.time_fs)
    # Hops are detected only between frames that are close enough to pair donor and acceptor.
    resolved_ps = float(interval_fs[interval_fs <= settings.pair_window_fs].sum()) / FS_PER_PS
    window = settings.jump_window_fs
    in_window, frames_in_window = (
        np.flatnonzero((times >= span[0] - window) & (times <= span[1] + window))
        for times in (jumps.time_fs, jump_frames_fs)
    )
    near_jumps = Jumps(*(values[in_window] for values in (jumps.ion, jumps.time_fs, jumps.start_A, jumps.end_A)))
    rng = derive_rng(seed, "hops")
    relation = coincidence(hops, near_jumps, periodic, window, jump_frames_fs[frames_in_window], rng)
    n_hops = int(hops.paired.sum())
    return {
        "duration_ps": (span[1] - span[0]) / FS_PER_PS,
        "resolved_ps": resolved_ps,
        "n_hops": n_hops,
        "n_unpaired": len(hops) - n_hops,
        "hops_per_ps": n_hops / resolved_ps if resolved_ps else float("nan"),
        "n_jumps": len(near_jumps),
        "share_with_jump": relation.share,
        "share_with_jump_chance": relation.share_by_chance,
        "mean_cosine": relation.cosine,
        "mean_cosine_chance": relation.cosine_by_chance,
    }


def _by_state(name: str, values_A: np.ndarray, level: np.ndarray) -> dict[str, float]:
    """Means in the lower and the higher state, and their difference with its error, Å."""
    low, high = (finite_mean(values_A[level == state]) for state in (0, 1))
    return {
        f"{name}_low_A": low,
        f"{name}_high_A": high,
        f"{name}_difference_A": high - low,
        f"{name}_difference_error_A": difference_error(values_A, level),
    }


def difference_error(values: np.ndarray, level: np.ndarray) -> float:
    """Standard error of mean(higher) − mean(lower) by block averaging; NaN with fewer than two blocks with both states.

    Successive frames are not independent. Therefore up to ten blocks of the trajectory each give a difference, and the
    error is their standard deviation (ddof 1) over √blocks.

    Args:
        values: (T, m).
        level: (T, m) 0 or 1.
    """
    blocks = np.array_split(np.arange(len(values)), max(1, min(MAX_BLOCKS, len(values))))
    differences = np.array(
        [
            finite_mean(values[block][level[block] == 1]) - finite_mean(values[block][level[block] == 0])
            for block in blocks
        ]
    )
    finite = differences[np.isfinite(differences)]
    return float(finite.std(ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else float("nan")
