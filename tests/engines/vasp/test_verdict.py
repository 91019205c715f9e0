"""The verdict on a frame: which word, in which order, and what it says."""

from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms

from redoxmd.engines.calculation import ReadFrame
from redoxmd.engines.verdict import judge_electrons, judge_frame
from redoxmd.errors import LabelRefusal, LabelRefused
from redoxmd.structures.periodic_cell import SAME_POSITION_A

CEILING_eV_A = 30.0
CELL_A = np.array([[8.0, 0.0, 0.0], [-4.0, 6.9, 0.0], [0.3, 0.2, 9.0]])
ATOMS = Atoms("Na2VO2", scaled_positions=np.random.default_rng(1).random((5, 3)), cell=CELL_A, pbc=True)


def frame(**changed):
    fields = {
        "atoms": ATOMS.copy(),
        "step": 7,
        "energy_eV": -20.0,
        "forces_eV_A": np.full((5, 3), 0.5),
        "stress_eV_A3": np.eye(3) * 0.01,
        "moments_muB": np.array([0, 0, 2.0, 0, 0]),
        "scf_steps": 12,
        "converged": True,
    }
    return ReadFrame(**{**fields, **changed})


def moved(displacement, atom=3):
    atoms = ATOMS.copy()
    atoms.positions[atom] += displacement
    return atoms


def refusal(found, expected=None, ceiling=CEILING_eV_A):
    with pytest.raises(LabelRefused) as refused:
        judge_frame(found, ceiling, expected)
    assert refused.value.reason in set(LabelRefusal)
    return refused.value


def forces(value):
    array = np.full((5, 3), 0.5)
    array[2, 1] = value
    return array


def test_a_good_frame_is_a_label():
    found = frame()
    result = judge_frame(found, CEILING_eV_A, ATOMS)
    assert (result.energy_eV, result.scf_steps) == (-20.0, 12)
    np.testing.assert_array_equal(result.forces_eV_A, found.forces_eV_A)
    np.testing.assert_array_equal(result.stress_eV_A3, found.stress_eV_A3)
    np.testing.assert_array_equal(result.moments_muB, found.moments_muB)
    assert judge_frame(frame(converged=None, stress_eV_A3=None, moments_muB=None), CEILING_eV_A).moments_muB is None


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"converged": False}, "unconverged"),
        ({"forces_eV_A": forces(np.nan)}, "not_finite"),
        ({"energy_eV": np.inf}, "not_finite"),
        ({"stress_eV_A3": np.full((3, 3), np.nan)}, "not_finite"),
        ({"moments_muB": np.full(5, np.nan)}, "not_finite"),
        ({"atoms": moved([np.nan, 0, 0])}, "not_finite"),
        ({"forces_eV_A": forces(-31.0)}, "force_ceiling"),
        ({"forces_eV_A": np.zeros((4, 3))}, "wrong_structure"),
        ({"moments_muB": np.zeros(4)}, "wrong_structure"),
        ({"stress_eV_A3": np.zeros(6)}, "wrong_structure"),
    ],
)
def test_reasons(changed, reason):
    assert refusal(frame(**changed)).reason == reason


def test_order_of_reasons():
    bad = frame(
        atoms=moved([0.1, 0, 0]), forces_eV_A=forces(np.nan), energy_eV=np.nan, converged=False, moments_muB=None
    )
    assert refusal(bad, ATOMS).reason == "wrong_structure"
    assert refusal(bad).reason == "not_finite"
    bad = replace(bad, forces_eV_A=forces(99.0), energy_eV=-1.0)
    assert refusal(bad).reason == "unconverged"
    assert refusal(replace(bad, converged=True)).reason == "force_ceiling"


def test_unconverged_says_how_far_it_came():
    assert "step 7: the electrons did not converge in 12 steps" in str(refusal(frame(converged=False)))
    said = str(refusal(frame(converged=False, scf_steps=0)))
    assert "force field" in said and "label it by a run without ML_LMLFF" in said


class TestStructure:
    def test_lattice_vectors_do_not_matter(self):
        atoms = ATOMS.copy()
        atoms.positions += np.random.default_rng(2).integers(-2, 3, (5, 3)) @ CELL_A
        judge_frame(frame(atoms=atoms), CEILING_eV_A, ATOMS)

    @pytest.mark.parametrize("direction", np.vstack([np.eye(3), [[0.577, 0.577, 0.577]]]))
    def test_tolerance(self, direction):
        judge_frame(frame(atoms=moved(0.99 * SAME_POSITION_A * direction)), CEILING_eV_A, ATOMS)
        found = refusal(frame(atoms=moved(1.01 * SAME_POSITION_A * direction)), ATOMS)
        assert found.reason == "wrong_structure"
        assert "atom 3 (O) is 0.0001 Å from where atom 3 (O) was asked for" in found.detail

    def test_across_the_border_of_the_cell(self):
        expected, atoms = ATOMS.copy(), ATOMS.copy()
        expected.positions[0], atoms.positions[0] = [0, 0, 2e-5], np.array([0, 0, -2e-5]) + CELL_A[2]
        judge_frame(frame(atoms=atoms), CEILING_eV_A, expected)

    @pytest.mark.parametrize("order", [[1, 0, 2, 3, 4], [2, 0, 1, 3, 4]], ids=["of an element", "of elements"])
    def test_another_order(self, order):
        found = refusal(frame(atoms=ATOMS[order]), ATOMS)
        assert found.reason == "wrong_structure"
        assert f"atom 0 ({ATOMS.symbols[order[0]]}) is" in found.detail
        assert "atom 0 (Na) was asked for: moved, or in another order" in found.detail

    def test_elements_exchanged(self):
        atoms = ATOMS.copy()
        atoms.numbers = ATOMS.numbers[[2, 1, 0, 3, 4]]
        found = refusal(frame(atoms=atoms), ATOMS)
        assert "atom 0 (V) is 0.0000 Å from where atom 0 (Na) was asked for" in found.detail

    def test_other_atoms(self):
        found = refusal(frame(atoms=ATOMS[:4], forces_eV_A=np.zeros((4, 3)), moments_muB=None), ATOMS)
        assert found.reason == "wrong_structure" and "Na2VO2" in found.detail

    def test_another_cell(self):
        atoms = ATOMS.copy()
        atoms.set_cell(CELL_A * 1.001, scale_atoms=True)
        found = refusal(frame(atoms=atoms), ATOMS)
        assert found.reason == "wrong_structure" and "another cell" in found.detail


def test_electrons():
    judge_electrons(120.0, 120.0005)
    judge_electrons(None, 120.0)
    judge_electrons(120.0, None)
    for found in (119.0, 120.002, np.nan):
        with pytest.raises(LabelRefused, match="wrong_settings"):
            judge_electrons(found, 120.0)
