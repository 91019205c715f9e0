"""What a GPU does, in about eight minutes: correctness first, then times, then limits.

python -m benchmarks.gpu_check --output FOLDER [--budget_s 480] [--only NAME …] [--small]

Every result is one line of FOLDER/results.jsonl, written at once, so that nothing is lost at a time limit; the table
FOLDER/table.md follows at the end. A section that needs more time than is left is omitted, which is recorded; an error
ends its section alone. `--small`: tiny sizes, for the rehearsal on the pretended GPU of the tests.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks import roofline, works
from benchmarks.__main__ import machine
from benchmarks.timing import Times, take_turns, timed
from redoxmd.md.batched.self_test import TOLERANCE, force_error, step_error
from redoxmd.md.ensemble import READ_EVERY_STEPS
from redoxmd.md.fused.kernels import build_kernels
from redoxmd.model.ensemble import EvaluationMode
from redoxmd.units import ns_per_day

DEVICE = "cuda"
# Time of a step of 320 atoms with the four models of Table 1 (paper, RTX 3090, schnetpack), in ms.
PAPER_STEP_MS = 260.0


@dataclass
class Check:
    """The results of one start, and the time left.

    Attributes:
        folder: of the results.
        budget_s: after which no section begins that might need longer.
        small: sizes for a rehearsal.
    """

    folder: Path
    budget_s: float
    small: bool
    began: float = field(default_factory=time.monotonic)
    rows: list[dict[str, Any]] = field(default_factory=list)

    @property
    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return self.budget_s - (time.monotonic() - self.began)

    def tell(self, name: str, **values: Any) -> None:
        """Print a result and append it to the file."""
        row = {"section": name, "at_s": round(time.monotonic() - self.began, 1), **values}
        self.rows.append(row)
        line = json.dumps(row)
        print(line, flush=True)
        with (self.folder / "results.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def measure(self, work: Callable[[], object], rounds: int = 10) -> Times:
        """Median times of a work, waited for."""
        rounds, warm_up = (1, 1) if self.small else (rounds, 3)
        return take_turns({"": timed(work, 1, DEVICE)}, rounds, warm_up)[""]


def describe(check: Check) -> None:
    """GPU, memory and versions."""
    values: dict[str, Any] = {"machine": machine(DEVICE), "cuda": torch.version.cuda}
    if not check.small:
        gpu = torch.cuda.get_device_properties(0)
        values |= {"processors": gpu.multi_processor_count, "memory_GB": round(gpu.total_memory / 2**30, 1)}
    check.tell("machine", **values)


def forces(check: Check) -> None:
    """Forces of the four models of Table 1 on the GPU, plain and captured, against the CPU in double precision.

    By operations of PyTorch and by fused kernels; of these also a step of the MD.
    """
    for repeat in (1,) if check.small else (1, 2):
        atoms, ensemble = works.crystal(repeat), works.ensemble_of_table_1(DEVICE)
        error = force_error(ensemble, atoms)
        check.tell("forces", atoms=len(atoms), relative_error=error, passed=error < TOLERANCE)
        try:
            kernels = build_kernels(ensemble.members)
        except (OSError, RuntimeError) as refused:
            check.tell("forces", kernels="fused", omitted=str(refused).splitlines()[0])
            continue
        errors = force_error(ensemble, atoms, kernels), step_error(ensemble, atoms, kernels)
        passed = all(each < TOLERANCE for each in errors)
        check.tell("forces", kernels="fused", atoms=len(atoms), relative_errors=errors, passed=passed)


def tests(check: Check) -> None:
    """The tests of the GPU."""
    if check.small:
        check.tell("tests", omitted="rehearsal")
        return
    command = [sys.executable, "-m", "pytest", "-m", "gpu", "-q", "--tb=short", "--durations=0", "tests/test_gpu.py"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=max(check.left_s, 60), check=False)
    (check.folder / "tests.txt").write_text(done.stdout + done.stderr, encoding="utf-8")
    check.tell("tests", passed=done.returncode == 0, last=done.stdout.strip().splitlines()[-1:])


def steps(
    check: Check,
    repeat: int,
    trajectories: int,
    read_every: int = READ_EVERY_STEPS,
    evaluation: EvaluationMode = "auto",
) -> None:
    """MD that stays on the GPU: time of a step of all trajectories together, and of one trajectory-step."""
    atoms = works.crystal(repeat)
    torch.cuda.reset_peak_memory_stats()
    work = works.DeviceStretches(atoms, DEVICE, trajectories, read_every, evaluation)
    took = check.measure(work, 5)
    step_s = took.wall_s / work.steps_per_call
    check.tell(
        "md",
        atoms=len(atoms),
        trajectories=trajectories,
        evaluation=work.description,
        trajectory_step_ms=1e3 * step_s,
        host_cpu_ms=1e3 * took.cpu_s / work.steps_per_call,
        ns_day_in_all=ns_per_day(works.TIMESTEP_FS, step_s),
        peak_GB=torch.cuda.max_memory_allocated() / 2**30,
    )
    del work
    gc.collect()
    torch.cuda.empty_cache()


def single(check: Check) -> None:
    """One trajectory of 40 and of 320 atoms, by fused kernels and by operations of PyTorch."""
    if check.small:
        steps(check, 1, 1, 2)
        return
    evaluations: tuple[EvaluationMode, ...] = ("auto", "plain")
    for evaluation in evaluations:
        for repeat in (2, 1):
            steps(check, repeat, 1, READ_EVERY_STEPS, evaluation)


def many(check: Check) -> None:
    """Many trajectories side by side."""
    for repeat, trajectories in ((1, 2),) if check.small else ((2, 16), (1, 64), (2, 4), (1, 16)):
        steps(check, repeat, trajectories, 2 if check.small else READ_EVERY_STEPS)


def host_loop(check: Check) -> None:
    """MD whose loop is on the host and only the forces on the GPU."""
    for repeat in (1,) if check.small else (1, 2):
        atoms = works.crystal(repeat)
        took = check.measure(works.md_step(atoms, DEVICE))
        check.tell("host_loop", atoms=len(atoms), step_ms=1e3 * took.wall_s)


def ceilings(check: Check) -> None:
    """What the GPU could do: copies, products, and launches of small kernels."""
    size = 2**16 if check.small else 2**30
    source = torch.randn(size, device=DEVICE)
    target = torch.empty_like(source)
    took = check.measure(lambda: target.copy_(source), 5)
    check.tell("ceilings", work="copy", GB_s=8e-9 * size / took.wall_s)
    for rows in (320, 5120):
        left, right = torch.randn(rows, 128, device=DEVICE), torch.randn(128, 384, device=DEVICE)
        took = check.measure(partial(_products, left, right))
        check.tell("ceilings", work="product", rows=rows, TFLOP_s=1e-12 * 20 * 2 * rows * 128 * 384 / took.wall_s)
    small, launches = torch.zeros(1024, device=DEVICE), 10 if check.small else 1000
    took = check.measure(lambda: [small.add_(1.0) for _ in range(launches)])
    check.tell("ceilings", work="launch", us=1e6 * took.wall_s / launches)


def _products(left: torch.Tensor, right: torch.Tensor) -> None:
    for _ in range(20):
        left @ right


def training(check: Check) -> None:
    """A training step of the potentials and of the density model."""
    for structures in (1,) if check.small else (4, 16):
        torch.cuda.reset_peak_memory_stats()
        took = check.measure(works.training_step(DEVICE, structures))
        peak_GB = torch.cuda.max_memory_allocated() / 2**30
        check.tell("training", work="potential", structures=structures, step_ms=1e3 * took.wall_s, peak_GB=peak_GB)
    took = check.measure(works.density_training_step(DEVICE), 5)
    check.tell("training", work="density", structures=2, step_ms=1e3 * took.wall_s)


def densities(check: Check) -> None:
    """Predicted densities."""
    for repeat in (1,) if check.small else (1, 2):
        atoms = works.crystal(repeat)
        fill, probes = works.density_probes(atoms, DEVICE)
        took = check.measure(fill, 3)
        check.tell("densities", atoms=len(atoms), million_probes_s=1e-6 * probes / took.wall_s)


def profile(check: Check) -> None:
    """Kernels of an MD step of 320 atoms and of a training step, by time."""
    from torch.profiler import ProfilerActivity

    if check.small:
        check.tell("profile", omitted="rehearsal")
        return
    stretches = works.DeviceStretches(works.crystal(2), DEVICE, 1, 1)
    for name, work in (("md", stretches), ("training", works.training_step(DEVICE))):
        for _ in range(3):  # the second is captured
            work()
        torch.cuda.synchronize()
        with torch.profiler.profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as seen:
            work()
            torch.cuda.synchronize()
        averages = seen.key_averages()
        table = averages.table(sort_by="self_cuda_time_total", row_limit=40, max_name_column_width=90)
        (check.folder / f"profile_{name}.txt").write_text(table, encoding="utf-8")
        kernels = [event for event in averages if event.self_device_time_total > 0]
        check.tell(
            "profile",
            work=name,
            launches=sum(event.count for event in kernels),
            device_ms=1e-3 * sum(event.self_device_time_total for event in kernels),
        )


def limit(check: Check) -> None:
    """How many atoms fit into the memory."""
    if check.small:
        check.tell("limit", omitted="rehearsal")
        return
    for repeat, trajectories in ((2, 48), (4, 1), (6, 1), (8, 1)):
        try:
            steps(check, repeat, trajectories, 4)
        except (RuntimeError, MemoryError) as error:
            atoms = 40 * repeat**3
            check.tell("limit", atoms=atoms, trajectories=trajectories, error=str(error).splitlines()[0][:200])
            return


# Sections in the order of their value, and the seconds that each may need.
SECTIONS: dict[Callable[[Check], None], float] = {
    describe: 5,
    forces: 20,
    single: 60,
    many: 60,
    tests: 150,
    ceilings: 15,
    training: 30,
    densities: 30,
    host_loop: 20,
    profile: 40,
    limit: 60,
}


def table(check: Check) -> str:
    """Markdown table of MD: ns/day beside the paper's step."""
    names = ("atoms", "trajectories", "evaluation", "ms per trajectory-step", "ns/day in all", "peak GB")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in check.rows:
        if row["section"] == "md":
            values = (row["trajectory_step_ms"], row["ns_day_in_all"], row["peak_GB"])
            cells = " | ".join(f"{value:.3g}" for value in values)
            kind = row["evaluation"].split(",")[0]
            lines.append(f"| {row['atoms']} | {row['trajectories']} | {kind} | {cells} |")
    paper = ns_per_day(works.TIMESTEP_FS, 1e-3 * PAPER_STEP_MS)
    flops = roofline.count(works.crystal(2)).total_GFLOP
    lines += [
        "",
        f"Time step {works.TIMESTEP_FS} fs, four models of Table 1. Paper (RTX 3090, schnetpack, 320 atoms): "
        f"{PAPER_STEP_MS:.0f} ms, {paper:.3f} ns/day. Arithmetic of a step of 320 atoms: {flops:.1f} GFLOP.",
    ]
    return "\n".join([check.rows[0].get("machine", ""), "", *lines]) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Run the sections; 1 if a correctness check failed or a section had an error."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--budget_s", type=float, default=480.0)
    parser.add_argument("--only", nargs="+", metavar="NAME", choices=[section.__name__ for section in SECTIONS])
    parser.add_argument("--small", action="store_true")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        parser.error("torch finds no CUDA device here")
    given.output.mkdir(parents=True, exist_ok=True)
    check = Check(given.output, given.budget_s, given.small)
    for section, needed_s in SECTIONS.items():
        name = section.__name__
        if given.only and name not in given.only:
            continue
        if check.left_s < needed_s:
            check.tell(name, omitted=f"{check.left_s:.0f} s left, {needed_s:.0f} s needed")
            continue
        try:
            section(check)
        except Exception as error:  # one section must not cost the others
            check.tell(name, error=repr(error)[:300])
            (check.folder / f"error_{name}.txt").write_text(traceback.format_exc(), encoding="utf-8")
    failed = any(row.get("passed") is False or "error" in row for row in check.rows if row["section"] != "limit")
    (check.folder / "table.md").write_text(table(check), encoding="utf-8")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
