import argparse
import csv
import gzip
import lzma
import re

import numpy as np
import pytest
import yaml
from ase.io import read, write

from redoxmd.archive import reading
from redoxmd.archive.commands import add_commands
from redoxmd.archive.importing import RequiredLevel, import_archive
from redoxmd.archive.levels import level_hash
from redoxmd.config.sections import Train
from redoxmd.density.exchange.chgcar import write_chgcar
from redoxmd.density.grid import accept_density
from redoxmd.density.store import density_keys, read_density
from redoxmd.engines.base import Result
from redoxmd.engines.calculation import Level, ReadFrame
from redoxmd.engines.vasp.vasprun import read_vasprun
from redoxmd.errors import DataError, LabelRefused
from redoxmd.files.records import file_sha256
from redoxmd.train.dataset import build_dataset, load_datasets, read_dataset_card
from tests.archive.made import DATA, TITLES, md, real, vasprun

ELECTRONS = 8.0  # NELECT of the real file the others are made from


def put(folder, frames, name="vasprun.xml", **settings):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(vasprun(frames, **settings))


@pytest.fixture
def archive(tmp_path):
    put(tmp_path / "runs/x1", md(1, 6))
    put(tmp_path / "runs/x2", md(2, 5))
    return tmp_path / "runs"


@pytest.fixture
def run():
    """The command line, as it will be wired."""
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers())

    def call(*words):
        options = parser.parse_args([str(word) for word in words])
        return options.command(options)

    return call


def refusals(folder, name="refused.csv"):
    with (folder / name).open() as stream:
        return [(row["file"].rpartition("/")[2], row["step"], row["reason"]) for row in csv.DictReader(stream)]


def density(atoms, shift_A=0.0, symbols=None):
    rng = np.random.default_rng(0)
    total = 1 + rng.random((8, 6, 6))
    total *= ELECTRONS / (total.mean() * atoms.get_volume())
    positions = atoms.positions + np.array([shift_A, 0, 0]) + np.asarray(atoms.cell)[1]
    return accept_density(
        total, 0.1 * total, np.asarray(atoms.cell), positions, atoms.numbers, np.full(8, 3.0), ELECTRONS, "test"
    )


def test_a_dataset_that_training_takes(archive, tmp_path):
    report = import_archive([archive], tmp_path / "data")
    card = read_dataset_card(tmp_path / "data")
    level = read_vasprun(archive / "x1/vasprun.xml").level
    assert (card["engine"], card["settings_hash"]) == ("vasp", level_hash(level))
    assert (card["frames"], card["configurations"], report.frames) == (11, ["x1", "x2"], 11)
    frames = load_datasets([tmp_path / "data"], card["settings_hash"])
    assert build_dataset(frames, Train(), 0, card["settings_hash"]).duplicates == 0
    with pytest.raises(DataError, match="settings"):
        load_datasets([tmp_path / "data"], "another")


def test_frames_are_what_the_files_hold(archive, tmp_path):
    import_archive([archive], tmp_path / "data")
    found = read(tmp_path / "data/frames.extxyz", ":")
    for frame, expected in zip(found, [*md(1, 6), *md(2, 5)], strict=True):
        assert list(frame.symbols) == list(expected.symbols)
        assert frame.get_potential_energy() == pytest.approx(expected.get_potential_energy(), abs=1e-8)
        np.testing.assert_allclose(frame.get_forces(), expected.get_forces(), rtol=0, atol=2e-8)
        np.testing.assert_allclose(frame.get_stress(), expected.get_stress(), rtol=0, atol=1e-9)
        np.testing.assert_allclose(frame.positions, expected.positions, rtol=0, atol=1e-7)
    first = found[0].info
    assert (first["config_id"], first["step"], first["engine"], first["converged"]) == ("x1", 0, "vasp", True)
    assert first["source"].endswith("x1/vasprun.xml")
    assert [frame.info["step"] for frame in found] == [*range(6), *range(5)]


def test_moments_come_from_the_outcar_beside(tmp_path):
    for name in ("OUTCAR", "vasprun.xml"):
        source = next((DATA / "spin-relax").glob(f"{name}*"))
        (tmp_path / name).write_bytes(lzma.decompress(source.read_bytes()))
    import_archive([tmp_path / "vasprun.xml"], tmp_path / "data")
    frames = read(tmp_path / "data/frames.extxyz", ":")
    # The column tot of the magnetisation in OUTCAR, step by step.
    tables = (tmp_path / "OUTCAR").read_text().split("magnetization (x)")[1:]
    expected = [float(table.splitlines()[4].split()[-1]) for table in tables]
    assert frames
    for frame in frames:
        assert frame.calc.results["magmoms"].tolist() == [expected[frame.info["step"]]]


def shorter(text):
    """The OUTCAR of a run of two ionic steps that ended as it should."""
    end = text.rindex("\n", 0, text.index("General timing"))
    return text[: text.rindex("\n", 0, text.index("Iteration      3(   1)"))] + text[end:]


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda text: text.replace("energy(sigma->0) =", "energy(sigma->0) = 1"), 0),
        (lambda text: re.sub(r"(TOTAL-FORCE[^\n]*\n[^\n]*\n) +\S+", r"\1   0.40000", text), 0),
        (lambda text: "no OUTCAR\n", 0),
        (lambda text: text[: text.index("Iteration      3(   1)")], 2),
        (shorter, 2),
    ],
    ids=["energy", "positions", "unreadable", "cut", "of a shorter run"],
)
def test_moments_of_another_run_are_left_out_and_noted(tmp_path, change, kept):
    (tmp_path / "vasprun.xml").write_text(real("spin-relax", "vasprun.xml"))
    text = change(real("spin-relax", "OUTCAR"))
    assert text != real("spin-relax", "OUTCAR")
    (tmp_path / "OUTCAR").write_text(text)
    report = import_archive([tmp_path / "vasprun.xml"], tmp_path / "data")
    frames = read(tmp_path / "data/frames.extxyz", ":")
    assert [frame.info["step"] for frame in frames if "magmoms" in frame.calc.results] == [
        frame.info["step"] for frame in frames if frame.info["step"] < kept
    ]
    assert report.notes
    assert all("moments" in note.detail and "OUTCAR" in note.detail for note in report.notes)
    assert "note" in (tmp_path / "data/refused.csv").read_text()


def test_moments_of_noncollinear_spins_are_left_out_and_noted(tmp_path):
    (tmp_path / "OUTCAR").write_text(re.sub(r"(LNONCOLLINEAR *= *)F", r"\1T", real("spin-relax", "OUTCAR")))
    text = real("spin-relax", "vasprun.xml")
    (tmp_path / "vasprun.xml").write_text(re.sub(r'(name="LNONCOLLINEAR"> *)F', r"\1T", text))
    report = import_archive([tmp_path], tmp_path / "data")
    frames = read(tmp_path / "data/frames.extxyz", ":")
    assert frames
    assert not any("magmoms" in frame.calc.results for frame in frames)
    assert any("noncollinear" in note.detail for note in report.notes)


def test_a_tag_that_is_no_number_costs_its_file_only(archive, tmp_path):
    text = (archive / "x1/vasprun.xml").read_text()
    (archive / "x1/vasprun.xml").write_text(re.sub(r'name="IBRION"> *\d', 'name="IBRION"> none', text))
    report = import_archive([archive], tmp_path / "data")
    assert [(item.path.parent.name, item.reason) for item in report.refused] == [("x1", "corrupted")]
    assert report.accepted == {"x2": 5}


def test_memory_that_is_not_there_is_no_damaged_file(tmp_path, monkeypatch):
    (tmp_path / "vasprun.xml").write_text(real("spin-relax", "vasprun.xml"))

    def short_of_memory(path):
        raise MemoryError("12 GiB")

    monkeypatch.setattr("redoxmd.archive.reading.read_vasprun", short_of_memory)
    with pytest.raises(MemoryError, match="12 GiB"):
        import_archive([tmp_path / "vasprun.xml"], tmp_path / "data")


def test_moments_find_their_steps_between_those_of_a_force_field(tmp_path):
    """A vasprun.xml has the steps that VASP's force field predicted, its OUTCAR has other tables of them."""
    text = real("spin-relax", "vasprun.xml")
    starts = [match.start() for match in re.finditer(r" <calculation>", text)]
    predicted = re.sub(r"(?s)  <scstep>.*</scstep>\n", "", text[starts[0] : starts[1]])
    predicted = re.sub(r"(name=\"e_fr_energy\"> +-)1", r"\g<1>7", predicted)
    (tmp_path / "vasprun.xml").write_text(text[: starts[2]] + 3 * predicted + text[starts[2] :])
    (tmp_path / "OUTCAR").write_text(real("spin-relax", "OUTCAR"))
    report = import_archive([tmp_path / "vasprun.xml"], tmp_path / "data")
    assert [item.step for item in report.refused if item.reason == "unconverged"][:4] == [0, 2, 3, 4]
    frames = read(tmp_path / "data/frames.extxyz", ":")
    assert {frame.info["step"]: frame.calc.results["magmoms"].tolist() for frame in frames} == {
        1: [0.769],
        5: [0.700],
        7: [0.646],
    }
    assert report.notes == []


@pytest.mark.parametrize(("ibrion", "accepted"), [(0, 11), (1, 12), (2, 12), (3, 12), (5, 12)])
def test_steps_of_a_relaxation_are_judged_each_by_itself(tmp_path, ibrion, accepted):
    """A step whose energy stands apart: a fault in MD, where the next begins in a relaxation's line search."""
    frames = md(1, 12)
    frames[0].calc.results["energy"] += 0.5
    put(tmp_path / "runs/a", frames, ibrion=ibrion)
    report = import_archive([tmp_path / "runs"], tmp_path / "data")
    assert report.frames == accepted
    found = read(tmp_path / "data/frames.extxyz", ":")
    assert not any("time_fs" in frame.info for frame in found)
    # What the dataset is read with, training and a second import, knows it too.
    settings_hash = read_dataset_card(tmp_path / "data")["settings_hash"]
    dataset = build_dataset(load_datasets([tmp_path / "data"], settings_hash), Train(), 0, settings_hash)
    assert (len(dataset.frames), dataset.left_out) == (accepted, [])
    assert import_archive([tmp_path / "data"], tmp_path / "again").frames == accepted
    again = read(tmp_path / "again/frames.extxyz", ":")
    assert [frame.info.get("md", True) for frame in again] == [ibrion == 0] * accepted


def test_many_notes_are_cut_short_but_all_in_the_list(tmp_path):
    for number in range(25):
        put(tmp_path / f"runs/{number}", md(number, 1), isif=1)
    report = import_archive([tmp_path / "runs"], tmp_path / "data")
    printed = list(report.lines())
    assert sum(line.startswith("note: ") for line in printed) == 20
    assert "… and 5 more notes, all in refused.csv" in printed
    assert (tmp_path / "data/refused.csv").read_text().count(",note,stress left out") == 25
    assert all("stress" not in frame.calc.results for frame in read(tmp_path / "data/frames.extxyz", ":"))


def test_an_existing_dataset_is_left_alone(archive, tmp_path):
    import_archive([archive], tmp_path / "data")
    before = (tmp_path / "data/dataset.yaml").read_bytes()
    with pytest.raises(DataError, match="--append"):
        import_archive([archive], tmp_path / "data")
    assert (tmp_path / "data/dataset.yaml").read_bytes() == before


def test_appending_adds_files_and_drops_what_is_there(archive, tmp_path):
    import_archive([archive], tmp_path / "data")
    first = (tmp_path / "data/frames.extxyz").read_bytes()
    put(archive / "x3", md(3, 4))
    put(archive / "x4", md(4, 4), cutoff_eV=400.0)
    report = import_archive([archive], tmp_path / "data", append=True)
    assert report.frames == 4
    assert report.counts() == {"duplicate": 11, "wrong_settings": 1}
    card = read_dataset_card(tmp_path / "data")
    assert (tmp_path / "data/frames.extxyz").read_bytes() == first
    assert list(card["files"]) == ["frames.extxyz", "frames-2.extxyz"]
    assert (card["frames"], card["configurations"]) == (15, ["x1", "x2", "x3"])
    assert card["refused"] == {"duplicate": 11, "wrong_settings": 1}
    assert len(load_datasets([tmp_path / "data"], card["settings_hash"])) == 15
    assert len(refusals(tmp_path / "data", "refused-2.csv")) == 12


def test_a_dataset_that_was_tampered_with_is_not_added_to(archive, tmp_path):
    import_archive([archive], tmp_path / "data")
    (tmp_path / "data/frames.extxyz").write_text("")
    with pytest.raises(DataError, match="restore it"):
        import_archive([archive], tmp_path / "data", append=True)


def test_importing_an_import_gives_the_same_dataset(archive, tmp_path):
    import_archive([archive], tmp_path / "one")
    report = import_archive([tmp_path / "one"], tmp_path / "two")
    one, two = (read_dataset_card(tmp_path / name) for name in ("one", "two"))
    assert (report.frames, two["settings_hash"], two["configurations"]) == (11, one["settings_hash"], ["x1", "x2"])


def test_most_calculations_decide_and_the_others_are_named(archive, tmp_path):
    put(archive / "x0", md(5, 9), cutoff_eV=400.0, titles=TITLES | {"Cu": "PAW_PBE Cu_pv 06Sep2000"})
    report = import_archive([archive], tmp_path / "data")
    (refusal,) = report.refused
    assert (refusal.path.parent.name, refusal.step, refusal.reason) == ("x0", None, "wrong_settings")
    assert "cutoff 400 against 300 eV" in refusal.detail
    assert "potential of Cu: PAW_PBE Cu_pv 06Sep2000 against PAW_PBE Cu 22Jun2005" in refusal.detail


def test_a_demanded_level_is_held_to(archive, tmp_path):
    level = read_vasprun(archive / "x1/vasprun.xml").level
    put(archive / "x0", md(5, 3), u_eV=3.0)
    report = import_archive([archive / "x0", archive / "x1"], tmp_path / "data", RequiredLevel(level, "mine"))
    assert report.counts() == {"wrong_settings": 1}
    assert "U of Cu: 3 eV on d against 4 eV on d" in report.refused[0].detail
    assert {frame.info["settings_hash"] for frame in read(tmp_path / "data/frames.extxyz", ":")} == {"mine"}


def test_files_without_a_level_need_trust(archive, tmp_path):
    write(tmp_path / "old.traj", md(7, 3))
    level = read_vasprun(archive / "x1/vasprun.xml").level
    report = import_archive([archive, tmp_path / "old.traj"], tmp_path / "one", RequiredLevel(level, "mine"))
    assert [(item.path.name, item.reason) for item in report.refused] == [("old.traj", "wrong_settings")]
    report = import_archive(
        [archive, tmp_path / "old.traj"], tmp_path / "two", RequiredLevel(level, "mine", trust=True)
    )
    assert (report.frames, report.refused) == (14, [])


def test_the_same_geometry_with_another_energy_is_told(tmp_path):
    frames = md(1, 4)
    put(tmp_path / "runs/a", frames)
    for frame in frames:
        frame.calc.results["energy"] += 0.6
    put(tmp_path / "runs/b", frames)
    report = import_archive([tmp_path / "runs"], tmp_path / "data")
    assert report.counts() == {"duplicate": 4}
    assert "+0.600 eV from it: another electronic state?" in report.refused[0].detail


@pytest.mark.parametrize("name", ["vaspout.h5", "OUTCAR"])
def test_files_without_their_vasprun_are_refused_by_name_with_the_remedy(name, tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / name).write_text(real("converged", "OUTCAR"))
    report = import_archive([tmp_path / "runs"], tmp_path / "data")
    assert (report.files, report.frames) == (1, 0)
    assert refusals(tmp_path / "data") == [(name, "", "not_read")]
    assert "put the vasprun.xml of the run beside it" in report.refused[0].detail


def test_densities_of_last_frames(tmp_path):
    frames = {name: md(seed, 3) for seed, name in enumerate(("good", "moved", "refused", "broken"))}
    for name, run in frames.items():
        put(tmp_path / "runs" / name, run, unconverged=(2,) if name == "refused" else ())
        write_chgcar(tmp_path / "runs" / name / "CHGCAR", density(run[-1], shift_A=1e-3 * (name == "moved")))
    chgcar = tmp_path / "runs/broken/CHGCAR"
    chgcar.write_bytes(chgcar.read_bytes()[:2000])
    put(tmp_path / "runs/alone", md(9, 1))
    (tmp_path / "runs/alone/vasprun.xml").rename(tmp_path / "runs/CHGCAR")
    report = import_archive([tmp_path / "runs"], tmp_path / "data")
    assert density_keys(tmp_path / "data/densities.h5") == ["good/step00002"]
    found = read_density(tmp_path / "data/densities.h5", "good/step00002")
    assert found.electrons == ELECTRONS
    np.testing.assert_allclose(found.total_e_A3, density(frames["good"][-1]).total_e_A3, rtol=1e-6)
    assert sorted((item.path.parent.name, item.reason) for item in report.refused_densities) == [
        ("broken", "unreadable"),
        ("moved", "wrong_shape"),
        ("refused", "unfinished"),
    ]
    # All frames stay but the one that did not converge; the lonely CHGCAR is accounted for.
    assert report.frames == 11
    assert report.counts() == {"unconverged": 1, "unfinished": 1}
    assert read_dataset_card(tmp_path / "data")["files"].keys() == {"frames.extxyz", "densities.h5"}


def test_nothing_accepted_leaves_a_list_but_no_dataset(tmp_path, run, capsys):
    put(tmp_path / "runs/a", md(1, 2), unconverged=(0, 1))
    assert run("import", tmp_path / "runs", "--into", tmp_path / "data") == 1
    assert "0 frames accepted, 2 refused (unconverged 2)" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["refused.csv"]
    assert refusals(tmp_path / "data") == [("vasprun.xml", "0", "unconverged"), ("vasprun.xml", "1", "unconverged")]
    put(tmp_path / "runs/b", md(2, 2))
    assert run("import", tmp_path / "runs", "--into", tmp_path / "data") == 0


def test_an_import_that_dies_leaves_no_dataset(archive, tmp_path, monkeypatch):
    def dies(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("redoxmd.archive.importing.import_chgcars", dies)
    with pytest.raises(KeyboardInterrupt):
        import_archive([archive], tmp_path / "data")
    assert list((tmp_path / "data").iterdir()) == []
    monkeypatch.undo()
    assert import_archive([archive], tmp_path / "data").frames == 11


def test_one_configuration_for_all(archive, tmp_path, run):
    assert run("import", archive, "--into", tmp_path / "data", "--config-id", "everything") == 0
    frames = read(tmp_path / "data/frames.extxyz", ":")
    assert [frame.info["step"] for frame in frames] == list(range(11))
    assert {frame.info["config_id"] for frame in frames} == {"everything"}


def test_a_config_demands_its_level(tmp_path, run, capsys):
    structure = tmp_path / "POSCAR"
    frames = md(1, 3)
    write(structure, frames[0], format="vasp")
    put(tmp_path / "runs/a", frames)
    put(tmp_path / "runs/b", md(2, 3), cutoff_eV=400.0)
    incar = {"LASPH": True, "LREAL": "Auto"}
    config = {
        "run": "test",
        "structures": {
            "source": str(structure),
            "mobile_ion": "Cu",
            "redox_element": "Cu",
            "preferred_site": "Cu1",
            "formula_units": 1,
            "moments_muB": {},
            "moments_x": 1.0,
        },
        "engine": {
            "name": "vasp",
            "vasp": {
                "cutoff_eV": 400,
                "hubbard": {"Cu": {"orbital": "d", "U_eV": 4.0}},
                "kpoints": [2, 4, 4],
                "precision": "Accurate",
                "smearing_eV": 0.05,
                "incar": incar,
            },
        },
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    code = run("import", tmp_path / "runs", "--into", tmp_path / "data", "--config", tmp_path / "config.yaml")
    shown = capsys.readouterr().out
    assert code == 0, shown
    from redoxmd.config import load_config
    from redoxmd.engines import settings_hash

    card = read_dataset_card(tmp_path / "data")
    assert card["settings_hash"] == settings_hash(load_config(tmp_path / "config.yaml").engine)
    assert card["configurations"] == ["b"]
    assert "cutoff 300 against 400 eV" in shown


def judged(count):
    atoms = md(1, 1)[0]
    result = Result(0.0, np.zeros((8, 3)))
    return [reading.FrameVerdict(ReadFrame(atoms, n, 0.0, np.zeros((8, 3))), result=result) for n in range(count)]


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 16, 17, 40])
def test_windows_judge_each_frame_once_and_with_its_neighbours(count, monkeypatch):
    seen = []

    def check_run(frames, _):
        steps = [frame.step for frame in frames]
        seen.append(steps)
        # A frame is told apart only by neighbours on both sides, as far as the run has them.
        bad = [s for s in steps if s % 7 == 3 and {max(s - 2, 0), min(s + 2, count - 1)} <= set(steps)]
        return {step: ("corrupted", "seventh") for step in bad}

    monkeypatch.setattr("redoxmd.train.audit.run.check_run", check_run)
    items = list(reading.check_windows(iter(judged(count)), window=10, margin=2))
    assert [item.frame.step for item in items] == list(range(count))
    assert [item.frame.step for item in items if item.refusal] == [n for n in range(count) if n % 7 == 3]
    assert max(map(len, seen), default=0) <= 10


def test_what_is_refused_already_says_nothing_of_its_neighbours(monkeypatch):
    seen = []
    monkeypatch.setattr("redoxmd.train.audit.run.check_run", lambda frames, _: seen.extend(frames) or {})
    items = judged(5)
    items[2] = reading.FrameVerdict(items[2].frame, refusal=LabelRefused("unconverged", "x"))
    assert list(reading.check_windows(items)) == items
    assert [frame.step for frame in seen] == [0, 1, 3, 4]


def test_levels_of_files_that_only_name_a_code_agree(tmp_path):
    write(tmp_path / "a.traj", md(1, 2))
    write(tmp_path / "b.traj", md(2, 2))
    report = import_archive([tmp_path / "a.traj", tmp_path / "b.traj"], tmp_path / "data")
    assert report.frames == 4
    assert read_dataset_card(tmp_path / "data")["settings_hash"] == level_hash(Level(""))


def test_odd_words_in_a_file_stop_nothing(tmp_path):
    frames = md(3, 4)
    for frame, words in zip(frames, ({"step": "last"}, {"converged": "false"}, {"config_id": 7}, {}), strict=True):
        frame.info.update(words)
    frames[3].set_cell(np.zeros((3, 3)))
    write(tmp_path / "odd.extxyz", frames)
    write(tmp_path / "whole.xyz", md(5, 4), format="extxyz")
    packed = gzip.compress((tmp_path / "whole.xyz").read_bytes(), 0)
    (tmp_path / "cut.xyz.gz").write_bytes(packed[: len(packed) * 5 // 8])
    report = import_archive([tmp_path / "odd.extxyz", tmp_path / "cut.xyz.gz"], tmp_path / "data")
    reasons = [(item.path.name, item.step, item.reason) for item in report.refused]
    assert reasons == [
        ("odd.extxyz", 1, "unconverged"),
        ("odd.extxyz", 3, "wrong_structure"),
        ("cut.xyz.gz", None, "unfinished"),
    ]
    assert report.accepted == {"odd": 1, "7": 1, "cut": 2}


def test_every_file_is_accounted_for(archive, tmp_path):
    (archive / "x1/INCAR").touch()
    (archive / "x2/OUTCAR").touch()
    report = import_archive([archive], tmp_path / "data")
    assert (report.files, report.unrelated_files) == (3, 1)
    assert list(report.lines())[-1] == "3 files read, 1 skipped; 11 frames accepted, 0 refused"


def test_a_dataset_of_another_kind_can_be_added_to(archive, tmp_path):
    """A card without a level: only frames that name its hash are of it."""
    frames = md(3, 2)
    for frame in frames:
        frame.info.update(
            config_id="old", step=frames.index(frame), engine="vasp", settings_hash="given", converged=True
        )
    (tmp_path / "data").mkdir()
    write(tmp_path / "data/frames.extxyz", frames)
    card = {
        "engine": "vasp",
        "settings_hash": "given",
        "files": {"frames.extxyz": file_sha256(tmp_path / "data/frames.extxyz")},
    }
    (tmp_path / "data/dataset.yaml").write_text(yaml.safe_dump(card))
    more = md(4, 2)
    for frame in more:
        frame.info.update(engine="vasp", settings_hash="given")
    write(tmp_path / "more.extxyz", more)
    report = import_archive([archive, tmp_path / "more.extxyz"], tmp_path / "data", append=True)
    assert (report.frames, report.counts()) == (2, {"wrong_settings": 2})
    assert len(load_datasets([tmp_path / "data"], "given")) == 4
