"""The potentials and the loop."""

from __future__ import annotations

import numpy as np

from redoxmd.paper.measured import NAN, Measured, mean_of, row
from redoxmd.paper.tables import RunTables
from redoxmd.units import PS_PER_NS


def accuracy_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Errors of the ensemble on configurations it never saw."""
    rows = [item for item in run.errors if item["member"] == -1 and item["set"] == "test"]
    found = rows[0] if rows else {}
    missing = "" if rows else "no test configuration (train.test_configurations)"
    where = "unseen configuration"
    return [
        row(
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


def loop_rows(run: RunTables) -> list[tuple[object, ...]]:
    """How long MD lives."""
    first = run.decisions[0]["figures"]["runs"] if run.decisions else []
    times, targets = np.array([item["survived_ps"] for item in first]), [item["target_ps"] for item in first]
    cut = f"asked for {max(targets):g} ps only" if targets and times.max() >= max(targets) else ""
    whole = run.trajectories[run.trajectories["end_reason"] == "completed"] if len(run.trajectories) else None
    longest = float(whole["duration_ps"].max()) if whole is not None and len(whole) else NAN
    return [
        row("MD lives in the first generation", "", "ps", (NAN, 2.0, 10.0), mean_of(times, cut)),
        row(
            "longest trajectory that stays whole",
            "",
            "ps",
            (PS_PER_NS, PS_PER_NS, NAN),
            Measured(longest, remark="no longer one was asked for" if np.isfinite(longest) else "no whole trajectory"),
            "at_least",
        ),
    ]
