"""What a run has recorded, as tables for figures and as headline numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd


def error_table(ensembles: list[dict[str, Any]]) -> pd.DataFrame:
    """Errors of every generation's ensemble and members, one row each."""
    rows = [{"generation": number, **row} for number, record in enumerate(ensembles) for row in record["errors"]]
    return pd.DataFrame(rows)


def run_table(decisions: list[dict[str, Any]]) -> pd.DataFrame:
    """Every explore run the gate judged, one row each."""
    rows = [
        {"generation": decision["generation"], "phase": decision["phase"], **run}
        for decision in decisions
        for run in decision["figures"]["runs"]
    ]
    return pd.DataFrame(rows)


def trace_table(paths: Sequence[str]) -> pd.DataFrame:
    """Traces of explore runs as one table; generation and structure are read off the paths."""
    tables = [
        pd.read_csv(path).assign(generation=int(Path(path).parent.name.removeprefix("gen")), structure=Path(path).stem)
        for path in paths
    ]
    return pd.concat(tables, ignore_index=True)


def calibration_tables(ensemble: dict[str, Any]) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, float]]:
    """Reliability curves, binned errors and miscalibration areas of an ensemble's record, by set."""
    records = {
        name: ensemble["calibration"][name] for name in ("validation", "test") if name in ensemble["calibration"]
    }
    curves = [_columns(record, name, ("expected_fraction", "observed_fraction")) for name, record in records.items()]
    bins = [_columns(record, name, ("spread_eV_A", "rmse_eV_A", "n")) for name, record in records.items()]
    areas = {name: float(record["miscalibration_area"]) for name, record in records.items()}
    return pd.concat(curves, ignore_index=True), pd.concat(bins, ignore_index=True), areas


def _columns(record: dict[str, Any], name: str, keys: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame({"set": name, **{key: record[key] for key in keys}})


def summarise_run(
    ensemble: dict[str, Any],
    decisions: list[dict[str, Any]],
    diffusivities: list[dict[str, Any]],
    arrhenius: list[dict[str, Any]],
) -> dict[str, Any]:
    """The headline numbers of a finished run: errors, survived times per generation, diffusion coefficients."""
    return {
        "errors": [row for row in ensemble["errors"] if row["member"] == -1],
        "calibration_scale": ensemble["calibration"]["scale"],
        "generations": [
            {
                "generation": decision["generation"],
                "phase": decision["phase"],
                "status": decision["status"],
                "labels": len(decision["label_ids"]),
                "candidates_per_ps": decision["figures"]["candidates_per_ps"],
                "survived_ps": {run["structure"]: run["survived_ps"] for run in decision["figures"]["runs"]},
                "end_reasons": {run["structure"]: run["end_reason"] for run in decision["figures"]["runs"]},
            }
            for decision in decisions
        ],
        "diffusivities": diffusivities,
        "arrhenius": arrhenius,
    }
