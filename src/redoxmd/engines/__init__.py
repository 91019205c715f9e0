"""Reference engines. A new one is a module with `create`, `physical_settings`, `available`, and one line here.

It may have `inspect`, `level_of_config` and `disk_gb` as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from redoxmd.config import sections
from redoxmd.engines.base import Engine, Inspection, method_hash
from redoxmd.engines.calculation import Level
from redoxmd.errors import ConfigError
from redoxmd.files.records import content_hash, plain

MODULES = {
    "gpaw": "redoxmd.engines.gpaw",
    "vasp": "redoxmd.engines.vasp",
    "ase": "redoxmd.engines.ase",
    "toy": "redoxmd.engines.toy",
}


def _module(settings: sections.Engine) -> Any:
    return import_module(MODULES[settings.name])


def get_engine(settings: sections.Engine, repeats: Sequence[int] = (1, 1, 1), workdir: Path | None = None) -> Engine:
    """The engine the config names.

    Args:
        settings: section `engine`.
        repeats: of the source cell in the structures to come; k-point grids are divided by them.
        workdir: where it may keep its own files.

    Raises:
        EngineMissing: it is not installed; the message says how to get it.
    """
    engine: Engine = _module(settings).create(settings, repeats, workdir)
    return engine


def settings_hash(settings: sections.Engine) -> str:
    """Identity of the reference method: what may be trained on together. Starts no engine.

    Covers the settings that change energies and forces, and a version in each engine's module that is raised on
    purpose; not mixers, iteration limits or commands.
    """
    module = _module(settings)
    return method_hash(settings.name, module.METHOD_VERSION, module.physical_settings(settings))


def reference_record(settings: sections.Engine) -> dict[str, Any]:
    """What `settings_hash` covers, in words: engine, method_version, settings, settings_hash; as JSON holds it."""
    module = _module(settings)
    return plain(
        {
            "engine": settings.name,
            "method_version": module.METHOD_VERSION,
            "settings": module.physical_settings(settings),
            "settings_hash": settings_hash(settings),
        }
    )


def engine_available(settings: sections.Engine) -> tuple[bool, str]:
    """Whether the engine could start here, and a sentence about it."""
    found: tuple[bool, str] = _module(settings).available(settings)
    return found


def attempt_hash(settings: sections.Engine) -> str:
    """Identity of an attempt: all settings of the named engine, those too that only help it to converge."""
    chosen = getattr(settings, settings.name)
    return content_hash([settings_hash(settings), settings.force_ceiling_eV_A, chosen.model_dump(mode="json")])


def inspect_engine(
    settings: sections.Engine, cells_A: Mapping[str, Sequence[float]], elements: Sequence[str]
) -> Inspection:
    """What an engine finds wrong, or worth a word, before it starts; see its module's `inspect`."""
    inspect = getattr(_module(settings), "inspect", None)
    return Inspection() if inspect is None else inspect(settings, cells_A, elements)


def engine_disk_gb(settings: sections.Engine, runs: Sequence[tuple[int, int]], source_atoms: int) -> dict[str, float]:
    """Files of the engine's own, in words → GB, for runs of (atoms, steps); see its module's `disk_gb`."""
    disk_gb = getattr(_module(settings), "disk_gb", None)
    return {} if disk_gb is None else disk_gb(settings, runs, source_atoms)


def level_of_config(settings: sections.Engine, elements: Sequence[str], cell_lengths_A: Sequence[float]) -> Level:
    """The level of theory that calculations of these settings have, to hold imported ones against.

    Raises:
        ConfigError: the engine's calculations cannot be told by their settings.
    """
    level_of = getattr(_module(settings), "level_of_config", None)
    if level_of is None:
        raise ConfigError(
            f"engine {settings.name}: its level of theory cannot be compared with files; import without --config, "
            "or name the settings hash by hand"
        )
    level: Level = level_of(settings, elements, cell_lengths_A)
    return level
