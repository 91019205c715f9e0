"""+U with VASP from the jobs of the workflow to the training set, through the files that they pass on."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import parse_config
from redoxmd.config.declared import settings_for
from redoxmd.engines import settings_hash, toy
from redoxmd.files.frames import read_frames, write_frames
from redoxmd.structures.build import build_structure
from redoxmd.structures.request import parse_name
from tests.standin import install_standin

SCRIPTS = Path(__file__).parents[3] / "workflow/scripts"
# Eight digits of fractional coordinates of 9 Å, times the stiffest spring of the toy, 300 eV/Å².
FORCE_EV_A = 3e-5
STRUCTURE = "x2.500_random1_1x1x1"


class Named(dict):
    """Values by name or key, as Snakemake hands them to a script."""

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


class Workplace:
    """A config with VASP as the engine, and the scripts of the rules run in its folder."""

    def __init__(self, folder, standin):
        self.folder = folder
        vasp = {
            "command": standin.command,
            "potcar_dir": str(standin.potcar_dir),
            "potcars": {"Na": "Na_pv", "V": "V_pv"},
            "hubbard": {"V": {"orbital": "d", "U_eV": 4.2}},
            "md": "internal",
            "md_chunk_steps": 2,
            "files": {"vasprun": "keep"},
        }
        self.raw = {
            "run": "u",
            "engine": {"name": "vasp", "vasp": vasp},
            "aimd": {"steps": 3, "timestep_fs": 1.0, "density_every": 3, "starts": [{"x": 2.5, "seeds": [1]}]},
            "label": {"steps": 1, "timestep_fs": 1.0, "density_every": 1},
            "train": {"validation_fraction": 0.2},
        }
        self.path = folder / "config.yaml"
        self.path.write_text(yaml.safe_dump(self.raw))
        self.config = parse_config(self.raw)

    def script(self, name, inputs, outputs, **further):
        """Run a script as its rule would."""
        names = {"input": inputs, "output": {key: str(self.folder / value) for key, value in outputs.items()}}
        for value in names["output"].values():
            Path(value).parent.mkdir(parents=True, exist_ok=True)
        params = further.pop("params", {}) | {"reference": settings_hash(self.config.engine), "seed": 0}
        wildcards = SimpleNamespace(**further)
        snakemake = SimpleNamespace(
            rule=name,
            config=self.raw,
            log=[str(self.folder / f"{name}.log")],
            threads=1,
            resources={},
            wildcards=wildcards,
            params=Named(params),
            **{key: Named(value) for key, value in names.items()},
        )
        runpy.run_path(str(SCRIPTS / f"{name}.py"), {"snakemake": snakemake})

    def aimd(self):
        write_frames(self.folder / "start.extxyz", [build_structure(parse_name(STRUCTURE), self.config.structures, 1)])
        self.script(
            "aimd",
            {"atoms": str(self.folder / "start.extxyz")},
            {"frames": "aimd/frames.extxyz", "densities": "aimd/densities.h5", "record": "aimd/record.json"},
            structure=STRUCTURE,
            params={"aimd": settings_for("aimd", self.config.aimd), "state": str(self.folder / "state/aimd/one")},
        )

    def label(self):
        frame = build_structure(parse_name(STRUCTURE), self.config.structures, 2)
        frame.set_initial_magnetic_moments(None)
        frame.positions += 0.05 * np.random.default_rng(0).standard_normal(frame.positions.shape)
        frame.info |= {"label_id": "g0f000", "structure": STRUCTURE}
        write_frames(self.folder / "selected.extxyz", [frame])
        self.script(
            "label",
            {"selected": str(self.folder / "selected.extxyz")},
            {"frames": "label/g0f000.extxyz", "densities": "label/g0f000.h5", "record": "label/g0f000.json"},
            label="g0f000",
            gen="0",
            params={
                "label": settings_for("label", self.config.label),
                "state": str(self.folder / "state/label/gen0_g0f000"),
            },
        )

    def dataset(self):
        self.script(
            "dataset",
            {"frames": [str(self.folder / "aimd/frames.extxyz"), str(self.folder / "label/g0f000.extxyz")]},
            {"frames": "train/dataset.extxyz", "record": "train/dataset.json"},
            gen="1",
            params={
                **settings_for("dataset", self.config.train),
                "structures": settings_for("dataset", self.config.structures),
            },
        )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("campaign")
    workplace = Workplace(folder, install_standin(folder / "site"))
    workplace.aimd()
    workplace.label()
    workplace.dataset()
    return workplace


def test_labels_of_plus_u_reach_the_training_set(finished):
    frames = read_frames(finished.folder / "train/dataset.extxyz")
    assert sorted((frame.info["config_id"], frame.info["step"]) for frame in frames) == [
        ("g0f000", 0),
        *((STRUCTURE, step) for step in range(3)),
    ]
    for frame in frames:
        assert frame.symbols.get_chemical_formula() == "Na5O24P6V4"
        assert frame.info["settings_hash"] == settings_hash(finished.config.engine)
        energy, forces, _ = toy.ionic_energy(frame)
        assert frame.get_potential_energy() == pytest.approx(energy, abs=1e-5)
        np.testing.assert_allclose(frame.get_forces(), forces, atol=FORCE_EV_A)
    record = json.loads((finished.folder / "train/dataset.json").read_text())
    assert (record["duplicates"], record["left_out"]) == (0, [])
    assert json.loads((finished.folder / "aimd/record.json").read_text())["refusal"] is None
    assert json.loads((finished.folder / "label/g0f000.json").read_text())["status"] == "labelled"


def test_vasp_wrote_plus_u_as_vasp_does(finished):
    """In full where it was set, and of the first species among the parameters."""
    for path in (finished.folder / "files").rglob("*vasprun.xml"):
        incar, _, parameters = path.read_text().partition("<parameters>")
        assert incar.count('<v type="int" name="LDAUTYPE">') == parameters.count('<v type="int" name="LDAUTYPE">') == 1
        lists = [part.partition('name="LDAUU">')[2].partition("<")[0].split() for part in (incar, parameters)]
        assert sorted(lists[0]) == ["0.00000000"] * 3 + ["4.20000000"]
        assert lists[1] == lists[0][:1]


def test_the_same_files_are_imported_at_the_level_of_the_config(finished, tmp_path, capsys):
    words = [finished.folder / "files", "--into", tmp_path / "data", "--config", finished.path]
    assert main(["import", *map(str, words)]) == 0
    shown = capsys.readouterr().out
    frames = read_frames(tmp_path / "data/frames.extxyz")
    assert {frame.info["settings_hash"] for frame in frames} == {settings_hash(finished.config.engine)}
    # Three of the MD, of which the single point for the density of the first is a duplicate, and the label.
    assert len(frames) == 4, shown
    assert "4 of the frames accepted give no magnetic moments" in shown
