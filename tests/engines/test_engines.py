import logging

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.fd import calculate_numerical_forces
from ase.calculators.singlepoint import SinglePointCalculator

from redoxmd.config.sections import AseEngineSettings, EngineSettings, Gpaw, GpawConvergence, Structures, Toy, Vasp
from redoxmd.engines import engine_available, get_engine, settings_hash, toy
from redoxmd.engines.base import Result, check_result
from redoxmd.errors import EngineMissing, LabelRefused
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.md.langevin import Langevin
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name

TOY = EngineSettings(name="toy")


def nvp(x=3.0, seed=1):
    return build_structure(parse_name(f"x{x:.3f}_random{seed}_1x1x1"), Structures(), 1)


def result(atoms, energy=0.0, **changes):
    return Result(energy, **{"forces_eV_A": np.zeros((len(atoms), 3)), **changes})


class Spins(Calculator):
    """An ASE calculator of zeros with these moments; of the local ones, the sum is given."""

    def __init__(self, given):
        super().__init__()
        self.given = given
        self.implemented_properties = ["energy", "forces", *given]

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = {"energy": 0.0, "forces": np.zeros((len(atoms), 3))} | self.given
        if "magmoms" in self.given:
            self.results["magmoms"] = np.full(len(atoms), self.given["magmoms"] / len(atoms))


class TestVerdict:
    def refused(self, **changes):
        atoms = nvp()
        with pytest.raises(LabelRefused) as caught:
            check_result(result(atoms, **changes), atoms, 50.0)
        return caught.value.reason

    def test_good_results_pass(self):
        atoms = nvp()
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = 49.9
        assert check_result(result(atoms, forces_eV_A=forces), atoms, 50.0).energy_eV == 0.0

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_not_finite(self, bad):
        assert self.refused(energy=bad) == "not_finite"
        forces = np.zeros((40, 3))
        forces[3, 1] = bad
        assert self.refused(forces_eV_A=forces) == "not_finite"

    def test_force_ceiling(self):
        forces = np.zeros((40, 3))
        forces[3, 1] = -50.1
        assert self.refused(forces_eV_A=forces) == "force_ceiling"

    def test_wrong_shapes(self):
        assert self.refused(forces_eV_A=np.zeros((39, 3))) == "wrong_structure"
        assert self.refused(moments_muB=np.zeros(39)) == "wrong_structure"


class TestSettingsHash:
    def test_physics_changes_it(self):
        base = EngineSettings()
        finer = base.model_copy(update={"gpaw": Gpaw(cutoff_eV=500.0)})
        assert settings_hash(base) != settings_hash(finer)
        assert settings_hash(base) != settings_hash(base.model_copy(update={"gpaw": Gpaw(hubbard={})}))
        assert settings_hash(base) != settings_hash(TOY)

    def test_numerics_that_only_find_the_same_answer_do_not(self):
        base = EngineSettings()
        assert settings_hash(base) == settings_hash(base.model_copy(update={"gpaw": Gpaw(max_iterations=300)}))
        assert settings_hash(base) == settings_hash(base.model_copy(update={"vasp": Vasp(command="mpirun vasp")}))
        vasp = EngineSettings(name="vasp")
        assert settings_hash(vasp) == settings_hash(vasp.model_copy(update={"vasp": Vasp(command="mpirun vasp")}))

    def test_the_centre_of_the_k_points_changes_it_where_it_changes_labels(self):
        """Hashes as they were before grids of GPAW were centred at Γ: odd grids hold Γ anyway."""
        before = {(1, 1, 1): "f80c00fb150f5226", (3, 1, 3): "be028c4d7c8965a4", (2, 1, 1): "-", (2, 2, 2): "-"}
        now = {grid: settings_hash(EngineSettings(gpaw=Gpaw(kpoints=grid))) for grid in before}
        assert {grid for grid in before if before[grid] == now[grid]} == {(1, 1, 1), (3, 1, 3)}

    def test_engine_carries_it(self):
        assert get_engine(TOY).settings_hash == settings_hash(TOY)


class TestToy:
    def test_forces_are_the_gradient(self):
        class Calculator(SinglePointCalculator):
            def get_property(self, name, atoms=None, allow_calculation=True):
                return toy.ionic_energy(atoms)[0 if name != "forces" else 1]

        atoms = nvp(2.5)
        atoms.rattle(0.1, seed=2)
        atoms.calc = Calculator(atoms)
        forces = toy.ionic_energy(atoms)[1]
        numeric = calculate_numerical_forces(atoms, eps=1e-4, iatoms=[0, 7, 20, 33])
        np.testing.assert_allclose(forces[[0, 7, 20, 33]], numeric, atol=1e-6)
        np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-9)

    def test_stress_is_the_strain_derivative(self):
        atoms = nvp(2.5)
        stress = toy.ionic_energy(atoms)[2]
        for a, b in ((0, 0), (1, 2)):
            ends = []
            for sign in (1, -1):
                strain = np.eye(3)
                strain[a, b] += sign * 5e-6
                strain[b, a] += sign * 5e-6
                strained = atoms.copy()
                strained.set_cell(np.asarray(atoms.cell) @ strain, scale_atoms=True)
                ends.append(toy.ionic_energy(strained)[0])
            # Off the diagonal both entries changed, so the derivative counts twice.
            entries = 1 if a == b else 2
            step = 2 * (1e-5 if a == b else 5e-6) * entries
            assert stress[a, b] == pytest.approx((ends[0] - ends[1]) / step / atoms.get_volume(), abs=1e-6)

    def test_small_cell_meets_its_images(self):
        atoms = Atoms("NaO", positions=[[0, 0, 0], [0, 0, 2.2]], cell=[3, 3, 4.4], pbc=True)
        energy, forces, _ = toy.ionic_energy(atoms)
        energy8, forces8, _ = toy.ionic_energy(atoms.repeat(2))
        assert energy8 == pytest.approx(8 * energy)
        np.testing.assert_allclose(forces8, np.tile(forces, (8, 1)), atol=1e-10)

    def test_bonds_are_where_they_were_put(self):
        for (a, b), contact in toy.CONTACT_A.items():
            r = np.linspace(1.0, 3.5, 5001)
            i, j = (np.full(len(r), Atoms(s).numbers[0]) for s in (a, b))
            assert r[toy.ionic_pair_energy(i, j, r)[0].argmin()] == pytest.approx(contact, abs=1e-3)

    @pytest.mark.parametrize("x", [2.0, 3.0])
    def test_the_crystal_lives_at_1000_K(self, x):
        atoms = nvp(x)
        langevin = Langevin(atoms.get_masses(), 1.0, 1000.0, 0.02)

        def force(positions):
            atoms.positions = positions
            return toy.ionic_energy(atoms)[1]

        start = atoms.positions.copy()
        state = langevin.start(start, force(start), np.random.default_rng(0))
        for _ in range(1000):
            langevin.step(state, force)
        moved = np.linalg.norm(state.positions_A - start, axis=1)
        assert moved[np.isin(atoms.get_chemical_symbols(), ["V", "P"])].max() < 1.5

    def test_refusal_is_a_property_of_the_geometry(self):
        settings = TOY.model_copy(update={"toy": Toy(refuse_fraction=0.3)})
        outcomes = []
        for seed in range(60):
            atoms = nvp(seed=seed)
            atoms.rattle(0.05, seed=seed)
            first, again = (self.outcome(settings, atoms) for _ in range(2))
            assert first == again
            outcomes.append(first)
        assert 0.1 < np.mean([o == "unconverged" for o in outcomes]) < 0.5

    def outcome(self, settings, atoms):
        try:
            get_engine(settings).calculate(atoms)
        except LabelRefused as refused:
            return refused.reason
        return "fine"

    def test_unknown_elements_are_refused_by_name(self):
        with pytest.raises(LabelRefused, match="Fe"):
            get_engine(TOY).calculate(Atoms("Fe", cell=[4, 4, 4], pbc=True))

    @pytest.mark.parametrize(("x", "holes"), [(3.0, 0), (2.5, 1), (2.0, 2), (1.0, 4)])
    def test_holes_balance_the_charge(self, x, holes):
        states = toy.oxidation_states(nvp(x))
        assert len(states) == 4 and list(states.values()).count(4) == holes

    def test_the_hole_sits_where_sodium_is_missing(self):
        atoms = build_structure(parse_name("x4.000_random0_1x1x1"), Structures(), 1)
        vanadium = np.flatnonzero(atoms.symbols == "V")
        # Remove the three sodium atoms nearest one V: neutral at 6 Na, one hole at 5.
        target = vanadium[2]
        sodium = np.flatnonzero(atoms.symbols == "Na")
        near = sodium[np.argsort(atoms.get_distances(target, sodium, mic=True))[:3]]
        del atoms[np.sort(near)]
        states = toy.oxidation_states(atoms)
        holes = [index for index, state in states.items() if state == 4]
        new_target = target - (near < target).sum()
        assert holes == [new_target]

    def test_density_holds_the_electrons_and_the_moment(self):
        atoms = nvp(2.5)
        engine = get_engine(TOY)
        engine.calculate(atoms)
        density = engine.density()
        voxel = atoms.get_volume() / density.total_e_A3.size
        assert density.total_e_A3.sum() * voxel == pytest.approx(density.electrons, rel=1e-9)
        assert density.spin_e_A3.sum() * voxel == pytest.approx(7.0, rel=1e-9)
        assert density.moment_muB == 7.0


class TestAse:
    LJ = AseEngineSettings(calculator="ase.calculators.lj.LennardJones", keywords={"epsilon": 0.01, "sigma": 2.0})

    def test_any_calculator(self):
        atoms = Atoms("Ar2", positions=[[0, 0, 0], [0, 0, 2.5]], cell=[9, 9, 9], pbc=True)
        label = get_engine(EngineSettings(name="ase", ase=self.LJ)).calculate(atoms)
        from ase.calculators.lj import LennardJones

        atoms.calc = LennardJones(epsilon=0.01, sigma=2.0)
        assert label.energy_eV == pytest.approx(atoms.get_potential_energy())
        np.testing.assert_allclose(label.forces_eV_A, atoms.get_forces())
        np.testing.assert_allclose(label.stress_eV_A3, atoms.get_stress(voigt=False))
        assert label.moments_muB is None

    @pytest.mark.parametrize(
        ("given", "refused"),
        [
            ({"magmom": 7.7, "magmoms": 7.0}, ""),
            ({"magmom": 2.0, "magmoms": 7.9}, "total moment 2.00 μB, expected 8.00"),
            ({"magmom": 8.6}, "total moment 8.60 μB, expected 8.00"),
            ({"magmoms": 7.2}, ""),
            ({"magmoms": 6.0}, "sum of local moments 6.00 μB, expected 8.00"),
            ({}, ""),
        ],
    )
    def test_another_spin_state_is_refused_where_the_calculator_gives_moments(self, given, refused):
        settings = AseEngineSettings(calculator="tests.engines.test_engines.Spins", keywords={"given": given})
        engine = get_engine(EngineSettings(name="ase", ase=settings))
        if not refused:
            assert (engine.calculate(nvp()).moments_muB is None) == ("magmoms" not in given)
            return
        with pytest.raises(LabelRefused) as caught:
            engine.calculate(nvp())
        assert (caught.value.reason, caught.value.detail) == ("wrong_moment", refused)

    def test_without_initial_moments_no_spin_state_is_asked_for(self):
        settings = AseEngineSettings(calculator="tests.engines.test_engines.Spins", keywords={"given": {"magmom": 2.0}})
        atoms = nvp()
        atoms.set_initial_magnetic_moments(None)
        assert get_engine(EngineSettings(name="ase", ase=settings)).calculate(atoms).energy_eV == 0.0

    def test_missing_calculator_says_what_to_install(self):
        settings = EngineSettings(
            name="ase", ase=AseEngineSettings(calculator="no.such.Calculator", requires="somepackage")
        )
        with pytest.raises(EngineMissing, match=r"no no\.such\.Calculator found.*pip install somepackage"):
            get_engine(settings)
        assert engine_available(settings)[0] is False


class TestVasp:
    def test_missing_command(self):
        settings = EngineSettings(name="vasp")
        with pytest.raises(EngineMissing, match=r"no vasp_std found: .*engine\.vasp\.command"):
            get_engine(settings)

    def test_missing_launcher(self):
        settings = EngineSettings(name="vasp", vasp=Vasp(command="no_such_mpirun -n 4 sh"))
        assert "no no_such_mpirun found" in engine_available(settings)[1]

    def test_found(self):
        assert engine_available(EngineSettings(name="vasp", vasp=Vasp(command="sh"))) == (True, "sh found")


def hydrogen():
    return Atoms("H2", positions=[[0, 0, 0], [0.8, 0.1, 0]], cell=[2.4, 2.6, 2.8], pbc=True)


@pytest.mark.gpaw
class TestGpawKpoints:
    """The grid as GPAW itself has it; labels of a cell and of its supercell are one method."""

    def engine(self, kpoints, repeats, tmp_path):
        settings = EngineSettings(gpaw=Gpaw(kpoints=kpoints, cutoff_eV=250, hubbard={}, max_iterations=60))
        return get_engine(settings, repeats, tmp_path)

    def grid(self, kpoints, repeats, tmp_path):
        """All k-points of a supercell in units of the source cell's reciprocal lattice, and how many are solved."""
        engine = self.engine(kpoints, repeats, tmp_path)
        engine.calculate(hydrogen().repeat(repeats))
        descriptor = engine._atoms.calc.wfs.kd
        # A supercell folds k + G of the source cell: its reciprocal lattice is finer by the repeats.
        shifts = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 1, 3)
        unfolded = (descriptor.bzk_kc + shifts).reshape(-1, 3) / repeats
        return sorted(map(tuple, np.round(unfolded, 6) % 1)), len(descriptor.ibzk_kc)

    @pytest.mark.parametrize(("kpoints", "repeats"), [((2, 1, 2), (2, 1, 1)), ((4, 1, 1), (2, 1, 1)), ((3, 1, 1),) * 2])
    def test_a_supercell_samples_the_points_of_its_source_cell(self, kpoints, repeats, tmp_path):
        points, _ = self.grid(kpoints, (1, 1, 1), tmp_path)
        by_hand = sorted(np.ndindex(*kpoints))
        np.testing.assert_allclose(points, np.array(by_hand) / kpoints, atol=1e-6)
        np.testing.assert_allclose(self.grid(kpoints, repeats, tmp_path)[0], points, atol=1e-6)

    @pytest.mark.parametrize(("kpoints", "solved"), [((3, 1, 1), 2), ((4, 1, 1), 3), ((3, 1, 3), 5)])
    def test_time_reversal_halves_them(self, kpoints, solved, tmp_path):
        points, found = self.grid(kpoints, (1, 1, 1), tmp_path)
        assert (len(points), found) == (np.prod(kpoints), solved)

    @pytest.mark.parametrize(("kpoints", "repeats"), [((2, 1, 1), (2, 1, 1)), ((3, 1, 1), (3, 1, 1))])
    def test_a_supercell_has_the_energy_of_its_source_cell(self, kpoints, repeats, tmp_path):
        """Shifted by half a division, as GPAW does by default, the first pair differs by some 0.1 eV an atom."""
        alone = self.engine(kpoints, (1, 1, 1), tmp_path).calculate(hydrogen())
        repeated = self.engine(kpoints, repeats, tmp_path).calculate(hydrogen().repeat(repeats))
        assert repeated.energy_eV / np.prod(repeats) == pytest.approx(alone.energy_eV, abs=1e-4)
        np.testing.assert_allclose(repeated.forces_eV_A[:2], alone.forces_eV_A, atol=2e-3)

    @pytest.mark.parametrize(
        ("kpoints", "repeats", "sampled"), [((2, 2, 2), (3, 3, 1), (3, 3, 2)), ((1, 4, 2), (2, 3, 2), (1, 6, 2))]
    )
    def test_another_sampling_is_another_method(self, kpoints, repeats, sampled, tmp_path):
        engine, alone = self.engine(kpoints, repeats, tmp_path), self.engine(kpoints, (1, 1, 1), tmp_path)
        same = self.engine(sampled, repeats, tmp_path)
        assert engine.settings_hash == same.settings_hash == settings_hash(same.settings)
        assert engine.settings_hash != alone.settings_hash == settings_hash(alone.settings)


@pytest.mark.gpaw
@pytest.mark.parametrize(("moments", "spins"), [([0.0, 0.0], 2), (None, 1)])
def test_gpaw_is_spin_polarised_where_there_are_moments_of_zero(moments, spins, tmp_path):
    """Low-spin ions at one content have moments at another; labels of both are of one method. Through a file."""
    atoms = hydrogen()
    atoms.set_initial_magnetic_moments(moments)
    write_frames(tmp_path / "start.extxyz", [atoms])
    (start,) = read_frames(tmp_path / "start.extxyz")
    settings = EngineSettings(gpaw=Gpaw(kpoints=(1, 1, 1), cutoff_eV=250, hubbard={}, max_iterations=60))
    engine = get_engine(settings, (1, 1, 1), tmp_path)
    label = engine.calculate(start)
    assert engine._atoms.calc.wfs.nspins == spins
    assert np.abs(label.moments_muB).max() < 1e-3
    assert np.abs(engine.density().spin_e_A3).max() < 1e-4


@pytest.mark.gpaw
class TestElectronsOfGpaw:
    """Stretched H2: antiferromagnetic from moments ±1, and 0.22 eV higher without moments from moments of zero."""

    SETTINGS = EngineSettings(
        gpaw=Gpaw(
            cutoff_eV=200,
            kpoints=(1, 1, 1),
            hubbard={},
            mixer={"method": "full", "beta": 0.1, "history": 5, "weight": 1},
            convergence=GpawConvergence(energy_eV=1e-5, density=1e-5, eigenstates=1e-7),
        )
    )

    def molecule(self, distance_A, moments):
        return Atoms("H2", [[1, 1, 1], [1, 1, 1 + distance_A]], cell=[4, 4, 6], pbc=True, magmoms=moments)

    def engine(self, folder):
        return get_engine(self.SETTINGS, workdir=folder)

    def interrupted(self, folder):
        """The file of a run that is killed during its second structure."""
        engine = self.engine(folder)
        engine.calculate(self.molecule(2.0, [1, -1]))
        assert not list(folder.glob("*.gpw"))
        engine.calculate(self.molecule(2.02, [1, -1]))
        (file,) = folder.glob("*.gpw")
        return file

    def test_an_interrupted_run_goes_on_in_its_electronic_state(self, tmp_path):
        whole, without_file = self.engine(None), self.engine(None)
        whole.calculate(self.molecule(2.0, [1, -1]))
        expected = whole.calculate(self.molecule(2.05, [1, -1]))
        self.interrupted(tmp_path)
        # Another process, whose initial moments would lead to the other state.
        again = self.engine(tmp_path).calculate(self.molecule(2.05, [0, 0]))
        assert again.energy_eV == pytest.approx(expected.energy_eV, abs=1e-4)
        np.testing.assert_allclose(again.forces_eV_A, expected.forces_eV_A, atol=1e-3)
        np.testing.assert_allclose(again.moments_muB, expected.moments_muB, atol=1e-2)
        other = without_file.calculate(self.molecule(2.05, [0, 0]))
        assert other.energy_eV - expected.energy_eV > 0.2

    @pytest.mark.slow
    def test_electrons_of_another_structure_or_of_a_damaged_file_are_not_taken(self, tmp_path, caplog):
        logging.getLogger("redoxmd").propagate = True
        file = self.interrupted(tmp_path)
        content = file.read_bytes()
        wider = self.molecule(2.05, [0, 0])
        wider.cell[0, 0] = 4.2
        assert np.abs(self.engine(tmp_path).calculate(wider).moments_muB).max() < 1e-3
        file.write_bytes(content[: len(content) // 2])
        assert np.abs(self.engine(tmp_path).calculate(self.molecule(2.05, [0, 0])).moments_muB).max() < 1e-3
        assert "the electrons start again" in caplog.text
        file.write_bytes(content)
        forgetful = self.engine(tmp_path)
        forgetful.forget()
        assert np.abs(forgetful.calculate(self.molecule(2.05, [0, 0])).moments_muB).max() < 1e-3


@pytest.mark.slow
@pytest.mark.gpaw
class TestGpaw:
    """A ferromagnetic rock-salt VO cell: small, spin-polarised, with +U."""

    SETTINGS = EngineSettings(
        gpaw=Gpaw(
            cutoff_eV=450.0,
            # At 2 × 2 × 2 this metal has several self-consistent solutions.
            kpoints=(3, 3, 3),
            # This cell has few grid points for V 3p: at 300 eV and refinement 2 they hold 4 % too many electrons.
            density_refinement=4,
            convergence=GpawConvergence(energy_eV=1e-4, density=1e-5, eigenstates=1e-6),
        )
    )

    def cell(self, moment=3.0):
        atoms = Atoms(
            "VO",
            scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]],
            cell=[[0, 2.1, 2.1], [2.1, 0, 2.1], [2.1, 2.1, 0]],
            pbc=True,
        )
        atoms.positions[1] += [0.08, 0.03, 0.0]
        atoms.set_initial_magnetic_moments([moment, 0])
        return atoms

    def test_label_against_a_plain_calculation(self, tmp_path):
        from gpaw import GPAW, PW, FermiDirac

        engine = get_engine(self.SETTINGS, workdir=tmp_path)
        label = engine.calculate(self.cell())
        atoms = self.cell()
        atoms.calc = GPAW(
            mode=PW(450),
            xc="PBE",
            kpts=(3, 3, 3),
            setups={"V": ":d,4.2"},
            occupations=FermiDirac(0.1),
            symmetry="off",
            convergence={"energy": 1e-4, "density": 1e-5, "eigenstates": 1e-6},
            txt=None,
        )
        assert label.energy_eV == pytest.approx(atoms.get_potential_energy(), abs=2e-3)
        np.testing.assert_allclose(label.forces_eV_A, atoms.get_forces(), atol=0.02)
        assert label.moments_muB.sum() == pytest.approx(atoms.get_magnetic_moments().sum(), abs=0.05)
        density = engine.density()
        voxel = atoms.get_volume() / density.total_e_A3.size
        assert density.total_e_A3.sum() * voxel == pytest.approx(density.electrons, rel=1e-6)
        assert density.moment_muB == pytest.approx(float(atoms.get_magnetic_moment()), abs=0.05)

    def test_stricter_criteria_of_the_first_frame_that_are_out_of_reach_refuse_nothing(self, tmp_path, caplog):
        out_of_reach = GpawConvergence(energy_eV=1e-4, density=1e-14, eigenstates=1e-6)
        gpaw = self.SETTINGS.gpaw.model_copy(update={"start_convergence": out_of_reach, "max_iterations": 40})
        logging.getLogger("redoxmd").propagate = True
        engine = get_engine(self.SETTINGS.model_copy(update={"gpaw": gpaw}), workdir=tmp_path)
        label = engine.calculate(self.cell())
        assert "misses engine.gpaw.start_convergence" in caplog.text
        plain = get_engine(self.SETTINGS).calculate(self.cell())
        assert label.energy_eV == pytest.approx(plain.energy_eV, abs=2e-3)
        assert engine.settings_hash == get_engine(self.SETTINGS).settings_hash

    def test_unconverged_is_refused(self, tmp_path):
        settings = self.SETTINGS.model_copy(
            update={"gpaw": self.SETTINGS.gpaw.model_copy(update={"max_iterations": 3})}
        )
        with pytest.raises(LabelRefused) as caught:
            get_engine(settings, workdir=tmp_path).calculate(self.cell())
        assert caught.value.reason == "unconverged"


def test_gpaw_refuses_another_total_moment_than_the_start_asked_for():
    """The low-spin solution of NVP: a moment of 2 instead of 8."""
    engine = get_engine(EngineSettings(name="gpaw"))
    engine._expected_moment = 8.0
    engine._check_moment(7.6)
    with pytest.raises(LabelRefused) as caught:
        engine._check_moment(2.0)
    assert caught.value.reason == "wrong_moment"
    assert "expected 8.00" in caught.value.detail
