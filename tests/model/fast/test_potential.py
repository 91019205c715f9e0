"""The compiled ensemble against the plain one in double precision, which finite differences vouch for."""

import copy
import logging

import numpy as np
import pytest
import torch

from redoxmd.md.ensemble import ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from redoxmd.model.fast import build
from redoxmd.model.fast.potential import HalfPairs
from redoxmd.model.graph import species_index
from redoxmd.model.neighbours import find_pairs
from tests.conftest import rock
from tests.model.test_ensemble import members

# Of the largest force: single precision, other order of summation.
SINGLE = 1e-5

needs_compiler = pytest.mark.skipif(build.kernels() is None, reason="no C++ compiler")


def singles(count=3, **changes):
    return members(count, torch.float32, **changes)


def in_double(ensemble):
    return Ensemble([copy.deepcopy(member).double() for member in ensemble.members])


def agree(fast, plain):
    size = np.abs(plain.member_forces_eV_A).max()
    np.testing.assert_allclose(fast.member_forces_eV_A, plain.member_forces_eV_A, atol=SINGLE * size)
    np.testing.assert_allclose(fast.energies_eV, plain.energies_eV, rtol=SINGLE, atol=1e-5)
    np.testing.assert_allclose(fast.stress_eV_A3, plain.stress_eV_A3, atol=SINGLE * np.abs(plain.stress_eV_A3).max())


@needs_compiler
@pytest.mark.parametrize(
    "changes",
    [
        {"layers": 1},
        {"layers": 2, "features": 16},
        {"layers": 4, "features": 37, "radial_functions": 20},
        {"layers": 3, "features": 130, "cutoff_A": 5.0, "radial_functions": 20},
        {"layers": 3, "core_repulsion": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("repeat", [1, 2])
def test_energies_forces_and_stress_equal_the_plain_path(changes, repeat):
    """A crystal small enough to meet its own images, and a larger one, whose plain sums run pair by pair."""
    parts = singles(**changes)
    for member in parts:
        member.scale_eV.fill_(0.7)
        member.reference_eV += torch.arange(4)
    ensemble = Ensemble(parts)
    assert ensemble.path == "compiled kernels"
    atoms = rock(1, repeat=repeat)
    agree(ensemble.predict(atoms), in_double(ensemble).predict(atoms))


@needs_compiler
def test_close_contacts_repel_as_in_the_plain_path():
    atoms = rock(2)
    atoms.positions[1] = atoms.positions[0] + [0.7, 0.2, 0.1]
    ensemble = Ensemble(singles())
    plain = in_double(ensemble).predict(atoms)
    assert np.abs(plain.forces_eV_A).max() > 50
    agree(ensemble.predict(atoms), plain)


@needs_compiler
def test_atoms_without_neighbours_and_cells_without_periods():
    atoms = rock(3)[:3]
    atoms.pbc = False
    atoms.positions[2] += 40.0
    ensemble = Ensemble(singles())
    prediction = ensemble.predict(atoms)
    agree(prediction, in_double(ensemble).predict(atoms))
    np.testing.assert_array_equal(prediction.member_forces_eV_A[:, 2], 0.0)
    alone = atoms[2:]
    np.testing.assert_allclose(
        ensemble.predict(alone).energies_eV, in_double(ensemble).predict(alone).energies_eV, rtol=1e-5
    )


@needs_compiler
def test_half_the_pairs_are_every_pair_once():
    atoms = rock(4)
    cell = np.asarray(atoms.cell)
    pairs = find_pairs(atoms.positions, cell, atoms.pbc, 6.0)
    half = HalfPairs.of(pairs, atoms)
    assert sorted(half.order) == list(range(len(atoms)))
    assert 2 * len(half.first) == len(pairs.receiver)
    positions = atoms.positions[half.order]
    vectors = positions[half.second] - positions[half.first] + half.offset_A
    found = np.concatenate([vectors, -vectors])
    expected = pairs.vectors_A(atoms.positions, cell)
    order = [np.lexsort(np.round(values, 9).T) for values in (found, expected)]
    np.testing.assert_allclose(found[order[0]], expected[order[1]], atol=1e-9)


@needs_compiler
def test_what_is_not_a_number_is_not_hidden():
    atoms = rock(5)
    ensemble = Ensemble(singles())
    predict, species = ensemble.bind(atoms), species_index(atoms.numbers, ensemble.elements)
    positions = atoms.positions.copy()
    positions[3, 1] = np.nan
    assert not np.isfinite(predict(positions, species).member_forces_eV_A).all()


@needs_compiler
def test_threads_and_repetition_change_no_bit():
    atoms, ensemble = rock(6, repeat=2), Ensemble(singles(4))
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 1, 2, 4):
            torch.set_num_threads(threads)
            results.append(ensemble.predict(atoms))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        np.testing.assert_array_equal(other.member_forces_eV_A, results[0].member_forces_eV_A)
        np.testing.assert_array_equal(other.energies_eV, results[0].energies_eV)


def md(atoms, ensemble, temperature_K=600.0, friction_per_fs=0.01):
    langevin = Langevin(atoms.get_masses(), 0.5, temperature_K, friction_per_fs)
    return ensemble_md(HostEvaluator(ensemble), atoms, langevin, GateSettings(1e3, 2e3, "max", 0.1, 100.0))


@needs_compiler
def test_stopped_and_continued_equals_uninterrupted_bit_for_bit():
    atoms = rock(7, rattle_A=0.02, repeat=2)
    whole = md(atoms, Ensemble(singles()))
    whole.start(np.random.default_rng(0))
    for _ in range(60):
        whole.step()
    first = md(atoms, Ensemble(singles()))
    first.start(np.random.default_rng(0))
    for _ in range(25):
        first.step()
    second = md(atoms, Ensemble(singles()))
    second.restore(first.state_record())
    for _ in range(35):
        second.step()
    np.testing.assert_array_equal(second.state.positions_A, whole.state.positions_A)


@needs_compiler
def test_constant_energy_is_kept_as_well_as_on_the_plain_path():
    """Velocity Verlet of 16 atoms through 0.1 ps: trend of the total energy."""
    atoms = rock(8, rattle_A=0.02).repeat((2, 1, 1))
    trends = []
    for evaluation in ("auto", "plain"):
        run = md(atoms, Ensemble(singles(features=16), evaluation=evaluation), friction_per_fs=0.0)
        seen = run.start(np.random.default_rng(1))
        energies = []
        for _ in range(200):
            seen = run.step()
            energies.append(seen.energy_eV + run.langevin.kinetic_eV(run.state))
        trends.append(np.polyfit(np.arange(200) * 0.5e-3, np.array(energies) / len(atoms), 1)[0])
    kelvin = run.langevin.temperature_of(run.state)
    assert 100 < kelvin < 3000
    # eV/atom/ps; a thousandth of the thermal energy in a picosecond would show.
    assert np.abs(trends).max() < 1e-3 * 1.5 * 8.617e-5 * kelvin
    assert abs(trends[0] - trends[1]) < 1e-5


def test_the_plain_path_on_demand_and_in_double_precision():
    assert Ensemble(singles(), evaluation="plain").path == "PyTorch on cpu"
    assert Ensemble(members()).path == "PyTorch on cpu"
    moved = Ensemble(singles())
    assert moved.path != "" and moved.to("cpu", torch.float64).path == "PyTorch on cpu"


def test_without_a_compiler_the_plain_path_is_taken_and_said(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CXX", "nothing")
    build.kernels.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "redoxmd"):
            ensemble = Ensemble(singles())
            assert ensemble.path == "PyTorch on cpu"
            ensemble.predict(rock(1))
        assert caplog.text.count("no C++ compiler") == 1
    finally:
        build.kernels.cache_clear()


def test_a_source_that_does_not_compile_is_said_with_the_compiler_s_words(monkeypatch, tmp_path, caplog):
    source = tmp_path / "kernels.cpp"
    source.write_text("int main( {\n")
    monkeypatch.setattr(build, "SOURCE", source)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    build.kernels.cache_clear()
    try:
        with caplog.at_level(logging.WARNING, "redoxmd"):
            assert build.kernels() is None
        assert "the plain path is taken" in caplog.text
        assert list((tmp_path / "cache/redoxmd").iterdir()) == []
    finally:
        build.kernels.cache_clear()


@needs_compiler
def test_kernels_are_built_once_for_all_processes(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first = build._built()
    assert first.parent == tmp_path / "redoxmd"
    before = first.stat().st_mtime_ns
    assert build._built() == first
    assert first.stat().st_mtime_ns == before
    monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "-DOTHER"))
    assert build._built() != first
