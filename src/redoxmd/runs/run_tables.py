"""Tables for figures and headline numbers from the records of a run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from redoxmd.aimd.records import LabelRecord
from redoxmd.charges.oxidation import OxidationStates
from redoxmd.charges.redox import CHECK_COLUMNS
from redoxmd.electrons.moment_tables import pool_configurations
from redoxmd.errors import LabelRefusal
from redoxmd.gate import Decision
from redoxmd.md.frame_gate import conformal_factor
from redoxmd.train.records import DatasetRecord, EnsembleRecord


def error_table(ensembles: Sequence[EnsembleRecord]) -> pd.DataFrame:
    """Errors of every generation's ensemble and members, one row each."""
    rows = [{"generation": number, **row} for number, record in enumerate(ensembles) for row in record.errors]
    return pd.DataFrame(rows)


def run_table(decisions: Sequence[Decision]) -> pd.DataFrame:
    """Explore runs in the gate decisions, one row each; the speed is omitted because it is not a result."""
    rows = [
        {"generation": decision.generation, "phase": decision.phase, **vars(run)}
        for decision in decisions
        for run in decision.figures.runs
    ]
    return pd.DataFrame(rows).drop(columns="steps_per_s", errors="ignore")


def trace_table(paths: Sequence[str]) -> pd.DataFrame:
    """Traces of explore runs as one table; generation and structure are taken from the paths."""
    tables = [
        pd.read_csv(path).assign(generation=int(Path(path).parent.name.removeprefix("gen")), structure=Path(path).stem)
        for path in paths
    ]
    return pd.concat(tables, ignore_index=True)


def state_counts(dataset: DatasetRecord, labels: Sequence[LabelRecord]) -> dict[str, int]:
    """Electronic states of a generation: frames refused for theirs, hops within runs, labels in the state asked for.

    Args:
        dataset: of the training set.
        labels: of the generation; those without frames or without a given state do not count.
    """
    compared = compared_labels(labels)
    return {
        "frames_refused": sum(item["reason"] == LabelRefusal.WRONG_ELECTRONIC_STATE for item in dataset.left_out),
        "hops": len(dataset.hops),
        "labels_asked": len(compared),
        "labels_as_asked": sum(label.states_asked == label.states_found for label in compared),
    }


def compared_labels(labels: Sequence[LabelRecord]) -> list[LabelRecord]:
    """The labels whose oxidation states were asked for and found."""
    return [label for label in labels if label.states_asked and label.states_found]


def calibration_tables(
    ensemble: EnsembleRecord, statistic: str, coverage: float
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float], pd.DataFrame]:
    """Reliability curves, binned errors, miscalibration areas of an ensemble by set, and errors of frames.

    The last table has set, error_eV_A and bound_eV_A, the spread times `redoxmd.explore.bound_factor`; it is empty if
    there are too few validation frames for the coverage.
    """
    calibration = ensemble.calibration
    factor = conformal_factor(calibration.get("ratios", {}).get(statistic, ()), coverage)
    frames = [
        (name, factor * spread_eV_A, error_eV_A)
        for name, by_statistic in calibration.get("frames", {}).items()
        for spread_eV_A, error_eV_A in zip(*(by_statistic[statistic][key] for key in ("spread", "error")), strict=True)
        if math.isfinite(factor)
    ]
    records: dict[str, Any] = {name: calibration[name] for name in ("validation", "test") if name in calibration}

    def table(*keys: str) -> pd.DataFrame:
        frames = [pd.DataFrame({"set": name, **{key: record[key] for key in keys}}) for name, record in records.items()]
        return pd.concat(frames, ignore_index=True)

    areas = {name: float(record["miscalibration_area"]) for name, record in records.items()}
    frame_table = pd.DataFrame(frames, columns=["set", "bound_eV_A", "error_eV_A"])
    return table("expected_fraction", "observed_fraction"), table("spread_eV_A", "rmse_eV_A", "n"), areas, frame_table


def summarise_run(
    ensemble: EnsembleRecord,
    decisions: Sequence[Decision],
    diffusivities: list[dict[str, Any]],
    arrhenius: list[dict[str, Any]],
    concerted: list[dict[str, Any]],
    sites: list[dict[str, Any]],
    left_out: Sequence[dict[str, Any]] = (),
    electrons: dict[str, Any] | None = None,
    states: Sequence[dict[str, int]] = (),
    moments: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The headline numbers of a finished run: errors, survived times, diffusion coefficients, sites, electrons.

    `left_out` holds rows of `redoxmd.train.cross_validation.held_out_errors` if there are folds; `electrons` is the
    result of `electron_record` if the density model is enabled; `states` is that of `state_counts` for each generation,
    if oxidation states are assigned; `moments` is the result of `moment_record` if there is a moment network.
    """
    return {
        "errors": [row for row in ensemble.errors if row["member"] == -1],
        "calibration_scale": ensemble.calibration["scale"],
        "generations": [
            {
                "generation": decision.generation,
                "phase": decision.phase,
                "status": decision.status,
                "labels": len(decision.label_ids),
                "candidates_per_ps": decision.figures.candidates_per_ps,
                "survived_ps": {run.structure: run.survived_ps for run in decision.figures.runs},
                "end_reasons": {run.structure: run.end_reason for run in decision.figures.runs},
                **(states[number] if states else {}),
            }
            for number, decision in enumerate(decisions)
        ],
        "diffusivities": diffusivities,
        "arrhenius": arrhenius,
        "concerted": concerted,
        "sites": sites,
        **({"teacher": ensemble.teacher} if ensemble.teacher else {}),
        **({"left_out": list(left_out)} if left_out else {}),
        **({"electrons": electrons} if electrons else {}),
        **({"moments": moments} if moments else {}),
    }


def moment_record(moment_errors: pd.DataFrame, moment_agreement: pd.DataFrame | None = None) -> dict[str, Any]:
    """Headline numbers of the moment network: states by set, with and without a choice, and by trajectory.

    Args:
        moment_errors: result of `electrons.moment_tables.moment_errors`.
        moment_agreement: result of `electrons.moment_tables.trajectory_agreement`; None without MD with states.
    """
    trajectories = [] if moment_agreement is None else moment_agreement.to_dict("records")
    return {"states": pool_configurations(moment_errors).to_dict("records"), "trajectories": trajectories}


def electron_record(
    errors: pd.DataFrame,
    charges: pd.DataFrame,
    states: OxidationStates,
    element: str,
    redox: pd.DataFrame | None = None,
) -> dict[str, Any]:
    """Headline numbers of the density model and of the redox element's charges.

    Args:
        errors: result of `density.evaluation.density_errors`.
        charges: result of `charges.tables.reference_charges`.
        states: fitted states of the redox element.
        element: the redox element.
        redox: table of `charges.summary.RedoxSummary`, if the states of the trajectories are those of the MD.
    """
    atoms = charges[charges["element"] == element].reset_index(drop=True)
    record: dict[str, Any] = {
        "nmae_percent": errors.groupby("set")[["nmae_total_percent", "nmae_spin_percent"]].mean().to_dict("index"),
        "states": states.summary,
    }
    for name in ("charge_e", "moment_muB"):
        error = (atoms[f"predicted_{name}"] - atoms[f"reference_{name}"]).abs()
        record[f"mae_{name}"] = error.groupby(atoms["set"]).mean().to_dict()
    if states.reference is not None and states.predicted is not None:
        high = [
            model.probability(atoms[f"{side}_charge_e"].to_numpy(), atoms[f"{side}_moment_muB"].to_numpy()) > 0.5
            for side, model in (("reference", states.reference), ("predicted", states.predicted))
        ]
        same = pd.Series(high[0] == high[1]).groupby(atoms["set"])
        record["same_state"] = {name: [int(group.sum()), len(group)] for name, group in same}
    if redox is not None:
        columns = ["x", "temperature_K", "n_frames", *CHECK_COLUMNS]
        record["same_state_along"] = redox[columns].to_dict("records")
    return record
