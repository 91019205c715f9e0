"""Every path of a user with a GPU against the CPU: on a GPU, or on the pretended one (`tests.pretend_gpu`).

Tests marked `slow` take long on the pretended GPU alone.
"""

import json
from functools import partial

import numpy as np
import pytest
import torch

from benchmarks import gpu_check
from redoxmd.charges.tables import trajectory_charges
from redoxmd.config.sections import (
    Basins,
    DensitySettings,
    Explore,
    Member,
    Moments,
    Neb,
    Production,
    Structures,
    Train,
)
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.model import load_density_model, save_density_model
from redoxmd.density.predict import Region, predict_density
from redoxmd.density.sampling import PointPool
from redoxmd.density.store import write_densities
from redoxmd.density.training import DensityTrainer
from redoxmd.electrons.moments import train_moments
from redoxmd.explore import explore
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.trajectory import Trajectory, read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.pairs import PairRows, search
from redoxmd.md.ensemble import BatchMD, ensemble_md
from redoxmd.md.evaluators import HostEvaluator, force_evaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble, load_ensemble, save_ensemble
from redoxmd.model.files import load_record, save_record
from redoxmd.production import TrajectorySpec, run_batch
from redoxmd.train.dataset import Dataset
from redoxmd.train.trainer import Trainer, load_member, save_member
from tests.basins.test_basins import walk
from tests.charges.test_tables import SETTINGS as CHARGES
from tests.conftest import rock, spring_label
from tests.density.test_network import random_model
from tests.density.test_training import VANADIUM, gaussians
from tests.electrons.test_moments import LEVELS, labelled
from tests.md.batched.test_pairs import crowd, evaluator_of, padded, rows_of
from tests.md.batched.test_step import SYSTEMS, batch_of, steps_of
from tests.md.fused.host import gpu_kernels
from tests.md.test_electrons import OPEN
from tests.md.test_electrons import settings as electron_settings
from tests.md.test_shortlist import frame_in_a_state, saved  # noqa: F401
from tests.model.test_ensemble import members
from tests.neb.test_neb import band

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
SINGLE = 1e-5  # relative: single precision, other order of summation


@pytest.mark.parametrize("repeat", [1, 3])
def test_gpu_equals_cpu(repeat):
    atoms = rock(1).repeat((repeat, repeat, 2))
    on_cpu = Ensemble(members(dtype=torch.float64)).predict(atoms)
    on_gpu = Ensemble(members(dtype=torch.float32)).to("cuda").predict(atoms)
    size = np.abs(on_cpu.member_forces_eV_A).max()
    np.testing.assert_allclose(on_gpu.member_forces_eV_A, on_cpu.member_forces_eV_A, atol=SINGLE * size)
    np.testing.assert_allclose(on_gpu.energies_eV, on_cpu.energies_eV, rtol=SINGLE, atol=1e-4)


@pytest.mark.slow
def test_md_on_the_gpu_follows_the_cpu():
    atoms = rock(2, rattle_A=0.02).repeat((2, 2, 2))
    paths = []
    for device in ("cpu", "cuda"):
        ensemble = Ensemble(members(dtype=torch.float32)).to(device)
        langevin = Langevin(atoms.get_masses(), 0.5, 300.0, 0.01)
        md = ensemble_md(HostEvaluator(ensemble), atoms, langevin, GateSettings(1e3, 2e3, "max", 0.1, 100.0))
        md.start(np.random.default_rng(0))
        for _ in range(20):
            md.step()
        paths.append(md.state.positions_A)
    np.testing.assert_allclose(paths[1], paths[0], atol=1e-5)


@pytest.mark.slow
def test_densities_on_the_gpu_equal_those_on_the_cpu():
    atoms = rock(3).repeat((2, 1, 1))
    results = []
    for device in ("cpu", "cuda"):
        model = random_model(2)
        model.network.float().to(device)
        results.append(predict_density(model, atoms, (24, 22, 20)))
    for name in ("total_e_A3", "spin_e_A3"):
        on_cpu, on_gpu = (getattr(result, name) for result in results)
        np.testing.assert_allclose(on_gpu, on_cpu, atol=SINGLE * np.abs(on_cpu).max())


def test_pairs_of_the_gpu_are_those_of_the_cpu():
    systems = crowd()
    positions, cells, periodic, present, _ = (part.cuda() for part in padded(systems))
    rows = PairRows(*present.shape, far_A=9.0, device=positions.device)
    rows.put(torch.arange(len(systems), device="cuda"), search(positions, cells, periodic, present, 4.5), cells)
    expected = rows_of(systems)
    assert torch.equal(rows.sender.cpu(), expected.sender)
    assert torch.equal(rows.reverse.cpu(), expected.reverse)
    torch.testing.assert_close(rows.offset_A.cpu(), expected.offset_A, atol=1e-12, rtol=0)


def test_a_batch_on_the_gpu_has_the_forces_of_the_cpu():
    systems = crowd()
    positions, _, _, present, species = padded(systems)
    species = species.view(present.shape)
    exact = evaluator_of(Ensemble(members(dtype=torch.float64)), systems)(positions, species)
    ensemble = Ensemble(members(dtype=torch.float32)).to("cuda")
    found = evaluator_of(ensemble, systems)(positions.cuda(), species.cuda())
    size = float(exact.member_forces_eV_A.abs().max())
    torch.testing.assert_close(found.member_forces_eV_A.cpu(), exact.member_forces_eV_A, atol=SINGLE * size, rtol=0)
    torch.testing.assert_close(found.energy_eV.cpu(), exact.energy_eV, rtol=SINGLE, atol=1e-4)


@pytest.mark.slow
def test_a_batch_on_the_gpu_follows_the_cpu_and_events_come_at_the_same_steps():
    on_cpu, states = steps_of(batch_of(SYSTEMS)[0], 40)
    _, others = steps_of(batch_of(SYSTEMS, device="cuda")[0], 40)
    for ours, theirs in zip(states, others, strict=True):
        np.testing.assert_allclose(theirs[-1]["positions_A"], ours[-1]["positions_A"], atol=1e-7)
    # A ceiling that a step amid a stretch is the first to pass.
    spreads = [[one.spread_eV_A for one in part] for part in on_cpu]
    gates = [GateSettings(1e3, max(part[:21]) * (1 + 1e-6), "max", 0.01, 1e6) for part in spreads]
    ends = []
    for device in ("cpu", "cuda"):
        found, _ = steps_of(batch_of(SYSTEMS, gates=gates, device=device)[0], 40)
        ends.append([(len(part), part[-1].outcome, part[-1].reason) for part in found])
    assert ends[0] == ends[1]
    assert any(passage is GateOutcome.STOP for _, passage, _ in ends[0])


@pytest.mark.slow
def test_a_captured_step_is_the_plain_one_and_goes_on_from_a_record():
    def run(captured, record=None, steps=80):
        atoms = rock(2).repeat((2, 2, 1))
        evaluator = DeviceEvaluator(Ensemble(members(dtype=torch.float32)).to("cuda"))
        batch = BatchMD(evaluator, 3, len(atoms), captured=captured)
        langevin = Langevin(atoms.get_masses(), 1.0, 600.0, 0.02)
        tenants = [batch.enter(slot, atoms, langevin, GateSettings(1e3, 1e4, "max", 0.01, 1e6)) for slot in range(3)]
        for slot, md in enumerate(tenants):
            md.start(np.random.default_rng(slot)) if record is None else md.restore(record[slot])
        _, states = steps_of(tenants, steps)
        assert batch.replay.captured == captured
        return states

    plain, captured = run(False), run(True)
    for one, other in zip(plain, captured, strict=True):
        np.testing.assert_allclose(other[-1]["positions_A"], one[-1]["positions_A"], atol=1e-5)
    continued = run(True, [part[32] for part in captured], 47)
    for one, other in zip(continued, captured, strict=True):
        np.testing.assert_allclose(one[-1]["positions_A"], other[-1]["positions_A"], atol=1e-5)


@pytest.fixture
def ensemble_file(tmp_path, monkeypatch):
    """File of an ensemble; MD on a device is read every few steps, so that short runs have captured steps."""
    monkeypatch.setattr("redoxmd.md.ensemble.READ_EVERY_STEPS", 4)
    save_ensemble(tmp_path / "ensemble.pt", Ensemble(members(2, torch.float32)))
    return tmp_path / "ensemble.pt"


@pytest.mark.parametrize("repeat", [1, 16])
def test_a_calculator_from_a_file_gives_what_the_cpu_gives(ensemble_file, repeat):
    """With blocks of pairs and, from 128 atoms on, pair by pair; and where `select` measures distances."""
    results, descriptors = [], []
    for device in ("cpu", "cuda"):
        ensemble = load_ensemble(ensemble_file, device, "plain")
        assert ensemble.members[0].device.type == device
        atoms = rock(1).repeat((repeat, 1, 1))
        atoms.calc = EnsembleCalculator(ensemble)
        atoms.get_forces()
        results.append(atoms.calc.results | {"stress": atoms.get_stress()})
        descriptors.append(ensemble.descriptor(atoms))
    size = np.abs(results[0]["forces"]).max()
    for name in ("forces", "force_spread", "stress"):
        np.testing.assert_allclose(results[1][name], results[0][name], atol=SINGLE * size)
    np.testing.assert_allclose(results[1]["member_energies"], results[0]["member_energies"], rtol=SINGLE, atol=1e-4)
    np.testing.assert_allclose(descriptors[1], descriptors[0], atol=10 * SINGLE)


def weights(network):
    return torch.cat([value.detach().cpu().flatten() for value in network.state_dict().values()])


class StopAt:
    """A request to stop that comes when a trainer is at a step."""

    def __init__(self, trainer, step):
        self.trainer, self.step = trainer, step

    @property
    def asked(self):
        return self.trainer.step >= self.step


def train(make, folder, device, stop_at=None):
    """Train in one go, and stopped, after the first interval or at a step, and continued from the file: the result."""
    whole, first, second = make(device), make(device), make(device)
    while not whole.ended:
        whole.run_interval()
    first.run_interval()
    if stop_at is not None:
        first.run_interval(StopAt(first, stop_at))
        assert first.step == stop_at
    save_record(folder / "training.pt", first.state())
    second.load_state(load_record(folder / "training.pt"))
    while not second.ended:
        second.run_interval()
    result, expected = second.result(), whole.result()
    network = "member" if hasattr(result, "member") else "model"
    pairs = [getattr(one, network) for one in (result, expected)]
    pairs = [getattr(one, "network", one) for one in pairs]
    torch.testing.assert_close(weights(pairs[0]), weights(pairs[1]), rtol=SINGLE, atol=SINGLE)
    return result


def losses(result):
    return np.array([[row["training_loss"], row["validation_loss"]] for row in result.history])


def trainer_of(frames, device, **changes):
    sizes = {"cutoff_A": 4.0, "radial_functions": 5, "batch_size": 2, "max_steps": 4, "validate_every": 2, **changes}
    return Trainer(Dataset(frames), Member(features=8, layers=2), Train(device=device, **sizes), 0, 1, None, "member")


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_training_on_the_gpu_continues_from_its_file_and_follows_the_cpu(tmp_path, repeat):
    """Steps are captured if the structures have similar sizes; otherwise each batch has its own."""
    frames = [spring_label(rock(n), step=n, set="train" if n < 4 else "validation") for n in range(5)]
    frames[0] = spring_label(rock(0).repeat((repeat, 1, 1)), step=0, set="train")
    write_frames(tmp_path / "dataset.extxyz", frames)

    def make(device):
        return trainer_of(read_frames(tmp_path / "dataset.extxyz"), device)

    trainer = make("cuda")
    trainer.run_interval()
    assert trainer.resident.captured == (repeat == 1)
    on_cpu, on_gpu = (train(make, tmp_path, device, 3) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(losses(on_gpu), losses(on_cpu), rtol=1e-4)
    save_member(tmp_path / "member.pt", on_gpu, {})
    member, record = load_member(tmp_path / "member.pt")
    assert member.device.type == "cpu" and record["best_step"] == on_gpu.best_step
    torch.testing.assert_close(weights(member), weights(on_gpu.member))


def test_a_captured_training_takes_the_learning_rate_of_each_step():
    """A step of Adam changes no weight by more than about ten rates (Kingma and Ba, 2015); a graph keeps its rate."""
    frames = [spring_label(rock(n), step=n, set="train") for n in range(4)]
    trainer, changes = trainer_of(frames, "cuda", validate_every=10, max_steps=100), []
    for rate in (1e-3, 1e-3, 1e-3, 1e-6, 1e-6, 1e-6, 1e-3):
        trainer.optimiser.param_groups[0]["lr"] = rate
        before = weights(trainer.model)
        trainer.gradient_step()
        changes.append(float((weights(trainer.model) - before).abs().max()) / rate)
    assert min(changes) > 0.1 and max(changes) < 12


def test_samples_that_do_not_fit_stay_on_the_host(monkeypatch, caplog):
    frames = [spring_label(rock(n), step=n, set="train" if n < 4 else "validation") for n in range(5)]
    monkeypatch.setattr("redoxmd.train.resident.SHARE_OF_MEMORY", 1e-12)
    results = []
    for device in ("cpu", "cuda"):
        trainer = trainer_of(frames, device)
        while not trainer.ended:
            trainer.run_interval()
        assert trainer.resident is None
        results.append(trainer.result())
    assert "member: 5 frames need 0.0 GB, more than" in caplog.text and "stay on the host" in caplog.text
    np.testing.assert_allclose(losses(results[1]), losses(results[0]), rtol=1e-4)


def test_a_training_from_labels_of_a_teacher_follows_the_cpu(tmp_path):
    """With the weights of a member trained on the CPU, reference energies fitted again, and replay."""
    frames = [spring_label(rock(n), step=n, set="train" if n < 4 else "validation") for n in range(5)]
    replay = [spring_label(rock(n), step=n) for n in range(10, 14)]
    sizes = {"cutoff_A": 4.0, "radial_functions": 5, "batch_size": 4, "max_steps": 4, "validate_every": 2}

    def make(device, pretrained=None, share=0.0):
        settings, size = Train(device=device, replay=share, **sizes), Member(features=8, layers=2)
        start = (pretrained, replay) if share else ()
        return Trainer(Dataset(frames), size, settings, 0, 1, None, "member", *start)

    (tmp_path / "first").mkdir()
    first = train(make, tmp_path / "first", "cpu").member
    taught = partial(make, pretrained=first, share=0.5)
    on_cpu, on_gpu = (train(taught, tmp_path, device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(losses(on_gpu), losses(on_cpu), rtol=1e-4)


def test_a_moment_network_is_trained_on_the_gpu(tmp_path):
    states = ((3, 3, 4), (3, 4, 4), (4, 3, 3))
    frames = [labelled(order, f"c{n}", n, n) for n, order in enumerate(states)]
    for frame, subset in zip(frames, ("train", "train", "validation"), strict=True):
        frame.info["set"] = subset
    write_frames(tmp_path / "dataset.extxyz", frames)

    results = []
    for device in ("cpu", "cuda"):
        sizes = {"features": 8, "layers": 1, "cutoff_A": 3.0, "radial_functions": 5, "max_steps": 4}
        settings = Moments(device=device, validate_every=2, **sizes)
        dataset = Dataset(read_frames(tmp_path / "dataset.extxyz"))
        results.append(train_moments(dataset, LEVELS, settings, 3, Checkpoint(tmp_path / device, 0)))
    np.testing.assert_allclose(losses(results[1]), losses(results[0]), rtol=1e-4)


def test_a_density_model_is_trained_read_and_used_for_charges_on_the_gpu(tmp_path):
    write_densities(tmp_path / "store.h5", {f"a/step{n:05d}": gaussians(n)[1] for n in range(2)})

    def make(device):
        sizes = {"features": 16, "layers": 1, "cutoff_A": 3.0, "radial_functions": 5, "probe_functions": 6}
        sizes |= {"points_per_density": 600, "points_per_structure": 60, "max_steps": 2, "structures_per_step": 1}
        entries = [Entry(str(tmp_path / "store.h5"), f"a/step{n:05d}", "train") for n in range(2)]
        settings = DensitySettings(device=device, validate_every=1, **sizes)
        return DensityTrainer(DensitySet((entries[0],)), DensitySet((entries[1],)), VANADIUM, settings, 0)

    on_cpu, on_gpu = (train(make, tmp_path, device) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(losses(on_gpu), losses(on_cpu), rtol=1e-4)
    save_density_model(tmp_path / "model.pt", on_gpu.model, {})
    atoms, densities, tables = gaussians(1)[0], [], []
    one = np.ones(1)
    state = {"structure": "x1.000_random0_1x1x1", "x": 1.0, "temperature_K": 300.0, "replica": 0, "model": "m"}
    path = (
        atoms.numbers,
        atoms.positions[None],
        np.asarray(atoms.cell),
        np.zeros(1, int),
        0.0 * one,
        one,
        one,
        one,
        state,
    )
    for device in ("cpu", "cuda"):
        model, _ = load_density_model(tmp_path / "model.pt", device)
        assert model.network.device.type == device
        region = Region(np.flatnonzero(atoms.numbers == VANADIUM), 1.2)
        densities.append(predict_density(model, atoms, (16, 16, 16), region, moment_muB=1.0))
        checkpoint = Checkpoint(tmp_path / device, 0)
        tables.append(trajectory_charges(Trajectory(*path), [0], model, CHARGES, Structures(), checkpoint))
    for name in ("total_e_A3", "spin_e_A3"):
        expected = getattr(densities[0], name)
        np.testing.assert_allclose(getattr(densities[1], name), expected, atol=SINGLE * np.abs(expected).max())
    for name in ("charge_e", "moment_muB"):
        on_cpu, on_gpu = (table[name].to_numpy()[:, atoms.numbers == VANADIUM] for table in tables)
        assert np.isfinite(on_cpu).all()
        np.testing.assert_allclose(on_gpu, on_cpu, atol=1e-3)


def test_pairs_of_grid_points_on_the_gpu_are_those_of_the_cpu():
    density, settings = gaussians(0)[1], DensitySettings(points_per_density=600)
    chosen, found = torch.arange(0, 600, 7), []
    for device in ("cpu", "cuda"):
        rng = np.random.default_rng(0)
        pool = PointPool(density, sorted(set(density.numbers)), 3.0, np.array([2]), settings, rng, device=device)
        found.append(pool.pairs(chosen.to(device), 3.0))
    for name in ("probe", "atom"):
        assert torch.equal(getattr(found[1], name).cpu(), getattr(found[0], name))
    torch.testing.assert_close(found[1].vectors_A.cpu(), found[0].vectors_A, atol=1e-12, rtol=0)


def run_explore(evaluator, folder, steps):
    thresholds = {"low_eV_A": 1e-6, "high_eV_A": 1e3, "min_distance_fraction": 0.1, "max_temperature_factor": 1e5}
    settings = Explore(timestep_fs=1.0, trace_every_fs=1.0, candidate_every_fs=4.0, **thresholds)
    rng, checkpoint = np.random.default_rng(0), Checkpoint(folder, 0)
    return explore(rock(2), evaluator, settings, steps / 1000, rng, "x1.000_random0_1x1x1", checkpoint)


@pytest.mark.parametrize("backend", ["host", "device"])
def test_explore_on_the_gpu_continues_from_its_state_and_follows_the_cpu(ensemble_file, tmp_path, backend):
    runs = []
    for device in ("cpu", "cuda"):
        ensemble = load_ensemble(ensemble_file, device, "plain")
        run_explore(force_evaluator(ensemble, backend), tmp_path / device, 4)
        runs.append(run_explore(force_evaluator(ensemble, backend), tmp_path / device, 16))
    assert [run.end_reason for run in runs] == ["survived", "survived"]
    on_cpu, on_gpu = (run.trace["spread_eV_A"].to_numpy() for run in runs)
    assert len(on_cpu) == 17
    np.testing.assert_allclose(on_gpu, on_cpu, rtol=1e-3)
    for name in ("step", "time_fs"):
        steps = [[frame.info[name] for frame in run.candidates] for run in runs]
        assert steps[0] == steps[1] and len(steps[0]) > 3
    write_frames(tmp_path / "candidates.extxyz", runs[1].candidates)
    for frame, expected in zip(read_frames(tmp_path / "candidates.extxyz"), runs[0].candidates, strict=True):
        np.testing.assert_allclose(frame.positions, expected.positions, atol=1e-4)


def test_three_trajectories_in_two_slots_on_the_gpu_follow_the_cpu(ensemble_file, tmp_path):
    trajectories = []
    for device in ("cpu", "cuda"):
        (tmp_path / device).mkdir()
        specs = [
            TrajectorySpec(
                rock(n, rattle_A=0.0)[: 8 - n % 2],
                Production(
                    timestep_fs=1.0, length_ps=0.01, equilibration_ps=0.002, save_every_fs=4.0, stop_above_eV_A=1e3
                ),
                300.0,
                np.random.default_rng(n),
                Checkpoint(tmp_path / device / f"state{n}", n),
                tmp_path / device / f"{n}.h5",
                {"structure": f"x1.000_random{n}_1x1x1", "mobile_ion": "Na", "model": "m"},
            )
            for n in range(3)
        ]
        run_batch(specs, force_evaluator(load_ensemble(ensemble_file, device, "plain"), "device"), 2)
        trajectories.append([read_trajectory(spec.output) for spec in specs])
    for on_cpu, on_gpu in zip(*trajectories, strict=True):
        assert on_cpu.metadata["end_reason"] == on_gpu.metadata["end_reason"] == "completed"
        np.testing.assert_array_equal(on_gpu.steps, on_cpu.steps)
        np.testing.assert_allclose(on_gpu.positions_A, on_cpu.positions_A, atol=1e-4)
        np.testing.assert_allclose(on_gpu.spread_eV_A, on_cpu.spread_eV_A, rtol=1e-3)


def test_electrons_move_on_the_gpu_as_on_the_cpu(saved, tmp_path):  # noqa: F811
    """In double precision: the same hops at the same steps."""
    atoms, results = frame_in_a_state(tmp_path), []
    for device in ("cpu", "cuda"):
        evaluator = DeviceEvaluator(load_ensemble(saved, device, "plain").to(device, torch.float64))
        batch = BatchMD(evaluator, 1, len(atoms), 4, electrons=electron_settings(md="thermal", move_every_fs=3.0))
        md = batch.enter(0, atoms, Langevin(atoms.get_masses(), 1.0, 900.0, 0.02), OPEN)
        md.start(np.random.default_rng(5))
        for _ in range(12):
            md.step()
        results.append((md.state_record(), np.array(md.electrons.hops)))
    (on_cpu, hops), (on_gpu, other_hops) = results
    assert len(hops)
    np.testing.assert_allclose(other_hops, hops, atol=1e-6)
    np.testing.assert_allclose(on_gpu["positions_A"], on_cpu["positions_A"], atol=1e-7)


def test_basins_and_paths_with_an_ensemble_on_the_gpu_are_those_of_the_cpu(ensemble_file, tmp_path):
    loose = {"force_tolerance_eV_A": 50.0}
    gate = GateSettings(low_eV_A=1e6, high_eV_A=1e6, min_distance_fraction=0.1)
    visits, energies = [], []
    for device in ("cpu", "cuda"):
        calculator = EnsembleCalculator(load_ensemble(ensemble_file, device, "plain"))
        settings = Basins(steps=2, max_relax_steps=3, **loose)
        visits.append(walk(tmp_path / f"walk-{device}", calculator, settings=settings, gate=gate).visits)
        make = lambda ensemble=calculator.ensemble: EnsembleCalculator(ensemble)  # noqa: E731
        images = band(tmp_path / f"band-{device}", settings=Neb(images=3, **loose), make=make)
        energies.append([image.get_potential_energy() for image in images])
    np.testing.assert_allclose(energies[1], energies[0], rtol=1e-4)
    np.testing.assert_allclose(visits[1]["energy_eV"], visits[0]["energy_eV"], rtol=1e-4)
    assert visits[1]["refused"].tolist() == visits[0]["refused"].tolist()


def test_the_gpu_is_chosen_after_a_self_test_and_the_trajectory_says_so(ensemble_file, tmp_path):
    atoms = rock(2, rattle_A=0.0)
    evaluator = force_evaluator(load_ensemble(ensemble_file, "cuda"), "auto", atoms)
    assert isinstance(evaluator, DeviceEvaluator)
    times = {"timestep_fs": 1.0, "length_ps": 0.004, "equilibration_ps": 0.0, "save_every_fs": 2.0}
    spec = TrajectorySpec(
        atoms,
        Production(stop_above_eV_A=1e3, **times),
        300.0,
        np.random.default_rng(0),
        Checkpoint(tmp_path / "state", 0),
        tmp_path / "t.h5",
        {"structure": "x1.000_random0_1x1x1", "mobile_ion": "Na", "model": "m"},
    )
    run_batch([spec], evaluator, 1)
    words = read_trajectory(spec.output).metadata["evaluation"]
    assert words.startswith("PyTorch on cuda, MD on the device, because the GPU passed its self-test (forces within")


def test_the_self_test_takes_networks_that_distinguish_states(saved, tmp_path):  # noqa: F811
    """Of a structure whose states are not assigned yet."""
    atoms = frame_in_a_state(tmp_path)
    del atoms.arrays["oxidation"]
    assert isinstance(force_evaluator(load_ensemble(saved, "cuda"), "auto", atoms), DeviceEvaluator)


@pytest.mark.parametrize("backend", ["auto", "device"])
def test_fused_kernels_are_taken_after_a_self_test_and_md_with_them_follows_the_cpu(monkeypatch, caplog, backend):
    """Captured, with members of two widths; the log and the description say so."""
    monkeypatch.setattr("redoxmd.md.batched.self_test.build_kernels", gpu_kernels)
    caplog.set_level("INFO", logger="redoxmd")
    atoms, paths = rock(2, rattle_A=0.02), []
    for device in ("cpu", "cuda"):
        ensemble = Ensemble(members(2, torch.float32)).to(device)
        evaluator = force_evaluator(ensemble, backend, atoms) if device == "cuda" else DeviceEvaluator(ensemble)
        assert evaluator.description.startswith("fused kernels on cuda") == (device == "cuda")
        batch = BatchMD(evaluator, 2, len(atoms), 4)
        langevin = Langevin(atoms.get_masses(), 1.0, 600.0, 0.02)
        tenants = [batch.enter(slot, atoms, langevin, GateSettings(1e3, 1e4, "max", 0.01, 1e6)) for slot in range(2)]
        for slot, md in enumerate(tenants):
            md.start(np.random.default_rng(slot))
        _, states = steps_of(tenants, 12)
        assert batch.replay.captured == (device == "cuda")
        paths.append([part[-1]["positions_A"] for part in states])
    assert "fused kernels passed their self-test (forces within" in caplog.text
    np.testing.assert_allclose(paths[1], paths[0], atol=1e-5)


def test_fused_kernels_of_networks_that_distinguish_states_pass_the_self_test(saved, tmp_path, monkeypatch):  # noqa: F811
    monkeypatch.setattr("redoxmd.md.batched.self_test.build_kernels", gpu_kernels)
    atoms = frame_in_a_state(tmp_path)
    assert force_evaluator(load_ensemble(saved, "cuda"), "device", atoms).kernels is not None
    assert force_evaluator(load_ensemble(saved, "cuda", "plain"), "device", atoms).kernels is None


@pytest.mark.slow
def test_the_gpu_check_measures_all_its_sections(tmp_path):
    assert gpu_check.main(["--output", str(tmp_path), "--small"]) == 0
    check_rows(tmp_path, {section.__name__ for section in gpu_check.SECTIONS} - {"describe", "single", "many"})


def test_the_gpu_check_finds_wrong_forces(tmp_path, monkeypatch):
    arguments = ["--output", str(tmp_path), "--small", "--only", "forces", "single", "ceilings"]
    assert gpu_check.main(arguments) == 0
    check_rows(tmp_path, {"forces", "ceilings"})
    right = DeviceEvaluator.__call__

    def wrong(evaluator, *where):
        found = right(evaluator, *where)
        found.member_forces_eV_A.mul_(1.01)
        return found

    monkeypatch.setattr(DeviceEvaluator, "__call__", wrong)
    assert gpu_check.main(["--output", str(tmp_path), "--small", "--only", "forces"]) == 1


def check_rows(folder, sections):
    """Every section has results, and MD its rate, by hand from its time."""
    rows = [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]
    assert not [row for row in rows if "error" in row]
    assert sections | {"md"} <= {row["section"] for row in rows}
    for row in rows:
        if row["section"] == "md":
            per_day = 86400e3 / row["trajectory_step_ms"] * 0.5e-6
            assert row["ns_day_in_all"] == pytest.approx(per_day, rel=1e-6)
    assert "ns/day" in (folder / "table.md").read_text()
