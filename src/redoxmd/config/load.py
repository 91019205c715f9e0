"""Reading and validation of a config file; errors name the full key and the remedy."""

from __future__ import annotations

import difflib
import math
import typing
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from redoxmd.config.sections import (
    MAPPING,
    WORD,
    Config,
    EngineSettings,
    Gpaw,
    Structures,
    Vasp,
    common_kpoints,
    label_cells,
)
from redoxmd.config.sections.base import Repeats
from redoxmd.errors import ConfigError

SomeEngine = TypeVar("SomeEngine", Gpaw, Vasp)
UNIT_SUFFIXES = ("_fs", "_ps", "_K", "_A", "_eV", "_eV_A", "_muB", "_s", "_per_fs", "_per_ps", "_mm", "_pt")


def load_config(path: str | Path) -> Config:
    """Read and validate a YAML config.

    Raises:
        ConfigError: the file cannot be read (`read_config`), or values are refused; the message lists every refused
            value with its full key.
    """
    return parse_config(read_config(path), source=str(path))


def read_config(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML config, not validated.

    Raises:
        ConfigError: the file is missing, is not UTF-8 text or not a YAML mapping, or has a key twice.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
        raw = yaml.load(text, Loader=UniqueKeyLoader)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such config; the shipped ones are in config/") from error
    except IsADirectoryError as error:
        raise ConfigError(f"{path}: a folder; name the YAML file in it") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ConfigError(
            f"{path}: not UTF-8 text (byte 0x{error.object[error.start]:02x} in line {line}); save it as UTF-8"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a config is a mapping of sections, see config/defaults.yaml")
    return raw


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a repeated key, whose second value would replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping of a YAML node, with distinct keys.

        Raises:
            YAMLError: a key occurs twice; the message names both lines.
        """
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            # Keys are compared by Python: 1 and 1.0 are the same key.
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                continue
            if key in lines:
                raise yaml.YAMLError(f"{key} stands twice, in lines {lines[key]} and {line}; keep one of them")
            lines[key] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def parse_config(raw: dict[str, Any], source: str = "config") -> Config:
    """Validate a config mapping; see `load_config`. k-points are the grids of the source cell (`with_grids`)."""
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        refusals = error.errors()
        keys = [item["loc"] for item in refusals]
        # A container with refused items is also reported as too short; only its items are listed.
        innermost = [e for e in refusals if not any(k != e["loc"] and k[: len(e["loc"])] == e["loc"] for k in keys)]
        lines = [_explain(item) for item in innermost]
        raise ConfigError(
            f"{source}: {len(lines)} value(s) refused\n" + "\n".join(f"  {line}" for line in lines)
        ) from error
    cells = label_cells(config.aimd, config.explore, config.neb, config.train.ensemble)
    return config.model_copy(update={"engine": with_grids(config.engine, config.structures, cells)})


def with_grids(engine: EngineSettings, structures: Structures, cells: Sequence[Repeats]) -> EngineSettings:
    """The engine with grids in the place of spacings, and GPAW's rounded up until every labelled cell divides it.

    Raises:
        StructureError: a spacing is given and there is no source cell.
    """
    gpaw, vasp = _with_grid(engine.gpaw, structures), _with_grid(engine.vasp, structures)
    gpaw = gpaw.model_copy(update={"kpoints": common_kpoints(gpaw.kpoints, cells)})
    return engine.model_copy(update={"gpaw": gpaw, "vasp": vasp})


def _with_grid(settings: SomeEngine, structures: Structures) -> SomeEngine:
    """The settings with the grid of their k-point spacing, and without the spacing."""
    spacing_1_A = settings.kpoint_spacing_1_A
    if spacing_1_A is None:
        return settings
    # Structures are read with the config.
    from redoxmd.structures.source import source_cell

    lengths_1_A = 2 * math.pi * source_cell(structures).atoms.cell.reciprocal().lengths()
    grid = tuple(max(1, math.ceil(length / spacing_1_A)) for length in lengths_1_A)
    return settings.model_copy(update={"kpoints": grid, "kpoint_spacing_1_A": None})


def _explain(item: Any) -> str:
    """A refusal of pydantic in one line: the full key, what is wrong and what to do."""
    location = tuple(key for key in item["loc"] if key not in (WORD, MAPPING))
    key = ""
    for step in location:
        key += f"[{step}]" if isinstance(step, int) else f".{step}" if key else str(step)
    kind, value = item["type"], item.get("input")
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_suggestion(location)}"
    if kind == "missing":
        return f"{key}: missing; add it"
    if kind == "value_error":
        section = _section_at(location)
        separator = "." if section and message.split()[0].rstrip(":") in section.model_fields else ": "
        return f"{key}{separator}{message}" if key else message
    if value is None and kind in ("tuple_type", "dict_type", "model_type"):
        return f"{key}: empty; give a value (config/defaults.yaml), or remove the key"
    if kind == "tuple_type":
        section = _section_at(location[:-1])
        field = section.model_fields.get(str(location[-1])) if section else None
        items = typing.get_args(field.annotation) if field else ()
        length = len(items) if items and Ellipsis not in items and type(None) not in items else 1
        example = f"a list{f' of {length}' if length > 1 else ''}: [{', '.join([str(value)] * length)}]"
        return f"{key}: should be a list, got {value!r}; give {example}"
    if kind in ("dict_type", "model_type"):
        return f"{key}: should be a mapping (key: value), got {value!r}; see config/defaults.yaml"
    unit = next((suffix[1:] for suffix in sorted(UNIT_SUFFIXES, key=len, reverse=True) if key.endswith(suffix)), "")
    advice = "; see config/defaults.yaml for the meaning of this key"
    if kind.startswith(("less_than", "greater_than")) and unit:
        advice = f" (the unit of this key is {unit.replace('_per_', '/').replace('eV_A', 'eV/Å')})"
    elif kind.endswith(("_parsing", "_type")) and unit:
        advice = f"; give a plain number, the unit is in the key ({unit})"
    return f"{key}: {message[0].lower()}{message[1:]}, got {value!r}{advice}"


def _suggestion(location: tuple[int | str, ...]) -> str:
    model, unknown = _section_at(location[:-1]), str(location[-1])
    fields = list(model.model_fields) if model else []
    near = difflib.get_close_matches(unknown, fields, n=1, cutoff=0.6)
    near = near or [name for name in fields if name.startswith(unknown + "_")][:1]
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(fields)}" if fields else "remove it"


def _section_at(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Config
    for key in (key for key in location if not isinstance(key, int)):
        field = section.model_fields.get(str(key)) if section else None
        section = _model_in(field.annotation) if field else None
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first section in a type, such as `Start` in `tuple[Start, ...] | None`."""
    if isinstance(annotation, type) and not typing.get_args(annotation) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for part in typing.get_args(annotation) if (model := _model_in(part))), None)
