"""The electronic state of labels: planted wrong states, further starts, resume; read back from the files."""

import numpy as np
import pytest

from redoxmd.aimd.drivers import run_reference_md
from redoxmd.config.sections import Aimd, Electrons, EngineSettings, Member, OxidationState, Start, Toy, Train
from redoxmd.electrons import OxidationLevels
from redoxmd.engines.base import Result
from redoxmd.engines.toy import ToyEngine
from redoxmd.errors import DataError, LabelRefusal, StructureError
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.jobs.checkpoint import Checkpoint
from redoxmd.train.dataset import Dataset, build_dataset, find_species
from redoxmd.train.trainer import Trainer
from tests.engines.test_engines import nvp

STEPS = Aimd(starts=(Start(x=2.5),), steps=5, timestep_fs=1.0, density_every=0)
LEVELS = OxidationLevels.of(
    Electrons(levels={"V": {3: OxidationState(moment_muB=2.0), 4: OxidationState(moment_muB=1.0)}})
)


class Starts(ToyEngine):
    """A two-state toy that counts its starts; those in `wrong` end in a wrong state."""

    def __init__(self, wrong=(), from_step=0):
        super().__init__(EngineSettings(name="toy", toy=Toy(two_state=True)))
        self.wrong, self.from_step, self.starts, self.calls = set(wrong), from_step, 0, 0
        self.asked = []

    def forget(self, without_hubbard=None):
        self.starts += 1

    def calculate(self, atoms):
        result = super().calculate(atoms)
        self.asked.append(atoms.get_initial_magnetic_moments().copy())
        self.calls += 1
        if self.calls > self.from_step and self.starts in self.wrong:
            # As in a hot frame of DFT: one V4+ where two are due, and a hole on oxygen.
            moments = result.moments_muB.copy()
            moments[np.flatnonzero(moments == 1.0)[0]] = 2.0
            moments[-1] = -0.6
            return Result(result.energy_eV, result.forces_eV_A, None, moments, 1)
        return result


def run(folder, engine, tries, atoms=None, steps=STEPS):
    checkpoint = Checkpoint(folder / "state", "f")
    made = run_reference_md(
        nvp(2.5) if atoms is None else atoms, engine, steps, np.random.default_rng(1), "conf", checkpoint, LEVELS, tries
    )
    made.write(folder / "frames.extxyz", folder / "densities.h5")
    return made, read_frames(folder / "frames.extxyz")


def holes(frame):
    """V4+ that neutrality asks for, by hand."""
    count = frame.get_chemical_symbols().count
    return 2 * count("O") - 5 * count("P") - count("Na") - 3 * count("V")


def test_frames_have_their_states_in_the_file(tmp_path):
    made, frames = run(tmp_path, Starts(), 1)
    assert made.refusal is None
    for frame in frames:
        states, moments = frame.arrays["oxidation"], frame.get_magnetic_moments()
        assert np.array_equal(states == 4, moments == 1.0)
        assert (states == 4).sum() == holes(frame) == 1


@pytest.mark.parametrize(("wrong", "tries", "accepted"), [((0,), 3, True), ((0, 1), 3, True), ((0, 1, 2), 3, False)])
def test_a_wrong_state_is_tried_again_from_other_orders_and_refused_at_last(wrong, tries, accepted, tmp_path):
    engine = Starts(wrong)
    made, frames = run(tmp_path, engine, tries)
    if accepted:
        assert (made.refusal, len(frames), engine.starts) == (None, 5, len(wrong))
        # Each further start asked for one V4+, as neutrality does, with the same total moment.
        for moments in engine.asked[1 : len(wrong) + 1]:
            assert sorted(moments[moments > 0]) == [1.0, 2.0, 2.0, 2.0]
    else:
        assert frames == []
        assert made.refusal.reason is LabelRefusal.WRONG_ELECTRONIC_STATE
        assert "neutrality asks for one V4+" in made.refusal.detail
        assert "start 3 of 3" in made.refusal.detail


def test_no_order_is_started_twice(tmp_path):
    """The cell at x = 2.5 has four orders, at x = 1 one; the moments of each start by the engine's own list."""
    engine = Starts(wrong=range(20))
    made, frames = run(tmp_path / "four", engine, 10)
    orders = {tuple(np.round(moments, 6)) for moments in engine.asked}
    assert frames == [] and len(orders) == len(engine.asked) == 4
    assert "start 4 of 10" in made.refusal.detail
    engine = Starts(wrong=range(20))
    made, frames = run(tmp_path / "one", engine, 10, nvp(1.0))
    assert (frames, len(engine.asked), made.refusal.reason) == ([], 1, LabelRefusal.WRONG_ELECTRONIC_STATE)


@pytest.mark.parametrize("own", [False, True])
def test_an_order_is_started_again_in_the_other_way_before_others(own, tmp_path):
    """At x = 1 there is one order: the second start has the same moments, and no +U if the first had it."""

    class WithoutHubbard(Starts):
        can_start_without_hubbard = True
        starts_without_hubbard = own

        def forget(self, without_hubbard=None):
            super().forget()
            self.without.append(without_hubbard)

    for x, wrong, further in ((1.0, (0,), [not own]), (2.5, (0, 1), [not own, own])):
        engine = WithoutHubbard(wrong)
        engine.without = []
        made, frames = run(tmp_path / str(x), engine, 3, nvp(x))
        assert (made.refusal, len(frames), engine.without) == (None, 5, further)
        assert np.array_equal(engine.asked[0], engine.asked[1])
        assert len(further) == 1 or not np.array_equal(engine.asked[1], engine.asked[2])


def test_a_wrong_state_in_the_middle_starts_again_from_the_order_before(tmp_path):
    engine = Starts(wrong=(0,), from_step=3)
    made, frames = run(tmp_path, engine, 2)
    assert (made.refusal, len(frames), engine.starts) == (None, 5, 1)
    before = frames[2].arrays["oxidation"]
    assert np.array_equal(engine.asked[4] == 1.0, before == 4)


def test_a_wrong_state_never_becomes_data_even_where_the_run_did_not_judge(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", "f")
    engine = Starts(wrong=(0,), from_step=3)
    made = run_reference_md(nvp(2.5), engine, STEPS, np.random.default_rng(1), "conf", checkpoint)
    write_frames(tmp_path / "frames.extxyz", made.frames)
    frames = read_frames(tmp_path / "frames.extxyz")
    assert len(frames) == 5
    dataset = build_dataset(frames, Train(), 1, engine.settings_hash, None, LEVELS)
    assert [int(frame.info["step"]) for frame in dataset.frames] == [0, 1, 2]
    assert {(item["step"], item["reason"]) for item in dataset.left_out} == {
        (3, "wrong_electronic_state"),
        (4, "wrong_electronic_state"),
    }
    assert "-0.6 μB on the other atoms" in dataset.left_out[0]["detail"]


def test_a_state_that_is_asked_for_is_labelled_and_a_resumed_run_stays_in_it(tmp_path):
    asked = nvp(2.5)
    vanadium = np.flatnonzero(asked.numbers == 23)
    # Not the lowest state of the toy.
    lowest = run(tmp_path / "lowest", Starts(), 1)[1][0].arrays["oxidation"]
    state = lowest.copy()
    state[[vanadium[lowest[vanadium] == 4][0], vanadium[lowest[vanadium] == 3][0]]] = 3, 4
    asked.set_array("oxidation", state)
    _, frames = run(tmp_path / "asked", Starts(), 1, asked)
    assert all(np.array_equal(frame.arrays["oxidation"], state) for frame in frames)
    run(tmp_path / "parts", Starts(), 1, asked, STEPS.model_copy(update={"steps": 2}))
    _, resumed = run(tmp_path / "parts", Starts(), 1, asked)
    assert [frame.get_potential_energy() for frame in resumed] == [frame.get_potential_energy() for frame in frames]


def test_hops_of_a_run_are_listed_and_its_parts_checked_apart(tmp_path):
    """Two states of one run, joined: the change of state is a hop, not a fault of either frame."""
    start = nvp(2.5)
    _, first = run(tmp_path / "first", Starts(), 1, start)
    state = first[0].arrays["oxidation"].copy()
    vanadium = np.flatnonzero(start.numbers == 23)
    state[[vanadium[state[vanadium] == 4][0], vanadium[state[vanadium] == 3][0]]] = 3, 4
    other = start.copy()
    other.set_array("oxidation", state)
    _, second = run(tmp_path / "second", Starts(), 1, other)
    joined = first[:3] + second[3:]
    write_frames(tmp_path / "joined.extxyz", joined)
    frames = read_frames(tmp_path / "joined.extxyz")
    dataset = build_dataset(frames, Train(), 1, first[0].info["settings_hash"], None, LEVELS)
    (hop,) = dataset.hops
    assert (hop["config_id"], hop["step"]) == ("conf", 3)
    assert sorted(hop["before"]) == sorted(hop["after"]) == [3, 3, 3, 4]


def test_one_geometry_in_two_states_is_two_labels(tmp_path):
    _, first = run(tmp_path / "first", Starts(), 1)
    again = nvp(2.5)
    state = first[0].arrays["oxidation"].copy()
    vanadium = np.flatnonzero(again.numbers == 23)
    state[[vanadium[state[vanadium] == 4][0], vanadium[state[vanadium] == 3][0]]] = 3, 4
    again.set_array("oxidation", state)
    _, second = run(tmp_path / "second", Starts(), 1, again)
    for frame in second:
        frame.info["config_id"] = "other"
    both = build_dataset([first[0], second[0]], Train(), 1, first[0].info["settings_hash"], None, LEVELS)
    assert (len(both.frames), both.duplicates) == (2, 0)


def test_states_without_moments_are_named(tmp_path):
    _, frames = run(tmp_path, Starts(), 1)
    del frames[0].arrays["oxidation"]
    del frames[0].calc.results["magmoms"]
    with pytest.raises(DataError, match=r"frame conf step 0: no oxidation states.*electrons\.levels"):
        find_species(frames, "aware")
    assert find_species(frames[1:], "aware") == ([8, 11, 15, 23, 23], [0, 0, 0, 3, 4])
    assert find_species(frames, "blind") == ([8, 11, 15, 23], None)


class Shared(Starts):
    """The two-state toy, whose V4+ has half of the change of moment in the first steps, as near the ideal crystal."""

    def calculate(self, atoms):
        result = super().calculate(atoms)
        moments = result.moments_muB.copy()
        if self.calls <= 2:
            moments[moments == 1.0] = 1.35
        return Result(result.energy_eV, result.forces_eV_A, None, moments, 1)


def test_a_run_goes_on_through_shared_electrons_and_the_data_set_leaves_them_out(tmp_path):
    engine = Shared()
    made, frames = run(tmp_path, engine, 3)
    assert (made.refusal, len(frames), engine.starts) == (None, 5, 0)
    dataset = build_dataset(frames, Train(), 1, engine.settings_hash, None, LEVELS)
    assert [int(frame.info["step"]) for frame in dataset.frames] == [2, 3, 4]
    assert {(item["step"], item["reason"]) for item in dataset.left_out} == {
        (step, "wrong_electronic_state") for step in (0, 1)
    }
    assert "|moment| 1.35 μB" in dataset.left_out[0]["detail"]


def test_a_run_resumed_after_a_further_start_equals_the_whole(tmp_path):
    longer = STEPS.model_copy(update={"steps": 12})
    whole = run(tmp_path / "whole", Starts(wrong=(0,), from_step=1), 3, steps=longer)[1]
    run(tmp_path / "parts", Starts(wrong=(0,), from_step=1), 3, steps=STEPS.model_copy(update={"steps": 3}))
    parts = run(tmp_path / "parts", Starts(), 3, steps=longer)[1]
    assert (tmp_path / "whole/frames.extxyz").read_text() == (tmp_path / "parts/frames.extxyz").read_text()
    assert len(whole) == len(parts) == 12


def test_states_that_no_moments_show_are_no_data(tmp_path):
    """An engine without moments, asked for a charged state: neither its frames nor the data set has the state."""

    class NoMoments(ToyEngine):
        def calculate(self, atoms):
            result = ToyEngine(EngineSettings(name="toy")).calculate(atoms)
            return Result(result.energy_eV, result.forces_eV_A)

    asked = nvp(2.5)
    asked.set_array("oxidation", np.where(asked.numbers == 23, 3, 0))
    engine = NoMoments(EngineSettings(name="toy"))
    _, frames = run(tmp_path, engine, 1, asked)
    assert not any("oxidation" in frame.arrays for frame in frames)
    for frame in frames:
        frame.set_array("oxidation", np.where(frame.numbers == 23, 3, 0))
    dataset = build_dataset(frames, Train(), 1, engine.settings_hash, None, LEVELS)
    with pytest.raises(DataError, match="no oxidation states, which train"):
        find_species(dataset.frames, "aware")


def test_moments_that_are_not_finite_refuse_the_frame(tmp_path):
    class Broken(Starts):
        def calculate(self, atoms):
            result = super().calculate(atoms)
            moments = np.where(self.calls > 2, np.nan, result.moments_muB)
            return Result(result.energy_eV, result.forces_eV_A, None, moments, 1)

    made, frames = run(tmp_path, Broken(), 2)
    assert len(frames) == 2
    assert made.refusal.reason is LabelRefusal.WRONG_ELECTRONIC_STATE
    assert "NaN" in made.refusal.detail


def test_a_state_that_only_other_sets_have_is_refused_by_name(tmp_path):
    """Its species would keep the random embedding of the start."""
    _, reduced = run(tmp_path / "reduced", Starts(), 1, nvp(3.0))
    _, mixed = run(tmp_path / "mixed", Starts(), 1)
    for frames, name in ((reduced, "train"), (mixed, "validation")):
        for frame in frames:
            frame.info["set"] = name
    write_frames(tmp_path / "dataset.extxyz", reduced + mixed)
    aware = Train(states="aware", max_steps=1, validate_every=1, device="cpu")
    with pytest.raises(StructureError, match="V with oxidation 4: no training frame has it"):
        Trainer(Dataset(read_frames(tmp_path / "dataset.extxyz")), Member(features=8, layers=1), aware, 0, 0, None, "m")
