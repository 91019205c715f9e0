"""Choose and describe one ion jump with its electron hops for Fig. 10."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import atomic_masses, atomic_numbers

from redoxmd.charges.hops import Hops, Rank, rank_jumps
from redoxmd.charges.oxidation import OxidationModel
from redoxmd.charges.redox import electron_hops, state_levels
from redoxmd.charges.summary import STATE_NAMES, oxidation_tables, redox_series
from redoxmd.config.sections import Charges, Structures
from redoxmd.diffusion.framework import moving_atoms
from redoxmd.diffusion.jumps import Jumps, recorded_jumps, without_drift
from redoxmd.files.trajectory import Trajectory


@dataclass(frozen=True)
class Snapshot:
    """One frame: positions_A (n, 3), and the probability of the higher state of each redox atom."""

    title: str
    time_fs: float
    positions_A: np.ndarray
    probability: np.ndarray


@dataclass(frozen=True)
class JumpEvent:
    """Charges, displacements and structures around one jump, the input of `figures.fig10_jump`.

    Attributes:
        series: time_fs, atom, charge_e, moment_muB, probability (of the higher state), state, charge_state of every
            redox atom (`summary.redox_series`).
        displacements: time_fs, ion, displacement_A (of jumping ions from the site that they leave, of other ions from
            their mean position), jumps (bool: the ion jumps).
        snapshots: before, during, after; fewer if there are fewer frames.
        numbers, cell_A: (n,) atomic numbers and (3, 3) cell of the snapshots.
        redox, jumping: indices of the redox atoms and of the ions that jump.
        arrows: start and end of each jump, Å.
        jump_time_fs: time of the jump; NaN without one.
        hop_times_fs: times of the electron hops.
        charge_hop_times_fs: times at which the charges alone indicate a hop, if the states are those of the MD.
        text: conditions, number and lengths of the jumps, number of changes of state.
    """

    series: pd.DataFrame
    displacements: pd.DataFrame
    snapshots: Sequence[Snapshot]
    numbers: np.ndarray
    cell_A: np.ndarray
    redox: np.ndarray
    jumping: np.ndarray
    arrows: Sequence[tuple[np.ndarray, np.ndarray]]
    jump_time_fs: float = float("nan")
    hop_times_fs: Sequence[float] = ()
    charge_hop_times_fs: Sequence[float] = ()
    text: str = ""


NO_JUMP = JumpEvent(
    pd.DataFrame(columns=["time_fs", "atom", "charge_e", "moment_muB", "probability", *STATE_NAMES]),
    pd.DataFrame(columns=["time_fs", "ion", "displacement_A", "jumps"]),
    (),
    *(np.zeros(0, dtype=int), np.eye(3), np.zeros(0, dtype=int), np.zeros(0, dtype=int)),
    (),
)


def describe_best_jump(
    charges: Sequence[xr.Dataset],
    analyses: Sequence[xr.Dataset],
    read: Callable[[int], Trajectory],
    model: OxidationModel | None,
    structures: Structures,
    settings: Charges,
) -> JumpEvent:
    """The best jump of all trajectories by `rank_jumps`; NO_JUMP if no ion jumped while charges are known.

    They are known if there are frames with charges within `jump_window_fs` before and after the jump.

    Args:
        charges: charges of each trajectory (`tables.trajectory_charges`).
        analyses: jumps of each trajectory (`diffusion.analysis`), in the same order.
        read: function that returns the trajectory of an index.
        model: of predicted charges (`oxidation.OxidationStates`); None without fitted states.
    """
    tables = oxidation_tables(charges, model, structures, settings)
    ranked: list[tuple[Rank, int, int]] = []
    for number, (table, analysis) in enumerate(zip(tables, analyses[: len(tables)], strict=True)):
        times = table["time_fs"].to_numpy()
        if not len(times):
            continue
        jumps = recorded_jumps(analysis)
        after_fs = times[None, :] - jumps.time_fs[:, None]
        near = np.abs(after_fs) <= settings.jump_window_fs
        # Frames at long intervals do not show a jump between them.
        with_charges = (near & (after_fs < 0)).any(axis=1) & (near & (after_fs > 0)).any(axis=1)
        ranks = rank_jumps(jumps, _hops_of(table, settings), settings.jump_window_fs)
        ranked += [(ranks[jump], number, int(jump)) for jump in np.flatnonzero(with_charges)]
    if not ranked:
        return NO_JUMP
    _, number, jump = min(ranked)
    return _describe_jump(tables[number], analyses[number], read(number), jump, structures, settings)


def _hops_of(table: xr.Dataset, settings: Charges) -> Hops:
    """Electron hops of an oxidation table."""
    return electron_hops(table, table["positions_A"].to_numpy()[:, table["redox_atom"].to_numpy()], settings)


def _charge_hop_times_fs(table: xr.Dataset, settings: Charges) -> np.ndarray:
    """Times of the hops that the charges alone indicate; none if they determine the states anyway."""
    if "charge_state" not in table:
        return np.zeros(0)
    by_charge = table.drop_vars("md_hops", errors="ignore").assign(state=table["charge_state"])
    by_charge["state"].attrs = table["state"].attrs
    return _hops_of(by_charge, settings).time_fs


def _describe_jump(
    table: xr.Dataset,
    analysis: xr.Dataset,
    trajectory: Trajectory,
    jump: int,
    structures: Structures,
    settings: Charges,
) -> JumpEvent:
    """Charges, displacements and structures from `jump_window_fs` before to `jump_window_fs` after a jump."""
    jumps, window_fs = recorded_jumps(analysis), settings.jump_window_fs
    centre = float(jumps.time_fs[jump])
    hop_times_fs, charge_hop_times_fs = (
        times[np.abs(times - centre) <= window_fs]
        for times in (_hops_of(table, settings).time_fs, _charge_hop_times_fs(table, settings))
    )
    nearby = np.flatnonzero(np.abs(jumps.time_fs - centre) <= window_fs)
    mobile = np.flatnonzero(trajectory.numbers == atomic_numbers[structures.mobile_ion])
    table = table.isel(frame=np.abs(table["time_fs"].to_numpy() - centre) <= window_fs)
    time_fs = table["time_fs"].to_numpy()
    # A state of the MD is certain.
    probability = (
        (state_levels(table) == 1).astype(float) if "charge_state" in table else table["probability"].to_numpy()
    )
    moments: dict[int, str] = {}
    if len(time_fs):
        during = int(np.abs(time_fs - centre).argmin())
        moments = {0: "before", len(time_fs) - 1: "after", during: "during"}
    snapshots = [
        Snapshot(
            moments[frame],
            float(time_fs[frame]),
            table["positions_A"].to_numpy()[frame],
            probability[frame],
        )
        for frame in sorted(moments)
    ]
    lengths = ", ".join(f"{length:.1f} Å" for length in jumps.distance_A[nearby])
    count = f"{len(nearby)} jump{'s' if len(nearby) > 1 else ''}"
    changes = f"{len(hop_times_fs)} change{'' if len(hop_times_fs) == 1 else 's'} of state"
    conditions = f"x = {float(table['x']):g}, {float(table['temperature_K']):g} K"
    return JumpEvent(
        redox_series(table),
        _displacements(trajectory, moving_atoms(trajectory, analysis), mobile, jumps, nearby, centre, window_fs),
        snapshots,
        table["number"].to_numpy(),
        table["cell_A"].to_numpy(),
        table["redox_atom"].to_numpy(),
        mobile[np.unique(jumps.ion[nearby])],
        [(jumps.start_A[i], jumps.end_A[i]) for i in nearby],
        centre,
        hop_times_fs.tolist(),
        charge_hop_times_fs.tolist(),
        f"{conditions}: {count} ({lengths}), {changes}",
    )


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
    ions = np.arange(len(mobile))
    return pd.DataFrame(
        {
            "time_fs": np.repeat(trajectory.time_fs[frames], len(mobile)),
            "ion": np.tile(ions, len(frames)),
            "displacement_A": np.linalg.norm(positions - origin, axis=2).ravel(),
            "jumps": np.tile(np.isin(ions, movers), len(frames)),
        }
    )
