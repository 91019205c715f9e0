"""Errors of an ensemble on labelled frames, and the calibration of its spread: scale, reliability, area."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal

import numpy as np
import pandas as pd
from ase import Atoms
from scipy.special import erf

from redoxmd.md.frame_gate import frame_spread
from redoxmd.model.ensemble import Ensemble
from redoxmd.seeds import derive_rng

EXPECTED_FRACTIONS = np.linspace(0.02, 0.98, 49)
RELIABILITY_BINS = 12
MAX_TRAINING_FRAMES = 500


@dataclass(frozen=True)
class EnsembleErrors:
    """Predictions of an ensemble and reference values of labelled frames.

    Attributes:
        forces: one row per force component: set, element, member-mean prediction, reference, the atom's spread.
        energies: one row per frame: set, config_id, reference and prediction in eV/atom; largest and mean length of the
            force error of its atoms, and spread.
        member_errors: one row per member (−1: the ensemble) and set: force_mae_eV_A, force_rmse_eV_A,
            energy_mae_meV_atom, n_frames.
    """

    forces: pd.DataFrame
    energies: pd.DataFrame
    member_errors: pd.DataFrame


# Over the atoms of a frame, as for the gate.
STATISTICS: tuple[Literal["max", "mean"], ...] = ("max", "mean")


def evaluate(ensemble: Ensemble, frames: Sequence[Atoms]) -> EnsembleErrors:
    """Predictions and errors of an ensemble for every frame; frames carry `info["set"]`."""
    forces, energies, members = [], [], []
    for frame in frames:
        prediction, reference, frame_set = ensemble.predict(frame), frame.calc.results, frame.info["set"]
        spread = prediction.force_spread_eV_A if len(ensemble.members) > 1 else np.zeros(len(frame))
        forces.append(
            pd.DataFrame(
                {
                    "set": frame_set,
                    "element": np.repeat(frame.get_chemical_symbols(), 3),
                    "reference_eV_A": reference["forces"].ravel(),
                    "predicted_eV_A": prediction.forces_eV_A.ravel(),
                    "spread_eV_A": np.repeat(spread, 3),
                }
            )
        )
        error_eV_A = np.linalg.norm(prediction.forces_eV_A - reference["forces"], axis=1)
        energies.append(
            {
                "set": frame_set,
                "config_id": frame.info["config_id"],
                **{f"force_error_{name}_eV_A": frame_spread(error_eV_A, name) for name in STATISTICS},
                **{f"force_spread_{name}_eV_A": frame_spread(spread, name) for name in STATISTICS},
                "reference_eV_atom": reference["energy"] / len(frame),
                "predicted_eV_atom": prediction.energy_eV / len(frame),
            }
        )
        by_member = [
            (-1, prediction.energy_eV, prediction.forces_eV_A),
            *zip(count(), prediction.energies_eV, prediction.member_forces_eV_A, strict=False),
        ]
        for member, energy, member_forces in by_member:
            error = member_forces - reference["forces"]
            members.append(
                {
                    "set": frame_set,
                    "member": member,
                    "force_mae_eV_A": np.abs(error).mean(),
                    "force_mse": (error**2).mean(),
                    "energy_mae_meV_atom": 1000 * abs(energy - reference["energy"]) / len(frame),
                }
            )
    errors = pd.DataFrame(members).groupby(["set", "member"], as_index=False).mean()
    errors["force_rmse_eV_A"] = np.sqrt(errors.pop("force_mse"))
    errors = errors.merge(pd.DataFrame(energies).groupby("set").size().rename("n_frames").reset_index(), on="set")
    return EnsembleErrors(pd.concat(forces, ignore_index=True), pd.DataFrame(energies), errors)


def sample_frames(frames: Sequence[Atoms], seed: int, limit: int = MAX_TRAINING_FRAMES) -> list[Atoms]:
    """All validation and test frames, and a seeded choice of at most `limit` training frames."""
    training = [frame for frame in frames if frame.info["set"] == "train"]
    rng = derive_rng(seed, "evaluation")
    indices = np.sort(rng.permutation(len(training))[:limit])
    return [training[i] for i in indices] + [frame for frame in frames if frame.info["set"] != "train"]


def calibrate(evaluation: EnsembleErrors) -> dict[str, Any]:
    """Calibration fitted on the validation frames, with its reliability on them and on the test frames.

    The record has `frames`, for each set and statistic the force error and spread of each frame; `ratios`, the sorted
    ratios of both in the validation frames, from which `redoxmd.explore.bound_factor` takes the factor of the gate;
    `validation` and, if there are test frames, `test`, each as `calibration_of` returns it; the test
    set is evaluated with the scale of the validation set.
    """
    forces = evaluation.forces
    chosen = forces[forces["set"] == "validation"]
    fitted = calibration_of(chosen if len(chosen) else forces)
    record: dict[str, Any] = {"scale": fitted["scale"], "validation": fitted}
    record["frames"] = _frame_errors(evaluation.energies)
    record["ratios"] = {
        name: sorted(error / spread if spread else math.inf for error, spread in zip(*rows.values(), strict=True))
        for name, rows in record["frames"].get("validation", {}).items()
    }
    test = forces[forces["set"] == "test"]
    if len(test):
        record["test"] = calibration_of(test, fitted["scale"])
    return record


def _frame_errors(energies: pd.DataFrame) -> dict[str, dict[str, dict[str, list[float]]]]:
    """Set → statistic → `error` and `spread` in eV/Å of each frame, for validation and test frames."""
    tested = energies[energies["set"].isin(["validation", "test"])]
    return {
        str(name): {
            statistic: {key: rows[f"force_{key}_{statistic}_eV_A"].tolist() for key in ("error", "spread")}
            for statistic in STATISTICS
        }
        for name, rows in tested.groupby("set")
    }


def calibrated(ensemble: Ensemble, calibration: dict[str, Any]) -> Ensemble:
    """The ensemble with its calibration, which is valid for exactly these members."""
    identified = {"scale": calibration["scale"], "ratios": calibration["ratios"], "identity": ensemble.identity}
    return Ensemble(ensemble.members, identified, ensemble.evaluation, ensemble.levels)


def calibration_of(forces: pd.DataFrame, scale: float | None = None) -> dict[str, Any]:
    """Scale s that makes s·σ/√3 the standard error of a force component, with its reliability.

    s² = ⟨e²⟩ / ⟨σ²/3⟩ over components e of the error of the mean (moment matching). Reliability: the share of
    components with |e| below the quantile p of the calibrated normal, against p; the miscalibration area is the
    mean absolute difference (0: perfect, 0.5: worst; Tran et al., 2020).

    Args:
        forces: rows of `EnsembleErrors.forces` (one set).
        scale: scale to evaluate; fitted if None.

    Returns:
        record with scale, n_components, miscalibration_area, expected_fraction, observed_fraction, and the binned
        spread_eV_A, rmse_eV_A, n.
    """
    error = (forces["predicted_eV_A"] - forces["reference_eV_A"]).to_numpy()
    sigma = forces["spread_eV_A"].to_numpy() / np.sqrt(3)
    if scale is None:
        scale = float(np.sqrt((error**2).mean() / max((sigma**2).mean(), 1e-30)))
    return {"scale": scale, "n_components": len(error), **reliability(error, sigma, scale)}


def reliability(error: np.ndarray, sigma: np.ndarray, scale: float) -> dict[str, Any]:
    """Reliability curve, miscalibration area and binned errors of a spread under a given scale."""
    quantile = erf(np.abs(error) / np.maximum(scale * sigma, 1e-12) / np.sqrt(2))
    observed = np.array([(quantile <= p).mean() for p in EXPECTED_FRACTIONS])
    groups = np.array_split(np.argsort(sigma), min(RELIABILITY_BINS, len(sigma)))
    return {
        "miscalibration_area": float(np.abs(observed - EXPECTED_FRACTIONS).mean()),
        "expected_fraction": EXPECTED_FRACTIONS.tolist(),
        "observed_fraction": observed.tolist(),
        "spread_eV_A": [float(scale * np.sqrt((sigma[g] ** 2).mean())) for g in groups],
        "rmse_eV_A": [float(np.sqrt((error[g] ** 2).mean())) for g in groups],
        "n": [len(g) for g in groups],
    }
