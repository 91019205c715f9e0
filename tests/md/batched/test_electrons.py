"""Electrons of MD on a device against those on the host, and trajectories against themselves."""

import numpy as np
import pytest
import torch

from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.ensemble import BatchMD
from redoxmd.md.evaluators import HostEvaluator, force_evaluator
from redoxmd.md.langevin import Langevin
from redoxmd.model import load_ensemble
from tests.md.batched.test_step import Keyed
from tests.md.test_electrons import OPEN, settings
from tests.md.test_shortlist import frame_in_a_state, saved  # noqa: F401


class KeyedAndSpawned(Keyed):
    def spawn(self, count):
        return self.rng.spawn(count)


@pytest.fixture
def exact(saved, tmp_path):  # noqa: F811
    return load_ensemble(saved, "cpu", "plain").to("cpu", torch.float64)


def test_states_of_one_system_of_a_batch_are_evaluated_as_on_the_host(exact, tmp_path):
    """Of the second of three systems, with more atoms than the others, so that no row is where it would be alone."""
    atoms, small = frame_in_a_state(tmp_path, "2x1x1", holes=4), frame_in_a_state(tmp_path)
    device, host = force_evaluator(exact, "device"), HostEvaluator(exact)
    assert isinstance(device, DeviceEvaluator)
    for evaluator in (device, host):
        evaluator.allocate(3, len(atoms))
        for slot, system in enumerate((small, atoms, small)):
            evaluator.enter(slot, system)
            positions = np.zeros((1, len(atoms), 3))
            positions[0, : len(system)] = system.positions
            evaluator.search([slot], evaluator.arrays.array(positions))
    vanadium = np.flatnonzero(atoms.numbers == 23)
    states = np.tile(np.where(atoms.numbers == 23, 3, 0), (11, 1))
    for number, state in enumerate(states):
        state[np.roll(vanadium, number)[: 2 + number % 3]] = 4
    energies = [evaluator.state_energies(1, atoms.positions, states) for evaluator in (device, host)]
    np.testing.assert_allclose(energies[0], energies[1], rtol=0, atol=1e-9)
    assert np.ptp(energies[1]) > 0.1
    found, expected = (evaluator.state_forces(1, atoms.positions, states[3]) for evaluator in (device, host))
    np.testing.assert_allclose(found.energies_eV, energies[1][:, 3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.forces_eV_A, expected.forces_eV_A, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found.species_gradient_eV, expected.species_gradient_eV, rtol=0, atol=1e-9)


def trajectory(evaluator, atoms, electrons, read_every=None, slots=1):
    batch = BatchMD(evaluator, slots, len(atoms), read_every, electrons=electrons)
    return batch.enter(slots - 1, atoms, Langevin(atoms.get_masses(), 1.0, 900.0, 0.02), OPEN)


@pytest.mark.parametrize(("md", "skin_A"), [("lowest", 0.5), ("thermal", 0.5), ("thermal", 0.06)])
def test_a_trajectory_of_the_device_is_that_of_the_host(exact, md, skin_A, tmp_path):
    """In double precision with the same noise; the reading interval is no multiple of that of the moves.

    With the smallest skin the trajectory waits for its pairs also where the electrons have just moved.
    """
    atoms, electrons = frame_in_a_state(tmp_path), settings(md=md, move_every_fs=3.0)
    host = trajectory(HostEvaluator(exact), atoms, electrons)
    device = trajectory(DeviceEvaluator(exact, skin_A=skin_A), atoms, electrons, read_every=4, slots=2)
    host.start(KeyedAndSpawned(5))
    device.start(np.random.default_rng(5))
    for _ in range(24):
        results = [md.step() for md in (host, device)]
        assert host.state.step == device.state.step
        assert host.electrons.oxidation.tolist() == device.electrons.oxidation.tolist()
        np.testing.assert_allclose(device.state.positions_A, host.state.positions_A, rtol=0, atol=1e-8)
        assert results[1].energy_eV == pytest.approx(results[0].energy_eV, abs=1e-7)
    hops = [np.array(md.electrons.hops) for md in (host, device)]
    assert len(hops[0])
    np.testing.assert_allclose(hops[1], hops[0], rtol=0, atol=1e-7)


@pytest.mark.parametrize("md", ["lowest", "thermal"])
def test_a_trajectory_of_the_device_resumes_bit_for_bit(exact, md, tmp_path):
    atoms, electrons = frame_in_a_state(tmp_path), settings(md=md, move_every_fs=3.0)
    whole = trajectory(DeviceEvaluator(exact), atoms, electrons)
    whole.start(np.random.default_rng(5))
    for _ in range(9):
        whole.step()
    np.savez(tmp_path / "state.npz", **whole.state_record())
    for _ in range(12):
        whole.step()
    resumed = trajectory(DeviceEvaluator(exact), atoms, electrons, read_every=5)
    with np.load(tmp_path / "state.npz") as record:
        resumed.restore(dict(record))
    for _ in range(12):
        resumed.step()
    assert len(whole.electrons.hops)
    for key, value in whole.state_record().items():
        np.testing.assert_array_equal(resumed.state_record()[key], value, err_msg=key)


def test_a_trajectory_saved_between_a_move_and_its_step_resumes_bit_for_bit(exact, tmp_path):
    """Where it waits for its pairs with the electrons moved, as the other trajectories of a batch go on."""
    atoms, electrons = frame_in_a_state(tmp_path), settings(md="thermal", move_every_fs=3.0)
    whole = trajectory(DeviceEvaluator(exact, skin_A=0.06), atoms, electrons)
    whole.start(np.random.default_rng(5))
    while not (whole.state.step and whole.state.step % 3 == 0 and whole.state_record()["electrons_moved"]):
        if not whole.pending:
            whole.batch.advance()
        if whole.pending:
            whole.step()
    np.savez(tmp_path / "state.npz", **whole.state_record())
    resumed = trajectory(DeviceEvaluator(exact, skin_A=0.06), atoms, electrons)
    with np.load(tmp_path / "state.npz") as record:
        assert record["electrons_moved"]
        resumed.restore(dict(record))
    end = whole.state.step + 9
    for md in (whole, resumed):
        while md.state.step < end:
            md.step()
    assert len(whole.electrons.hops)
    for key, value in whole.state_record().items():
        np.testing.assert_array_equal(resumed.state_record()[key], value, err_msg=key)
