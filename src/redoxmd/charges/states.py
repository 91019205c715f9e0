"""The fitted oxidation states as a record: for reference charges, and for predicted ones with their own error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from redoxmd.charges.oxidation import OxidationModel, fit_oxidation
from redoxmd.errors import OneOxidationState

# Fewer atoms of densities never trained on say nothing about the model's error.
FEWEST_ATOMS = 3


def fit_record(charges: pd.DataFrame, states: Sequence[int]) -> dict[str, Any]:
    """Fit the two states to the reference charges of the redox element; plain data.

    Args:
        charges: of `tables.reference_charges`, the redox element's rows only.
        states: lower and higher oxidation state.

    Returns:
        fitted, summary (in words), states; where fitted also what `OxidationModel.record` holds, and
        error_covariance: mean squared errors of predicted (charge, moment) on validation densities; zero where too few.
    """
    charge, moment = (charges[name].to_numpy() for name in ("reference_charge_e", "reference_moment_muB"))
    lower, higher = (int(state) for state in states)
    try:
        model = fit_oxidation(charge, moment, (lower, higher))
    except OneOxidationState as one:
        return {"fitted": False, "states": [lower, higher], "summary": str(one)}
    means = [" e, ".join(f"{value:.2f}" for value in mean) for mean in model.mean]
    words = f"{lower}+ at {means[0]}, {higher}+ at {means[1]} (charge, moment), {model.separation:.1f} σ apart"
    error = error_covariance(charges[charges["set"] == "validation"], model.mean.shape[1])
    return {"fitted": True, **model.record(), "error_covariance": error.tolist(), "summary": words}


def error_covariance(charges: pd.DataFrame, d: int) -> np.ndarray:
    """Mean squares (d, d), on the diagonal, of predicted − reference charge and |moment|.

    The few atoms of validation densities say nothing reliable of their correlation.
    """
    errors = np.stack(
        [
            charges["predicted_charge_e"] - charges["reference_charge_e"],
            charges["predicted_moment_muB"].abs() - charges["reference_moment_muB"].abs(),
        ],
        axis=1,
    )[:, :d]
    known = errors[np.isfinite(errors).all(axis=1)]
    covariance = np.diag((known**2).sum(axis=0) / max(len(known), 1))
    return covariance if len(known) >= FEWEST_ATOMS else np.zeros((d, d))


def states_of_reference(record: dict[str, Any]) -> OxidationModel:
    """What tells the states of reference charges."""
    return OxidationModel.from_record(record)


def states_of_predictions(record: dict[str, Any]) -> OxidationModel:
    """What tells the states of predicted charges: both Gaussians wider by the model's error."""
    return states_of_reference(record).blurred(np.array(record["error_covariance"]))
