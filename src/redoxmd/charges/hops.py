"""Electron hops: donor, acceptor and time of each hop, and the nearest jump of a mobile ion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from redoxmd.diffusion.concerted import disjoint_pairs
from redoxmd.diffusion.jumps import Jumps
from redoxmd.diffusion.sites import NONE
from redoxmd.structures.periodic_cell import PeriodicCell
from redoxmd.units import FS_PER_PS

# No hop in the window; hop but no concerted jump; time to the hop or negative length of the jump.
Rank = tuple[bool, bool, float]


@dataclass(frozen=True)
class Hops:
    """Electron hops of a trajectory, in order of time.

    Attributes:
        time_fs: (H,) first frame of the new states; the mean if donor and acceptor change in different frames.
        donor: (H,) redox atom that gave the electron and is now in the higher state; −1: unknown.
        acceptor: (H,) redox atom that received the electron; −1: unknown.
        vector_A: (H, 3) minimum-image vector from donor to acceptor; NaN if one of them is unknown.
        middle_A: (H, 3) midpoint between them, or the position of the known atom.
    """

    time_fs: np.ndarray
    donor: np.ndarray
    acceptor: np.ndarray
    vector_A: np.ndarray
    middle_A: np.ndarray

    def __len__(self) -> int:
        return len(self.time_fs)

    @property
    def paired(self) -> np.ndarray:
        """(H,) whether donor and acceptor are both known."""
        both: np.ndarray = (self.donor != NONE) & (self.acceptor != NONE)
        return both


def recorded_hops(
    hop_fs: np.ndarray, pairs: np.ndarray, time_fs: np.ndarray, redox_A: np.ndarray, periodic: PeriodicCell
) -> Hops:
    """Hops that the MD recorded, at the positions of the first frame after each.

    Args:
        hop_fs: (k,) times before the last frame.
        pairs: (k, 2) donor and acceptor as indices of redox atoms.
        time_fs: (T,) of the frames.
        redox_A: (T, m, 3) positions of the redox atoms.
        periodic: cell.
    """
    frame = np.searchsorted(time_fs, hop_fs, side="right")
    start_A, end_A = redox_A[frame, pairs[:, 0]], redox_A[frame, pairs[:, 1]]
    vector_A = periodic.minimum_image(end_A - start_A)
    return Hops(hop_fs, pairs[:, 0], pairs[:, 1], vector_A, start_A + vector_A / 2)


def find_hops(
    states: np.ndarray, time_fs: np.ndarray, positions_A: np.ndarray, periodic: PeriodicCell, pair_window_fs: float
) -> Hops:
    """Electron hops from changes of oxidation state.

    A donor changes from the lower to the higher state, an acceptor from the higher to the lower. Donors and acceptors
    are paired over the whole trajectory, the closest in time first (then the closest in space), each change once. A
    change without a partner in the window is listed with −1 for the missing atom. A change across an interval between
    frames longer than the window has no partner: other electrons may have moved in that time, and the frames do not
    show which donor belongs to which acceptor.

    Args:
        states: (T, m) 0: lower, 1: higher, −1: unknown.
        time_fs: (T,) at any spacing.
        positions_A: (T, m, 3) positions of the redox atoms.
        pair_window_fs: largest time between the two changes of a hop.
    """
    change = np.where((states[1:] >= 0) & (states[:-1] >= 0), np.diff(states, axis=0), 0)
    oxidations, reductions = (np.argwhere(change == sign) + np.array([1, 0]) for sign in (1, -1))
    lag = np.abs(time_fs[oxidations[:, 0]][:, None] - time_fs[reductions[:, 0]])
    changes = (oxidations, reductions)
    resolved = [time_fs[events[:, 0]] - time_fs[events[:, 0] - 1] <= pair_window_fs for events in changes]
    # An atom that changes back and forth is not its own partner.
    different_atoms = oxidations[:, 1][:, None] != reductions[:, 1]
    possible = np.argwhere((lag <= pair_window_fs) & np.logical_and.outer(*resolved) & different_atoms)
    donors_A, acceptors_A = (positions_A[events[:, 0], events[:, 1]] for events in changes)
    apart_A = periodic.minimum_image(acceptors_A[possible[:, 1]] - donors_A[possible[:, 0]])
    distance = np.linalg.norm(apart_A, axis=-1)
    order = np.lexsort((possible[:, 1], possible[:, 0], distance, lag[tuple(possible.T)]))
    pairs = disjoint_pairs(possible[order].tolist())
    rows: list[tuple[float, int, int, np.ndarray, np.ndarray]] = []
    for i, j in pairs:
        donor, acceptor = oxidations[i], reductions[j]
        frame = max(donor[0], acceptor[0])
        start, end = positions_A[frame, donor[1]], positions_A[frame, acceptor[1]]
        vector = periodic.minimum_image(end - start)
        time = float(time_fs[[donor[0], acceptor[0]]].mean())
        rows.append((time, int(donor[1]), int(acceptor[1]), vector, start + vector / 2))
    for side, events in enumerate(changes):
        paired = {pair[side] for pair in pairs}
        for frame, atom in (events[i].tolist() for i in range(len(events)) if i not in paired):
            atoms = (NONE, atom) if side else (atom, NONE)
            rows.append((float(time_fs[frame]), *atoms, np.full(3, np.nan), positions_A[frame, atom]))
    rows.sort(key=lambda row: row[:3])
    times, donors, acceptors, vectors, middles = zip(*rows, strict=True) if rows else ((),) * 5
    return Hops(
        np.array(times, dtype=float),
        np.array(donors, dtype=int),
        np.array(acceptors, dtype=int),
        np.array(vectors, dtype=float).reshape(-1, 3),
        np.array(middles, dtype=float).reshape(-1, 3),
    )


@dataclass(frozen=True)
class HopJumps:
    """The ion jump nearest in time to each hop; −1 and NaN for a hop without a jump in the window.

    Attributes:
        jump: (H,) index among the jumps.
        lag_fs: (H,) time of the hop − time of the jump.
        cosine: (H,) cosine of the angle between electron and ion displacement; 1: parallel, −1: antiparallel.
        distance_A: (H,) distance between the midpoints of both paths.
    """

    jump: np.ndarray
    lag_fs: np.ndarray
    cosine: np.ndarray
    distance_A: np.ndarray


def relate_to_jumps(hops: Hops, jumps: Jumps, periodic: PeriodicCell, window_fs: float) -> HopJumps:
    """Nearest jump of every hop, with the relative direction of electron and ion (paper, discussion of Fig. 10)."""
    count = len(hops)
    if not count or not len(jumps):
        return HopJumps(np.full(count, NONE), *np.full((3, count), np.nan))
    # Found by bisection: all pairs of a long trajectory with moving electrons do not fit in memory.
    after = np.searchsorted(jumps.time_fs, hops.time_fs).clip(max=len(jumps) - 1)
    before = np.searchsorted(jumps.time_fs, jumps.time_fs[(after - 1).clip(min=0)])
    earlier, later = (np.abs(hops.time_fs - jumps.time_fs[index]) for index in (before, after))
    nearest = np.where(earlier <= later, before, after)
    lag_fs = hops.time_fs - jumps.time_fs[nearest]
    path = (jumps.end_A - jumps.start_A)[nearest]
    middle = (jumps.end_A + jumps.start_A)[nearest] / 2
    length = np.linalg.norm(hops.vector_A, axis=1) * np.linalg.norm(path, axis=1)
    cosine = np.divide((hops.vector_A * path).sum(axis=1), length, out=np.full(count, np.nan), where=length > 0)
    distance_A = np.linalg.norm(periodic.minimum_image(middle - hops.middle_A), axis=1)
    values = np.stack([lag_fs, cosine, distance_A])
    outside = np.abs(lag_fs) > window_fs
    values[:, outside] = np.nan
    return HopJumps(np.where(outside, NONE, nearest), *values)


def finite_mean(values: np.ndarray) -> float:
    """Mean of the finite values; NaN if there are none."""
    numbers = np.asarray(values, dtype=float)
    finite = numbers[np.isfinite(numbers)]
    return float(finite.mean()) if len(finite) else float("nan")


def hop_table(
    hops: Hops, relation: HopJumps, jumps: Jumps, redox_atom: np.ndarray, metadata: dict[str, float | str]
) -> pd.DataFrame:
    """One row per hop, after the columns of `metadata`; unknown donor, acceptor, jump and ion are missing values.

    Atoms have the indices of the trajectory (`redox_atom`), ions their index among the mobile ions.
    """

    def lookup(index: np.ndarray, values: np.ndarray) -> pd.Series:
        return pd.Series(values, dtype="Int64").reindex(index).reset_index(drop=True)

    columns = {
        "time_fs": hops.time_fs,
        "donor": lookup(hops.donor, redox_atom),
        "acceptor": lookup(hops.acceptor, redox_atom),
        **{f"electron_{axis}_A": hops.vector_A[:, d] for d, axis in enumerate("xyz")},
        "electron_A": np.linalg.norm(hops.vector_A, axis=1),
        "jump": lookup(relation.jump, np.arange(len(jumps))),
        "ion": lookup(relation.jump, jumps.ion),
        "lag_fs": relation.lag_fs,
        "cosine": relation.cosine,
        "distance_A": relation.distance_A,
    }
    return pd.DataFrame({**metadata, **columns})


def rank_jumps(jumps: Jumps, hops: Hops, window_fs: float, concerted_fs: float = FS_PER_PS) -> list[Rank]:
    """Rank of each jump as an example for Fig. 10 of the paper; the smallest rank is the best.

    Jumps with an electron hop in the window precede jumps without. Among jumps with a hop, concerted jumps (a jump of
    another ion within `concerted_fs`) precede single ones, then the time to the hop decides. Among jumps without a hop
    the longest is the best.
    """
    lags = np.abs(jumps.time_fs[:, None] - hops.time_fs[hops.paired]).min(axis=1, initial=np.inf)
    simultaneous = np.abs(jumps.time_fs[:, None] - jumps.time_fs) <= concerted_fs
    single = ~(simultaneous & (jumps.ion[:, None] != jumps.ion)).any(axis=1)
    near = lags <= window_fs
    return [
        (not near[jump], bool(near[jump] and single[jump]), lags[jump] if near[jump] else -jumps.distance_A[jump])
        for jump in range(len(jumps))
    ]
