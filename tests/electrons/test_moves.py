"""Moves of the electrons, against enumeration by itertools, sums over periodic images and Boltzmann weights."""

import itertools
import math

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from scipy.stats import chisquare

from redoxmd.config.sections import EngineSettings, Structures, Toy
from redoxmd.electrons import moves
from redoxmd.electrons.moves import (
    acceptance,
    count_assignments,
    descend,
    find_lowest,
    initial_assignment,
    metropolis,
    neighbour_pairs,
    neighbour_swaps,
    neutral_assignments,
    swapped,
)
from redoxmd.electrons.shortlist import Shortlist
from redoxmd.electrons.states import OxidationLevels
from redoxmd.engines import get_engine
from redoxmd.engines.toy import LEVELS, state_energies
from redoxmd.errors import ConfigError, DataError, StructureError
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

THREE_STATES = OxidationLevels({"V": {3: 1.85, 4: 1.05, 5: 0.03}}, {"Na": 1, "P": 5, "O": -2})
NICKEL_MANGANESE = OxidationLevels({"Ni": {2: 1.7, 3: 0.9, 4: 0.1}, "Mn": {3: 3.8, 4: 3.0}}, {"Li": 1, "O": -2})
TWO_STATE = EngineSettings(name="toy", toy=Toy(two_state=True))
KB_EV_K = 8.617333262e-5
NO_PAIRS = np.zeros((0, 2), dtype=int)


def nvp(x, cell="1x1x1", seed=0, rattle_A=0.08):
    atoms = build_structure(parse_name(f"x{x:.3f}_random{seed}_{cell}"), Structures(), 1)
    atoms.rattle(rattle_A, seed=seed + 1)
    return atoms


def from_file(atoms, tmp_path):
    """The frame as another code would write and read it."""
    write(tmp_path / "frame.extxyz", atoms, format="extxyz")
    return read(tmp_path / "frame.extxyz")


def all_neutral(symbols, levels):
    """All neutral states in sorted order, by trying every one."""
    options = [sorted(levels.moments_muB.get(symbol, {0: 0.0})) for symbol in symbols]
    charge = sum(levels.fixed.get(symbol, 0) for symbol in symbols)
    return [state for state in itertools.product(*options) if charge + sum(state) == 0]


def redox_pairs(atoms, reach_A):
    oxidation = np.where(atoms.symbols == "V", 3, 0)
    return neighbour_pairs(oxidation, atoms.numbers, atoms.positions, atoms.cell.array, atoms.pbc, reach_A)


def tabulated(table):
    """Energies from a mapping of tuples."""
    return lambda states: np.array([table[tuple(state)] for state in states.tolist()])


class TestNeighbours:
    @pytest.mark.parametrize("seed", range(8))
    def test_pairs_are_those_of_the_nearest_images_in_any_cell(self, seed):
        rng = np.random.default_rng(seed)
        cell = np.eye(3) * 5 + rng.uniform(-2.5, 2.5, (3, 3))
        pbc = rng.random(3) < 0.7
        oxidation = rng.choice([0, 3, 4, 5], 12)
        elements = rng.choice(["V", "Mn"], 12)
        positions = rng.uniform(-1, 2, (12, 3)) @ cell
        shifts = [range(-8, 9) if periodic else (0,) for periodic in pbc]
        images = np.array(list(itertools.product(*shifts))) @ cell
        expected = [
            [i, j]
            for i, j in itertools.combinations(range(12), 2)
            if oxidation[i] and oxidation[j] and elements[i] == elements[j]
            if np.linalg.norm(positions[j] - positions[i] + images, axis=1).min() <= 3.5
        ]
        pairs = neighbour_pairs(oxidation, elements, positions, cell, pbc, 3.5)
        assert pairs.tolist() == expected
        swaps = neighbour_swaps(oxidation, pairs)
        assert swaps.tolist() == [[i, j] for i, j in expected if oxidation[i] != oxidation[j]]

    def test_a_swap_crosses_the_boundary_of_a_periodic_cell_only(self):
        positions, cell = np.array([[0.5, 0, 0], [9.5, 0, 0]]), np.diag([10.0, 10.0, 10.0])
        states = np.array([3, 4])
        assert neighbour_pairs(states, ["V", "V"], positions, cell, [True] * 3, 2.0).tolist() == [[0, 1]]
        assert neighbour_pairs(states, ["V", "V"], positions, cell, [False, True, True], 2.0).shape == (0, 2)

    def test_the_small_cell_of_nvp_as_ase_finds_it(self, tmp_path):
        """A cell smaller than twice the reach: each pair counts once."""
        atoms = from_file(nvp(2.0), tmp_path)
        vanadium = np.flatnonzero(atoms.symbols == "V")
        distances = atoms.get_all_distances(mic=True)
        for reach_A in (4.5, 5.0, 6.5, 12.0):
            expected = [[i, j] for i, j in itertools.combinations(vanadium, 2) if distances[i, j] <= reach_A]
            assert redox_pairs(atoms, reach_A).tolist() == expected
        assert len(expected) == 6

    def test_without_neighbours_there_is_no_swap_and_nothing_moves(self):
        states = np.array([3, 0, 4])
        pairs = neighbour_pairs(states, ["V", "O", "V"], np.diag([0, 1, 30.0]), np.zeros((3, 3)), [False] * 3, 5.0)
        assert pairs.shape == (0, 2) and swapped(states, pairs).shape == (0, 3)
        for end in (
            descend(states, lambda states: np.ones(len(states)), pairs),
            metropolis(states, lambda states: np.ones(len(states)), pairs, 300, np.random.default_rng(0), attempts=5),
        ):
            assert end.oxidation.tolist() == [3, 0, 4] and end.moves == [] and end.energy_eV == 1.0

    def test_a_swap_exchanges_two_of_several_numbers(self):
        states = np.array([3, 0, 5, 4, 4])
        pairs = np.array([[0, 2], [0, 3], [2, 4], [3, 4]])
        assert neighbour_swaps(states, pairs).tolist() == [[0, 2], [0, 3], [2, 4]]
        assert swapped(states, neighbour_swaps(states, pairs)).tolist() == [
            [5, 0, 3, 4, 4],
            [4, 0, 5, 3, 4],
            [3, 0, 4, 4, 5],
        ]
        assert states.tolist() == [3, 0, 5, 4, 4]


class TestAssignments:
    @pytest.mark.parametrize(
        ("symbols", "levels"),
        [
            (["Na"] * 4 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24, LEVELS),
            (["V"] * 2 + ["O"] * 7 + ["V"] * 2, THREE_STATES),
            (["Li", "Ni", "O", "Mn", "O", "Mn", "Ni", "Ni", *"OOOOOO"], NICKEL_MANGANESE),
            (["Na", "Na", "O"], LEVELS),
        ],
        ids=["two states", "three states", "two elements", "no redox atom"],
    )
    def test_they_are_all_neutral_states(self, symbols, levels):
        expected = all_neutral(symbols, levels)
        assert expected, "the case itself"
        states = neutral_assignments(symbols, levels, limit=len(expected))
        assert states.tolist() == [list(state) for state in expected]
        assert count_assignments(symbols, levels) == len(expected)
        if len(expected) > 1:
            with pytest.raises(
                StructureError, match=f"{len(expected)} neutral assignments .* {len(expected) - 1} that"
            ):
                neutral_assignments(symbols, levels, limit=len(expected) - 1)

    def test_a_cell_that_cannot_be_neutral_is_refused_with_its_sums(self):
        symbols = ["Na"] * 9 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24
        rng = np.random.default_rng(0)
        assert count_assignments(symbols, LEVELS) == 0
        for refused in (
            lambda: neutral_assignments(symbols, LEVELS, limit=10),
            lambda: initial_assignment(symbols, LEVELS, rng),
            lambda: find_lowest(symbols, LEVELS, lambda states: np.zeros(len(states)), NO_PAIRS, rng, 3, 10),
            lambda: find_lowest(symbols, LEVELS, lambda states: np.zeros(len(states)), NO_PAIRS, rng, 3, -1),
        ):
            with pytest.raises(StructureError, match=r"sum to \+9, and can to \+12 … \+16"):
                refused()
        with pytest.raises(ConfigError, match="F has no oxidation number"):
            count_assignments(["V", "F"], LEVELS)

    @pytest.mark.parametrize(
        ("symbols", "levels"),
        [
            (["V"] * 2 + ["O"] * 7 + ["V"] * 2, THREE_STATES),
            (["Li", "Ni", "O", "Mn", "O", "Mn", "Ni", "Ni", *"OOOOOO"], NICKEL_MANGANESE),
        ],
        ids=["three states", "two elements"],
    )
    def test_starts_are_drawn_uniformly(self, symbols, levels):
        states, rng = all_neutral(symbols, levels), np.random.default_rng(3)
        drawn = [tuple(initial_assignment(symbols, levels, rng).tolist()) for _ in range(200 * len(states))]
        counts = [drawn.count(state) for state in states]
        assert sum(counts) == len(drawn)
        assert chisquare(counts).pvalue > 0.01

    def test_starts_of_a_large_cell_are_neutral(self):
        """The number of states exceeds the largest float."""
        symbols = ["Na"] * 1200 + ["V"] * 1200 + ["P"] * 1800 + ["O"] * 7200
        start = initial_assignment(symbols, LEVELS, np.random.default_rng(0))
        assert start.sum() == 7200 * 2 - 1800 * 5 - 1200
        assert count_assignments(symbols, LEVELS) == math.comb(1200, 600)


class TestDescent:
    @pytest.mark.parametrize("x", [1.5, 2.0, 2.5])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_the_lowest_state_of_the_toy_is_that_of_its_labels(self, x, seed, tmp_path):
        """Every neutral state is labelled by the engine from a file that asks for it."""
        atoms = nvp(x, seed=seed)
        engine, labels = get_engine(TWO_STATE), {}
        for state in all_neutral(atoms.get_chemical_symbols(), LEVELS):
            atoms.set_array("oxidation", np.array(state))
            labels[state] = engine.calculate(from_file(atoms, tmp_path)).energy_eV
        del atoms.arrays["oxidation"]
        frame = from_file(atoms, tmp_path)
        symbols, energies, pairs = frame.get_chemical_symbols(), state_energies(frame), redox_pairs(frame, 7.0)
        lowest = min(labels, key=labels.get)
        for limit in (1000, 0):
            end = find_lowest(symbols, LEVELS, energies, pairs, np.random.default_rng(seed), starts=4, limit=limit)
            assert tuple(end.oxidation) == lowest
            assert end.energy_eV == pytest.approx(labels[lowest], abs=1e-9)
        assert engine.calculate(frame).energy_eV == pytest.approx(labels[lowest], abs=1e-9)

    @pytest.mark.parametrize("seed", range(3))
    def test_several_descents_reach_the_lowest_of_a_supercell(self, seed, tmp_path):
        atoms = from_file(nvp(2.0, "2x1x1", seed), tmp_path)
        symbols, energies, pairs = atoms.get_chemical_symbols(), state_energies(atoms), redox_pairs(atoms, 5.5)
        states = np.array(
            [
                [4 if i in holes else 3 if symbol == "V" else 0 for i, symbol in enumerate(symbols)]
                for holes in itertools.combinations(np.flatnonzero(atoms.symbols == "V"), 4)
            ]
        )
        assert len(states) == 70
        end = find_lowest(symbols, LEVELS, energies, pairs, np.random.default_rng(seed), starts=8, limit=69)
        assert end.energy_eV == pytest.approx(energies(states).min(), abs=1e-9)

    def test_each_move_is_the_swap_that_gains_most_and_the_end_has_none_that_gains(self):
        atoms = nvp(2.0, "2x1x1")
        energies, pairs = state_energies(atoms), redox_pairs(atoms, 5.5)
        start = initial_assignment(atoms.get_chemical_symbols(), LEVELS, np.random.default_rng(5))
        end = descend(start, energies, pairs)
        present = start.copy()
        for donor, acceptor, energy_eV in end.moves:
            gains = {}
            for i, j in pairs.tolist():
                if present[i] != present[j]:
                    after = present.copy()
                    after[[i, j]] = present[[j, i]]
                    gains[i, j] = float(np.diff(energies(np.array([present, after])))[0])
            assert min(gains, key=gains.get) == (min(donor, acceptor), max(donor, acceptor))
            assert energy_eV == pytest.approx(min(gains.values()), abs=1e-9)
            assert (present[donor], present[acceptor]) == (3, 4), "the donor is oxidised"
            present[donor], present[acceptor] = 4, 3
        assert len(end.moves) >= 2
        assert end.oxidation.tolist() == present.tolist()
        assert (energies(swapped(present, neighbour_swaps(present, pairs))) >= end.energy_eV).all()
        total = float(np.diff(energies(np.array([start, present])))[0])
        assert sum(move.energy_eV for move in end.moves) == pytest.approx(total, abs=1e-9)

    def test_three_states_reach_the_lowest_that_swaps_connect(self):
        """A table with a slope towards one order of 3, 4, 4 and 5."""
        symbols = ["V"] * 4 + ["O"] * 8
        pairs = np.array(list(itertools.combinations(range(4), 2)))
        heights = np.array([0.3, -0.2, 0.1, 0.0] + [0.0] * 8)
        start = np.array([5, 4, 3, 4] + [0] * 8)
        end = descend(start, lambda states: states @ heights, pairs)
        orders = {order: np.dot(order, heights[:4]) for order in itertools.permutations([3, 4, 4, 5])}
        assert tuple(end.oxidation[:4]) == min(orders, key=orders.get) == (3, 5, 4, 4)
        # All sums of 16, with 4444 and 3355 as well, are within reach of the enumeration alone.
        exact = find_lowest(
            symbols, THREE_STATES, lambda states: states @ heights, pairs, np.random.default_rng(0), 1, 19
        )
        assert tuple(exact.oxidation[:4]) == (3, 5, 3, 5)

    def test_equal_gains_take_the_first_and_gains_below_the_tolerance_none(self):
        pairs = np.array([[0, 1], [0, 2]])
        table = {(4, 3, 3): 1.0, (3, 4, 3): 0.0, (3, 3, 4): 0.0}
        start = np.array([4, 3, 3])
        assert descend(start, tabulated(table), pairs).moves == [(1, 0, -1.0)]
        assert descend(start, tabulated(table), pairs, tolerance_eV=1.0).moves == []
        assert start.tolist() == [4, 3, 3]

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_an_energy_that_is_not_finite_is_an_error(self, value):
        pairs, rng = np.array([[0, 1]]), np.random.default_rng(0)
        energies = tabulated({(4, 3): 0.0, (3, 4): value})
        for moved in (
            lambda: descend(np.array([4, 3]), energies, pairs),
            lambda: metropolis(np.array([4, 3]), energies, pairs, 300, rng),
        ):
            with pytest.raises(DataError, match="NaN or infinite"):
                moved()


class Orders:
    """Charge orders of a cell, tabulated: states by itertools, energies of the toy engine, swaps within `reach_A`."""

    # High, so that every order is visited.
    temperature_K = 6000.0

    def __init__(self, reach_A=6.0):
        atoms = nvp(2.5, "2x1x1", seed=1)
        self.pairs = redox_pairs(atoms, reach_A)
        holes = list(itertools.combinations(np.flatnonzero(atoms.symbols == "V"), 2))
        self.states = np.tile(np.where(atoms.symbols == "V", 3, 0), (len(holes), 1))
        for state, pair in zip(self.states, holes, strict=True):
            state[list(pair)] = 4
        engine = get_engine(TWO_STATE)
        energies = []
        for state in self.states:
            atoms.set_array("oxidation", state)
            energies.append(engine.calculate(atoms).energy_eV)
        self.index = {state.tobytes(): number for number, state in enumerate(self.states)}
        self.energies_eV = np.array(energies)
        weights = np.exp(-(self.energies_eV - min(energies)) / (KB_EV_K * self.temperature_K))
        self.probabilities = weights / weights.sum()
        bonded = {tuple(pair) for pair in self.pairs.tolist()}
        self.neighbours = [
            [j for j, other in enumerate(self.states) if tuple(np.flatnonzero(state != other)) in bonded]
            for state in self.states
        ]

    def table(self, states):
        return self.energies_eV[[self.index[state.tobytes()] for state in states]]

    def transitions(self, accept):
        """(k, k) probabilities of one attempt, which draws one of all pairs."""
        matrix = np.zeros((len(self.states), len(self.states)))
        for i, near in enumerate(self.neighbours):
            for j in near:
                matrix[i, j] = accept(self.energies_eV[j] - self.energies_eV[i], self.temperature_K) / len(self.pairs)
            matrix[i, i] = 1 - matrix[i].sum()
        return matrix

    def visits(self, samples, attempts, seed):
        """How often each state is visited, counted after every `attempts` attempts of `metropolis`."""
        rng, state = np.random.default_rng(seed), self.states[0]
        counts = np.zeros(len(self.states))
        for _ in range(samples):
            state = metropolis(state, self.table, self.pairs, self.temperature_K, rng, attempts).oxidation
            counts[self.index[state.tobytes()]] += 1
        return counts


@pytest.fixture(scope="module")
def orders():
    return Orders()


def uphill_half(energy_eV, temperature_K):
    """The planted fault: swaps that cost energy are accepted half as often as they should be."""
    return 1.0 if energy_eV <= 0 else 0.5 * math.exp(-energy_eV / (KB_EV_K * temperature_K))


class TestThermal:
    def test_detailed_balance_holds_exactly_and_not_with_the_planted_fault(self, orders):
        counts = {len(near) for near in orders.neighbours}
        assert len(counts) > 1, "the number of possible swaps differs between the orders"
        flow = orders.probabilities[:, None] * orders.transitions(acceptance)
        # CODATA values of k differ by 1e-6.
        np.testing.assert_allclose(flow, flow.T, rtol=1e-4)
        assert ((flow > 0).sum(axis=1) > 1).all()
        wrong = orders.probabilities[:, None] * orders.transitions(uphill_half)
        assert abs(wrong - wrong.T).max() > 1e-4

    @pytest.mark.parametrize("wrong", [False, True], ids=["right", "planted"])
    def test_visited_orders_have_boltzmann_weights(self, orders, wrong, monkeypatch):
        """Chi-square over 28 orders, of samples far enough apart to be independent; the fault needs fewer."""
        attempts = 36
        relaxation = np.sort(abs(np.linalg.eigvals(orders.transitions(acceptance))))[-2]
        assert relaxation**attempts < 0.02
        if wrong:
            monkeypatch.setattr(moves, "acceptance", uphill_half)
        counts = orders.visits(13_000 if wrong else 20_000, attempts, seed=11)
        expected = orders.probabilities * counts.sum()
        assert expected.min() > 10
        p_value = chisquare(counts, expected).pvalue
        assert p_value < 1e-9 if wrong else p_value > 0.01

    def test_the_moves_lead_from_the_first_state_to_the_last_and_the_stream_repeats(self, orders):
        start = orders.states[3]
        end, again = (
            metropolis(start, orders.table, orders.pairs, 2500.0, np.random.default_rng(2), attempts=50)
            for _ in range(2)
        )
        present = start.copy()
        for donor, acceptor, _ in end.moves:
            assert (present[donor], present[acceptor]) == (3, 4)
            present[donor], present[acceptor] = 4, 3
        assert present.tolist() == end.oxidation.tolist() == again.oxidation.tolist()
        assert 0 < len(end.moves) < 50 and again.moves == end.moves
        assert end.energy_eV == orders.table(present[None])[0]
        change = orders.table(present[None])[0] - orders.table(start[None])[0]
        assert sum(move.energy_eV for move in end.moves) == pytest.approx(change, abs=1e-9)
        # In parts, as a run that is interrupted and resumed, it is the same walk.
        rng, state = np.random.default_rng(2), start
        for attempts in (20, 30):
            state = metropolis(state, orders.table, orders.pairs, 2500.0, rng, attempts).oxidation
        assert state.tolist() == end.oxidation.tolist()

    def test_rates_per_atom_are_those_of_a_doubled_cell(self, tmp_path):
        """Independent sites: energies are sums over atoms, the same in both halves of the doubled cell."""
        single = from_file(nvp(2.0, "2x2x1"), tmp_path)
        kelvin, moved = 800.0, []
        for repeats in (1, 2):
            atoms = single.repeat((1, 1, repeats))
            rng = np.random.default_rng(repeats)
            vanadium = np.flatnonzero(atoms.symbols == "V")
            heights = np.zeros(len(atoms))
            heights[vanadium] = np.resize(np.linspace(-0.06, 0.06, len(vanadium) // repeats), len(vanadium))
            state = np.where(atoms.symbols == "V", 3, 0)
            state[vanadium[::2]] = 4
            pairs = redox_pairs(atoms, 6.5)
            hops = [0, 0]
            for part in (0, 1):
                # Its first part leads to equilibrium.
                for _ in range((300, 3000)[part]):
                    end = metropolis(state, lambda states, h=heights: (states == 4) @ h, pairs, kelvin, rng)
                    state, hops[part] = end.oxidation, hops[part] + len(end.moves)
            moved.append(hops[1] / 3000 / len(vanadium))
        assert moved[0] > 0.1
        # Of 16 and of 32 atoms, half of them in each state, 8/15 and 16/31 of all pairs are unequal.
        assert moved[1] / moved[0] == pytest.approx((16 / 31) / (8 / 15), rel=0.04)

    def test_a_shortlist_leaves_the_weights_as_they_are(self, orders, monkeypatch):
        """First-order changes that are 0.5 eV too low, with errors of 0.05 eV."""
        monkeypatch.setattr("redoxmd.electrons.shortlist.FIRST_SAMPLES", 50)
        noise = 0.05 * np.random.default_rng(0).standard_normal(len(orders.states))

        def first_order(state, swaps):
            known = [orders.index.get(after.tobytes(), 0) for after in swapped(state, swaps)]
            return orders.energies_eV[known] - orders.table(state[None])[0] - 0.5 + noise[known]

        shortlist, rng = Shortlist(np.full(len(orders.states[0]), 23)), np.random.default_rng(5)
        counts, evaluated, state = np.zeros(len(orders.states)), 0, orders.states[0]

        def counted(states):
            nonlocal evaluated
            evaluated += len(states)
            return orders.table(states)

        for _ in range(3000):
            state = metropolis(
                state, counted, orders.pairs, orders.temperature_K, rng, 32, (shortlist, first_order)
            ).oxidation
            counts[orders.index[state.tobytes()]] += 1
        assert chisquare(counts, orders.probabilities * counts.sum()).pvalue > 0.01
        assert shortlist.checked > 100
        assert shortlist.missed < 0.01 * shortlist.checked
        assert evaluated < 0.9 * 3000 * 33

    def test_two_elements_stay_neutral_and_each_keeps_its_states(self):
        symbols = ["Ni"] * 4 + ["Mn"] * 4 + ["Li"] * 8 + ["O"] * 16
        assert (count := count_assignments(symbols, NICKEL_MANGANESE)) > 100
        rng = np.random.default_rng(4)
        positions = rng.uniform(0, 8, (32, 3))
        atoms = Atoms(symbols, positions, cell=[8, 8, 8], pbc=True)
        for _ in range(10):
            start = initial_assignment(symbols, NICKEL_MANGANESE, rng)
            pairs = neighbour_pairs(start, symbols, positions, atoms.cell.array, atoms.pbc, 20.0)
            assert len(pairs) == 12, "pairs of Ni and pairs of Mn"
            heights = rng.normal(size=32)
            end = metropolis(start, lambda states, h=heights: states @ h, pairs, 3000, rng, attempts=40)
            assert end.oxidation.sum() + 8 - 32 == 0
            for first in (0, 4):
                assert sorted(end.oxidation[first : first + 4]) == sorted(start[first : first + 4])
        assert count == len(all_neutral(symbols, NICKEL_MANGANESE))
