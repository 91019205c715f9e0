"""Electron hops: which redox atom gave an electron to which, when, and what the mobile ions did meanwhile."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redoxmd.diffusion.concerted import disjoint_pairs
from redoxmd.diffusion.jumps import Jumps
from redoxmd.structures.geometry import Periodic
from redoxmd.units import FS_PER_PS

# No hop nearby, no company, then lag or negative length.
Rank = tuple[bool, bool, float]

NONE = -1
SHUFFLES = 200


@dataclass(frozen=True)
class Hops:
    """Electron hops of a trajectory, in order of time.

    Attributes:
        time_fs: (H,) first frame of the new states; the mean where donor and acceptor differ.
        donor: (H,) redox atom that gave the electron and is now in the higher state; −1: not seen.
        acceptor: (H,) redox atom that received it; −1: not seen.
        vector_A: (H, 3) path of the electron, donor to acceptor, shortest image; NaN where one of them is missing.
        middle_A: (H, 3) half-way between them, or at the one seen.
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


def find_hops(
    states: np.ndarray, time_fs: np.ndarray, positions_A: np.ndarray, periodic: Periodic, pair_window_fs: float
) -> Hops:
    """Electron hops behind changes of oxidation state.

    A donor goes from the lower state to the higher, an acceptor the other way. Pairs are formed over all of time, the
    closest in time first (then the closest in space), each change once; a change without a partner inside the window is
    listed with −1 on the side that is missing. A change seen across an interval between frames longer than the window
    has no partner: in that time electrons of others may have moved as well, and the frames do not say whose is whose.

    Args:
        states: (T, m) 0 the lower, 1 the higher, −1 not known.
        time_fs: (T,) at any spacing.
        positions_A: (T, m, 3) redox atoms.
        periodic: the trajectory's cell.
        pair_window_fs: largest time between the two changes of a hop.
    """
    change = np.where((states[1:] >= 0) & (states[:-1] >= 0), np.diff(states, axis=0), 0)
    gave, received = (np.argwhere(change == sign) + np.array([1, 0]) for sign in (1, -1))
    pairs = _pairs(gave, received, time_fs, positions_A, periodic, pair_window_fs)
    left, right = {i for i, _ in pairs}, {j for _, j in pairs}
    events = [(gave[i], received[j]) for i, j in pairs]
    events += [(event, None) for i, event in enumerate(gave) if i not in left]
    events += [(None, event) for j, event in enumerate(received) if j not in right]
    rows = [_hop(donor, acceptor, time_fs, positions_A, periodic) for donor, acceptor in events]
    rows.sort(key=lambda row: row[:3])
    times, donors, acceptors, vectors, middles = zip(*rows, strict=True) if rows else ((),) * 5
    return Hops(
        np.array(times, dtype=float),
        np.array(donors, dtype=int),
        np.array(acceptors, dtype=int),
        np.array(vectors, dtype=float).reshape(-1, 3),
        np.array(middles, dtype=float).reshape(-1, 3),
    )


def _pairs(
    gave: np.ndarray,
    received: np.ndarray,
    time_fs: np.ndarray,
    positions_A: np.ndarray,
    periodic: Periodic,
    window_fs: float,
) -> list[tuple[int, int]]:
    """Pairs of events (frame, atom), greedily, by time and then by distance."""
    lag = np.abs(time_fs[gave[:, 0]][:, None] - time_fs[received[:, 0]])
    resolved = [time_fs[events[:, 0]] - time_fs[events[:, 0] - 1] <= window_fs for events in (gave, received)]
    # An atom that flickers is no partner of itself.
    other = gave[:, 1][:, None] != received[:, 1]
    possible = np.argwhere((lag <= window_fs) & np.logical_and.outer(*resolved) & other)
    places = [positions_A[events[:, 0], events[:, 1]] for events in (gave, received)]
    apart = np.linalg.norm(periodic.shortest(places[1][possible[:, 1]] - places[0][possible[:, 0]]), axis=-1)
    order = np.lexsort((possible[:, 1], possible[:, 0], apart, lag[tuple(possible.T)]))
    return disjoint_pairs(possible[order].tolist())


Row = tuple[float, int, int, np.ndarray, np.ndarray]


def _hop(
    donor: np.ndarray | None,
    acceptor: np.ndarray | None,
    time_fs: np.ndarray,
    positions_A: np.ndarray,
    periodic: Periodic,
) -> Row:
    if donor is None or acceptor is None:
        frame, atom = (donor if acceptor is None else acceptor).tolist()  # type: ignore[union-attr]
        sides = (atom, NONE) if acceptor is None else (NONE, atom)
        return float(time_fs[frame]), *sides, np.full(3, np.nan), positions_A[frame, atom]
    frame = max(donor[0], acceptor[0])
    start, end = positions_A[frame, donor[1]], positions_A[frame, acceptor[1]]
    vector = periodic.shortest(end - start)
    time = float(time_fs[[donor[0], acceptor[0]]].mean())
    return time, int(donor[1]), int(acceptor[1]), vector, start + vector / 2


@dataclass(frozen=True)
class HopJumps:
    """The jump of a mobile ion nearest in time to each hop; −1 and NaN where there is none inside the window.

    Attributes:
        jump: (H,) index among the jumps.
        lag_fs: (H,) hop − jump.
        cosine: (H,) of the angle between the electron's path and the ion's; 1 the same way, −1 opposite.
        distance_A: (H,) between the middles of both paths.
    """

    jump: np.ndarray
    lag_fs: np.ndarray
    cosine: np.ndarray
    distance_A: np.ndarray


def relate_to_jumps(hops: Hops, jumps: Jumps, periodic: Periodic, window_fs: float) -> HopJumps:
    """The nearest jump of every hop: do electrons go the ion's way or the opposite (paper, discussion of Fig. 10)?"""
    count = len(hops)
    if not count or not len(jumps):
        return HopJumps(np.full(count, NONE), *np.full((3, count), np.nan))
    lag = hops.time_fs[:, None] - jumps.time_fs
    nearest = np.abs(lag).argmin(axis=1)
    lag_fs = lag[np.arange(count), nearest]
    path = (jumps.end_A - jumps.start_A)[nearest]
    middle = (jumps.end_A + jumps.start_A)[nearest] / 2
    values = np.stack(
        [lag_fs, _cosine(hops.vector_A, path), np.linalg.norm(periodic.shortest(middle - hops.middle_A), axis=1)]
    )
    outside = np.abs(lag_fs) > window_fs
    values[:, outside] = np.nan
    return HopJumps(np.where(outside, NONE, nearest), *values)


def _cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.divide((a * b).sum(axis=1), length, out=np.full(len(a), np.nan), where=length > 0)


@dataclass(frozen=True)
class Coincidence:
    """How hops and jumps go together, beside what unrelated ones would show.

    Attributes:
        share: of the hops, those with a jump inside the window; NaN without hops.
        share_by_chance: the same with jumps at random times.
        cosine: mean over the hops with a jump; NaN without.
        cosine_by_chance: the same with jumps at random times.
    """

    share: float
    share_by_chance: float
    cosine: float
    cosine_by_chance: float


def coincidence(
    hops: Hops,
    jumps: Jumps,
    periodic: Periodic,
    window_fs: float,
    frames_fs: np.ndarray,
    rng: np.random.Generator,
) -> Coincidence:
    """Share of hops with a jump nearby and their mean cosine, seen and by chance.

    Chance: the jumps keep their paths and take the times of random frames, 200 times over.

    Args:
        hops: of the electrons.
        jumps: of the ions.
        periodic: the trajectory's cell.
        window_fs: largest time between a hop and its jump.
        frames_fs: times of the frames in which the jumps were looked for.
        rng: for the chance level.
    """
    share, cosine = _together(relate_to_jumps(hops, jumps, periodic, window_fs))
    if not len(jumps) or not len(hops):
        return Coincidence(share, share, cosine, np.nan)
    shuffled = []
    for _ in range(SHUFFLES):
        moved = Jumps(jumps.ion, rng.choice(frames_fs, len(jumps)), jumps.start_A, jumps.end_A)
        shuffled.append(_together(relate_to_jumps(hops, moved, periodic, window_fs)))
    shares, cosines = np.array(shuffled).T
    return Coincidence(share, float(shares.mean()), cosine, mean_of(cosines))


def _together(relation: HopJumps) -> tuple[float, float]:
    return mean_of(relation.jump != NONE), mean_of(relation.cosine)


def mean_of(values: np.ndarray) -> float:
    """Mean of what is finite; NaN where nothing is."""
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.mean()) if len(known) else float("nan")


def rank_jumps(jumps: Jumps, hops: Hops, window_fs: float, concerted_fs: float = FS_PER_PS) -> list[Rank]:
    """How fit each jump is to be shown (paper, Fig. 10); the smallest is best.

    One with an electron hop inside the window before one without. Among those with: a concerted one (another ion's jump
    within `concerted_fs`) before a lone one, then the one nearest to its hop. Among the others the longest.
    """
    lags = np.abs(jumps.time_fs[:, None] - hops.time_fs[hops.paired]).min(axis=1, initial=np.inf)
    together = np.abs(jumps.time_fs[:, None] - jumps.time_fs) <= concerted_fs
    lone = ~(together & (jumps.ion[:, None] != jumps.ion)).any(axis=1)
    near = lags <= window_fs
    return [
        (not near[jump], bool(near[jump] and lone[jump]), lags[jump] if near[jump] else -jumps.distance_A[jump])
        for jump in range(len(jumps))
    ]
