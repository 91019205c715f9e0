"""`redoxmd states` on files: a table that is read back by other means, and what its summary says."""

import csv
import lzma
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write

from redoxmd.cli import main

ROOT = Path(__file__).parents[2]
FRAMES = ROOT / "tests/data/nvp-loose/frames.extxyz"
SPIN_RELAX = ROOT / "tests/data/vasp/spin-relax"


def states(tmp_path, *arguments):
    assert main(["states", *map(str, arguments), "--to", str(tmp_path / "states.csv")]) == 0
    with (tmp_path / "states.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_real_frames_row_by_row(tmp_path, capsys):
    rows = states(tmp_path, FRAMES)
    frames = read(FRAMES, ":")
    assert [(row["config_id"], row["step"]) for row in rows] == [
        (frame.info["config_id"], str(frame.info["step"])) for frame in frames
    ]
    for row, frame in zip(rows, frames, strict=True):
        moments = np.abs(frame.get_magnetic_moments()[frame.symbols == "V"])
        holes = 6 - (frame.symbols == "Na").sum()
        # As many V4+ as there are Na missing, those with the smallest moments.
        expected = np.full(4, 3)
        expected[np.argsort(moments)[:holes]] = 4
        assert row["states"].split() == list(map(str, expected))
        assert float(row["total_moment_muB"]) == pytest.approx(frame.info["total_moment_muB"], rel=1e-5)
    refused = {(row["config_id"]) for row in rows if row["refusal"]}
    assert refused == {"x1.00_o0", "x1.50_o0", "x2.00_o0", "x2.00_o1"}
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"190 frames, {sum(bool(row['refusal']) for row in rows)} not in a clean neutral state"
    assert said[3].startswith("x2.00_o1: 0 of 22 frames in a clean neutral state (two V3+ and two V4+)")
    assert "; states change at step 1, 4, 7, 12; step 0: one V4+" in said[3]


def test_a_hop_is_told_by_its_step_and_a_gap_in_the_steps_is_none(tmp_path, capsys):
    frame = next(frame for frame in read(FRAMES, ":") if frame.info["config_id"] == "x2.50_o0")
    moments = frame.get_magnetic_moments()
    swapped = moments.copy()
    low, high = np.flatnonzero(frame.symbols == "V")[np.argsort(np.abs(moments[frame.symbols == "V"]))[[0, -1]]]
    swapped[[low, high]] = moments[[high, low]]
    frames = []
    for step, values in ((0, moments), (1, moments), (2, swapped), (5, moments)):
        copy = frame.copy()
        copy.calc = frame.calc.__class__(copy, **{**frame.calc.results, "magmoms": values})
        copy.info |= {"config_id": "run", "step": step}
        frames.append(copy)
    write(tmp_path / "run.extxyz", frames)
    rows = states(tmp_path, tmp_path / "run.extxyz")
    assert [row["refusal"] for row in rows] == [""] * 4
    assert rows[0]["states"] == rows[1]["states"] != rows[2]["states"]
    assert "; states change at step 2\n" in capsys.readouterr().out


def test_moments_of_a_real_vasp_run_are_those_of_its_outcar(tmp_path):
    for name in ("OUTCAR", "vasprun.xml"):
        (source,) = SPIN_RELAX.glob(f"{name}*")
        (tmp_path / name).write_bytes(lzma.decompress(source.read_bytes()))
    tables = (tmp_path / "OUTCAR").read_text().split("magnetization (x)")[1:]
    moments = [float(table.splitlines()[4].split()[-1]) for table in tables]
    symbol = str(read(tmp_path / "vasprun.xml").symbols)
    levels = f"{symbol}0={moments[0]:.3f}"
    rows = states(tmp_path, tmp_path / "vasprun.xml", "--levels", levels, "--oxidation", "")
    assert {row["states"] for row in rows} == {"0"}
    assert len(rows) >= 2


def test_frames_without_moments_are_told(tmp_path):
    frame = read(FRAMES, 0)
    results = {key: value for key, value in frame.calc.results.items() if key != "magmoms"}
    frame.calc = frame.calc.__class__(frame, **results)
    write(tmp_path / "blind.extxyz", frame)
    (row,) = states(tmp_path, tmp_path / "blind.extxyz")
    assert (row["states"], row["refusal"]) == ("", "no moments")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--levels", "V3"], "--levels: 'V3' is not of the form V3=1.85"),
        (["--levels", "V3=1.85,V4=1.85"], "'V4=1.85' repeats a state or a moment of V; give each once"),
        (["--levels", "V3=1.85,V3=1.05"], "'V3=1.05' repeats a state or a moment of V; give each once"),
        (["--oxidation", "Na=one"], "--oxidation: 'Na=one' is not of the form Na=1"),
        (["--oxidation", "Na=1,P=5,O=-2,V=3"], "V has states in --levels"),
        (["--oxidation", "Na=1,P=5"], "O has no oxidation number"),
        (["--oxidation", "Na=1,P=5,O=-1"], "neutral"),
    ],
)
def test_settings_that_cannot_be_are_refused_in_one_line(arguments, words, capsys):
    assert main(["states", str(FRAMES), *arguments]) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_missing_file_is_named(tmp_path, capsys):
    assert main(["states", str(tmp_path / "none")]) == 1
    assert "none" in capsys.readouterr().err


def test_files_that_cannot_be_read_are_listed_and_the_others_tabulated(tmp_path, capsys):
    """A lone OUTCAR, and a file that breaks off in its second frame."""
    for name in ("alone", "cut"):
        (tmp_path / name).mkdir()
    (tmp_path / "alone/OUTCAR").write_text("vasp.6.3.2\n")
    write(tmp_path / "cut/run.extxyz", read(FRAMES, ":2"))
    lines = (tmp_path / "cut/run.extxyz").read_text().splitlines()
    (tmp_path / "cut/run.extxyz").write_text("\n".join(lines[:-3]) + "\n")
    (row,) = states(tmp_path, tmp_path)
    assert (row["config_id"], row["step"], row["states"]) == ("x1.00_o0", "0", "4 4 4 4")
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("not read: ")]
    assert told[0].endswith("alone/OUTCAR: an OUTCAR alone is not read; put the vasprun.xml of the run beside it")
    assert told[1].endswith("cut/run.extxyz: frame 1: ends after 33 of 36 atoms")
    assert len(told) == 2


def test_nothing_read_is_a_failure(tmp_path, capsys):
    (tmp_path / "OUTCAR").write_text("vasp.6.3.2\n")
    assert main(["states", str(tmp_path)]) == 1
    assert "put the vasprun.xml of the run beside it" in capsys.readouterr().out
