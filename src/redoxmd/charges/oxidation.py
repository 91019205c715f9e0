"""Oxidation states of atoms: probabilities from charge and moment, and states that are stable against noise.

The reference charges of the redox element are a mixture of two Gaussians in (charge, |moment|), one per state, and a
small constant background for errors of the partition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from redoxmd.errors import OneOxidationState
from redoxmd.files.records import plain, read_json

# Smallest standard deviation of a state: the error of a partition, and of a density model (paper: 0.009 e).
FLOOR = np.array([0.015, 0.04])  # e, μB
# The background has this share, in a box with edges of this many standard deviations of the data.
BACKGROUND_SHARE = 0.01
BACKGROUND_WIDTH = 6.0
# Each state must have this many atoms, and the density between the states must fall to this share of the lower peak.
MIN_ATOMS = 2
DEEPEST_SHARE = 0.25
NO_MOMENT_MUB = 0.05
# Minimum number of atoms of validation densities for an estimate of the error of the model.
FEWEST_ATOMS = 3
ITERATIONS = 500
TOLERANCE = 1e-9


@dataclass(frozen=True)
class OxidationModel:
    """Two Gaussians, the lower state first, in d = 2 features (charge, |moment|), or d = 1 without spin.

    Attributes:
        states: oxidation states (lower, higher); the higher state has the higher charge.
        mean: (2, d) e and μB.
        covariance: (2, d, d).
        weight: (2,) shares; their sum with the share of the background is 1.
        background: constant density of the background, share included, per e or per e·μB.
        n_atoms: number of fitted charges.
    """

    states: tuple[int, int]
    mean: np.ndarray
    covariance: np.ndarray
    weight: np.ndarray
    background: float
    n_atoms: int

    @property
    def separation(self) -> float:
        """Distance of the two means in standard deviations (Mahalanobis, mean covariance)."""
        difference = self.mean[1] - self.mean[0]
        return float(np.sqrt(difference @ np.linalg.solve(self.covariance.mean(axis=0), difference)))

    def probability(self, charge_e: np.ndarray, moment_muB: np.ndarray) -> np.ndarray:
        """P(higher state), same shape as the input; NaN for NaN.

        The background counts half for each state: P = (p_high + p_background/2)/(p_low + p_high + p_background), so
        that a charge far from both states gets one half.
        """
        data = _features(charge_e, moment_muB, self.mean.shape[1])
        low, high = _densities(data, self.mean, self.covariance, self.weight)
        result: np.ndarray = (high + self.background / 2) / (low + high + self.background)
        return result

    def agrees(self, charge_e: np.ndarray, moment_muB: np.ndarray) -> np.ndarray:
        """Whether charge alone and moment alone assign the same state; False for NaN.

        The boundary has the same distance from both means in units of their standard deviations. Without moments the
        result is always True.
        """
        data = _features(charge_e, moment_muB, self.mean.shape[1])
        deviation = np.sqrt(np.diagonal(self.covariance, axis1=1, axis2=2))
        boundary = (self.mean[0] * deviation[1] + self.mean[1] * deviation[0]) / deviation.sum(axis=0)
        high = (data > boundary) == (self.mean[1] > self.mean[0])
        same: np.ndarray = (high == high[..., :1]).all(axis=-1) & np.isfinite(data).all(axis=-1)
        return same

    @classmethod
    def from_record(cls, record: Mapping[str, Any], predicted: bool = False) -> OxidationModel:
        """Rebuild a model from its plain data; for predicted charges, broadened by the error of the density model."""
        low, high = record["states"]
        mean, covariance, weight = (np.asarray(record[name], float) for name in ("mean", "covariance", "weight"))
        if predicted:
            covariance = covariance + np.array(record["error_covariance"])
        return cls((int(low), int(high)), mean, covariance, weight, float(record["background"]), int(record["n_atoms"]))


@dataclass(frozen=True)
class OxidationStates:
    """Result of stage charges on the states of the redox element, as `fit_record` writes it.

    Attributes:
        summary: the result in words.
        reference: model of reference charges; None if they do not show two states.
        predicted: model of predicted charges, broadened by the error of the density model; None likewise.
    """

    summary: str
    reference: OxidationModel | None = None
    predicted: OxidationModel | None = None

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> OxidationStates:
        """Rebuild from the record of `fit_record`."""
        if not record["fitted"]:
            return cls(record["summary"])
        models = (OxidationModel.from_record(record, predicted) for predicted in (False, True))
        return cls(record["summary"], *models)

    @classmethod
    def read(cls, path: str | Path) -> OxidationStates:
        """Read `charges/oxidation.json`."""
        return cls.from_record(read_json(path))


def fit_oxidation(charge_e: np.ndarray, moment_muB: np.ndarray, states: tuple[int, int] = (3, 4)) -> OxidationModel:
    """Fit the two states to the reference charges of the redox element.

    Expectation–maximisation starts from several splits of the data, and the fit of highest likelihood is returned. No
    start is random, so that the same data give the same model. Atoms without a basin (NaN) are ignored. If no atom
    has a moment, only the charge is used.

    Args:
        charge_e: (N,) Bader charges of all redox atoms of all reference densities.
        moment_muB: (N,) their moments, of either sign.
        states: oxidation states (lower, higher).

    Raises:
        OneOxidationState: the charges show only one state.
    """
    with_spin = bool((np.abs(np.nan_to_num(moment_muB)) > NO_MOMENT_MUB).any())
    data = _features(np.ravel(charge_e), np.ravel(moment_muB), 2 if with_spin else 1)
    data = data[np.isfinite(data).all(axis=1)]
    reason = f"{len(data)} atoms are too few" if len(data) < 2 * MIN_ATOMS else ""
    if not reason:
        spread = np.maximum(data.std(axis=0), FLOOR[: data.shape[1]])
        background = float(BACKGROUND_SHARE / np.prod(BACKGROUND_WIDTH * spread))
        _, likelihood_single = _maximise(data, np.ones((1, len(data))), background)
        fits = [_maximise(data, split, background) for split in _splits(data)]
        mixture, likelihood = max(fits, key=lambda fit: fit[1])
        reason = _one_state_reason(data, mixture, 2 * (likelihood - likelihood_single))
    if reason:
        lower, higher = states
        centre = f"; median {np.median(data[:, 0]):.2f} e" if len(data) else ""
        raise OneOxidationState(
            f"{len(data)} reference charges show one oxidation state only ({reason}{centre}); add reference densities "
            f"at contents x that hold both {lower}+ and {higher}+: fewer mobile ions make more {higher}+"
        )
    mean, covariance, weight = mixture
    order = np.argsort(mean[:, 0])
    return OxidationModel(states, mean[order], covariance[order], weight[order], background, len(data))


Mixture = tuple[np.ndarray, np.ndarray, np.ndarray]


def _features(charge_e: np.ndarray, moment_muB: np.ndarray, d: int) -> np.ndarray:
    """Features (…, d): charge, and |moment| for d = 2."""
    columns = (np.asarray(charge_e, dtype=float), np.abs(np.asarray(moment_muB, dtype=float)))
    return np.stack(columns[:d], axis=-1)


def _densities(data: np.ndarray, mean: np.ndarray, covariance: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted Gaussians (k, …) at data (…, d)."""
    deviation = data - mean.reshape(len(mean), *[1] * (data.ndim - 1), -1)
    squared = np.einsum("k...i,kij,k...j->k...", deviation, np.linalg.inv(covariance), deviation)
    scale = weight / np.sqrt(np.linalg.det(2 * np.pi * covariance))
    density: np.ndarray = scale.reshape(-1, *[1] * (data.ndim - 1)) * np.exp(-0.5 * squared)
    return density


def _splits(data: np.ndarray) -> list[np.ndarray]:
    """Initial memberships (2, N): along each feature, the cut with the least scatter and the cut at the widest gap."""
    splits = []
    for column in data.T:
        order = np.argsort(column, kind="stable")
        value = column[order] - column.mean()
        below = np.arange(1, len(value))
        # Minimal scatter within both groups means maximal scatter between them: n·mean² of both.
        between = np.cumsum(value)[:-1] ** 2 * (1 / below + 1 / below[::-1])
        for score in (between, np.diff(value)):
            cut = MIN_ATOMS + int(np.argmax(score[MIN_ATOMS - 1 : len(value) - MIN_ATOMS]))
            upper = np.zeros(len(value))
            upper[order[cut:]] = 1.0
            splits.append(np.stack([1 - upper, upper]))
    return splits


def _maximise(data: np.ndarray, members: np.ndarray, background: float) -> tuple[Mixture, float]:
    """Expectation–maximisation from initial memberships (k, N); returns the mixture and its log-likelihood."""
    previous = -np.inf
    for _ in range(ITERATIONS):
        mixture = _component_moments(data, members)
        densities = _densities(data, *mixture)
        total = densities.sum(axis=0) + background
        members = densities / total
        likelihood = float(np.log(total).sum())
        if likelihood - previous < TOLERANCE * abs(likelihood):
            break
        previous = likelihood
    return mixture, likelihood


def _component_moments(data: np.ndarray, members: np.ndarray) -> Mixture:
    """Weighted means, covariances above the floor, and shares of k components."""
    count = members.sum(axis=1) + 1e-12
    mean = members @ data / count[:, None]
    deviation = data - mean[:, None]
    covariance = np.einsum("kn,kni,knj->kij", members, deviation, deviation) / count[:, None, None]
    floor = FLOOR[: data.shape[1]]
    value, vector = np.linalg.eigh(covariance / np.outer(floor, floor))
    covariance = np.einsum("kia,ka,kja->kij", vector, np.maximum(value, 1.0), vector) * np.outer(floor, floor)
    return mean, covariance, (1 - BACKGROUND_SHARE) * count / count.sum()


def _one_state_reason(data: np.ndarray, mixture: Mixture, likelihood_ratio: float) -> str:
    """Why the data show one state only; "" if they show two.

    Two components have a better BIC than one, a valley between them and `MIN_ATOMS` atoms each. `likelihood_ratio` is
    twice the gain of the log-likelihood over one component.
    """
    mean, d = mixture[0], data.shape[1]
    atoms = float(mixture[2].min() * len(data))
    if atoms < MIN_ATOMS - 0.5:
        return f"the second state would hold {atoms:.1f} atoms"
    extra_parameters = 1 + d + d * (d + 1) / 2
    if likelihood_ratio < extra_parameters * np.log(len(data)):
        return "two states describe them no better than one"
    fraction = np.linspace(0, 1, 101)[:, None]
    density = _densities(mean[0] + fraction * (mean[1] - mean[0]), *mixture).sum(axis=0)
    lowest_share = float(density.min() / min(density[0], density[-1]))
    return "" if lowest_share < DEEPEST_SHARE else "two groups would run into each other"


def fit_record(charges: pd.DataFrame, states: Sequence[int]) -> dict[str, Any]:
    """Fit the two states to the reference charges of the redox element and return plain data.

    Args:
        charges: rows of the redox element from `tables.reference_charges`.
        states: lower and higher oxidation state.

    Returns:
        fitted, summary (text), states. If fitted, also the attributes of `OxidationModel` and error_covariance, the
        diagonal matrix of the mean squared errors of predicted charge and |moment| on validation densities, or zero if
        there are too few atoms. The few atoms of validation densities give no reliable correlation.
    """
    charge, moment = (charges[name].to_numpy() for name in ("reference_charge_e", "reference_moment_muB"))
    lower, higher = (int(state) for state in states)
    try:
        model = fit_oxidation(charge, moment, (lower, higher))
    except OneOxidationState as error:
        return {"fitted": False, "states": [lower, higher], "summary": str(error)}
    means = [" e, ".join(f"{value:.2f}" for value in mean) for mean in model.mean]
    words = f"{lower}+ at {means[0]}, {higher}+ at {means[1]} (charge, moment), {model.separation:.1f} σ apart"
    rows, d = charges[charges["set"] == "validation"], model.mean.shape[1]
    predicted, reference = (
        _features(rows[f"{side}_charge_e"].to_numpy(), rows[f"{side}_moment_muB"].to_numpy(), d)
        for side in ("predicted", "reference")
    )
    errors = (predicted - reference)[np.isfinite(predicted - reference).all(axis=1)]
    mean_squares = (errors**2).mean(axis=0) if len(errors) >= FEWEST_ATOMS else np.zeros(d)
    return {
        "fitted": True,
        **plain(model),
        "error_covariance": np.diag(mean_squares).tolist(),
        "summary": words,
    }


def assign_states(
    probability: np.ndarray, time_fs: np.ndarray, low: float = 0.2, high: float = 0.8, persistence_fs: float = 0.0
) -> np.ndarray:
    """States (T, m) with hysteresis: 0: lower, 1: higher, −1: atom whose probability is always NaN.

    A state changes at the first frame beyond the opposite threshold if no frame within `persistence_fs` returns beyond
    the old threshold and a frame at the end of this time or later confirms the change. Frames between the thresholds,
    or NaN, keep the last state; frames before the first state have that state.

    Args:
        probability: (T, m) probability of the higher state.
        time_fs: (T,) increasing, at any spacing.
    """
    columns = [_atom_states(atom, np.asarray(time_fs), low, high, persistence_fs) for atom in np.transpose(probability)]
    return np.array(columns, dtype=int).reshape(np.shape(probability)[::-1]).T


def _atom_states(
    probability: np.ndarray, time_fs: np.ndarray, low: float, high: float, persistence_fs: float
) -> np.ndarray:
    beyond_threshold = np.flatnonzero((probability <= low) | (probability >= high))
    level = (probability[beyond_threshold] >= high).astype(int)
    if not np.isfinite(probability).any():
        return np.full(len(probability), -1)
    edges = np.flatnonzero(np.diff(level)) + 1
    runs = [run for run in np.split(np.arange(len(beyond_threshold)), edges) if len(run)]
    times = time_fs[beyond_threshold]
    persistent = [run for run in runs if times[run[-1]] - times[run[0]] >= persistence_fs]
    fallback = level if len(beyond_threshold) else probability
    first = level[persistent[0][0]] if persistent else int(np.nanmean(fallback) > 0.5)
    states = np.full(len(probability), first)
    for run in persistent:
        states[beyond_threshold[run[0]] :] = level[run[0]]
    return states
