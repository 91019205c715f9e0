from itertools import combinations
from math import comb

import numpy as np
import pytest
from ase import Atoms
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.io.ase import AseAtomsAdaptor

from redoxmd.config.sections import Structures
from redoxmd.config.sections.explore import Phase
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.layout import phase_structures
from redoxmd.structures.build import build_structure
from redoxmd.structures.nvp import nvp_cell
from redoxmd.structures.request import parse_name
from redoxmd.structures.source import SourceCell
from redoxmd.structures.symmetry import SiteSymmetry, ordering_class, site_symmetry

NVP = Structures()
# Inequivalent orderings of n ions on the eight sites of the primitive cell, by pymatgen on all 256 of them.
CLASSES = {0: 1, 1: 2, 2: 5, 3: 7, 4: 10, 5: 7, 6: 5, 7: 2, 8: 1}


def made(name, seed=1):
    return build_structure(parse_name(name), NVP, seed)


def occupied_cell(sites):
    full = nvp_cell()
    mobile = np.flatnonzero(full.arrays["site"] != "-")
    del full[[index for number, index in enumerate(mobile) if number not in sites]]
    return full


def test_classes_are_those_of_another_code():
    """pymatgen compares structures by their positions and knows nothing of site permutations."""
    matcher = StructureMatcher(scale=False, primitive_cell=False, stol=0.05, ltol=0.01, angle_tol=0.5)
    symmetry = site_symmetry(NVP, (1, 1, 1))
    for n_ions in (2, 6):
        subsets = list(combinations(range(8), n_ions))
        structures = [AseAtomsAdaptor.get_structure(occupied_cell(subset)) for subset in subsets]
        groups = matcher.group_structures(structures)
        by_matcher = sorted(len(group) for group in groups)
        keys = [symmetry.key(subset) for subset in subsets]
        assert sorted(keys.count(key) for key in set(keys)) == by_matcher
        assert len(groups) == CLASSES[n_ions]


@pytest.mark.parametrize("n_ions", range(9))
def test_number_of_classes(n_ions):
    symmetry = site_symmetry(NVP, (1, 1, 1))
    assert len({symmetry.key(subset) for subset in combinations(range(8), n_ions)}) == CLASSES[n_ions]


def test_supercells_have_the_operations_that_keep_their_lattice():
    assert site_symmetry(NVP, (2, 2, 2)).permutations.shape == (12 * 8, 64)
    # Repeated along one rhombohedral axis only the inversion and a two-fold axis are left, with two translations.
    assert site_symmetry(NVP, (1, 1, 2)).permutations.shape == (4 * 2, 16)


@pytest.mark.parametrize("supercell", [(1, 1, 1), (2, 1, 1), (2, 2, 2)])
def test_operations_keep_all_distances_between_sites(supercell):
    full = nvp_cell().repeat(supercell)
    sites = full[full.arrays["site"] != "-"]
    distances = sites.get_all_distances(mic=True)
    for permutation in site_symmetry(NVP, supercell).permutations[::7]:
        np.testing.assert_allclose(distances[np.ix_(permutation, permutation)], distances, atol=1e-3)
        assert set(sites.arrays["site"][permutation[:2]]) == set(sites.arrays["site"][:2])


def test_no_symmetry_leaves_every_ordering_distinct():
    fractional = [[0, 0, 0], [0.31, 0.1, 0.2], [0.6, 0.45, 0.1], [0.2, 0.7, 0.6], [0.8, 0.8, 0.35]]
    axes = [[5.0, 0.3, 0.1], [0.0, 5.7, 0.2], [0.4, 0.0, 6.3]]
    cell = Atoms("Na3OV", scaled_positions=fractional, cell=axes, pbc=True)
    cell.set_array("site", np.array(["Na1", "Na2", "Na3", "-", "-"]))
    source = SourceCell(cell, 1, np.zeros(len(cell), dtype=bool), np.array(cell.get_chemical_symbols()))
    symmetry = SiteSymmetry(source, (1, 1, 1))
    assert symmetry.permutations.tolist() == [[0, 1, 2]]
    assert len({symmetry.key(subset) for subset in combinations(range(3), 2)}) == comb(3, 2)


class TestDrawing:
    @pytest.mark.parametrize(("x", "classes"), [(0.5, 2), (1.0, 5), (2.0, 10), (3.0, 5), (4.0, 1)])
    def test_seeds_are_inequivalent_as_far_as_there_are_such(self, x, classes):
        keys = [ordering_class(made(f"x{x:.3f}_random{seed}_1x1x1"), NVP) for seed in range(2 * classes)]
        assert len(set(keys[:classes])) == classes
        assert keys[classes:] == keys[:classes]

    def test_a_seed_gives_the_same_ordering_whatever_else_is_drawn(self):
        later = made("x2.000_random4_1x1x1").positions
        made("x2.000_random9_1x1x1")
        assert np.array_equal(made("x2.000_random4_1x1x1").positions, later)

    def test_preferred_sites_are_filled_first(self):
        for seed in range(4):
            assert (made(f"x2.000_preferred{seed}_1x1x1").arrays["site"] == "Na1").sum() == 2

    def test_supercells_too(self):
        keys = {ordering_class(made(f"x2.500_preferred{seed}_2x2x2"), NVP) for seed in range(3)}
        assert len(keys) == 3 and all(key.startswith("2x2x2:") for key in keys)


class TestRecognition:
    def test_of_a_frame_of_md_from_its_file(self, tmp_path):
        """Displaced, drifted across the boundary, strained, reordered, turned in space: the same class."""
        atoms = made("x2.500_random1_1x1x1")
        expected = ordering_class(atoms, NVP)
        rng = np.random.default_rng(3)
        moved = atoms.copy()
        moved.set_cell(np.asarray(atoms.cell) * 1.03, scale_atoms=True)
        moved.positions += 0.2 * rng.standard_normal(moved.positions.shape) + [3.1, -2.2, 5.3]
        moved = moved[rng.permutation(len(moved))]
        moved.wrap()
        moved.rotate(40, (1, 2, 3), rotate_cell=True)
        write_frames(tmp_path / "frames.extxyz", [moved])
        (read,) = read_frames(tmp_path / "frames.extxyz")
        assert ordering_class(read, NVP) == expected

    def test_of_every_symmetry_copy(self):
        atoms = made("x2.000_random2_1x1x1")
        full = nvp_cell()
        sites = np.flatnonzero(full.arrays["site"] != "-")
        taken = [
            i for i, site in enumerate(sites) if np.abs(atoms.positions - full.positions[site]).sum(1).min() < 1e-6
        ]
        for permutation in site_symmetry(NVP, (1, 1, 1)).permutations:
            assert ordering_class(occupied_cell(permutation[taken]), NVP) == ordering_class(atoms, NVP)

    @pytest.mark.parametrize("name", ["x2.000_random2_1x1x1", "x1.000_preferred0_1x1x1", "x2.000_random1_2x1x1"])
    def test_of_the_same_crystal_in_other_cells(self, name, tmp_path):
        """Repeated, or with the equivalent axes of the rhombohedral cell in another order; pymatgen: one crystal."""
        atoms = made(name)
        copies = [atoms.repeat(cells) for cells in ((2, 1, 1), (1, 1, 3), (2, 2, 1))]
        for axes in ([1, 2, 0], [2, 0, 1]):
            turned = atoms.copy()
            turned.set_cell(np.asarray(atoms.cell)[axes])
            copies.append(turned)
        write_frames(tmp_path / "frames.extxyz", [atoms, *copies])
        first, *others = read_frames(tmp_path / "frames.extxyz")
        matcher = StructureMatcher(scale=False, stol=0.05, ltol=0.01, angle_tol=0.5)
        crystal = AseAtomsAdaptor.get_structure(first)
        assert all(matcher.fit(crystal, AseAtomsAdaptor.get_structure(other)) for other in others)
        assert {ordering_class(other, NVP) for other in others} == {ordering_class(first, NVP)}

    def test_of_other_crystals_in_the_same_supercells(self):
        names = [f"x2.000_random{seed}_{cells}" for seed in range(3) for cells in ("2x1x1", "1x2x1", "1x1x2")]
        matcher = StructureMatcher(scale=False, stol=0.05, ltol=0.01, angle_tol=0.5)
        crystals = [AseAtomsAdaptor.get_structure(made(name)) for name in names]
        keys = [ordering_class(made(name), NVP) for name in names]
        for (one, a), (other, b) in combinations(list(zip(crystals, keys, strict=True)), 2):
            assert matcher.fit(one, other) == (a == b)

    def test_two_ions_in_one_place_take_two_sites(self):
        atoms = occupied_cell([0, 1, 4, 5])
        ions = np.flatnonzero(atoms.symbols == "Na")
        away = atoms.get_distance(ions[0], ions[1], mic=True, vector=True)
        atoms.positions[ions[1]] = atoms.positions[ions[0]] + 0.3 * away
        assert ordering_class(atoms, NVP) is not None

    @pytest.mark.parametrize("change", ["framework", "cell", "molecule", "too_many"])
    def test_other_structures_have_none(self, change):
        atoms = made("x2.000_random0_1x1x1")
        if change == "framework":
            atoms.positions[atoms.symbols == "O"] += [1.3, 0.4, 0.9]
        elif change == "cell":
            atoms.set_cell(np.asarray(atoms.cell) * [1.0, 1.0, 1.4], scale_atoms=True)
        elif change == "molecule":
            atoms = Atoms("NaO", positions=[[0, 0, 0], [0, 0, 2]])
        else:
            atoms += Atoms("O", positions=[[1, 1, 1]])
        assert ordering_class(atoms, NVP) is None


def test_generations_explore_orderings_that_are_no_copies_of_each_other():
    """The structures of three generations, compared by pymatgen."""
    phase = Phase(name="small", starts=({"x": 2.0, "seeds": (4, 5)}, {"x": 2.5, "seeds": (0,)}))
    names = [phase_structures(phase, generation) for generation in range(3)]
    assert [len(of_generation) for of_generation in names] == [3, 3, 3]
    for x in ("x2.000", "x2.500"):
        ordered = [name for of_generation in names for name in of_generation if name.startswith(x)]
        built = [AseAtomsAdaptor.get_structure(made(name)) for name in ordered]
        matcher = StructureMatcher(scale=False, primitive_cell=False, stol=0.05, ltol=0.01, angle_tol=0.5)
        assert len(matcher.group_structures(built)) == len(ordered) == {"x2.000": 6, "x2.500": 3}[x]
