"""Oxidation states of imported frames, through the command and the files that it writes, read by ASE and csv."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.io import read, write

from redoxmd.archive import reading
from redoxmd.cli import main
from redoxmd.config.sections import Train
from redoxmd.engines.base import Result
from redoxmd.engines.calculation import ReadFrame
from redoxmd.train.dataset import build_dataset, load_datasets, read_dataset_card
from tests.archive.made import md, real

FRAMES = Path(__file__).parents[2] / "tests/data/nvp-loose/frames.extxyz"
LEVELS = "V3=1.85,V4=1.05"


def imported(tmp_path, paths, *words, into="data"):
    """Exit code, frames of the dataset, and (step, reason, detail) of what the last import refused."""
    code = main(["import", *map(str, paths), "--into", str(tmp_path / into), *map(str, words)])
    frames = [frame for path in by_number(tmp_path / into, "frames*") for frame in read(path, ":")]
    with by_number(tmp_path / into, "refused*")[-1].open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return code, frames, [(row["step"], row["reason"], row["detail"]) for row in rows]


def by_number(folder, pattern):
    return sorted(folder.glob(pattern), key=lambda path: (len(path.name), path.name))


def vanadium(frame):
    return np.abs(frame.get_magnetic_moments()[frame.symbols == "V"])


def starter(config_id, steps=(0,)):
    return [
        frame for frame in read(FRAMES, ":") if frame.info["config_id"] == config_id and frame.info["step"] in steps
    ]


def with_moments(frame, moments, energy_eV=0.0):
    """A copy of a frame with other moments, its energy shifted."""
    copy = frame.copy()
    results = {**frame.calc.results, "magmoms": moments}
    copy.calc = frame.calc.__class__(copy, **{**results, "energy": results["energy"] + energy_eV})
    return copy


def in_another_state(frame, energy_eV=0.3):
    """The frame with the moments of two of its V exchanged."""
    moments = frame.get_magnetic_moments()
    atoms = np.flatnonzero(frame.symbols == "V")[np.argsort(vanadium(frame))[[0, -1]]]
    moments[atoms] = moments[atoms[::-1]]
    return with_moments(frame, moments, energy_eV)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """The engine of the loosely converged frames, by their card, with levels."""
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    gpaw = yaml.safe_load((FRAMES.parent / "dataset.yaml").read_text())["settings"]["gpaw"]
    levels = {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05}}}
    path.write_text(yaml.safe_dump({"run": "loose", "engine": {"gpaw": gpaw}, "electrons": {"levels": levels}}))
    return path


def test_real_frames_are_judged_and_get_their_states(tmp_path, config):
    code, frames, refused = imported(tmp_path, [FRAMES], "--config", config)
    assert code == 0
    wrong = [row for row in refused if row[1] == "wrong_electronic_state"]
    assert (len(frames), len(refused), len(wrong)) == (155, 35, 35)
    assert any(
        re.match(r"one V4\+ and -0.\d μB on the other atoms; neutrality asks for two V4\+", row[2]) for row in wrong
    )
    assert {frame.info["config_id"] for frame in frames}.isdisjoint({"x2.00_o1"})
    for frame in frames:
        # As many V4+ as Na are missing at x = 3: those of the smallest moments.
        expected = np.full(4, 3)
        expected[np.argsort(vanadium(frame))[: 6 - (frame.symbols == "Na").sum()]] = 4
        assert frame.arrays["oxidation"][frame.symbols == "V"].tolist() == expected.tolist()
        assert np.count_nonzero(frame.arrays["oxidation"]) == 4


def test_without_a_config_the_levels_are_words_of_the_command(tmp_path, config, capsys):
    frames = [*starter("x2.50_o0"), *starter("x2.00_o1")]
    write(tmp_path / "runs.extxyz", frames)
    _, (accepted,), ((_, reason, _),) = imported(tmp_path, [tmp_path / "runs.extxyz"], "--levels", LEVELS)
    assert (accepted.info["config_id"], reason) == ("x2.50_o0", "wrong_electronic_state")
    _, both, refused = imported(tmp_path, [tmp_path / "runs.extxyz"], into="unjudged")
    assert (len(both), refused) == (2, [])
    assert not any("oxidation" in frame.arrays for frame in both)
    capsys.readouterr()
    words = ["--into", str(tmp_path / "no"), "--config", str(config), "--levels", LEVELS]
    assert main(["import", str(tmp_path / "runs.extxyz"), *words]) == 1
    said = capsys.readouterr().err
    assert "--levels" in said and "leave one out" in said and said.count("\n") == 1


def test_frames_without_moments_stay_and_that_is_said_once(tmp_path, capsys):
    frames = starter("x2.50_o0", range(3))
    for frame in frames:
        results = {key: value for key, value in frame.calc.results.items() if key != "magmoms"}
        frame.calc = frame.calc.__class__(frame, **results)
    write(tmp_path / "blind.extxyz", frames)
    code, accepted, refused = imported(tmp_path, [tmp_path / "blind.extxyz"], "--levels", LEVELS)
    assert (code, len(accepted), refused) == (0, 3, [])
    assert not any("oxidation" in frame.arrays for frame in accepted)
    assert capsys.readouterr().out.count("3 of the frames accepted give no local moments") == 1


@pytest.mark.parametrize(
    ("oxidation", "words"),
    [
        ("Na=1,P=5", "O has no oxidation number; give it, or its states, in --levels and --oxidation"),
        ("Na=1,P=5,O=-1", "no oxidation states make NaOPV of 39 atoms neutral"),
    ],
)
def test_a_composition_without_a_neutral_state_is_refused_with_the_keys(tmp_path, oxidation, words):
    write(tmp_path / "run.extxyz", starter("x2.50_o0"))
    code, frames, ((step, reason, detail),) = imported(
        tmp_path, [tmp_path / "run.extxyz"], "--levels", LEVELS, "--oxidation", oxidation
    )
    assert (code, frames, step, reason) == (1, [], "0", "wrong_electronic_state")
    assert words in detail and "--oxidation" in detail


def test_moments_of_a_real_vasp_run_are_judged_step_by_step(tmp_path):
    """Steps 1, 2 and 4 converged; by their OUTCAR Si has 0.769, 0.700 and 0.646 μB, the cell 2.000 μB."""
    for name in ("OUTCAR", "vasprun.xml"):
        (tmp_path / name).write_text(real("spin-relax", name))
    words = ["--levels", "Si0=0.62,Si4=0.80", "--oxidation", ""]
    _, (found,), refused = imported(tmp_path, [tmp_path / "vasprun.xml"], *words)
    assert (found.info["step"], found.arrays["oxidation"].tolist()) == (4, [0])
    assert found.info["total_moment_muB"] == pytest.approx(2.0, abs=1e-5)
    details = {step: detail for step, reason, detail in refused if reason == "wrong_electronic_state"}
    assert details.keys() == {"1", "2"}
    assert details["1"].startswith(
        "one Si4+ and +0.0 μB on the other atoms; neutrality asks for no Si4+; |moment| 0.77 μB on Si 0"
    )
    assert details["2"] == "|moment| 0.70 μB on Si 0, 0.62 for 0+"

    text = real("spin-relax", "OUTCAR").replace("magnetization       1.9999991", "magnetization       1.6000000")
    (tmp_path / "OUTCAR").write_text(text)
    code, frames, refused = imported(tmp_path, [tmp_path / "vasprun.xml"], *words, into="fractional")
    assert (code, frames) == (1, [])
    assert "total moment 1.60 μB is not an integer" in dict((step, detail) for step, _, detail in refused)["4"]


class TestRepeats:
    """One geometry in two states is two labels; a label whose state is unknown repeats its geometry."""

    @pytest.fixture
    def files(self, tmp_path):
        (frame,) = starter("x2.50_o0")
        write(tmp_path / "one.extxyz", frame)
        write(tmp_path / "other.extxyz", in_another_state(frame))
        return tmp_path / "one.extxyz", tmp_path / "other.extxyz"

    def test_two_states_are_two_labels_and_train_as_two(self, tmp_path, files):
        _, frames, refused = imported(tmp_path, files, "--levels", LEVELS)
        assert (len(frames), refused) == (2, [])
        assert sorted(frames[0].arrays["oxidation"]) == sorted(frames[1].arrays["oxidation"])
        assert (frames[0].arrays["oxidation"] != frames[1].arrays["oxidation"]).sum() == 2
        card = read_dataset_card(tmp_path / "data")
        stored = load_datasets([tmp_path / "data"], card["settings_hash"])
        dataset = build_dataset(stored, Train(), 0, card["settings_hash"])
        assert (len(dataset.frames), dataset.duplicates, dataset.left_out) == (2, 0, [])

    def test_without_levels_the_second_is_a_duplicate_with_the_remedy(self, tmp_path, files):
        _, frames, ((_, reason, detail),) = imported(tmp_path, files)
        assert (len(frames), reason) == (1, "duplicate")
        assert "+0.300 eV from it: another electronic state?" in detail and "electrons.levels" in detail

    def test_stored_without_states_appended_with(self, tmp_path, files):
        one, other = files
        imported(tmp_path, [one])
        write(tmp_path / "new.extxyz", starter("x2.50_o0", (5,)))
        paths = [one, other, tmp_path / "new.extxyz"]
        _, frames, refused = imported(tmp_path, paths, "--levels", LEVELS, "--append")
        assert [reason for _, reason, _ in refused] == ["duplicate"]
        assert [frame.info["step"] for frame in frames] == [0, 1, 5]
        assert ["oxidation" in frame.arrays for frame in frames] == [False, True, True]

    def test_stored_with_states_appended_without(self, tmp_path, files):
        imported(tmp_path, files, "--levels", LEVELS)
        _, frames, refused = imported(tmp_path, files, "--append")
        assert [reason for _, reason, _ in refused] == ["duplicate"] * 2
        assert len(frames) == 2

    def test_a_stored_label_in_a_wrong_state_stands_in_no_ones_way(self, tmp_path):
        (frame,) = starter("x2.50_o0")
        moments = frame.get_magnetic_moments()
        moments[frame.symbols == "V"] = 1.85
        write(tmp_path / "wrong.extxyz", with_moments(frame, moments))
        write(tmp_path / "right.extxyz", frame)
        imported(tmp_path, [tmp_path / "wrong.extxyz"])
        _, frames, refused = imported(tmp_path, [tmp_path / "right.extxyz"], "--levels", LEVELS, "--append")
        assert (len(frames), refused) == (2, [])

    def test_a_refused_frame_makes_no_duplicate_of_the_next(self, tmp_path):
        (frame,) = starter("x2.50_o0")
        moments = np.where(frame.symbols == "V", 1.45, 0.0)
        write(tmp_path / "run.extxyz", [with_moments(frame, moments), frame])
        _, frames, refused = imported(tmp_path, [tmp_path / "run.extxyz"], "--levels", LEVELS)
        assert [row[:2] for row in refused] == [("0", "wrong_electronic_state")]
        assert len(frames) == 1


def test_states_that_are_no_integers_are_left_out_with_a_note(tmp_path):
    (frame,) = starter("x2.50_o0")
    frame.set_array("oxidation", np.full(len(frame), 2.5))
    write(tmp_path / "run.extxyz", frame)
    _, (found,), ((_, reason, detail),) = imported(tmp_path, [tmp_path / "run.extxyz"])
    assert "oxidation" not in found.arrays
    assert (reason, detail) == ("note", "oxidation left out: not one integer for each atom")


def test_a_dataset_imported_again_keeps_its_states(tmp_path):
    write(tmp_path / "run.extxyz", starter("x2.50_o0"))
    imported(tmp_path, [tmp_path / "run.extxyz"], "--levels", LEVELS)
    _, (again,), _ = imported(tmp_path, [tmp_path / "data"], into="again")
    expected = read(tmp_path / "data/frames.extxyz").arrays["oxidation"]
    assert again.arrays["oxidation"].tolist() == expected.tolist()
    assert np.issubdtype(again.arrays["oxidation"].dtype, np.integer)


class TestHopsInARun:
    """EMT MD whose energy falls by 0.6 eV from step 6 on, as an electron's hop does it."""

    def verdicts(self, states_of_step, change=None):
        items = []
        for step, frame in enumerate(md(1, 12)):
            atoms = frame.copy()
            if change is not None and step == 8:
                change(atoms)
            energy = frame.get_potential_energy() - 0.6 * (step > 5)
            result = Result(energy, frame.get_forces(), oxidation=states_of_step(step))
            items.append(reading.FrameVerdict(ReadFrame(atoms, step, energy, frame.get_forces()), result))
        checked = list(reading.check_windows(items))
        return {item.frame.step: str(item.refusal.reason) for item in checked if item.refusal is not None}

    def test_an_offset_without_a_hop_is_a_fault(self):
        assert set(self.verdicts(lambda step: None).values()) == {"corrupted"}

    def test_an_offset_at_a_hop_is_none(self):
        assert self.verdicts(lambda step: np.array([3, 4][:: 1 if step > 5 else -1])) == {}

    def test_geometries_are_checked_across_states(self):
        def exchange(atoms):
            atoms.positions[[0, 4]] = atoms.positions[[4, 0]]

        def states(step):
            return np.array([5, 2]) if step == 8 else np.array([3, 4][:: 1 if step > 5 else -1])

        assert self.verdicts(states, exchange) == {8: "wrong_structure"}
