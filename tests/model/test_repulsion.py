import numpy as np
import pytest
import torch
from ase import Atoms
from ase.data import atomic_numbers, covalent_radii

from redoxmd.model.graph import build_graph
from redoxmd.model.repulsion import REACH, CoreRepulsion

ELEMENTS = [8, 11, 15, 23]


def pair_energy(pair, distance_A):
    atoms = Atoms(pair, positions=[[0, 0, 0], [0, 0, distance_A]])
    graph = build_graph(atoms, ELEMENTS, 4.0)
    return float(CoreRepulsion(ELEMENTS)(graph, graph.vectors_A.norm(dim=1))[0])


def reach(pair):
    return REACH * sum(covalent_radii[atomic_numbers[symbol]] for symbol in pair)


def test_the_universal_potential_by_hand():
    """Na–Na at 1 Å, from the published constants; the envelope is still 1 within a thousandth there."""
    length = 0.46850 / (2 * 11**0.23)
    x = 1.0 / length
    screening = (
        0.18175 * np.exp(-3.19980 * x)
        + 0.50986 * np.exp(-0.94229 * x)
        + 0.28022 * np.exp(-0.40290 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )
    y = 1.0 / reach(("Na", "Na"))
    window = 1 - 28 * y**6 + 48 * y**7 - 21 * y**8
    assert pair_energy(("Na", "Na"), 1.0) == pytest.approx(14.399645 * 121 * screening * window, rel=1e-9)


@pytest.mark.parametrize("pair", [("Na", "Na"), ("P", "O"), ("V", "O"), ("Na", "O")])
def test_it_repels_until_its_reach_and_not_beyond(pair):
    distances = np.linspace(0.5, reach(pair), 60)
    energies = [pair_energy(pair, r) for r in distances]
    assert np.all(np.diff(energies) < 0)
    assert pair_energy(pair, reach(pair) + 1e-9) == 0.0


@pytest.mark.parametrize(("pair", "bond_A"), [(("P", "O"), 1.53), (("V", "O"), 1.98), (("Na", "O"), 2.38)])
def test_bonds_of_the_material_stay_untouched(pair, bond_A):
    assert pair_energy(pair, bond_A) < 5e-3  # eV; a fifth of k_B T at room temperature


def test_no_close_pair_no_energy_and_no_failure():
    atoms = Atoms("Na", positions=[[0, 0, 0]])
    graph = build_graph(atoms, ELEMENTS, 4.0)
    energy = CoreRepulsion(ELEMENTS)(graph, graph.vectors_A.norm(dim=1))
    assert torch.equal(energy, torch.zeros(1, dtype=torch.float64))
