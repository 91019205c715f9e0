"""Energies and forces of labels against those of electrons that are started again in the same oxidation states.

python -m benchmarks.second_start CONFIG --configurations NAME ... --step K --output rows.csv

For each configuration of `train.datasets`, the electrons are started from the moments of the states of frame K, by the
engine of the config and without +U in the first SCF where it can, and followed to frame K + 1, as in a reference MD. A
lower energy and other forces mean that the labels are in a higher orbital order of the same states. Each frame takes
the time of a DFT label. Configurations that the output has already are not repeated.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from ase import Atoms

from benchmarks.folds import RowsOnDisk, required_levels
from redoxmd.config.load import load_config
from redoxmd.config.sections import Config
from redoxmd.electrons.states import assign_oxidation
from redoxmd.engines import Result, get_engine, settings_hash
from redoxmd.errors import DataError
from redoxmd.files.frames import bare
from redoxmd.train.dataset import load_datasets


class Restart:
    """Electrons of an engine that start again in the states of labels and follow to other frames of the same run.

    Args:
        config: with `electrons.levels` and the datasets of the labels.
    """

    def __init__(self, config: Config) -> None:
        self._levels = required_levels(config)
        self._frames = {
            (str(frame.info["config_id"]), int(frame.info["step"])): frame
            for frame in load_datasets(config.train.datasets, settings_hash(config.engine))
        }
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

    def calculate(self, name: str, step: int) -> Result:
        """Result of the engine for the geometry of a label; the first is started in the states of its label."""
        frame, states = self.label(name, step), self.states(name, step)
        atoms = bare(frame)
        atoms.set_initial_magnetic_moments(np.where(states != 0, frame.get_magnetic_moments(), 0.0))
        self._levels.start_in(atoms, states)
        return self.engine.calculate(atoms)

    def same_states(self, name: str, step: int, result: Result) -> bool:
        """Whether a result has the states of a label."""
        assert result.moments_muB is not None
        found = assign_oxidation(list(self.label(name, step).symbols), result.moments_muB, self._levels).oxidation
        return bool((found == self.states(name, step)).all())


def main() -> None:
    """Write the rows, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--configurations", nargs="+", required=True)
    parser.add_argument("--step", type=int, default=9)
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    table = RowsOnDisk(chosen.output, ["config_id"])
    for name in chosen.configurations:
        if table.has(name):
            continue
        restart, rows = Restart(config), []
        for step in (chosen.step, chosen.step + 1):
            frame, result = restart.label(name, step), restart.calculate(name, step)
            difference = np.abs(result.forces_eV_A - frame.get_forces())
            rows.append(
                {
                    "step": step,
                    "energy_difference_meV": 1000 * (result.energy_eV - frame.get_potential_energy()),
                    "force_mae_eV_A": difference.mean(),
                    "redox_force_mae_eV_A": difference[restart.redox_atoms(name, step)].mean(),
                    "same_states": restart.same_states(name, step, result),
                    "scf_steps": result.scf_steps,
                }
            )
        table.add(pd.DataFrame(rows), name)
    print(table.table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
