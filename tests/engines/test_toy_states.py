"""The two-state toy: its energy by sums in plain Python, its derivatives by differences, its labels through files."""

import itertools
import math

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write

from redoxmd.charges.bader import partition
from redoxmd.config import parse_config
from redoxmd.config.sections import EngineSettings, Structures, Toy
from redoxmd.electrons.states import OxidationLevels, judge_state
from redoxmd.engines import get_engine, settings_hash, toy
from redoxmd.engines.base import method_hash
from redoxmd.errors import ConfigError, DataError, LabelRefused
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.md.langevin import Langevin
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

TWO_STATE = EngineSettings(name="toy", toy=Toy(two_state=True))
LEVELS = OxidationLevels({"V": {3: 2.0, 4: 1.0}}, {"Na": 1, "P": 5, "O": -2})


def nvp(x, seed=0, cell="1x1x1", rattle_A=0.08):
    atoms = build_structure(parse_name(f"x{x:.3f}_random{seed}_{cell}"), Structures(), 1)
    atoms.rattle(rattle_A, seed=seed + 1)
    return atoms


def with_holes(atoms, holes):
    """The state with V4+ on these of the V."""
    states = np.where(atoms.symbols == "V", 3, 0)
    states[np.flatnonzero(atoms.symbols == "V")[list(holes)]] = 4
    return states


def neutral_states(atoms):
    charge = sum({"Na": 1, "V": 3, "P": 5, "O": -2}[symbol] for symbol in atoms.get_chemical_symbols())
    vanadium = range(int((atoms.symbols == "V").sum()))
    return [with_holes(atoms, holes) for holes in itertools.combinations(vanadium, -charge)]


def from_file(atoms, tmp_path, states=None):
    """The frame as another code would write and read it, with the state that is asked for."""
    atoms = atoms.copy()
    if states is not None:
        atoms.set_array("oxidation", states)
    write(tmp_path / "frame.extxyz", atoms, format="extxyz")
    return read(tmp_path / "frame.extxyz")


def pair_energy_eV(a, b, r):
    """V_ab(r) of the module's docstring, with V4 as a species."""
    charges = {"Na": 1, "V": 3, "V4": 4, "P": 5, "O": -2}
    contacts = {("Na", "O"): 2.3, ("O", "V"): 1.95, ("O", "V4"): 1.87, ("O", "P"): 1.53}
    k = 0.35 * 14.4 * charges[a] * charges[b]
    contact = contacts.get(tuple(sorted((a, b))))
    if contact is None:
        repulsion = 0.3 * math.exp(-(r - 2.2) / 0.25)
    else:
        # The slope of −|k|·exp(−r/2)/r + A·exp(−(r − d)/0.25) is zero at d.
        amplitude = 0.25 * abs(k) * math.exp(-contact / 2) * (1 / contact**2 + 0.5 / contact)
        repulsion = amplitude * math.exp(-(r - contact) / 0.25)
    u = min(max(r - 4.0, 0.0), 1.0)
    return (k * math.exp(-r / 2) / r + repulsion) * (1 - 10 * u**3 + 15 * u**4 - 6 * u**5)


@pytest.mark.parametrize("holes", [(), (0,), (1,), (0, 1)])
def test_the_energy_is_the_sum_over_pairs_and_images_of_a_cell_smaller_than_the_cutoff(holes):
    atoms = Atoms("NaV2O3", [[0, 0, 0], [2.4, 0, 0.3], [0, 2.6, 2.5], [2.2, 2.2, 0], [0.2, 2.0, 0.4], [2.1, 0, 2.3]])
    atoms.set_cell([[4.4, 0, 0], [0.5, 4.6, 0], [0, 0.4, 4.8]])
    atoms.pbc = True
    states = with_holes(atoms, holes)
    species = ["V4" if state == 4 else symbol for state, symbol in zip(states, atoms.symbols, strict=True)]
    expected = 6.0 * len(holes)
    for i, j in itertools.product(range(6), repeat=2):
        for shift in itertools.product(range(-3, 4), repeat=3):
            r = np.linalg.norm(atoms.positions[j] + shift @ atoms.cell.array - atoms.positions[i])
            if 0 < r < 5:
                expected += 0.5 * pair_energy_eV(species[i], species[j], r)
    assert toy.two_state_energy(atoms, states)[0] == pytest.approx(expected, abs=1e-9)
    assert toy.state_energies(atoms)(states[None])[0] == pytest.approx(expected, abs=1e-9)


def test_forces_are_minus_the_gradient_at_fixed_states():
    atoms = nvp(2.0)
    states = with_holes(atoms, (0, 3))
    forces = toy.two_state_energy(atoms, states)[1]
    vanadium = np.flatnonzero(atoms.symbols == "V")
    for atom, axis in itertools.product([0, vanadium[0], vanadium[1], len(atoms) - 1], range(3)):
        energies = []
        for step_A in (1e-4, -1e-4):
            moved = atoms.copy()
            moved.positions[atom, axis] += step_A
            energies.append(toy.two_state_energy(moved, states)[0])
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / 2e-4, abs=1e-5)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-9)
    # The states matter to the forces.
    assert abs(forces - toy.ionic_energy(atoms)[1]).max() > 0.5


def test_stress_is_the_strain_derivative_at_fixed_states():
    atoms = nvp(2.0)
    states = with_holes(atoms, (1, 2))
    stress = toy.two_state_energy(atoms, states)[2]
    for a, b in itertools.combinations_with_replacement(range(3), 2):
        energies = []
        for sign in (1, -1):
            strain = np.zeros((3, 3))
            strain[a, b] += sign * 5e-6
            strain[b, a] += sign * 5e-6
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ (np.eye(3) + strain), scale_atoms=True)
            energies.append(toy.two_state_energy(strained, states)[0])
        # The diagonal is strained by twice 5e-6, and off it two entries are.
        assert stress[a, b] == pytest.approx((energies[0] - energies[1]) / 2e-5 / atoms.get_volume(), abs=1e-6)


def test_a_v4_has_a_shorter_bond_to_oxygen():
    r = np.linspace(1.5, 2.5, 10001)
    lengths = []
    for state in (3, 4):
        energies = [toy.two_state_energy(Atoms("VO", [[0, 0, 0], [0, 0, d]]), np.array([state, 0]))[0] for d in r[::10]]
        lengths.append(r[::10][int(np.argmin(energies))])
    assert lengths == pytest.approx([1.95, 1.87], abs=2e-3)


def test_energies_of_many_states_are_those_of_each(tmp_path):
    """Neutral or not, as hops and planted faults need them."""
    atoms = from_file(nvp(1.5), tmp_path)
    states = np.array([with_holes(atoms, holes) for k in range(5) for holes in itertools.combinations(range(4), k)])
    expected = [toy.two_state_energy(atoms, state)[0] for state in states]
    np.testing.assert_allclose(toy.state_energies(atoms)(states), expected, atol=1e-9)


@pytest.mark.parametrize("states", [[3, 0], [0, 0], [5, 0, 0], [3.5, 0, 0], [3, 1, 0], [np.nan, 0, 0]])
def test_other_oxidation_numbers_are_refused(states):
    with pytest.raises(DataError, match="3 or 4 for each V and 0"):
        toy.two_state_energy(Atoms("VO2", np.diag([0, 2.0, 2.0])), np.array(states))


@pytest.mark.parametrize("fraction", [0.0, 1.0])
def test_a_label_in_other_oxidation_numbers_is_refused_even_if_they_are_neutral(fraction, tmp_path):
    atoms = nvp(2.0)
    states = with_holes(atoms, (0, 1))
    states[np.flatnonzero(states == 4)] = (5, 3)
    engine = get_engine(EngineSettings(name="toy", toy=Toy(two_state=True, wrong_state_fraction=fraction)))
    with pytest.raises(DataError, match="3 or 4 for each V"):
        engine.calculate(from_file(atoms, tmp_path, states))


class TestLabels:
    @pytest.mark.parametrize("x", [1.5, 2.0, 2.5, 3.0])
    def test_a_label_is_in_the_state_that_is_asked_for_or_the_lowest(self, x, tmp_path):
        atoms, engine = nvp(x), get_engine(TWO_STATE)
        energies = []
        for states in neutral_states(atoms):
            label = engine.calculate(from_file(atoms, tmp_path, states))
            assert label.moments_muB.tolist() == [{0: 0, 3: 2, 4: 1}[state] for state in states]
            energies.append(label.energy_eV)
        assert len(energies) == math.comb(4, round(4 * (3 - x) / 2))
        lowest = engine.calculate(from_file(atoms, tmp_path))
        assert lowest.energy_eV == min(energies)
        expected = neutral_states(atoms)[int(np.argmin(energies))]
        assert lowest.moments_muB.tolist() == [{0: 0, 3: 2, 4: 1}[state] for state in expected]

    def test_a_cell_with_too_many_states_gets_the_lowest_of_descents(self, tmp_path, monkeypatch):
        atoms = from_file(nvp(2.0, cell="2x1x1"), tmp_path)
        exact = get_engine(TWO_STATE).calculate(atoms).energy_eV
        monkeypatch.setattr(toy, "MAX_ENUMERATED", 69)
        assert get_engine(TWO_STATE).calculate(atoms).energy_eV == pytest.approx(exact, abs=1e-9)
        # 16 V of which 8 are V4+ have 12,870 states.
        monkeypatch.undo()
        large = from_file(nvp(2.0, cell="2x2x1"), tmp_path)
        first, again = (get_engine(TWO_STATE).calculate(large) for _ in range(2))
        assert (first.moments_muB == again.moments_muB).all() and (first.moments_muB == 1).sum() == 8

    def test_density_and_bader_charges_follow_the_state(self, tmp_path):
        atoms, engine = nvp(2.0), get_engine(TWO_STATE)
        states = neutral_states(atoms)[4]
        engine.calculate(from_file(atoms, tmp_path, states))
        parts = partition(engine.density())
        vanadium = atoms.symbols == "V"
        np.testing.assert_allclose(parts.moment_muB[vanadium], 5 - states[vanadium], atol=0.05)
        np.testing.assert_allclose(parts.charge_e[vanadium], 2.0 + 0.25 * (states[vanadium] - 3), atol=0.05)
        assert engine.density().moment_muB == 6.0

    def test_states_that_are_not_neutral_and_cells_that_cannot_be_are_refused(self, tmp_path):
        atoms, engine = nvp(2.0), get_engine(TWO_STATE)
        with pytest.raises(LabelRefused, match=r"sum to \+13, neutrality asks for \+14") as refused:
            engine.calculate(from_file(atoms, tmp_path, with_holes(atoms, (2,))))
        assert refused.value.reason == "wrong_electronic_state"
        with pytest.raises(LabelRefused, match="neutral") as refused:
            engine.calculate(Atoms("V2O", np.diag([2.0, 2.0, 2.0]), cell=[9] * 3, pbc=True))
        assert refused.value.reason == "wrong_structure"
        assert engine.density() is None

    def test_the_crystal_survives_at_1000_K_in_its_lowest_state(self):
        atoms = nvp(2.0, rattle_A=0.0)
        langevin, engine = Langevin(atoms.get_masses(), 1.0, 1000.0, 0.02), get_engine(TWO_STATE)

        def force(positions):
            atoms.positions = positions
            return engine.calculate(atoms).forces_eV_A

        start = atoms.positions.copy()
        state = langevin.start(start, force(start), np.random.default_rng(0))
        for _ in range(500):
            langevin.step(state, force)
        moved = np.linalg.norm(state.positions_A - start, axis=1)
        assert moved[np.isin(atoms.get_chemical_symbols(), ["V", "P"])].max() < 1.5


class TestWrongStates:
    ALWAYS = EngineSettings(name="toy", toy=Toy(two_state=True, wrong_state_fraction=1.0))

    def labelled(self, settings, atoms, tmp_path):
        """The label as the next stage reads it."""
        result = get_engine(settings).calculate(atoms)
        write_frames(tmp_path / "labels.extxyz", [result.label(atoms, config_id="a", step=0)])
        return read_frames(tmp_path / "labels.extxyz")[0]

    def test_a_planted_wrong_state_is_refused_in_words(self, tmp_path):
        """The case of x2.00_o1 of the starter data."""
        atoms = nvp(2.0)
        asked = from_file(atoms, tmp_path, with_holes(atoms, (1, 3)))
        frame = self.labelled(self.ALWAYS, asked, tmp_path)
        moments = frame.get_magnetic_moments()
        with pytest.raises(LabelRefused) as refused:
            judge_state(frame.get_chemical_symbols(), moments, float(moments.sum()), LEVELS)
        assert refused.value.reason == "wrong_electronic_state"
        words = "one V4+ and -0.5 μB on the other atoms; neutrality asks for two V4+"
        assert words in refused.value.detail and "6.50 μB is not an integer" in refused.value.detail
        vanadium, oxygen = (np.flatnonzero(atoms.symbols == symbol) for symbol in "VO")
        assert moments[vanadium].tolist() == [2, 2, 2, 1]
        (hole,) = oxygen[moments[oxygen] != 0]
        distances = atoms.get_all_distances(mic=True)[vanadium[1]]
        assert distances[hole] == distances[oxygen].min()

    def test_energy_forces_and_density_are_those_of_the_wrong_state_and_plausible(self, tmp_path):
        for seed in range(4):
            atoms = nvp(2.0, seed)
            asked = from_file(atoms, tmp_path, with_holes(atoms, (1, 3)))
            right, wrong = (self.labelled(settings, asked, tmp_path) for settings in (TWO_STATE, self.ALWAYS))
            energy, forces, _ = toy.two_state_energy(asked, with_holes(atoms, (3,)))
            assert wrong.get_potential_energy() == pytest.approx(energy)
            np.testing.assert_allclose(wrong.get_forces(), forces, atol=1e-7)
            assert abs(wrong.get_potential_energy() - right.get_potential_energy()) < 1.5
            engine = get_engine(self.ALWAYS)
            engine.calculate(asked)
            density = engine.density()
            spin_muB = density.spin_e_A3.sum() * atoms.get_volume() / density.spin_e_A3.size
            assert spin_muB == pytest.approx(6.5) and density.moment_muB == 6.5

    def test_a_cell_without_holes_has_no_wrong_state(self, tmp_path):
        moments = self.labelled(self.ALWAYS, nvp(3.0), tmp_path).get_magnetic_moments()
        assert moments.sum() == 8

    def test_the_share_is_a_property_of_geometry_and_state_and_another_order_may_end_right(self, tmp_path):
        settings = EngineSettings(name="toy", toy=Toy(two_state=True, wrong_state_fraction=0.3, refuse_fraction=0.0))
        wrong = np.array(
            [
                [self.is_wrong(settings, from_file(nvp(2.0, seed), tmp_path, states)) for states in every]
                for seed in range(15)
                for every in [neutral_states(nvp(2.0, seed))]
            ]
        )
        assert 0.15 < wrong.mean() < 0.45
        assert (wrong.any(axis=1) & ~wrong.all(axis=1)).sum() > 5
        assert self.is_wrong(settings, nvp(2.0)) == self.is_wrong(settings, nvp(2.0))

    def is_wrong(self, settings, atoms):
        return get_engine(settings).calculate(atoms).moments_muB.sum() % 1 != 0

    def test_an_md_in_one_state_is_wrong_throughout_or_never(self, tmp_path):
        settings = EngineSettings(name="toy", toy=Toy(two_state=True, wrong_state_fraction=0.5))
        ends = []
        for seed in range(8):
            atoms, engine, totals = nvp(2.0, seed), get_engine(settings), []
            atoms.set_array("oxidation", with_holes(atoms, (0, 1)))
            for step in range(5):
                atoms.rattle(0.01, seed=step)
                totals.append(engine.calculate(atoms).moments_muB.sum() % 1)
            assert len(set(totals)) == 1
            ends.append(totals[0])
        assert set(ends) == {0.0, 0.5}

    def test_refused_and_wrong_labels_are_drawn_independently(self):
        settings = EngineSettings(name="toy", toy=Toy(two_state=True, wrong_state_fraction=0.4, refuse_fraction=0.4))
        outcomes = []
        for seed in range(40):
            try:
                outcomes.append(self.is_wrong(settings, nvp(2.0, seed)))
            except LabelRefused:
                outcomes.append("refused")
        assert {True, False, "refused"} == set(outcomes)


class TestSettings:
    def test_only_two_states_change_the_method(self):
        one = method_hash("toy", 1, {})
        assert settings_hash(EngineSettings(name="toy")) == one
        assert settings_hash(EngineSettings(name="toy", toy=Toy(refuse_fraction=0.3))) == one
        two = settings_hash(TWO_STATE)
        assert two == settings_hash(TestWrongStates.ALWAYS) != one

    def test_without_two_states_a_state_changes_nothing(self, tmp_path):
        atoms = nvp(2.0)
        plain, asked = (from_file(atoms, tmp_path, states) for states in (None, with_holes(atoms, (0, 1))))
        labels = [get_engine(EngineSettings(name="toy")).calculate(frame) for frame in (plain, asked)]
        assert labels[0].energy_eV == labels[1].energy_eV == toy.ionic_energy(plain)[0]
        assert (labels[0].moments_muB == labels[1].moments_muB).all()

    def test_wrong_states_without_two_states_are_refused_by_name(self):
        with pytest.raises(ConfigError, match="wrong_state_fraction needs two_state"):
            parse_config({"run": "trial", "engine": {"name": "toy", "toy": {"wrong_state_fraction": 0.1}}})
