import numpy as np
import pytest
import torch

from redoxmd.config.sections import Member, Train
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.model.ensemble import Ensemble
from redoxmd.train.dataset import build_dataset
from redoxmd.train.samples import structure_losses
from redoxmd.train.trainer import Trainer, load_member, save_member, train_member
from tests.conftest import rock, spring_label

SETTINGS = Train(
    cutoff_A=3.5,
    radial_functions=6,
    core_repulsion=False,  # the springs of this dataset have no core
    max_steps=40,
    max_steps_active=20,
    validate_every=10,
    learning_rate=5e-3,
    ema_decay=0.9,
    validation_fraction=0.2,
    device="cpu",
)
SIZE = Member(features=12, layers=1)


def frames(count=20, config="a", first=0):
    """Frames of a configuration; another `first` gives other geometries."""
    return [spring_label(rock(first + step), config_id=config, step=step) for step in range(count)]


def configurations(names, count):
    """Frames of several configurations, no geometry twice."""
    return [frame for place, name in enumerate(names) for frame in frames(count, name, first=100 * place)]


def dataset(count=20, **changes):
    return build_dataset(frames(count), SETTINGS.model_copy(update=changes), 1, "h")


def weights(result):
    return torch.cat([p.flatten() for p in result.member.parameters()])


def trained(tmp_path, name="run", **changes):
    settings = SETTINGS.model_copy(update=changes)
    return train_member(dataset(), SIZE, settings, 0, 7, None, Checkpoint(tmp_path / name, name))


def test_loss_is_the_equation_of_the_paper():
    energy, target = torch.tensor([1.0, 5.0]), torch.tensor([3.0, 4.0])
    forces, wanted = torch.randn(5, 3), torch.randn(5, 3)
    system = torch.tensor([0, 0, 1, 1, 1])
    rho = 0.9
    by_hand = 0.0
    for s in (0, 1):
        here = system == s
        squared = ((forces[here] - wanted[here]) ** 2).sum() / here.sum()
        by_hand += (1 - rho) * (energy[s] - target[s]) ** 2 + rho * squared
    losses = structure_losses(energy, forces, target, wanted, system, rho)
    assert float(losses.mean()) == pytest.approx(float(by_hand / 2), rel=1e-6)


def test_training_learns(tmp_path):
    """A pair potential is learned: the error on frames never seen falls well below the size of the forces."""
    result = trained(tmp_path, max_steps=600, validate_every=100)
    new = [spring_label(rock(seed)) for seed in range(100, 110)]
    ensemble = Ensemble([result.member])
    errors = np.array([ensemble.predict(f).forces_eV_A - f.calc.results["forces"] for f in new])
    size = np.array([f.calc.results["forces"] for f in new])
    assert np.abs(errors).mean() < 0.15 * np.abs(size).mean()


def test_same_seed_same_weights(tmp_path):
    first, second = trained(tmp_path, "one"), trained(tmp_path, "two")
    assert torch.equal(weights(first), weights(second))
    other = train_member(dataset(), SIZE, SETTINGS, 0, 8, None, Checkpoint(tmp_path / "three", "three"))
    assert not torch.equal(weights(first), weights(other))


def test_interrupted_equals_uninterrupted(tmp_path):
    whole = trained(tmp_path, "whole")
    half = Trainer(dataset(), SIZE, SETTINGS, 0, 7, None, "half")
    half.run_interval()
    half.run_interval()
    checkpoint = Checkpoint(tmp_path / "half", "half")
    torch.save(half.state(), checkpoint.path("training.pt"))
    resumed = trained(tmp_path, "half")
    assert torch.equal(weights(whole), weights(resumed))
    assert resumed.history == whole.history


def test_checkpoint_of_other_inputs_is_not_used(tmp_path):
    Checkpoint(tmp_path / "c", "old").save("state", {"a": np.ones(1)})
    assert Checkpoint(tmp_path / "c", "old").load("state") is not None
    assert Checkpoint(tmp_path / "c", "new").load("state") is None


def test_warm_start_continues_and_takes_the_active_limits(tmp_path):
    first = trained(tmp_path)
    second = Trainer(dataset(), SIZE, SETTINGS, 1, 7, first.member, "next")
    assert torch.equal(torch.cat([p.flatten() for p in second.model.parameters()]), weights(first))
    assert (second.rho, second.max_steps) == (SETTINGS.rho_active, SETTINGS.max_steps_active)
    cold = Trainer(dataset(), SIZE, SETTINGS.model_copy(update={"warm_start": False}), 1, 7, first.member, "cold")
    assert not torch.equal(torch.cat([p.flatten() for p in cold.model.parameters()]), weights(first))


def test_early_stopping_and_decay(tmp_path):
    settings = {"patience": 2, "decay_patience": 1, "learning_rate": 1e-12, "max_steps": 1000, "ema_decay": 0.0}
    # Nothing moves at this rate, so nothing improves.
    result = trained(tmp_path, **settings)
    assert result.stopped in ("patience", "learning_rate")
    assert len(result.history) <= 4


def test_the_best_weights_are_kept(tmp_path):
    result = trained(tmp_path, max_steps=60, learning_rate=0.05, ema_decay=0.0)
    losses = {row["step"]: row["validation_loss"] for row in result.history}
    assert losses[result.best_step] == min(losses.values())


def test_member_file_round_trip(tmp_path):
    result = trained(tmp_path)
    save_member(tmp_path / "m.pt", result, {"generation": 0})
    member, record = load_member(tmp_path / "m.pt")
    assert record["about"]["generation"] == 0 and record["stopped"] == "max_steps"
    assert torch.equal(torch.cat([p.flatten() for p in member.parameters()]), weights(result))
