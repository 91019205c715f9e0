"""Forces of labels against those of the same electrons in a tighter SCF (GPAW).

python -m benchmarks.convergence CONFIG --configurations NAME ... --step K --output rows.csv [--density 2e-5]
    [--eigenstates 1e-8]

For each configuration of `train.datasets`, the electrons are started in the states of frame K and followed to frame
K + 1 with the criteria of the config, as in a reference MD. The SCF of frame K + 1 then continues to the criteria given
here, from the density that it has, so that the orbital order is the same. Configurations that the output has already
are not repeated.
"""

from __future__ import annotations

import time

import numpy as np
import pandas as pd

from benchmarks.folds import RowsOnDisk
from benchmarks.second_start import Restart, arguments_of_labels
from redoxmd.config.load import load_config
from redoxmd.engines.gpaw import GpawEngine

# More than any of these SCFs takes.
LONGEST_SCF = 400


def main() -> None:
    """Write the rows, and print them."""
    parser = arguments_of_labels(__doc__)
    parser.add_argument("--density", type=float, default=2e-5)
    parser.add_argument("--eigenstates", type=float, default=1e-8)
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    table = RowsOnDisk(chosen.output, ["config_id"])
    for name in chosen.configurations:
        if table.has(name):
            continue
        restart = Restart(config)
        restart.calculate(name, chosen.step)
        began_s = time.process_time()
        label = restart.calculate(name, chosen.step + 1)
        label_s = time.process_time() - began_s
        assert isinstance(restart.engine, GpawEngine) and restart.engine.calculator is not None
        calculator = restart.engine.calculator
        criteria = {"energy": 5e-6, "density": chosen.density, "eigenstates": chosen.eigenstates}
        # By this flag alone GPAW lets the largest number of steps change, with density and wave functions kept.
        calculator.set(_set_ok=True, convergence=criteria, maxiter=LONGEST_SCF)
        atoms = calculator.atoms
        energy_eV, forces_eV_A = calculator.get_potential_energy(atoms), calculator.get_forces(atoms)
        difference = np.abs(forces_eV_A - label.forces_eV_A)
        row = {
            "step": chosen.step + 1,
            "energy_difference_meV": 1000 * (energy_eV - label.energy_eV),
            "force_mae_eV_A": difference.mean(),
            "largest_force_difference_eV_A": difference.max(),
            "redox_force_mae_eV_A": difference[restart.redox_atoms(name, chosen.step)].mean(),
            "scf_steps": label.scf_steps,
            "cpu_s": label_s,
            "further_scf_steps": calculator.get_number_of_iterations(),
            "further_cpu_s": time.process_time() - began_s - label_s,
        }
        table.add(pd.DataFrame([row]), name)
    print(table.table.round(4).to_string(index=False))


if __name__ == "__main__":
    main()
