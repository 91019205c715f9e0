"""Rows of the comparison on densities, charges and electron hops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from redoxmd.paper.measured import NAN, Measured, comparison_row, mean_with_error, share_with_interval
from redoxmd.paper.tables import RunTables


def charge_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the Bader charges of the two states and their errors."""
    no_model = Measured(remark="no density model (density.enabled)")
    separation = mae = share = no_model
    if run.mixture is not None and run.charges is not None:
        separation = Measured(remark="one state only, or too few charges")
        if run.mixture["fitted"]:
            separation = _separation(run.mixture, int((run.charges["element"] == run.redox_element).sum()))
        chosen = (run.charges["element"] == run.redox_element) & (run.charges["set"] == "test")
        error = (run.charges["predicted_charge_e"] - run.charges["reference_charge_e"])[chosen].abs()
        if len(error):
            mae = mean_with_error(error.to_numpy(), "")
            share = share_with_interval(int((error < 0.05).sum()), len(error))
        else:
            mae = share = Measured(remark="no test configuration with a density")
    element = run.redox_element
    return [
        comparison_row(f"Bader charges of the two states of {element}, apart", "", "e", (0.25, 0.2, 0.3), separation),
        comparison_row(
            f"error of the Bader charge of {element} (MAE)", "test set", "e", (0.009, NAN, 0.009), mae, "at_most"
        ),
        comparison_row("share of these errors below 0.05 e", "test set", "", (NAN, 0.5, NAN), share, "at_least"),
    ]


def _separation(mixture: Mapping[str, Any], charges: int) -> Measured:
    """Difference of the mean charges of the two states, with the standard error for a fit to `charges` charges."""
    low, high = (float(mean[0]) for mean in mixture["mean"])
    components = zip(mixture["covariance"], mixture["weight"], strict=True)
    variance = sum(float(covariance[0][0]) / (float(weight) * charges) for covariance, weight in components)
    return Measured(abs(high - low), float(np.sqrt(variance)))


def redox_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the bonds of the two states and on hops and jumps."""
    element = run.redox_element
    bond = cosine = Measured(remark="no density model (density.enabled)")
    if run.redox is not None:
        table = run.redox
        measured = table[np.isfinite(table["bond_difference_A"]) & (table["bond_difference_error_A"] > 0)]
        weight = 1 / measured["bond_difference_error_A"] ** 2
        bond = Measured(remark="no trajectory with both states for long enough")
        if len(measured):
            mean = float((weight * measured["bond_difference_A"]).sum() / weight.sum())
            bond = Measured(mean, float(weight.sum() ** -0.5))
        cosine = mean_with_error(table["mean_cosine"].dropna().to_numpy(), "", "no electron hop near a jump")
    return [
        comparison_row(
            f"{element}–O bond of the higher state, longer by", "all trajectories", "Å", (-0.08, -0.085, -0.075), bond
        ),
        comparison_row(
            "cosine of electron hop and ion jump", "all trajectories", "", (NAN, NAN, 0.0), cosine, "at_most"
        ),
    ]
