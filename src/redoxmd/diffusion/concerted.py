"""Jumps between sites that belong together: in time, in space, and as exchanges through the preferred site."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.site_jumps import SiteJumps
from redoxmd.diffusion.sites import NONE, SiteMap
from redoxmd.units import FS_PER_PS


@dataclass(frozen=True)
class Exchanges:
    """Exchanges: one ion leaves a preferred site, another comes to that very site from one of another kind.

    Attributes:
        leaving, entering: (E,) indices of the two jumps.
        delay_fs: (E,) entering − leaving: negative where the newcomer was there before the other had arrived elsewhere.
    """

    leaving: np.ndarray
    entering: np.ndarray
    delay_fs: np.ndarray

    def __len__(self) -> int:
        return len(self.leaving)


@dataclass(frozen=True)
class Concert:
    """What goes together among J jumps.

    Attributes:
        within: (J,) another ion jumps within the window.
        neighbouring: (J,) and one of its sites is a neighbour of, or the same as, one of this jump's.
        partner: (J,) the neighbouring jump nearest in time, −1 without one.
        exchanges: the exchanges.
    """

    within: np.ndarray
    neighbouring: np.ndarray
    partner: np.ndarray
    exchanges: Exchanges

    @property
    def counts(self) -> np.ndarray:
        """(3,) jumps within the window, jumps that are neighbours too, exchanges."""
        return np.array([self.within.sum(), self.neighbouring.sum(), len(self.exchanges)], dtype=float)


def close_pairs(ion: np.ndarray, time_fs: np.ndarray, window_fs: float) -> np.ndarray:
    """Pairs (P, 2) of jumps of different ions within the window, the earlier one first."""
    order = np.argsort(time_fs, kind="stable")
    when, who = time_fs[order], ion[order]
    place = np.arange(len(order))
    partners = np.searchsorted(when, when + window_fs, side="right") - place - 1
    first = np.repeat(place, partners)
    second = first + 1 + np.arange(len(first)) - np.repeat(np.cumsum(partners) - partners, partners)
    different = who[first] != who[second]
    return np.stack([order[first], order[second]], axis=1)[different]


def each_once(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The pairs whose left and right members no pair before has taken."""
    taken: list[tuple[int, int]] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for left, right in pairs:
        if left not in used[0] and right not in used[1]:
            taken.append((left, right))
            used[0].add(left)
            used[1].add(right)
    return taken


class Accompaniment:
    """How jumps between the sites of a map are read: distances once, settings once.

    Args:
        sites: the sites.
        preferred: kind through which exchanges go.
        settings: `concerted_window_ps`, `concerted_distance_A`.
    """

    def __init__(self, sites: SiteMap, preferred: str, settings: Diffusion) -> None:
        self._near = sites.distances_A() <= settings.concerted_distance_A
        self._preferred = sites.kind == preferred
        self._window_fs = settings.concerted_window_ps * FS_PER_PS

    def of(self, jumps: SiteJumps) -> Concert:
        """Concerted jumps (paper, section 4.1), those of neighbours among them, and exchanges (Fig. 5)."""
        pairs = close_pairs(jumps.ion, jumps.time_fs, self._window_fs)
        ends = [(jumps.from_site[side], jumps.to_site[side]) for side in pairs.T]
        near = np.zeros(len(pairs), dtype=bool)
        for one in ends[0]:
            for other in ends[1]:
                near |= self._near[one, other]
        within, neighbouring = _members(pairs, len(jumps)), _members(pairs[near], len(jumps))
        return Concert(within, neighbouring, _partners(pairs[near], jumps.time_fs), self._exchanges(jumps, pairs))

    def _exchanges(self, jumps: SiteJumps, pairs: np.ndarray) -> Exchanges:
        leaves = self._preferred[jumps.from_site] & ~self._preferred[jumps.to_site]
        enters = ~self._preferred[jumps.from_site] & self._preferred[jumps.to_site]
        both = np.concatenate([pairs, pairs[:, ::-1]])
        leaving, entering = both.T
        same = leaves[leaving] & enters[entering] & (jumps.from_site[leaving] == jumps.to_site[entering])
        both = both[same]
        lag = np.abs(np.diff(jumps.time_fs[both], axis=1))[:, 0]
        nearest_first = both[np.lexsort((both[:, 1], both[:, 0], lag))]
        chosen = np.array(each_once(nearest_first.tolist()), dtype=int).reshape(-1, 2)
        return Exchanges(chosen[:, 0], chosen[:, 1], np.diff(jumps.time_fs[chosen], axis=1)[:, 0])

    def by_chance(
        self, jumps: SiteJumps, frames_fs: np.ndarray, rng: np.random.Generator, shuffles: int = 200
    ) -> np.ndarray:
        """Mean `Concert.counts` (3,) of the same jumps, each at the time of a random frame."""
        if len(jumps) < 2:
            return np.zeros(3)
        shuffled = (self.of(replace(jumps, time_fs=rng.choice(frames_fs, len(jumps)))).counts for _ in range(shuffles))
        return np.mean(list(shuffled), axis=0)


def _members(pairs: np.ndarray, count: int) -> np.ndarray:
    member = np.zeros(count, dtype=bool)
    member[pairs.ravel()] = True
    return member


def _partners(pairs: np.ndarray, time_fs: np.ndarray) -> np.ndarray:
    """Of every jump the one nearest in time that it has a pair with."""
    partner = np.full(len(time_fs), NONE)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    lag = np.abs(np.diff(time_fs[both], axis=1))[:, 0]
    # The nearest is written last, and stays.
    one, other = both[np.argsort(-lag, kind="stable")].T
    partner[one] = other
    return partner
