"""Times of work that takes turns, so that what disturbs the machine disturbs all alike."""

from __future__ import annotations

import json
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from ase import Atoms

WORKER = Path(__file__).with_name("schnetpack_worker.py")

# One go of some work: (wall, CPU) seconds.
Timed = Callable[[], tuple[float, float]]


@dataclass(frozen=True)
class Times:
    """Medians of wall and CPU time in seconds, and how many goes they are of."""

    wall_s: float
    cpu_s: float
    goes: int


def timed(work: Callable[[], object], threads: int = 1, device: str = "cpu") -> Timed:
    """A function that does the work once, on so many threads, and says how long it took."""

    def go() -> tuple[float, float]:
        torch.set_num_threads(threads)
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - wall, time.process_time() - cpu

    return go


def take_turns(works: dict[str, Timed], goes: int, warm_up: int = 2) -> dict[str, Times]:
    """Do each in turn, again and again: medians over `goes` rounds after some to warm up."""
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for number in range(warm_up + goes):
        for name, work in works.items():
            seconds = work()
            if number >= warm_up:
                measured[name].append(seconds)
    found = {}
    for name, values in measured.items():
        walls, cpus = zip(*values, strict=True)
        found[name] = Times(statistics.median(walls), statistics.median(cpus), goes)
    return found


@contextmanager
def schnetpack_steps(python: Path, atoms: Atoms, members: Iterable[tuple[int, int]], folder: Path) -> Iterator[Timed]:
    """MD steps of schnetpack in the environment of an interpreter, as one of the works that take turns."""
    crystal = folder / "crystal.npz"
    np.savez(
        crystal,
        numbers=atoms.numbers,
        positions_A=atoms.positions,
        cell_A=np.asarray(atoms.cell),
        members=np.array(list(members)),
    )
    with subprocess.Popen(
        [python, WORKER, crystal], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as worker:
        assert worker.stdin is not None and worker.stdout is not None
        stdin, stdout = worker.stdin, worker.stdout

        def answer() -> str:
            line = stdout.readline()
            if not line:
                raise RuntimeError(f"{python} {WORKER} ended; run it by hand to see why")
            return line

        def step() -> tuple[float, float]:
            stdin.write("step\n")
            stdin.flush()
            wall, cpu = json.loads(answer())
            return float(wall), float(cpu)

        answer()
        yield step
        stdin.close()
