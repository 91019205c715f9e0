"""Redox analysis of one trajectory: oxidation states, hops and jumps, bonds and vacancies around each state.

The charges of a trajectory are a dataset with dims (frame, atom, axis): charge_e and moment_muB (frame, atom),
positions_A (frame, atom, axis) unwrapped; coords time_fs and step (frame), number (atom), scalars x, temperature_K and
replica; attrs structure and model. The spacing of frames is arbitrary.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_numbers

from redoxmd.charges.hops import find_hops, finite_mean, hop_table, relate_to_jumps
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


def oxidation_table(
    charges: xr.Dataset, model: OxidationModel, structures: Structures, settings: Charges
) -> xr.Dataset:
    """Charges of a trajectory with probability, state and agreement (frame, redox).

    `probability` is that of the higher state, `state` the oxidation number (−1: unknown); `agrees` is true if charge
    alone and moment alone assign the same state; `redox_atom` (redox) is the index of the atom.
    """
    redox = np.flatnonzero(charges["number"].to_numpy() == atomic_numbers[structures.redox_element])
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


def state_levels(table: xr.Dataset) -> np.ndarray:
    """State levels (T, m) of an oxidation table: 0: lower, 1: higher, −1: unknown."""
    low, high = table["state"].attrs["states"]
    state = table["state"].to_numpy()
    return np.select([state == low, state == high], [0, 1], NONE)


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
    mobile, redox = number == atomic_numbers[structures.mobile_ion], table["redox_atom"].to_numpy()
    if (~mobile).sum() != len(sites.framework):
        raise DataError(
            f"{table.attrs.get('structure', 'charges')}: {(~mobile).sum()} framework atoms, but the sites are those "
            f"of a cell with {len(sites.framework)}; give the sites of its own supercell"
        )
    # The framework of every frame is aligned to that of the sites; jumps refer to that of the first frame.
    drift = framework_drift(positions[:, ~mobile], sites, periodic) if len(positions) else np.zeros((1, 3))
    aligned = positions - drift[:, None]
    redox_A, ligands_A = aligned[:, redox], aligned[:, number == atomic_numbers[settings.ligand]]
    level, time_fs = state_levels(table), table["time_fs"].to_numpy()
    hops = find_hops(level, time_fs, redox_A + drift[0], periodic, settings.pair_window_fs)
    relation = relate_to_jumps(hops, jumps, periodic, settings.hop_window_fs)
    defined = np.isfinite(table["probability"].to_numpy())
    disagree = defined & ~table["agrees"].to_numpy()
    interval_fs = np.diff(time_fs)
    # Hops are detected only between frames that are close enough to pair donor and acceptor.
    resolved_ps = float(interval_fs[interval_fs <= settings.pair_window_fs].sum()) / FS_PER_PS
    row: dict[str, float | str] = {
        **metadata,
        "n_frames": len(time_fs),
        "n_high": finite_mean((level == 1).sum(axis=1)),
        "n_high_expected": expected_high,
        "share_disagreeing": float(disagree.sum() / defined.sum()) if defined.any() else float("nan"),
        **_by_state("bond", bond_lengths(redox_A, ligands_A, periodic, settings.n_ligands), level),
        **_by_state("vacancy", vacancy_distances(redox_A, aligned[:, mobile], sites, periodic), level),
        "n_hops": int(hops.paired.sum()),
        "resolved_ps": resolved_ps,
        "mean_cosine": finite_mean(relation.cosine),
    }
    return row, hop_table(hops, relation, jumps, redox, metadata)


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
