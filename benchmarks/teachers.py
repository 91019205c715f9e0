"""Errors of potentials, as they are, on the labels of a config: how far a teacher of `pretrain` is from the reference.

python -m benchmarks.teachers CONFIG --potential MODULE.CLASS [--keywords KEY=VALUE ...]

The potential is an ASE calculator or an ensemble.pt, as for `pretrain.potential`. One frame of each configuration of
`train.datasets` is taken, its middle one. Energies are compared after a fit of one constant per element.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.folds import labels_of, required_levels
from redoxmd.aimd.warm_up import potential_calculator
from redoxmd.config.load import load_config
from redoxmd.config.sections import Pretrain
from redoxmd.files.frames import bare


def main() -> None:
    """Print the errors."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--potential", required=True)
    parser.add_argument("--keywords", nargs="*", default=[], metavar="KEY=VALUE")
    chosen = parser.parse_args()
    config = load_config(chosen.config)
    levels = required_levels(config)
    given = {"potential": chosen.potential, "keywords": dict(item.split("=", 1) for item in chosen.keywords)}
    calculator = potential_calculator(Pretrain.model_validate(config.pretrain.model_dump() | given), config.electrons)
    runs: dict[str, list] = {}
    for frame in labels_of(config):
        runs.setdefault(str(frame.info["config_id"]), []).append(frame)
    frames = [run[len(run) // 2] for run in runs.values()]
    errors, redox, differences_eV, started_s = [], [], [], time.process_time()
    for frame in frames:
        atoms = bare(frame)
        atoms.calc = calculator
        error = np.abs(atoms.get_forces() - frame.get_forces())
        errors.append(error.mean())
        redox.append(error[levels.redox_atoms(list(frame.symbols))].mean())
        differences_eV.append(frame.get_potential_energy() - atoms.get_potential_energy())
    seconds = (time.process_time() - started_s) / len(frames)
    elements = sorted({symbol for frame in frames for symbol in frame.symbols})
    counts = np.array([[frame.symbols.count(symbol) for symbol in elements] for frame in frames], dtype=float)
    # Elements of constant number share one constant, which the fit divides between them.
    fitted_eV = counts @ np.linalg.lstsq(counts, differences_eV, rcond=None)[0]
    energy_meV = 1000 * np.mean(np.abs(differences_eV - fitted_eV) / counts.sum(axis=1))
    print(
        f"{chosen.potential}, {len(frames)} configurations: forces {np.mean(errors):.3f} eV/Å, on redox atoms "
        f"{np.mean(redox):.3f} eV/Å, energies {energy_meV:.1f} meV/atom; {seconds:.2f} CPU-s a frame"
    )


if __name__ == "__main__":
    main()
