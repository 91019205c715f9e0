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

from redoxmd.config.load import load_config
from redoxmd.electrons.states import OxidationLevels, assign_oxidation
from redoxmd.engines import get_engine, settings_hash
from redoxmd.errors import ConfigError, DataError
from redoxmd.files.records import atomic_path
from redoxmd.train.dataset import load_datasets

COLUMNS = ["config_id", "step", "energy_difference_meV", "force_mae_eV_A", "redox_force_mae_eV_A"]
COLUMNS += ["same_states", "scf_steps"]


def started(frame: Atoms, levels: OxidationLevels) -> Atoms:
    """The structure of a label with the initial moments of its oxidation states."""
    atoms, symbols = frame.copy(), list(frame.symbols)
    atoms.calc = None
    moments = levels.initial_moments(symbols, frame.arrays["oxidation"], frame.get_magnetic_moments())
    moments[frame.arrays["oxidation"] == 0] = 0.0
    atoms.set_initial_magnetic_moments(moments)
    return atoms


def main() -> None:
    """Write the rows, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--configurations", nargs="+", required=True)
    parser.add_argument("--step", type=int, default=9)
    parser.add_argument("--output", type=Path, required=True)
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    levels = OxidationLevels.of(config.electrons)
    if levels is None:
        raise ConfigError("electrons.levels is missing; the states of the labels are not known")
    frames = {
        (str(frame.info["config_id"]), int(frame.info["step"])): frame
        for frame in load_datasets(config.train.datasets, settings_hash(config.engine))
    }
    table = pd.read_csv(chosen.output) if chosen.output.exists() else pd.DataFrame(columns=COLUMNS)
    for name in chosen.configurations:
        if (table["config_id"] == name).any():
            continue
        engine = get_engine(config.engine, (1, 1, 1), None)
        engine.forget(without_hubbard=engine.can_start_without_hubbard)
        rows = []
        for step in (chosen.step, chosen.step + 1):
            if (name, step) not in frames:
                raise DataError(f"train.datasets: no frame {name} step {step}; choose another --step or configuration")
            frame = frames[name, step]
            states = assign_oxidation(list(frame.symbols), frame.get_magnetic_moments(), levels).oxidation
            frame.set_array("oxidation", states)
            result = engine.calculate(started(frame, levels))
            assert result.moments_muB is not None
            states_found = assign_oxidation(list(frame.symbols), result.moments_muB, levels).oxidation
            energy_meV = 1000 * (result.energy_eV - frame.get_potential_energy())
            difference = np.abs(result.forces_eV_A - frame.get_forces())
            redox = difference[levels.redox_atoms(list(frame.symbols))].mean()
            same_states = np.array_equal(states_found, frame.arrays["oxidation"])
            rows.append([name, step, energy_meV, difference.mean(), redox, same_states, result.scf_steps])
        new = pd.DataFrame(rows, columns=COLUMNS)
        table = pd.concat([table, new], ignore_index=True) if len(table) else new
        with atomic_path(chosen.output) as temporary:
            table.to_csv(temporary, index=False, float_format="%.4f")
    print(table.round(3).to_string(index=False))


if __name__ == "__main__":
    main()
