"""The spin state of imported frames against `structures.moments_*` of the config, through the files."""

import re
from types import SimpleNamespace

import h5py
import numpy as np
import pytest
import yaml
from ase.io import read

from redoxmd.cli import main
from redoxmd.config import load_config
from redoxmd.engines import get_engine, settings_hash
from redoxmd.errors import LabelRefused
from redoxmd.files.frames import labelled, write_frames
from tests.engines.test_engines import nvp
from tests.standin import install_standin


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A config, and vasprun.xml and OUTCAR of Na2.5V2(PO4)3: 7 μB, or of another spin state, none."""
    folder = tmp_path_factory.mktemp("site")
    standin = install_standin(folder)
    vasp = {"command": standin.command, "potcar_dir": str(standin.potcar_dir), "potcars": {"Na": "Na_pv", "V": "V_pv"}}
    (folder / "config.yaml").write_text(yaml.safe_dump({"run": "m", "engine": {"name": "vasp", "vasp": vasp}}))
    config = load_config(folder / "config.yaml")
    files = {}
    for word in ("fine", "wrong_moment"):
        standin.behave(word)
        engine = get_engine(config.engine, (1, 1, 1), folder / word)
        if word == "fine":
            engine.calculate(nvp(2.5))
        else:
            with pytest.raises(LabelRefused, match=r"wrong_moment: total moment 0\.00 μB, expected 7\.00"):
                engine.calculate(nvp(2.5))
        files[word] = {name: (folder / word / "run" / name).read_text() for name in ("vasprun.xml", "OUTCAR")}
    chgcar = (folder / "fine/run/CHGCAR").read_text()
    return SimpleNamespace(config=folder / "config.yaml", files=files, chgcar=chgcar, hash=settings_hash(config.engine))


@pytest.fixture
def run(site, tmp_path, capsys):
    """Import files {name: text} with the config (or without); the report's lines, and what was refused."""

    def call(files, config=site.config):
        (tmp_path / "archive").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "archive" / name).write_text(text)
        words = ["--config", config] if config else []
        code = main(["import", *map(str, [tmp_path / "archive", "--into", tmp_path / "data", *words])])
        return code, capsys.readouterr().out

    return call


def test_the_spin_state_asked_for_is_accepted(site, run):
    code, shown = run(site.files["fine"])
    assert code == 0 and "moments" not in shown


def test_another_one_is_refused(site, run):
    code, shown = run(site.files["wrong_moment"])
    assert code == 1
    assert "refused, wrong_moment" in shown and "total moment 0.00 μB, expected 7.00" in shown


def test_without_a_config_none_is_asked_for(site, run):
    assert run(site.files["wrong_moment"], config=None)[0] == 0


def test_without_moments_it_is_not_judged_and_that_is_said(site, run):
    code, shown = run({"vasprun.xml": site.files["wrong_moment"]["vasprun.xml"]})
    assert code == 0
    assert "1 of the frames accepted give no magnetic moments; their spin state was not judged" in shown


def test_oxidation_states_of_the_config_are_read_from_the_outcar(site, run, tmp_path):
    """Four V of 2, 2, 2 and 1 μB at x = 2.5; in the second file one of them has 1.5 μB."""
    content = yaml.safe_load(site.config.read_text())
    levels = {"V": {3: {"moment_muB": 2.0}, 4: {"moment_muB": 1.0}}}
    (tmp_path / "levels.yaml").write_text(yaml.safe_dump({**content, "electrons": {"levels": levels}}))
    # The stand-in's occupations of +U are coordinates, of no d shell, and would be refused.
    outcar, blocks = re.subn(
        r"atom = +\d+  type.*?occupancies and eigenvectors\n\n", "", site.files["fine"]["OUTCAR"], flags=re.DOTALL
    )
    assert blocks >= 4
    fine = site.files["fine"] | {"OUTCAR": outcar}
    code, shown = run(site.files["fine"], tmp_path / "levels.yaml")
    assert code == 1 and "d orbitals of one spin, but has occupations" in shown
    (tmp_path / "data").rename(tmp_path / "shared")
    assert run(fine | {"CHGCAR": site.chgcar}, tmp_path / "levels.yaml")[0] == 0
    (frame,) = read(tmp_path / "data/frames.extxyz", ":")
    vanadium = frame.symbols == "V"
    head, mark, table = outcar.partition("magnetization (x)")
    rows = re.findall(r"^ +\d+(?: +-?\d\.\d{3}){3,4}$", table, re.MULTILINE)
    moments = np.array([float(row.split()[-1]) for row in rows])
    assert sorted(moments[vanadium]) == [1.0, 2.0, 2.0, 2.0]
    assert frame.arrays["oxidation"][vanadium].tolist() == [{1.0: 4, 2.0: 3}[m] for m in moments[vanadium]]
    assert np.count_nonzero(frame.arrays["oxidation"]) == 4
    with h5py.File(tmp_path / "data/densities.h5") as store:
        (density,) = store["archive"].values()
        assert density["moments"][()].tolist() == moments.tolist()
        assert density["oxidation"][()].tolist() == frame.arrays["oxidation"].tolist()

    (tmp_path / "data").rename(tmp_path / "first")
    between = fine | {"OUTCAR": head + mark + table.replace(" 1.000\n", " 1.500\n", 1)}
    code, shown = run(between, tmp_path / "levels.yaml")
    assert code == 1
    assert "refused, wrong_electronic_state" in shown and "|moment| 1.50 μB on V" in shown


@pytest.mark.parametrize("local", [True, False], ids=["with local moments", "without LORBIT"])
def test_the_spin_state_of_another_calculation_is_not_judged(site, run, local):
    # Neither refused for a foreign moment, nor accepted by one.
    outcar = site.files["wrong_moment"]["OUTCAR"].replace("energy(sigma->0) =", "energy(sigma->0) = 1")
    if not local:
        outcar = outcar.replace("magnetization (x)", "")
    code, shown = run(site.files["fine"] | {"OUTCAR": outcar})
    assert code == 0
    assert "moments of OUTCAR left out: energy or positions there are of another calculation" in shown
    assert "1 of the frames accepted give no magnetic moments" in shown


def test_the_moment_of_the_cell_counts_not_the_sum_over_spheres(site, run):
    outcar = site.files["fine"]["OUTCAR"]
    head, mark, table = outcar.partition("magnetization (x)")
    emptied = re.sub(r"(\n +\d+ +0\.000 +0\.000)   \d\.\d{3}   \d\.\d{3}", r"\1   0.000   0.000", table)
    assert emptied != table
    code, _ = run(site.files["fine"] | {"OUTCAR": head + mark + emptied})
    assert code == 0


@pytest.mark.parametrize(("local_muB", "accepted"), [(6.1, True), (7.0, True), (5.0, False), (9.0, False)])
def test_local_moments_alone_may_miss_what_lies_between_the_spheres(site, run, tmp_path, local_muB, accepted):
    atoms = nvp(2.5)
    frame = labelled(
        atoms, -1.0, np.zeros((len(atoms), 3)), None, np.full(len(atoms), local_muB / len(atoms)),
        config_id="a", step=0, engine="vasp", settings_hash=site.hash, converged=True,
    )  # fmt: skip
    write_frames(tmp_path / "frames.extxyz", [frame])
    code, shown = run({"frames.extxyz": (tmp_path / "frames.extxyz").read_text()})
    assert (code == 0) == accepted, shown
    assert accepted or f"sum of local moments {local_muB:.2f} μB, expected 7.00" in shown
