import functools
import os
import signal
import threading
import time

import numpy as np
import pytest
import torch

from redoxmd.charges.bader import partition
from redoxmd.config.sections import DensitySettings as Settings
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.evaluation import density_errors
from redoxmd.density.grid import accept_density, nmae_percent
from redoxmd.density.model import EncodedAtoms
from redoxmd.density.predict import predict_density
from redoxmd.density.store import write_densities
from redoxmd.density.training import DensityTrainer, train_density
from redoxmd.errors import DataError, Interrupted
from redoxmd.jobs.checkpoint import Checkpoint
from tests.conftest import rock

VANADIUM = 23
WIDTH_A = {8: 0.32, 11: 0.30, 15: 0.26, 23: 0.34}
ELECTRONS = {8: 7.4, 11: 6.0, 15: 3.0, 23: 9.0}
VALENCE = {8: 6.0, 11: 7.0, 15: 5.0, 23: 13.0}
SHAPE = (30, 32, 30)
BADER = 0.02  # e, asked of the learned density
SETTINGS = Settings(
    features=16,
    layers=1,
    cutoff_A=3.5,
    radial_functions=6,
    probe_functions=8,
    points_per_structure=200,
    points_per_density=2500,
    learning_rate=1.5e-2,
    max_steps=450,
    validate_every=150,
    ema_decay=0.95,
    device="cpu",
)


def populations(atoms):
    """Electrons of every atom of a neutral cell: V next to Na takes half an electron of it."""
    held = np.array([ELECTRONS[z] for z in atoms.numbers])
    v, sodium, oxygen = (atoms.numbers == z for z in (VANADIUM, 11, 8))
    held[oxygen] += (sum(VALENCE[z] for z in atoms.numbers) - held.sum()) / oxygen.sum()
    taken = 0.5 * (atoms.get_all_distances(mic=True)[v][:, sodium] < 2.7).any()
    held[v] += taken
    held[sodium] -= taken
    return held


def shuffled_rock(seed):
    """A rattled crystal, its species at random places; Na next to V for odd seeds, far away for even ones."""
    rng = np.random.default_rng(seed)
    atoms = rock(seed, rattle_A=0.06)
    numbers = rng.permutation(atoms.numbers)
    v, sodium = int(np.flatnonzero(numbers == VANADIUM)[0]), int(np.flatnonzero(numbers == 11)[0])
    # Sites are corners of a cube: one bit of the index away are neighbours, three the opposite corner.
    wanted = v ^ int(rng.choice([1, 2, 4])) if seed % 2 else v ^ 7
    numbers[[sodium, wanted]] = numbers[[wanted, sodium]]
    atoms.numbers = numbers
    return atoms


@functools.cache
def gaussians(seed):
    """Well separated atomic Gaussians of known populations; V alone has spin, a fifth of its electrons."""
    atoms = shuffled_rock(seed)
    held, cell = populations(atoms), np.asarray(atoms.cell)
    points = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), axis=-1).reshape(-1, 3) / SHAPE
    grids = np.zeros((2, len(points)))
    for position, z, electrons in zip(atoms.get_scaled_positions(), atoms.numbers, held, strict=True):
        width = WIDTH_A[int(z)]
        # One image is enough: half a cell is more than five widths away.
        vectors = (points - position - np.round(points - position)) @ cell
        shape = np.exp(-(vectors**2).sum(axis=1) / (2 * width**2)) / (2 * np.pi * width**2) ** 1.5
        grids += np.array([electrons, 0.2 * electrons * (z == VANADIUM)])[:, None] * shape
    valence = np.array([VALENCE[int(z)] for z in atoms.numbers])
    total, spin = grids.reshape(2, *SHAPE)
    return atoms, accept_density(total, spin, cell, atoms.positions, atoms.numbers, valence, held.sum(), "gaussians")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("densities") / "store.h5"
    write_densities(path, {f"a/step{seed:05d}": gaussians(seed)[1] for seed in range(34)})
    return path


def densities(store, steps, name="train"):
    return DensitySet(tuple(Entry(str(store), f"a/step{step:05d}", name) for step in steps))


def trained(store, folder, settings=SETTINGS, seed=1, count=28):
    training, validation = densities(store, range(count)), densities(store, [28, 29], "validation")
    return train_density(training, validation, VANADIUM, settings, seed, Checkpoint(folder, [seed]))


@pytest.fixture(scope="module")
def result(store, tmp_path_factory):
    return trained(store, tmp_path_factory.mktemp("state"))


@pytest.mark.parametrize("seed", [30, 31, 32, 33])
def test_charges_of_structures_never_seen(result, seed):
    atoms, reference = gaussians(seed)
    predicted = partition(predict_density(result.model, atoms, SHAPE))
    exact = partition(reference)
    np.testing.assert_allclose(exact.population_e, populations(atoms), atol=BADER)
    np.testing.assert_allclose(predicted.population_e, populations(atoms), atol=BADER)
    moments = np.where(atoms.numbers == VANADIUM, 0.2 * populations(atoms), 0.0)
    np.testing.assert_allclose(predicted.moment_muB, moments, atol=BADER)


def test_the_network_does_better_than_superposed_atoms(result, store):
    errors = density_errors(result.model, densities(store, [30, 31, 32, 33], "test"), 0)
    assert (errors["nmae_spin_percent"] < 0.6 * errors["superposition_spin_percent"]).all()
    assert (errors["nmae_total_percent"] < 0.6 * errors["superposition_total_percent"]).all()
    assert errors["nmae_total_percent"].max() < 1.0


def test_history_and_validation(result):
    steps = [row["step"] for row in result.history]
    assert steps == [150, 300, 450]
    assert result.best_step in steps
    assert result.history[-1]["validation_nmae_total"] < result.history[0]["validation_nmae_total"]


def short(**changes):
    return SETTINGS.model_copy(update={"max_steps": 20, "validate_every": 5, "points_per_structure": 100, **changes})


def briefly_trained(store, folder, seed=1, **changes):
    """Enough to tell whether two trainings are the same one."""
    return trained(store, folder, short(**changes), seed, count=4)


@pytest.fixture(scope="module")
def brief(store, tmp_path_factory):
    return briefly_trained(store, tmp_path_factory.mktemp("brief"))


def weights(result):
    return torch.cat([p.flatten() for p in result.model.network.parameters()])


def test_the_same_seed_gives_the_same_model(store, brief, tmp_path):
    again = briefly_trained(store, tmp_path / "again")
    assert torch.equal(weights(brief), weights(again))
    other = briefly_trained(store, tmp_path / "other", seed=2)
    assert not torch.equal(weights(brief), weights(other))


def test_stopped_and_continued_equals_uninterrupted(store, brief, tmp_path):
    checkpoint = tmp_path / "parts"

    def interrupt():
        while not (checkpoint / "density.pt").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(Interrupted, match="start again"):
        briefly_trained(store, checkpoint)
    thread.join()
    continued = briefly_trained(store, checkpoint)
    assert torch.equal(weights(brief), weights(continued))
    assert [row["step"] for row in continued.history] == [5, 10, 15, 20]


def test_the_plain_target_is_the_density_itself(store, tmp_path):
    plain = briefly_trained(store, tmp_path, target="plain")
    assert plain.model.plain
    atoms, _ = gaussians(3)
    with torch.no_grad():
        for parameter in plain.model.network.parameters():
            parameter.zero_()
    assert not EncodedAtoms(plain.model, atoms).density_at(atoms.positions + 0.3).any()


def test_points_favour_the_redox_atoms_when_asked(store):
    training = densities(store, range(3))
    counts = {}
    for fraction in (0.0, 0.8):
        trainer = DensityTrainer(training, training, VANADIUM, short(redox_fraction=fraction), 1)
        pool = trainer.training[0]
        chosen = pool.draw(1000, fraction, np.random.default_rng(0))
        atoms, _ = gaussians(0)
        pairs = pool.pairs(torch.from_numpy(chosen), SETTINGS.redox_radius_A)
        near = pairs.probe[torch.from_numpy(atoms.numbers)[pairs.atom] == VANADIUM]
        counts[fraction] = len(set(near.tolist()))
    assert counts[0.8] > 800
    assert counts[0.0] < 0.5 * counts[0.8]


def test_nothing_to_train_on_is_said():
    with pytest.raises(DataError, match="no density to train on"):
        DensityTrainer(DensitySet(()), DensitySet(()), VANADIUM, SETTINGS, 1)


def test_nmae():
    reference = np.array([[1.0, 0.0], [3.0, 0.0]])
    assert nmae_percent(reference + np.array([[0.1, 0], [-0.1, 0]]), reference)[0] == pytest.approx(5.0)
    assert np.isnan(nmae_percent(reference, reference)[1])
