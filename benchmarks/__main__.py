"""Print the table of docs/performance.md; with --scaling, draw its picture instead."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch

from benchmarks import roofline, scaling, works
from benchmarks.timing import Timed, Times, schnetpack_steps, take_turns, timed
from redoxmd.jobs.job import keep_freed_memory
from redoxmd.md.ensemble import READ_EVERY_STEPS
from redoxmd.units import ns_per_day

# (repeat, trajectories side by side)
DEVICE_BATCHES = ((1, 1), (2, 1), (1, 64), (2, 8))
PEERS = Path(".venv-peers/bin/python")
HEADER = f"| {'work':68} | wall ms | CPU ms | rate | against |"


def machine(device: str) -> str:
    """Processor, cores, versions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if "model name" in line] or [platform.processor()]
    chip = torch.cuda.get_device_name() if device == "cuda" else f"{names[0]}, {os.cpu_count()} cores"
    day = datetime.datetime.now(tz=datetime.UTC).date()
    path = works.ensemble_of_table_1(device).path
    return f"{chip}; torch {torch.__version__}, ensembles evaluated by {path}; {day}"


def md_rows(device: str, goes: int, peers: bool, fastest_s: dict[int, float]) -> Iterator[str]:
    """MD steps of the four models of Table 1: compiled, plain, on two threads, and by schnetpack.

    `fastest_s` is filled with the time of the first, by number of atoms.
    """
    for repeat in (1, 2):
        atoms = works.crystal(repeat)
        turns: dict[str, Timed] = {"fast": timed(works.md_step(atoms, device), 1, device)}
        with ExitStack() as stack:
            if device == "cpu":
                turns["fast, 2 threads"] = timed(works.md_step(atoms, device), 2)
                turns["plain"] = timed(works.md_step(atoms, device, "plain"))
                if peers:
                    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                    members = [(member.features, member.layers) for member in works.TABLE_1]
                    turns["schnetpack"] = stack.enter_context(schnetpack_steps(PEERS, atoms, members, folder))
            times = take_turns(turns, goes)
        if device == "cpu":
            fastest_s[len(atoms)] = times["fast"].wall_s
        for name, took in times.items():
            ratio = took.wall_s / times["fast"].wall_s
            against = f"{ratio:.1f} × the first" if ratio >= 1.05 else f"{1 / ratio:.2f} × as fast as the first"
            yield _row(
                f"MD step, Table 1, {len(atoms)} atoms: {name}",
                took,
                f"{ns_per_day(works.TIMESTEP_FS, took.wall_s):.3f} ns/day",
                "" if name == "fast" else against,
            )


def device_rows(device: str, goes: int, read_every: int = READ_EVERY_STEPS) -> Iterator[str]:
    """MD that stays on the device: one trajectory, and many side by side; the rate is of all together."""
    for repeat, at_once in DEVICE_BATCHES:
        atoms = works.crystal(repeat)
        work = works.DeviceStretches(atoms, device, at_once, read_every)
        took = take_turns({"": timed(work, 1, device)}, goes)[""]
        # Of one trajectory, as if it had the device for itself.
        step_s = took.wall_s / work.steps_per_call
        all_steps = Times(step_s * at_once, took.cpu_s / work.steps_per_call * at_once, took.goes)
        name = f"MD step on the device, Table 1, {at_once} × {len(atoms)} atoms"
        yield _row(name, all_steps, f"{ns_per_day(works.TIMESTEP_FS, step_s):.3f} ns/day in all")


def other_rows(device: str, goes: int) -> Iterator[str]:
    """Training and densities."""
    fills = {len(atoms): works.density_probes(atoms, device) for atoms in map(works.crystal, (1, 2))}
    turns = {str(size): timed(fill, 1, device) for size, (fill, _) in fills.items()}
    turns["training"] = timed(works.training_step(device), 1, device)
    turns["density training"] = timed(works.density_training_step(device), 1, device)
    times = take_turns(turns, goes)
    took = times["training"]
    yield _row("training step, 128 × 3, 4 × 40 atoms", took, f"{4 / took.wall_s:.0f} structures/s")
    for size, (_, probes) in fills.items():
        took = times[str(size)]
        name = f"density, 128 × 3, {size} atoms, grid of 0.15 Å: {probes} probes"
        yield _row(name, took, f"{probes / took.wall_s:.0f} probes/s")
    took = times["density training"]
    yield _row("density training step, 128 × 3, 2 × 1000 probes", took, f"{2 / took.wall_s:.1f} structures/s")


def analysis_row() -> str:
    """Analysis of a long trajectory, once: it takes as long as all the rest of a round."""
    wall_s, cpu_s, peak_GB = works.diffusion_analysis()
    points = works.WALKERS * works.WALKER_FRAMES
    name = f"jumps, sites, MSD and van Hove, {points / 1e6:g} million ion-frames"
    return _row(name, Times(wall_s, cpu_s, 1), f"{points / wall_s / 1e6:.2f} million/s", f"peak {peak_GB:.2f} GB")


def _row(name: str, times: Times, rate: str, against: str = "") -> str:
    return f"| {name:68} | {1e3 * times.wall_s:.4g} | {1e3 * times.cpu_s:.4g} | {rate} | {against} |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--goes", type=int, default=15, help="rounds in which all works take turns")
    parser.add_argument("--scaling", type=Path, metavar="FOLDER", help="write scaling.csv and scaling.svg there")
    arguments = parser.parse_args()
    # As in every job.
    keep_freed_memory()
    if arguments.scaling is not None:
        print(machine("cpu"))
        scaling.draw(
            scaling.measure(max(3, arguments.goes // 5), lambda line: print(line, flush=True)), arguments.scaling
        )
        return
    peers = PEERS.exists()
    for device in ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]:
        print(f"{machine(device)}; medians of {arguments.goes}, works taking turns, one thread unless said otherwise\n")
        print(f"{HEADER}\n|---|---|---|---|---|")
        fastest_s: dict[int, float] = {}
        for row in md_rows(device, arguments.goes, peers, fastest_s):
            print(row, flush=True)
        for row in device_rows(device, arguments.goes) if device == "cuda" else ():
            print(row, flush=True)
        for row in other_rows(device, arguments.goes):
            print(row, flush=True)
        if device == "cpu":
            print(analysis_row(), flush=True)
        for step_s in list(fastest_s.values())[-1:]:
            print("\n" + roofline.words(works.crystal(2), step_s))
    if not peers:
        print(
            "\nschnetpack was not measured: `make bench-peers` installs it in an environment of its own, and measures"
        )


if __name__ == "__main__":
    main()
