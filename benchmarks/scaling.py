"""Time per atom over the number of atoms, and per structure over the batch, as a table and a picture."""

from __future__ import annotations

import resource
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pandas as pd

from benchmarks import works
from benchmarks.timing import take_turns, timed
from redoxmd.files.records import atomic_path
from redoxmd.model.ensemble import EvaluationMode

REPEATS = (1, 2, 3, 4, 5, 6, 7)
# The plain path keeps every pair of every layer in memory.
PLAIN_REPEATS = (1, 2, 3)
BATCHES = (1, 2, 4, 8, 16)


def measure(goes: int, say: Callable[[str], None]) -> pd.DataFrame:
    """Columns work, size, wall_ms and cpu_ms per unit (atom, structure), peak_GB of the process so far; one thread."""
    rows = []
    # One path after the other: what the plain one leaves of the caches is not the compiled one's affair.
    for name, evaluation, repeats in (("compiled", "auto", REPEATS), ("plain", "plain", PLAIN_REPEATS)):
        for repeat in repeats:
            atoms, work = works.crystal(repeat), f"MD step, {name}"
            step = timed(works.md_step(atoms, "cpu", cast(EvaluationMode, evaluation)))
            (times,) = take_turns({work: step}, goes, warm_up=1).values()
            rows.append(_row(work, len(atoms), times.wall_s, times.cpu_s))
            say(f"{work}, {len(atoms)} atoms: {rows[-1]['cpu_ms']:.3f} CPU ms per atom")
    trainings = {str(batch): timed(works.training_step("cpu", batch)) for batch in BATCHES}
    for batch, times in take_turns(trainings, goes).items():
        rows.append(_row("training step", int(batch), times.wall_s, times.cpu_s))
        say(f"training, batch of {batch}: {rows[-1]['cpu_ms']:.1f} CPU ms per structure")
    return pd.DataFrame(rows)


def _row(work: str, size: int, wall_s: float, cpu_s: float) -> dict[str, object]:
    peak_GB = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {
        "work": work,
        "size": size,
        "wall_ms": 1e3 * wall_s / size,
        "cpu_ms": 1e3 * cpu_s / size,
        "peak_GB": peak_GB,
    }


def draw(table: pd.DataFrame, folder: Path) -> None:
    """Write scaling.csv and scaling.svg."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.0, 2.8), layout="constrained")
    atoms, batch = figure.subplots(1, 2)
    for name, rows in table[table["work"] != "training step"].groupby("work"):
        atoms.plot(rows["size"], rows["cpu_ms"], "o-", label=name)
    atoms.set(xscale="log", xlabel="atoms", ylabel="CPU time per atom and step (ms)")
    atoms.legend(frameon=False)
    rows = table[table["work"] == "training step"]
    batch.plot(rows["size"], rows["cpu_ms"], "o-")
    batch.set(xscale="log", xlabel="structures in a batch", ylabel="CPU time per structure (ms)")
    for axis in (atoms, batch):
        axis.set_ylim(0, 1.08 * axis.get_ylim()[1])
    batch.set_xticks(rows["size"], [str(size) for size in rows["size"]])
    batch.minorticks_off()
    with atomic_path(folder / "scaling.svg") as temporary:
        figure.savefig(temporary)
    with atomic_path(folder / "scaling.csv") as temporary:
        table.to_csv(temporary, index=False, float_format="%.4g")
