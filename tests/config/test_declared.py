"""Which settings a rule declares, which its script can read, and which no result is stale for."""

import re
from pathlib import Path

import pytest
import yaml

from redoxmd.config import load_config, parse_config
from redoxmd.config.declared import declared_keys, read_settings, runtime_keys, runtime_settings, settings_for
from redoxmd.config.sections import Charges, Config, Diffusion, Explore, Neb, Production, Structures, Train
from redoxmd.config.sections.base import Section, Use
from redoxmd.errors import ConfigError
from redoxmd.files.records import plain

ROOT = Path(__file__).parents[2]
RULES = {path: path.read_text() for path in sorted((ROOT / "rules").glob("*.smk"))}
SECTIONS = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}

# Parameters that results of earlier versions were recorded with; another set would make those results stale.
RECORDED = {
    ("aimd", "aimd"): "steps timestep_fs temperature_K friction_per_fs density_every",
    ("label", "label"): "steps timestep_fs temperature_K friction_per_fs density_every",
    ("train", "train"): "cutoff_A radial_functions core_repulsion rho_initial rho_active learning_rate "
    "learning_rate_active batch_size max_steps max_steps_active validate_every patience decay_factor decay_patience "
    "ema_decay warm_start device",
    ("fold", "train"): "members validation_configurations validation_fraction folds cutoff_A radial_functions "
    "core_repulsion rho_initial rho_active learning_rate learning_rate_active batch_size max_steps max_steps_active "
    "validate_every patience decay_factor decay_patience ema_decay warm_start device",
    ("explore", "explore"): "low_eV_A high_eV_A statistic temperature_K timestep_fs friction_per_fs "
    "candidate_every_fs min_distance_fraction max_temperature_factor trace_every_fs",
    ("select", "select"): "budget duplicate_tolerance_A",
    ("gate", "gate"): "min_generations max_candidates_per_ps",
    ("basins", "basins"): "optimizer force_tolerance_eV_A max_relax_steps steps hop_fraction displacement_A "
    "temperature_K",
    ("production", "production"): "ordering supercell length_ps equilibration_ps timestep_fs friction_per_fs "
    "save_every_fs stop_above_eV_A",
    ("neb", "neb"): "optimizer force_tolerance_eV_A images spring_eV_A2",
    ("neb_explore", "neb"): "optimizer force_tolerance_eV_A max_relax_steps supercell images spring_eV_A2 "
    "max_band_steps max_candidate_images",
    ("density", "density"): "target features layers cutoff_A radial_functions probe_functions multipole_reach_A "
    "structures_per_step points_per_structure redox_fraction redox_radius_A points_per_density learning_rate "
    "max_steps validate_every ema_decay device",
    ("charges", "charges"): "every_fs max_jumps jump_window_fs spacing_A region_radius_A exact_moment",
    ("redox", "charges"): "jump_window_fs region_radius_A exact_moment states ligand n_ligands low high "
    "persistence_fs pair_window_fs hop_window_fs",
    ("jumps", "diffusion"): "jump_distance_A persistence_fs concerted_window_ps concerted_distance_A site_reference "
    "site_radius_A return_fs msd_fit van_hove_lags_ps",
}

# Declared by a function of `redoxmd.runs.rules`; and settings of a relaxation, which two sections share.
ELSEWHERE = {("production", "production"), ("neb_explore", "neb"), ("density_dataset", "density")}
ELSEWHERE |= {("neb_explore", "basins"), ("basins", "neb")}


@pytest.mark.parametrize(("rule", "section"), RECORDED)
def test_a_rule_declares_what_results_were_recorded_with(rule, section):
    assert list(settings_for(rule, getattr(Config(), section))) == RECORDED[rule, section].split()


def test_rules_that_sections_name_are_there_and_declare_them():
    text = "\n".join(RULES.values())
    named = set(re.findall(r"^ *(?:rule|checkpoint) (\w+):|^use rule \w+ as (\w+) with:", text, re.MULTILINE))
    rules = {name for pair in named for name in pair if name}
    for section, model in SECTIONS.items():
        uses = [mark for field in model.model_fields.values() for mark in field.metadata if isinstance(mark, Use)]
        for rule in {*model.read_by, *(rule for use in uses for rule in use.rules)}:
            assert rule in rules
            if (rule, section) in ELSEWHERE:
                continue
            assert re.search(rf'settings_(for|when_labelled)\("{rule}", CFG\.{section}\)', text), (rule, section)


def test_scripts_read_no_config_but_by_rule():
    """The manifest declares the whole config."""
    for path in (ROOT / "workflow/scripts").glob("*.py"):
        text = path.read_text()
        assert "load_config" not in text, path.name
        allowed = {"manifest": "parse_config(snakemake.params.config)"}
        assert set(re.findall(r"parse_config\([^)]*\)", text)) <= {allowed.get(path.stem)}, path.name
        uses = re.sub(r"(runtime_settings|parse_config)\(snakemake\.config\)", "", text)
        assert "snakemake.config" not in uses, path.name


@pytest.mark.parametrize(("rule", "section"), [*RECORDED, ("structure", "structures"), ("diffusion", "diffusion")])
def test_declared_settings_are_read_back_from_a_file(rule, section, tmp_path):
    """As Snakemake passes them: plain values."""
    config = load_config(ROOT / "tests/workflow/toy.yaml")
    declared = settings_for(rule, getattr(config, section))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(declared))
    settings = read_settings(SECTIONS[section], rule, yaml.safe_load((tmp_path / "params.yaml").read_text()))
    assert {key: plain(getattr(settings, key), text_keys=False) for key in declared} == declared
    hidden = set(SECTIONS[section].model_fields) - set(declared_keys(rule, SECTIONS[section]))
    assert not any(hasattr(settings, key) for key in hidden)


def test_a_script_cannot_read_what_its_rule_does_not_declare():
    settings = read_settings(Train, "train", settings_for("train", Train()))
    with pytest.raises(AttributeError, match="members"):
        settings.members  # noqa: B018


@pytest.mark.parametrize(
    ("model", "rule", "declared", "message"),
    [
        (Charges, "charges", {"low": 0.1}, "rule charges: settings of Charges refused"),
        (Diffusion, "jumps", {"jump_distance_A": -1.0}, "greater than 0"),
        (Explore, "explore", {"phases": []}, "phases"),
    ],
)
def test_refusals(model, rule, declared, message):
    with pytest.raises(ConfigError, match=message):
        read_settings(model, rule, declared)


def test_settings_of_an_earlier_version_lack_keys():
    """Those a generation was explored with, kept in its decision, before a key was there: the default was used."""
    explored = read_settings(Explore, "explore", {"low_eV_A": 0.5, "high_eV_A": 2.0})
    assert (explored.low_eV_A, explored.trace_every_fs) == (0.5, Explore().trace_every_fs)


def test_limits_come_with_the_runtime_settings():
    raw = {"neb": {"images": 7, "max_band_steps": 3, "paths": []}, "gate": {"max_generations": 4}}
    runtime = runtime_settings(raw)
    neb = read_settings(Neb, "neb", settings_for("neb", parse_config(raw).neb), runtime.neb)
    assert (neb.images, neb.max_band_steps, neb.max_relax_steps) == (7, 3, Neb().max_relax_steps)
    assert runtime.gate.max_generations == 4
    assert not hasattr(runtime.gate, "min_generations")
    assert not hasattr(runtime, "charges")


def test_runtime_settings_are_those_of_the_whole_config():
    for path in sorted((ROOT / "config").glob("*.yaml")):
        raw = yaml.safe_load(path.read_text())
        if path.name == "resources.yaml":
            continue
        config, runtime = parse_config(raw), runtime_settings(raw)
        for key in runtime_keys():
            section, _, name = key.partition(".")
            whole, own = getattr(config, section), getattr(runtime, section)
            assert (whole == own) if not name else (getattr(whole, name) == getattr(own, name)), key


def test_k_points_are_rounded_up_as_for_the_whole_config():
    raw = {
        "engine": {"gpaw": {"kpoints": [3, 2, 2]}},
        "aimd": {"supercell": [2, 1, 1]},
        "explore": {"phases": [{"name": "a", "supercell": [1, 3, 1]}]},
        "neb": {
            "supercell": [1, 1, 5],
            "train_phases": ["a"],
            "paths": [{"name": "p", "x": 2.0, "moves": [["a", "b"]]}],
        },
    }
    assert runtime_settings(raw).engine.gpaw.kpoints == parse_config(raw).engine.gpaw.kpoints == (4, 3, 5)


def test_runtime_settings_are_listed_in_the_docs():
    text = (ROOT / "docs/staleness.md").read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| read undeclared \|.*\n\|---.*\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert dict(re.findall(r"^\| `(.*)` \| (.*) \|$", table, re.MULTILINE)) == runtime_keys()


def test_another_material_needs_values_of_its_own():
    """Refused with the config, for a rule declares all values of the section, those left out among them."""
    given = {"source": "my.cif", "mobile_ion": "Li", "redox_element": "Fe", "formula_units": 4, "preferred_site": "Li1"}
    with pytest.raises(ConfigError, match=r"structures: moments_muB, moments_x left out, .* give those of my.cif"):
        parse_config({"structures": given})
    whole = parse_config({"structures": {**given, "moments_muB": {"Fe": 4.0}, "moments_x": 1.0}}).structures
    assert read_settings(Structures, "structure", settings_for("structure", whole)) == whole


def test_every_mark_is_on_a_setting_of_a_section_that_rules_read():
    assert set(declared_keys("production", Production)) == set(RECORDED["production", "production"].split())
    unread = {name for name, model in SECTIONS.items() if not model.read_by}
    assert unread == {"engine", "figures", "compute"}


STATES = {"V": {3: {"moment_muB": 1.85}, 4: {"moment_muB": 1.05, "initial_muB": 1.5}}}


class TestAddedSettings:
    """Settings that results were recorded without are declared only off their default."""

    @pytest.mark.parametrize(
        ("raw", "rule", "section", "declared"),
        [
            ({}, "dataset", "electrons", {}),
            ({"fixed": {"Na": 1, "P": 5, "O": -2}}, "dataset", "electrons", {}),
            ({"levels": STATES}, "dataset", "electrons", {"levels"}),
            ({"levels": STATES, "fixed": {"Li": 1, "P": 5, "O": -2}}, "dataset", "electrons", {"levels", "fixed"}),
            ({"md": "lowest", "move_every_fs": 10.0}, "explore", "electrons", {}),
            ({"md": "thermal", "reach_A": 5.0}, "explore", "electrons", {"md", "reach_A"}),
            ({}, "basins", "electrons", {}),
            ({"md": "thermal", "reach_A": 5.0}, "basins", "electrons", {"reach_A"}),
            ({"md": "thermal", "reach_A": 5.0}, "neb", "electrons", {"reach_A"}),
            ({"md": "thermal", "reach_A": 5.0}, "neb_explore", "electrons", {"reach_A"}),
            ({"states": "blind"}, "train", "train", {}),
            ({"states": "aware"}, "train", "train", {"states"}),
        ],
    )
    def test_those_off_their_default_are_declared_and_read_back(self, raw, rule, section, declared, tmp_path):
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"run": "a", section: raw}))
        given = getattr(load_config(tmp_path / "config.yaml"), section)
        added = {name for name, field in type(given).model_fields.items() if any(is_added(m) for m in field.metadata)}
        params = settings_for(rule, given)
        assert params.keys() & added == set(declared)
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
        settings = read_settings(type(given), rule, yaml.safe_load((tmp_path / "params.yaml").read_text()))
        for name in added & set(declared_keys(rule, type(given))):
            assert plain(getattr(settings, name)) == plain(getattr(given, name))

    def test_params_of_an_earlier_version_are_those_of_the_defaults(self):
        """A rule's parameters are compared by Snakemake: one more key would make results stale."""
        assert settings_for("dataset", Config().electrons) == {}
        assert "states" not in settings_for("train", Config().train)


def is_added(mark):
    return isinstance(mark, Use) and mark.added


class TestOxidationStates:
    @pytest.fixture
    def load(self, tmp_path):
        def load(**electrons):
            (tmp_path / "config.yaml").write_text(yaml.safe_dump({"run": "a", "electrons": electrons}))
            return load_config(tmp_path / "config.yaml").electrons

        return load

    def test_initial_moments_are_the_rounded_levels_unless_given(self, load):
        states = load(levels=STATES).levels["V"]
        assert [(state.moment_muB, state.initial_muB, state.start_muB) for state in states.values()] == [
            (1.85, None, 2.0),
            (1.05, 1.5, 1.5),
        ]

    def test_defaults(self, load):
        electrons = load()
        assert (electrons.levels, electrons.fixed, electrons.tries) == ({}, {"Na": 1, "P": 5, "O": -2}, 3)

    @pytest.mark.parametrize(
        ("electrons", "words"),
        [
            (
                {"levels": {"V": {3: {"moment_muB": 1.0}, 4: {"moment_muB": 1.0}}}},
                "levels of V: two states with the same",
            ),
            ({"levels": STATES, "fixed": {"V": 3}}, "V has an oxidation number in fixed and states in levels"),
            ({"levels": {"V": {3: {"moment_muB": -1.85}}}}, "greater than or equal to 0"),
            ({"levels": {"V": {0: {"moment_muB": 1.85}}}}, "greater than or equal to 1"),
            ({"levels": {"V": {"3+": {"moment_muB": 1.85}}}}, "valid integer"),
            ({"levels": {"V": {3: {}}}}, "moment_muB"),
            ({"tries": 0}, "tries"),
        ],
    )
    def test_refusals(self, load, electrons, words):
        with pytest.raises(ConfigError, match=words) as caught:
            load(**electrons)
        assert "electrons" in str(caught.value)
