"""Electrons in ensemble MD: moves against independent predictions, neutrality of every frame, resume, files."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from ase.io import read, write

from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Electrons, Explore, OxidationState, Production, Select
from redoxmd.electrons.states import OxidationLevels
from redoxmd.errors import ConfigError, StructureError
from redoxmd.explore import _Recorder, explore
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.trajectory import read_trajectory
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.md.electrons import Hop
from redoxmd.md.ensemble import StepResult, ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model import Ensemble, EnsembleCalculator, load_ensemble, save_ensemble
from redoxmd.model.painn import Painn
from redoxmd.production import produce, trajectory_spec
from redoxmd.production.run import TrajectorySpec
from redoxmd.select import select
from tests.engines.test_engines import nvp

OPEN = GateSettings(1e3, 1e4, "max", 0.01, 1e6)
LEVELS = {"V": {3: OxidationState(moment_muB=1.85), 4: OxidationState(moment_muB=1.05)}}
SPECIES = {"elements": [8, 11, 15, 23, 23], "states": [0, 0, 0, 3, 4]}


def settings(**changes):
    return Electrons(levels=LEVELS, **{"md": "lowest", "move_every_fs": 2.0, **changes})


@pytest.fixture(scope="module")
def ensemble():
    """Three networks with random weights, whose readouts are scaled so that states differ by tenths of an eV."""
    members = []
    for seed in range(3):
        torch.manual_seed(seed)
        member = Painn(SPECIES["elements"], 8, 2, 4.0, 6, states=SPECIES["states"])
        member.scale_eV.fill_(0.3)
        members.append(member)
    return Ensemble(members)


def start(ensemble, electrons, seed=1, atoms=None):
    atoms = nvp(2.5) if atoms is None else atoms
    md = ensemble_md(HostEvaluator(ensemble), atoms, Langevin(atoms.get_masses(), 1.0, 900.0, 0.02), OPEN, electrons)
    return md, md.start(np.random.default_rng(seed))


def mean_energy(ensemble, frame, state):
    """Of the plain path, with the state as the atoms' own array."""
    other = frame.copy()
    other.set_array("oxidation", np.array(state))
    return Ensemble(ensemble.members, evaluation="plain").predict(other).energy_eV


def orders(frame):
    """All neutral charge orders, by hand: the sum of all charges is zero."""
    charge = {"Na": 1, "P": 5, "O": -2}
    vanadium = np.flatnonzero(frame.numbers == 23)
    rest = sum(charge.get(symbol, 0) for symbol in frame.symbols)
    holes = -rest - 3 * len(vanadium)
    for mask in range(2 ** len(vanadium)):
        state = np.zeros(len(frame), dtype=int)
        state[vanadium] = [3 + (mask >> k & 1) for k in range(len(vanadium))]
        if (state[vanadium] == 4).sum() == holes:
            yield state


def test_a_trajectory_starts_in_the_lowest_state_of_all(ensemble):
    md, _ = start(ensemble, settings())
    frame = md.frame()
    energies = [mean_energy(ensemble, frame, state) for state in orders(frame)]
    assert len(energies) > 1
    assert mean_energy(ensemble, frame, frame.arrays["oxidation"]) == pytest.approx(min(energies), abs=1e-5)


def test_every_frame_is_neutral_and_no_swap_lowers_its_energy_when_electrons_have_moved(ensemble):
    md, _ = start(ensemble, settings(move_every_fs=1.0))
    for _ in range(20):
        before = md.frame()
        md.step()
        # The electrons moved at the positions before the step.
        state = md.frame().arrays["oxidation"]
        assert sorted(state[state > 0]) == sorted(next(iter(orders(before)))[state > 0])
        here = mean_energy(ensemble, before, state)
        assert here <= min(mean_energy(ensemble, before, other) for other in orders(before)) + 2e-4


def test_forces_and_energy_of_a_step_are_those_of_its_state(ensemble):
    md, _ = start(ensemble, settings(md="thermal", move_every_fs=1.0), seed=3)
    seen = set()
    for _ in range(30):
        result = md.step()
        frame = md.frame()
        seen.add(frame.arrays["oxidation"].tobytes())
        prediction = Ensemble(ensemble.members, evaluation="plain").predict(frame)
        assert result.energy_eV == pytest.approx(prediction.energy_eV, abs=1e-4)
        assert np.allclose(md.state.forces_eV_A, prediction.forces_eV_A, atol=1e-4)
    assert len(seen) > 1
    assert len(md.electrons.hops) >= len(seen) - 1


def test_a_hop_has_the_energy_and_spread_of_independent_predictions(ensemble):
    md, _ = start(ensemble, settings(md="thermal", move_every_fs=1.0), seed=3)
    checked = 0
    for _ in range(30):
        before, known = md.frame(), len(md.electrons.hops)
        md.step()
        for hop in md.electrons.hops[known:]:
            # A move can make several hops, one after the other.
            after = before.copy()
            state = before.arrays["oxidation"].copy()
            assert (state[hop.donor], state[hop.acceptor]) == (3, 4)
            state[[hop.donor, hop.acceptor]] = 4, 3
            after.set_array("oxidation", state)
            plain = Ensemble(ensemble.members, evaluation="plain")
            change = plain.predict(after).energies_eV - plain.predict(before).energies_eV
            assert hop.energy_eV == pytest.approx(change.mean(), abs=1e-4)
            assert hop.spread_eV == pytest.approx(change.std(ddof=1), abs=1e-4)
            before, checked = after, checked + 1
    assert checked


def test_frozen_electrons_stay(ensemble):
    md, _ = start(ensemble, settings(md="frozen", move_every_fs=1.0))
    before = md.frame().arrays["oxidation"]
    for _ in range(10):
        md.step()
    assert np.array_equal(md.frame().arrays["oxidation"], before)
    assert md.electrons.hops == []


def test_a_given_state_is_kept_and_a_foreign_one_refused(ensemble):
    atoms = nvp(2.5)
    given = list(orders(atoms))[-1]
    atoms.set_array("oxidation", given)
    md, _ = start(ensemble, settings(md="frozen"), atoms=atoms)
    assert np.array_equal(md.frame().arrays["oxidation"], given)
    # Neutral, but with states that the networks have not learned.
    atoms.arrays["oxidation"][np.flatnonzero(given)] = 5, 2, 3, 3
    with pytest.raises(StructureError, match="V with oxidation 2, V with oxidation 5: no training frame has it"):
        start(ensemble, settings(), atoms=atoms)


def test_a_potential_of_states_refuses_atoms_without(ensemble):
    with pytest.raises(StructureError, match="which these atoms lack"):
        ensemble.predict(nvp(2.5))
    with pytest.raises(ConfigError, match=r"electrons\.levels"):
        start(ensemble, Electrons())


@pytest.mark.parametrize("md", ["lowest", "thermal"])
def test_exploration_resumes_bit_for_bit_and_its_candidates_have_states(ensemble, md, tmp_path):
    """Stopped in the middle and continued from its file, against a run without a stop."""
    chosen = Explore(timestep_fs=1.0, temperature_K=900.0, low_eV_A=1e-6, high_eV_A=1e4, candidate_every_fs=4.0)
    chosen = chosen.model_copy(update={"min_distance_fraction": 0.01, "max_temperature_factor": 1e6})
    electrons = settings(md=md, move_every_fs=1.0)

    def run(folder, length_ps):
        evaluator = HostEvaluator(ensemble)
        checkpoint = Checkpoint(tmp_path / folder, ["same"])
        return explore(nvp(2.5), evaluator, chosen, length_ps, np.random.default_rng(3), "a", checkpoint, electrons)

    whole = run("whole", 0.03)
    run("parts", 0.013)
    parts = run("parts", 0.03)
    for name, made in (("whole", whole), ("parts", parts)):
        write_frames(tmp_path / f"{name}.extxyz", made.candidates)
    assert (tmp_path / "whole.extxyz").read_text() == (tmp_path / "parts.extxyz").read_text()
    frames = read_frames(tmp_path / "whole.extxyz")
    assert len(frames) > 3
    holes = {tuple(sorted(frame.arrays["oxidation"][frame.numbers == 23])) for frame in frames}
    assert holes == {(3, 3, 3, 4)}


def test_production_writes_states_and_hops_and_is_extended_bit_for_bit(ensemble, tmp_path, monkeypatch):
    # Half of all swaps are rejected, and half of these are checked.
    monkeypatch.setattr("redoxmd.electrons.moves.acceptance", lambda *_: 0.5)
    monkeypatch.setattr("redoxmd.electrons.moves.CHECK_EVERY", 2)
    electrons = settings(md="thermal", move_every_fs=1.0)
    save_ensemble(tmp_path / "ensemble.pt", ensemble)

    def run(folder, length_ps):
        chosen = Production(timestep_fs=1.0, equilibration_ps=0.005, save_every_fs=2.0, stop_above_eV_A=1e6)
        spec = TrajectorySpec(
            nvp(2.5),
            chosen.model_copy(update={"length_ps": length_ps}),
            900.0,
            np.random.default_rng(3),
            Checkpoint(tmp_path / folder, ["same"]),
            tmp_path / f"{folder}.h5",
            {"structure": "x2.500_random0_1x1x1"},
            electrons,
        )
        produce(spec, HostEvaluator(load_ensemble(tmp_path / "ensemble.pt", "cpu")))
        return read_trajectory(tmp_path / f"{folder}.h5")

    whole = run("whole", 0.03)
    run("parts", 0.012)
    parts = run("parts", 0.03)
    assert np.array_equal(whole.oxidation, parts.oxidation)
    assert np.array_equal(whole.positions_A, parts.positions_A)
    assert np.array_equal(whole.hops, parts.hops)
    assert len(whole.hops)
    # The checks of the shortlist, from the arrays of the restart file.
    with np.load(tmp_path / "parts/state.npz") as state:
        _, checked, missed = state["swap_counts"].tolist()
    assert checked > 0
    for made in (whole, parts):
        assert (made.metadata["swaps_checked"], made.metadata["swaps_missed"]) == (checked, missed)
    # Every hop of the table happens between the frames around it, and no other change of state does.
    assert (whole.hops[:, 0] >= 0).all()
    assert (whole.hops[:, 0] < 30).all()
    for k in range(len(whole.steps) - 1):
        state = whole.oxidation[k].copy()
        during = (whole.hops[:, 0] >= whole.time_fs[k]) & (whole.hops[:, 0] < whole.time_fs[k + 1])
        for _, donor, acceptor, *_ in whole.hops[during]:
            state[int(donor)], state[int(acceptor)] = state[int(acceptor)], state[int(donor)]
        assert np.array_equal(state, whole.oxidation[k + 1])


class TestCalculator:
    @pytest.mark.parametrize("all_swaps", [False, True])
    def test_states_follow_the_ions(self, ensemble, all_swaps, monkeypatch):
        monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 5)
        atoms = nvp(2.5)
        atoms.calc = EnsembleCalculator(ensemble, settings(), all_swaps=all_swaps)
        rng = np.random.default_rng(2)
        for _ in range(4):
            atoms.positions += rng.normal(0.0, 0.05, atoms.positions.shape)
            lowest = min(mean_energy(ensemble, atoms, state) for state in orders(atoms))
            assert atoms.get_potential_energy() == pytest.approx(lowest, abs=2e-4)
            assert mean_energy(ensemble, atoms, atoms.calc.results["oxidation"]) == pytest.approx(lowest, abs=2e-4)

    def test_the_array_of_the_atoms_is_kept_and_a_change_of_it_noticed(self, ensemble):
        atoms = nvp(2.5)
        atoms.calc = EnsembleCalculator(ensemble, settings())
        for state in orders(nvp(2.5)):
            atoms.set_array("oxidation", state)
            assert atoms.get_potential_energy() == pytest.approx(mean_energy(ensemble, atoms, state), abs=1e-4)
            assert np.array_equal(atoms.calc.results["oxidation"], state)

    def test_forces_are_derivatives_of_the_energy_in_a_given_state(self, ensemble):
        atoms = nvp(2.5)
        atoms.set_array("oxidation", next(iter(orders(atoms))))
        # In double precision, where differences are exact enough.
        exact = Ensemble([copy.deepcopy(member) for member in ensemble.members], evaluation="plain")
        atoms.calc = EnsembleCalculator(exact.to("cpu", torch.float64))
        forces, atom = atoms.get_forces(), int(np.flatnonzero(atoms.numbers == 23)[0])
        energies = []
        for shift in (1e-3, -1e-3):
            moved = atoms.copy()
            moved.calc = atoms.calc
            moved.positions[atom, 0] += shift
            energies.append(moved.get_potential_energy())
        assert forces[atom, 0] == pytest.approx((energies[1] - energies[0]) / 2e-3, abs=1e-5)

    def test_initial_moments_name_the_state_by_the_levels_in_the_file(self, ensemble, tmp_path):
        levels = OxidationLevels({"V": {3: 1.85, 4: 1.05}}, {"Na": 1, "P": 5, "O": -2})
        save_ensemble(tmp_path / "ensemble.pt", Ensemble(ensemble.members, levels=levels))
        loaded = load_ensemble(tmp_path / "ensemble.pt", "cpu")
        assert loaded.levels.moments_muB == levels.moments_muB
        assert loaded.levels.fixed == levels.fixed
        vanadium = np.flatnonzero(nvp(2.5).numbers == 23)
        for state in orders(nvp(2.5)):
            moments = np.zeros(len(state))
            # As people write them: rounded, and with any signs.
            moments[vanadium] = np.where(state[vanadium] == 4, 1.0, 2.0) * [1, -1, 1, -1]
            atoms = nvp(2.5)
            atoms.set_initial_magnetic_moments(moments)
            write(tmp_path / "atoms.extxyz", atoms)
            atoms = read(tmp_path / "atoms.extxyz")
            atoms.calc = EnsembleCalculator(loaded)
            assert atoms.get_potential_energy() == pytest.approx(mean_energy(ensemble, atoms, state), abs=1e-4)
            assert np.array_equal(atoms.calc.results["oxidation"], state)
            # The array comes before the moments, and with the section electrons the electrons follow.
            other = next(iter(orders(atoms)))
            atoms.set_array("oxidation", other)
            assert atoms.get_potential_energy() == pytest.approx(mean_energy(ensemble, atoms, other), abs=1e-4)

    @pytest.mark.parametrize(
        "states",
        [
            {3: (4.6, None), 4: (3.8, None)},
            {3: (3.65, None), 4: (4.15, None)},
            {3: (1.7, None), 4: (0.9, None)},
            {3: (1.85, 3.0), 4: (1.05, 2.0)},
        ],
    )
    def test_initial_moments_that_a_label_starts_from_name_its_state(self, ensemble, states, tmp_path):
        section = {number: OxidationState(moment_muB=m, initial_muB=start) for number, (m, start) in states.items()}
        levels = OxidationLevels.of(settings().model_copy(update={"levels": {"V": section}}))
        save_ensemble(tmp_path / "ensemble.pt", Ensemble(ensemble.members, levels=levels))
        atoms, symbols = nvp(2.5), list(nvp(2.5).symbols)
        state = list(orders(atoms))[-1]
        atoms.set_initial_magnetic_moments(levels.initial_moments(symbols, state, np.zeros(len(atoms))))
        write(tmp_path / "atoms.extxyz", atoms)
        atoms = read(tmp_path / "atoms.extxyz")
        atoms.calc = EnsembleCalculator(load_ensemble(tmp_path / "ensemble.pt", "cpu"))
        atoms.get_potential_energy()
        assert np.array_equal(atoms.calc.results["oxidation"], state)

    def test_a_charged_state_is_refused(self, ensemble):
        levels = OxidationLevels({"V": {3: 1.85, 4: 1.05}}, {"Na": 1, "P": 5, "O": -2})
        atoms = nvp(2.5)
        atoms.set_array("oxidation", np.where(atoms.numbers == 23, 3, 0))
        atoms.calc = EnsembleCalculator(Ensemble(ensemble.members, levels=levels))
        with pytest.raises(StructureError, match=r"a sum of \+12, where neutrality asks for \+13"):
            atoms.get_potential_energy()

    @pytest.mark.parametrize(
        ("moments_muB", "message"),
        [
            ([2, 2, 2, 2], "name no neutral oxidation states .*no V4.*asks for one V4"),
            ([2, 2, 2, 1.45], r"\|moment\| 1.45 μB on V"),
        ],
    )
    def test_initial_moments_of_no_neutral_state_are_refused(self, ensemble, moments_muB, message):
        levels = OxidationLevels({"V": {3: 1.85, 4: 1.05}}, {"Na": 1, "P": 5, "O": -2})
        atoms = nvp(2.5)
        moments = np.zeros(len(atoms))
        moments[atoms.numbers == 23] = moments_muB
        atoms.set_initial_magnetic_moments(moments)
        atoms.calc = EnsembleCalculator(Ensemble(ensemble.members, levels=levels))
        with pytest.raises(StructureError, match=message):
            atoms.get_potential_energy()
        atoms.calc = EnsembleCalculator(ensemble)
        with pytest.raises(StructureError, match="which the ensemble's file lacks"):
            atoms.get_potential_energy()

    def test_without_levels_and_states_it_says_what_to_give(self, ensemble):
        atoms = nvp(2.5)
        atoms.calc = EnsembleCalculator(ensemble)
        with pytest.raises(StructureError, match="set the array `oxidation`"):
            atoms.get_potential_energy()


def test_selection_takes_one_geometry_in_two_states_and_refuses_a_repeated_one(ensemble, tmp_path):
    frames = []
    for number, state in enumerate([*orders(nvp(2.5))][:2] * 2):
        frame = nvp(2.5)
        # Off the sites: on them the atoms of vanadium are equivalent, and so are the states.
        frame.rattle(0.1, seed=1)
        frame.set_array("oxidation", state)
        frame.info = {"structure": "s", "step": number, "spread_eV_A": 2.0 - 0.1 * number}
        frames.append(frame)
    write_frames(tmp_path / "candidates.extxyz", frames)
    chosen = select(read_frames(tmp_path / "candidates.extxyz"), [], ensemble, Select(budget=4), 0)
    write_frames(tmp_path / "selected.extxyz", chosen.frames)
    states = [frame.arrays["oxidation"].tolist() for frame in read_frames(tmp_path / "selected.extxyz")]
    assert len(states) == 2
    assert states[0] != states[1]
    assert [row["reason"] for row in chosen.refused] == ["duplicate", "duplicate"]


def test_both_states_of_an_uncertain_hop_stay_where_a_guard_ends_the_run_soon_after():
    """The last sound frame replaces only the candidate that is the same frame."""
    before, after = list(orders(nvp(2.5)))[:2]
    donor, acceptor = np.flatnonzero((after == 4) & (before == 3))[0], np.flatnonzero((after == 3) & (before == 4))[0]
    hops = [Hop(9, int(donor), int(acceptor), 0.1, 0.5)]

    def frame():
        atoms = nvp(2.5)
        atoms.set_array("oxidation", after)
        atoms.set_array("momenta", np.zeros((len(atoms), 3)))
        return atoms

    electrons = SimpleNamespace(hops_at=lambda step: [hop for hop in hops if hop.step == step])
    md = SimpleNamespace(state=SimpleNamespace(step=10), electrons=electrons, frame=frame)
    recorder = _Recorder(Explore(), "s", 0.2)
    recorder.take(StepResult(GateOutcome.GO_ON, None, 0.1, 900.0, 0.0), md)
    recorder.finish(StepResult(GateOutcome.STOP, "close_contact", 0.1, 900.0, 0.0))
    found = {tuple(item.arrays["oxidation"]): item.info for item in recorder.candidates}
    assert set(found) == {tuple(before), tuple(after)}
    assert len(recorder.candidates) == 2
    assert [info["hop_spread_eV"] for info in found.values()] == [0.5, 0.5]
    assert found[tuple(after)]["ended"] == "close_contact"
    assert "ended" not in found[tuple(before)]


def test_an_uncertain_hop_gives_two_candidates_of_one_geometry(ensemble, tmp_path):
    """Of a run whose forces alone ask for no candidate; the spread of the hop against independent predictions."""
    # Steps so short that the geometry of a candidate, one step after the hop, is that of the hop.
    chosen = Explore(timestep_fs=0.05, temperature_K=900.0, low_eV_A=1e3, high_eV_A=1e4, candidate_every_fs=0.2)
    chosen = chosen.model_copy(update={"min_distance_fraction": 0.01, "max_temperature_factor": 1e6})

    def candidates(limit_eV, folder):
        electrons = settings(md="thermal", move_every_fs=0.05, hop_spread_eV=limit_eV)
        evaluator, checkpoint = HostEvaluator(ensemble), Checkpoint(tmp_path / folder, ["same"])
        made = explore(nvp(2.5), evaluator, chosen, 0.0015, np.random.default_rng(3), "a", checkpoint, electrons)
        write_frames(tmp_path / f"{folder}.extxyz", made.candidates)
        return read_frames(tmp_path / f"{folder}.extxyz")

    assert candidates(1e3, "none") == []
    frames = candidates(1e-6, "all")
    assert len(frames) > 2
    plain = Ensemble(ensemble.members, evaluation="plain")
    times = []
    for after, before in zip(frames[::2], frames[1::2], strict=True):
        assert np.array_equal(after.positions, before.positions)
        changed = after.arrays["oxidation"] != before.arrays["oxidation"]
        assert sorted(after.arrays["oxidation"][changed]) == [3, 4]
        change = plain.predict(after).energies_eV - plain.predict(before).energies_eV
        assert after.info["hop_spread_eV"] == pytest.approx(change.std(ddof=1), rel=0.02, abs=2e-5)
        times.append(after.info["time_fs"])
    assert np.diff(times).min() >= 0.2 - 1e-9


def test_production_in_another_mode_starts_anew_in_the_same_folder(ensemble, tmp_path):
    """As the script of the rule does it: the settings of the electrons are part of what a state belongs to."""
    chosen = Production(timestep_fs=1.0, length_ps=0.02, equilibration_ps=0.0, save_every_fs=2.0, stop_above_eV_A=1e6)
    write_frames(tmp_path / "start.extxyz", [nvp(2.5)])

    def run(md):
        electrons = settings(md=md, move_every_fs=1.0)
        declared = settings_for("production", chosen) | settings_for("production", electrons)
        spec = trajectory_spec(
            chosen,
            declared,
            "x2.500_random0_1x1x1",
            "900",
            tmp_path / "start.extxyz",
            tmp_path / "state",
            tmp_path / "out.h5",
            "model",
            1,
            "Na",
            electrons=electrons,
        )
        produce(spec, HostEvaluator(ensemble))
        return read_trajectory(tmp_path / "out.h5")

    frozen, thermal = run("frozen"), run("thermal")
    assert len(frozen.hops) == 0
    assert len(thermal.hops) > 0
    assert not np.array_equal(frozen.positions_A, thermal.positions_A)


def test_states_of_a_third_level_occur_only_where_neutrality_needs_them(ensemble):
    """V5+ is a level of the config, but no training frame has it: no start may propose it."""
    levels = LEVELS["V"] | {5: OxidationState(moment_muB=0.0)}
    electrons = Electrons(levels={"V": levels}, move_every_fs=1.0)
    for x, expected in ((3.0, [3, 3, 3, 3]), (2.0, [3, 3, 4, 4]), (1.0, [4, 4, 4, 4])):
        md, _ = start(ensemble, electrons, atoms=nvp(x))
        assert sorted(md.frame().arrays["oxidation"][md.frame().numbers == 23]) == expected
        # Where all V are in one state nothing can move, and the MD goes on.
        for _ in range(3):
            md.step()


def test_a_given_state_must_be_neutral(ensemble):
    atoms = nvp(2.5)
    atoms.set_array("oxidation", np.where(atoms.numbers == 23, 3, 0))
    with pytest.raises(StructureError, match=r"sum of \+12, where neutrality asks for \+13"):
        start(ensemble, settings(), atoms=atoms)


def test_a_calculator_notices_a_deleted_state_and_another_structure(ensemble):
    atoms = nvp(2.5)
    calculator = EnsembleCalculator(ensemble, settings())
    states = sorted(orders(atoms), key=lambda state: mean_energy(ensemble, atoms, state))
    atoms.set_array("oxidation", states[-1])
    atoms.calc = calculator
    highest = atoms.get_potential_energy()
    del atoms.arrays["oxidation"]
    calculator.oxidation = None
    lowest = mean_energy(ensemble, atoms, states[0])
    assert atoms.get_potential_energy() == pytest.approx(lowest, abs=2e-4)
    assert highest > lowest
    other = nvp(2.0)
    other.calc = calculator
    assert other.get_potential_energy() == pytest.approx(
        min(mean_energy(ensemble, other, state) for state in orders(other)), abs=2e-4
    )
