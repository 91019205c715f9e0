import numpy as np
import pytest
from scipy.stats import kstest

from redoxmd.md.langevin import Langevin, MDState
from redoxmd.units import BOLTZMANN_EV_PER_K

SPRING_EV_A2 = 5.0
MASSES = np.array([23.0, 16.0, 51.0, 31.0] * 8)


def harmonic(positions):
    return -SPRING_EV_A2 * positions


def run(langevin, state, steps, every=0):
    kept = []
    for n in range(steps):
        langevin.step(state, harmonic)
        if every and n % every == 0:
            kept.append((langevin.temperature_of(state), state.positions_A.copy()))
    return kept


def started(langevin, seed=0):
    rng = np.random.default_rng(seed)
    positions = np.zeros((len(langevin.masses_amu), 3))
    return langevin.start(positions, harmonic(positions), rng)


def test_constant_energy_without_friction():
    langevin = Langevin(MASSES, 0.5, 500.0, 0.0)
    state = started(langevin)

    def energy():
        return langevin.kinetic_eV(state) + 0.5 * SPRING_EV_A2 * (state.positions_A**2).sum()

    before = energy()
    drift = []
    for _ in range(4000):
        langevin.step(state, harmonic)
        drift.append(energy() - before)
    # Velocity Verlet oscillates with (ωΔt)²/8 of the energy and does not drift.
    assert abs(np.mean(drift[-500:]) - np.mean(drift[:500])) < 1e-4 * before
    assert np.abs(drift).max() < 5e-3 * before


def test_temperature_and_its_distribution():
    langevin = Langevin(MASSES, 2.0, 700.0, 0.05)
    state = started(langevin)
    run(langevin, state, 500)
    kept = run(langevin, state, 40000, every=200)
    temperatures = np.array([t for t, _ in kept])
    degrees = 3 * len(MASSES) - 3
    assert temperatures.mean() == pytest.approx(700.0, abs=4 * temperatures.std() / np.sqrt(len(temperatures)))
    # Kinetic energy in k_B T/2 is chi-squared with 3n − 3 degrees of freedom.
    assert kstest(temperatures * degrees / 700.0, "chi2", args=(degrees,)).pvalue > 0.01


def test_positions_sample_the_boltzmann_distribution():
    """⟨x²⟩ = k_B T/k for a harmonic well: BAOAB samples positions exactly, at any stable time step."""
    langevin = Langevin(MASSES, 4.0, 600.0, 0.05)
    state = started(langevin)
    run(langevin, state, 500)
    squares = np.array([(x[:, 0] ** 2).mean() for _, x in run(langevin, state, 50000, every=20)])
    # Σ m x = 0 is conserved, which takes one of n degrees of freedom from the mean over atoms.
    expected = BOLTZMANN_EV_PER_K * 600.0 / SPRING_EV_A2 * (1 - 1 / len(MASSES))
    # Samples are 80 fs apart, about one correlation time.
    error = squares.std() / np.sqrt(len(squares) / 3)
    assert squares.mean() == pytest.approx(expected, abs=5 * error)
    assert 5 * error < 0.05 * expected


def test_momentum_stays_zero():
    langevin = Langevin(MASSES, 1.0, 500.0, 0.1)
    state = langevin.start(np.zeros((len(MASSES), 3)), np.zeros((len(MASSES), 3)), np.random.default_rng(1))
    for _ in range(100):
        langevin.step(state, np.zeros_like)
    assert np.abs((MASSES[:, None] * state.velocities_A_fs).sum(axis=0)).max() < 1e-10


def test_start_has_the_asked_temperature_on_average():
    langevin = Langevin(MASSES, 1.0, 1000.0, 0.01)
    temperatures = [langevin.temperature_of(started(langevin, seed)) for seed in range(300)]
    error = np.std(temperatures) / np.sqrt(len(temperatures))
    assert np.mean(temperatures) == pytest.approx(1000.0, abs=4 * error)


def test_continued_equals_uninterrupted(tmp_path):
    langevin = Langevin(MASSES, 1.0, 800.0, 0.02)
    whole = started(langevin)
    run(langevin, whole, 60)
    part = started(langevin)
    run(langevin, part, 23)
    np.savez(tmp_path / "state.npz", **part.record())
    with np.load(tmp_path / "state.npz") as stored:
        part = MDState.from_record(dict(stored))
    run(langevin, part, 37)
    assert part.step == whole.step
    assert np.array_equal(part.positions_A, whole.positions_A)
    assert np.array_equal(part.velocities_A_fs, whole.velocities_A_fs)
