"""Concerted jumps between sites: close in time, between neighbouring sites, and exchanges via the preferred site."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from redoxmd.config.sections import Diffusion
from redoxmd.diffusion.jumps import close_pairs
from redoxmd.diffusion.site_jumps import SiteJumps
from redoxmd.diffusion.sites import NONE, SiteMap
from redoxmd.units import FS_PER_PS


@dataclass(frozen=True)
class Exchanges:
    """Exchanges: one ion leaves a preferred site, and another ion enters the same site from a site of another kind.

    Attributes:
        leaving, entering: (E,) indices of the two jumps.
        delay_fs: (E,) time of entering − time of leaving; negative if the entering ion arrives first.
    """

    leaving: np.ndarray
    entering: np.ndarray
    delay_fs: np.ndarray

    def __len__(self) -> int:
        return len(self.leaving)


@dataclass(frozen=True)
class ConcertedJumps:
    """Concerted jumps among J jumps.

    Attributes:
        within: (J,) another ion jumps within the window.
        neighbouring: (J,) another ion jumps within the window, with a site next to or equal to a site of this jump.
        partner: (J,) index of the neighbouring jump nearest in time, −1 without one.
        exchanges: exchanges via the preferred site.
    """

    within: np.ndarray
    neighbouring: np.ndarray
    partner: np.ndarray
    exchanges: Exchanges

    @property
    def counts(self) -> np.ndarray:
        """Numbers (3,) of jumps within the window, of neighbouring jumps among them, and of exchanges."""
        return np.array([self.within.sum(), self.neighbouring.sum(), len(self.exchanges)], dtype=float)


def disjoint_pairs(pairs: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Pairs, in order, whose first and second members occur in no earlier selected pair."""
    selected: list[tuple[int, int]] = []
    used: tuple[set[int], set[int]] = (set(), set())
    for first, second in pairs:
        if first not in used[0] and second not in used[1]:
            selected.append((first, second))
            used[0].add(first)
            used[1].add(second)
    return selected


class ConcertedAnalysis:
    """Identify concerted jumps between the sites of a map.

    Args:
        sites: sites of the mobile ion.
        preferred: kind of site through which exchanges go.
        settings: `concerted_window_ps`, `concerted_distance_A`.
    """

    def __init__(self, sites: SiteMap, preferred: str, settings: Diffusion) -> None:
        self._near = sites.distances_A() <= settings.concerted_distance_A
        self._preferred = sites.kind == preferred
        self._window_fs = settings.concerted_window_ps * FS_PER_PS

    def analyse(self, jumps: SiteJumps) -> ConcertedJumps:
        """Concerted jumps (paper, section 4.1), jumps of neighbours among them, and exchanges (Fig. 5)."""
        pairs = close_pairs(jumps.ion, jumps.time_fs, self._window_fs)
        ends = [(jumps.from_site[side], jumps.to_site[side]) for side in pairs.T]
        near = np.zeros(len(pairs), dtype=bool)
        for earlier in ends[0]:
            for later in ends[1]:
                near |= self._near[earlier, later]
        within, neighbouring = _members(pairs, len(jumps)), _members(pairs[near], len(jumps))
        partner = np.full(len(jumps), NONE)
        both = np.concatenate([pairs[near], pairs[near][:, ::-1]])
        lag = np.abs(np.diff(jumps.time_fs[both], axis=1))[:, 0]
        # The nearest pair is assigned last and overwrites the others.
        jump, paired = both[np.argsort(-lag, kind="stable")].T
        partner[jump] = paired
        return ConcertedJumps(within, neighbouring, partner, self._exchanges(jumps, pairs))

    def _exchanges(self, jumps: SiteJumps, pairs: np.ndarray) -> Exchanges:
        leaves = self._preferred[jumps.from_site] & ~self._preferred[jumps.to_site]
        enters = ~self._preferred[jumps.from_site] & self._preferred[jumps.to_site]
        both = np.concatenate([pairs, pairs[:, ::-1]])
        leaving, entering = both.T
        same = leaves[leaving] & enters[entering] & (jumps.from_site[leaving] == jumps.to_site[entering])
        both = both[same]
        lag = np.abs(np.diff(jumps.time_fs[both], axis=1))[:, 0]
        nearest_first = both[np.lexsort((both[:, 1], both[:, 0], lag))]
        chosen = np.array(disjoint_pairs(nearest_first.tolist()), dtype=int).reshape(-1, 2)
        return Exchanges(chosen[:, 0], chosen[:, 1], np.diff(jumps.time_fs[chosen], axis=1)[:, 0])

    def chance_counts(
        self, jumps: SiteJumps, frames_fs: np.ndarray, rng: np.random.Generator, shuffles: int = 200
    ) -> np.ndarray:
        """Mean `ConcertedJumps.counts` (3,) of the same jumps at random frame times: the chance level."""
        if len(jumps) < 2:
            return np.zeros(3)
        shuffled = (
            self.analyse(replace(jumps, time_fs=rng.choice(frames_fs, len(jumps)))).counts for _ in range(shuffles)
        )
        return np.mean(list(shuffled), axis=0)


def _members(pairs: np.ndarray, count: int) -> np.ndarray:
    member = np.zeros(count, dtype=bool)
    member[pairs.ravel()] = True
    return member
