"""The exported model, run by metatomic's calculator for ASE and by LAMMPS, against the compiled kernels of redoxmd."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ase.calculators.lammps import Prism
from ase.io import read
from ase.io.lammpsdata import write_lammps_data
from ase.md.verlet import VelocityVerlet
from ase.stress import full_3x3_to_voigt_6_stress, voigt_6_to_full_3x3_stress
from ase.units import bar, fs

from redoxmd.archive.exporting import export_ensemble
from redoxmd.cli import main
from redoxmd.errors import DataError
from redoxmd.model.calculator import EnsembleCalculator
from redoxmd.model.ensemble import Ensemble, load_ensemble, save_ensemble
from redoxmd.model.painn import Painn
from tests.conftest import rock
from tests.model.test_ensemble import aware_ensemble, members

ROOT = Path(__file__).parents[2]
FRAMES = ROOT / "resources/nvp-states/frames.extxyz"
# Of the largest value, as between the two evaluations of `tests/model/fast/test_potential.py`: single precision.
SINGLE = 1e-5


@pytest.fixture(scope="module")
def metatomic():
    pytest.importorskip("metatomic.torch", reason="metatomic is not installed; make env-test installs it")
    return pytest.importorskip("metatomic_ase", reason="metatomic-ase is not installed; make env-test installs it")


@pytest.fixture(scope="module")
def blind(metatomic, tmp_path_factory):
    return exported(Ensemble(members(2, torch.float32, cutoff_A=5.0)), tmp_path_factory.mktemp("blind"))


@pytest.fixture(scope="module")
def aware(metatomic, tmp_path_factory):
    return exported(aware_ensemble(), tmp_path_factory.mktemp("aware"))


@pytest.fixture(scope="module")
def real():
    """Frames with different numbers of Na and of V4+; their cells are narrower than two cutoffs."""
    return read(FRAMES, ":120:40")


def small():
    """A cell smaller than the cutoff, once with two atoms so close that the core repulsion acts."""
    atoms = rock(1)
    atoms.set_array("oxidation", np.where(atoms.symbols == "V", 4, 0))
    contact = atoms.copy()
    contact.positions[1] = contact.positions[0] + [0.7, 0.6, 0.0]
    return [atoms, contact]


def exported(ensemble, folder):
    """The files of an ensemble and of its model, written by the command."""
    save_ensemble(folder / "ensemble.pt", ensemble)
    assert main(["export", str(folder / "ensemble.pt"), "--as", "metatomic", "--to", str(folder / "model.pt")]) == 0
    return folder / "ensemble.pt", folder / "model.pt"


def with_types(atoms):
    """Copy with the atomic types of a model that distinguishes states, as docs/importing.md shows."""
    atoms = atoms.copy()
    atoms.set_masses(atoms.get_masses())
    atoms.numbers = atoms.numbers + 1000 * (atoms.arrays["oxidation"] % 100)
    return atoms


def agree(theirs, ours):
    np.testing.assert_allclose(theirs, ours, rtol=0, atol=SINGLE * np.abs(ours).max())


@pytest.mark.parametrize("states", ["blind", "aware"])
def test_ase_computes_the_energies_forces_and_stress_of_redoxmd(metatomic, real, states, request):
    source, model = request.getfixturevalue(states)
    ensemble = load_ensemble(source, "cpu")
    assert ensemble.path == "compiled kernels"
    calculator = metatomic.MetatomicCalculator(model, check_consistency=True)
    for atoms in [*real, *small()]:
        ours, theirs = atoms.copy(), with_types(atoms) if states == "aware" else atoms.copy()
        ours.calc, theirs.calc = EnsembleCalculator(ensemble), calculator
        agree(theirs.get_potential_energy(), ours.get_potential_energy())
        agree(theirs.get_forces(), ours.get_forces())
        agree(theirs.get_stress(), ours.get_stress())


def test_md_in_ase_follows_that_of_redoxmd(metatomic, real, aware):
    source, model = aware
    ours, theirs = real[1].copy(), with_types(real[1])
    ours.calc, theirs.calc = EnsembleCalculator(load_ensemble(source, "cpu")), metatomic.MetatomicCalculator(model)
    start = ours.positions.copy()
    for atoms in (ours, theirs):
        VelocityVerlet(atoms, 2 * fs).run(20)
    assert np.abs(ours.positions - start).max() > 0.1
    np.testing.assert_allclose(theirs.positions, ours.positions, rtol=0, atol=1e-6)


def test_lammps_computes_the_energy_forces_and_stress_of_redoxmd(real, aware, tmp_path):
    """With the input of docs/importing.md, which only takes no step."""
    program = shutil.which("lmp")
    if program is None:
        pytest.skip("LAMMPS is not installed: there is no `lmp` in the PATH")
    source, model = aware
    atoms = real[1].copy()
    atoms.wrap()
    named = atoms.copy()
    named.symbols[named.arrays["oxidation"] == 4] = "Cr"
    write_lammps_data(tmp_path / "start.data", named, specorder=["O", "Na", "P", "V", "Cr"])
    shutil.copy(model, tmp_path / "model.pt")
    (text,) = re.findall(r"```\n(units metal\n.*?)run 100\n```", (ROOT / "docs/importing.md").read_text(), re.DOTALL)
    values = " ".join(f"$({name}:%.12g)" for name in ("pe", "pxx", "pyy", "pzz", "pyz", "pxz", "pxy"))
    written = "dump 1 all custom 1 forces id fx fy fz\ndump_modify 1 sort id format float %.9g\nthermo_style custom"
    text += f'{written} pe pxx pyy pzz pyz pxz pxy\nrun 0\nprint "{values}" file values\n'
    (tmp_path / "in.lmp").write_text(text)
    run = subprocess.run([program, "-in", "in.lmp"], cwd=tmp_path, capture_output=True, text=True)
    if "Unrecognized pair style 'metatomic'" in run.stdout:
        pytest.skip(f"{program} was built without the package ML-METATOMIC")
    assert run.returncode == 0, run.stdout[-2000:]
    energy, *pressure = np.loadtxt(tmp_path / "values")
    prism = Prism(atoms.cell.array)
    atoms.calc = EnsembleCalculator(load_ensemble(source, "cpu"))
    agree(energy, atoms.get_potential_energy())
    agree(prism.vector_to_ase(np.loadtxt(tmp_path / "forces", skiprows=9)[:, 1:]), atoms.get_forces())
    stress = prism.tensor2_to_ase(voigt_6_to_full_3x3_stress(-np.array(pressure) * bar))
    agree(full_3x3_to_voigt_6_stress(stress), atoms.get_stress())


def test_members_and_their_spread_are_outputs(metatomic, real, aware):
    from metatomic.torch import ModelOutput

    source, model = aware
    prediction = load_ensemble(source, "cpu").predict(real[1])
    calculator = metatomic.MetatomicCalculator(model, check_consistency=True)
    outputs = {name: ModelOutput(unit="meV") for name in ("energy", "energy_ensemble", "energy_uncertainty")}
    results = calculator.run_model(with_types(real[1]), outputs)
    energy, by_member, spread = (results[name].block().values.numpy()[0] / 1000 for name in outputs)
    agree(energy, prediction.energies_eV.mean(keepdims=True))
    agree(by_member, prediction.energies_eV)
    assert spread == pytest.approx(prediction.energy_spread_eV, rel=1e-5)


def test_energies_of_the_domains_of_a_cell_add_up(metatomic, real, aware):
    """As LAMMPS divides a cell: a domain asks for its own atoms, which those of others surround."""
    from metatensor.torch import Labels
    from metatomic.torch import ModelOutput

    calculator = metatomic.MetatomicCalculator(aware[1], check_consistency=True)
    atoms = [with_types(real[1]), with_types(real[0])]

    def energies(kind, selected=None):
        outputs = {"energy": ModelOutput(unit="eV", sample_kind=kind)}
        block = calculator.run_model(atoms, outputs, selected)["energy"].block()
        return block.values.numpy()[:, 0], block.samples.values.numpy()

    whole, systems = energies("system")
    by_atom, samples = energies("atom")
    assert systems.tolist() == [[0], [1]]
    assert samples.tolist() == [[k, i] for k in (0, 1) for i in range(len(atoms[k]))]
    domains = [samples[::2], samples[1::2]]
    halves = [energies("system", Labels(["system", "atom"], torch.from_numpy(rows)))[0] for rows in domains]
    agree(np.sum(halves, axis=0), whole)
    agree(np.bincount(samples[:, 0], weights=by_atom), whole)
    (first, rows) = energies("atom", Labels(["system", "atom"], torch.from_numpy(domains[1])))
    assert rows.tolist() == domains[1].tolist()
    agree(first, by_atom[1::2])


def test_the_command_prints_the_atomic_type_of_each_state(metatomic, tmp_path, capsys):
    from metatomic.torch import load_atomistic_model

    _, path = exported(aware_ensemble(), tmp_path)
    file, *lines = capsys.readouterr().out.splitlines()
    assert file == str(path)
    assert lines[1] == "atomic type 11 = Na with oxidation number 0"
    assert lines[3:] == [f"atomic type {q}023 = V with oxidation number {q}" for q in (3, 4)]
    model = load_atomistic_model(path)
    assert model.capabilities().atomic_types == [8, 11, 15, 3023, 4023]
    assert model.metadata().description == "; ".join(lines)
    # Two messages of 4 Å each.
    assert model.capabilities().interaction_range == 8.0


def test_a_state_without_training_frames_is_refused(metatomic, real, aware):
    for state, unknown in ((5, "5023"), (0, "23")):
        atoms = real[1].copy()
        atoms.arrays["oxidation"][atoms.symbols == "V"] = state
        atoms = with_types(atoms)
        atoms.calc = metatomic.MetatomicCalculator(aware[1])
        with pytest.raises(Exception, match=f"does not support the atomic type '{unknown}'"):
            atoms.get_potential_energy()


def test_types_of_negative_states_are_positive(metatomic):
    from redoxmd.archive.metatomic import atomic_types

    peroxide = Ensemble([Painn([8, 8, 8, 11], 8, 1, 4.0, 5, states=[-2, -1, 0, 0])])
    assert list(atomic_types(peroxide)) == [98008, 99008, 8, 11]


def test_one_member_has_no_uncertainty(metatomic, real, tmp_path):
    from metatomic.torch import load_atomistic_model

    source, model = exported(Ensemble(members(1, torch.float32)), tmp_path)
    assert set(load_atomistic_model(model).capabilities().outputs) == {"energy", "energy_ensemble"}
    atoms = real[0].copy()
    del atoms.arrays["oxidation"]
    atoms.calc = metatomic.MetatomicCalculator(model)
    agree(atoms.get_potential_energy(), load_ensemble(source, "cpu").predict(atoms).energy_eV)


def test_no_part_of_the_network_stays_on_the_cpu(metatomic):
    """The meta device refuses tensors of the CPU, as a GPU does."""
    from redoxmd.archive.metatomic import EnsembleModel

    network = EnsembleModel(aware_ensemble()).atomic_energies.to("meta")
    index, vectors_A = torch.zeros(9, dtype=torch.long, device="meta"), torch.ones((9, 3), dtype=torch.float64)
    energies = network(index, index, index, index, vectors_A.to("meta"))
    assert energies.device.type == "meta"
    assert energies.shape == (9, 2)


def test_errors_name_the_remedy(tmp_path, monkeypatch):
    save_ensemble(tmp_path / "ensemble.pt", aware_ensemble())
    with monkeypatch.context() as patch:
        patch.delitem(sys.modules, "redoxmd.archive.metatomic", raising=False)
        patch.setitem(sys.modules, "metatomic.torch", None)
        with pytest.raises(DataError, match="pip install metatomic-torch"):
            export_ensemble(tmp_path / "ensemble.pt", tmp_path / "model.pt")
    (tmp_path / "model.pt").write_text("mine")
    with pytest.raises(DataError, match=r"model\.pt: exists already; choose another name"):
        export_ensemble(tmp_path / "ensemble.pt", tmp_path / "model.pt")


def test_frames_are_no_ensemble(metatomic, tmp_path, capsys):
    arguments = ["export", str(FRAMES), "--as", "metatomic", "--to", str(tmp_path / "model.pt")]
    assert main(arguments) == 1
    assert "frames.extxyz: not readable" in capsys.readouterr().err
    assert not (tmp_path / "model.pt").exists()
