"""Planted faults, each of which the pretended GPU objects to, and corrected faults of the device path.

    python -m pytest -p tests.pretend_gpu tests/gpu_faults.py

`tests/test_gpu_rehearsal.py` runs this file in a process of its own; the name keeps it out of the other processes.
"""

import copy
import gc
import os

import numpy as np
import pytest
import torch

from benchmarks import works
from redoxmd.config.sections import DensitySettings, Member, Train
from redoxmd.density.dataset import DensitySet, Entry
from redoxmd.density.multipoles import SphereProduct
from redoxmd.density.store import write_densities
from redoxmd.density.training import DensityTrainer
from redoxmd.errors import RedoxmdError
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.replay import Replay
from redoxmd.md.ensemble import BatchMD
from redoxmd.md.evaluators import HostEvaluator, force_evaluator
from redoxmd.md.fused import kernels as fused
from redoxmd.md.fused.kernels import build_kernels
from redoxmd.md.langevin import Langevin
from redoxmd.md.step import BatchStep, Log
from redoxmd.model import gpus
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.files import choose_device
from redoxmd.model.graph import build_graph
from redoxmd.model.repulsion import CoreRepulsion
from redoxmd.train.dataset import Dataset
from redoxmd.train.trainer import Trainer
from tests import pretend_gpu
from tests.conftest import rock, spring_label
from tests.density.test_network import random_model
from tests.density.test_training import VANADIUM, gaussians
from tests.md.batched.test_step import OPEN
from tests.md.fused.host import CountedKernels, fused_kernels, pretended_kernels
from tests.model.test_ensemble import ELEMENTS, members
from tests.pretend_gpu import COUNTS, Objection

CUDA = torch.device("cuda", 0)


@pytest.fixture(autouse=True)
def main_stream():
    """Each test starts on the default stream, whatever an earlier one left current."""
    torch.cuda.set_stream(torch.cuda.default_stream(CUDA))


# ---------------------------------------------------------------------------------- the pretended GPU on small programs
def test_tensors_of_two_devices_do_not_mix():
    ours, host = torch.ones(3, device="cuda"), torch.ones(3)
    with pytest.raises(RuntimeError, match="on the same device, but found at least two devices, cuda:0 and cpu"):
        ours + host
    with pytest.raises(RuntimeError, match="found at least two devices, cuda:0 and cuda:1"):
        ours + host.to("cuda:1")
    with pytest.raises(RuntimeError, match="at least two devices"):
        torch.stack([ours, host])
    assert (ours + torch.tensor(2.0)).cpu().tolist() == [3, 3, 3]


def test_a_host_tensor_in_a_backward_pass_is_found():
    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return 2 * x

        @staticmethod
        def backward(ctx, gradient):
            return gradient * torch.full((3,), 2.0)

    x = torch.ones(3, device="cuda", requires_grad=True)
    with pytest.raises(RuntimeError, match="at least two devices"):
        Wrong.apply(x).sum().backward()


def test_numpy_takes_no_tensor_of_a_device():
    for convert in (lambda t: t.numpy(), np.asarray):
        with pytest.raises(TypeError, match="can't convert cuda:0 device type tensor to numpy"):
            convert(torch.ones(3).cuda())


def captured(work, warm=True):
    """A graph of some work on fixed memory."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    if warm:
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            torch.ones(1, device="cuda")
            work()
        torch.cuda.current_stream().wait_stream(stream)
    with torch.cuda.graph(graph, stream=stream):
        work()
    return graph


def test_a_replay_repeats_the_work_in_the_same_memory_and_a_capture_does_none():
    count, total = torch.zeros(2, device="cuda"), torch.zeros(2, device="cuda")

    def work():
        count.add_(1)
        made = torch.zeros(2, device="cuda")
        made += count * 2
        total.add_(made)

    graph = captured(work)
    assert count.tolist() == [1, 1]
    for _ in range(3):
        graph.replay()
    assert count.tolist() == [4, 4] and total.tolist() == [20, 20]


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda x: x.sum().item(), "not permitted when stream is capturing"),
        (lambda x: x.cpu(), "a copy between host and device"),
        (lambda x: x.add_(torch.tensor([1.0, 2.0, 3.0], device="cuda")), "a copy between host and device"),
        (lambda x: x[torch.tensor([0, 1])], "a copy between host and device"),
        (lambda x: x[x > 0], "by a mask"),
        (lambda x: x.nonzero(), "nonzero"),
        (lambda x: torch.cuda.synchronize(), "torch.cuda.synchronize"),
        (lambda x: torch.cuda.current_stream().synchronize(), "stream.synchronize"),
    ],
)
def test_nothing_waits_for_the_host_inside_a_capture(fault, words):
    x = torch.ones(3, device="cuda")
    fault(x)
    stream = torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="previous error during capture") as told:
        captured(lambda: fault(x))
    assert words in str(told.value.__context__)
    # As in torch, the stream of a failed capture stays current.
    assert torch.cuda.current_stream() is not stream


def test_streams_that_do_not_wait_for_each_other_race():
    side, x = torch.cuda.Stream(), torch.zeros(3, device="cuda")
    with torch.cuda.stream(side), pytest.raises(Objection, match=r"race: add .* reads memory of stream"):
        x + 1
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        y = x + 1
    with pytest.raises(Objection, match=r"race: mul .* reads memory"):
        y * 2
    with pytest.raises(Objection, match=r"race: add_ .* overwrites memory"):
        x.add_(1)
    torch.cuda.current_stream().wait_event(side.record_event())
    assert (y * 2 + x.fill_(1)).tolist() == [3, 3, 3]
    # The host has waited for both.
    with torch.cuda.stream(side):
        assert (x + 1).tolist() == [2, 2, 2]


def test_a_graph_over_freed_memory_is_not_replayed():
    holder = [torch.zeros(3, device="cuda")]
    graph = captured(lambda: holder[0].add_(1))
    graph.replay()
    holder[0] = holder[0].clone()
    with pytest.raises(Objection, match="over memory that was freed"):
        graph.replay()


def test_streams_of_a_capture_are_joined_take_part_and_were_used_before():
    side, x = torch.cuda.Stream(), torch.zeros(3, device="cuda")

    def apart(wait, join, here=side):
        current = torch.cuda.current_stream()
        if wait:
            here.wait_stream(current)
        with torch.cuda.stream(here):
            y = torch.ones(3, device="cuda")
        if join:
            current.wait_stream(here)
        return x + 1 if join else y

    apart(True, True)
    stream = torch.cuda.current_stream()
    with pytest.raises(RuntimeError, match="unjoined work on streams"):
        captured(lambda: apart(True, False))
    torch.cuda.set_stream(stream)
    with pytest.raises(Objection, match="takes no part"):
        captured(lambda: apart(False, True))
    with pytest.raises(Objection, match="first time inside a capture"):
        # The work has a stream of its own at each call.
        captured(lambda: apart(True, True, torch.cuda.Stream()))
    with pytest.raises(Objection, match="first time by a capture"):
        captured(lambda: x.add_(1), warm=False)


def test_two_living_graphs_do_not_share_a_capture_stream():
    x = torch.zeros(3, device="cuda")
    first, second = torch.cuda.CUDAGraph(), torch.cuda.CUDAGraph()
    pretend_gpu.capture.default_capture_stream = torch.cuda.Stream()
    with torch.cuda.stream(pretend_gpu.capture.default_capture_stream):
        torch.ones(3, device="cuda")
    with torch.cuda.graph(first):
        x.add_(1)
    with pytest.raises(Objection, match="two graphs are captured on stream"), torch.cuda.graph(second):
        x.add_(1)


# --------------------------------------------------------------------------------------------- faults planted in the MD
ATOMS = rock(2, rattle_A=0.05)


def batch_md(device="cuda", captured=True, slots=1):
    evaluator = DeviceEvaluator(Ensemble(members(2, torch.float32)).to(device))
    batch = BatchMD(evaluator, slots, len(ATOMS), 2, captured=captured)
    return batch, [
        batch.enter(slot, ATOMS, Langevin(ATOMS.get_masses(), 1.0, 600.0, 0.02), OPEN) for slot in range(slots)
    ]


def run_md(device="cuda", captured=True, steps=6, each=lambda number, batch: None):
    """Positions after every step, and whether the steps were captured."""
    batch, (md,) = batch_md(device, captured)
    md.start(np.random.default_rng(0))
    positions = []
    for number in range(steps):
        each(number, batch)
        md.step()
        positions.append(md.state.positions_A)
    return np.array(positions), batch.replay.captured


@pytest.fixture(scope="module")
def sound():
    positions, captured = run_md()
    assert captured
    return positions


def test_the_sound_step_is_captured_and_equals_the_plain_one(sound):
    positions, captured = run_md(captured=False)
    assert not captured
    np.testing.assert_allclose(positions, sound, atol=1e-6)


def members_apart(self, of, wait=True, join=True, warm=True):
    """`DeviceEvaluator._all` without one of its steps."""
    if not warm and not torch.cuda.is_current_stream_capturing():
        return [of(member) for member in self.members]
    results, current = [], torch.cuda.current_stream(self.device)
    for member, stream in zip(self.members, self._streams, strict=True):
        if wait:
            stream.wait_stream(current)
        with torch.cuda.stream(stream):
            results.append(of(member))
    for stream in self._streams if join else ():
        current.wait_stream(stream)
    return results


@pytest.mark.parametrize(
    ("missing", "words"),
    [("wait", "race: .* reads"), ("join", "race: .* reads"), ("warm", "first time inside a capture")],
)
def test_a_missing_wait_or_warm_up_of_the_members_streams(monkeypatch, missing, words):
    monkeypatch.setattr(DeviceEvaluator, "_all", lambda self, of: members_apart(self, of, **{missing: False}))
    with pytest.raises(Objection, match=words):
        run_md()


def step_with(monkeypatch, fault):
    judge = BatchStep.judge

    def faulty(self, evaluation, done):
        # Not in the start, which is no step.
        if done is not self.slots.active:
            fault(evaluation, done)
        return judge(self, evaluation, done)

    monkeypatch.setattr(BatchStep, "judge", faulty)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda evaluation, done: float(evaluation.energy_eV.sum()), "_local_scalar_dense"),
        (lambda evaluation, done: evaluation.energy_eV[done], "by a mask"),
        (lambda evaluation, done: torch.ones(3).to("cuda"), "a copy between host and device"),
    ],
)
def test_a_step_that_waits_for_the_host_is_not_captured(monkeypatch, caplog, sound, fault, words):
    """It runs without, with a warning, and gives the same numbers; streams and device are as before."""
    stream = torch.cuda.current_stream()
    step_with(monkeypatch, fault)
    positions, captured = run_md()
    assert not captured
    (warning,) = caplog.messages
    assert "no CUDA graph of the MD step" in warning and "previous error during capture" in warning
    assert torch.cuda.current_stream() is stream and torch.cuda.current_device() == 0
    np.testing.assert_allclose(positions, sound, atol=1e-6)


def test_a_tensor_left_on_the_host(monkeypatch):
    step_with(monkeypatch, lambda evaluation, done: evaluation.energy_eV * torch.ones(1, dtype=torch.float64))
    with pytest.raises(RuntimeError, match="at least two devices, cuda:0 and cpu"):
        run_md()


def test_a_buffer_that_is_replaced_instead_of_written(monkeypatch):
    write = Log.write

    def replaced(self, result, slots):
        write(self, result, slots)
        self.positions_A = self.positions_A.clone()

    monkeypatch.setattr(Log, "write", replaced)
    with pytest.raises(Objection, match="memory that was freed"):
        run_md()


def test_a_graph_kept_after_its_rows_were_widened(monkeypatch):
    def widen(number, batch):
        if number == 4:
            batch.evaluator.rows._widen(batch.evaluator.rows.width + 8)

    with pytest.raises(Objection, match="memory that was freed"):
        run_md(each=widen)


# ----------------------------------------------------------------------------------------------------- corrected faults
def test_md_on_the_second_gpu_while_the_first_is_current(sound):
    positions, captured = run_md("cuda:1")
    assert captured and torch.cuda.current_device() == 0
    np.testing.assert_allclose(positions, sound, atol=1e-6)


def test_two_graphs_of_one_process_outlive_each_other():
    counts = [torch.zeros(1, device="cuda") for _ in range(2)]
    replays = [Replay(lambda count=count: count.add_(1), CUDA) for count in counts]
    for replay in replays:
        replay(1)
        replay(1)
        assert replay.captured
    replays.pop(0)
    gc.collect()
    replays[0](3)
    replays[0].forget()
    replays[0](1)
    replays[0](2)
    assert replays[0].captured and [count.item() for count in counts] == [2, 8]


def test_constants_are_copied_to_a_device_once():
    graph = build_graph(rock(1), ELEMENTS, 4.0).to("cuda", torch.float32)
    signals = torch.randn(4, 25).to("cuda")
    superposition = random_model().superposition
    species = torch.zeros(4, dtype=torch.long, device="cuda")
    distance = torch.rand(4).to("cuda")
    core, product = CoreRepulsion(ELEMENTS), SphereProduct()
    calls = [
        lambda: core(graph, graph.vectors_A.norm(dim=1)),
        lambda: product(signals, signals),
        lambda: copy.deepcopy(product)(signals, signals),
        lambda: superposition.profiles(distance, species),
    ]
    for call in calls:
        expected = call()
        COUNTS.reset()
        assert torch.equal(call().cpu(), expected.cpu())
        assert COUNTS.uploads == 0


def test_a_training_waits_for_the_gpu_at_validations_alone():
    """A step is one replayed graph, and its loss is added to those before; nothing is copied to the device."""
    frames = [spring_label(rock(n), step=n, set="train" if n < 6 else "validation") for n in range(9)]
    sizes = {"cutoff_A": 4.0, "radial_functions": 5, "batch_size": 2, "max_steps": 30, "validate_every": 10}
    trainer = Trainer(Dataset(frames), Member(features=8, layers=1), Train(device="cuda", **sizes), 0, 1, None, "m")
    trainer.run_interval()
    COUNTS.reset()
    trainer.run_interval()
    assert COUNTS.kernels["graph.replay"] == 10
    # The drawn frames and weights of the averages; two losses.
    assert COUNTS.uploads == 2 and sum(COUNTS.waits.values()) == 4
    COUNTS.reset()
    trainer.gradient_step()
    trainer.gradient_step()
    COUNTS.reset()
    trainer.gradient_step()
    assert COUNTS.kernels == {"graph.replay": 1} and not COUNTS.waits


def test_a_step_of_the_density_model_copies_the_drawn_points_alone(tmp_path):
    """For each structure one copy to the device; pairs, close pairs and the columns of both are counted there."""
    write_densities(tmp_path / "store.h5", {"a/step00000": gaussians(0)[1]})
    densities = DensitySet((Entry(str(tmp_path / "store.h5"), "a/step00000", "train"),))
    sizes = {"features": 16, "layers": 1, "cutoff_A": 3.0, "radial_functions": 5, "probe_functions": 6}
    sizes |= {"points_per_density": 600, "points_per_structure": 60, "max_steps": 8}
    trainer = DensityTrainer(densities, DensitySet(()), VANADIUM, DensitySettings(device="cuda", **sizes), 0)
    trainer.gradient_step()
    COUNTS.reset()
    trainer.gradient_step()
    assert COUNTS.uploads == 1 and COUNTS.downloads == 0
    assert COUNTS.waits == {"copy to the device": 1, "aten.nonzero.default": 4}


def test_a_gradient_step_that_waits_is_not_captured(monkeypatch, caplog):
    """It runs without, and its weights are those of the captured one."""
    frames = [spring_label(rock(n), step=n, set="train") for n in range(4)]
    sizes = {"cutoff_A": 4.0, "radial_functions": 5, "batch_size": 2, "max_steps": 4, "validate_every": 4}

    def trained():
        settings, size = Train(device="cuda", **sizes), Member(features=8, layers=1)
        trainer = Trainer(Dataset(frames), size, settings, 0, 1, None, "m")
        trainer.run_interval()
        return trainer.resident.captured, torch.cat([p.detach().cpu().flatten() for p in trainer.model.parameters()])

    captured, expected = trained()
    average = Trainer.average_weights
    monkeypatch.setattr(Trainer, "average_weights", lambda self, weight: average(self, float(weight)))
    captured_after, weights = trained()
    assert captured and not captured_after
    assert "no CUDA graph of the gradient step" in caplog.text
    torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-7)


@pytest.fixture
def no_lock(monkeypatch, tmp_path):
    """No GPU is reserved, and the locks of this test are its own."""
    monkeypatch.setattr(gpus, "_held", [])
    monkeypatch.setattr(gpus.tempfile, "gettempdir", lambda: str(tmp_path))
    gpus.reserve_gpu.cache_clear()
    yield
    gpus.reserve_gpu.cache_clear()
    torch.cuda.set_device(0)


def test_a_process_takes_a_free_gpu_and_keeps_it(no_lock, tmp_path):
    """Another process holds the first GPU."""
    import fcntl

    folder = tmp_path / f"redoxmd-gpus-{os.getuid()}"
    folder.mkdir()
    with (folder / "pretended-0.0").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert choose_device("auto") == "cuda:1"
    assert choose_device("cuda") == "cuda:1"
    model = torch.nn.Linear(2, 2).to(choose_device("auto"))
    assert model.weight.device == torch.ones(1, device="cuda").device == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda forces: forces * (1 + 1e-3), "its forces are wrong by 1.0e-03 of the largest"),
        (lambda forces: forces * torch.nan, "its forces are wrong by nan of the largest"),
        (lambda forces: forces * torch.ones(3), "at least two devices, cuda:0 and cpu"),
    ],
)
def test_a_gpu_that_fails_its_self_test_is_not_used(monkeypatch, caplog, fault, words):
    """MD runs on the host, whose forces are right, and the log says why."""
    call = DeviceEvaluator.__call__

    def faulty(self, positions_A, species):
        result = call(self, positions_A, species)
        return result._replace(member_forces_eV_A=fault(result.member_forces_eV_A))

    monkeypatch.setattr(DeviceEvaluator, "__call__", faulty)
    ensemble = Ensemble(members(2, torch.float32))
    expected = ensemble.predict(ATOMS).member_forces_eV_A
    evaluator = force_evaluator(ensemble.to("cuda"), "auto", ATOMS)
    assert isinstance(evaluator, HostEvaluator)
    assert evaluator.description == "compiled kernels, because the GPU failed its self-test"
    assert "the GPU failed its self-test" in caplog.text and words in caplog.text
    evaluator.allocate(1, len(ATOMS))
    species = evaluator.enter(0, ATOMS)
    evaluator.search([0], ATOMS.positions[None])
    forces = evaluator(ATOMS.positions[None], species[None]).member_forces_eV_A[:, 0]
    np.testing.assert_allclose(forces, expected, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    ("build", "words"),
    [
        # One sign of the derivatives; the last quad of the basis.
        (lambda m: pretended_kernels(m, (("= -(ray.x * g_x", "= (ray.x * g_x"),)), "their forces are wrong by"),
        (
            lambda m: pretended_kernels(m, (("k < K ? functions", "k < K - 1 ? functions"),)),
            "their forces are wrong by",
        ),
        # One sign of an update; the kinetic energy.
        (
            lambda m: pretended_kernels(m, (("+ by_norm * v[", "- by_norm * v["),), fused.ATOMS),
            "their forces are wrong by",
        ),
        (
            lambda m: pretended_kernels(m, (("= 0.5 * block", "= 0.4 * block"),), fused.STEP),
            "their MD step is wrong by",
        ),
        # Threads of a block that do not meet at a barrier.
        (
            lambda m: pretended_kernels(m, (("if (!live) continue;", "if (!live) return;"),)),
            "CUDA error: pretended driver",
        ),
        (build_kernels, "libcuda.so.1"),
    ],
)
def test_fused_kernels_that_fail_their_self_test_are_not_used(monkeypatch, caplog, build, words):
    """MD takes operations of PyTorch, whose forces are right, and the log says why."""
    monkeypatch.setattr("redoxmd.md.batched.self_test.build_kernels", build)
    ensemble = Ensemble(members(2, torch.float32))
    expected = ensemble.predict(ATOMS).member_forces_eV_A
    evaluator = force_evaluator(ensemble.to("cuda"), "device", ATOMS)
    assert evaluator.kernels is None and evaluator.description == "PyTorch on cuda, MD on the device"
    assert "no fused kernels (" in caplog.text and words in caplog.text
    evaluator.allocate(1, len(ATOMS))
    positions = evaluator.arrays.array(ATOMS.positions[None])
    species = evaluator.arrays.array(evaluator.enter(0, ATOMS)[None])
    evaluator.search([0], positions)
    forces = evaluator(positions, species).member_forces_eV_A[:, 0].cpu().numpy()
    np.testing.assert_allclose(forces, expected, atol=1e-5 * np.abs(expected).max())


def test_a_fused_kernel_that_stops_cuda_is_an_error_with_a_remedy(monkeypatch):
    def stopped(*_):
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    monkeypatch.setattr("redoxmd.md.batched.self_test.build_kernels", stopped)
    monkeypatch.setattr("torch.cuda.synchronize", stopped)
    with pytest.raises(
        RedoxmdError, match=r"a fused kernel failed on the GPU \(.*illegal.*\); set compute.evaluation: plain"
    ):
        force_evaluator(Ensemble(members(2, torch.float32)).to("cuda"), "device", ATOMS)


def test_a_step_of_table_1_launches_at_most_200_kernels():
    """Counted with kernels that do nothing, as `docs/performance.md` states it."""
    ensemble, atoms = works.ensemble_of_table_1("cuda"), works.crystal(1)
    kernels = fused_kernels(ensemble.members, made=CountedKernels)
    batch = BatchMD(DeviceEvaluator(ensemble, kernels=kernels), 1, len(atoms), 1)
    batch.enter(0, atoms, Langevin(atoms.get_masses(), 0.5, 600.0, 0.01), OPEN)
    batch.step()
    COUNTS.reset()
    batch.step()
    assert sum(COUNTS.kernels.values()) <= 200, COUNTS.kernels
    assert not COUNTS.waits and not COUNTS.uploads
