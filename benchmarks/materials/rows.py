"""The row of a material from the results of its run, and the table of all rows."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.materials import describe_material
from redoxmd.config.load import load_config
from redoxmd.files.records import read_json
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name, structure_name

# Processor times of the starts of a run, one in each line.
CPU_TIMES = "cpu_s.txt"
MATERIALS = "| material | kind | peculiarity | structure from |"
RESULTS = (
    "| material | atoms | x | CPU-minutes | generations | force MAE, eV/Å | T, K | jumps | D, cm²/s | "
    "states | outcome |"
)


def material_row(name: str, folder: Path, finished: bool) -> dict[str, Any]:
    """What a run gives at the highest temperature of its production, and its outcome.

    `force_mae_eV_A` is that of the converged ensemble on the test configuration, against CHGNet. If the number of jumps
    is too small, D is missing and `D_limit_cm2_s` is its 95 % upper limit. A run that is not finished has neither.

    Args:
        name: the material.
        folder: folder with config.yaml, run.log, the processor times and the results.
        finished: whether the workflow came to its end.
    """
    config, results = load_config(folder / "config.yaml"), folder / "results" / name
    x = config.production.x[0]
    states = " and ".join(f"{e}{s}+" for e, levels in config.electrons.levels.items() for s in levels)
    row = describe_material(name) | {
        "name": name,
        "x": x,
        "temperature_K": max(config.production.temperatures_K),
        **dict.fromkeys(("force_mae_eV_A", "jumps", "D_cm2_s", "D_error_cm2_s", "D_limit_cm2_s"), math.nan),
        "cpu_minutes": sum(map(float, (folder / CPU_TIMES).read_text(encoding="utf-8").split())) / 60,
        "states": states or "none",
        "outcome": "report" if finished else stop_reason((folder / "run.log").read_text(encoding="utf-8"), folder),
    }
    structures = config.structures.model_copy(update={"source": str(folder / config.structures.source)})
    request = parse_name(structure_name(x, config.production.ordering, 0, config.production.supercell))
    row["atoms"] = len(build_structure(request, structures, config.seed))
    row["generations"] = len(list((results / "train").glob("gen*")))
    if not finished:
        return row
    summary = read_json(results / "summary.json")
    errors = {item["set"]: item["force_mae_eV_A"] for item in summary["errors"]}
    points = pd.read_csv(results / "diffusion" / "diffusivities.csv")
    hottest = points.sort_values("temperature_K").iloc[-1]
    trajectories = pd.read_csv(results / "diffusion" / "trajectories.csv", keep_default_na=False)
    moving = sorted({element for text in trajectories["diffusing_framework"] for element in text.split()})
    if moving:
        row["outcome"] = f"report; atoms of {', '.join(moving)} diffuse as well"
    return row | {
        "force_mae_eV_A": errors["test"],
        "jumps": hottest["n_jumps"],
        "D_cm2_s": hottest["D_jumps_cm2_s"],
        "D_error_cm2_s": hottest["D_jumps_error_cm2_s"],
        "D_limit_cm2_s": hottest["D_jumps_limit_cm2_s"],
    }


def stop_reason(log: str, folder: Path) -> str:
    """Last line of the log of the failed job, without its time; of Snakemake's log if no job failed."""
    logs = re.findall(r"^    log: (\S+) \(check log file", log, re.MULTILINE)
    lines = (folder / logs[-1]).read_text(encoding="utf-8").splitlines() if logs else log.splitlines()
    return re.sub(r"^\d\d:\d\d:\d\d +(ERROR +)?", "", [line for line in lines if line.strip()][-1])


def table_lines(rows: pd.DataFrame) -> list[str]:
    """Two Markdown tables, of the materials and of their results, with an empty line between them."""
    records = rows.to_dict("records")
    materials = [[_name(row), row["kind"], row["special"], row["source"]] for row in records]
    return [*_markdown(MATERIALS, materials), "", *_markdown(RESULTS, map(_results, records))]


def _markdown(header: str, lines: Iterable[Sequence[str]]) -> list[str]:
    return [header, "|---" * (header.count("|") - 1) + "|", *(f"| {' | '.join(line)} |" for line in lines)]


def _name(row: Mapping[Any, Any]) -> str:
    """Formula of a material with its numbers as subscripts."""
    numbers = re.sub(r"x(?=[A-Z])|(?<=[A-Za-z])[\d/]+", lambda part: f"<sub>{part[0]}</sub>", row["formula"])
    return f"{numbers}, with states" if row["name"].endswith("-states") else numbers


def _results(row: Mapping[Any, Any]) -> list[str]:
    finished = math.isfinite(row["jumps"])
    return [
        _name(row),
        f"{row['atoms']:.0f}",
        f"{row['x']:.4g}",
        f"{row['cpu_minutes']:.1f}",
        f"{row['generations']:.0f}",
        f"{row['force_mae_eV_A']:.2f}" if finished else "",
        f"{row['temperature_K']:.0f}",
        f"{row['jumps']:.0f}" if finished else "",
        _diffusivity(row) if finished else "",
        row["states"],
        row["outcome"],
    ]


def _diffusivity(row: Mapping[Any, Any]) -> str:
    """D with its standard error, or its upper limit."""
    limit = row["D_limit_cm2_s"]
    text = f"< {limit:.1e}" if math.isfinite(limit) else f"{row['D_cm2_s']:.1e} ± {row['D_error_cm2_s']:.1e}"
    return re.sub(r"e-0?(\d+)", lambda power: f"·10<sup>−{power[1]}</sup>", text)
