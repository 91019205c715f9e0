"""Training of a PaiNN by schnetpack, in an environment of its own, for a number of CPU-seconds.

    python schnetpack_training.py FOLDER

FOLDER has train.extxyz, validation.extxyz and judged.extxyz with energies and forces, and settings.json (`features`,
`layers`, `radial_functions`, `cutoff_A`, `batch_size`, `cpu_s`, `seed`). Optimiser, learning rate, its decay, averaging
and weights of the loss are those of schnetpack's own configuration for molecular dynamics data (md17): AdamW at 1e-3,
decay on plateau, EMA, 0.01 for energies and 0.99 for forces; the average has a warm-up, as ours. Energies are relative
to a fit by the numbers of atoms of each element. The weights of the lowest validation loss give predictions.npz:
`energy{i}` and `forces{i}` of the judged frames. Nothing of redoxmd is imported here.
"""

import copy
import json
import sys
import time
from pathlib import Path

import numpy as np
import schnetpack.transform
import torch
from ase import Atoms
from ase.io import read
from schnetpack import atomistic, model, nn, representation
from schnetpack.data.loader import _atoms_collate_fn as batch_of
from schnetpack.interfaces import AtomsConverter

LEARNING_RATE, DECAY_FACTOR, EMA_DECAY, ENERGY_WEIGHT, FORCE_WEIGHT = 1e-3, 0.8, 0.995, 0.01, 0.99
VALIDATE_EVERY, DECAY_PATIENCE = 50, 6


def counts(frames: list[Atoms], elements: list[int]) -> np.ndarray:
    """Number of atoms of each element, (frames, elements)."""
    return np.array([[np.count_nonzero(frame.numbers == z) for z in elements] for frame in frames], dtype=float)


def main() -> None:
    """Train and predict."""
    started = time.process_time()
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    settings = json.loads((folder / "settings.json").read_text())
    torch.manual_seed(settings["seed"])
    rng = np.random.default_rng(settings["seed"])
    sets = {name: read(folder / f"{name}.extxyz", ":") for name in ("train", "validation", "judged")}
    elements = sorted({int(z) for frame in sets["train"] for z in frame.numbers})
    energies_eV = np.array([frame.get_potential_energy() for frame in sets["train"]])
    per_element_eV = np.linalg.lstsq(counts(sets["train"], elements), energies_eV, rcond=None)[0]
    convert = AtomsConverter(
        schnetpack.transform.MatScipyNeighborList(cutoff=settings["cutoff_A"]), dtype=torch.float32
    )
    inputs = {}

    def prepare(name: str) -> None:
        frames = sets[name]
        offsets_eV = counts(frames, elements) @ per_element_eV
        inputs[name] = [{key: value for key, value in convert(frame).items() if key != "_idx_m"} for frame in frames]
        for item, frame, offset_eV in zip(inputs[name], frames, offsets_eV, strict=True):
            item["energy"] = torch.tensor([frame.get_potential_energy() - offset_eV], dtype=torch.float32)
            item["forces"] = torch.tensor(frame.get_forces(), dtype=torch.float32)
            item["offset"] = torch.tensor([offset_eV])

    prepare("train")
    prepare("validation")
    painn = representation.PaiNN(
        settings["features"],
        settings["layers"],
        nn.BesselRBF(settings["radial_functions"], settings["cutoff_A"]),
        cutoff_fn=nn.CosineCutoff(settings["cutoff_A"]),
    )
    network = model.NeuralNetworkPotential(
        painn,
        input_modules=[atomistic.PairwiseDistances()],
        output_modules=[
            atomistic.Atomwise(settings["features"], output_key="energy"),
            atomistic.Forces(energy_key="energy", force_key="forces"),
        ],
    )
    averaged = copy.deepcopy(network)

    def loss(member: torch.nn.Module, items: list[dict]) -> torch.Tensor:
        batch = batch_of(items)
        result = member({**batch})
        energy = torch.nn.functional.mse_loss(result["energy"].reshape(-1), batch["energy"].reshape(-1))
        return ENERGY_WEIGHT * energy + FORCE_WEIGHT * torch.nn.functional.mse_loss(result["forces"], batch["forces"])

    optimiser = torch.optim.AdamW(network.parameters(), lr=LEARNING_RATE)
    decay = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=DECAY_FACTOR, patience=DECAY_PATIENCE)
    best, best_state, step = np.inf, averaged.state_dict(), 0
    while time.process_time() - started < settings["cpu_s"]:
        chosen = rng.choice(len(inputs["train"]), min(settings["batch_size"], len(inputs["train"])), replace=False)
        network.train()
        optimiser.zero_grad()
        loss(network, [inputs["train"][i] for i in chosen]).backward()
        optimiser.step()
        step += 1
        with torch.no_grad():
            for mean, weight in zip(averaged.parameters(), network.parameters(), strict=True):
                mean.lerp_(weight, 1 - min(EMA_DECAY, (1 + step) / (10 + step)))
        if step % VALIDATE_EVERY == 0:
            averaged.eval()
            now = float(np.mean([loss(averaged, [item]).item() for item in inputs["validation"]]))
            decay.step(now)
            if now < best:
                best, best_state = now, copy.deepcopy(averaged.state_dict())
    cpu_s = time.process_time() - started
    averaged.load_state_dict(best_state)
    averaged.eval()
    prepare("judged")
    predictions = {}
    for i, item in enumerate(inputs["judged"]):
        result = averaged({**batch_of([item])})
        predictions[f"energy{i}"] = result["energy"].detach().numpy().reshape(-1)[0] + item["offset"].item()
        predictions[f"forces{i}"] = result["forces"].detach().numpy()
    np.savez(folder / "predictions.npz", **predictions)
    print(json.dumps({"steps": step, "cpu_s": cpu_s, "validation": best}))


if __name__ == "__main__":
    main()
