"""Jobs that are killed, run out of memory, lack their GPU, or cannot succeed."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from redoxmd.errors import NotConverged, TrainingDiverged
from redoxmd.explore import explore
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.files import choose_device
from redoxmd.select import select
from tests import test_explore, test_gate
from tests.conftest import rock
from tests.density import test_training
from tests.model.test_ensemble import members
from tests.production import test_production
from tests.train import test_train

store = test_training.store


def test_a_training_that_is_killed(tmp_path):
    """As the kernel's OOM killer does: without a word. What was validated is not trained again."""
    whole = test_train.trained(tmp_path, "whole", max_steps=60)
    script = (
        "import os\nos.environ['OMP_NUM_THREADS'] = '1'\nimport torch; torch.set_num_threads(1)\n"
        "import time\nfrom pathlib import Path\nfrom redoxmd.train.trainer import Trainer\n"
        "from tests.train import test_train\n"
        "step = Trainer.gradient_step\n"
        "def slowly(self):\n    print(self.step, flush=True)\n    time.sleep(0.05)\n    return step(self)\n"
        f"Trainer.gradient_step = slowly\ntest_train.trained(Path({str(tmp_path)!r}), 'part', max_steps=60)\n"
    )
    job = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    while int(job.stdout.readline()) < 25:
        pass
    job.send_signal(signal.SIGKILL)
    job.wait()
    steps = []
    step = test_train.Trainer.gradient_step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_train.Trainer, "gradient_step", lambda self: steps.append(self.step) or step(self))
        again = test_train.trained(tmp_path, "part", max_steps=60)
    assert steps[0] == 20
    assert torch.equal(test_train.weights(again), test_train.weights(whole))
    assert again.history == whole.history


@pytest.mark.parametrize("step", [3, 10, 17])
def test_a_training_at_the_end_of_its_walltime(tmp_path, step):
    """It stops at the step it is at, not at the next validation, and ends with the same weights and history."""
    from redoxmd.errors import Interrupted

    whole = test_train.trained(tmp_path, "whole")
    gradient_step = test_train.Trainer.gradient_step

    def and_stop(self):
        loss = gradient_step(self)
        if self.step == step:
            os.kill(os.getpid(), signal.SIGTERM)
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(test_train.Trainer, "gradient_step", and_stop)
        with pytest.raises(Interrupted, match=f"training at step {step}; the state is written"):
            test_train.trained(tmp_path, "part")
    again = test_train.trained(tmp_path, "part")
    assert torch.equal(test_train.weights(again), test_train.weights(whole))
    assert again.history == whole.history


def test_a_trajectory_that_is_killed(tmp_path, monkeypatch):
    """Anywhere between two states: here an exception that nothing catches stands for SIGKILL."""
    _, whole = test_production.make(tmp_path / "whole")
    monkeypatch.setattr("redoxmd.production.run.SEGMENT_FRAMES", 3)
    advance = test_production.TrajectoryMD.step
    for step in (5, 29, 48, 69):

        def dies(self, at=step):
            seen = advance(self)
            if self.state.step == at:
                raise KeyboardInterrupt
            return seen

        with monkeypatch.context() as patch:
            patch.setattr(test_production.TrajectoryMD, "step", dies)
            with pytest.raises(KeyboardInterrupt):
                test_production.make(tmp_path / "part")
        assert not (tmp_path / "part/t.h5").exists()
    test_production.equal(test_production.make(tmp_path / "part")[1], whole)


def test_out_of_memory(stopped_with):
    line = stopped_with(lambda: np.empty(1 << 50), "select")
    assert "out of memory" in line and "raise select's mem_mb in config/resources.yaml" in line
    assert "out of memory" in stopped_with(lambda: torch.empty(1 << 50), "train")


CUDA_WORDS = (
    "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 139.72 GiB of which 1.25 GiB is "
    "free. Including non-PyTorch memory, this process has 138.46 GiB memory in use. If reserved but unallocated memory "
    "is large try setting PYTORCH_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)


@pytest.mark.parametrize(
    ("name", "error", "remedy"),
    [
        ("production", torch.OutOfMemoryError(CUDA_WORDS), "lower compute.batch"),
        ("train", torch.OutOfMemoryError(CUDA_WORDS), "lower train.batch_size"),
        ("density", RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"), "lower density.points_per"),
        ("explore", RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), "cpu"),
    ],
)
def test_out_of_memory_of_the_gpu(stopped_with, name, error, remedy):
    """It is not the memory that Slurm grants, so `mem_mb` is no remedy."""

    def fails():
        raise error

    line = stopped_with(fails, name)
    assert "the GPU is out of memory" in line and remedy in line and "mem_mb" not in line
    if isinstance(error, torch.OutOfMemoryError):
        assert "139.72 GiB of which 1.25 GiB is free" in line and "fragmentation" not in line


def test_a_gpu_that_is_not_there(stopped_with, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    line = stopped_with(lambda: choose_device("cuda"), "train")
    assert "train.device: cuda asked for, but torch sees no GPU; use auto or cpu" in line
    assert choose_device("auto") == "cpu"


def test_a_member_that_does_not_train(tmp_path):
    """Named, with the remedy; and no file of it, so that no ensemble is made without it."""
    with pytest.raises(TrainingDiverged, match=r"member: the loss is (nan|inf).*lower\s+train.learning_rate"):
        test_train.trained(tmp_path, learning_rate=1e30)


def test_a_density_model_that_does_not_train(store, tmp_path):
    with pytest.raises(TrainingDiverged, match=r"density model: the loss is .*density\.learning_rate"):
        test_training.trained(store, tmp_path, test_training.short(learning_rate=1e30))


def test_all_candidates_above_the_ceiling(tmp_path):
    """None is collected, and the gate says what to change; the loop goes on training and ends with that message."""
    from redoxmd.jobs.checkpoint import Checkpoint

    settings = test_explore.SETTINGS.model_copy(update={"low_eV_A": 1e-9, "high_eV_A": 1e-8})
    rng = np.random.default_rng(0)
    evaluator, checkpoint = HostEvaluator(Ensemble(members())), Checkpoint(tmp_path, "f")
    run = explore(rock(2), evaluator, settings, 0.01, rng, "x3.000_random0_1x1x1", checkpoint)
    assert (run.end_reason, run.candidates) == ("spread_above_high", [])
    decision = test_gate.judged([run.record()], labels=())
    assert decision.status == "go_on"
    assert any("no frame to label (0 candidates)" in reason for reason in decision.reasons)
    with pytest.raises(NotConverged, match=r"widen explore\.low_eV_A to high_eV_A or give more initial data"):
        test_gate.judged([run.record()], labels=(), generation=3)


def test_an_empty_selection(tmp_path):
    """All candidates are known already: nothing is labelled twice, and the reasons say so."""
    frame = rock(1)
    frame.info.update(structure="s", step=1, spread_eV_A=2.0, ended="")
    from redoxmd.config.sections import Select

    selection = select([frame, frame.copy()], [frame], Ensemble(members()), Select(), 0)
    assert selection.frames == []
    assert [row["reason"] for row in selection.refused] == ["already_labelled"] * 2
    assert test_gate.judged([test_gate.ran()], labels=()).label_ids == []


def test_a_stop_in_the_middle_of_a_write_waits_for_it(tmp_path, monkeypatch):
    """SIGTERM while a segment is written: the file is finished first."""
    import redoxmd.production.run as production

    write = production.write_segment

    def signalled(path, trajectory):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
        write(path, trajectory)

    from redoxmd.errors import Interrupted

    _, whole = test_production.make(tmp_path / "whole")
    monkeypatch.setattr(production, "SEGMENT_FRAMES", 4)
    with monkeypatch.context() as patch:
        patch.setattr(production, "write_segment", signalled)
        with pytest.raises(Interrupted):
            test_production.make(tmp_path / "part")
    test_production.equal(test_production.make(tmp_path / "part")[1], whole)
