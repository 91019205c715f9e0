import numpy as np
import pytest
import torch

from redoxmd.density.predict import predict_density
from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.pairs import PairRows, search
from redoxmd.md.ensemble import BatchMD, ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from tests.conftest import rock
from tests.density.test_network import random_model
from tests.md.batched.test_pairs import crowd, evaluator_of, padded, rows_of
from tests.md.batched.test_step import SYSTEMS, batch_of, steps_of
from tests.model.test_ensemble import members

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
