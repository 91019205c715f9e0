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

from benchmarks.folds import RowsOnDisk, required_levels
from redoxmd.config.load import load_config
from redoxmd.electrons.states import assign_oxidation
from redoxmd.engines import get_engine, settings_hash
from redoxmd.errors import DataError
from redoxmd.files.frames import bare
from redoxmd.train.dataset import load_datasets


def main() -> None:
    """Write the rows, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--configurations", nargs="+", required=True)
    parser.add_argument("--step", type=int, default=9)
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    levels = required_levels(config)
    frames = {
        (str(frame.info["config_id"]), int(frame.info["step"])): frame
        for frame in load_datasets(config.train.datasets, settings_hash(config.engine))
    }
    table = RowsOnDisk(chosen.output, ["config_id"])
    for name in chosen.configurations:
        if table.has(name):
            continue
        engine = get_engine(config.engine, (1, 1, 1), None)
        engine.forget(without_hubbard=engine.can_start_without_hubbard)
        rows = []
        for step in (chosen.step, chosen.step + 1):
            if (name, step) not in frames:
                raise DataError(f"train.datasets: no frame {name} step {step}; choose another --step or configuration")
            frame = frames[name, step]
            symbols, moments_muB, atoms = list(frame.symbols), frame.get_magnetic_moments(), bare(frame)
            states = assign_oxidation(symbols, moments_muB, levels).oxidation
            atoms.set_initial_magnetic_moments(np.where(states != 0, moments_muB, 0.0))
            levels.start_in(atoms, states)
            result = engine.calculate(atoms)
            assert result.moments_muB is not None
            difference = np.abs(result.forces_eV_A - frame.get_forces())
            rows.append(
                {
                    "step": step,
                    "energy_difference_meV": 1000 * (result.energy_eV - frame.get_potential_energy()),
                    "force_mae_eV_A": difference.mean(),
                    "redox_force_mae_eV_A": difference[levels.redox_atoms(symbols)].mean(),
                    "same_states": (assign_oxidation(symbols, result.moments_muB, levels).oxidation == states).all(),
                    "scf_steps": result.scf_steps,
                }
            )
        table.add(pd.DataFrame(rows), name)
    print(table.table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
