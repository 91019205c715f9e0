"""Jumps between sites with hysteresis, separated from rattling, and site occupancy over time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields

import numpy as np

from redoxmd.diffusion.jumps import ZERO_COUNT_LIMIT, Jumps
from redoxmd.diffusion.sites import NONE, SiteMap, SiteTree, site_of
from redoxmd.files.trajectory import BLOCK_FRAMES


@dataclass(frozen=True)
class Stays:
    """Stays of all ions at sites, ordered by ion and time; consecutive stays of an ion are at different sites.

    Attributes:
        ion: (n,) index among the mobile ions.
        key: (n,) unwrapped site (`sites.SiteTree`).
        frame: (n,) first frame of the stay.
    """

    ion: np.ndarray
    key: np.ndarray
    frame: np.ndarray


@dataclass(frozen=True)
class SiteJumps(Jumps):
    """Site changes of a trajectory, ordered by time; start_A and end_A are site positions, unwrapped.

    Attributes:
        from_site, to_site: (J,) indices of sites.
        returned: (J,) whether the move is reversed soon after, or reverses one: rattling.
    """

    from_site: np.ndarray
    to_site: np.ndarray
    returned: np.ndarray

    @property
    def transport(self) -> SiteJumps:
        """Site changes without rattling."""
        return SiteJumps(**{field.name: getattr(self, field.name)[~self.returned] for field in fields(self)})


def find_stays(keys: np.ndarray, window: int) -> Stays:
    """Stays with hysteresis: an ion is at a new site after `window` consecutive frames nearest to it.

    Until then, and outside every radius, it is assigned to the previous site.

    Args:
        keys: (T, m) unwrapped sites (`SiteTree.keys`).
        window: minimum length of a stay in frames.
    """
    frames, ions = keys.shape
    if not keys.size:
        return Stays(*(np.zeros(0, dtype=np.int64) for _ in range(3)))
    path = keys.T.ravel()
    begins = np.concatenate([[True], path[1:] != path[:-1]])
    begins[::frames] = True
    start = np.flatnonzero(begins)
    length = np.diff(np.append(start, ions * frames))
    start = start[(path[start] >= 0) & (length >= window)]
    ion, key = start // frames, path[start]
    new = np.ones(len(start), dtype=bool)
    new[1:] = (ion[1:] != ion[:-1]) | (key[1:] != key[:-1])
    return Stays(ion[new], key[new], (start % frames)[new])


def jumps_between(stays: Stays, time_fs: np.ndarray, tree: SiteTree, return_fs: float) -> SiteJumps:
    """Site changes between stays; the time is that of the first frame at the new site.

    Args:
        time_fs: (T,) times of the frames.
        tree: sites.
        return_fs: a move reversed within this time is rattling.
    """
    after = np.flatnonzero(stays.ion[1:] == stays.ion[:-1]) + 1
    after = after[np.lexsort((stays.ion[after], stays.frame[after]))]
    ion, time = stays.ion[after], time_fs[stays.frame[after]]
    old, new = stays.key[after - 1], stays.key[after]
    # Moves A→B and their reversals B→A within `return_fs`; each move pairs once, so that the net path stays.
    returned = np.zeros(len(ion), dtype=bool)
    open_moves: dict[int, list[int]] = defaultdict(list)
    for event in range(len(ion)):
        earlier = open_moves[int(ion[event])]
        if earlier and new[event] == old[earlier[-1]] and time[event] - time[earlier[-1]] <= return_fs:
            returned[[event, earlier.pop()]] = True
        else:
            earlier.append(event)
    return SiteJumps(
        ion, time, tree.site_positions_A(old), tree.site_positions_A(new), site_of(old), site_of(new), returned
    )


def held_keys(keys: np.ndarray, stays: Stays, max_absence: int) -> np.ndarray:
    """Unwrapped site (T, m) that each ion occupies in each frame, −1 for none.

    An ion occupies the site of its stay while it is within the radius, and during absences of at most `max_absence`
    frames after which it returns. In transit to another site, or absent for longer, it occupies no site.

    Args:
        keys: (T, m) unwrapped sites (`SiteTree.keys`).
        max_absence: frames.
    """
    frames, ions = keys.shape
    if not len(stays.key):
        return np.full((frames, ions), NONE, dtype=np.int64)
    begins = np.ones(len(stays.ion), dtype=bool)
    begins[1:] = stays.ion[1:] != stays.ion[:-1]
    number = np.zeros(frames * ions, dtype=np.int64)
    number[stays.ion * frames + np.where(begins, 0, stays.frame)] = 1
    own = stays.key[np.cumsum(number) - 1]
    own[~np.isin(np.arange(ions), stays.ion).repeat(frames)] = NONE
    away = own != keys.T.ravel()
    # Runs of frames at the site of the stay or away from it.
    edge = np.concatenate([[True], (away[1:] != away[:-1]) | (own[1:] != own[:-1])])
    edge[::frames] = True
    start = np.flatnonzero(edge)
    end = np.append(start[1:], frames * ions)
    inner = (start % frames > 0) & (end % frames > 0)
    same = inner & (own[start - 1] == own[start]) & (own[start] == own[end % (frames * ions)])
    no_site = away[start] & ~(same & (end - start <= max_absence))
    own[no_site.repeat(end - start)] = NONE
    return own.reshape(ions, frames).T


def occupancy(held: np.ndarray, sites: SiteMap) -> np.ndarray:
    """Occupied share (T, kinds) of the sites of each kind, in the order of `SiteMap.kinds`; at most one.

    Args:
        held: (T, m) occupied sites (`held_keys`).
        sites: sites of the mobile ion.
    """
    of_kind = np.array([sites.kind == name for name in sites.kinds], dtype=float)
    share = (of_kind / of_kind.sum(axis=1, keepdims=True)).T
    filled = np.zeros((len(held), share.shape[1]))
    for first in range(0, len(held), BLOCK_FRAMES):
        block = held[first : first + BLOCK_FRAMES]
        full = np.zeros((len(block), len(sites)), dtype=bool)
        frame, ion = np.nonzero(block != NONE)
        full[frame, site_of(block[frame, ion])] = True
        filled[first : first + len(block)] = full @ share
    return filled


def rate_of(jumps: int, n_ions: int, duration_ps: float) -> tuple[float, float, float]:
    """Rate Γ = J/(N t) per ion with Poisson error √J/(N t) (paper, eq. 2), and 95 % upper limit, 1/ps.

    Without jumps the limit is the rate of three; with jumps it is NaN.
    """
    exposure = n_ions * duration_ps
    if exposure <= 0:
        return float("nan"), float("nan"), float("nan")
    return jumps / exposure, float(np.sqrt(jumps)) / exposure, float("nan") if jumps else ZERO_COUNT_LIMIT / exposure
