import re
from pathlib import Path

import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import load_config, parse_config
from redoxmd.config.declared import runtime_settings
from redoxmd.config.load import read_config
from redoxmd.figures.catalogue import DENSITY_FIGURES, FIGURES, FOLD_FIGURES, NEB_FIGURES, PAPER_FIGURES, figures_of
from redoxmd.files import layout
from redoxmd.runs.plan import make_plan

ROOT = Path(__file__).parents[2]


LFP = {
    "source": "resources/LiFePO4.cif",
    "mobile_ion": "Li",
    "redox_element": "Fe",
    "formula_units": 4,
    "preferred_site": "Li1",
    "moments_muB": {"Fe": 4.0},
    "moments_x": 1.0,
    "moment_per_ion_muB": -1.0,
}


def config_file(tmp_path, **sections):
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"run": "trial", "engine": {"name": "toy"}, **sections}))
    return str(path)


@pytest.mark.parametrize("name", ["config", "demo", "nvp", "nvp-gpaw", "nvp-rehearsal"])
def test_check_prints_the_plan_of_every_shipped_config(name, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    config = load_config(f"config/{name}.yaml")
    status = main(["check", f"config/{name}.yaml"])
    printed = capsys.readouterr().out
    for word in ("jobs", "aimd", "production", "reference calculations", "disk", f"engine {config.engine.name}", "GPU"):
        assert word in printed
    assert status == (1 if "this run would stop" in printed else 0)


def test_counts_of_the_paper():
    config = load_config(ROOT / "config" / "nvp.yaml")
    plan = make_plan(config, ROOT)
    assert plan.jobs["aimd"] == 30
    assert plan.reference_calls["aimd"] == 15_000
    assert plan.reference_calls["label, per generation (at most)"] == 214 * 25
    assert plan.jobs["production"] == 204
    # 204 trajectories × 20 000 frames × about 306 atoms × 12 bytes.
    assert plan.disk_gb["trajectories"] == pytest.approx(15, rel=0.05)


def test_trajectories_beside_the_grid_have_their_own_cell_and_length():
    grid = {"x": [2.0, 3.0], "temperatures_K": [600], "replicas": 2, "supercell": [1, 1, 1], "length_ps": 100}
    others = [
        {"x": [2.75], "temperatures_K": [600, 800], "supercell": [2, 2, 2], "length_ps": 20},
        {"x": [3.0], "temperatures_K": [900], "supercell": [1, 1, 1]},
    ]
    config = parse_config({"run": "t", "engine": {"name": "toy"}, "production": {**grid, "more": others}})
    lengths_ps = layout.trajectory_lengths_ps(config.production)
    assert len(lengths_ps) == 7
    assert lengths_ps["x2.750_preferred0_2x2x2", "800"] == 20
    assert lengths_ps["x3.000_preferred0_1x1x1", "900"] == lengths_ps["x3.000_preferred1_1x1x1", "600"] == 100
    assert make_plan(config, ROOT).jobs["production"] == 7
    grid = layout.grid_trajectories(config.production)
    assert len(grid) == 5 and ("x3.000_preferred0_1x1x1", "900") in grid
    assert "cell_sizes" in figures_of(config)


def test_missing_vasp_is_refused_by_name(tmp_path, capsys):
    assert main(["check", config_file(tmp_path, engine={"name": "vasp"})]) == 1
    assert "no vasp_std found" in capsys.readouterr().out


def test_impossible_structures_are_found_before_the_run(tmp_path, capsys):
    assert main(["check", config_file(tmp_path, aimd={"starts": [{"x": 2.3}]})]) == 1
    assert "x = 2 or 2.5" in capsys.readouterr().out
    assert main(["check", config_file(tmp_path, production={"x": [4.5]})]) == 1
    assert "x4.500" in capsys.readouterr().out


def test_a_missing_dataset_is_named(tmp_path, capsys):
    assert main(["check", config_file(tmp_path, train={"datasets": ["no/such"]})]) == 1
    assert "train.datasets: no no/such/dataset.yaml" in capsys.readouterr().out


def test_a_refused_config_prints_no_traceback(tmp_path, capsys):
    assert main(["check", config_file(tmp_path, seed=-1)]) == 1
    captured = capsys.readouterr()
    assert "seed" in captured.err
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_path(tmp_path, capsys):
    assert main(["path", config_file(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == "results/trial"


def test_densities_cost_disk_only_where_they_are_kept():
    assert figures_of(parse_config({"density": {"enabled": False}})) == FIGURES + PAPER_FIGURES
    other = {"density": {"enabled": False}, "structures": LFP}
    assert figures_of(parse_config(other)) == FIGURES
    with_them = parse_config({"engine": {"name": "gpaw"}})
    without = parse_config({"engine": {"name": "gpaw"}, "aimd": {"density_every": 0}, "label": {"density_every": 0}})
    name = "densities (aimd and one generation of labels)"
    assert make_plan(with_them).disk_gb[name] > 1
    assert make_plan(without).disk_gb[name] == 0


def test_every_structure_is_counted_once():
    config = parse_config({"aimd": {"starts": [{"x": 3.0, "seeds": [0, 1]}, {"x": 3.0, "seeds": [1]}]}})
    names = layout.all_structures(config)
    assert len(names) == len(set(names))
    assert names[:2] == ["x3.000_random0_1x1x1", "x3.000_random1_1x1x1"]


def test_a_density_model_without_densities_is_found_before_the_run(tmp_path):
    stingy = {"aimd": {"density_every": 0}, "label": {"density_every": 0}}
    for sections in ({"engine": {"name": "ase"}}, {"engine": {"name": "toy"}, **stingy}):
        (problem,) = [text for text in make_plan(parse_config(sections), tmp_path).problems if "density" in text]
        assert "density.enabled: false" in problem
        off = parse_config({**sections, "density": {"enabled": False}})
        assert not [text for text in make_plan(off, tmp_path).problems if "density" in text]
    named = make_plan(parse_config({"engine": {"name": "ase"}, "density": {"stores": ["my.h5"]}}), tmp_path)
    assert "density.stores: no file my.h5" in named.problems


def test_electrons_have_their_jobs():
    config = load_config(ROOT / "config/config.yaml")
    jobs = make_plan(config, ROOT).jobs
    assert jobs["density"] == 3
    assert jobs["charges"] == jobs["production"] + 3
    states = ("electron_hops", "moment_network")
    assert figures_of(config) == FIGURES + FOLD_FIGURES + states + DENSITY_FIGURES + PAPER_FIGURES


def test_basin_hopping_has_a_job_for_each_structure_where_it_is_enabled():
    sections = {"production": {"x": [2.0, 3.0], "temperatures_K": [300, 600], "replicas": 3, "supercell": [1, 1, 1]}}
    assert "basins" not in make_plan(parse_config(sections)).jobs
    jobs = make_plan(parse_config({**sections, "basins": {"enabled": True}})).jobs
    assert (jobs["basins"], jobs["production"]) == (6, 12)


def test_paths_have_their_jobs_calls_and_figure_where_there_are_any():
    assert "neb" not in make_plan(parse_config({})).jobs
    path = {"name": "hop", "x": 2.5, "moves": [["Na2:0", "Na2:3"]]}
    config = parse_config({"neb": {"paths": [path, {**path, "name": "other"}], "images": 7}})
    plan = make_plan(config)
    assert (plan.jobs["neb"], plan.reference_calls["neb"]) == (5, 14)
    assert set(NEB_FIGURES) <= set(figures_of(config))
    alone = parse_config({"neb": {"paths": [path], "reference": False}})
    assert make_plan(alone).jobs["neb"] == 2
    assert "neb" not in make_plan(alone).reference_calls
    assert "x2.500_preferred0_1x1x1" in layout.all_structures(alone)
    seen = parse_config({"neb": {"paths": [path, {"name": "seen", "event": "auto"}]}})
    assert make_plan(seen).jobs["neb"] == 6
    assert layout.all_structures(seen) == layout.all_structures(alone)


def test_paths_between_sites_that_are_not_so_are_found_before_the_run(tmp_path):
    def problems(**path):
        config = parse_config({"engine": {"name": "toy"}, "neb": {"paths": [{"name": "hop", "x": 2.5, **path}]}})
        return make_plan(config, tmp_path).problems

    assert problems(moves=[["Na2:0", "Na2:3"]]) == []
    (taken,) = problems(moves=[["Na2:0", "Na2:4"]])
    assert "neb.paths, hop, moves: " in taken and "empty are Na2:1, Na2:2, Na2:3" in taken
    (unread,) = problems(final="no.extxyz")
    assert "no.extxyz: no such file" in unread
    assert any("x = 2 or 2.5" in text for text in problems(x=2.3, moves=[["Na2:0", "Na2:3"]]))


def test_the_paths_that_the_papers_config_suggests_can_be_built():
    text = (ROOT / "config/nvp.yaml").read_text()
    (suggested,) = re.findall(r"^# neb:\n(?:#  .*\n)+", text, re.MULTILINE)
    config = parse_config(yaml.safe_load(text) | yaml.safe_load(suggested.replace("# ", "", 1).replace("\n# ", "\n")))
    assert len(config.neb.paths) == 3 and config.neb.train_phases
    assert not [problem for problem in make_plan(config, ROOT).problems if "neb" in problem]


@pytest.mark.parametrize(
    ("engine", "kpoints", "cells", "words"),
    [
        # Rounded up to what all supercells divide: one sampling, one settings hash.
        ("gpaw", [2, 2, 2], [[3, 3, 1]], "[3, 3, 2] of the source cell, [1, 1, 2] in [3, 3, 1]"),
        ("gpaw", [2, 2, 2], [[1, 1, 1], [2, 2, 1], [3, 1, 1]], "[6, 2, 2] of the source cell, [6, 2, 2] in [1, 1, 1]"),
        ("gpaw", [2, 2, 2], [[1, 1, 1], [2, 2, 2]], "[2, 2, 2] of the source cell, [2, 2, 2] in [1, 1, 1], [1, 1, 1]"),
        ("gpaw", [1, 1, 1], [[2, 2, 2]], "[1, 1, 1] of the source cell, [1, 1, 1] in [2, 2, 2]"),
        ("gpaw", [1, 1, 1], [[1, 1, 1], [2, 2, 2]], "set [2, 2, 2], which all of them divide"),
        ("vasp", [2, 2, 2], [[1, 1, 1], [3, 1, 1]], "set [3, 2, 2], which all of them divide"),
    ],
)
def test_all_labels_sample_the_same_k_points(engine, kpoints, cells, words, tmp_path, capsys):
    phases = [{"name": f"p{n}", "supercell": cell, "starts": [{"x": 2.0}]} for n, cell in enumerate(cells)]
    path = config_file(
        tmp_path,
        engine={"name": engine, engine: {"kpoints": kpoints}},
        aimd={"supercell": cells[0], "starts": [{"x": 3.0}]},
        explore={"phases": phases},
    )
    status = main(["check", path])
    (line,) = [line for line in capsys.readouterr().out.splitlines() if f"engine.{engine}.kpoints" in line]
    assert words in line
    assert status == 1 or "set" not in line


def test_phases_that_are_not_run_do_not_change_the_reference_settings(tmp_path):
    """A given ensemble: the settings hash stays that of its dataset, whatever the supercells of `explore` are."""
    engine = {"name": "gpaw", "gpaw": {"kpoints": [1, 1, 3]}}
    explore = {"phases": [{"name": "large", "supercell": [2, 2, 2], "starts": [{"x": 2.0}]}]}
    looped = load_config(config_file(tmp_path, engine=engine, explore=explore))
    path = config_file(tmp_path, engine=engine, explore=explore, train={"ensemble": "old.pt"})
    given = load_config(path)
    assert looped.engine.gpaw.kpoints != (1, 1, 3) and given.engine.gpaw.kpoints == (1, 1, 3)
    assert not [text for text in make_plan(given, tmp_path).problems if "kpoints" in text]
    assert runtime_settings(read_config(path)).engine.gpaw.kpoints == (1, 1, 3)


def levels_of(**states):
    """The section electrons.levels of {element: {number: moment}}."""
    return {
        element: {number: {"moment_muB": moment} for number, moment in of.items()} for element, of in states.items()
    }


def electron_problems(tmp_path, capsys, electrons, **sections):
    """Lines on the electrons that `redoxmd check` prints of a problem in a config file."""
    status = main(["check", config_file(tmp_path, electrons=electrons, **sections)])
    lines = [line for line in capsys.readouterr().out.splitlines() if "electrons" in line]
    assert status == 1 or not lines
    return lines


class TestElectrons:
    """Na_xV2(PO4)3 with V3+ and V4+ is neutral for 1 ≤ x ≤ 3: 2 V + x - 9 = 0 with V from 3 to 4."""

    VANADIUM = levels_of(V={3: 1.85, 4: 1.05})

    def runs(self, *contents, supercell=(1, 1, 1)):
        starts = [{"x": x} for x in contents]
        return {
            "aimd": {"starts": starts, "supercell": list(supercell)},
            "explore": {"phases": [{"name": "p", "supercell": list(supercell), "starts": starts}]},
            "production": {"x": list(contents), "supercell": list(supercell)},
        }

    def test_contents_within_the_range_pass(self, tmp_path, capsys):
        assert electron_problems(tmp_path, capsys, {"levels": self.VANADIUM}, **self.runs(1.0, 2.5, 3.0)) == []

    @pytest.mark.parametrize("supercell", [(1, 1, 1), (2, 2, 1)])
    def test_those_out_of_it_are_named_with_it(self, tmp_path, capsys, supercell):
        runs = self.runs(0.5, 1.0, 3.0, 3.5, supercell=supercell)
        (line,) = electron_problems(tmp_path, capsys, {"levels": self.VANADIUM}, **runs)
        assert "electrons.levels: x = 0.5, 3.5 cannot be neutral with these states; neutral are 1 ≤ x ≤ 3:" in line

    def test_a_further_state_makes_more_neutral(self, tmp_path, capsys):
        levels = levels_of(V={3: 1.85, 4: 1.05, 5: 0.0})
        assert electron_problems(tmp_path, capsys, {"levels": levels}, **self.runs(0.0, 0.5, 1.0)) == []

    def test_the_range_ends_at_the_number_of_sites(self, tmp_path, capsys):
        levels = levels_of(V={1: 3.0, 2: 2.9})
        (line,) = electron_problems(tmp_path, capsys, {"levels": levels}, **self.runs(3.0))
        assert "no x from 0 to 4 is neutral" in line

    def test_a_sum_that_the_states_leap_over_is_told(self, tmp_path, capsys):
        """Four V of 2+ or 4+ give even sums only; x = 2.5 asks for 13, and for 52 in four cells."""
        levels = {"levels": levels_of(V={2: 2.8, 4: 1.05})}
        (line,) = electron_problems(tmp_path, capsys, levels, **self.runs(2.0, 2.5, 3.0))
        assert "x = 2.5 cannot be neutral" in line and "x = 2.5 needs a sum of +13, which they lack" in line
        assert electron_problems(tmp_path, capsys, levels, **self.runs(2.5, supercell=(2, 2, 1))) == []

    def test_several_redox_elements(self, tmp_path, capsys):
        """LiFePO4 with P as a second one: neutral at x = 0 only where Fe or P can give an electron more."""
        structures, fixed = {"structures": LFP}, {"Li": 1, "O": -2}
        both = {"fixed": fixed, "levels": levels_of(Fe={2: 3.7, 3: 4.2}, P={4: 1.0, 5: 0.0})}
        assert electron_problems(tmp_path, capsys, both, **structures, **self.runs(0.0, 1.0)) == []
        less = {"fixed": fixed, "levels": levels_of(Fe={2: 3.7}, P={5: 0.0})}
        (line,) = electron_problems(tmp_path, capsys, less, **structures, **self.runs(0.0, 1.0))
        assert "x = 0 cannot be neutral" in line and "neutral are 1 ≤ x ≤ 1" in line

    @pytest.mark.parametrize(
        ("electrons", "words"),
        [
            ({"fixed": {"Na": 1, "O": -2}}, "P has no oxidation number; give it, or its states, in electrons.levels"),
            ({"fixed": {"P": 5, "O": -2}}, "Na has no oxidation number"),
            ({"fixed": {"Na": 0, "P": 5, "O": -2}}, "Na has no charge"),
            ({"levels": levels_of(Fe={2: 3.7, 3: 4.2})}, "V has no oxidation number"),
            (
                {"levels": levels_of(Fe={2: 3.7, 3: 4.2}), "fixed": {"Na": 1, "V": 3, "P": 5, "O": -2}},
                "no redox element of electrons.levels in the cell",
            ),
            (
                {"levels": levels_of(V={3: 1.85, 4: 1.05}, Na={1: 0.0, 2: 1.0}), "fixed": {"P": 5, "O": -2}},
                "Na is the mobile ion, whose oxidation number must be fixed",
            ),
        ],
        ids=["framework", "ion", "ion without charge", "redox element", "another element", "mobile redox"],
    )
    def test_states_that_do_not_fit_the_cell(self, tmp_path, capsys, electrons, words):
        sections = {"levels": self.VANADIUM, **electrons}
        (line,) = electron_problems(tmp_path, capsys, sections, **self.runs(2.0))
        assert words in line

    def test_aware_potentials_need_levels(self, tmp_path, capsys):
        (line,) = electron_problems(tmp_path, capsys, {}, train={"states": "aware"})
        assert "train.states: aware needs electrons.levels" in line
        aware = {"train": {"states": "aware"}, **self.runs(2.0)}
        assert electron_problems(tmp_path, capsys, {"levels": self.VANADIUM}, **aware) == []

    @pytest.mark.parametrize("name", ["nvp", "nvp-gpaw"])
    def test_the_shipped_configs_judge_states_that_can_be_neutral(self, name):
        config = load_config(ROOT / f"config/{name}.yaml")
        assert config.electrons.levels.keys() == {"V"}
        assert not [text for text in make_plan(config, ROOT).problems if "electrons" in text]
