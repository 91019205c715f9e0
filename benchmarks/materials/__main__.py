"""Run materials from their structure files to the report with CHGNet, one after another, and write a row for each.

python -m benchmarks.materials [--only NAME ...] [--output FOLDER] [--csv benchmarks/materials/rows.csv]

Each material has a folder of its own in FOLDER with its config and results. The command can be interrupted: a finished
run takes seconds, and an unfinished one resumes. A run that the workflow refuses or stops has the reason in its row.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.materials import material_names, write_config
from benchmarks.materials.rows import CPU_TIMES, material_row, table_lines
from redoxmd.files.records import atomic_path

ROOT = Path(__file__).parents[2]


def run_workflow(folder: Path, python: str = sys.executable) -> bool:
    """Whether Snakemake, whose output is added to `run.log`, came to the end of the config in a folder."""
    command = [python, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "1"]
    with (folder / "run.log").open("a", encoding="utf-8") as log:
        done = subprocess.run(
            [*command, "--configfile", "config.yaml"], cwd=folder, stdout=log, stderr=log, check=False
        )
    return done.returncode == 0


def children_cpu_s() -> float:
    """Processor time of all processes that this one has started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run, write the rows, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=material_names(), default=material_names(), metavar="NAME")
    parser.add_argument("--output", type=Path, default=Path("results/materials"))
    parser.add_argument("--csv", type=Path, help="table of the rows; by default rows.csv in the output folder")
    chosen = parser.parse_args()
    path = chosen.csv or chosen.output / "rows.csv"
    rows: dict[str, dict[Any, Any]] = {}
    if path.exists():
        rows = {row["name"]: row for row in pd.read_csv(path).to_dict("records")}
    for name in chosen.only:
        folder = chosen.output / name
        write_config(name, folder)
        started_s = children_cpu_s()
        finished = run_workflow(folder)
        with (folder / CPU_TIMES).open("a", encoding="utf-8") as times:
            times.write(f"{children_cpu_s() - started_s:.2f}\n")
        rows[name] = material_row(name, folder, finished)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            pd.DataFrame([rows[key] for key in material_names() if key in rows]).to_csv(temporary, index=False)
        print(rows[name], flush=True)
    print("\n".join(table_lines(pd.read_csv(path))))


if __name__ == "__main__":
    main()
