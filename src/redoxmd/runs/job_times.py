"""Processor time of the jobs of a run, from the benchmark files that Snakemake writes."""

from __future__ import annotations

from pathlib import Path

import pandas as pd


def cpu_minutes(results: Path) -> dict[str, float]:
    """CPU-minutes of the finished jobs of each stage, the largest first; stages are the folders of `benchmarks/`.

    Of a job that was interrupted, only the time of its last start is known.
    """
    totals: dict[str, float] = {}
    for path in sorted(results.glob("benchmarks/**/*.tsv")):
        stage = path.relative_to(results / "benchmarks").parts[0]
        totals[stage] = totals.get(stage, 0.0) + pd.read_csv(path, sep="\t")["cpu_time"].sum() / 60
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def time_lines(results: Path) -> list[str]:
    """The line of `redoxmd status` with these times; none without finished jobs."""
    totals = cpu_minutes(results)
    stages = ", ".join(f"{stage} {minutes:.1f}" for stage, minutes in totals.items())
    return [f"CPU-minutes of finished jobs: {sum(totals.values()):.1f} ({stages})"] if totals else []
