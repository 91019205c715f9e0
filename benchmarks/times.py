"""CPU-minutes of the stages of finished runs, from the benchmark files of their jobs.

python -m benchmarks.times RESULTS ... [--table docs/quickstart/times.csv] [--check FACTOR]

Writes the rows of the runs into the table, in place of older ones of the same runs. With --check nothing is written:
the command fails if the jobs of a run took more than FACTOR times the CPU-minutes that the table has for it.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pandas as pd

from redoxmd.files.records import atomic_path
from redoxmd.runs.job_times import cpu_minutes

TABLE = Path("docs/quickstart/times.csv")


def rows_of(results: Path) -> pd.DataFrame:
    """Columns run, stage, cpu_minutes of a results folder, the largest first.

    Raises:
        SystemExit: the folder has no benchmark files.
    """
    totals = cpu_minutes(results)
    if not totals:
        sys.exit(f"{results} has no benchmark files; give the results folder of a finished run")
    return pd.DataFrame({"run": results.name, "stage": list(totals), "cpu_minutes": list(totals.values())})


def main() -> None:
    """Write the table, or compare runs with it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--check", type=float, metavar="FACTOR")
    chosen = parser.parse_args()
    measured = pd.concat([rows_of(folder) for folder in chosen.results], ignore_index=True)
    table = pd.read_csv(chosen.table) if chosen.table.exists() else pd.DataFrame(columns=measured.columns)
    if chosen.check is None:
        kept = table[~table["run"].isin(measured["run"])]
        with atomic_path(chosen.table) as temporary:
            pd.concat([part for part in (kept, measured) if len(part)]).to_csv(
                temporary, index=False, float_format="%.2f"
            )
        return
    known, now = (frame.groupby("run")["cpu_minutes"].sum() for frame in (table, measured))
    for run, minutes in zip(now.index.astype(str), now, strict=True):
        if run not in known:
            sys.exit(f"{chosen.table} has no row of the run {run}")
        print(f"{run}: {minutes:.1f} CPU-minutes in jobs, {known[run]:.1f} in {chosen.table}")
        if minutes > chosen.check * known[run]:
            sys.exit(f"{run} takes longer than stated: restate the table, README and the comment of the config")


if __name__ == "__main__":
    main()
