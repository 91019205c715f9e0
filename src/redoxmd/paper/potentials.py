"""Rows of the comparison on the potentials and the active-learning loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from redoxmd.paper.measured import NAN, Measured, comparison_row, mean_with_error
from redoxmd.paper.tables import PAPER_CELL, RunTables, cell_size_remark
from redoxmd.units import PS_PER_NS

# Engines whose errors are comparable with the paper; a smooth potential as reference is easier to learn.
DFT = ("vasp", "gpaw")
# Time after which runs of the first generation become unstable in the paper.
FIRST_BREAKS_PS = (NAN, 2.0, 10.0)


def accuracy_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the errors of the ensemble on test configurations."""
    rows = [item for item in run.errors if item["member"] == -1 and item["set"] == "test"]
    errors = rows[0] if rows else {}
    not_comparable = "" if run.engine in DFT else f"reference is engine {run.engine}, the paper's is DFT (VASP)"
    missing = "" if rows else "no test configuration (train.test_configurations)"
    conditions = "unseen configuration"
    return [
        comparison_row(
            quantity,
            conditions,
            unit,
            (paper, NAN, paper),
            Measured(float(errors.get(key, NAN)), remark=missing, not_comparable=not_comparable),
            "at_most",
        )
        for quantity, unit, paper, key in (
            ("error of forces (MAE)", "eV/Å", 0.23, "force_mae_eV_A"),
            ("error of energies (MAE)", "meV/atom", 1.52, "energy_mae_meV_atom"),
        )
    ]


def loop_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Rows on the length of stable MD."""
    return [
        comparison_row("MD lives in the first generation", "", "ps", FIRST_BREAKS_PS, _first_survival(run)),
        comparison_row(
            "longest trajectory that stays whole",
            PAPER_CELL,
            "ps",
            (PS_PER_NS, PS_PER_NS, NAN),
            _longest(run),
            "at_least",
        ),
    ]


def _first_survival(run: RunTables) -> Measured:
    """Mean survival time of the runs of the first generation; a lower bound if some runs reached their end."""
    runs = run.decisions[0]["figures"]["runs"] if run.decisions else []
    times = mean_with_error(np.array([item["survived_ps"] for item in runs]), "")
    ended = [item["target_ps"] for item in runs if item["survived_ps"] >= item["target_ps"]]
    if not ended:
        return times
    lower_bound = f"{len(ended)} of {len(runs)} runs ended at the {max(ended):g} ps asked for"
    # A lower bound above the range of the paper is a contradiction.
    above = times.value > FIRST_BREAKS_PS[2]
    return replace(times, remark=lower_bound if above else "", not_comparable="" if above else lower_bound)


def _longest(run: RunTables) -> Measured:
    table = run.trajectories
    completed = table[table["end_reason"] == "completed"] if len(table) else table
    if not len(completed):
        return Measured(remark="no whole trajectory")
    longest = float(completed["duration_ps"].max())
    short = longest < PS_PER_NS and len(completed) == len(table)
    return Measured(longest, not_comparable="no longer one was asked for" if short else cell_size_remark(run))
