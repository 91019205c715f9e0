"""Redox analysis of one trajectory: oxidation states, hops and jumps, bonds and vacancies around each state.

The charges of a trajectory are a dataset with dims (frame, atom, axis): charge_e and moment_muB (frame, atom),
positions_A (frame, atom, axis) unwrapped; coords time_fs and step (frame), number (atom), scalars x, temperature_K and
replica; attrs structure and model. The spacing of frames is arbitrary. If the MD has oxidation states, the dataset has
them (oxidation) and the recorded hops (md_hops); they are then the states and hops of the analysis, and the states that
the charges indicate are compared with them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_numbers

from redoxmd.charges.hops import Hops, find_hops, finite_mean, hop_table, recorded_hops, relate_to_jumps
from redoxmd.charges.oxidation import OxidationModel, assign_states
from redoxmd.config.sections import Charges, Structures
from redoxmd.diffusion.jumps import Jumps
from redoxmd.diffusion.site_tables import trajectory_columns
from redoxmd.diffusion.sites import NONE
from redoxmd.errors import DataError
from redoxmd.structures.geometry import Sites, bond_lengths, framework_drift, vacancy_distances
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

MAX_BLOCKS = 10
# Comparison of the states that charges indicate with those of the MD.
CHECK_COLUMNS = ("same_atoms_share", "same_atoms_chance", "same_frames_share", "charge_hops", "charge_resolved_ps")


def oxidation_table(
    charges: xr.Dataset, model: OxidationModel | None, structures: Structures, settings: Charges
) -> xr.Dataset:
    """Charges of a trajectory with probability, state and agreement (frame, redox).

    `probability` is that of the higher state by charge and moment, `state` the oxidation number (−1: unknown): that of
    the MD if it has states, else that of the charges. In the first case `charge_state` is that of the charges. `agrees`
    is true if charge alone and moment alone assign the same state; `redox_atom` (redox) is the index of the atom.
    Without a model, the charges indicate no state.
    """
    redox = np.flatnonzero(charges["number"].to_numpy() == atomic_numbers[structures.redox_element])
    charge, moment = (charges[name].to_numpy()[:, redox] for name in ("charge_e", "moment_muB"))
    states = settings.states if model is None else model.states
    probability = np.full(charge.shape, np.nan) if model is None else model.probability(charge, moment)
    limits = (settings.low, settings.high, settings.persistence_fs)
    level = assign_states(probability, charges["time_fs"].to_numpy(), *limits)
    dims = ("frame", "redox")
    state = np.where(level == NONE, NONE, np.array(states)[level])
    table = charges.assign(
        probability=(dims, probability),
        state=(dims, state),
        agrees=(dims, np.zeros(charge.shape, bool) if model is None else model.agrees(charge, moment)),
    )
    if "oxidation" in charges:
        table["charge_state"] = (dims, state)
        table["state"] = (dims, charges["oxidation"].to_numpy()[:, redox])
    table["state"].attrs["states"] = list(states)
    return table.assign_coords(redox_atom=("redox", redox))


def state_levels(table: xr.Dataset, name: str = "state") -> np.ndarray:
    """State levels (T, m) of an oxidation table: 0: lower, 1: higher, −1: unknown or another state."""
    low, high = table["state"].attrs["states"]
    state = table[name].to_numpy()
    return np.select([state == low, state == high], [0, 1], NONE)


def electron_hops(table: xr.Dataset, redox_A: np.ndarray, settings: Charges) -> Hops:
    """Hops of an oxidation table: those that the MD recorded from the first to the last frame, else `find_hops`.

    Args:
        table: result of `oxidation_table`.
        redox_A: (T, m, 3) positions of the redox atoms.
        settings: `pair_window_fs`.
    """
    time_fs, periodic = table["time_fs"].to_numpy(), PeriodicCell(table["cell_A"].to_numpy())
    if "md_hops" not in table or not len(time_fs):
        return find_hops(state_levels(table), time_fs, redox_A, periodic, settings.pair_window_fs)
    redox, hops = table["redox_atom"].to_numpy(), table["md_hops"].to_numpy()
    within = (hops[:, 0] >= time_fs[0]) & (hops[:, 0] < time_fs[-1])
    hops = hops[within & np.isin(hops[:, 1:3], redox).all(axis=1)]
    pairs = np.searchsorted(redox, hops[:, 1:3].astype(int))
    return recorded_hops(hops[:, 0], pairs, time_fs, redox_A, periodic)


def analyse_redox(
    table: xr.Dataset,
    jumps: Jumps,
    sites: Sites,
    structures: Structures,
    settings: Charges,
    expected_high: float,
) -> tuple[dict[str, float | str], pd.DataFrame]:
    """Row of one trajectory (states, bonds and vacancy distances by state, hops), and its `hop_table`.

    Args:
        table: result of `oxidation_table`.
        jumps: jumps of the mobile ions of the same trajectory, with times relative to the same first frame.
        sites: all sites in the (repeated) cell of the trajectory.
        expected_high: number of atoms in the higher state that follows from the composition.

    Raises:
        DataError: the sites belong to another cell.
    """
    periodic, metadata = PeriodicCell(table["cell_A"].to_numpy()), trajectory_columns(table)
    number, positions = table["number"].to_numpy(), table["positions_A"].to_numpy()
    redox, name = table["redox_atom"].to_numpy(), table.attrs.get("structure", "charges")
    around = measure_surroundings(number, positions, redox, periodic, sites, structures, settings, name)
    level, time_fs = state_levels(table), table["time_fs"].to_numpy()
    hops = electron_hops(table, around.redox_A, settings)
    relation = relate_to_jumps(hops, jumps, periodic, settings.hop_window_fs)
    defined = np.isfinite(table["probability"].to_numpy())
    disagree = defined & ~table["agrees"].to_numpy()
    interval_fs = np.diff(time_fs)
    # Hops are detected only between frames that are close enough to pair donor and acceptor; the MD records all.
    resolved = interval_fs <= settings.pair_window_fs
    paired_ps, duration_ps = (float(interval_fs[chosen].sum()) / FS_PER_PS for chosen in (resolved, slice(None)))
    check = {}
    if "charge_state" in table:
        by_charge = state_levels(table, "charge_state")
        charge_hops = find_hops(by_charge, time_fs, around.redox_A, periodic, settings.pair_window_fs)
        check = compare_states(level, by_charge)
        check |= {"charge_hops": int(charge_hops.paired.sum()), "charge_resolved_ps": paired_ps}
    row: dict[str, float | str] = {
        **metadata,
        "n_frames": len(time_fs),
        "n_high": finite_mean((level == 1).sum(axis=1)),
        "n_high_expected": expected_high,
        "share_disagreeing": float(disagree.sum() / defined.sum()) if defined.any() else float("nan"),
        **_by_state("bond", around.bond_A, level),
        **_by_state("vacancy", around.vacancy_A, level),
        "n_hops": int(hops.paired.sum()),
        "resolved_ps": duration_ps if "md_hops" in table else paired_ps,
        "mean_cosine": finite_mean(relation.cosine),
        **{name: np.nan for name in CHECK_COLUMNS},
        **check,
    }
    return row, hop_table(hops, relation, jumps, redox, metadata)


def compare_states(level: np.ndarray, by_charge: np.ndarray) -> dict[str, float]:
    """Agreement of the states that charges indicate with those of the MD; NaN if the charges indicate none.

    Args:
        level, by_charge: (T, m) state levels of `state_levels`.

    Returns:
        same_atoms_share: share with the same state, among the atoms of all frames that are in a known state by both.
        same_atoms_chance: its mean if the states by charge of each frame were shuffled among its atoms.
        same_frames_share: share of the frames in which all atoms have the same state.
    """
    known = (level != NONE) & (by_charge != NONE)
    shared = known.sum(axis=1)
    # Pairs of an atom in a state of the MD with an atom in the same state by charge.
    equal = sum(((level == s) & known).sum(axis=1) * ((by_charge == s) & known).sum(axis=1) for s in (0, 1))
    chance = np.divide(equal, shared, out=np.zeros(len(level)), where=shared > 0)
    same, total = (level == by_charge) & known, shared.sum()
    whole = known.all(axis=1)
    return {
        "same_atoms_share": float(same.sum() / total) if total else float("nan"),
        "same_atoms_chance": float(chance.sum() / total) if total else float("nan"),
        "same_frames_share": finite_mean(same.all(axis=1)[whole]),
    }


class Surroundings(NamedTuple):
    """Redox atoms of a trajectory and their surroundings.

    Attributes:
        redox_A: (T, m, 3) positions relative to the framework of the first frame.
        bond_A: (T, m) mean distance to the ligands.
        vacancy_A: (T, m) distance to the nearest vacant site of the mobile ion.
    """

    redox_A: np.ndarray
    bond_A: np.ndarray
    vacancy_A: np.ndarray


def measure_surroundings(
    numbers: np.ndarray,
    positions_A: np.ndarray,
    redox: np.ndarray,
    periodic: PeriodicCell,
    sites: Sites,
    structures: Structures,
    settings: Charges,
    name: str,
) -> Surroundings:
    """Bonds and vacancy distances of the redox atoms in every frame, the drift of the framework removed.

    Args:
        numbers: (n,) atomic numbers.
        positions_A: (T, n, 3) unwrapped.
        redox: (m,) indices of the redox atoms.
        sites: all sites in the (repeated) cell of the trajectory.
        structures: `mobile_ion`.
        settings: `ligand` and `n_ligands`.
        name: of the structure, for messages.

    Raises:
        DataError: the sites belong to another cell.
    """
    mobile = numbers == atomic_numbers[structures.mobile_ion]
    if (~mobile).sum() != len(sites.framework):
        raise DataError(
            f"{name}: {(~mobile).sum()} framework atoms, but the sites are those of a cell with "
            f"{len(sites.framework)}; give the sites of its own supercell"
        )
    # The framework of every frame is aligned to that of the sites; jumps refer to that of the first frame.
    drift = framework_drift(positions_A[:, ~mobile], sites, periodic) if len(positions_A) else np.zeros((1, 3))
    aligned = positions_A - drift[:, None]
    redox_A, ligands_A = aligned[:, redox], aligned[:, numbers == atomic_numbers[settings.ligand]]
    return Surroundings(
        redox_A + drift[0],
        bond_lengths(redox_A, ligands_A, periodic, settings.n_ligands),
        vacancy_distances(redox_A, aligned[:, mobile], sites, periodic),
    )


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
    """Standard error of mean(higher) − mean(lower) by `block_error`.

    Args:
        values: (T, m).
        level: (T, m) 0 or 1.
    """

    def difference(block: np.ndarray) -> float:
        return finite_mean(values[block][level[block] == 1]) - finite_mean(values[block][level[block] == 0])

    return block_error(len(values), difference)


def block_error(n_frames: int, statistic: Callable[[np.ndarray], float]) -> float:
    """Standard error of a statistic of frames by block averaging; NaN with fewer than two blocks that have a value.

    Successive frames are not independent. Therefore up to ten blocks of the trajectory each give a value, and the error
    is their standard deviation (ddof 1) over √blocks.

    Args:
        n_frames: of the trajectory.
        statistic: of the frames with given indices; NaN where they do not define it.
    """
    blocks = np.array_split(np.arange(n_frames), max(1, min(MAX_BLOCKS, n_frames)))
    values = np.array([statistic(block) for block in blocks])
    finite = values[np.isfinite(values)]
    return float(finite.std(ddof=1) / np.sqrt(len(finite))) if len(finite) > 1 else float("nan")
