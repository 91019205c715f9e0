import re
from pathlib import Path

import pytest
import yaml

from redoxmd.cli import main
from redoxmd.config import load_config, parse_config
from redoxmd.config.document import DEFAULTS_FILE, SCHEMA_FILE, defaults_text, schema_text
from redoxmd.config.sections import Config, Section
from redoxmd.errors import ConfigError
from redoxmd.files.records import plain

ROOT = Path(__file__).parents[2]
SHIPPED = ("config", "demo", "nvp", "nvp-gpaw", "nvp-rehearsal")

# What is wrong, the key the message must name in full, and what it must say.
EVENT = {"x": 2.0, "temperature_K": 300}
WRONG = [
    ({"explroe": {}}, "explroe", "did you mean explore?"),
    ({"explore": {"low": 1.0}}, "explore.low", "did you mean low_eV_A?"),
    ({"explore": {"low_eV_A": 5.0, "high_eV_A": 1.0}}, "explore.low_eV_A", "must lie below high_eV_A"),
    ({"explore": {"low_eV_A": 2.0, "high_eV_A": 2.0}}, "explore.low_eV_A", "must lie below high_eV_A"),
    ({"aimd": {"timestep_fs": 500.0}}, "aimd.timestep_fs", "the unit of this key is fs"),
    ({"aimd": {"timestep_fs": "0.5 fs"}}, "aimd.timestep_fs", "give a plain number, the unit is in the key (fs)"),
    ({"aimd": {"temperature_K": -3}}, "aimd.temperature_K", "greater than 0"),
    ({"aimd": {"starts": [{"x": 2.0}, {"ordering": "random"}]}}, "aimd.starts[1].x", "missing"),
    (
        {"aimd": {"starts": [{"x": 2.0, "ordering": "best"}]}},
        "aimd.starts[0].ordering",
        "'random', 'preferred' or 'electrostatic'",
    ),
    ({"train": {"members": [{"features": 64, "layers": 2}]}}, "train.members", "give at least two"),
    ({"train": {"members": [{"width": 64}, {}]}}, "train.members[0].width", "known here: features, layers"),
    ({"train": {"validation_fraction": 0.9}}, "train.validation_fraction", "less than 0.5"),
    ({"production": {"x": [1, 1]}}, "production.x", "repeated"),
    ({"production": {"save_every_fs": 0.1}}, "production.save_every_fs", "at least production.timestep_fs"),
    (
        {"production": {"more": [{"x": [2.0], "temperatures_K": [300], "supercell": [2, 2, 2]}]}},
        "production.more",
        "x = 2 at 300 K in a cell of [2, 2, 2] is there already",
    ),
    (
        {"production": {"more": [{"x": [2.0], "temperatures_K": [300, 300]}]}},
        "production.more[0].temperatures_K",
        "repeated",
    ),
    ({"production": {"temperatures_K": 300}}, "production.temperatures_K", "give a list: [300]"),
    ({"production": {"supercell": 2}}, "production.supercell", "give a list of 3: [2, 2, 2]"),
    ({"aimd": {"starts": {"x": 2.0}}}, "aimd.starts", "give a list: [{'x': 2.0}]"),
    ({"aimd": {"starts": None}}, "aimd.starts", "empty; give a value"),
    ({"production": None}, "production", "or remove the key"),
    ({"production": {"length_ps": float("inf")}}, "production.length_ps", "finite number"),
    ({"production": {"x": [float("inf")]}}, "production.x[0]", "finite number"),
    ({"structures": {"moments_muB": 3}}, "structures.moments_muB", "should be a mapping (key: value), got 3"),
    ({"aimd": 3}, "aimd", "should be a mapping"),
    ({"production": {"supercell": [2, 2]}}, "production.supercell[2]", "missing"),
    ({"diffusion": {"msd_fit": [0.5, 0.1]}}, "diffusion.msd_fit", "must grow"),
    ({"gate": {"max_generations": 2, "min_generations": 3}}, "gate.min_generations", "exceeds max_generations"),
    ({"neb": {"paths": [{"name": "a", "x": 2.5}]}}, "neb.paths[0]", "give moves, final or event, one of them"),
    ({"neb": {"paths": [{"name": "a", "event": "auto", "final": "b"}]}}, "neb.paths[0]", "one of them"),
    ({"neb": {"paths": [{"name": "a", "moves": [["a", "b"]]}]}}, "neb.paths[0].x", "the path starts from"),
    ({"neb": {"paths": [{"name": "a", "event": "first"}]}}, "neb.paths[0].event", "should be 'auto'"),
    ({"neb": {"paths": [{"name": "a", "event": EVENT}]}}, "neb.paths[0].event.number", "missing"),
    ({"neb": {"paths": [{"name": "a", "event": EVENT | {"replic": 1}}]}}, "neb.paths[0].event.replic", "replica?"),
    (
        {"neb": {"paths": [{"name": "a", "event": EVENT | {"number": 1}, "x": 2}]}},
        "neb.paths[0].x",
        "leave the key x out",
    ),
    (
        {"neb": {"paths": [{"name": "a", "event": EVENT | {"number": 1, "replica": 3}}]}},
        "neb.paths, a, event",
        "production.replicas is 3",
    ),
    ({"neb": {"paths": [{"name": "a", "event": "auto", "x": 9}]}}, "neb.paths, a", "production.x has"),
    ({"neb": {"train_phases": ["tiny"]}}, "neb.train_phases", "explore.phases has small, large"),
    ({"neb": {"train_phases": ["small"]}}, "neb.train_phases", "no path has moves or final"),
    ({"train": {"ensemble": "a.pt"}, "pretrain": {"enabled": True}}, "pretrain.enabled", "leave one of them out"),
    ({"train": {"ensemble": "a.pt"}, "neb": {"train_phases": ["small"]}}, "neb.train_phases", "nothing is trained"),
    ({"train": {"ensemble": "a.pt", "folds": 2}}, "train.folds", "leave one of them out"),
    ({"run": "r", "density": {"model": "results/r/density/model.pt"}}, "density.model", "is a result of this run"),
    ({"run": "r", "train": {"ensemble": "results/r/train/gen0/ensemble.pt"}}, "train.ensemble", "copy it"),
    ({"neb": {"paths": [{"name": "a.b", "x": 2.5}]}}, "neb.paths[0].name", "pattern"),
    ({"basins": {"displacement_A": 0}}, "basins.displacement_A", "greater than 0"),
    ({"engine": {"name": "quantum"}}, "engine.name", "'gpaw', 'vasp', 'ase' or 'toy'"),
    ({"engine": {"gpaw": {"cutoff_eV": 4}}}, "engine.gpaw.cutoff_eV", "the unit of this key is eV"),
    ({"structures": {"volume_A3_per_fu": {3.0: 240.0}}}, "structures.volume_A3_per_fu", "two values of x"),
    ({"run": "my run"}, "run", "pattern"),
    ({"seed": -1}, "seed", "greater than or equal to 0"),
]


@pytest.mark.parametrize(("raw", "key", "remedy"), WRONG, ids=[key for _, key, _ in WRONG])
def test_a_wrong_config_is_refused_by_the_full_name_of_its_key(raw, key, remedy):
    with pytest.raises(ConfigError) as refusal:
        parse_config(raw)
    lines = str(refusal.value).splitlines()[1:]
    assert any(re.match(rf"  {re.escape(key)}[: ]", line) and remedy in line for line in lines), str(refusal.value)


def test_all_refusals_of_a_file_come_together(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("seed: -1\naimd: {timestep_fs: 99}\nselect: {budgte: 3}\n")
    with pytest.raises(ConfigError) as refusal:
        load_config(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}: 3 value(s) refused")
    assert all(key in message for key in ("seed", "aimd.timestep_fs", "select.budgte"))


@pytest.mark.parametrize(
    ("text", "message"),
    [("- a\n- b\n", "a mapping of sections"), ("a: [1\n", "not valid YAML"), (None, "no such config")],
)
def test_no_config_at_all(tmp_path, text, message):
    path = tmp_path / "config.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"run: a\naimd: {steps: 3}\nseed: 1\naimd: {}\n", "aimd stands twice, in lines 2 and 4; keep one of"),
        (b"aimd:\n  steps: 3\n  steps: 4\n", "steps stands twice, in lines 2 and 3"),
        (b"structures: {volume_A3_per_fu: {1: 3.0, 1.0: 4.0}}\n", "1.0 stands twice, in lines 1 and 1"),
        ("seed: 1\nrun: a # Ångström\n".encode("latin-1"), r"not UTF-8 text \(byte 0xc5 in line 2\); save it as UTF-8"),
        ("run: a\n".encode("utf-16"), "not UTF-8 text"),
        (None, "a folder; name the YAML file in it"),
    ],
)
def test_files_that_are_not_read_as_they_are_written(content, message, tmp_path, capsys):
    path = tmp_path / "config.yaml"
    path.mkdir() if content is None else path.write_bytes(content)
    for command in ("check", "status", "path"):
        assert main([command, str(path)]) == 1
        captured = capsys.readouterr()
        assert re.fullmatch(rf"redoxmd: {re.escape(str(path))}: .*{message}.*\n", captured.err) and not captured.out


def test_a_mark_of_the_byte_order_and_merged_mappings_are_read(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(
        "\ufeffaimd: &shared {steps: 3, temperature_K: 900}\nlabel: {<<: *shared, steps: 4}\n", encoding="utf-8"
    )
    config = load_config(path)
    assert (config.aimd.steps, config.label.steps, config.label.temperature_K) == (3, 4, 900)


def test_an_empty_config_is_the_defaults():
    assert parse_config({}) == Config()


def test_a_config_cannot_be_changed_once_read():
    with pytest.raises(ValueError, match="frozen"):
        Config().seed = 3


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_configs_are_valid(name):
    load_config(ROOT / "config" / f"{name}.yaml")


def test_every_key_is_described():
    def undescribed(section: type[Section], prefix: str = ""):
        for name, field in section.model_fields.items():
            if not field.description:
                yield prefix + name
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                yield from undescribed(field.annotation, f"{prefix}{name}.")

    assert list(undescribed(Config)) == []


def test_the_documented_defaults_are_the_defaults():
    assert parse_config(yaml.safe_load(defaults_text())) == Config()


@pytest.mark.parametrize(("path", "made"), [(SCHEMA_FILE, schema_text), (DEFAULTS_FILE, defaults_text)])
def test_generated_documents_are_in_step(path, made):
    assert (ROOT / path).read_text(encoding="utf-8") == made(), f"{path} is out of step: run `make schema`"


def test_defaults_are_the_paper():
    config = Config()
    assert [(m.features, m.layers) for m in config.train.members] == [(128, 3), (148, 3), (128, 4), (148, 4)]
    assert (config.explore.low_eV_A, config.explore.high_eV_A) == (1.0, 5.0)
    assert (config.train.rho_initial, config.train.rho_active) == (0.99, 0.9)
    assert (config.aimd.timestep_fs, config.aimd.temperature_K, config.label.steps) == (0.5, 1000.0, 25)
    assert len(config.production.x) == 17
    assert config.diffusion.jump_distance_A == 3.0


def test_the_paper_config_is_the_paper():
    config = load_config(ROOT / "config" / "nvp.yaml")
    assert sum(len(start.seeds) for start in config.aimd.starts) == 30
    assert config.aimd.steps == 500
    assert len(config.production.x) * len(config.production.temperatures_K) * config.production.replicas == 17 * 4 * 3
    assert [phase.supercell for phase in config.explore.phases] == [(1, 1, 1), (2, 2, 2)]
    assert all(len(phase.starts) == 5 for phase in config.explore.phases)
    without_licence = load_config(ROOT / "config" / "nvp-gpaw.yaml")
    same = {name for name in Config.model_fields if getattr(config, name) == getattr(without_licence, name)}
    assert set(Config.model_fields) - same == {"run", "engine"}


def test_a_config_survives_yaml():
    config = load_config(ROOT / "config" / "nvp.yaml")
    assert parse_config(yaml.safe_load(yaml.safe_dump(plain(config)))) == config
