import os

import pytest

from redoxmd.archive.sources import FrameNames, find_sources
from redoxmd.errors import DataError
from tests.archive.made import DATA

BANNER = "\n  ___ ___ ___ _ _ _\n |   |   |_  | | | |\n | | | | | . | | | |\n |__ |  _|___|_____|  25.7.0\n"


def put(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("something")


def summary(found):
    return [
        (s.name, s.kind, s.path.name, s.outcar and s.outcar.name, s.chgcar and s.chgcar.name) for s in found.sources
    ]


def test_files_of_a_folder_belong_together_by_their_numbers(tmp_path):
    put(tmp_path / "x1/md", "vasprun.xml.gz", "OUTCAR", "CHGCAR.gz", "INCAR", "XDATCAR")
    put(tmp_path / "x1/relax", "vasprun.xml.relax1", "vasprun.xml.relax2", "CHGCAR.relax2", "OUTCAR.relax3")
    put(tmp_path / "x2", *(f"vasprun_{n}.xml" for n in (1, 2, 10)), "OUTCAR_2")
    found = find_sources([tmp_path])
    assert summary(found) == [
        ("x1_md", "vasprun", "vasprun.xml.gz", "OUTCAR", "CHGCAR.gz"),
        ("x1_relax_relax1", "vasprun", "vasprun.xml.relax1", None, None),
        ("x1_relax_relax2", "vasprun", "vasprun.xml.relax2", None, "CHGCAR.relax2"),
        ("x2_1", "vasprun", "vasprun_1.xml", None, None),
        ("x2_2", "vasprun", "vasprun_2.xml", "OUTCAR_2", None),
        ("x2_10", "vasprun", "vasprun_10.xml", None, None),
    ]
    assert found.unrelated_files == 2
    assert {path.name: reason for path, (reason, _) in found.without_vasprun.items()} == {"OUTCAR.relax3": "not_read"}


def test_files_of_a_run_belong_together_by_what_stands_before(tmp_path):
    # As `engine.vasp.files` keeps them.
    put(tmp_path / "kept", *(f"run00000{n}.{name}" for n in (1, 2) for name in ("vasprun.xml", "CHGCAR.gz", "AECCAR0")))
    put(tmp_path / "kept", "neutral_vasprun.xml", "MYOUTCAR")
    found = find_sources([tmp_path])
    assert summary(found) == [
        ("kept_neutral", "vasprun", "neutral_vasprun.xml", None, None),
        ("kept_run000001", "vasprun", "run000001.vasprun.xml", None, "run000001.CHGCAR.gz"),
        ("kept_run000002", "vasprun", "run000002.vasprun.xml", None, "run000002.CHGCAR.gz"),
    ]
    assert found.unrelated_files == 3


def test_words_around_the_names_tell_calculations_apart(tmp_path):
    put(tmp_path / "a", "vasprun.xml.relax1", "vasprun.relax2.xml.gz", "OUTCAR.relax2.gz", "OUTCAR.static")
    put(tmp_path / "b", "run1_vasprun.xml", "run1_OUTCAR", "run2.vasprun.xml.xz", "run1_CHGCAR.gz")
    put(tmp_path / "c", "plot_vasprun.py", "vasprun.py", "read_OUTCAR.ipynb", "CHGCAR.png", "myvasprun.xml")
    found = find_sources([tmp_path])
    assert summary(found) == [
        ("a_relax1", "vasprun", "vasprun.xml.relax1", None, None),
        ("a_relax2", "vasprun", "vasprun.relax2.xml.gz", "OUTCAR.relax2.gz", None),
        ("b_run1", "vasprun", "run1_vasprun.xml", "run1_OUTCAR", "run1_CHGCAR.gz"),
        ("b_run2", "vasprun", "run2.vasprun.xml.xz", None, None),
    ]
    assert found.unrelated_files == 5
    assert [path.name for path in found.without_vasprun] == ["OUTCAR.static"]
    for name in ("run1_vasprun.xml", "run1_OUTCAR", "run1_CHGCAR.gz"):
        (source,) = summary(find_sources([tmp_path / "b" / name]))
        assert source[2:] == ("run1_vasprun.xml", "run1_OUTCAR", "run1_CHGCAR.gz")


def test_packed_files_are_told_of(tmp_path):
    put(
        tmp_path / "a",
        "vaspruns.tar.lzma",
        "vasprun.xml.tar.bz2",
        "vasprun.xml.zst",
        "runs.zip",
        "vasprun.xml",
        "vasprun-001.xml.xz",
    )
    found = find_sources([tmp_path])
    assert [source.name for source in found.sources] == ["a", "a_001"]
    assert sorted(path.name for path in found.skipped) == [
        "runs.zip",
        "vasprun.xml.tar.bz2",
        "vasprun.xml.zst",
        "vaspruns.tar.lzma",
    ]
    assert all("unpack it" in why for why in found.skipped.values())
    put(tmp_path / "b", "runs.tar")
    with pytest.raises(DataError, match=r"no calculation there.*runs\.tar: packed .*unpack it"):
        find_sources([tmp_path / "b"])


def test_files_that_need_the_vasprun_of_their_run_are_named_without_it(tmp_path):
    put(tmp_path / "alone", "vaspout.h5", "OUTCAR", "CHGCAR")
    put(tmp_path / "beside", "vaspout.h5", "OUTCAR", "CHGCAR", "vasprun.xml")
    found = find_sources([tmp_path])
    assert {(path.parent.name, path.name, reason) for path, (reason, _) in found.without_vasprun.items()} == {
        ("alone", "vaspout.h5", "not_read"),
        ("alone", "OUTCAR", "not_read"),
        ("alone", "CHGCAR", "unfinished"),
    }
    assert all("vasprun.xml" in detail for _, detail in found.without_vasprun.values())
    assert [source.name for source in found.sources] == ["beside"]
    assert len(find_sources([tmp_path / "alone/vaspout.h5"]).without_vasprun) == 3


def test_files_of_ase_and_gpaw(tmp_path):
    put(tmp_path / "a", "frames.extxyz", "more.xyz.gz", "md.traj", "last.gpw", "notes.txt")
    (tmp_path / "a/gpaw.txt").write_text(BANNER)
    found = find_sources([tmp_path])
    kinds = {source.path.name: source.kind for source in found.sources}
    assert kinds == {
        "frames.extxyz": "extxyz",
        "more.xyz.gz": "extxyz",
        "md.traj": "traj",
        "last.gpw": "gpw",
        "gpaw.txt": "gpaw log",
    }
    assert found.unrelated_files == 1
    assert {source.path.name for source in found.sources if source.is_run} == {"gpaw.txt"}


def test_a_file_counts_once_and_the_dataset_is_left_out(tmp_path):
    put(tmp_path / "runs/a b", "vasprun.xml")
    put(tmp_path / "runs/dataset", "frames.extxyz")
    (tmp_path / "link.xml").symlink_to(tmp_path / "runs/a b/vasprun.xml")
    paths = [tmp_path / "runs", tmp_path / "runs/a b/vasprun.xml", tmp_path / "runs/a b"]
    found = find_sources(paths, leave_out=tmp_path / "runs/dataset")
    assert [source.name for source in found.sources] == ["a_b"]


def test_a_folder_named_itself_gives_its_name(tmp_path):
    put(tmp_path / "x2.50", "vasprun.xml")
    assert [source.name for source in find_sources([tmp_path / "x2.50"]).sources] == ["x2.50"]
    assert [source.name for source in find_sources([tmp_path / "x2.50/vasprun.xml"]).sources] == ["x2.50"]


def test_what_cannot_be_walked_through_is_told(tmp_path, monkeypatch):
    put(tmp_path / "runs/a", "vasprun.xml")
    put(tmp_path / "elsewhere", "vasprun.xml")
    put(tmp_path / "runs/locked", "vasprun.xml")
    (tmp_path / "runs/linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "runs/a/OUTCAR").symlink_to(tmp_path / "gone/OUTCAR")
    scandir = os.scandir

    def locked(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = find_sources([tmp_path / "runs"])
    assert [source.name for source in found.sources] == ["a"]
    assert {
        path.relative_to(tmp_path / "runs").as_posix(): why.split(",")[0] for path, why in found.skipped.items()
    } == {
        "linked": "a link to a folder",
        "locked": "cannot be read (Permission denied)",
        "a/OUTCAR": "a broken link",
    }


def test_nothing_there_is_an_error(tmp_path):
    with pytest.raises(DataError, match="no such file"):
        find_sources([tmp_path / "missing"])
    put(tmp_path / "empty", "INCAR")
    with pytest.raises(DataError, match="no calculation there"):
        find_sources([tmp_path / "empty"])


def test_real_files_are_found():
    assert {source.kind for source in find_sources([DATA]).sources} == {"vasprun"}
    assert all(source.outcar is not None for source in find_sources([DATA]).sources)


def test_names_stay_unique():
    names = FrameNames([("a", 0), ("a", 7)])
    assert [names.configuration(name) for name in ("a", "b", "b")] == ["a-2", "b", "b-2"]
    assert names.frame("b", 3) == ("b", 3)
    assert names.frame("b", 3) == ("b", 4)
    # A configuration that a frame names itself is kept: it may be one held out for testing.
    assert names.frame("b", 7, own="a") == ("a", 8)


def test_one_configuration_counts_through():
    names = FrameNames([("all", 4)], "all")
    assert names.configuration("b") == "all"
    assert [names.frame("all", step, own="x") for step in (0, 1, 0)] == [("all", 5), ("all", 6), ("all", 7)]


def test_a_copy_beside_its_original_is_looked_at(tmp_path):
    put(tmp_path / "a", "vasprun.xml", "vasprun.xml.gz", "OUTCAR")
    found = find_sources([tmp_path])
    assert sorted(source.path.name for source in found.sources) == ["vasprun.xml", "vasprun.xml.gz"]
    assert sum(source.files for source in found.sources) == 3
