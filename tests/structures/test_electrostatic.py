"""Orderings by electrostatic energy: against Ewald sums of whole structures, and lattices whose order is known."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from ase import Atoms
from ase.io import read
from pymatgen.analysis.ewald import EwaldSummation
from pymatgen.io.ase import AseAtomsAdaptor

from redoxmd.config import parse_config
from redoxmd.config.declared import settings_for
from redoxmd.config.sections import Structures
from redoxmd.errors import ConfigError, StructureError
from redoxmd.runs.plan import make_plan
from redoxmd.structures import electrostatic
from redoxmd.structures.build import build_structure
from redoxmd.structures.electrostatic import formal_charges
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import full_cell
from redoxmd.structures.symmetry import site_symmetry
from tests.scripts import execute

NVP = {"Na": 1.0, "P": 5.0, "O": -2.0}
CUBIC = {"redox_element": None, "formula_units": 1, "preferred_site": "Na1", "mobile_ion": "Na"}


def structure_file(folder, name, settings=None):
    """The structure of a name, from the file that the rule `structure` writes."""
    folder.mkdir(exist_ok=True)
    params = {"structures": settings_for("structure", settings or Structures()), "seed": 1}
    files = {"atoms": str(folder / "s.extxyz")}
    execute("structure", folder, params, {}, files, wildcards={"structure": name}, warm=True)
    return read(folder / "s.extxyz")


def ewald_eV(atoms, charges):
    """Energy of a whole structure by pymatgen; V has the charge that makes it neutral."""
    rest = sum(charges[symbol] for symbol in atoms.symbols if symbol != "V")
    vanadium = -rest / max(list(atoms.symbols).count("V"), 1)
    structure = AseAtomsAdaptor.get_structure(Atoms(atoms.numbers, atoms.positions, cell=atoms.cell, pbc=True))
    structure.add_oxidation_state_by_site([charges.get(symbol, vanadium) for symbol in atoms.symbols])
    return EwaldSummation(structure).total_energy


def classes_by_energy(x_ions, charges):
    """Every class of orderings of the NVP cell with its Ewald energy, the lowest first; structures made by hand."""
    full, symmetry = full_cell(Structures(), (1, 1, 1)), site_symmetry(Structures(), (1, 1, 1))
    sites = np.flatnonzero(full.numbers == 11)
    energies = {}
    for chosen in combinations(range(len(sites)), x_ions):
        key = symmetry.key(chosen)
        if key not in energies:
            atoms = full.copy()
            del atoms[np.delete(sites, chosen)]
            energies[key] = ewald_eV(atoms, charges)
    return sorted(energies.items(), key=lambda item: item[1])


def test_seeds_follow_the_ewald_energies_of_all_orderings(tmp_path):
    """By the rule's files, against pymatgen on every inequivalent structure."""
    x, ions = 2.5, 5
    expected = classes_by_energy(ions, NVP)
    symmetry = site_symmetry(Structures(), (1, 1, 1))
    full = full_cell(Structures(), (1, 1, 1))
    for seed in range(len(expected) + 1):
        atoms = structure_file(tmp_path, f"x{x:.3f}_electrostatic{seed}_1x1x1")
        key, energy_eV = expected[seed % len(expected)]
        ions_A = atoms.positions[atoms.numbers == 11]
        assert len(ions_A) == ions
        sites_A = full.positions[full.numbers == 11]
        occupied = [int(np.linalg.norm(sites_A - position, axis=1).argmin()) for position in ions_A]
        assert np.abs(sites_A[occupied] - ions_A).max() < 1e-6
        assert ewald_eV(atoms, NVP) == pytest.approx(energy_eV, abs=1e-3)
        if seed < len(expected) and np.diff([value for _, value in expected]).min() > 1e-3:
            assert symmetry.key(occupied) == key


def poscar(folder, cell_A, ions, anion):
    atoms = Atoms(f"Na{len(ions)}Cl", scaled_positions=[*ions, anion], cell=cell_A, pbc=True)
    atoms.write(folder / "POSCAR", format="vasp")
    return Structures(source=str(folder / "POSCAR"), moments_muB={}, moments_x=0, **CUBIC)


def test_half_the_sites_of_a_simple_cubic_lattice_order_as_in_rock_salt(tmp_path, monkeypatch):
    """The ground state of repelling ions on a half-filled simple cubic lattice: no two neighbours. By search, too."""
    settings = poscar(tmp_path, np.eye(3) * 4.0, [(0, 0, 0)], (0.5, 0.5, 0.5))
    settings = settings.model_copy(update={"formal_charges": {"Na": 2.0, "Cl": -1.0}})
    request = parse_name("x0.500_electrostatic0_2x2x2")
    for limit in (20_000, 10):
        monkeypatch.setattr(electrostatic, "ALL_ORDERINGS", limit)
        atoms = build_structure(request, settings, 1)
        parity = np.round(atoms.positions[atoms.numbers == 11] / 4.0).sum(axis=1) % 2
        assert len(parity) == 4 and len(set(parity)) == 1


def test_searches_find_the_order_of_all_orderings(monkeypatch):
    """Two NVP cells with 11 of 16 sites filled: 4368 orderings, by enumeration and by descents; with other seeds."""
    names = [parse_name(f"x2.750_electrostatic{k}_2x1x1") for k in range(6)]
    expected = [ewald_eV(build_structure(name, Structures(), 1), NVP) for name in names]
    assert expected == sorted(expected) and expected[5] > expected[0] + 0.01
    monkeypatch.setattr(electrostatic, "ALL_ORDERINGS", 100)
    for seed in (1, 2):
        found = [ewald_eV(build_structure(name, Structures(), seed), NVP) for name in names]
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_sites_that_overlap_are_not_filled_together(tmp_path, monkeypatch):
    """Each site is split in two, 0.6 Å apart; enumerated and searched."""
    sites = [(0.0, 0, 0), (0.15, 0, 0), (0.5, 0.5, 0), (0.65, 0.5, 0)]
    settings = poscar(tmp_path, np.diag([4.0, 5.0, 6.0]) * 1.5, sites, (0.3, 0.2, 0.5))
    settings = settings.model_copy(update={"formal_charges": {"Na": 0.5, "Cl": -1.0}})
    for limit in (20_000, 1):
        monkeypatch.setattr(electrostatic, "ALL_ORDERINGS", limit)
        atoms = build_structure(parse_name("x2.000_electrostatic0_1x2x1"), settings, 1)
        ions = atoms[atoms.numbers == 11]
        distances_A = ions.get_all_distances(mic=True)[np.triu_indices(len(ions), 1)]
        assert len(ions) == 4 and distances_A.min() > 2.0


def test_charges_by_pymatgen_or_by_the_config():
    symbols = ["Na"] * 5 + ["V"] * 4 + ["P"] * 6 + ["O"] * 24
    expected = {"Na": 1.0, "V": 3.25, "P": 5.0, "O": -2.0}
    assert formal_charges(Counter(symbols), Structures()) == pytest.approx(expected)
    assert formal_charges(Counter(symbols), Structures(formal_charges=NVP)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("charges", "symbols", "words"),
    [
        ({"Na": 1.0}, ["Na", "V", "O"], r"structures\.formal_charges: the charge of O is missing"),
        ({"Na": 1.0, "V": 3.0, "O": -2.0}, ["Na", "V", "O"], r"has the charge \+2 .*, or leave out that of the redox"),
        (None, ["Na", "Na"], r"no neutral oxidation states of Na.*set structures\.formal_charges"),
    ],
)
def test_charges_that_cannot_be_are_refused(charges, symbols, words):
    with pytest.raises(StructureError, match=words):
        formal_charges(Counter(symbols), Structures(formal_charges=charges))


@pytest.mark.parametrize("symbols", [["Li"] * 10 + ["Ni"] * 8 + ["Mn"] + ["Co"] + ["O"] * 20, ["Na", "Ni", "Mn", "O"]])
def test_charges_that_neutrality_does_not_determine_are_not_guessed(symbols):
    """pymatgen's first guess for LiNi0.8Mn0.1Co0.1O2 has Mn +7."""
    settings = Structures(redox_element="Ni", mobile_ion=symbols[0])
    with pytest.raises(StructureError, match=r"have several oxidation states each; set structures\.formal_charges"):
        formal_charges(Counter(symbols), settings)
    given = settings.model_copy(update={"formal_charges": {symbols[0]: 1.0, "Mn": 4.0, "Co": 3.0, "O": -2.0}})
    charges = formal_charges(Counter(symbols), given)
    assert sum(charges[symbol] for symbol in symbols) == pytest.approx(0)


def test_charges_of_a_large_formula_are_asked_for_at_once():
    """The guess is over all distributions of states, and took 47 s for half of this formula."""
    symbols = ["Li"] * 12 + ["Fe"] * 24 + ["P"] * 25 + ["O"] * 96
    with pytest.raises(StructureError, match=r"set structures\.formal_charges"):
        formal_charges(Counter(symbols), Structures(redox_element="Fe", mobile_ion="Li"))


def test_the_empty_host_needs_no_charges():
    assert "Na" not in build_structure(parse_name("x0.000_electrostatic0_1x1x1"), Structures(), 1).symbols


def test_check_names_the_key_before_anything_runs(tmp_path):
    """Also of the structures of explore and production, whose jobs come late."""

    def plan(charges=None, **sections):
        raw = {"engine": {"name": "toy"}, "structures": {"formal_charges": charges}}
        return make_plan(parse_config(raw | sections), tmp_path)

    start = {"x": 2.5, "ordering": "electrostatic"}
    production = {"x": [2.5], "ordering": "electrostatic", "supercell": [1, 1, 1]}
    phases = [{"name": "small", "starts": [start], "length_ps": 1.0}]
    several = ({"aimd": {"starts": [start]}}, {"production": production}, {"explore": {"phases": phases}})
    for sections in several:
        good = plan(**sections)
        assert not [text for text in good.problems if "charge" in text]
        assert any("formal charges P +5, O -2, V +3.25, Na +1" in line for line in good.material)
        problem = " ".join(plan({"Na": 1.0}, **sections).problems)
        assert "formal_charges: the charge of P, O is missing" in problem and "x2.500_electrostatic0" in problem
    wrong = " ".join(plan({**NVP, "Na": 0.0, "Fe": 3.0}, **several[0]).problems)
    assert "formal_charges: Fe not in nvp, which holds Na, O, P, V" in wrong
    assert "Na has the charge 0" in wrong
    with pytest.raises(ConfigError, match=r"aimd\.starts\[0\]\.ordering"):
        plan(aimd={"starts": [{"x": 2.5, "ordering": "coulomb"}]})
