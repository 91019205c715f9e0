"""Cost of moves of the electrons beside MD, and where descents with a shortlist end beside full ones.

python -m benchmarks.electrons ENSEMBLE [--structure NAME] [--kelvin 800] [--timestep 2] [--settle 100] [--steps 300]

The ensemble must be trained: shortlists of random networks say nothing. The same frames of one MD are used for both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import torch

from redoxmd.config.sections import Electrons, OxidationState, Structures
from redoxmd.electrons.moves import descend, initial_assignment, neighbour_pairs, neighbour_swaps
from redoxmd.electrons.states import OxidationLevels
from redoxmd.md.electrons import ElectronMD
from redoxmd.md.ensemble import TrajectoryMD, ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import load_ensemble
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

Result = TypeVar("Result")
LEVELS = {"V": {3: OxidationState(moment_muB=1.85), 4: OxidationState(moment_muB=1.05)}}
# Nothing ends.
OPEN = GateSettings(1e3, 1e4, "max", 0.01, 1e6)
FULL_EVERY_MOVES = 4


def cpu_timed(function: Callable[[], Result]) -> tuple[Result, float]:
    """Result of a call and its CPU time in s."""
    begin = time.process_time()
    result = function()
    return result, time.process_time() - begin


def full_descent(md: TrajectoryMD, electrons: ElectronMD) -> tuple[np.ndarray, int]:
    """End of a descent that evaluates all swaps of the present state, and their number."""
    positions_A, state, calls, atoms = md.state.positions_A, electrons.oxidation, md.state_calls(), md.atoms
    cell, reach_A = atoms.cell.array, electrons.settings.reach_A
    pairs = neighbour_pairs(state, atoms.numbers, positions_A, cell, atoms.pbc, reach_A)
    end = descend(state, lambda states: calls.energies(positions_A, states).mean(axis=0), pairs)
    return end.oxidation, len(neighbour_swaps(state, pairs))


def main() -> None:
    """Run the MD and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ensemble")
    parser.add_argument("--structure", default="x2.000_random0_2x2x2")
    parser.add_argument("--kelvin", type=float, default=800.0)
    parser.add_argument("--timestep", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--settle", type=int, default=100, help="steps before the measurement")
    options = parser.parse_args()
    torch.set_num_threads(1)
    electrons, ensemble = Electrons(levels=LEVELS), load_ensemble(options.ensemble, "cpu")
    atoms = build_structure(parse_name(options.structure), Structures(), 1)
    levels, rng = OxidationLevels.of(electrons), np.random.default_rng(1)
    assert levels is not None
    atoms.set_array("oxidation", initial_assignment(list(atoms.symbols), levels, rng))
    langevin = Langevin(atoms.get_masses(), options.timestep, options.kelvin, 0.02)
    md = ensemble_md(HostEvaluator(ensemble), atoms, langevin, OPEN, electrons)
    md.start(rng)
    assert md.electrons is not None
    every = md.electrons.every
    full_s, listed_s, step_s, ends, hops, swaps = [], [], [], [], [], []
    for step in range(options.settle + options.steps):
        due, measured = step % every == 0, step >= options.settle
        compared = due and measured and step // every % FULL_EVERY_MOVES == 0
        if compared:
            (end, number), seconds = cpu_timed(partial(full_descent, md, md.electrons))
            full_s.append(seconds)
            swaps.append(number)
        known = len(md.electrons.hops)
        _, seconds = cpu_timed(md.step)
        if compared:
            ends.append(np.array_equal(end, md.electrons.oxidation))
        if measured and due:
            listed_s.append(seconds)
            hops.append(len(md.electrons.hops) - known)
        elif measured:
            step_s.append(seconds)
    step_ms = statistics.mean(step_s) * 1e3
    # A step with a move contains the step itself.
    listed_ms, full_ms = statistics.mean(listed_s) * 1e3 - step_ms, statistics.mean(full_s) * 1e3
    holes = int((atoms.arrays["oxidation"] == 4).sum())
    print(f"{len(atoms)} atoms, {holes} V4+, {len(ensemble.members)} members, {statistics.mean(swaps):.0f} swaps")
    print(f"MD step {step_ms:.1f} CPU ms; {len(listed_s)} moves, {sum(hops)} hops")
    for name, milliseconds in (("full search", full_ms), ("shortlist", listed_ms)):
        shares = [100 * milliseconds / (step_ms * electrons.move_every_fs / fs) for fs in (1.0, 2.0)]
        print(f"{name}: {milliseconds:.0f} CPU ms a move, {shares[0]:.0f} % of MD at 1 fs, {shares[1]:.0f} % at 2 fs")
    print(f"{len(ends) - sum(ends)} of {len(ends)} descents end elsewhere than the full search of the same frame")
    shortlist = md.electrons.shortlist
    print(f"{shortlist.missed} of {shortlist.checked} swaps that were checked without being listed lower the energy")
    for count, mean, variance in shortlist.statistics.values():
        print(f"exact − first order: {mean:.3f} ± {variance**0.5:.3f} eV ({count:.0f} swaps)")


if __name__ == "__main__":
    main()
