import os
import signal
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from ase.io import write

from redoxmd.config import parse_config
from redoxmd.config.declared import read_settings, runtime_settings
from redoxmd.config.sections import Explore, Production
from redoxmd.errors import Interrupted
from redoxmd.explore import explore
from redoxmd.files.layout import trajectories, trajectory_batches, trajectory_settings
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.ensemble import BatchMD, TrajectoryMD
from redoxmd.md.evaluators import force_evaluator
from redoxmd.model.ensemble import Ensemble
from redoxmd.production import TrajectorySpec, produce, run_batch, trajectory_spec
from tests.conftest import rock
from tests.md.batched.test_step import Keyed
from tests.model.test_ensemble import members

# Positions are stored in single precision.
STORED_A = 1e-6
SETTINGS = Production(
    length_ps=0.03, equilibration_ps=0.01, timestep_fs=1.0, save_every_fs=5.0, stop_above_eV_A=1e6, friction_per_fs=0.02
)
STRUCTURES = {"x2.500_random0_1x1x1": rock(2, rattle_A=0.0)[:7], "x3.000_random1_1x1x1": rock(2, rattle_A=0.0)}


def calm():
    """Untrained members that hardly push: the atoms move by their heat."""
    found = members(2, core_repulsion=False)
    for member in found:
        member.scale_eV.fill_(0.05)
    return Ensemble(found, evaluation="plain")


def on_device():
    return DeviceEvaluator(calm())


def plan(folder, number, kelvin=300.0, rng=None, **changes):
    """Trajectory `number` of a run: every other is of the smaller structure."""
    name = list(STRUCTURES)[number % 2]
    return TrajectorySpec(
        STRUCTURES[name],
        SETTINGS.model_copy(update=changes),
        kelvin,
        rng or np.random.default_rng(number),
        # Without the length, as in the workflow.
        Checkpoint(folder / f"state{number}", [name, kelvin]),
        folder / f"{number}.h5",
        {"structure": name, "mobile_ion": "Na", "model": "m"},
    )


def campaign(folder, **changes):
    folder.mkdir(exist_ok=True)
    lengths = (0.03, 0.012, 0.04, 0.02, 0.025)
    return [plan(folder, n, 250.0 + 20 * n, **{"length_ps": lengths[n], **changes}) for n in range(5)]


def close(one, other):
    assert one.metadata["end_reason"] == other.metadata["end_reason"]
    np.testing.assert_array_equal(one.steps, other.steps)
    for name in ("positions_A", "temperature_K", "energy_eV", "spread_eV_A"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=STORED_A, rtol=STORED_A)


def made(specs):
    return [read_trajectory(one.output) for one in specs]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Every trajectory of the campaign in a process of its own."""
    specs = campaign(tmp_path_factory.mktemp("alone"))
    return [run_batch([one], on_device(), 1) and read_trajectory(one.output) for one in specs]


def test_alone_it_is_that_of_the_host(tmp_path):
    trajectories = []
    for backend in ("host", "device"):
        one = replace(plan(tmp_path, 1, rng=Keyed(3)), checkpoint=Checkpoint(tmp_path / backend, 0))
        produce(one, force_evaluator(calm(), backend))
        trajectories.append(read_trajectory(one.output))
    close(*trajectories)
    assert trajectories[1].metadata["evaluation"] == "PyTorch on cpu, MD on the device"
    assert len(trajectories[0].steps) == 7


@pytest.mark.parametrize("at_once", [2, 9])
def test_side_by_side_they_are_as_if_alone(tmp_path, alone, at_once):
    specs = campaign(tmp_path)
    summaries = run_batch(specs, on_device(), at_once)
    assert [summary.end_reason for summary in summaries] == ["completed"] * 5
    assert [summary.length_ps for summary in summaries] == pytest.approx([0.03, 0.012, 0.04, 0.02, 0.025])
    for one, other in zip(made(specs), alone, strict=True):
        close(one, other)
    # Nothing but what a longer one goes on from.
    assert sorted(path.name[:5] for path in (tmp_path / "state0").iterdir()) == ["finge", "state", "whole"]


def test_one_that_the_gate_ends_leaves_and_the_next_one_enters(tmp_path, alone):
    specs = campaign(tmp_path)
    spreads = alone[0].spread_eV_A
    ceiling = float(np.sort(spreads)[-1] + np.sort(spreads)[-2]) / 2
    specs[0] = plan(tmp_path, 0, 250.0, stop_above_eV_A=ceiling)
    first, *others = run_batch(specs, on_device(), 2)
    assert first.end_reason == "spread_above_high"
    assert {summary.end_reason for summary in others} == {"completed"}
    cut, *rest = made(specs)
    assert len(cut.steps) < len(alone[0].steps)
    np.testing.assert_allclose(cut.positions_A, alone[0].positions_A[: len(cut.steps)], atol=STORED_A)
    for one, other in zip(rest, alone[1:], strict=True):
        close(one, other)


def test_stopped_and_continued_alone_and_together(tmp_path, monkeypatch, alone):
    specs = campaign(tmp_path, checkpoint_every_s=1e-3)
    advance, calls = BatchMD.advance, []

    def stop_at_the_third(self):
        advance(self)
        calls.append(self)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(BatchMD, "advance", stop_at_the_third)
        with pytest.raises(Interrupted, match="of 5 trajectories done; the state is written"):
            run_batch(specs, on_device(), 2)
    again = campaign(tmp_path)
    run_batch([again[0]], on_device(), 1)
    run_batch(again, on_device(), 3)
    for one, other in zip(made(again), alone, strict=True):
        close(one, other)


def test_made_longer_they_run_what_is_added(tmp_path, monkeypatch, alone):
    run_batch(campaign(tmp_path, length_ps=0.012), on_device(), 2)
    steps = []
    step = TrajectoryMD.step
    monkeypatch.setattr(TrajectoryMD, "step", lambda self: steps.append(1) or step(self))
    again = campaign(tmp_path)
    run_batch(again, on_device(), 2)
    assert len(steps) == 18 + 0 + 28 + 8 + 13
    for one, other in zip(made(again), alone, strict=True):
        close(one, other)
    run_batch(campaign(tmp_path), on_device(), 2)
    assert len(steps) == 67


def test_the_host_takes_up_what_the_device_began(tmp_path):
    one = plan(tmp_path, 1, length_ps=0.02)
    run_batch([one], on_device(), 1)
    begun = read_trajectory(one.output)
    one = plan(tmp_path, 1)
    produce(one, force_evaluator(calm()))
    whole = read_trajectory(one.output)
    assert whole.steps.tolist() == list(range(0, 31, 5))
    np.testing.assert_array_equal(whole.positions_A[: len(begun.steps)], begun.positions_A)


def test_nothing_to_do():
    assert run_batch([], on_device(), 4) == []


@pytest.mark.parametrize("end", ["survived", "spread_above_high", "temperature_runaway"])
def test_explore_collects_what_it_collects_step_by_step(tmp_path, end):
    settings = Explore(
        timestep_fs=1.0, temperature_K=300.0, candidate_every_fs=5.0, trace_every_fs=2.0, min_distance_fraction=0.1
    )
    atoms = rock(2, rattle_A=0.0)

    def run(backend, name, **changes):
        changed = settings.model_copy(
            update={"low_eV_A": 0.0, "high_eV_A": 1e6, "max_temperature_factor": 1e6, **changes}
        )
        checkpoint = Checkpoint(tmp_path / f"{backend}{name}", 0)
        return explore(atoms, force_evaluator(calm(), backend), changed, 0.05, Keyed(6), "start", checkpoint)

    trace = run("host", "free", trace_every_fs=1.0).trace
    # Off the values themselves: at one of them rounding would decide.
    spreads, kelvins = trace["spread_eV_A"] + 1e-6, trace["temperature_K"]
    changes = {
        "survived": {"low_eV_A": float(spreads.median())},
        "spread_above_high": {"low_eV_A": float(spreads[:25].median()), "high_eV_A": float(spreads[:25].max())},
        "temperature_runaway": {"low_eV_A": 1e5, "max_temperature_factor": float(kelvins[:25].max() + 1e-3) / 300},
    }[end]
    host, device = run("host", end, **changes), run("device", end, **changes)
    assert (device.end_reason, device.survived_ps) == (host.end_reason, host.survived_ps)
    pd.testing.assert_frame_equal(device.trace, host.trace, rtol=STORED_A)
    assert len(host.candidates) > 0 or host.end_reason == "survived"
    for one, other in zip(device.candidates, host.candidates, strict=True):
        assert (one.info["step"], one.info.get("ended")) == (other.info["step"], other.info.get("ended"))
        np.testing.assert_allclose(one.positions, other.positions, atol=STORED_A)
        np.testing.assert_allclose(one.arrays["momenta"], other.arrays["momenta"], atol=STORED_A)


def test_the_log_says_which_path_it_took(caplog):
    with caplog.at_level("INFO", logger="redoxmd"):
        BatchMD(on_device(), 4, 16).enter(0, rock(1), *_ways())
    assert "evaluated by PyTorch on cpu, MD on the device, 4 side by side" in caplog.text


def _ways():
    one = TrajectorySpec(rock(1), SETTINGS, 300.0, np.random.default_rng(0), None, "", {})
    return one.langevin, one.gate


def test_members_in_single_precision_are_taken_as_they_are():
    ensemble = calm().to("cpu", torch.float32)
    md = BatchMD(DeviceEvaluator(ensemble), 1, 8).enter(0, rock(1), *_ways())
    assert np.isfinite(md.start(np.random.default_rng(0)).spread_eV_A)


def grid(**changes):
    production = {"x": [2.0, 3.0], "temperatures_K": [300.0, 600.0], "replicas": 2, "supercell": [1, 1, 1], **changes}
    return parse_config({"production": production}).production


def test_batches_hold_every_trajectory_once_and_cells_of_one_size():
    more = [{"x": [2.0], "temperatures_K": [300.0], "replicas": 3, "supercell": [2, 1, 1]}]
    production = grid(more=more)
    batches = trajectory_batches(production, 4)
    assert sorted(name for batch in batches for name in batch) == sorted(trajectories(production))
    assert [len(batch) for batch in batches] == [4, 4, 3]
    assert [{name.split("_")[-1] for name, _ in batch} for batch in batches] == [{"1x1x1"}, {"1x1x1"}, {"2x1x1"}]
    assert trajectory_batches(production, 1) == [[name] for batch in batches for name in batch]


def test_more_replicas_leave_full_batches_as_they_are():
    few, many = (trajectory_batches(grid(replicas=count), 4) for count in (2, 3))
    assert many[:2] == few and len(many) == 3


def test_a_batch_and_a_job_of_its_own_share_a_trajectory_s_state(tmp_path):
    """As the scripts of both rules call them: written by the one, only written out by the other."""
    settings = {"length_ps": 0.02, "equilibration_ps": 0.005, "timestep_fs": 1.0, "save_every_fs": 5.0}
    config = parse_config({"production": {"stop_above_eV_A": 1e6, **settings}, "compute": {"md": "device", "batch": 2}})
    names = [(structure, "300") for structure in STRUCTURES]
    for structure, atoms in STRUCTURES.items():
        write(tmp_path / f"{structure}.extxyz", atoms)

    def specs(folder, length_ps=0.02):
        folder.mkdir(exist_ok=True)
        declared = trajectory_settings(config.production, length_ps)
        settings = read_settings(Production, "production", declared, runtime_settings({}).production)
        return [
            trajectory_spec(
                *(settings, declared, structure, kelvin, tmp_path / f"{structure}.extxyz"),
                *(tmp_path / f"state/{structure}", folder / f"{structure}.h5", "model", 0, "Na"),
            )
            for structure, kelvin in names
        ]

    together = specs(tmp_path / "together")
    run_batch(together, on_device(), 2)
    alone = specs(tmp_path / "alone")
    for one, other in zip(alone, together, strict=True):
        step = int(one.checkpoint.load("state")["step"])
        assert (step, produce(one, on_device()).length_ps) == (25, pytest.approx(0.02))
        np.testing.assert_array_equal(*(read_trajectory(spec.output).positions_A for spec in (one, other)))
    longer = specs(tmp_path / "longer", 0.03)
    run_batch(longer, on_device(), 2)
    assert {int(one.checkpoint.load("state")["step"]) for one in longer} == {35}
    for one, other in zip(longer, together, strict=True):
        whole, begun = (read_trajectory(spec.output) for spec in (one, other))
        np.testing.assert_array_equal(whole.positions_A[: len(begun.steps)], begun.positions_A)
