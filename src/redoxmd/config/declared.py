"""Settings of jobs: those that a rule declares, whose change makes its results stale, and those read undeclared.

The sections mark both kinds by `Section.read_by` and by `Use` at single settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from functools import cache
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from pydantic import BaseModel, ValidationError, create_model

from redoxmd.config.load import with_grids
from redoxmd.config.sections import Config, Structures, label_cells
from redoxmd.config.sections.base import Section, Use
from redoxmd.errors import ConfigError
from redoxmd.files.records import plain

SomeSection = TypeVar("SomeSection", bound=Section)


def settings_for(rule: str, section: Section) -> dict[str, Any]:
    """Settings of a section that enter the results of a rule, as plain values: the params of the rule."""
    values = {name: getattr(section, name) for name in declared_keys(rule, type(section))}
    return {name: plain(value, text_keys=False) for name, value in values.items() if not _is_new(section, name, value)}


def _is_new(section: Section, name: str, value: Any) -> bool:
    """Whether a setting has its default and results were recorded before it existed."""
    use = _use(type(section), name)
    return use is not None and use.added and value == type(section).model_fields[name].default


def given_settings(model: type[Section], rule: str, params: Any) -> dict[str, Any]:
    """Settings of a section among the params of a rule, as `settings_for` put them there; those left out are absent."""
    return {name: getattr(params, name) for name in declared_keys(rule, model) if hasattr(params, name)}


def read_settings(
    model: type[SomeSection], rule: str, declared: Mapping[str, Any], runtime: SomeSection | None = None
) -> SomeSection:
    """A section with only the settings that a rule declares, validated.

    Args:
        model: the section.
        rule: the rule's name.
        declared: its parameters of that section. A missing one, as in the settings that an earlier version recorded
            for a labelled generation, has its default.
        runtime: the section of `runtime_settings`, whose settings are added to the declared ones.

    Raises:
        ConfigError: the rule has no such setting, or the value is refused.
    """
    keys = declared_keys(rule, model)
    added = [] if runtime is None else [key for key in type(runtime).model_fields if key not in keys]
    values = dict(declared) | {key: getattr(runtime, key) for key in added}
    try:
        return _part(model, (*keys, *added)).model_validate(values)
    except ValidationError as error:
        raise ConfigError(f"rule {rule}: settings of {model.__name__} refused: {error}") from error


def runtime_settings(raw: Mapping[str, Any]) -> Config:
    """The config with only the settings that jobs read undeclared, because no result becomes stale when they change.

    `runtime_keys` lists them. k-points are grids of the source cell as in `parse_config`.

    Args:
        raw: the config of the run, `snakemake.config` in a script.
    """
    sections = SimpleNamespace()
    for name, keys in _runtime_keys().items():
        given = raw.get(name) or {}
        part = _part(_section(name), keys)
        setattr(sections, name, part.model_validate({key: given[key] for key in keys if key in given}))
    ensemble = (raw.get("train") or {}).get("ensemble")
    structures = Structures.model_validate(raw.get("structures") or {})
    cells = label_cells(sections.aimd, sections.explore, sections.neb, ensemble)
    sections.engine = with_grids(sections.engine, structures, cells)
    return cast(Config, sections)


def runtime_keys() -> dict[str, str]:
    """Key of each setting of `runtime_settings`, or name of a whole section → why its change makes no result stale."""
    reasons = {}
    for name, keys in _runtime_keys().items():
        if use := _use(Config, name):
            reasons[name] = use.runtime
        else:
            reasons |= {f"{name}.{key}": cast(Use, _use(_section(name), key)).runtime for key in keys}
    return reasons


@cache
def declared_keys(rule: str, model: type[Section]) -> tuple[str, ...]:
    """Names of the settings of a section that a rule declares, in the section's order."""
    uses = {name: _use(model, name) for name in model.model_fields}
    return tuple(name for name, use in uses.items() if rule in (model.read_by if use is None else use.rules))


@cache
def _runtime_keys() -> dict[str, tuple[str, ...]]:
    """Section → its settings that jobs may read undeclared."""
    keys_of_section = {}
    for name, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Section):
            uses = {key: _use(Config, name) or _use(model, key) for key in model.model_fields}
            keys_of_section[name] = tuple(key for key, use in uses.items() if use and use.runtime)
    return {name: keys for name, keys in keys_of_section.items() if keys}


def _section(name: str) -> type[Section]:
    return cast(type[Section], Config.model_fields[name].annotation)


def _use(model: type[BaseModel], name: str) -> Use | None:
    return next((mark for mark in model.model_fields[name].metadata if isinstance(mark, Use)), None)


@cache
def _part(model: type[SomeSection], keys: tuple[str, ...]) -> type[SomeSection]:
    """A section with some of its settings; reading another one is an error."""
    if set(keys) == set(model.model_fields):
        return model
    fields: dict[str, Any] = {key: (model.model_fields[key].annotation, copy(model.model_fields[key])) for key in keys}
    return cast(type[SomeSection], create_model(model.__name__, __base__=Section, **fields))
