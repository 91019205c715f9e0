"""The potentials and the loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from redoxmd.paper.measured import NAN, Measured, mean_of, row
from redoxmd.paper.tables import PAPER_CELL, RunTables, other_cell
from redoxmd.units import PS_PER_NS

# Engines whose errors compare with the paper's; a smooth potential as reference is learnt more easily.
DFT = ("vasp", "gpaw")
# Runs of the first generation break after this time.
FIRST_BREAKS_PS = (NAN, 2.0, 10.0)


def accuracy_rows(run: RunTables) -> list[tuple[object, ...]]:
    """Errors of the ensemble on configurations it never saw."""
    rows = [item for item in run.errors if item["member"] == -1 and item["set"] == "test"]
    found = rows[0] if rows else {}
    other_reference = "" if run.engine in DFT else f"reference is engine {run.engine}, the paper's is DFT (VASP)"
    missing = "" if rows else "no test configuration (train.test_configurations)"
    where = "unseen configuration"
    return [
        row(
            quantity,
            where,
            unit,
            (paper, NAN, paper),
            Measured(float(found.get(key, NAN)), remark=missing, not_comparable=other_reference),
            "at_most",
        )
        for quantity, unit, paper, key in (
            ("error of forces (MAE)", "eV/Å", 0.23, "force_mae_eV_A"),
            ("error of energies (MAE)", "meV/atom", 1.52, "energy_mae_meV_atom"),
        )
    ]


def loop_rows(run: RunTables) -> list[tuple[object, ...]]:
    """How long MD lives."""
    return [
        row("MD lives in the first generation", "", "ps", FIRST_BREAKS_PS, _first_breaks(run)),
        row(
            "longest trajectory that stays whole",
            PAPER_CELL,
            "ps",
            (PS_PER_NS, PS_PER_NS, NAN),
            _longest(run),
            "at_least",
        ),
    ]


def _first_breaks(run: RunTables) -> Measured:
    """Time that the runs of the first generation lived; a lower bound where some reached their end."""
    runs = run.decisions[0]["figures"]["runs"] if run.decisions else []
    times = mean_of(np.array([item["survived_ps"] for item in runs]), "")
    ended = [item["target_ps"] for item in runs if item["survived_ps"] >= item["target_ps"]]
    if not ended:
        return times
    cut = f"{len(ended)} of {len(runs)} runs ended at the {max(ended):g} ps asked for"
    # A bound above the paper's range contradicts it all the same.
    above = times.value > FIRST_BREAKS_PS[2]
    return replace(times, remark=cut if above else "", not_comparable="" if above else cut)


def _longest(run: RunTables) -> Measured:
    table = run.trajectories
    whole = table[table["end_reason"] == "completed"] if len(table) else table
    if not len(whole):
        return Measured(remark="no whole trajectory")
    longest = float(whole["duration_ps"].max())
    short = longest < PS_PER_NS and len(whole) == len(table)
    return Measured(longest, not_comparable="no longer one was asked for" if short else other_cell(run))
