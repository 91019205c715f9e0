"""Occupation matrices of GPAW's labels, read from their file, against known d shells and GPAW's wave functions."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from ase.units import Ha

from redoxmd.config.sections import EngineSettings, Gpaw, GpawConvergence
from redoxmd.electrons.orbitals import occupation_matrices, shared_orbitals
from redoxmd.engines import get_engine
from redoxmd.files.frames import write_frames

pytestmark = pytest.mark.gpaw

U_EV = 4.0
# Orbitals are normalised within the sphere of the setup, so that the tail of a shell counts to a few percent.
SHELL_TOLERANCE = 0.04
# The sum of the radial integrals ends one grid point apart, and the density converges to 1e-3 electrons.
MATRIX_TOLERANCE = 0.01


def settings(U_eV, **further):
    """Loose settings with this U on the d shells."""
    return EngineSettings(
        force_ceiling_eV_A=1000.0,
        gpaw=Gpaw(
            cutoff_eV=250,
            kpoints=(1, 1, 1),
            hubbard={element: {"orbital": "d", "U_eV": U_eV} for element in ("Mn", "Zn", "V", "Ti")},
            mixer={"method": "full", "beta": 0.1, "history": 8, "weight": 1},
            fixed_moment=True,
            **{"convergence": GpawConvergence(energy_eV=1e-2, density=1e-3, eigenstates=1e-4), **further},
        ),
    )


def labelled(atoms, tmp_path):
    """Matrices of a label, from its file, and GPAW's calculator."""
    engine = get_engine(settings(U_EV), (1, 1, 1))
    write_frames(tmp_path / "label.extxyz", [engine.calculate(atoms).label(atoms, config_id="a", step=0)])
    return occupation_matrices(read(tmp_path / "label.extxyz").arrays["orbital_occupations"]), engine._atoms.calc


@pytest.mark.parametrize(
    ("element", "moment_muB", "up", "down"),
    [("Mn", 5.0, 1.0, 0.0), ("Zn", None, 1.0, 1.0)],
    ids=["d5 of a high-spin atom", "d10 without spin"],
)
def test_shells_of_atoms(element, moment_muB, up, down, tmp_path):
    atom = Atoms(element, [[0.1, 0.2, 0.3]], cell=[5.0, 5.0, 5.0], pbc=True)
    if moment_muB is not None:
        atom.set_initial_magnetic_moments([moment_muB])
    (matrices,), _ = labelled(atom, tmp_path)
    for matrix, occupation in zip(matrices, (up, down), strict=True):
        np.testing.assert_allclose(np.linalg.eigvalsh(matrix), occupation, atol=SHELL_TOLERANCE)


def test_a_tilted_molecule_has_the_matrices_of_its_wave_functions(tmp_path):
    """VO along (1, 2, 2): projections of all states, with radial integrals of the partial waves made here."""
    from gpaw.utilities import unpack_density

    axis = np.array([1.0, 2.0, 2.0]) / 3
    molecule = Atoms("OV", [0.3 + 1.59 * axis, np.full(3, 0.3)], cell=[5.0, 5.0, 5.0], pbc=True)
    molecule.set_initial_magnetic_moments([0.0, 3.0])
    matrices, calc = labelled(molecule, tmp_path)
    setup = calc.setups[1]
    waves = [np.asarray(wave) for wave, shell in zip(setup.data.phi_jg, setup.data.l_j, strict=True) if shell == 2]
    first = sum(2 * shell + 1 for shell in setup.l_j if shell < 2)
    grid, inside = setup.data.rgd, setup.data.rgd.r_g <= setup.rcut_j[-1]
    radial = np.array([[np.trapezoid((a * b * grid.r_g**2)[inside], grid.r_g[inside]) for b in waves] for a in waves])
    radial /= radial[0, 0]
    for kpt in calc.wfs.kpt_u:
        projections = kpt.P_ani[1][:, first : first + 10].reshape(-1, 2, 5)
        expected = np.einsum("n,njm,nkp,jk->mp", kpt.f_n, projections, projections, radial)
        np.testing.assert_allclose(matrices[1, kpt.s], expected, atol=MATRIX_TOLERANCE)
    # Oxygen has no +U. V in VO has three unpaired electrons, two of them in d orbitals at right angles to the axis.
    assert not matrices[0].any()
    assert 2.2 < np.trace(matrices[1, 0] - matrices[1, 1]) < 3.0
    # The energy of +U in GPAW is a function of the eigenvalues.
    n = np.linalg.eigvalsh(matrices[1])
    energy_Ha, _ = setup.hubbard_u.calculate(setup, unpack_density(calc.density.D_asp[1]))
    assert U_EV / 2 * (n - n**2).sum() == pytest.approx(energy_Ha * Ha, abs=1e-5)


def test_a_first_scf_without_hubbard_fills_two_orbitals_of_d2(tmp_path, caplog):
    """A Ti atom: from atoms, +U holds its two d electrons in three orbitals, almost 2 eV above two filled ones.

    Energies are those of the file; the correction is in force in the end.
    """
    atom = Atoms("Ti", [[0.1, 0.2, 0.3]], cell=[5.0, 5.0, 5.0], pbc=True)
    atom.set_initial_magnetic_moments([2.0])
    energies, largest, texts = [], [], []
    for without in (False, True):
        engine = get_engine(settings(U_EV), (1, 1, 1))
        engine.forget(without_hubbard=without)
        with caplog.at_level("INFO", logger="redoxmd"):
            write_frames(tmp_path / "label.extxyz", [engine.calculate(atom).label(atom, config_id="a", step=0)])
        assert ("without +U" in caplog.text) is without
        label = read(tmp_path / "label.extxyz")
        table = label.arrays["orbital_occupations"]
        energies.append(label.get_potential_energy())
        largest.append(np.linalg.eigvalsh(occupation_matrices(table)[0, 0])[:1:-1])
        texts.append(list(shared_orbitals(table, ["Ti"], [0], [2], [2.0])))
        assert [setup.hubbard_u.U[0] * Ha for setup in engine._atoms.calc.setups] == pytest.approx([U_EV])
    assert energies[1] < energies[0] - 1.5
    np.testing.assert_allclose(largest[0], 0.75, atol=0.03)
    np.testing.assert_allclose(largest[1], [1.07, 1.07, 0.0], atol=0.03)
    assert [len(found) for found in texts] == [1, 0]
    # With the criteria of the first SCF nothing but +U changes after it; without +U the energy is −3.57 eV.
    criteria = GpawConvergence(energy_eV=5e-4, density=1e-3, eigenstates=1e-4)
    always = get_engine(settings(U_EV, start_without_hubbard=True, convergence=criteria), (1, 1, 1))
    assert always.can_start_without_hubbard and always.starts_without_hubbard
    assert always.calculate(atom).energy_eV == pytest.approx(energies[1], abs=0.02)
