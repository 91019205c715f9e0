"""Reference engines. A new one is one file with `create`, `physical_settings`, `available`, and one line here."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from redoxmd.config import sections
from redoxmd.engines.base import Engine, method_hash

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


def engine_available(settings: sections.Engine) -> tuple[bool, str]:
    """Whether the engine could start here, and a sentence about it."""
    found: tuple[bool, str] = _module(settings).available(settings)
    return found
