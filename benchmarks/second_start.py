"""Energies and forces of labels against those of electrons that are started again in the same oxidation states.

python -m benchmarks.second_start CONFIG --configurations NAME ... --step K --output rows.csv [--order labels | bonds]

For each configuration of `train.datasets`, the electrons are started from the moments of the states of frame K, by the
engine of the config and without +U in the first SCF where it can, and followed to frame K + 1, as in a reference MD. A
lower energy and other forces mean that the labels are in a higher orbital order of the same states. With --order bonds
they are started in the states by bond valences (`redoxmd.electrons.search.guess_order`) instead of those of the label:
a lower energy then means that the label is in a higher charge order. Each frame takes the time of a DFT label.
Configurations that the output has already are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from benchmarks.folds import RowsOnDisk, labels_of, required_levels
from redoxmd.config.load import load_config
from redoxmd.config.sections import Config
from redoxmd.electrons.search import guess_order
from redoxmd.electrons.states import assign_oxidation
from redoxmd.engines import Result, get_engine
from redoxmd.errors import DataError
from redoxmd.files.frames import bare


class Restart:
    """Electrons of an engine that start again in the states of labels and follow to other frames of the same run.

    Args:
        config: with `electrons.levels` and the datasets of the labels.
    """

    def __init__(self, config: Config) -> None:
        self._levels = required_levels(config)
        self._frames = {(str(frame.info["config_id"]), int(frame.info["step"])): frame for frame in labels_of(config)}
        self.engine = get_engine(config.engine, (1, 1, 1), None)
        self.engine.forget(without_hubbard=self.engine.can_start_without_hubbard)

    def label(self, name: str, step: int) -> Atoms:
        """The label of a configuration at a step.

        Raises:
            DataError: there is none.
        """
        if (name, step) not in self._frames:
            raise DataError(f"train.datasets: no frame {name} step {step}; choose another --step or configuration")
        return self._frames[name, step]

    def states(self, name: str, step: int) -> np.ndarray:
        """(n,) oxidation numbers of a label by its moments, 0 for other than redox atoms."""
        frame = self.label(name, step)
        return assign_oxidation(list(frame.symbols), frame.get_magnetic_moments(), self._levels).oxidation

    def redox_atoms(self, name: str, step: int) -> np.ndarray:
        """(n,) whether an atom of a label has oxidation states."""
        return self._levels.redox_atoms(list(self.label(name, step).symbols))

    def states_by_bonds(self, name: str, step: int) -> np.ndarray:
        """(n,) oxidation numbers for the geometry of a label by bond valences, 0 for other than redox atoms."""
        return guess_order(self.label(name, step), self._levels)

    def calculate(self, name: str, step: int, states: np.ndarray | None = None) -> Result:
        """Result of the engine for the geometry of a label; electrons start in these states or in its own."""
        frame = self.label(name, step)
        asked = self.states(name, step) if states is None else states
        atoms = bare(frame)
        atoms.set_initial_magnetic_moments(np.where(asked != 0, frame.get_magnetic_moments(), 0.0))
        self._levels.start_in(atoms, asked)
        return self.engine.calculate(atoms)

    def has_states(self, name: str, step: int, result: Result, states: np.ndarray) -> bool:
        """Whether a result for the geometry of a label has these states."""
        assert result.moments_muB is not None
        found = assign_oxidation(list(self.label(name, step).symbols), result.moments_muB, self._levels).oxidation
        return bool((found == states).all())


def arguments_of_labels(description: str | None) -> argparse.ArgumentParser:
    """A parser of the config, the configurations and step of labels, and the output."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--configurations", nargs="+", required=True)
    parser.add_argument("--step", type=int, default=9)
    parser.add_argument("--output", type=Path, required=True)
    return parser


def main() -> None:
    """Write the rows, and print them."""
    parser = arguments_of_labels(__doc__)
    parser.add_argument("--order", choices=["labels", "bonds"], default="labels")
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    table = RowsOnDisk(chosen.output, ["config_id"])
    for name in chosen.configurations:
        if table.has(name):
            continue
        restart, rows = Restart(config), []
        for step in (chosen.step, chosen.step + 1):
            frame, states = restart.label(name, step), restart.states(name, step)
            started = restart.states_by_bonds(name, step) if chosen.order == "bonds" else states
            result = restart.calculate(name, step, started)
            difference = np.abs(result.forces_eV_A - frame.get_forces())
            rows.append(
                {
                    "step": step,
                    "energy_difference_meV": 1000 * (result.energy_eV - frame.get_potential_energy()),
                    "force_mae_eV_A": difference.mean(),
                    "redox_force_mae_eV_A": difference[restart.redox_atoms(name, step)].mean(),
                    "same_states": restart.has_states(name, step, result, states),
                    "states_of_start": restart.has_states(name, step, result, started),
                    "scf_steps": result.scf_steps,
                }
            )
        table.add(pd.DataFrame(rows), name)
    print(table.table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
