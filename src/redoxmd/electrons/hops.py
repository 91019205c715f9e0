"""Electron hops of MD with oxidation states: rates, life times, returns, ion jumps nearby, surroundings by state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from ase.data import chemical_symbols

from redoxmd.charges.hops import finite_mean, hop_table, recorded_hops, relate_to_jumps
from redoxmd.charges.redox import block_error, measure_surroundings
from redoxmd.config.sections import Charges, Diffusion, Electrons, Structures
from redoxmd.diffusion.arrhenius import fit_arrhenius
from redoxmd.diffusion.counting import count_interval
from redoxmd.diffusion.jumps import recorded_jumps
from redoxmd.diffusion.line_fit import weighted_mean
from redoxmd.diffusion.site_tables import TRAJECTORY_KEYS, trajectory_columns
from redoxmd.errors import DataError
from redoxmd.files.trajectory import Trajectory
from redoxmd.structures.geometry import Sites
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import source_cell
from redoxmd.units import FS_PER_PS

SCALARS = (
    *("n_frames", "duration_ps", "n_redox", "n_hops", "n_lasting"),
    *("near_jump_share", "near_jump_share_chance", "mean_cosine"),
    *("swaps_checked", "swaps_missed"),
)
STATE_COLUMNS = (
    *("state", "n_atoms", "n_left", "n_left_lasting", "life_ps", "lasting_life_ps"),
    *("bond_A", "bond_error_A", "vacancy_A", "vacancy_error_A"),
)
CONDITIONS = ["x", "temperature_K"]
# Hops counted in rates: all, and those that are not reversed at once.
KINDS = {"all": "n_hops", "lasting": "n_lasting"}
PS_PER_NS = 1000.0


class StateSequence(NamedTuple):
    """States of a trajectory as its hops change them.

    Attributes:
        redox: (m,) indices of the redox atoms.
        hops: (k, 5) hops between the first and the last frame, columns `files.trajectory.HOP_COLUMNS`.
        pairs: (k, 2) donor and acceptor of each hop as positions in `redox`.
        states: (k + 1, m) oxidation numbers before the first hop and after each hop.
    """

    redox: np.ndarray
    hops: np.ndarray
    pairs: np.ndarray
    states: np.ndarray


def follow_states(trajectory: Trajectory) -> StateSequence:
    """States of a trajectory from its first frame and its hops, checked in every frame.

    A hop at the time of a frame is made after that frame.

    Raises:
        DataError: the trajectory has no oxidation states, or its hops contradict them.
    """
    oxidation, hops, time_fs = trajectory.oxidation, trajectory.hops, trajectory.time_fs
    if oxidation is None or hops is None:
        raise DataError(f"{trajectory.source}: no oxidation states or no hops; run production with train.states: aware")
    redox = np.flatnonzero(oxidation.any(axis=0))
    recorded = (hops[:, 0] >= time_fs[0]) & (hops[:, 0] < time_fs[-1]) if len(time_fs) else np.zeros(len(hops), bool)
    hops = hops[recorded]
    atoms = hops[:, 1:3].astype(int)
    if not np.isin(atoms, redox).all():
        raise DataError(f"{trajectory.source}: a hop of an atom without oxidation states; run production again")
    pairs = np.searchsorted(redox, atoms)
    states = np.repeat(oxidation[:1, redox], len(hops) + 1, axis=0)
    for number, pair in enumerate(pairs):
        states[number + 1] = states[number]
        states[number + 1, pair] = states[number, pair[::-1]]
    shown = states[np.searchsorted(hops[:, 0], time_fs)] if len(time_fs) else oxidation[:, redox]
    wrong = np.flatnonzero((shown != oxidation[:, redox]).any(axis=1))
    if len(wrong):
        raise DataError(
            f"{trajectory.source}: the oxidation states of frame {wrong[0]} (step {trajectory.steps[wrong[0]]}) are "
            "not those after the hops before it; delete it and run production again"
        )
    return StateSequence(redox, hops, pairs, states)


def find_returns(time_fs: np.ndarray, pairs: np.ndarray, within_fs: float) -> np.ndarray:
    """Whether each hop (k,) is rattling: one of two successive hops of which the second reverses the first.

    Successive: no hop of either atom is between them. A hop belongs to one such pair at most, the earliest, so that
    hops without the pairs have the same first and last state.

    Args:
        time_fs: (k,) in order.
        pairs: (k, 2) donor and acceptor.
        within_fs: longest time between the two.
    """
    rattling = np.zeros(len(time_fs), dtype=bool)
    latest: dict[int, int] = {}
    for hop, (donor, acceptor) in enumerate(pairs.tolist()):
        before = latest.get(donor, -1)
        if (
            before >= 0
            and before == latest.get(acceptor, -1)
            and not rattling[before]
            and pairs[before].tolist() == [acceptor, donor]
            and time_fs[hop] - time_fs[before] <= within_fs
        ):
            rattling[[before, hop]] = True
        latest[donor] = latest[acceptor] = hop
    return rattling


def analyse_hops(
    trajectory: Trajectory, analysis: xr.Dataset, structures: Structures, charges: Charges, electrons: Electrons
) -> xr.Dataset:
    """Hops of one trajectory, and life time and surroundings of each state.

    Args:
        trajectory: with oxidation states and hops.
        analysis: jumps of its mobile ions (`diffusion.analysis.analyse_trajectory`).
        structures: section of the config.
        charges: `ligand`, `n_ligands` and `hop_window_fs`.
        electrons: `return_fs`.

    Returns:
        scalars `SCALARS`; dims hop (`hop_*`: columns of `charges.hops.hop_table`, energy_eV, spread_eV, rattling) and
        state (`state_*`: columns `STATE_COLUMNS`); coords x, temperature_K, replica.

    Raises:
        DataError: as `follow_states`.
    """
    sequence = follow_states(trajectory)
    redox, table, pairs, _ = sequence
    time_fs, periodic, name = trajectory.time_fs, PeriodicCell(trajectory.cell_A), trajectory.metadata["structure"]
    diffusing = str(analysis.attrs.get("diffusing_framework", "")).split()
    sites = Sites.of(source_cell(structures).atoms.repeat(parse_name(name).supercell), diffusing)
    around = measure_surroundings(
        trajectory.numbers, trajectory.positions_A, redox, periodic, sites, structures, charges, name
    )
    hop_fs, duration_ps = table[:, 0], float(time_fs[-1] - time_fs[0]) / FS_PER_PS if len(time_fs) else 0.0
    hops = recorded_hops(hop_fs, pairs, time_fs, around.redox_A, periodic)
    jumps = recorded_jumps(analysis)
    relation = relate_to_jumps(hops, jumps, periodic, charges.hop_window_fs)
    rattling = find_returns(hop_fs, pairs, electrons.return_fs)
    near = [bool(len(jumps)) and bool((np.abs(jumps.time_fs - t) <= charges.hop_window_fs).any()) for t in time_fs]
    columns = hop_table(hops, relation, jumps, redox, {}).assign(
        energy_eV=table[:, 3], spread_eV=table[:, 4], rattling=rattling
    )
    indices = ["donor", "acceptor", "jump", "ion"]
    columns[indices] = columns[indices].fillna(-1).astype(int)
    by_state = _state_table(trajectory, sequence, (around.bond_A, around.vacancy_A), rattling, duration_ps)
    scalars = (
        *(len(time_fs), duration_ps, len(redox), len(hop_fs), int((~rattling).sum())),
        *(finite_mean(relation.jump >= 0), finite_mean(np.array(near)), finite_mean(relation.cosine)),
        *(trajectory.metadata.get(name, np.nan) for name in ("swaps_checked", "swaps_missed")),
    )
    return xr.Dataset(
        dict(zip(SCALARS, scalars, strict=True))
        | {f"hop_{key}": ("hop", column.to_numpy()) for key, column in columns.items()}
        | {f"state_{key}": ("state", column.to_numpy()) for key, column in by_state.items()},
        coords={key: trajectory.metadata[key] for key in TRAJECTORY_KEYS},
        attrs={"structure": name},
    )


def _state_table(
    trajectory: Trajectory,
    sequence: StateSequence,
    distances_A: Sequence[np.ndarray],
    rattling: np.ndarray,
    duration_ps: float,
) -> pd.DataFrame:
    """One row per element and oxidation number, columns `STATE_COLUMNS`; bond and vacancy distances are (T, m)."""
    redox, _, pairs, states = sequence
    elements = np.array(chemical_symbols)[trajectory.numbers[redox]]
    shown = np.asarray(trajectory.oxidation)[:, redox]
    before = states[np.arange(len(pairs))[:, None], pairs]
    rows = []
    for element, number in sorted({(element, int(n)) for element, n in zip(elements, states[0], strict=True)}):
        mask = (shown == number) & (elements == element)
        left = (before == number) & (elements[pairs] == element)
        counts = [int(left.sum()), int(left[~rattling].sum())]
        # Swaps conserve the number of atoms in each state.
        atoms = int(((states[0] == number) & (elements == element)).sum())
        lives = [atoms * duration_ps / count if count else np.nan for count in counts]
        means = [finite_mean(distance[mask]) for distance in distances_A]
        errors = [block_error(len(mask), partial(_mean_of_frames, distance, mask)) for distance in distances_A]
        values = [value for pair in zip(means, errors, strict=True) for value in pair]
        rows.append((f"{element}{number}+", atoms, *counts, *lives, *values))
    return pd.DataFrame(rows, columns=list(STATE_COLUMNS))


def _mean_of_frames(values: np.ndarray, mask: np.ndarray, frames: np.ndarray) -> float:
    """Mean of the values (T, m) of chosen frames where the mask (T, m) is true."""
    return finite_mean(values[frames][mask[frames]])


@dataclass(frozen=True)
class HopSummary:
    """Tables over all trajectories.

    Attributes:
        trajectories: one row per trajectory: `SCALARS` and hops per ns.
        hops: one row per hop.
        states: one row per x, T and state, averaged over replicas: `STATE_COLUMNS`.
        rates: one row per x and T, replicas added: hops per ns and redox atom with 95 % intervals, of both `KINDS`.
        arrhenius: one row per x and kind of hop: fit of the rates (`diffusion.arrhenius.ArrheniusFit`).
    """

    trajectories: pd.DataFrame
    hops: pd.DataFrame
    states: pd.DataFrame
    rates: pd.DataFrame
    arrhenius: pd.DataFrame


def summarise_hops(datasets: Sequence[xr.Dataset], settings: Diffusion) -> HopSummary:
    """Tables of the results of `analyse_hops`; `settings` has `min_temperatures_to_fit`."""
    trajectories = pd.DataFrame(
        [trajectory_columns(data) | {name: data[name].item() for name in SCALARS} for data in datasets]
    )
    for count in KINDS.values():
        trajectories[f"{count}_per_ns"] = _ratio(trajectories[count], trajectories["duration_ps"] / PS_PER_NS)
    hops = pd.concat([_table(data, "hop") for data in datasets], ignore_index=True)
    states = pd.concat(
        [
            _table(data, "state").assign(**{name: data[name].item() for name in ("n_frames", "duration_ps")})
            for data in datasets
        ]
    )
    averaged = [_average(rows) | _keys(rows) for _, rows in states.groupby([*CONDITIONS, "state"])]
    rates = pd.DataFrame([_rates(rows) for _, rows in trajectories.groupby(CONDITIONS)])
    fits = [{"x": x, "kind": kind} | _fit(rows, kind, settings) for x, rows in rates.groupby("x") for kind in KINDS]
    return HopSummary(
        trajectories,
        hops,
        pd.DataFrame(averaged, columns=[*CONDITIONS, *STATE_COLUMNS]),
        rates,
        pd.DataFrame(fits),
    )


def _table(data: xr.Dataset, dimension: str) -> pd.DataFrame:
    """The variables of one dimension as a table, after the columns of the trajectory; unknown indices are missing."""
    prefix = f"{dimension}_"
    names = [str(name) for name in data if str(name).startswith(prefix)]
    columns = {name.removeprefix(prefix): data[name].to_numpy() for name in names}
    table = pd.DataFrame(trajectory_columns(data) | columns)
    for name in ("jump", "ion"):
        if name in table:
            table[name] = table[name].astype("Int64").where(table[name] >= 0)
    return table


def _keys(rows: pd.DataFrame) -> dict[str, object]:
    return {name: rows[name].iloc[0] for name in (*CONDITIONS, "state")}


def _average(rows: pd.DataFrame) -> dict[str, float]:
    """A state over replicas: counts added, life times from added times, distances weighted by frames."""
    atom_ps = float((rows["n_atoms"] * rows["duration_ps"]).sum())
    result: dict[str, float] = {name: int(rows[name].sum()) for name in ("n_left", "n_left_lasting")}
    result |= {"n_atoms": float(rows["n_atoms"].mean())}
    for count, life in (("n_left", "life_ps"), ("n_left_lasting", "lasting_life_ps")):
        result[life] = atom_ps / result[count] if result[count] else float("nan")
    for name in ("bond", "vacancy"):
        known = rows[[f"{name}_A", f"{name}_error_A", "n_frames"]].dropna().to_numpy(dtype=float).T
        result |= {f"{name}_A": _weighted(rows[f"{name}_A"], rows["n_frames"])}
        result |= {f"{name}_error_A": weighted_mean(*known)[1]}
    return result


def _rates(rows: pd.DataFrame) -> dict[str, float]:
    """Hops of all replicas of an x and T, per ns and redox atom, with 95 % intervals of Poisson counts."""
    atom_ns = float((rows["n_redox"] * rows["duration_ps"]).sum()) / PS_PER_NS
    result = {name: float(rows[name].iloc[0]) for name in CONDITIONS} | {"atom_ns": atom_ns, "replicas": len(rows)}
    for kind, name in KINDS.items():
        count = int(rows[name].sum())
        rates = _ratio(np.array([count, *count_interval(np.array(count))], dtype=float), np.full(3, atom_ns))
        result |= {name: count}
        result |= {f"{kind}{end}_per_ns_atom": rate for end, rate in zip(("", "_low", "_high"), rates, strict=True)}
    for name, weight in (("near_jump_share", "n_hops"), ("near_jump_share_chance", "n_frames")):
        result[name] = _weighted(rows[name], rows[weight])
    return result


def _weighted(values: pd.Series, weights: pd.Series) -> float:
    """Weighted mean of the finite values; NaN without any."""
    known = np.isfinite(values.to_numpy(dtype=float)) & (weights.to_numpy() > 0)
    return float(np.average(values[known], weights=weights[known])) if known.any() else float("nan")


def _fit(rates: pd.DataFrame, kind: str, settings: Diffusion) -> dict[str, object]:
    """Arrhenius fit of the rates of one x, as for jumps: both are Poisson counts."""
    count, atom_ns = (rates[name].to_numpy(dtype=float) for name in (KINDS[kind], "atom_ns"))
    rate, error = _ratio(count, atom_ns), _ratio(np.sqrt(count), atom_ns)
    fit = asdict(fit_arrhenius(rates["temperature_K"].to_numpy(), rate, error, count, settings, atom_ns))
    texts = {name: str(fit[name]).replace("jumps", "hops") for name in ("reason", "left_out")}
    names = {"log10_D0": "log10_rate0_per_ns", "log10_D0_error": "log10_rate0_error"}
    return {names.get(name, name): value for name, value in (fit | texts).items()}


def _ratio(count: np.ndarray | pd.Series, time: np.ndarray | pd.Series) -> np.ndarray:
    """Quotient; NaN without time."""
    time = np.asarray(time, dtype=float)
    return np.divide(count, time, out=np.full(time.shape, np.nan), where=time > 0)
