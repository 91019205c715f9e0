"""Record of the fitted oxidation states, and the models for reference charges and for predicted charges."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from redoxmd.charges.oxidation import OxidationModel, fit_oxidation
from redoxmd.errors import OneOxidationState

# Minimum number of atoms of validation densities for an estimate of the error of the model.
FEWEST_ATOMS = 3


def fit_record(charges: pd.DataFrame, states: Sequence[int]) -> dict[str, Any]:
    """Fit the two states to the reference charges of the redox element and return plain data.

    Args:
        charges: rows of the redox element from `tables.reference_charges`.
        states: lower and higher oxidation state.

    Returns:
        fitted, summary (text), states. If fitted, also the entries of `OxidationModel.record` and error_covariance, the
        mean squared errors of predicted (charge, moment) on validation densities, or zero if there are too few atoms.
    """
    charge, moment = (charges[name].to_numpy() for name in ("reference_charge_e", "reference_moment_muB"))
    lower, higher = (int(state) for state in states)
    try:
        model = fit_oxidation(charge, moment, (lower, higher))
    except OneOxidationState as error:
        return {"fitted": False, "states": [lower, higher], "summary": str(error)}
    means = [" e, ".join(f"{value:.2f}" for value in mean) for mean in model.mean]
    words = f"{lower}+ at {means[0]}, {higher}+ at {means[1]} (charge, moment), {model.separation:.1f} σ apart"
    covariance = error_covariance(charges[charges["set"] == "validation"], model.mean.shape[1])
    return {"fitted": True, **model.record(), "error_covariance": covariance.tolist(), "summary": words}


def error_covariance(charges: pd.DataFrame, d: int) -> np.ndarray:
    """Diagonal matrix (d, d) of the mean squares of predicted − reference charge and |moment|.

    Off-diagonal elements are zero: the few atoms of validation densities give no reliable correlation.
    """
    errors = np.stack(
        [
            charges["predicted_charge_e"] - charges["reference_charge_e"],
            charges["predicted_moment_muB"].abs() - charges["reference_moment_muB"].abs(),
        ],
        axis=1,
    )[:, :d]
    finite = errors[np.isfinite(errors).all(axis=1)]
    covariance = np.diag((finite**2).sum(axis=0) / max(len(finite), 1))
    return covariance if len(finite) >= FEWEST_ATOMS else np.zeros((d, d))


def states_of_reference(record: dict[str, Any]) -> OxidationModel:
    """Model of the oxidation states for reference charges."""
    return OxidationModel.from_record(record)


def states_of_predictions(record: dict[str, Any]) -> OxidationModel:
    """Model of the oxidation states for predicted charges, broadened by the error of the density model."""
    return states_of_reference(record).broadened(np.array(record["error_covariance"]))
