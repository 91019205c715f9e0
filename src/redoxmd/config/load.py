"""Reading a config file, with errors that name the key in full and the remedy."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from redoxmd.config.sections import MAPPING, WORD, Config, common_kpoints
from redoxmd.errors import ConfigError

SomeSection = TypeVar("SomeSection", bound=BaseModel)
UNIT_SUFFIXES = ("_fs", "_ps", "_K", "_A", "_eV", "_eV_A", "_muB", "_s", "_per_fs", "_per_ps", "_mm", "_pt")


def load_config(path: str | Path) -> Config:
    """Read and validate a YAML config.

    Raises:
        ConfigError: the file cannot be read (`read_config`), or a value is refused; every refusal of the file is
            listed, each with its full key.
    """
    return parse_config(read_config(path), source=str(path))


def read_config(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML config, not validated.

    Raises:
        ConfigError: the file is missing, no UTF-8 text or no YAML mapping, or gives a key twice.
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
    except RepeatedKey as error:
        raise ConfigError(f"{path}: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: a config is a mapping of sections, see config/defaults.yaml")
    return raw


class RepeatedKey(Exception):
    """A key that stands twice in a mapping."""


class UniqueKeyLoader(yaml.SafeLoader):
    """YAML's safe loader, which refuses a key that stands twice in a mapping: the second would replace the first."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys differ.

        Raises:
            RepeatedKey: a key stands twice; the message names both lines.
        """
        lines: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            # As Python compares them: 1 and 1.0 are one key.
            key, line = self.construct_object(key_node, deep=True), key_node.start_mark.line + 1
            if not isinstance(key, Hashable):
                continue
            if key in lines:
                raise RepeatedKey(f"{key} stands twice, in lines {lines[key]} and {line}; keep one of them")
            lines[key] = line
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


def parse_config(raw: dict[str, Any], source: str = "config") -> Config:
    """Validate a config mapping; see `load_config`. GPAW's k-points come rounded up (`common_kpoints`)."""
    try:
        return _with_common_kpoints(Config.model_validate(raw))
    except ValidationError as error:
        found = error.errors()
        keys = [item["loc"] for item in found]
        # A container is "too short" only because its refused items were dropped: the items say it better.
        own = [e for e in found if not any(k != e["loc"] and k[: len(e["loc"])] == e["loc"] for k in keys)]
        lines = [_explain(item) for item in own]
        raise ConfigError(
            f"{source}: {len(lines)} value(s) refused\n" + "\n".join(f"  {line}" for line in lines)
        ) from error


def _with_common_kpoints(config: Config) -> Config:
    grid = common_kpoints(config.engine.gpaw.kpoints, config.label_cells)
    gpaw = config.engine.gpaw.model_copy(update={"kpoints": grid})
    return config.model_copy(update={"engine": config.engine.model_copy(update={"gpaw": gpaw})})


def with_settings(section: SomeSection, values: Mapping[str, Any]) -> SomeSection:
    """A section with some values put in place of its own, as a rule's parameters give them."""
    return type(section).model_validate({**section.model_dump(), **values})


def _explain(item: Any) -> str:
    location = tuple(part for part in item["loc"] if part not in (WORD, MAPPING))
    key = _dotted(location)
    kind = item["type"]
    if kind == "extra_forbidden":
        return f"{key}: unknown key; {_suggestion(location)}"
    if kind == "missing":
        return f"{key}: missing; add it"
    message = str(item["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        first = message.split()[0].rstrip(":")
        section = _section_at(location)
        if section and first in section.model_fields:
            return f"{key}.{message}" if key else message
        return f"{key}: {message}" if key else message
    given = item.get("input")
    if given is None and kind in ("tuple_type", "dict_type", "model_type"):
        return f"{key}: empty; give a value (config/defaults.yaml), or remove the key"
    if kind == "tuple_type":
        return f"{key}: should be a list, got {given!r}; give {_list_example(location, given)}"
    if kind in ("dict_type", "model_type"):
        return f"{key}: should be a mapping (key: value), got {given!r}; see config/defaults.yaml"
    return f"{key}: {message[0].lower()}{message[1:]}, got {given!r}{_advice(key, kind)}"


def _list_example(location: tuple[int | str, ...], given: Any) -> str:
    """A list that the key at a location takes, made of what was given."""
    section = _section_at(location[:-1])
    field = section.model_fields.get(str(location[-1])) if section else None
    items = typing.get_args(field.annotation) if field else ()
    length = len(items) if items and Ellipsis not in items and type(None) not in items else 1
    return f"a list{f' of {length}' if length > 1 else ''}: [{', '.join([str(given)] * length)}]"


def _dotted(location: tuple[int | str, ...]) -> str:
    text = ""
    for part in location:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def _advice(key: str, kind: str) -> str:
    unit = next((suffix[1:] for suffix in sorted(UNIT_SUFFIXES, key=len, reverse=True) if key.endswith(suffix)), "")
    if kind.startswith(("less_than", "greater_than")) and unit:
        return f" (the unit of this key is {unit.replace('_per_', '/').replace('eV_A', 'eV/Å')})"
    if kind.endswith(("_parsing", "_type")) and unit:
        return f"; give a plain number, the unit is in the key ({unit})"
    return "; see config/defaults.yaml for the meaning of this key"


def _suggestion(location: tuple[int | str, ...]) -> str:
    model = _section_at(location[:-1])
    known = list(model.model_fields) if model else []
    unknown = str(location[-1])
    near = difflib.get_close_matches(unknown, known, n=1, cutoff=0.6)
    near = near or [name for name in known if name.startswith(unknown + "_")][:1]
    if near:
        return f"did you mean {near[0]}?"
    return f"known here: {', '.join(known)}" if known else "remove it"


def _section_at(location: tuple[int | str, ...]) -> type[BaseModel] | None:
    section: type[BaseModel] | None = Config
    for part in location:
        if isinstance(part, int):
            continue
        field = section.model_fields.get(str(part)) if section else None
        section = _model_in(field.annotation) if field else None
    return section


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if (
        isinstance(annotation, type)
        and not isinstance(annotation, types.GenericAlias)
        and issubclass(annotation, BaseModel)
    ):
        return annotation
    for argument in typing.get_args(annotation):
        found = _model_in(argument)
        if found:
            return found
    return None
