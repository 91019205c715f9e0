"""Choose and describe one ion jump with its electron hops for Fig. 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.charges.hops import Hops, Rank, find_hops, rank_jumps
from redoxmd.charges.redox import RedoxSettings, state_levels
from redoxmd.charges.summary import oxidation_tables
from redoxmd.config.sections import Charges, Structures
from redoxmd.diffusion.framework import moving_atoms
from redoxmd.diffusion.jumps import Jumps, recorded_jumps, without_drift
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.periodic_cell import PeriodicCell


@dataclass(frozen=True)
class JumpEvent:
    """Charges, displacements and structures around one jump, the input of `figures.fig10_jump`.

    Attributes:
        series: time_fs, atom, charge_e, moment_muB, probability, state of every redox atom.
        displacements: time_fs, ion, displacement_A, jumps.
        snapshots: before, during, after: title, time_fs, numbers, positions_A, cell_A, redox, probability, jumping,
            arrows.
        events: jump_time_fs, hop_times_fs, text.
    """

    series: pd.DataFrame
    displacements: pd.DataFrame
    snapshots: list[dict[str, Any]]
    events: dict[str, Any]


NO_JUMP = JumpEvent(
    pd.DataFrame(columns=["time_fs", "atom", "charge_e", "moment_muB", "probability", "state"]),
    pd.DataFrame(columns=["time_fs", "ion", "displacement_A", "jumps"]),
    [],
    {"hop_times_fs": []},
)


def describe_best_jump(
    charges: Sequence[xr.Dataset],
    analyses: Sequence[xr.Dataset],
    read: Callable[[int], Trajectory],
    mixture: dict[str, Any],
    structures: Structures,
    settings: Charges,
) -> JumpEvent:
    """Describe the jump of all trajectories with the electron hop nearest in time; NO_JUMP without jumps or states.

    Args:
        charges: charges of each trajectory (`tables.trajectory_charges`).
        analyses: jumps of each trajectory (`diffusion.analysis`), in the same order.
        read: function that returns the trajectory of an index.
        mixture: record of `states.fit_record`.
        structures, settings: sections of the config.
    """
    redox_settings = RedoxSettings.of(structures, settings)
    tables = oxidation_tables(charges, mixture, redox_settings)
    best = best_jump(tables, analyses[: len(tables)], redox_settings, settings.jump_window_fs)
    if best is None:
        return NO_JUMP
    number, jump = best
    return describe_jump(tables[number], analyses[number], read(number), jump, redox_settings, settings.jump_window_fs)


def hops_from_table(table: xr.Dataset, settings: RedoxSettings) -> Hops:
    """Electron hops of an oxidation table."""
    redox = table["redox_atom"].to_numpy()
    periodic = PeriodicCell(table["cell_A"].to_numpy())
    positions = table["positions_A"].to_numpy()[:, redox]
    return find_hops(state_levels(table), table["time_fs"].to_numpy(), positions, periodic, settings.pair_window_fs)


def best_jump(
    tables: Sequence[xr.Dataset], analyses: Sequence[xr.Dataset], settings: RedoxSettings, window_fs: float
) -> tuple[int, int] | None:
    """Indices (trajectory, jump) of the best jump by `rank_jumps`; None if no ion jumped while charges are known."""
    ranked: list[tuple[Rank, int, int]] = []
    for number, (table, analysis) in enumerate(zip(tables, analyses, strict=True)):
        times = table["time_fs"].to_numpy()
        if not len(times):
            continue
        jumps, hops = recorded_jumps(analysis), hops_from_table(table, settings)
        with_charges = (jumps.time_fs >= times[0]) & (jumps.time_fs <= times[-1])
        ranks = rank_jumps(jumps, hops, window_fs)
        ranked += [(ranks[jump], number, int(jump)) for jump in np.flatnonzero(with_charges)]
    if not ranked:
        return None
    _, number, jump = min(ranked)
    return number, jump


def describe_jump(
    table: xr.Dataset,
    analysis: xr.Dataset,
    trajectory: Trajectory,
    jump: int,
    settings: RedoxSettings,
    window_fs: float,
) -> JumpEvent:
    """Charges, displacements and structures of a jump from `window_fs` before to `window_fs` after it.

    Args:
        table: oxidation table of the trajectory.
        analysis: jumps of the trajectory (`diffusion.analysis`).
        trajectory: frames of the trajectory.
        jump: index among the jumps.
        settings: settings of states and hops.
        window_fs: half the length of the window.
    """
    jumps, hops = recorded_jumps(analysis), hops_from_table(table, settings)
    centre = float(jumps.time_fs[jump])
    nearby = np.abs(jumps.time_fs - centre) <= window_fs
    movers = np.unique(jumps.ion[nearby])
    redox = table["redox_atom"].to_numpy()
    inside = np.flatnonzero(np.abs(table["time_fs"].to_numpy() - centre) <= window_fs)
    mobile = np.flatnonzero(trajectory.numbers == atomic_numbers[settings.mobile_ion])
    arrows = [(jumps.start_A[i], jumps.end_A[i]) for i in np.flatnonzero(nearby)]
    snapshots = [
        _snapshot(title, table, inside[position], redox, mobile[movers], arrows)
        for title, position in _snapshot_positions(table["time_fs"].to_numpy()[inside], centre)
    ]
    hop_times = hops.time_fs[np.abs(hops.time_fs - centre) <= window_fs]
    lengths = ", ".join(f"{length:.1f} Å" for length in jumps.distance_A[nearby])
    conditions = f"x = {float(table['x']):g}, {float(table['temperature_K']):g} K"
    count = f"{nearby.sum()} jump{'s' if nearby.sum() > 1 else ''}"
    text = f"{conditions}: {count} ({lengths}), {len(hop_times)} changes of state"
    return JumpEvent(
        _series(table, inside, redox),
        _displacements(
            trajectory, moving_atoms(trajectory, analysis), mobile, jumps, np.flatnonzero(nearby), centre, window_fs
        ),
        snapshots,
        {"jump_time_fs": centre, "hop_times_fs": hop_times.tolist(), "text": text},
    )


def _series(table: xr.Dataset, inside: np.ndarray, redox: np.ndarray) -> pd.DataFrame:
    names = ("charge_e", "moment_muB", "probability", "state")
    by_name = {name: table[name].to_numpy()[inside] for name in names}
    by_name = {name: values[:, redox] if values.shape[1] != len(redox) else values for name, values in by_name.items()}
    columns: dict[str, Any] = {
        "time_fs": np.repeat(table["time_fs"].to_numpy()[inside], len(redox)),
        "atom": np.tile(redox, len(inside)),
    }
    table = pd.DataFrame(columns | {name: values.ravel() for name, values in by_name.items()})
    return table.assign(state=table["state"].astype("Int64").where(table["state"] >= 0))


def _displacements(
    trajectory: Trajectory,
    moving: np.ndarray,
    mobile: np.ndarray,
    jumps: Jumps,
    shown: np.ndarray,
    centre_fs: float,
    window_fs: float,
) -> pd.DataFrame:
    """Distance of a jumping ion from the site that its first jump leaves, of another ion from its mean position."""
    is_mobile = np.isin(np.arange(len(trajectory.numbers)), mobile)
    frames = np.flatnonzero(np.abs(trajectory.time_fs - centre_fs) <= window_fs)
    # The drift is relative to the first frame, as for the sites of the jumps.
    with_first, masses = trajectory.positions_A[[0, *frames]], atomic_masses[trajectory.numbers]
    positions = without_drift(with_first, moving, masses, selected=is_mobile)[1:]
    origin = positions.mean(axis=0)
    movers, first = np.unique(jumps.ion[shown], return_index=True)
    origin[movers] = jumps.start_A[shown[first]]
    moved = np.linalg.norm(positions - origin, axis=2)
    ions = np.arange(len(mobile))
    return pd.DataFrame(
        {
            "time_fs": np.repeat(trajectory.time_fs[frames], len(mobile)),
            "ion": np.tile(ions, len(frames)),
            "displacement_A": moved.ravel(),
            "jumps": np.tile(np.isin(ions, movers), len(frames)),
        }
    )


def _snapshot_positions(time_fs: np.ndarray, centre_fs: float) -> list[tuple[str, int]]:
    """Titles and indices of the frames before, during and after; fewer if there are fewer frames."""
    if not len(time_fs):
        return []
    during = int(np.abs(time_fs - centre_fs).argmin())
    frames = [("before", 0), ("during", during), ("after", len(time_fs) - 1)]
    return [frames[i] for i in range(3) if i == 1 or frames[i][1] != during]


def _snapshot(
    title: str,
    table: xr.Dataset,
    frame: int,
    redox: np.ndarray,
    jumping: np.ndarray,
    arrows: list[tuple[np.ndarray, np.ndarray]],
) -> dict[str, Any]:
    return {
        "title": title,
        "time_fs": float(table["time_fs"].to_numpy()[frame]),
        "numbers": table["number"].to_numpy(),
        "positions_A": table["positions_A"].to_numpy()[frame],
        "cell_A": table["cell_A"].to_numpy(),
        "redox": redox,
        "probability": table["probability"].to_numpy()[frame],
        "jumping": jumping,
        "arrows": arrows,
    }
