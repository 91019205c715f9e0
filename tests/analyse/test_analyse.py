"""`redoxmd analyse` on files of other codes: walks of known D, sites, jumps and activation energy."""

import json
import re
from itertools import groupby, pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write

from redoxmd.cli import main
from tests.analyse.walks import CELL_A, INTERVAL_FS, SITE_A, TURN, atoms_of, walk, write_dump

ROOT = Path(__file__).parents[2]
REFERENCE = Atoms("NaO", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=CELL_A, pbc=True)


@pytest.fixture(autouse=True)
def _few_pairs(monkeypatch):
    """Distinct parts of van Hove functions are tested elsewhere."""
    monkeypatch.setattr("redoxmd.diffusion.van_hove.MOST_PAIRS", 200)


@pytest.fixture
def without_page(monkeypatch):
    """Figures are drawn in the tests of the page only."""
    monkeypatch.setattr("redoxmd.analyse.page.write_page", lambda *_: "")


def analysed(folder, files, *options):
    """Tables that the command writes, read back."""
    assert main(["analyse", *map(str, files), "--to", str(folder), *options]) == 0
    return {path.stem: pd.read_csv(path) for path in folder.glob("[a-z]*.csv")}


def refused(capsys, files, *options):
    folder = Path(files[0]).parent / "out"
    assert main(["analyse", *map(str, files), "--to", str(folder), *options]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert not folder.exists()
    return line


def true_jumps(fractional, ions, repeats=3):
    """Jumps of a walk between its unshaken sites; a site that is held for a single frame is only passed."""
    jumps = 0
    for ion in range(ions):
        sites = map(tuple, np.round(fractional[:, ion] * repeats).astype(int).tolist())
        held = [site for site, run in groupby(sites) if len(list(run)) > 1]
        jumps += sum(before != after for before, after in pairwise(held))
    return jumps


def test_the_same_walk_gives_the_same_tables_from_every_format(tmp_path, without_page):
    numbers, fractional, cell = walk(frames=500, ions=4, rate=0.012)
    write(tmp_path / "XDATCAR", atoms_of(numbers, fractional, cell @ TURN))
    write(tmp_path / "unwrapped.traj", atoms_of(numbers, fractional, cell @ TURN, wrap=False))
    write_dump(tmp_path / "t.dump", numbers, fractional, cell, "x y z ix iy iz", typed=False)
    write(tmp_path / "ref.cif", REFERENCE)
    asked = ["--ion", "Na", "--temperature", "600", "--frame-fs", "50", "--structure", str(tmp_path / "ref.cif")]
    tables = [
        analysed(tmp_path / f"{name}_out", [tmp_path / name], *asked)
        for name in ("XDATCAR", "unwrapped.traj", "t.dump")
    ]
    jumps = true_jumps(fractional, 4)
    for table in tables:
        (row,) = table["diffusivities"].to_dict("records")
        (first,) = tables[0]["diffusivities"].to_dict("records")
        assert row["n_jumps"] == first["n_jumps"] == jumps and row["n_site_jumps"] == jumps
        for name in ("D_jumps_cm2_s", "D_msd_cm2_s", "D_msd_x_cm2_s", "D_sites_cm2_s"):
            assert row[name] == pytest.approx(first[name], rel=1e-3), name
        assert np.allclose(table["msd"]["msd_A2"], tables[0]["msd"]["msd_A2"], rtol=1e-3)
        (kind,) = table["sites"].to_dict("records")
        assert (kind["kind"], kind["sites"], kind["coordination"]) == ("Na1", 27, 8)
    # Mean squared jump length over 6 times the rate per ion.
    steps = np.diff(np.round(3 * fractional[:, :4]), axis=0) @ CELL_A
    D = (steps**2).sum() / (4 * 499 * INTERVAL_FS) / 6 * 0.1
    assert first["D_jumps_cm2_s"] == pytest.approx(D, rel=0.03)


def test_sites_and_d_along_the_axes_of_a_one_dimensional_walk(tmp_path, without_page):
    """Ions hop along a only, in a cell that is turned in space; no structure, so that sites are found."""
    numbers, fractional, cell = walk(frames=500, ions=4, rate=0.02, cell=SITE_A * np.eye(3), axes=1)
    write(tmp_path / "t.extxyz", atoms_of(numbers, fractional, cell @ TURN, time_fs=INTERVAL_FS * np.arange(500)))
    tables = analysed(tmp_path / "out", [tmp_path / "t.extxyz"], "--ion", "Na", "--temperature", "500")
    (row,) = tables["diffusivities"].to_dict("records")
    assert row["D_jumps_x_cm2_s"] == pytest.approx(3 * row["D_jumps_cm2_s"], rel=0.02)
    assert max(row["D_jumps_y_cm2_s"], row["D_jumps_z_cm2_s"]) < 0.01 * row["D_jumps_x_cm2_s"]
    (file,) = tables["files"].to_dict("records")
    assert file["sites"] == "visited" and file["framework"] == "O" and file["formula"] == "Na4O27"
    # Two hops within the persistence time are one of twice the length.
    assert set(tables["events"]["distance_A"].round()) <= {4, 8} and len(tables["van_hove"])


def test_files_at_several_temperatures_give_the_activation_energy(tmp_path, capsys):
    """Rates follow Ea = 0.25 eV exactly; two files at one temperature are replicas."""
    files, kelvins, beta = [], (600, 800, 1000, 1000), 1 / 8.617333e-5
    for number, kelvin in enumerate(kelvins):
        rate = 0.02 * np.exp(-0.25 * beta * (1 / kelvin - 1 / 1000))
        numbers, fractional, cell = walk(frames=600, ions=12, rate=rate, seed=number)
        files.append(tmp_path / f"{number}" / "XDATCAR")
        files[-1].parent.mkdir()
        write(files[-1], atoms_of(numbers, fractional, cell))
    text = list(map(str, kelvins))
    tables = analysed(tmp_path / "out", files, "--ion", "Na", "--frame-fs", "50", "--temperature", *text)
    (fit,) = tables["arrhenius"].to_dict("records")
    assert fit["Ea_low_eV"] < 0.25 < fit["Ea_high_eV"] and fit["Ea_eV"] == pytest.approx(0.25, abs=0.05)
    assert tables["diffusivities"]["replicas"].tolist() == [1, 1, 2]
    # One page that needs no other file, with the figures in it.
    page = (tmp_path / "out/analysis.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 5
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert len(set(re.findall(r"<img [^>]*><p>([^<]{40,})</p>", page))) == 5, "each figure has a caption of its own"
    assert "Activation energies" in page and capsys.readouterr().out.rstrip().endswith("analysis.html")
    for stem in ("Na_msd", "Na_arrhenius", "Na_occupancy", "Na_concerted", "Na_van_hove"):
        assert all((tmp_path / "out" / f"{stem}.{kind}").stat().st_size for kind in ("svg", "pdf", "png", "csv"))


def test_several_ions_are_analysed_apart_and_leave_the_framework(tmp_path, without_page):
    """K diffuses, Na does not; K must not move the framework of Na."""
    numbers, fractional, cell = walk(frames=600, ions=4, rate=0.008)
    numbers[:2] = 19
    fractional[:, 2:4] -= np.round(3 * fractional[:, 2:4]) / 3 - np.round(3 * fractional[:1, 2:4]) / 3
    write(tmp_path / "t.traj", atoms_of(numbers, fractional, cell))
    asked = ["--frame-fs", "50", "--temperature", "600"]
    tables = analysed(tmp_path / "out", [tmp_path / "t.traj"], "--ion", "Na", "K", *asked)
    counts = tables["diffusivities"].set_index("ion")["n_jumps"]
    assert counts["Na"] == 0 and counts["K"] == true_jumps(fractional, 2)
    assert tables["files"]["framework"].tolist() == ["O", "O"]
    # One ion alone: the other is found to diffuse; a framework that is given is used.
    alone = analysed(tmp_path / "alone", [tmp_path / "t.traj"], "--ion", "Na", *asked)
    assert alone["files"]["framework"].tolist() == ["O"]
    given = analysed(tmp_path / "given", [tmp_path / "t.traj"], "--ion", "K", "--framework", "Na", "O", *asked)
    assert given["files"]["framework"].tolist() == ["Na O"]


def test_the_order_of_atoms_and_the_origin_do_not_matter(tmp_path, without_page):
    numbers, fractional, cell = walk(frames=300, ions=3, rate=0.01)
    order = np.random.default_rng(0).permutation(len(numbers))
    write(tmp_path / "t.traj", atoms_of(numbers[order], fractional[:, order] + (0.21, 0.4, 0.83), cell))
    write(tmp_path / "POSCAR", REFERENCE)
    tables = analysed(
        *(tmp_path / "out", [tmp_path / "t.traj"], "--ion", "Na", "--frame-fs", "50", "--temperature", "600"),
        *("--structure", str(tmp_path / "POSCAR")),
    )
    (row,) = tables["trajectories"].to_dict("records")
    assert row["at_sites_fraction"] > 0.99 and row["n_site_jumps"] == true_jumps(fractional, 3)


def test_oxidation_states_of_frames_with_moments(tmp_path, capsys, without_page):
    """The hole of two V moves after the third frame; the run is too short for stays at sites."""
    cell, frames = 9.0 * np.eye(3), []
    positions = [[0.5, 0.5, 0.5], [3, 3, 3], [6, 6, 6], *([k, 7 - k, 4] for k in (1, 3, 5)), [0.5, 6, 2], [8, 2, 8]]
    for number in range(6):
        atoms = Atoms("NaV2O4P", np.array(positions) + 0.05 * number * np.eye(8)[:, :1], cell=cell, pbc=True)
        moments = np.zeros(8)
        moments[1:3] = (1.05, 1.9) if number < 3 else (1.9, 1.05)
        forces = np.zeros((8, 3))
        atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=forces, magmoms=moments)
        atoms.info.update(time_fs=2.0 * number, config_id="run", step=number)
        frames.append(atoms)
    write(tmp_path / "t.extxyz", frames)
    asked = ["--ion", "Na", "--temperature", "900", "--levels", "V3=1.9,V4=1.05", "--oxidation", "Na=1,P=0,O=-2"]
    tables = analysed(tmp_path / "out", [tmp_path / "t.extxyz"], *asked)
    assert tables["states"]["states"].tolist() == ["4 3"] * 3 + ["3 4"] * 3
    assert "6 of 6 frames in a clean neutral state (one V3+ and one V4+); states change at step 3" in (
        capsys.readouterr().out
    )
    assert tables["sites"].empty and "none: 6 frames, fewer than the 50 of" in tables["files"]["sites"].item()


def test_what_cannot_be_analysed_is_refused_in_one_line(tmp_path, capsys):
    numbers, fractional, cell = walk(frames=300, ions=3, rate=0.01)
    path = tmp_path / "t.traj"
    write(path, atoms_of(numbers, fractional, cell))
    asked = ["--frame-fs", "50", "--temperature", "600"]
    assert "t.traj: --ion Li: the file has Na, O" in refused(capsys, [path], "--ion", "Li", *asked)
    line = refused(capsys, [path], "--ion", "Na", "--framework", "P", *asked)
    assert "t.traj: --framework P: the file has Na, O" in line
    line = refused(capsys, [path, path], "--ion", "Na", "--frame-fs", "50", "--temperature", "600", "700", "800")
    assert "--temperature 600 700 800: give one positive number, or one for each of 2 files" in line
    write(tmp_path / "other.cif", Atoms("NaO", positions=[[0, 0, 0], [2.5, 2.5, 2.5]], cell=[5] * 3, pbc=True))
    line = refused(capsys, [path], "--ion", "Na", "--structure", str(tmp_path / "other.cif"), *asked)
    assert "other.cif: the cell of" in line and "is no repeat of its cell" in line
    write(tmp_path / "shifted.cif", Atoms("NaOO", REFERENCE.positions[[0, 1, 1]] + [[0] * 3, [0] * 3, [1.9, 0, 0]],
                                          cell=CELL_A, pbc=True))  # fmt: skip
    line = refused(capsys, [path], "--ion", "Na", "--structure", str(tmp_path / "shifted.cif"), *asked)
    assert "shifted.cif: the frameworks of" in line and "27 and 54 atoms" in line
    line = refused(capsys, [path], "--ion", "Na", "--structure", str(tmp_path / "no.cif"), *asked)
    assert "--structure: no file" in line
    # Hops that follow each other within an interval cannot be counted, though the paths are right.
    numbers, fractional, cell = walk(frames=3000, ions=3, rate=0.05)
    write_dump(path, numbers, fractional[::10], cell, "xu yu zu", typed=False)
    line = refused(capsys, [path], "--ion", "Na", "--frame-fs", "500", "--temperature", "600")
    words = (
        r"\d\d% of the Na ions move by more than 3 Å .* \(500 fs\).* --msd-only, or give frames at most \d+ fs apart"
    )
    assert re.search(words, line)


def test_frames_that_do_not_resolve_jumps_give_d_from_the_msd_alone(tmp_path):
    """Three files of ten ions; D of the walk is known."""
    files, rate = [], 0.05
    for number in range(3):
        numbers, fractional, cell = walk(frames=6000, ions=10, rate=rate, cell=SITE_A * np.eye(3), seed=number)
        files.append(write_dump(tmp_path / f"{number}.dump", numbers, fractional[::20], cell, "xu yu zu", typed=False))
    asked = ["--ion", "Na", "--frame-fs", "1000", "--temperature", "600", "800", "1000", "--msd-only"]
    tables = analysed(tmp_path / "out", files, *asked)
    D = SITE_A**2 * rate / INTERVAL_FS / 6 * 0.1
    for row in tables["diffusivities"].to_dict("records"):
        assert row["D_msd_low_cm2_s"] < D < row["D_msd_high_cm2_s"] and row["msd_regime"] == "diffusive"
        assert not any(word in name for name in row for word in ("jump", "sites"))
    (fit,) = tables["arrhenius"].to_dict("records")
    assert fit["msd_Ea_low_eV"] < 0 < fit["msd_Ea_high_eV"] and "Ea_eV" not in fit
    assert all(tables[name].empty for name in ("concerted", "events", "sites", "occupancy"))
    page = (tmp_path / "out/analysis.html").read_text()
    assert "Activation energies" in page and "from jumps</h2>" not in page and "Concerted" not in page


def test_the_lines_of_the_page_run(tmp_path, monkeypatch):
    """The Python of docs/analyse.md, as it is written there."""
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/analyse.md").read_text(), re.DOTALL)
    assert len(code.strip().splitlines()) <= 10
    monkeypatch.chdir(tmp_path)
    for kelvin, rate in ((600, 0.004), (800, 0.008), (1000, 0.016)):
        numbers, fractional, cell = walk(frames=400, ions=4, rate=rate, seed=kelvin)
        (tmp_path / f"{kelvin}K").mkdir()
        write(tmp_path / f"{kelvin}K/XDATCAR", atoms_of(numbers, fractional, cell))
    write(tmp_path / "all_sites.cif", REFERENCE)
    names = {}
    exec(code, names)
    assert len(names["results"].diffusivities) == 3 and (tmp_path / "analysis/analysis.html").exists()
    assert json.loads(names["results"].diffusivities.to_json())["ion"]["0"] == "Na"
