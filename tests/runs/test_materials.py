"""Files of other materials, right and wrong, through `redoxmd check`."""

import gzip
import math

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.io import write
from pymatgen.core import Lattice, Structure

from redoxmd.cli import main
from redoxmd.config import load_config
from redoxmd.engines import settings_hash
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.files.records import file_sha256
from redoxmd.structures.build import build_structure, set_initial_moments
from redoxmd.structures.request import parse_name

HEAD = """data_x
_cell_length_a {a}
_cell_length_b {a}
_cell_length_c {c}
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma {gamma}
_symmetry_space_group_name_H-M '{group}'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
"""
# A tetragonal NaMnO2 of one formula unit, 38.7 Å3.
CELL = HEAD.format(a=2.9, c=4.6, gamma=90, group="P 1")
NAMNO2 = CELL + "Na1 Na 0 0 0.5 1\nMn1 Mn 0 0 0 1\nO1 O 0.5 0.5 0 1\nO2 O 0.5 0.5 0.5 1\n"
# P2-NaxMnO2 with both kinds of prismatic sites, 1.66 Å apart.
P2 = HEAD.format(a=2.87, c=11.2, gamma=120, group="P 63/m m c") + (
    "Na1 Na 0 0 0.25 0.25\nNa2 Na 0.3333333 0.6666667 0.75 0.42\nMn1 Mn 0 0 0 1\nO1 O 0.3333333 0.6666667 0.09 1\n"
)
NAMNO2_STRUCTURES = {
    "mobile_ion": "Na",
    "redox_element": "Mn",
    "formula_units": 1,
    "preferred_site": "Na1",
    "moments_muB": {"Mn": 4.0},
    "moments_x": 1.0,
    "moment_per_ion_muB": 1.0,
}


@pytest.fixture
def check(tmp_path, capsys):
    """`redoxmd check` on a config of a structure file: exit status and the lines printed."""

    def run(content=NAMNO2, file="cell.cif", config=None, without=(), **structures):
        path = tmp_path / file
        if content is not None:
            path.write_bytes(content) if isinstance(content, bytes) else path.write_text(content)
        own = {**NAMNO2_STRUCTURES, "source": str(path), **structures}
        cell = {"supercell": [2, 2, 2], "starts": [{"x": 0.5}]}
        sections = {
            "run": "own",
            "structures": {key: value for key, value in own.items() if key not in without},
            "engine": {"name": "gpaw", "gpaw": {"hubbard": {"Mn": {"U_eV": 3.9}}}},
            "aimd": cell,
            "explore": {"phases": [{"name": "small", **cell}]},
            "production": {"x": [0.5, 1.0], "temperatures_K": [600], "replicas": 1},
        } | (config or {})
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(sections))
        status = main(["check", str(tmp_path / "config.yaml")])
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, (captured.out + captured.err).splitlines()

    return run


def holds(lines, *words):
    return any(all(word in line for word in words) for line in lines)


def test_what_is_understood_of_a_file(check):
    status, lines = check()
    assert status == 0 and lines[-1] == "ready", lines
    structure = Structure.from_str(NAMNO2, fmt="cif")
    volume, shortest = structure.volume, structure.get_distance(0, 3)
    assert holds(lines, "full cell: NaMnO2, 1 × NaxMnO2 (x up to 1)", f"{volume:.4g} Å3 each")
    assert holds(lines, f"sites of Na: 1 Na1 (4 O at {shortest:.2f} to {shortest:.2f} Å) in the cell")
    assert holds(lines, "shortest distances", f"Na–O {shortest:.2f} Å")
    # Eight Mn: 4 μB each with all Na, one less for each Na taken out.
    assert holds(lines, "x = 0.5: Na4Mn8O16 in 2x2x2, total moment 28 μB, 38.69 Å3 per formula unit")
    assert holds(lines, "x = 1: Na8Mn8O16 in 2x2x2, total moment 32 μB")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"redox_element": "mn"}, ["structures.redox_element: 'mn' is not in", "cell.cif", "holds Mn, Na, O"]),
        ({"moments_muB": {"Mn": 4.0, "Fe": 1.0}}, ["structures.moments_muB: 'Fe'", "holds Mn, Na, O"]),
        ({"mobile_ion": "Li"}, ["structures.mobile_ion", "holds no Li; it holds Mn, Na, O"]),
        ({"moments_x": 3.0}, ["structures.moments_x: 3 is more than the sites", "x up to 1"]),
        ({"formula_units": 2}, ["structures.formula_units: 2 does not divide Mn1 O2", "; 1 would"]),
        ({"volume_A3_per_fu": {0.5: 155, 1.0: 155}}, ["volume_A3_per_fu: 155 Å3", "4.01 times the 38.69 Å3"]),
        ({"sites": {"A": ["Na"]}}, ["structures.sites.A: 'Na' is not a Na atom of", "which has the atoms 0 (Na1)"]),
        ({"preferred_site": "Na7"}, ["no site 'Na7'", "['Na1']"]),
        ({"without": ["moments_x"]}, ["structures.moments_x left out", "Na_xV2(PO4)3", "cell.cif"]),
        ({"without": ["redox_element", "moments_muB"]}, ["structures: redox_element, moments_muB left out"]),
        (
            {"config": {"engine": {"gpaw": {"hubbard": {"Fe": {"U_eV": 4.0}}}}}},
            ["engine.gpaw.hubbard: 'Fe' is not in the cell, which holds Mn, Na, O"],
        ),
        ({"config": {"engine": {"gpaw": {"xc": "NOXC"}}}}, ["engine.gpaw.xc: NOXC is not available in GPAW"]),
        (
            {"config": {"production": {"x": [0.5], "supercell": [200, 200, 200]}}},
            ["production.supercell: [200, 200, 200]", "28000000 atoms", "fewer repeats"],
        ),
    ],
    ids=str,
)
def test_what_does_not_go_with_the_cell_is_refused(check, changes, words):
    status, lines = check(**changes)
    assert status == 1 and holds(lines, *words), lines


def test_elements_that_gpaw_has_no_dataset_of_are_named(check):
    """gpaw-data has datasets of the lanthanides and of no actinide."""
    rare = {"redox_element": "Ce", "moments_muB": {"Ce": 1.0}, "config": {"engine": {"gpaw": {"hubbard": {}}}}}
    status, lines = check(NAMNO2.replace("Mn", "Ce"), **rare)
    assert status == 0, lines
    status, lines = check(NAMNO2.replace("Mn", "U"), **rare | {"redox_element": "U", "moments_muB": {"U": 1.0}})
    assert status == 1 and holds(lines, "engine gpaw: no PAW dataset of U for PBE; install one"), lines


def test_defaults_of_another_material_that_hold_are_told(check):
    status, lines = check(without=["moment_per_ion_muB"], config={"engine": {"name": "gpaw"}})
    assert status == 0
    assert holds(lines, "engine.gpaw.hubbard: left out, so no U on Mn")
    assert holds(lines, "structures.moment_per_ion_muB: left out, so each Na adds +1 μB")
    assert holds(lines, "charges.states: left out, so Mn is 3+ or 4+")


@pytest.mark.parametrize(
    ("charges", "told"),
    [({}, True), ({"n_ligands": 4}, False), ({"n_ligands": 4, "ligand": "S"}, True)],
)
def test_ligands_that_the_redox_element_does_not_have_are_told(check, charges, told):
    """By pymatgen, Mn has four O at 2.05 Å, and the next at 3.08 Å."""
    lines = check(config={"charges": charges})[1]
    assert holds(lines, "charges.n_ligands: bond lengths of Mn are means over") is told


def test_units_that_are_not_the_smallest_are_told(check):
    doubled = Structure.from_str(NAMNO2, fmt="cif") * [2, 1, 1]
    text = doubled.to(fmt="poscar")
    x = {"starts": [{"x": 1.0}]}
    sections = {"aimd": x, "explore": {"phases": [x]}, "production": {"x": [2.0], "supercell": [1, 1, 1]}}
    status, lines = check(text, "POSCAR", config=sections)
    assert status == 0 and holds(lines, "structures.formula_units: 1, though the cell holds 2 × MnO2")
    assert holds(lines, "full cell: Na2Mn2O4, 1 × NaxMn2O4 (x up to 2)")


RES = """TITL own
CELL 1.0 2.9 2.9 4.6 90 90 90
LATT -1
SFAC Na Mn O
Na 1 0 0 0.5 1.0
Mn 2 0 0 0 0.5
O 3 0.5 0.5 0 1.0
O 3 0.5 0.5 0.5 1.0
END
"""


def poscar(counts="1 1 2", more=()):
    positions = ["0 0 0.5", "0 0 0", "0.5 0.5 0", "0.5 0.5 0.5", *more]
    return "\n".join(["own", "1.0", "2.9 0 0", "0 2.9 0", "0 0 4.6", "Na Mn O", counts, "Direct", *positions]) + "\n"


def test_a_poscar_with_velocities_or_compressed_is_read(check):
    assert check(poscar(more=["", *["0.001 0 0"] * 4]), "CONTCAR")[0] == 0
    head, positions = poscar().split("Direct\n")
    fixed = head + "Selective dynamics\nDirect\n" + positions.replace("\n", " T F T\n")
    assert check(fixed, "POSCAR")[0] == 0
    assert check(gzip.compress(poscar().encode()), "POSCAR.gz")[0] == 0
    status, lines = check(gzip.compress(poscar(counts="1 1 1").encode()), "POSCAR.gz")
    assert status == 1 and holds(lines, "counts of atoms (1 1 1)")


@pytest.mark.parametrize(
    ("content", "file", "words"),
    [
        (poscar(counts="1 1 1"), "POSCAR", ["POSCAR has more positions than its counts of atoms (1 1 1) say"]),
        (poscar(more=["0.5 0 0.25 (vacant site)"]), "POSCAR", ["more positions than its counts of atoms (1 1 2) say"]),
        (poscar(counts="1 1 9"), "POSCAR", ["is not readable (", "correct the file"]),
        ("4\n\nNa 0 0 0\nMn 1.5 1.5 0\nO 1 0 1\nO 0 1 1\n", "cell.xyz", ["has no cell"]),
        (b"\x00\x01\x02\x03", "cell.cif", ["is not readable ("]),
        (b"", "POSCAR", ["POSCAR has no line Direct or Cartesian before its positions"]),
        (poscar().replace("Direct\n", ""), "POSCAR", ["POSCAR has no line Direct or Cartesian"]),
        (poscar().replace("Na Mn O\n", ""), "POSCAR", ["write a line with the elements above the counts of atoms"]),
        (
            NAMNO2.replace("data_x", "data_300K") + NAMNO2.replace("data_x", "data_700K"),
            "cell.cif",
            ["holds 2 structures; give a file with one of them"],
        ),
        (RES, "cell.res", ["can hold partly occupied sites", "give a CIF"]),
        (
            NAMNO2.replace("Mn1 Mn 0 0 0 1", "Mn1 Mn 0 0 0.05 1\nMn2 Mn 0 0 0.1 1"),
            "cell.cif",
            ["Mn1 (atom 1)", "0.23 Å"],
        ),
        (
            NAMNO2.replace("O2 O 0.5 0.5 0.5", "O2 O 0.1 0.1 0.5"),
            "cell.cif",
            ["Na1 (atom 0) and O2 (atom 3)", "0.41 Å"],
        ),
    ],
    ids=[
        "counts",
        "vacant",
        "short",
        "xyz",
        "binary",
        "empty",
        "without mode",
        "VASP 4",
        "two",
        "occupancies",
        "twice",
        "overlap",
    ],
)
def test_files_that_are_no_crystal_are_refused_with_a_reason(check, content, file, words):
    status, lines = check(content, file)
    assert status == 1 and holds(lines, "structures.source: ", file, *words), lines
    assert not holds(lines, "()")


def test_a_folder_is_no_crystal(check, tmp_path):
    status, lines = check(None, ".")
    assert status == 1 and holds(lines, "structures.source", "is a folder")


MIXED = NAMNO2.replace("Mn1 Mn 0 0 0 1", "Mn1 Mn 0 0 0 0.5\nFe1 Fe 0 0 0 0.5")


@pytest.mark.parametrize("file", ["cell.cif", "cell.CIF", "cell.cif.gz"])
def test_mixed_occupancy_is_seen_in_every_file_that_is_a_cif(check, file):
    """ASE takes one of the two elements; a name of its own or a compression must not lead there."""
    for text, status in ((MIXED, 1), (NAMNO2, 0)):
        content = gzip.compress(text.encode()) if file.endswith(".gz") else text
        found, lines = check(content, file)
        assert found == status, lines
        assert holds(lines, "structures.cell_matrix", file, "would hold Fe 0.5, Mn 0.5 atoms") == bool(status)


def shortest_sodium_A(atoms):
    """By pymatgen, over all periodic images."""
    ions = atoms[atoms.symbols == "Na"]
    structure = Structure(Lattice(ions.cell), ["Na"] * len(ions), ions.positions, coords_are_cartesian=True)
    return min(neighbour.nn_distance for around in structure.get_all_neighbors(6.0) for neighbour in around)


@pytest.mark.parametrize("ordering", ["random", "preferred"])
def test_sites_that_overlap_are_not_both_filled(check, tmp_path, ordering):
    cell = {"supercell": [2, 2, 1], "starts": [{"x": 0.625, "ordering": ordering, "seeds": list(range(8))}]}
    sections = {
        "aimd": cell,
        "explore": {"phases": [{"name": "small", **cell}]},
        "production": {"x": [0.625], "supercell": [2, 2, 1]},
    }
    status, lines = check(P2, config=sections, formula_units=2, preferred_site="Na2")
    assert status == 0 and holds(lines, "Na1 (atom 0) and Na2 (atom 3) are 1.66 Å apart", "cell.cif"), lines
    loaded = load_config(tmp_path / "config.yaml")
    orderings = set()
    for seed in range(8):
        request = parse_name(f"x0.625_{ordering}{seed}_2x2x1")
        write_frames(tmp_path / "made.extxyz", [build_structure(request, loaded.structures, loaded.seed)])
        (atoms,) = read_frames(tmp_path / "made.extxyz")
        assert atoms.get_chemical_formula() == "Mn8Na5O16" and shortest_sodium_A(atoms) > 2.8
        if ordering == "preferred":
            assert (atoms.arrays["site"] == "Na2").sum() == 5
        orderings.add(tuple(np.round(atoms.positions[atoms.symbols == "Na"].ravel(), 2)))
    # Seeds give inequivalent orderings, of which five ions on eight alike sites have three.
    assert len(orderings) >= 3


def test_ions_that_find_no_place_are_refused_by_their_sites(check):
    """Two Na of one layer of P2 are full at x = 1; at x = 1.5 every ordering has some at 1.66 Å."""
    cell = {"supercell": [2, 2, 1], "starts": [{"x": 1.5}]}
    sections = {"aimd": cell, "explore": {"phases": [{"name": "small", **cell}]}, "production": {"x": [0.5]}}
    status, lines = check(P2, config=sections, formula_units=2)
    assert status == 1
    assert holds(lines, "x1.500_random0_2x2x1", "cell.cif", "12 ions find no place", "Na1", "Na2", "1.66 Å", "Lower x")


@pytest.mark.parametrize(("moments", "polarised"), [({"Mn": 0.0}, True), ({}, False)])
def test_ions_that_are_low_spin_keep_their_spin(moments, polarised, check, tmp_path):
    """Co3+ in LiCoO2 and the like: nothing at x = 1, one μB for each ion taken out."""
    status, lines = check(moments_muB=moments, moment_per_ion_muB=-1.0)
    assert status == 0
    assert holds(lines, "x = 0.5: Na4Mn8O16", "total moment 4 μB" if polarised else "no spin")
    loaded = load_config(tmp_path / "config.yaml")
    for x, total in ((0.5, 4.0), (1.0, 0.0)):
        made = build_structure(parse_name(f"x{x:.3f}_random0_2x2x2"), loaded.structures, loaded.seed)
        write_frames(tmp_path / "made.extxyz", [made])
        (atoms,) = read_frames(tmp_path / "made.extxyz")
        assert atoms.has("initial_magmoms") == polarised
        assert math.isclose(atoms.get_initial_magnetic_moments().sum(), total if polarised else 0.0, abs_tol=1e-9)
        # As a label gets them, from its geometry.
        atoms.set_initial_magnetic_moments(None)
        set_initial_moments(atoms, loaded.structures)
        assert atoms.has("initial_magmoms") == polarised


def dataset(folder, settings, names):
    folder.mkdir()
    frames = []
    for name in names:
        frame = Atoms("Na", cell=[4, 4, 4], pbc=True)
        frame.info.update(config_id=name, step=0)
        frames.append(frame)
    write(folder / "frames.extxyz", frames, format="extxyz")
    card = {
        "engine": "toy",
        "settings_hash": settings,
        "files": {"frames.extxyz": file_sha256(folder / "frames.extxyz")},
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card))


def test_refusals_of_training_data_come_before_the_aimd(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = {"run": "late", "engine": {"name": "toy"}, "aimd": {"starts": [{"x": 3.0}]}}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    dataset(tmp_path / "same", settings_hash(load_config("base.yaml").engine), ["kept", "of another run"])
    dataset(tmp_path / "other", "0123456789abcdef", ["kept"])
    dataset(tmp_path / "changed", settings_hash(load_config("base.yaml").engine), ["kept"])
    (tmp_path / "changed/frames.extxyz").write_text("")

    def problems(**train):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({**base, "train": train}))
        status, printed = main(["check", "config.yaml"]), capsys.readouterr().out
        assert status == ("this run would stop" in printed)
        return printed.partition("this run would stop:")[2]

    own = "x3.000_random0_1x1x1"
    assert problems(datasets=["same"], test_configurations=["kept", own]) == ""
    assert problems(datasets=["same"], test_configurations=["of another run"]) == ""
    assert "other was made with settings 0123456789abcdef" in problems(datasets=["same", "other"])
    assert "content differs from its checksum" in problems(datasets=["changed"])
    unknown = problems(datasets=["same"], test_configurations=["kept", "keptt"])
    assert "train.test_configurations: no frames of ['keptt']; there are" in unknown
    assert all(name in unknown for name in ("'kept'", "'of another run'", own))
    assert "none remains for training" in problems(test_configurations=[own])


def test_the_forecast_of_labels_is_of_the_cells_they_are_made_in(check):
    def disk(lines):
        rows = [line.split("  ") for line in lines if line.endswith(" GB") and line.startswith("  ")]
        return {row[1].strip(): float(row[-1].split()[0]) for row in rows}

    small, large = ({"production": {"x": [0.5], "supercell": [n, n, n]}} for n in (2, 4))
    one, eight = disk(check(config=small)[1]), disk(check(config=large)[1])
    for kind in ("frames", "densities"):
        name = f"{kind} (aimd and one generation of labels)"
        assert one[name] == eight[name] > 0
    assert eight["trajectories"] == pytest.approx(8 * one["trajectories"], rel=0.01)


def test_a_disk_that_is_too_small_is_told(check):
    status, lines = check(config={"production": {"x": [0.5], "supercell": [30, 30, 30], "length_ps": 1e9}})
    assert status == 0 and holds(lines, "disk: about", "GB free here; not enough")
