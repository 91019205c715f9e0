"""Jumps by change of site, with hysteresis; rattling told apart; occupancy over time."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, fields

import numpy as np

from redoxmd.diffusion.jumps import NONE_SEEN_LIMIT, Jumps
from redoxmd.diffusion.sites import NONE, SiteMap, SiteTree, site_of
from redoxmd.files.trajectory import BLOCK_FRAMES


@dataclass(frozen=True)
class Stays:
    """Stays of all ions at sites, ion by ion, in order of time; consecutive ones of an ion are at different sites.

    Attributes:
        ion: (n,) index among the mobile ions.
        key: (n,) unwrapped site (`sites.SiteTree`).
        frame: (n,) first frame.
    """

    ion: np.ndarray
    key: np.ndarray
    frame: np.ndarray


@dataclass(frozen=True)
class SiteJumps(Jumps):
    """Changes of site of a trajectory, in order of time; start_A and end_A are the sites themselves, unwrapped.

    Attributes:
        from_site, to_site: (J,) indices of sites.
        returned: (J,) whether the move was taken back, or takes one back, soon after: rattling.
    """

    from_site: np.ndarray
    to_site: np.ndarray
    returned: np.ndarray

    @property
    def transport(self) -> SiteJumps:
        """Those that are no rattling."""
        return SiteJumps(**{field.name: getattr(self, field.name)[~self.returned] for field in fields(self)})


def find_stays(keys: np.ndarray, window: int) -> Stays:
    """Stays with hysteresis: an ion is at a new site once that was its nearest for `window` frames on end.

    Until then, outside every radius too, it belongs to the site before.

    Args:
        keys: (T, m) of `SiteTree.keys`.
        window: frames.
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
    """The changes of site between stays; the time is the first frame at the new site.

    Args:
        stays: of `find_stays`.
        time_fs: (T,) of the frames.
        tree: the sites.
        return_fs: a move taken back within this is rattling.
    """
    after = np.flatnonzero(stays.ion[1:] == stays.ion[:-1]) + 1
    after = after[np.lexsort((stays.ion[after], stays.frame[after]))]
    ion, time = stays.ion[after], time_fs[stays.frame[after]]
    old, new = stays.key[after - 1], stays.key[after]
    back = _returned(ion, time, old, new, return_fs)
    return SiteJumps(ion, time, tree.places_A(old), tree.places_A(new), site_of(old), site_of(new), back)


def _returned(ion: np.ndarray, time_fs: np.ndarray, old: np.ndarray, new: np.ndarray, return_fs: float) -> np.ndarray:
    """Moves A→B with B→A of the same ion soon after; each takes part once, so that the net path is kept."""
    returned = np.zeros(len(ion), dtype=bool)
    standing: dict[int, list[int]] = defaultdict(list)
    for event in range(len(ion)):
        before = standing[int(ion[event])]
        if before and new[event] == old[before[-1]] and time_fs[event] - time_fs[before[-1]] <= return_fs:
            returned[[event, before.pop()]] = True
        else:
            before.append(event)
    return returned


def held_keys(keys: np.ndarray, stays: Stays, absence: int) -> np.ndarray:
    """Unwrapped site (T, m) that each ion holds in each frame, −1 for none.

    An ion holds the site of its stay while it is within the radius, and while it is away if it comes back within
    `absence` frames. On its way to another site, or away for longer, it holds none.

    Args:
        keys: (T, m) of `SiteTree.keys`.
        stays: of `find_stays`.
        absence: frames.
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
    # Runs of frames at the own site or away from it.
    edge = np.concatenate([[True], (away[1:] != away[:-1]) | (own[1:] != own[:-1])])
    edge[::frames] = True
    start = np.flatnonzero(edge)
    end = np.append(start[1:], frames * ions)
    inner = (start % frames > 0) & (end % frames > 0)
    same = inner & (own[start - 1] == own[start]) & (own[start] == own[end % (frames * ions)])
    gone = away[start] & ~(same & (end - start <= absence))
    own[gone.repeat(end - start)] = NONE
    return own.reshape(ions, frames).T


def occupancy(held: np.ndarray, sites: SiteMap) -> np.ndarray:
    """Share of the sites of each kind that an ion holds, (T, kinds) in the order of `SiteMap.kinds`; one at most.

    Args:
        held: (T, m) of `held_keys`.
        sites: the sites.
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


@dataclass(frozen=True)
class Rate:
    """Jumps per ion and time with one standard error; the 95 % upper limit where none was seen."""

    per_ps: float
    error_per_ps: float
    limit_per_ps: float


def rate_of(jumps: int, n_ions: int, duration_ps: float) -> Rate:
    """Γ = J/(N t) with its Poisson error √J/(N t) (paper, eq. 2); without jumps the limit is that of three."""
    exposure = n_ions * duration_ps
    if exposure <= 0:
        return Rate(*[float("nan")] * 3)
    limit = float("nan") if jumps else NONE_SEEN_LIMIT / exposure
    return Rate(jumps / exposure, float(np.sqrt(jumps)) / exposure, limit)
