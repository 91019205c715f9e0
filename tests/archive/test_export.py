import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read

from redoxmd.archive.exporting import export_frames
from redoxmd.cli import main
from redoxmd.errors import DataError
from redoxmd.files.frames import write_frames
from tests.conftest import rock

# ASE writes columns with eight decimals.
WRITTEN_A = 1e-8


def labelled_frame(seed, stress=True, **info):
    atoms = rock(seed)
    rng = np.random.default_rng(seed)
    tensor = rng.normal(size=(3, 3))
    results = {"energy": -50.123456789 + seed, "forces": rng.normal(size=(len(atoms), 3))}
    if stress:
        results["stress"] = (tensor + tensor.T) / 100
    atoms.calc = SinglePointCalculator(atoms, **results)
    atoms.info.update(config_id="a", step=seed, settings_hash="h", engine="vasp", converged=True, **info)
    return atoms


@pytest.fixture
def frames():
    sets = ("train", "train", "validation", "test")
    return [labelled_frame(seed, set=name) for seed, name in enumerate(sets)]


@pytest.fixture
def source(tmp_path, frames):
    write_frames(tmp_path / "dataset.extxyz", frames)
    return tmp_path / "dataset.extxyz"


def same(found, expected, results):
    """Geometry and labels are those written, to the digits the format keeps."""
    assert list(found.symbols) == list(expected.symbols)
    np.testing.assert_allclose(found.positions, expected.positions, rtol=0, atol=WRITTEN_A)
    np.testing.assert_allclose(found.cell, expected.cell, rtol=0, atol=WRITTEN_A)
    assert results["energy"] == expected.calc.results["energy"]
    np.testing.assert_allclose(results["forces"], expected.calc.results["forces"], rtol=0, atol=WRITTEN_A)
    np.testing.assert_allclose(results["stress"], expected.calc.results["stress"], rtol=0, atol=WRITTEN_A)


def test_extxyz_comes_back(tmp_path, source, frames):
    assert export_frames(source, "extxyz", tmp_path / "all.extxyz") == [tmp_path / "all.extxyz"]
    back = read(tmp_path / "all.extxyz", ":")
    assert [frame.info["step"] for frame in back] == [0, 1, 2, 3]
    for found, expected in zip(back, frames, strict=True):
        same(found, expected, found.calc.results | {"stress": found.get_stress(voigt=False)})


def test_mace_has_its_own_names_and_a_file_for_each_set(tmp_path, source, frames):
    files = export_frames(source, "mace", tmp_path / "mace")
    assert [path.name for path in files] == ["test.xyz", "train.xyz", "valid.xyz"]
    back = [frame for name in ("train", "valid", "test") for frame in read(tmp_path / f"mace/{name}.xyz", ":")]
    assert len(back) == 4
    for found, expected in zip(back, frames, strict=True):
        # ASE took none of it for its own results.
        assert found.calc is None
        labels = {"energy": found.info["REF_energy"], "forces": found.arrays["REF_forces"]}
        same(found, expected, labels | {"stress": found.info["REF_stress"]})


def test_frames_without_sets_are_one_training_file(tmp_path):
    write_frames(tmp_path / "plain.extxyz", [labelled_frame(0), labelled_frame(1)])
    assert [path.name for path in export_frames(tmp_path / "plain.extxyz", "mace", tmp_path / "mace")] == ["train.xyz"]
    assert len(read(tmp_path / "mace/train.xyz", ":")) == 2


def test_nequip_has_ases_names_and_a_file_for_each_set(tmp_path, source, frames):
    files = export_frames(source, "nequip", tmp_path / "nequip")
    assert [path.name for path in files] == ["test.extxyz", "train.extxyz", "valid.extxyz"]
    back = [frame for name in ("train", "valid", "test") for frame in read(tmp_path / f"nequip/{name}.extxyz", ":")]
    for found, expected in zip(back, frames, strict=True):
        same(found, expected, found.calc.results | {"stress": found.get_stress(voigt=False)})


def test_deepmd_comes_back_from_numpy(tmp_path, source, frames):
    export_frames(source, "deepmd", tmp_path / "deepmd")
    folder = tmp_path / "deepmd" / frames[0].get_chemical_formula(mode="metal")
    types = (folder / "type_map.raw").read_text().split()
    symbols = [types[int(word)] for word in (folder / "type.raw").read_text().split()]
    data = {name: np.load(folder / f"set.000/{name}.npy") for name in ("coord", "box", "energy", "force", "virial")}
    n = len(frames[0])
    assert {name: array.shape for name, array in data.items()} == {
        "coord": (4, 3 * n),
        "box": (4, 9),
        "energy": (4,),
        "force": (4, 3 * n),
        "virial": (4, 9),
    }
    for index, expected in enumerate(frames):
        found = Atoms(symbols, data["coord"][index].reshape(n, 3), cell=data["box"][index].reshape(3, 3), pbc=True)
        stress = -data["virial"][index].reshape(3, 3) / found.get_volume()
        forces = data["force"][index].reshape(n, 3)
        same(found, expected, {"energy": data["energy"][index], "forces": forces, "stress": stress})


def test_the_virial_is_minus_the_strain_derivative_of_the_energy(tmp_path):
    """An independent check of sign and volume: central differences of the energy against strain."""
    from ase.calculators.emt import EMT

    crystal = Atoms("Cu4", scaled_positions=[[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]], cell=[3.4] * 3)
    crystal.pbc = True
    crystal.rattle(0.05, seed=1)
    cell = np.asarray(crystal.cell)

    def energy(strain):
        strained = crystal.copy()
        strained.set_cell(cell @ (np.eye(3) + strain), scale_atoms=True)
        strained.calc = EMT()
        return strained.get_potential_energy()

    expected = np.zeros((3, 3))
    for i in range(3):
        for j in range(3):
            step = np.zeros((3, 3))
            step[i, j] = step[j, i] = 1e-5 if i == j else 0.5e-5
            expected[i, j] = -(energy(step) - energy(-step)) / 2e-5
    crystal.calc = EMT()
    results = {"energy": crystal.get_potential_energy(), "forces": crystal.get_forces(), "stress": crystal.get_stress()}
    crystal.calc = SinglePointCalculator(crystal, **results)
    write_frames(tmp_path / "cu.extxyz", [crystal])
    export_frames(tmp_path / "cu.extxyz", "deepmd", tmp_path / "out")
    virial = np.load(tmp_path / "out/Cu4/set.000/virial.npy").reshape(3, 3)
    np.testing.assert_allclose(virial, expected, rtol=0, atol=1e-5)
    # A crystal pressed together wants to expand: positive.
    assert np.trace(virial) > 0


def test_deepmd_keeps_orders_of_atoms_apart_and_fills_sets(tmp_path, monkeypatch):
    monkeypatch.setattr("redoxmd.archive.deepmd.SET_FRAMES", 2)
    turned = labelled_frame(7)[::-1]
    turned.calc = SinglePointCalculator(turned, energy=-1.0, forces=np.zeros((len(turned), 3)))
    write_frames(tmp_path / "mixed.extxyz", [*(labelled_frame(seed) for seed in range(5)), turned])
    export_frames(tmp_path / "mixed.extxyz", "deepmd", tmp_path / "out")
    name = labelled_frame(0).get_chemical_formula(mode="metal")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [name, f"{name}-2"]
    lengths = [len(np.load(tmp_path / f"out/{name}/set.00{index}/energy.npy")) for index in range(3)]
    assert lengths == [2, 2, 1]
    first, second = ((tmp_path / "out" / folder / "type.raw").read_text().split() for folder in (name, f"{name}-2"))
    assert first == second[::-1]
    assert not (tmp_path / f"out/{name}-2/set.000/virial.npy").exists()


# Labels of the fields of a submission, in github.com/colabfit/data-lake/.github/ISSUE_TEMPLATE/submit_dataset.yml.
COLABFIT_FIELDS = {
    *("Dataset name", "Authors", "Publication link", "Data link", "Dataset description", "File details", "Method"),
    *("Software", "Software version(s)", "Additional details", "Property types", "Property details", "Elements"),
    *("Energy field conjugate with forces", "Number of Configurations", "Naming convention", "Configuration sets"),
    "Distribution license",
}


def card_of(folder):
    """Metadata and table of a dataset card."""
    _, metadata, text = (folder / "README.md").read_text().split("---\n", 2)
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return yaml.safe_load(metadata), dict(rows[1:])


def test_colabfit_gets_the_frames_and_a_card_with_the_fields_of_its_form(tmp_path, frames):
    """Two of the frames lack a stress."""
    frames = [*frames[:2], *(labelled_frame(seed, stress=False) for seed in (2, 3))]
    folder = tmp_path / "data"
    write_frames(folder / "frames.extxyz", frames)
    level = {"code": "vasp", "functional": "PBE", "cutoff_eV": 520.0, "hubbard": {"V": ["d", 4.2]}}
    card = {"engine": "vasp", "settings_hash": "h", "title": "Own | frames", "licence": "CC-BY-4.0", "level": level}
    (folder / "dataset.yaml").write_text(yaml.safe_dump(card | {"files": {"frames.extxyz": "-"}}))
    assert main(["export", str(folder), "--as", "colabfit", "--to", str(tmp_path / "Na_2024")]) == 0
    back = read(tmp_path / "Na_2024/frames.extxyz", ":")
    for found, expected in zip(back, frames, strict=True):
        np.testing.assert_allclose(found.get_forces(), expected.get_forces(), rtol=0, atol=WRITTEN_A)
        assert found.get_potential_energy() == expected.get_potential_energy()
    metadata, table = card_of(tmp_path / "Na_2024")
    assert metadata["license"] == "CC-BY-4.0" and metadata["pretty_name"] == "Own | frames"
    assert set(table) == COLABFIT_FIELDS
    assert table["Dataset name"] == "Na_2024" and table["Authors"] == "to be added"
    assert table["Software"] == "VASP" and table["Method"] == "DFT-PBE+U"
    assert table["Number of Configurations"] == "4" and table["Configuration sets"] == "by config_id: 1 sets"
    assert table["Elements"] == ", ".join(sorted(set(frames[0].get_chemical_symbols())))
    assert table["Property types"] == "Potential energy, Atomic forces, Cauchy stress"
    assert "eV/Å (4 frames)" in table["Property details"] and "tension (2 frames)" in table["Property details"]


def test_colabfit_gets_the_file_of_a_run(tmp_path, source):
    export_frames(source, "colabfit", tmp_path / "out")
    table = card_of(tmp_path / "out")[1]
    assert set(table) == COLABFIT_FIELDS
    assert (table["Software"], table["Method"], table["Distribution license"]) == ("VASP", "to be added", "to be added")


def test_what_cannot_be_exported_is_named(tmp_path, source):
    with pytest.raises(DataError, match="no such dataset"):
        export_frames(tmp_path / "nothing", "mace", tmp_path / "out")
    bare = tmp_path / "bare.extxyz"
    write_frames(bare, [rock(0)])
    with pytest.raises(DataError, match="frame 0 has no energy and forces"):
        export_frames(bare, "extxyz", tmp_path / "out.extxyz")
    assert not (tmp_path / "out.extxyz").exists()
    write_frames(bare, [])
    with pytest.raises(DataError, match="no frames to export"):
        export_frames(bare, "mace", tmp_path / "out")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(DataError, match="exists already"):
        export_frames(source, "mace", tmp_path / "full")
