"""Labels of extended XYZ under the names that other codes give them: the file imported, the dataset read by ASE."""

import csv

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

from redoxmd.archive.ase_files import read_ase
from redoxmd.archive.importing import import_archive

CELL = 'Lattice="6 0 0 0 6 0 0 0 6" pbc="T T T"'
PROPERTIES = "Properties=species:S:1:pos:R:3"
# The two atoms of a frame, forces of the reference and of a model; energies -10 and -9 eV.
ATOMS = ("Li 0 0 0", "O 2 0 0")
REFERENCE, MODEL = ("0.1 0 0", "-0.1 0 0"), ("0.3 0 0", "-0.3 0 0")
# 6³ Å³ × 0.01 eV/Å³.
VIRIAL = '"2.16 0 0 0 2.16 0 0 0 2.16"'


def frame(columns, keys, *values, cell=CELL):
    """A frame with further columns and keys."""
    rows = "".join(f"{' '.join(row)}\n" for row in zip(ATOMS, *values, strict=True))
    return f"2\n{cell} {PROPERTIES}{columns} {keys}\n{rows}"


def imported(tmp_path, text, name="frames.extxyz"):
    """Frames of the dataset, the refusals and the notes of its list."""
    (tmp_path / name).write_bytes(text.encode())
    report = import_archive([tmp_path / name], tmp_path / "data")
    with (tmp_path / "data/refused.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    frames = read(tmp_path / "data/frames.extxyz", ":") if report.frames else []
    refused = [(row["step"], row["reason"], row["detail"]) for row in rows if row["reason"] != "note"]
    return frames, refused, [row["detail"] for row in rows if row["reason"] == "note"]


def only(tmp_path, text, name="frames.extxyz"):
    """The labels of a file of one frame, and its notes."""
    frames, refused, notes = imported(tmp_path, text, name)
    assert refused == []
    (found,) = frames
    return found.calc.results, notes


def forces_along_x(results):
    return results["forces"][:, 0].tolist()


PLAIN = ":forces:R:3", "energy=-10.0"


def test_a_value_that_cannot_be_written_costs_its_frame_only(tmp_path):
    texts = [frame(PLAIN[0], f"{PLAIN[1]} time_fs={time}", REFERENCE) for time in ('""', 1, 2)]
    frames, refused, _ = imported(tmp_path, "".join(texts))
    # All have one geometry: the second is accepted, because the first was refused, and the third repeats the second.
    assert [found.info["time_fs"] for found in frames] == [1]
    assert [row[:2] for row in refused] == [("0", "corrupted"), ("2", "duplicate")]
    assert "info['time_fs'] =" in refused[0][2] and refused[1][2].endswith("frames.extxyz step 1")


class TestSources:
    def test_a_reference_goes_before_the_labels_of_a_model(self, tmp_path):
        text = frame(":forces:R:3:REF_forces:R:3", "energy=-9.0 REF_energy=-10.0", MODEL, REFERENCE)
        results, notes = only(tmp_path, text)
        assert (results["energy"], forces_along_x(results)) == (-10.0, [0.1, -0.1])
        assert notes == ["REF_energy and REF_forces are the labels; left out beside them: forces, energy"]

    def test_the_energy_is_of_the_source_of_the_forces(self, tmp_path):
        results, notes = only(tmp_path, frame(":REF_forces:R:3", "energy=-9.0 REF_energy=-10.0", REFERENCE))
        assert (results["energy"], forces_along_x(results)) == (-10.0, [0.1, -0.1])
        assert "left out beside them: energy" in notes[0]

    @pytest.mark.parametrize(
        ("columns", "keys"),
        [
            (":forces:R:3", "REF_energy=-10.0"),
            (":REF_forces:R:3", "energy=-9.0"),
            (":forces:R:3", "energy=-9.0 REF_energy=-10.0"),
            (":forces:R:3", "dft_energy=-9.0 REF_energy=-10.0"),
        ],
    )
    def test_sources_are_never_mixed(self, tmp_path, columns, keys):
        frames, ((step, reason, detail),), _ = imported(tmp_path, frame(columns, keys, REFERENCE))
        assert (frames, step, reason) == ([], "0", "corrupted")
        assert all(name.split("=")[0] in detail for name in keys.split())

    def test_two_references_are_ambiguous(self, tmp_path):
        text = frame(":dft_forces:R:3:REF_forces:R:3", "dft_energy=-9.0 REF_energy=-10.0", MODEL, REFERENCE)
        frames, ((_, reason, detail),), _ = imported(tmp_path, text)
        assert (frames, reason) == ([], "corrupted")
        assert "several references" in detail

    def test_one_quantity_under_two_names(self, tmp_path):
        text = frame(":force:R:3:forces:R:3", "energy=-10.0", REFERENCE, MODEL)
        _, ((_, reason, detail),), _ = imported(tmp_path, text)
        assert reason == "corrupted"
        assert "forces and force differ" in detail

    def test_moments_and_stress_of_a_model_are_not_the_references(self, tmp_path):
        columns = ":forces:R:3:magmoms:R:1:REF_forces:R:3"
        keys = 'energy=-9.0 REF_energy=-10.0 stress="0.5 0 0 0 0.5 0 0 0 0.5"'
        results, notes = only(tmp_path, frame(columns, keys, MODEL, ("1.0", "2.0"), REFERENCE))
        assert results.keys() == {"energy", "forces"}
        assert set(notes[0].partition("them: ")[2].split(", ")) == {"forces", "magmoms", "energy", "stress"}

    def test_labels_of_an_unknown_source_are_named(self, tmp_path):
        columns, keys = ":forces:R:3:MACE_forces:R:3", "energy=-10.0 MACE_energy=-9.0 energy_weight=1.0"
        results, notes = only(tmp_path, frame(columns, keys, REFERENCE, MODEL))
        assert (results["energy"], forces_along_x(results)) == (-10.0, [0.1, -0.1])
        assert notes == ["energy and forces are the labels; left out beside them: MACE_energy, MACE_forces"]

    def test_results_and_info_of_a_trajectory_that_differ(self, tmp_path):
        atoms = Atoms("LiO", [[0, 0, 0], [2, 0, 0]], cell=[6, 6, 6], pbc=True, info={"energy": -9.0})
        atoms.calc = SinglePointCalculator(atoms, energy=-10.0, forces=np.zeros((2, 3)))
        write(tmp_path / "frames.traj", atoms)
        report = import_archive([tmp_path / "frames.traj"], tmp_path / "data")
        assert [(item.step, item.reason) for item in report.refused] == [(0, "corrupted")]


class TestNames:
    @pytest.mark.parametrize(
        ("columns", "keys"),
        [
            PLAIN,
            (":force:R:3", "energy=-10.0"),
            (":forces:R:3", "Energy=-10.0"),
            (":dft_forces:R:3", "dft_energy=-10.0"),
            (":dft_force:R:3", "dft_energy=-10.0"),
            (":DFT_forces:R:3", "DFT_energy=-10.0"),
            (":ref_forces:R:3", "ref_energy=-10.0"),
            (":forces_dft:R:3", "energy_dft=-10.0"),
            (":forces:R:3", "energy=-10.0 free_energy=-10.1"),
        ],
    )
    def test_known_names(self, tmp_path, columns, keys):
        results, notes = only(tmp_path, frame(columns, keys, REFERENCE))
        assert (results["energy"], forces_along_x(results), notes) == (-10.0, [0.1, -0.1], [])

    @pytest.mark.parametrize(
        ("columns", "keys"),
        [
            (":forces:R:3", "free_energy=-10.0"),
            (":MACE_forces:R:3", "MACE_energy=-10.0"),
            (":f:R:3", "energy=-10.0"),
        ],
    )
    def test_other_names_are_listed(self, tmp_path, columns, keys):
        frames, ((step, reason, detail),), _ = imported(tmp_path, frame(columns, keys, REFERENCE))
        assert (frames, step, reason) == ([], "0", "unfinished")
        assert keys.split("=")[0] in detail
        assert "REF_energy and REF_forces" in detail

    def test_suffix_exyz(self, tmp_path):
        assert only(tmp_path, frame(*PLAIN, REFERENCE), "frames.exyz")[0]["energy"] == -10.0


class TestStress:
    @pytest.mark.parametrize(
        ("columns", "keys"),
        [
            (":forces:R:3", f"energy=-10.0 virial={VIRIAL}"),
            (":REF_forces:R:3", f"REF_energy=-10.0 REF_virials={VIRIAL}"),
            (":dft_forces:R:3", f"dft_energy=-10.0 dft_virial={VIRIAL}"),
            (":forces:R:3", f'energy=-10.0 virial={VIRIAL} stress="-0.01 0 0 0 -0.01 0 0 0 -0.01"'),
        ],
    )
    def test_of_a_virial(self, tmp_path, columns, keys):
        results, notes = only(tmp_path, frame(columns, keys, REFERENCE))
        np.testing.assert_allclose(results["stress"], [-0.01, -0.01, -0.01, 0, 0, 0], rtol=0, atol=1e-12)
        assert notes == []

    def test_a_virial_as_ase_and_a_finite_strain_have_it(self, tmp_path):
        """E(strain) of EMT, differentiated: virial = −dE/dε."""
        from ase.build import bulk
        from ase.calculators.emt import EMT

        atoms = bulk("Cu", cubic=True, a=3.8)
        atoms.rattle(0.05, seed=1)
        atoms.calc = EMT()

        def energy(strain):
            moved = atoms.copy()
            moved.set_cell(atoms.cell @ (np.eye(3) + strain), scale_atoms=True)
            moved.calc = EMT()
            return moved.get_potential_energy()

        step = 1e-4
        strains = [np.zeros((3, 3)) for _ in range(9)]
        for k, strain in enumerate(strains):
            strain.flat[k] += step / 2
            strain.flat[3 * (k % 3) + k // 3] += step / 2
        virial = -np.array([(energy(s) - energy(-s)) / (2 * step) for s in strains]).reshape(3, 3)
        labelled = atoms.copy()
        labelled.info |= {"REF_energy": atoms.get_potential_energy(), "REF_virial": virial}
        labelled.arrays["REF_forces"] = atoms.get_forces()
        write(tmp_path / "frames.extxyz", labelled)
        import_archive([tmp_path / "frames.extxyz"], tmp_path / "data")
        found = read(tmp_path / "data/frames.extxyz").get_stress()
        np.testing.assert_allclose(found, atoms.get_stress(), rtol=0, atol=1e-6)

    def test_six_components_and_the_frame_behind_them(self, tmp_path):
        first = frame(":forces:R:3", 'energy=-10.0 stress="1e-2 2e-2 3e-2 4e-3 5e-3 6e-3"', REFERENCE)
        frames, refused, notes = imported(tmp_path, first + frame(*PLAIN, REFERENCE).replace("O 2 0", "O 2.1 0"))
        assert (len(frames), refused) == (2, [])
        assert frames[0].get_stress().tolist() == [1e-2, 2e-2, 3e-2, 4e-3, 5e-3, 6e-3]
        assert notes == ["six components of stress read in ASE's order: xx, yy, zz, yz, xz, xy"]

    def test_another_sign_than_the_virials_is_told(self, tmp_path):
        keys = f'energy=-10.0 virial={VIRIAL} stress="0.01 0 0 0 0.01 0 0 0 0.01"'
        results, notes = only(tmp_path, frame(":forces:R:3", keys, REFERENCE))
        assert "stress" not in results
        assert "stress and virial left out" in notes[0]

    def test_kbar_are_told_by_their_size(self, tmp_path):
        keys = 'energy=-10.0 stress="-16.0 0 0 0 -16.0 0 0 0 -16.0"'
        results, notes = only(tmp_path, frame(":forces:R:3", keys, REFERENCE))
        assert "stress" not in results
        assert notes == ["stress left out: beyond 1 eV/Å³ (160 GPa), so of another unit"]

    @pytest.mark.parametrize(
        ("cell", "virial"), [('pbc="F F F"', VIRIAL), (CELL, '"2.16 2.16 2.16 0 0 0"')], ids=["no cell", "six"]
    )
    def test_a_virial_that_gives_no_stress_is_noted(self, tmp_path, cell, virial):
        text = frame(":forces:R:3", f"energy=-10.0 virial={virial}", REFERENCE, cell=cell)
        results, notes = only(tmp_path, text)
        assert "stress" not in results
        assert notes[0].startswith("virial left out")


class TestDamage:
    @pytest.mark.parametrize(
        ("keys", "reason"),
        [
            ('energy="-10.0 -9.0"', "corrupted"),
            ("energy=none", "corrupted"),
            ('energy=-10.0 stress="0.01 0.01"', "wrong_structure"),
            ("energy=-0.5 energy-unit=hartree force-unit=hartree/bohr", "wrong_settings"),
            ("energy=-5.0 energy_units=eV/atom", "wrong_settings"),
            ("energy=nan", "not_finite"),
        ],
    )
    def test_a_bad_frame_costs_itself_only(self, tmp_path, keys, reason):
        good = frame(*PLAIN, REFERENCE)
        text = good + frame(":forces:R:3", keys, REFERENCE) + good.replace("O 2 0", "O 2.1 0")
        frames, refused, _ = imported(tmp_path, text)
        assert [item.info["step"] for item in frames] == [0, 2]
        assert [row[:2] for row in refused] == [("1", reason)]
        assert keys.split("=")[0] in refused[0][2] or reason in ("wrong_structure", "not_finite", "wrong_settings")

    def test_a_line_that_is_no_atom_costs_its_frame_only(self, tmp_path):
        good = frame(*PLAIN, REFERENCE)
        text = good.replace("O 2 0 0", "O 2 0 x") + good.replace("O 2 0", "O 2.1 0")
        frames, refused, _ = imported(tmp_path, text)
        assert [item.info["step"] for item in frames] == [1]
        assert [row[:2] for row in refused] == [("0", "corrupted")]

    def test_a_lost_line_ends_the_file(self, tmp_path):
        good = frame(*PLAIN, REFERENCE)
        text = good + good.replace("O 2 0 0 -0.1 0 0\n", "") + good.replace("O 2 0", "O 2.1 0")
        frames, refused, _ = imported(tmp_path, text)
        assert len(frames) == 1
        assert [row[:2] for row in refused] == [("1", "corrupted"), ("", "corrupted")]

    def test_units_that_are_ours(self, tmp_path):
        keys = 'energy=-10.0 energy-unit=eV force_units=eV/Ang formula_units=2 units="eV Angstrom"'
        assert only(tmp_path, frame(":forces:R:3", keys, REFERENCE))[0]["energy"] == -10.0


class TestForms:
    """What needs no word: line ends, blanks, columns, cells."""

    @pytest.mark.parametrize(
        "change", [lambda t: t.replace("\n", "\r\n"), lambda t: t + "\n\n"], ids=["CRLF", "blanks"]
    )
    def test_line_ends(self, tmp_path, change):
        text = frame(*PLAIN, REFERENCE)
        frames, refused, notes = imported(tmp_path, change(text + text.replace("O 2 0", "O 2.1 0")))
        assert ([forces_along_x(item.calc.results) for item in frames], refused, notes) == ([[0.1, -0.1]] * 2, [], [])

    def test_keys_in_small_letters(self, tmp_path):
        text = frame(":force:R:3", f"energy=-10.0 virial={VIRIAL}", REFERENCE)
        text = text.replace("Lattice", "lattice").replace("Properties", "properties").replace('pbc="T T T"', "")
        (found,), refused, notes = imported(tmp_path, text)
        assert (found.cell.lengths().tolist(), found.pbc.tolist(), refused, notes) == ([6.0] * 3, [True] * 3, [], [])
        assert found.get_stress()[0] == pytest.approx(-0.01)

    def test_numbers_for_species(self, tmp_path):
        text = f"2\n{CELL} Properties=pos:R:3:Z:I:1:forces:R:3 energy=-10.0\n0 0 0 3 0.1 0 0\n2 0 0 8 -0.1 0 0\n"
        (found,), refused, _ = imported(tmp_path, text)
        assert (str(found.symbols), refused) == ("LiO", [])

    def test_initial_moments_are_no_labels_and_stay(self, tmp_path):
        text = frame(":forces:R:3:initial_magmoms:R:1", "energy=-10.0", REFERENCE, ("1.0", "2.0"))
        (found,), _, notes = imported(tmp_path, text)
        assert (found.get_initial_magnetic_moments().tolist(), notes) == ([1.0, 2.0], [])

    def test_fixed_atoms_keep_their_forces(self, tmp_path):
        results, notes = only(tmp_path, frame(":forces:R:3:move_mask:L:1", "energy=-10.0", REFERENCE, ("F", "T")))
        assert (forces_along_x(results), notes) == ([0.1, -0.1], [])

    @pytest.mark.parametrize(
        ("cell", "pbc"),
        [('Lattice="6 0 0 0 6 0 0 0 6" pbc="T T F"', [True, True, False]), ("", [False, False, False])],
        ids=["slab", "molecule"],
    )
    def test_periodicity_is_kept(self, tmp_path, cell, pbc):
        (found,), refused, _ = imported(tmp_path, frame(*PLAIN, REFERENCE, cell=cell))
        assert (found.pbc.tolist(), refused) == (pbc, [])

    def test_a_slab_is_not_the_same_geometry_as_a_crystal(self, tmp_path):
        text = frame(*PLAIN, REFERENCE)
        frames, refused, _ = imported(tmp_path, text + text.replace("T T T", "T T F") + text)
        assert [item.pbc.tolist() for item in frames] == [[True] * 3, [True, True, False]]
        assert [row[:2] for row in refused] == [("2", "duplicate")]

    @pytest.mark.parametrize(
        ("columns", "keys", "values", "total_muB"),
        [
            (":forces:R:3", "energy=-10.0 magmom=3.0", [REFERENCE], 3.0),
            (":REF_forces:R:3", "REF_energy=-10.0 magmom=3.0", [REFERENCE], 3.0),
            (":forces:R:3:REF_forces:R:3", "energy=-9.0 REF_energy=-10.0 magmom=3.0", [MODEL, REFERENCE], None),
            (":forces:R:3", "energy=-10.0", [REFERENCE], None),
        ],
        ids=["plain", "reference", "of a model", "none"],
    )
    def test_a_total_moment_goes_with_its_energy(self, tmp_path, columns, keys, values, total_muB):
        (tmp_path / "frames.extxyz").write_text(frame(columns, keys, *values))
        (found,) = read_ase(tmp_path / "frames.extxyz", "extxyz").frames
        assert (found.energy_eV, found.total_moment_muB) == (-10.0, total_muB)

    def test_energies_and_moments_of_atoms(self, tmp_path):
        columns = ":forces:R:3:energies:R:1:magmoms:R:1"
        text = frame(columns, "energy=-10.0 magmom=3.0", REFERENCE, ("-5.0", "-5.0"), ("1.0", "2.0"))
        results, notes = only(tmp_path, text)
        assert (results["energy"], results["magmoms"].tolist(), notes) == (-10.0, [1.0, 2.0], [])
