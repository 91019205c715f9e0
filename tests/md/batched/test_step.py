import functools
import itertools

import numpy as np
import pytest
import torch
from scipy.stats import kstest
from torch.utils._python_dispatch import TorchDispatchMode

from redoxmd.md.batched.evaluation import DeviceEvaluator
from redoxmd.md.batched.noise import noise_key, normals
from redoxmd.md.ensemble import BatchMD, ensemble_md
from redoxmd.md.evaluators import HostEvaluator
from redoxmd.md.frame_gate import GateOutcome, GateSettings
from redoxmd.md.langevin import Langevin
from redoxmd.model.ensemble import Ensemble
from tests.conftest import rock
from tests.md.evaluators import FakeEvaluator
from tests.model.test_ensemble import members

# Nothing ends.
OPEN = GateSettings(1e3, 1e4, "max", 0.01, 1e6)
# Two ways of summing in double precision, and some dozens of steps that let it grow.
DOUBLE_A = 1e-9
WIDTH = 104
STEPS = 36


class Keyed:
    """A generator whose deviates after the first call are those of the device."""

    def __init__(self, seed):
        self.rng, self.step, self.called = np.random.default_rng(seed), 0, False
        self.bit_generator = self.rng.bit_generator

    def standard_normal(self, shape):
        if not self.called:
            self.called = True
            return self.rng.standard_normal(shape)
        key, step = torch.tensor([noise_key(self.rng)]), torch.tensor([self.step])
        self.step += 1
        return normals(key, step, shape[0])[0].numpy()


def ensemble(dtype=torch.float64, count=2):
    return Ensemble(members(count, dtype), evaluation="plain")


def langevin(atoms, kelvin=900.0, timestep_fs=2.0, friction=0.01):
    return Langevin(atoms.get_masses(), timestep_fs, kelvin, friction)


SYSTEMS = [(rock(1), 900.0, 2.0, 0.01), (rock(2), 300.0, 1.0, 0.0), (rock(3).repeat((2, 1, 1)), 1500.0, 1.5, 0.05)]


def batch_of(systems, read_every=16, slots=None, gates=None, atoms=16, dtype=torch.float64, seeds=None, device="cpu"):
    """A batch of which slot k holds system k, started; its rows as wide as any of these systems needs."""
    batch = BatchMD(DeviceEvaluator(ensemble(dtype).to(device)), slots or len(systems), atoms, read_every)
    batch.evaluator.rows._widen(WIDTH)
    tenants, first = [], []
    for number, (structure, *settings) in enumerate(systems):
        gate = OPEN if gates is None else gates[number]
        md = batch.enter(number, structure, langevin(structure, *settings), gate)
        first.append(md.start(np.random.default_rng(number if seeds is None else seeds[number])))
        tenants.append(md)
    return tenants, first


def steps_of(tenants, steps):
    """Observations and restart records of so many steps of each, or of all until it ended."""
    seen, states = [[] for _ in tenants], [[] for _ in tenants]
    while any(len(part) < steps and not (part and part[-1].outcome is GateOutcome.STOP) for part in seen):
        tenants[0].batch.advance()
        for md, observations, records in zip(tenants, seen, states, strict=True):
            while md.pending:
                observations.append(md.step())
                records.append(md.state_record())
    return [part[:steps] for part in seen], [part[:steps] for part in states]


@pytest.fixture(scope="module")
def reference():
    """First observations, observations and restart records of the systems in a batch of three."""
    tenants, first = batch_of(SYSTEMS)
    return first, *steps_of(tenants, STEPS)


def same_record(one, other):
    assert one.keys() == other.keys()
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


def test_every_trajectory_is_that_of_the_host(reference):
    first, seen, states = reference
    for number, (atoms, *settings) in enumerate(SYSTEMS):
        host = ensemble_md(HostEvaluator(ensemble()), atoms, langevin(atoms, *settings), OPEN)
        expected = host.start(Keyed(number))
        assert first[number].spread_eV_A == pytest.approx(expected.spread_eV_A, abs=DOUBLE_A)
        assert first[number].energy_eV == pytest.approx(expected.energy_eV, abs=DOUBLE_A)
        assert first[number].temperature_K == pytest.approx(expected.temperature_K)
        for found, state in zip(seen[number], states[number], strict=True):
            expected = host.step()
            assert (found.outcome, found.reason) == (expected.outcome, expected.reason)
            assert found.spread_eV_A == pytest.approx(expected.spread_eV_A, abs=DOUBLE_A)
            assert found.energy_eV == pytest.approx(expected.energy_eV, abs=DOUBLE_A)
            assert found.temperature_K == pytest.approx(expected.temperature_K, rel=1e-7)
            for name in ("positions_A", "velocities_A_fs", "list_positions_A"):
                np.testing.assert_allclose(state[name], host.state_record()[name], atol=DOUBLE_A)
            assert int(state["step"]) == host.state.step
    assert not np.array_equal(states[2][-1]["list_positions_A"], SYSTEMS[2][0].positions)


@pytest.mark.parametrize("read_every", [1, 5, 24])
def test_how_often_it_is_read_changes_nothing(reference, read_every):
    _, seen, states = reference
    again, others = steps_of(batch_of(SYSTEMS, read_every)[0], STEPS)
    assert again == seen
    for ours, theirs in zip(states, others, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            same_record(one, other)


def test_no_pair_is_ever_missed():
    """Hot, so that pairs are outdated in the middle of a stretch of steps: every force is that of a fresh search."""
    atoms = rock(1)
    (md,), _ = batch_of([(atoms, 6000.0, 2.0, 0.02)], read_every=12)
    members, searches, stretches = ensemble(), set(), set()
    for _ in range(40):
        md.step()
        record = md.state_record()
        searches.add(record["list_positions_A"].tobytes())
        stretches.add(md.batch.stretch)
        frame = atoms.copy()
        frame.positions = record["positions_A"]
        np.testing.assert_allclose(record["forces_eV_A"], members.predict(frame).forces_eV_A, atol=DOUBLE_A)
    # Otherwise 40 steps would take four stretches.
    assert len(searches) > 5 and len(stretches) > 5


def test_the_other_slots_do_not_matter(reference):
    """Bit for bit, whether they are empty, others or about to explode."""
    _, (_, seen, _), (_, states, _) = reference
    bad = rock(5)
    bad.positions[1] = bad.positions[0] + [0.2, 0, 0]
    batch = BatchMD(DeviceEvaluator(ensemble()), 3, 16, read_every=4)
    batch.evaluator.rows._widen(WIDTH)
    gate = GateSettings(1e3, np.inf, "max", 0.0, np.inf)
    wild = batch.enter(0, bad, langevin(bad), gate)
    wild.start(np.random.default_rng(8))
    md = batch.enter(1, SYSTEMS[1][0], langevin(*SYSTEMS[1]), OPEN)
    md.start(np.random.default_rng(1))
    (_, again), (_, records) = steps_of([wild, md], 20)
    assert again == seen[:20]
    for one, other in zip(records, states[:20], strict=True):
        same_record(one, other)


@pytest.mark.parametrize("stop", [5, 16, 29])
def test_continued_in_any_batch_equals_uninterrupted(reference, stop):
    """In other slots, read at other steps and beside one trajectory fewer."""
    _, seen, states = reference
    batch = BatchMD(DeviceEvaluator(ensemble()), 3, 16, read_every=9)
    batch.evaluator.rows._widen(WIDTH)
    numbers, tenants = (2, 0), []
    for slot, number in enumerate(numbers):
        atoms, *settings = SYSTEMS[number]
        tenants.append(batch.enter(slot, atoms, langevin(atoms, *settings), OPEN))
        tenants[-1].restore(states[number][stop - 1])
    again, records = steps_of(tenants, STEPS - stop)
    for slot, number in enumerate(numbers):
        assert again[slot] == seen[number][stop:]
        for one, other in zip(records[slot], states[number][stop:], strict=True):
            same_record(one, other)


def test_smaller_batches_differ_by_rounding_alone(reference):
    _, _, states = reference
    atoms, *settings = SYSTEMS[2]
    alone, _ = batch_of([(atoms, *settings)], seeds=[2], atoms=16)
    _, ((*_, last),) = steps_of(alone, STEPS)
    np.testing.assert_allclose(last["positions_A"], states[2][-1]["positions_A"], atol=DOUBLE_A)


EVENT_SYSTEMS = [
    (atoms, 900.0, 1.0, 0.2)
    for atoms in (rock(1, rattle_A=0.0), rock(2, rattle_A=0.0)[:7], rock(3, rattle_A=0.0).repeat((2, 1, 1)))
]


@functools.cache
def unguarded(statistic):
    """Observations and restart records of trajectories that nothing ends."""
    free = [GateSettings(1e3, 1e4, statistic, 0.0, 1e6) for _ in EVENT_SYSTEMS]
    return steps_of(batch_of(EVENT_SYSTEMS, gates=free)[0], STEPS)


@pytest.mark.parametrize(
    ("event", "statistic"),
    [
        ("spread_above_high", "max"),
        ("spread_above_high", "mean"),
        ("temperature_runaway", "max"),
        ("close_contact", "max"),
    ],
)
def test_an_event_amid_a_stretch_ends_it_at_its_step(event, statistic):
    """Thresholds just passed by a step that none before has passed, for each of three trajectories."""
    seen, states = unguarded(statistic)
    gates, ends = [], []
    for number, (atoms, *_) in enumerate(EVENT_SYSTEMS):
        values = {
            "spread_above_high": [one.spread_eV_A for one in seen[number]],
            "temperature_runaway": [one.temperature_K / 900.0 for one in seen[number]],
            "close_contact": [-closest(atoms, state["positions_A"]) for state in states[number]],
        }[event]
        # Numbers the steps from 0: of the frame after the first step.
        end = max(step for step in range(1, STEPS) if step == int(np.argmax(values[: step + 1])))
        threshold = (values[end] + max(values[:end])) / 2
        ends.append(end + 1)
        gates.append(
            {
                "spread_above_high": GateSettings(threshold / 2, threshold, statistic, 0.0, 1e6),
                "temperature_runaway": GateSettings(1e3, 1e4, statistic, 0.0, threshold),
                "close_contact": GateSettings(1e3, 1e4, statistic, -threshold, 1e6),
            }[event]
        )
    found, records = steps_of(batch_of(EVENT_SYSTEMS, gates=gates)[0], STEPS)
    for number, end in enumerate(ends):
        assert [one.reason for one in found[number]] == [None] * (end - 1) + [event]
        same_record(records[number][-1], states[number][end - 1])
        assert int(records[number][-1]["step"]) == end


def closest(atoms, positions_A):
    """The smallest distance in units of the summed covalent radii."""
    from ase.data import covalent_radii

    from redoxmd.model.neighbours import find_pairs

    pairs = find_pairs(positions_A, np.asarray(atoms.cell), atoms.pbc, 4.0)
    distance = np.linalg.norm(pairs.vectors_A(positions_A, np.asarray(atoms.cell)), axis=1)
    radii = covalent_radii[atoms.numbers]
    return float((distance / (radii[pairs.receiver] + radii[pairs.sender])).min())


def test_not_finite_ends_it():
    (md,), _ = batch_of([SYSTEMS[0]])
    with torch.no_grad():
        md.batch.evaluator.members[1].readout[2].weight.fill_(float("nan"))
    seen = md.step()
    assert (seen.outcome, seen.reason) == (GateOutcome.STOP, "not_finite")
    assert md.pending == 0
    with pytest.raises(RuntimeError, match="has ended"):
        md.step()


def test_steps_not_read_are_not_lost():
    tenants, _ = batch_of(SYSTEMS[:2])
    tenants[0].step()
    old = tenants[0].state
    with pytest.raises(RuntimeError, match=r"slots \[0, 1\]: steps not read yet"):
        tenants[0].batch.advance()
    for md in tenants:
        while md.pending:
            md.step()
    tenants[0].step()
    with pytest.raises(RuntimeError, match="no longer in the log"):
        _ = old.positions_A


@pytest.mark.parametrize("device", [None, "cpu"])
def test_each_slot_has_its_temperature_and_the_right_distribution(device):
    kelvins = [200.0, 700.0, 1500.0]
    atoms = rock(1).repeat((2, 1, 1))
    atoms.positions *= 0
    # A harmonic well for every atom, deeper for heavier ones: the total momentum stays.
    wells = FakeEvaluator(
        lambda positions, masses: -0.2 * masses * positions, itertools.repeat(0.0), device, skin_A=1e6
    )
    batch = BatchMD(wells, len(kelvins), len(atoms), read_every=None if device is None else 50)
    tenants = []
    for slot, kelvin in enumerate(kelvins):
        dynamics = langevin(atoms, kelvin, 2.0, 0.05)
        tenants.append(batch.enter(slot, atoms, dynamics, GateSettings(1e3, 1e4, "max", 0.0, 1e6)))
        tenants[-1].start(np.random.default_rng(slot))
    temperatures = [[], [], []]
    for number in range(80):
        # The batch goes on only after every trajectory has read its steps.
        steps = [[md.step() for md in tenants] for _ in range(50)]
        for slot, (md, seen) in enumerate(zip(tenants, steps[-1], strict=True)):
            if number >= 8:
                temperatures[slot].append(seen.temperature_K)
            momentum = atoms.get_masses() @ md.state.velocities_A_fs
            assert np.abs(momentum).max() < 1e-10
    degrees = 3 * len(atoms) - 3
    for kelvin, values in zip(kelvins, temperatures, strict=True):
        # 100 fs apart; the kinetic energy forgets in some 10 fs.
        assert kstest(np.array(values) * degrees / kelvin, "chi2", args=(degrees,)).pvalue > 0.01


class Refused(TorchDispatchMode):
    """Notes operations that wait for the device or whose shapes depend on data: what a CUDA graph cannot hold."""

    WORDS = ("local_scalar", "nonzero", "masked_select", "unique", "item", "equal", "is_nonzero", "bincount")

    def __init__(self):
        super().__init__()
        self.found, self.count = set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += 1
        places = [part for group in args[1:2] if isinstance(group, (list, tuple)) for part in group]
        by_mask = any(getattr(place, "dtype", None) == torch.bool for place in places)
        if by_mask or any(word in str(func) for word in self.WORDS):
            self.found.add(str(func))
        return func(*args, **(kwargs or {}))


def test_the_step_never_asks_the_host():
    tenants, _ = batch_of(SYSTEMS, dtype=torch.float32)
    tenants[0].step()
    with Refused() as refused:
        tenants[0].batch.step()
    assert refused.count > 100
    assert refused.found == set()


def test_one_member_has_no_spread():
    with pytest.raises(ValueError, match="at least two"):
        BatchMD(DeviceEvaluator(ensemble(count=1)), 1, 8)
