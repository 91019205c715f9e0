"""Basin hopping with the ensemble, from a built ordering to orderings of lower energy."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from ase import Atoms
from ase.calculators.calculator import Calculator

from redoxmd.config.sections import Basins
from redoxmd.errors import DataError
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.jobs.interrupt import StopRequest
from redoxmd.jobs.progress import Progress
from redoxmd.jobs.resumable import run_resumable
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.relaxation import GatedStructure, judge, relax
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.seeds import rng_from_text, rng_text
from redoxmd.structures.occupation import Occupation
from redoxmd.units import BOLTZMANN_EV_PER_K

logger = logging.getLogger("redoxmd")

COLUMNS = ("step", "move", "energy_eV", "spread_eV_A", "accepted", "refused", "ordering")


class BasinsRun(NamedTuple):
    """Result of a walk.

    Attributes:
        lowest: the structure of lowest energy, relaxed; `info` of the start, basins_step and basins_energy_eV; array
            `oxidation` if the calculator gives states.
        visits: columns of `COLUMNS`, a row for each step; step 0 is the relaxed start. `move` is start, hop or
            displace, `refused` a `FrameRefusal` or "", `ordering` as in `Occupation.ordering`.
    """

    lowest: Atoms
    visits: pd.DataFrame


def hop_basins(
    atoms: Atoms,
    calculator: Calculator,
    full_cell: Atoms,
    settings: Basins,
    gate: GateSettings,
    rng: np.random.Generator,
    checkpoint: Checkpoint,
) -> BasinsRun:
    """Monte Carlo over relaxed structures (paper, section 2.3: 100 steps of basin hopping with the ensemble).

    A step moves one mobile ion to an empty site, or every mobile ion by `displacement_A` in a random direction, and
    relaxes the structure. It is accepted with probability min(1, exp(−ΔE/k_BT)). A structure that does not relax, has
    a spread above the gate's high threshold or a close contact is refused: the walk keeps its position, and the
    structure never becomes a start. Each step starts from the lowest oxidation states of its structure.

    The walk is written to `checkpoint` after every step; on a CPU a walk that was stopped and continued, or extended,
    gives the same numbers as an uninterrupted one. A relaxation interrupted by SIGTERM is repeated.

    Args:
        atoms: the start, from `redoxmd.structures.build.build_structure`.
        calculator: gives energy, forces and `force_spread` (n,) in its results.
        full_cell: the source cell, repeated, with the sites of the ions.

    Raises:
        DataError: every structure was refused; the message lists the reasons and names the keys.
        Interrupted: SIGTERM; the state is written.
    """
    walk = _Walk(atoms, calculator, full_cell, settings, gate, rng, checkpoint)
    run_resumable(walk.run, walk.save, save_every_s=0)
    return BasinsRun(walk.lowest(), pd.DataFrame(walk.rows, columns=list(COLUMNS)))


@dataclass
class _Walk:
    """State of a walk: current structure, lowest structure, and the rows of all steps; arguments of `hop_basins`."""

    atoms: Atoms
    calculator: Calculator
    full_cell: Atoms
    settings: Basins
    gate: GateSettings
    rng: np.random.Generator
    checkpoint: Checkpoint

    def __post_init__(self) -> None:
        # A state that the start has would hold the electrons in every step.
        self.atoms = self.atoms.copy()
        self.atoms.arrays.pop("oxidation", None)
        self.occupation = Occupation(self.atoms, self.full_cell)
        self.rows: list[tuple[Any, ...]] = []
        self.current_A, self.current_eV = self.atoms.positions.copy(), float("inf")
        self.lowest_A, self.lowest_eV, self.lowest_step = self.atoms.positions.copy(), float("inf"), -1
        self.lowest_oxidation: np.ndarray | None = None
        record = self.checkpoint.load("state")
        if record is not None and len(json.loads(str(record["rows"]))) <= self.settings.steps + 1:
            self._restore(record)
        self._first = len(self.rows)

    def run(self, stop: StopRequest) -> Iterator[str]:
        """Do the remaining steps; yields the progress after each."""
        total = self.settings.steps + 1
        name = str(self.atoms.info.get("structure", self.atoms.get_chemical_formula()))
        progress = Progress(f"basins {name}", total, done=len(self.rows))
        yield f"after {len(self.rows)} of {total} structures"
        while len(self.rows) < total:
            self._advance(stop)
            progress.update(len(self.rows), f"lowest {self.lowest_eV:.3f} eV")
            yield f"after {len(self.rows)} of {total} structures"

    def _advance(self, stop: StopRequest) -> None:
        """Propose, relax and accept or reject one structure."""
        move, trial = self._propose()

        def interrupt() -> None:
            stop.check(f"in the relaxation of structure {len(self.rows)}", len(self.rows) > self._first)

        if isinstance(self.calculator, EnsembleCalculator):
            # Otherwise a step would depend on the electrons of the step before, which the checkpoint does not have.
            self.calculator.forget_states()
        trial.calc = self.calculator
        relaxed = relax(trial, self.settings, interrupt)
        outcome = judge(trial, self.gate, relaxed)
        accepted = self._accepts(outcome)
        ordering = self.occupation.ordering(trial.positions)
        energy_eV, spread_eV_A, refused = outcome.energy_eV, outcome.spread_eV_A, outcome.refused or ""
        self.rows.append((len(self.rows), move, energy_eV, spread_eV_A, accepted, refused, ordering))
        if accepted:
            self.current_A, self.current_eV = trial.positions.copy(), energy_eV
        if not refused and energy_eV < self.lowest_eV:
            self.lowest_A, self.lowest_eV = trial.positions.copy(), energy_eV
            self.lowest_step = len(self.rows) - 1
            self.lowest_oxidation = trial.calc.results.get("oxidation")

    def _propose(self) -> tuple[str, Atoms]:
        trial = self.atoms.copy()
        trial.positions = self.current_A
        if not self.rows:
            return "start", trial
        ions, empty = self.occupation.ions, self.occupation.empty(self.current_A)
        if self.rng.random() < self.settings.hop_fraction and len(empty) and len(ions):
            self.occupation.move(trial.positions, int(self.rng.choice(ions)), int(self.rng.choice(empty)))
            return "hop", trial
        directions = self.rng.standard_normal((len(ions), 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        trial.positions[ions] += self.settings.displacement_A * directions
        return "displace", trial

    def _accepts(self, outcome: GatedStructure) -> bool:
        # Drawn also for refused structures, so that the random stream does not depend on refusals.
        random = self.rng.random()
        if outcome.refused:
            return False
        rise = (outcome.energy_eV - self.current_eV) / (BOLTZMANN_EV_PER_K * self.settings.temperature_K)
        return bool(rise <= 0 or random < np.exp(-rise))

    def lowest(self) -> Atoms:
        """The structure of lowest energy."""
        if self.lowest_step < 0:
            reasons = pd.Series([row[5] for row in self.rows]).value_counts()
            raise DataError(
                f"basins: all {len(self.rows)} structures were refused ("
                + ", ".join(f"{reason} {count}" for reason, count in reasons.items())
                + "); raise basins.max_relax_steps or explore.high_eV_A, or set basins.enabled: false"
            )
        lowest = self.atoms.copy()
        lowest.positions = self.lowest_A
        if self.lowest_oxidation is not None:
            lowest.set_array("oxidation", self.lowest_oxidation)
        lowest.info |= {"basins_step": self.lowest_step, "basins_energy_eV": self.lowest_eV}
        return self.occupation.with_current_sites(lowest)

    def save(self) -> None:
        """Write the walk and its random stream."""
        state = {
            "rows": json.dumps(self.rows),
            "here_A": self.current_A,
            "here_eV": self.current_eV,
            "lowest_A": self.lowest_A,
            "lowest_eV": self.lowest_eV,
            "lowest_step": self.lowest_step,
            "rng": rng_text(self.rng),
        }
        if self.lowest_oxidation is not None:
            state["lowest_oxidation"] = self.lowest_oxidation
        self.checkpoint.save("state", state)

    def _restore(self, record: dict[str, Any]) -> None:
        self.rows = [tuple(row) for row in json.loads(str(record["rows"]))]
        self.current_A, self.current_eV = record["here_A"], float(record["here_eV"])
        self.lowest_A, self.lowest_eV = record["lowest_A"], float(record["lowest_eV"])
        self.lowest_step = int(record["lowest_step"])
        self.lowest_oxidation = record.get("lowest_oxidation")
        self.rng = rng_from_text(str(record["rng"]))
