"""MD steps by schnetpack, in an environment of its own: reads a crystal, then makes one step for every line it gets.

    python schnetpack_worker.py crystal.npz

Answers with the wall and CPU seconds of each step: neighbour list, energies and forces of the four models of Table 1,
the means and the spread. Nothing of redoxmd is imported here.
"""

import json
import sys
import time

import numpy as np
import schnetpack
import schnetpack.transform
import torch
from ase import Atoms
from schnetpack import atomistic, model, nn, representation
from schnetpack.interfaces import AtomsConverter

CUTOFF_A, RADIAL_FUNCTIONS = 5.0, 20


def network(features: int, layers: int) -> torch.nn.Module:
    """Energy and forces by schnetpack's own PaiNN."""
    painn = representation.PaiNN(
        features, layers, nn.BesselRBF(RADIAL_FUNCTIONS, CUTOFF_A), cutoff_fn=nn.CosineCutoff(CUTOFF_A)
    )
    return model.NeuralNetworkPotential(
        painn,
        input_modules=[atomistic.PairwiseDistances()],
        output_modules=[
            atomistic.Atomwise(features, output_key="energy"),
            atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    ).eval()


def main() -> None:
    """Serve."""
    torch.set_num_threads(1)
    crystal = np.load(sys.argv[1])
    atoms = Atoms(crystal["numbers"], crystal["positions_A"], cell=crystal["cell_A"], pbc=True)
    convert = AtomsConverter(schnetpack.transform.MatScipyNeighborList(cutoff=CUTOFF_A))
    networks = [network(int(features), int(layers)) for features, layers in crystal["members"]]
    print(json.dumps({"schnetpack": schnetpack.__version__, "torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        inputs = convert(atoms)
        forces = np.array([member({**inputs})["forces"].detach().numpy() for member in networks])
        np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=(0, 2)) / (len(networks) - 1)).max()
        print(json.dumps([time.perf_counter() - wall, time.process_time() - cpu]), flush=True)


if __name__ == "__main__":
    main()
