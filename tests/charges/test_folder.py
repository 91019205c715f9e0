"""`redoxmd charges FOLDER`: charges, moments and states of known densities in CHGCAR files."""

import numpy as np
import pandas as pd
import pytest

from redoxmd.cli import main
from redoxmd.density.exchange.chgcar import write_chgcar
from redoxmd.density.grid import Density

EDGE_A, POINTS, WIDTH_A = 7.2, 36, 0.5
CENTRES = np.array([[0.1, 0.1, 0.1], [0.6, 0.6, 0.1], [0.1, 0.6, 0.6], [0.6, 0.1, 0.6]])
NUMBERS, VALENCE = np.array([11, 23, 23, 8]), np.array([7.0, 13.0, 13.0, 6.0])
OPTIONS = ["--valence", "Na=7,V=13,O=6", "--redox", "V=3,4", "--oxidation", "Na=1,O=-8", "--frame-fs", "20"]
EXACT_E = 5e-3  # of a partition of Gaussians that hardly overlap


def written(path, populations, moments, centres=CENTRES, spin=True):
    """A CHGCAR of Gaussians with these electrons and moments; without its second grid if it has no spin."""
    axes = np.stack(np.meshgrid(*[np.arange(POINTS) / POINTS] * 3, indexing="ij"), axis=-1)
    grids = np.zeros((2, POINTS, POINTS, POINTS))
    for centre, *amounts in zip(centres, populations, moments, strict=True):
        away = axes - centre
        squared = ((away - np.round(away)) ** 2).sum(axis=-1) * EDGE_A**2
        grids += np.multiply.outer(amounts, np.exp(-squared / 2 / WIDTH_A**2) / (2 * np.pi * WIDTH_A**2) ** 1.5)
    cell = EDGE_A * np.eye(3)
    path.parent.mkdir(exist_ok=True)
    total = float(np.sum(populations))
    write_chgcar(
        path, Density(*grids, cell, centres @ cell, NUMBERS, VALENCE, total, float(np.sum(moments)), 1.0, "made")
    )
    if not spin:
        lines = path.read_text().split(f"{POINTS:5d}" * 3 + "\n")
        path.write_text((f"{POINTS:5d}" * 3 + "\n").join(lines[:2]))


def hopping(write_frame):
    """Six frames; the hole is on the first V up to frame 2, then on the second; charges of one frame scatter."""
    truth = []
    for frame in range(6):
        high = 0 if frame < 3 else 1
        noise = 0.01 * np.array([1, -1]) * (frame % 3 - 1)
        charge = np.where(np.arange(2) == high, 2.2, 2.0) + noise
        moment = np.where(np.arange(2) == high, 1.05, 1.9)
        populations = [6.1, *(13.0 - charge), 6 + 0.9 + charge.sum() - 0.0]
        write_frame(frame, populations, [0.0, *moment, 0.0])
        truth.append((charge, moment, high))
    return truth


@pytest.mark.parametrize("layout", ["suffixes", "folders"])
def test_charges_moments_and_states_over_time(tmp_path, layout, capsys):
    names = {"suffixes": "run/CHGCAR.{}", "folders": "run/{}/CHGCAR"}[layout]
    # Numbers in names without leading zeros: frame 8 comes before frame 10.
    truth = hopping(lambda frame, *amounts: make(tmp_path / names.format(8 + frame), *amounts))
    assert main(["charges", str(tmp_path / "run"), "--to", str(tmp_path / "charges.csv"), *OPTIONS]) == 0
    table = pd.read_csv(tmp_path / "charges.csv")
    assert len(table) == 6 * 4 and table["time_ps"].unique().tolist() == pytest.approx([0, 0.02, 0.04, 0.06, 0.08, 0.1])
    for frame, (charge, moment, high) in enumerate(truth):
        rows = table[(table["frame"] == frame) & (table["element"] == "V")]
        assert names.format(8 + frame) in rows["file"].iloc[0]
        assert rows["charge_e"].to_numpy() == pytest.approx(charge, abs=EXACT_E)
        assert rows["moment_muB"].to_numpy() == pytest.approx(moment, abs=EXACT_E)
        assert rows["state"].tolist() == [4 if atom == high else 3 for atom in range(2)]
    assert table.loc[table["element"] == "Na", "charge_e"].to_numpy() == pytest.approx(0.9, abs=EXACT_E)
    assert set(table.loc[table["element"] == "Na", "state"]) == {1}
    text = capsys.readouterr().out
    assert "1 V4+ per frame, 2 changes of state; 6 of 6 frames neutral" in text


def make(path, *amounts):
    path.parent.mkdir(parents=True, exist_ok=True)
    written(path, *amounts)


def test_a_refused_file_keeps_its_time_and_files_without_spin_have_no_moment(tmp_path, capsys):
    populations, moments = [6.1, 11.0, 10.8, 11.1], [0.0, 1.9, 1.05, 0.0]
    run = tmp_path / "run"
    written(run / "CHGCAR.1", populations, moments)
    written(run / "CHGCAR.2", populations, moments)
    (run / "CHGCAR.2").write_text((run / "CHGCAR.2").read_text()[:9000])
    written(run / "CHGCAR.3", populations, moments, spin=False)
    out = tmp_path / "charges.csv"
    assert main(["charges", "files", str(run), "--to", str(out), *OPTIONS[:2], "--frame-fs", "50"]) == 0
    text, table = capsys.readouterr().out, pd.read_csv(out)
    assert "refused, unreadable: " in text and "CHGCAR.2: grid 1 (total) ends early" in text
    assert "2 files in" in text and "1 refused" in text and "state" not in table
    assert table["frame"].unique().tolist() == [0, 2] and table["time_ps"].unique().tolist() == [0, 0.1]
    assert table[table["frame"] == 2]["moment_muB"].isna().all()
    assert table[table["frame"] == 2]["charge_e"].to_numpy() == pytest.approx(VALENCE - populations, abs=EXACT_E)


def test_one_state_leaves_the_states_unknown_and_says_so(tmp_path, capsys):
    for frame in range(3):
        make(tmp_path / f"run/{frame}/CHGCAR", [6.1, 11.0, 11.0, 10.9], [0.0, 1.9, 1.9, 0.0])
    out = tmp_path / "charges.csv"
    assert main(["charges", str(tmp_path / "run"), "--to", str(out), *OPTIONS]) == 0
    assert "one oxidation state only" in capsys.readouterr().out
    assert pd.read_csv(out).set_index("element").loc["V", "state"].isna().all()


def test_wrong_options_are_refused_in_one_line(tmp_path, capsys):
    make(tmp_path / "run/CHGCAR", [6.1, 11.0, 10.8, 11.1], [0.0, 1.9, 1.05, 0.0])
    for options, message in (
        (["--redox", "V"], "--redox V: not of the form V=3,4"),
        (["--redox", "Fe=2,3", "--valence", "Na=7,V=13,O=6"], "--redox Fe: the files hold Na, O, V"),
        (["--oxidation", "Na"], "--oxidation: 'Na' is not of the form Na=1"),
    ):
        out = tmp_path / "charges.csv"
        assert main(["charges", str(tmp_path / "run"), "--to", str(out), *options]) == 1
        assert message in capsys.readouterr().err and not out.exists()
    assert main(["charges", str(tmp_path / "nothing")]) == 1
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["charges", str(tmp_path / "run"), "--to", str(tmp_path / "charges.csv")]) == 1
    assert "valence electrons of Na, O, V unknown; give --valence" in capsys.readouterr().out
