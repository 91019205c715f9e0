"""The paper's numbers beside those of a run (de Blasio et al., Energy Storage Materials 63, 103023, 2023).

A number counts as found again when the paper's range (half a unit of the last digit where it gives none) and ours
within two standard errors overlap; an error, when ours is no larger. What a run has no data for stays in the table,
with the reason in place of a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from redoxmd.units import PS_PER_NS

NAN = float("nan")
SIGMAS = 2.0
COLUMNS = ("quantity", "conditions", "unit", "paper", "paper_low", "paper_high", "ours", "error", "agrees", "remark")


@dataclass(frozen=True)
class RunTables:
    """What a run has found.

    Attributes:
        errors: of the last ensemble (`ensemble.json`, "errors").
        decisions: of every generation.
        trajectories, diffusivities, arrhenius, concerted: of stage diffusion.
        charges, mixture, redox: reference charges, states and redox table; None without a density model.
        redox_element: whose charges count.
    """

    errors: Sequence[Mapping[str, Any]]
    decisions: Sequence[Mapping[str, Any]]
    trajectories: pd.DataFrame
    diffusivities: pd.DataFrame
    arrhenius: pd.DataFrame
    concerted: pd.DataFrame
    charges: pd.DataFrame | None
    mixture: Mapping[str, Any] | None
    redox: pd.DataFrame | None
    redox_element: str


@dataclass(frozen=True)
class Measured:
    """A number of ours with its standard error, or why there is none."""

    value: float = NAN
    error: float = NAN
    remark: str = ""


def compare(run: RunTables) -> pd.DataFrame:
    """One row per number of the paper; see COLUMNS and the module."""
    rows = [
        *_accuracy(run),
        *_loop(run),
        *_charges(run),
        *_diffusion(run),
        *_activation(run),
        *_concerted(run),
        *_redox(run),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _row(
    quantity: str,
    conditions: str,
    unit: str,
    paper: tuple[float, float, float],
    ours: Measured,
    kind: Literal["value", "at_most", "at_least"] = "value",
) -> tuple[object, ...]:
    """A row; `paper` is its value and range."""
    _, low, high = paper
    error = 0.0 if np.isnan(ours.error) else ours.error
    below, above = ours.value - SIGMAS * error <= high, ours.value + SIGMAS * error >= low
    agrees = {"value": below and above, "at_most": below, "at_least": above}[kind]
    verdict = "" if np.isnan(ours.value) else "yes" if agrees else "no"
    return (quantity, conditions, unit, *paper, ours.value, ours.error, verdict, ours.remark)


def _accuracy(run: RunTables) -> list[tuple[object, ...]]:
    rows = [row for row in run.errors if row["member"] == -1 and row["set"] == "test"]
    found = rows[0] if rows else {}
    missing = "" if rows else "no test configuration (train.test_configurations)"
    where = "unseen configuration"
    return [
        _row(
            quantity,
            where,
            unit,
            (paper, NAN, paper),
            Measured(float(found.get(key, NAN)), remark=missing),
            "at_most",
        )
        for quantity, unit, paper, key in (
            ("error of forces (MAE)", "eV/Å", 0.23, "force_mae_eV_A"),
            ("error of energies (MAE)", "meV/atom", 1.52, "energy_mae_meV_atom"),
        )
    ]


def _loop(run: RunTables) -> list[tuple[object, ...]]:
    first = run.decisions[0]["figures"]["runs"] if run.decisions else []
    times, targets = np.array([item["survived_ps"] for item in first]), [item["target_ps"] for item in first]
    cut = f"asked for {max(targets):g} ps only" if targets and times.max() >= max(targets) else ""
    whole = run.trajectories[run.trajectories["end_reason"] == "completed"] if len(run.trajectories) else None
    longest = float(whole["duration_ps"].max()) if whole is not None and len(whole) else NAN
    return [
        _row("MD lives in the first generation", "", "ps", (NAN, 2.0, 10.0), _mean(times, cut)),
        _row(
            "longest trajectory that stays whole",
            "",
            "ps",
            (PS_PER_NS, PS_PER_NS, NAN),
            Measured(longest, remark="no longer one was asked for" if np.isfinite(longest) else "no whole trajectory"),
            "at_least",
        ),
    ]


def _charges(run: RunTables) -> list[tuple[object, ...]]:
    no_model = Measured(remark="no density model (density.enabled)")
    separation = mae = share = no_model
    if run.mixture is not None and run.charges is not None:
        separation = Measured(remark="one state only, or too few charges")
        if run.mixture["fitted"]:
            separation = Measured(abs(float(run.mixture["mean"][1][0]) - float(run.mixture["mean"][0][0])))
        chosen = (run.charges["element"] == run.redox_element) & (run.charges["set"] == "test")
        error = (run.charges["predicted_charge_e"] - run.charges["reference_charge_e"])[chosen].abs()
        if len(error):
            mae = Measured(float(error.mean()), float(error.std(ddof=1) / np.sqrt(len(error))))
            share = Measured(float((error < 0.05).mean()))
        else:
            mae = share = Measured(remark="no test configuration with a density")
    element = run.redox_element
    return [
        _row(f"Bader charges of the two states of {element}, apart", "", "e", (0.25, 0.2, 0.3), separation),
        _row(f"error of the Bader charge of {element} (MAE)", "test set", "e", (0.009, NAN, 0.009), mae, "at_most"),
        _row("share of these errors below 0.05 e", "test set", "", (NAN, 0.5, 1.0), share, "at_least"),
    ]


def _diffusion(run: RunTables) -> list[tuple[object, ...]]:
    top, bottom = (_diffusivity(run, x, 600.0) for x in (2.875, 1.25))
    fall = Measured(remark="; ".join(item.remark for item in (top, bottom) if item.remark))
    if top.value > 0 and bottom.value > 0:
        error = np.hypot(top.error / top.value, bottom.error / bottom.value) / np.log(10)
        fall = Measured(float(np.log10(top.value / bottom.value)), float(error))
    return [
        _row(
            "largest D, from jumps",
            "x = 2.75, 600 K",
            "cm²/s",
            (2.1e-6, 2.05e-6, 2.15e-6),
            _diffusivity(run, 2.75, 600.0),
        ),
        _row("fall of D from x = 2.875 to 1.25", "600 K", "decades", (2.0, 1.5, 2.5), fall),
        # Two jumps in 17 concentrations of three trajectories, 166 ps each; the range is that of a Poisson count.
        _row("jumps", "300 K, all x", "1/ns", (0.24, 0.03, 0.85), _rate(run, 300.0)),
    ]


def _activation(run: RunTables) -> list[tuple[object, ...]]:
    # "Nearly double" read as 1.6 to 2 times.
    papers = {2.875: (NAN, 0.23, 0.26), 2.75: (NAN, 0.23, 0.26), 2.25: (NAN, 0.37, 0.52), 2.125: (NAN, 0.37, 0.52)}
    rows = []
    for x, paper in papers.items():
        found = _where(run.arrhenius, x=x)
        if not len(found):
            ours = Measured(remark=f"x = {x:g} not in this run")
        elif not found.iloc[0]["fitted"]:
            ours = Measured(remark=str(found.iloc[0]["reason"]))
        else:
            ours = Measured(float(found.iloc[0]["Ea_eV"]), float(found.iloc[0]["Ea_error_eV"]))
        rows.append(_row("activation energy", f"x = {x:g}", "eV", paper, ours))
    return rows


def _concerted(run: RunTables) -> list[tuple[object, ...]]:
    rows = []
    for kelvin, share in ((400.0, 0.48), (500.0, 0.57), (600.0, 0.67)):
        found = _where(run.concerted, temperature_K=kelvin)
        ours = Measured(remark=f"{kelvin:g} K not in this run")
        if len(found):
            line = found.iloc[0]
            ours = Measured(float(line["concerted_fraction"]), float(line["concerted_error"]))
            if np.isnan(ours.value):
                ours = Measured(remark="no jumps")
        rows.append(_row("share of concerted jumps", f"{kelvin:g} K", "", (share, share - 0.005, share + 0.005), ours))
    return rows


def _redox(run: RunTables) -> list[tuple[object, ...]]:
    element = run.redox_element
    bond = cosine = Measured(remark="no density model (density.enabled)")
    if run.redox is not None:
        table = run.redox
        known = table[np.isfinite(table["bond_difference_A"]) & (table["bond_difference_error_A"] > 0)]
        weight = 1 / known["bond_difference_error_A"] ** 2
        bond = Measured(remark="no trajectory with both states for long enough")
        if len(known):
            mean = float((weight * known["bond_difference_A"]).sum() / weight.sum())
            bond = Measured(mean, float(weight.sum() ** -0.5))
        cosine = _mean(table["mean_cosine"].dropna().to_numpy(), "", "no electron hop near a jump")
    return [
        _row(
            f"{element}–O bond of the higher state, longer by", "all trajectories", "Å", (-0.08, -0.085, -0.075), bond
        ),
        _row("cosine of electron hop and ion jump", "all trajectories", "", (NAN, NAN, 0.0), cosine, "at_most"),
    ]


def _where(table: pd.DataFrame, **values: float) -> pd.DataFrame:
    """Rows whose columns have these values; an empty table has no columns."""
    for name, value in values.items() if len(table) else ():
        table = table[np.isclose(table[name], value)]
    return table


def _diffusivity(run: RunTables, x: float, kelvin: float) -> Measured:
    found = _where(run.diffusivities, x=x, temperature_K=kelvin)
    if not len(found):
        return Measured(remark=f"x = {x:g} at {kelvin:g} K not in this run")
    if found.iloc[0]["n_jumps"] == 0:
        return Measured(remark=f"no jump at x = {x:g}, below {found.iloc[0]['D_jumps_limit_cm2_s']:.1g} cm²/s")
    return Measured(float(found.iloc[0]["D_jumps_cm2_s"]), float(found.iloc[0]["D_jumps_error_cm2_s"]))


def _rate(run: RunTables, kelvin: float) -> Measured:
    found = _where(run.diffusivities, temperature_K=kelvin)
    time_ns = float(found["time_ps"].sum()) / PS_PER_NS if len(found) else 0.0
    if not time_ns:
        return Measured(remark=f"{kelvin:g} K not in this run")
    count = float(found["n_jumps"].sum())
    return Measured(count / time_ns, max(count, 1.0) ** 0.5 / time_ns)


def _mean(values: np.ndarray, remark: str, none: str = "none in this run") -> Measured:
    if len(values) == 0:
        return Measured(remark=none)
    error = float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else NAN
    return Measured(float(np.mean(values)), error, remark)
