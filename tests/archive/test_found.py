import pytest

from redoxmd.archive.found import Names, find_sources
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
    put(tmp_path / "x1/relax", "OUTCAR.relax1", "OUTCAR.relax2", "CHGCAR.relax2")
    put(tmp_path / "x2", *(f"vasprun_{n}.xml" for n in (1, 2, 10)), "OUTCAR_2")
    found = find_sources([tmp_path])
    assert summary(found) == [
        ("x1_md", "vasprun", "vasprun.xml.gz", "OUTCAR", "CHGCAR.gz"),
        ("x1_relax_relax1", "outcar", "OUTCAR.relax1", None, None),
        ("x1_relax_relax2", "outcar", "OUTCAR.relax2", None, "CHGCAR.relax2"),
        ("x2_1", "vasprun", "vasprun_1.xml", None, None),
        ("x2_2", "vasprun", "vasprun_2.xml", "OUTCAR_2", None),
        ("x2_10", "vasprun", "vasprun_10.xml", None, None),
    ]
    assert found.others == 2


def test_files_of_a_run_belong_together_by_what_stands_before(tmp_path):
    # As `engine.vasp.files` keeps them.
    put(tmp_path / "kept", *(f"run00000{n}.{name}" for n in (1, 2) for name in ("vasprun.xml", "CHGCAR.gz", "AECCAR0")))
    put(tmp_path / "kept", "neutral_OUTCAR", "MYOUTCAR")
    found = find_sources([tmp_path])
    assert summary(found) == [
        ("kept_neutral", "outcar", "neutral_OUTCAR", None, None),
        ("kept_run000001", "vasprun", "run000001.vasprun.xml", None, "run000001.CHGCAR.gz"),
        ("kept_run000002", "vasprun", "run000002.vasprun.xml", None, "run000002.CHGCAR.gz"),
    ]
    assert found.others == 3


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
    assert found.others == 1
    assert {source.path.name for source in found.sources if source.is_run} == {"gpaw.txt"}


def test_a_file_counts_once_and_the_dataset_is_left_out(tmp_path):
    put(tmp_path / "runs/a b", "vasprun.xml")
    put(tmp_path / "runs/dataset", "frames.extxyz")
    (tmp_path / "link.xml").symlink_to(tmp_path / "runs/a b/vasprun.xml")
    paths = [tmp_path / "runs", tmp_path / "runs/a b/vasprun.xml", tmp_path / "runs/a b"]
    found = find_sources(paths, leave_out=tmp_path / "runs/dataset")
    assert [source.name for source in found.sources] == ["a_b"]


def test_a_folder_named_itself_gives_its_name(tmp_path):
    put(tmp_path / "x2.50", "OUTCAR")
    assert [source.name for source in find_sources([tmp_path / "x2.50"]).sources] == ["x2.50"]
    assert [source.name for source in find_sources([tmp_path / "x2.50/OUTCAR"]).sources] == ["x2.50"]


def test_a_density_alone_is_accounted_for(tmp_path):
    put(tmp_path / "a", "CHGCAR")
    assert [path.name for path in find_sources([tmp_path]).lonely] == ["CHGCAR"]


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
    names = Names([("a", 0), ("a", 7)])
    assert [names.configuration(name) for name in ("a", "b", "b")] == ["a-2", "b", "b-2"]
    assert names.frame("b", 3) == ("b", 3)
    assert names.frame("b", 3) == ("b", 4)
    # A configuration that a frame names itself is kept: it may be one held out for testing.
    assert names.frame("b", 7, own="a") == ("a", 8)


def test_one_configuration_counts_through():
    names = Names([("all", 4)], "all")
    assert names.configuration("b") == "all"
    assert [names.frame("all", step, own="x") for step in (0, 1, 0)] == [("all", 5), ("all", 6), ("all", 7)]


def test_a_copy_beside_its_original_is_looked_at(tmp_path):
    put(tmp_path / "a", "vasprun.xml", "vasprun.xml.gz", "OUTCAR")
    found = find_sources([tmp_path])
    assert sorted(source.path.name for source in found.sources) == ["vasprun.xml", "vasprun.xml.gz"]
    assert sum(source.files for source in found.sources) == 3
