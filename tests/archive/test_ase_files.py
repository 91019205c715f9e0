import lzma

import numpy as np
import pytest
from ase.io import read, write
from ase.io.gpw import read_gpw as ase_read_gpw

from redoxmd.archive.ase_files import read_ase
from redoxmd.engines.vasp.level import differences
from redoxmd.errors import LabelRefused
from tests.archive.corpus import GPAW
from tests.archive.made import md


@pytest.fixture
def gpaw(tmp_path):
    for name in ("LiH.gpw", "LiH.txt"):
        (tmp_path / name).write_bytes(lzma.decompress((GPAW / f"{name}.xz").read_bytes()))
    return tmp_path


def test_gpw_says_what_ase_says(gpaw):
    calculation = read_ase(gpaw / "LiH.gpw", "gpw")
    expected = ase_read_gpw(gpaw / "LiH.gpw")
    (frame,) = calculation.frames
    assert frame.energy_eV == expected.get_potential_energy()
    np.testing.assert_array_equal(frame.forces_eV_A, expected.get_forces())
    np.testing.assert_array_equal(frame.atoms.positions, expected.positions)
    assert frame.converged is True


def test_level_of_gpw_and_log_are_what_was_put_in(gpaw):
    level = read_ase(gpaw / "LiH.gpw", "gpw").level
    assert (level.code, level.functional, level.cutoff_eV, level.spin) == ("gpaw", "PBE", 200.0, True)
    assert level.hubbard == {"Li": ("s", 1.0)}
    assert level.kpoint_reach_A == 4.0
    assert read_ase(gpaw / "LiH.txt", "gpaw log").level == level
    assert differences(read_ase(gpaw / "LiH.txt", "gpaw log").level, level) == []


def test_log_has_each_geometry_with_its_results(gpaw):
    frames = list(read_ase(gpaw / "LiH.txt", "gpaw log").frames)
    # As the log prints them.
    assert [frame.energy_eV for frame in frames] == [-5.684944, -5.738004]
    assert frames[1].forces_eV_A[1].tolist() == [0.92834, 0.0, 0.06494]
    assert frames[1].atoms.positions[1].tolist() == [1.65, 0.0, 0.1]
    assert [frame.converged for frame in frames] == [True, True]
    assert frames[0].stress_eV_A3 is None


@pytest.mark.parametrize(
    ("end", "forces"),
    [("iter:   3 03:00:39    -5.738082c", [2, 0]), ("Forces in eV/Ang:\n  0 H    -0.90809", [2])],
    ids=["in the SCF", "in the forces"],
)
def test_a_log_cut_in_its_second_step_keeps_the_first(gpaw, end, forces):
    text = (gpaw / "LiH.txt").read_text()
    (gpaw / "cut.txt").write_text(text[: text.rindex(end) + len(end)])
    found = []
    try:
        for frame in read_ase(gpaw / "cut.txt", "gpaw log").frames:
            found.append(len(frame.forces_eV_A))
    except LabelRefused as refusal:
        assert refusal.reason == "unfinished"
    assert found == forces


def test_a_log_that_did_not_converge_says_so(gpaw):
    text = (gpaw / "LiH.txt").read_text().replace("Converged after 4 iterations.", "Did not converge!")
    (gpaw / "bad.txt").write_text(text)
    assert [frame.converged for frame in read_ase(gpaw / "bad.txt", "gpaw log").frames] == [True, False]


def test_extended_xyz_gives_the_frames_before_a_cut(tmp_path):
    write(tmp_path / "frames.extxyz", md(1, 6))
    content = (tmp_path / "frames.extxyz").read_text()
    (tmp_path / "frames.extxyz").write_text(content[: 7 * len(content) // 12])
    found = []
    with pytest.raises(LabelRefused, match="ends after 3 of 8 atoms") as refusal:
        found.extend(read_ase(tmp_path / "frames.extxyz", "extxyz").frames)
    assert refusal.value.reason == "unfinished"
    assert len(found) == 3


def test_extended_xyz_equals_what_ase_reads(tmp_path):
    write(tmp_path / "frames.extxyz", md(2, 3))
    expected = read(tmp_path / "frames.extxyz", ":")
    for frame, other in zip(read_ase(tmp_path / "frames.extxyz", "extxyz").frames, expected, strict=True):
        assert frame.energy_eV == other.get_potential_energy()
        np.testing.assert_array_equal(frame.forces_eV_A, other.get_forces())
        np.testing.assert_array_equal(frame.stress_eV_A3, other.get_stress(voigt=False))
        np.testing.assert_array_equal(frame.atoms.positions, other.positions)


def test_labels_under_other_names_are_found(tmp_path):
    from redoxmd.archive.exporting import export_frames

    write(tmp_path / "frames.extxyz", md(2, 3))
    export_frames(tmp_path / "frames.extxyz", "mace", tmp_path / "mace")
    ours = list(read_ase(tmp_path / "frames.extxyz", "extxyz").frames)
    for frame, other in zip(read_ase(tmp_path / "mace/train.xyz", "extxyz").frames, ours, strict=True):
        assert frame.energy_eV == other.energy_eV
        np.testing.assert_allclose(frame.forces_eV_A, other.forces_eV_A, rtol=0, atol=1e-8)
        np.testing.assert_allclose(frame.stress_eV_A3, other.stress_eV_A3, rtol=0, atol=1e-8)


def test_frames_without_forces_are_empty_not_lost(tmp_path):
    frames = md(3, 2)
    frames[1].calc = None
    write(tmp_path / "frames.traj", frames)
    assert [len(frame.forces_eV_A) for frame in read_ase(tmp_path / "frames.traj", "traj").frames] == [8, 0]


@pytest.mark.parametrize(
    ("name", "kind", "content", "reason"),
    [
        ("a.extxyz", "extxyz", "", "unfinished"),
        ("a.extxyz", "extxyz", "no number\n", "corrupted"),
        ("a.traj", "traj", "not a trajectory", "corrupted"),
        ("a.gpw", "gpw", "not a gpw", "corrupted"),
        ("a.txt", "gpaw log", "no geometry", "did_not_start"),
    ],
)
def test_what_is_no_such_file_is_refused(tmp_path, name, kind, content, reason):
    (tmp_path / name).write_text(content)
    with pytest.raises(LabelRefused) as refusal:
        list(read_ase(tmp_path / name, kind).frames)
    assert refusal.value.reason == reason
