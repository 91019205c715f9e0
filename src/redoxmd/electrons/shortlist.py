"""Shortlist of the swaps of electrons that are worth an evaluation, by first-order energy changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np

# First-order energy changes (m,) in eV of swaps (m, 2) of a state (n,) (`first_order_changes`).
FirstOrder = Callable[[np.ndarray, np.ndarray], np.ndarray]

# Above the rounding error of energies in single precision, far below the energy of a hop.
TOLERANCE_EV = 1e-4
# Margin of a shortlist, in standard deviations of the error of the estimates; at least MARGIN_EV, because the errors of
# a crystal near its ideal sites are smaller than those of the MD that follows; half of it for recent swaps.
MARGIN_DEVIATIONS = 3.0
MARGIN_EV = 0.1
# Exact values of a kind of swap before estimates are used, and the number of latest ones whose statistics are used.
FIRST_SAMPLES = 200
SAMPLES = 1000
UNKNOWN = (0.0, 0.0, 0.0)
# A swap's own difference is used for so many turns: searches for the lowest swap, or attempts rejected by bounds.
RECENT_TURNS = 8
# Turns between evaluations of a swap that is not on the list, in descents and of attempted swaps.
CHECK_TURNS = 4
CHECK_EVERY = 50


def first_order_changes(species_gradient_eV: np.ndarray, species: np.ndarray, swaps: np.ndarray) -> np.ndarray:
    """Energy changes (m,) of swaps to first order: the species of both atoms turn continuously into each other.

    Args:
        species_gradient_eV: (n, S) ∂E/∂w by the weights w of the species of each atom
            (`model.ensemble.Prediction`).
        species: (n,) present species.
        swaps: (m, 2).
    """
    first, second = swaps.T
    gradient, a, b = species_gradient_eV, species[first], species[second]
    changes: np.ndarray = gradient[first, b] - gradient[first, a] + gradient[second, a] - gradient[second, b]
    return changes


class Shortlist:
    """The swaps that are worth an evaluation, by estimates whose errors are measured during the run.

    The estimate is the first-order change plus the mean difference of exact and first-order changes, which is large,
    because the energy is convex in the species. The statistics of this difference are those of all swaps of a kind
    (element and both oxidation numbers) that were evaluated, the latest counting most. For a swap that was evaluated
    recently its own difference is taken, which has changed less. The
    lower bound of a change is its estimate minus a margin of `MARGIN_DEVIATIONS` standard deviations. A descent
    evaluates swaps whose bound is below zero. Some of the others are evaluated in turn, which shows whether a swap that
    is not on the list would have been made.

    Attributes:
        statistics: kind → number of exact values, mean and variance of their difference from first order; −kind → the
            same of changes of this difference since the swap was last evaluated, within `RECENT_TURNS`.
        latest: donor and acceptor → turn of the last evaluation, and its difference from first order.
        checked, missed: number of swaps evaluated without being on the list, and of those made nevertheless.
    """

    def __init__(self, elements: np.ndarray) -> None:
        self.elements = np.asarray(elements)
        self.statistics: dict[int, tuple[float, float, float]] = {}
        self.latest: dict[tuple[int, int], tuple[int, float]] = {}
        self.turn = self.checked = self.missed = 0

    def bounds(self, oxidation: np.ndarray, swaps: np.ndarray, first_eV: np.ndarray) -> np.ndarray:
        """Lower bounds (m,) of the changes of swaps (m, 2) with first-order changes (m,); −∞ while little is known."""
        differences = np.full(len(swaps), -np.inf)
        for k, (kind, *hop) in enumerate(self._hops(oxidation, swaps)):
            recent, repeated = self._recent(*hop), self.statistics.get(-kind, UNKNOWN)
            count, mean, variance = self.statistics.get(kind, UNKNOWN)
            least_eV = MARGIN_EV
            if recent is not None and repeated[0] >= FIRST_SAMPLES:
                count, mean, variance = repeated[0], repeated[1] + recent, repeated[2]
                least_eV /= 2
            if count >= FIRST_SAMPLES:
                differences[k] = mean - max(MARGIN_DEVIATIONS * math.sqrt(variance), least_eV)
        return first_eV + differences

    def learn(self, oxidation: np.ndarray, swaps: np.ndarray, differences_eV: np.ndarray) -> None:
        """Take differences (k,) of exact and first-order changes of swaps (k, 2) into the statistics."""
        for (kind, *hop), difference in zip(self._hops(oxidation, swaps), differences_eV.tolist(), strict=True):
            if (recent := self._recent(*hop)) is not None:
                self._count(-kind, difference - recent)
            self._count(kind, difference)
            self.latest[hop[0], hop[1]] = self.turn, difference

    def _recent(self, donor: int, acceptor: int) -> float | None:
        turn, difference = self.latest.get((donor, acceptor), (-RECENT_TURNS - 1, 0.0))
        return difference if self.turn - turn <= RECENT_TURNS else None

    def _count(self, kind: int, value_eV: float) -> None:
        count, mean, variance = self.statistics.get(kind, UNKNOWN)
        weight, deviation = 1 / min(count + 1, SAMPLES), value_eV - mean
        variance = (1 - weight) * (variance + weight * deviation**2)
        self.statistics[kind] = count + 1, mean + weight * deviation, variance

    def changes(
        self, oxidation: np.ndarray, swaps: np.ndarray, first_eV: np.ndarray, exact: Callable[[np.ndarray], np.ndarray]
    ) -> np.ndarray:
        """Exact changes (m,) of the swaps (m, 2) that can have the lowest one below zero, infinite for all others.

        Args:
            oxidation: (n,) state.
            swaps: (m, 2).
            first_eV: (m,) their changes to first order.
            exact: changes (k,) of chosen swaps (k,), given by their indices.
        """
        bounds, changes = self.bounds(oxidation, swaps, first_eV), np.full(len(swaps), np.inf)

        def evaluate(chosen: np.ndarray) -> None:
            changes[chosen] = exact(chosen)
            self.learn(oxidation, swaps[chosen], changes[chosen] - first_eV[chosen])

        listed = np.flatnonzero(~(bounds >= 0))
        if len(listed):
            # If the most promising swap lowers the energy, others must promise more.
            leader = listed[bounds[listed].argmin()]
            evaluate(np.array([leader]))
            others = listed[~(bounds[listed] >= min(changes[leader], 0.0)) & (listed != leader)]
            if len(others):
                evaluate(others)
        self.turn += 1
        extra = self.turn // CHECK_TURNS % len(swaps)
        if self.turn % CHECK_TURNS == 0 and bounds[extra] >= 0:
            evaluate(np.array([extra]))
            self.check(changes[extra] < -TOLERANCE_EV)
        return changes

    def check(self, missed: bool) -> None:
        """Count a swap that was evaluated without being on the list."""
        self.checked += 1
        self.missed += int(missed)

    def record(self) -> dict[str, np.ndarray]:
        """Arrays for a restart file."""
        rows = [(kind, *values) for kind, values in self.statistics.items()]
        latest = [(*hop, *values) for hop, values in self.latest.items()]
        return {
            "swap_statistics": np.array(rows, dtype=float).reshape(-1, 4),
            "swap_latest": np.array(latest, dtype=float).reshape(-1, 4),
            "swap_counts": np.array([self.turn, self.checked, self.missed]),
        }

    def restore(self, record: Mapping[str, np.ndarray]) -> None:
        """Continue from `record`."""
        rows, latest = (np.asarray(record[f"swap_{name}"]).tolist() for name in ("statistics", "latest"))
        self.statistics = {int(kind): (count, mean, variance) for kind, count, mean, variance in rows}
        self.latest = {(int(i), int(j)): (int(turn), difference) for i, j, turn, difference in latest}
        self.turn, self.checked, self.missed = np.asarray(record["swap_counts"]).tolist()

    def _hops(self, oxidation: np.ndarray, swaps: np.ndarray) -> list[list[int]]:
        """Kind, donor and acceptor of each swap (m, 2)."""
        order = np.argsort(oxidation[swaps], axis=1, kind="stable")
        hops, numbers = np.take_along_axis(swaps, order, axis=1), np.sort(oxidation[swaps], axis=1)
        kinds = self.elements[swaps[:, 0]] * 10_000 + numbers @ [100, 1]
        rows: list[list[int]] = np.column_stack([kinds, hops]).tolist()
        return rows
