"""Reference engines by name. An engine is a module in `MODULES` with `create`, `physical_settings`, `available`.

It may also have `inspect`, `level_of_config` and `disk_gb`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from redoxmd.config import sections
from redoxmd.engines.base import Engine as Engine
from redoxmd.engines.base import Inspection, method_hash
from redoxmd.engines.base import Result as Result
from redoxmd.engines.calculation import Level
from redoxmd.errors import ConfigError
from redoxmd.files.records import content_hash, plain

__all__ = ["Engine", "Result", "attempt_hash", "engine_available", "get_engine", "level_of_config", "settings_hash"]

MODULES = {
    "gpaw": "redoxmd.engines.gpaw",
    "vasp": "redoxmd.engines.vasp",
    "ase": "redoxmd.engines.ase",
    "toy": "redoxmd.engines.toy",
}


# Settings by which the electronic state of a label is judged and searched.
JUDGING = {"levels", "fixed", "tries", "least_orbital_gap"}


def _module(settings: sections.EngineSettings) -> Any:
    return import_module(MODULES[settings.name])


def get_engine(
    settings: sections.EngineSettings, repeats: Sequence[int] = (1, 1, 1), workdir: Path | None = None
) -> Engine:
    """The engine named in the config.

    Args:
        settings: section `engine`.
        repeats: of the source cell in the structures to calculate; k-point grids are divided by them.
        workdir: folder for the engine's own files.

    Raises:
        EngineMissing: the engine is not installed; the message states how to install it.
    """
    engine: Engine = _module(settings).create(settings, repeats, workdir)
    return engine


def settings_hash(settings: sections.EngineSettings) -> str:
    """Hash that identifies the reference method; only labels with equal hashes are trained on together.

    It covers the settings that change energies and forces and the METHOD_VERSION of the engine's module, but not
    mixers, iteration limits or commands. No engine is started.
    """
    module = _module(settings)
    return method_hash(settings.name, module.METHOD_VERSION, module.physical_settings(settings))


def reference_record(settings: sections.EngineSettings) -> dict[str, Any]:
    """JSON-like record of the settings that `settings_hash` covers: engine, method_version, settings, settings_hash."""
    module = _module(settings)
    return plain(
        {
            "engine": settings.name,
            "method_version": module.METHOD_VERSION,
            "settings": module.physical_settings(settings),
            "settings_hash": settings_hash(settings),
        }
    )


def engine_available(settings: sections.EngineSettings) -> tuple[bool, str]:
    """Whether the engine can start on this machine, and a message about it."""
    availability: tuple[bool, str] = _module(settings).available(settings)
    return availability


def attempt_hash(settings: sections.EngineSettings, electrons: sections.Electrons | None = None) -> str:
    """Hash that identifies an attempt: all settings of the named engine, including those that only aid convergence.

    With `electrons.levels` also these and the other settings by which states are judged and searched.
    """
    chosen = getattr(settings, settings.name)
    judged = [] if electrons is None or not electrons.levels else [electrons.model_dump(mode="json", include=JUDGING)]
    # The spacing of the k-points is given by the grid.
    given = chosen.model_dump(mode="json", exclude={"kpoint_spacing_1_A"})
    return content_hash([settings_hash(settings), settings.force_ceiling_eV_A, given, *judged])


def inspect_engine(
    settings: sections.EngineSettings, cells_A: Mapping[str, Sequence[float]], elements: Sequence[str]
) -> Inspection:
    """Problems and notes of an engine before it starts; see its module's `inspect`."""
    inspect = getattr(_module(settings), "inspect", None)
    return Inspection() if inspect is None else inspect(settings, cells_A, elements)


def engine_disk_gb(
    settings: sections.EngineSettings, runs: Sequence[tuple[int, int]], source_atoms: int
) -> dict[str, float]:
    """Description of the engine's own files → GB, for runs of (atoms, steps); see its module's `disk_gb`."""
    disk_gb = getattr(_module(settings), "disk_gb", None)
    return {} if disk_gb is None else disk_gb(settings, runs, source_atoms)


def level_of_config(
    settings: sections.EngineSettings, elements: Sequence[str], cell_lengths_A: Sequence[float]
) -> Level:
    """The level of theory of calculations with these settings, for comparison with imported calculations.

    Raises:
        ConfigError: the level of theory of the engine cannot be derived from its settings.
    """
    level_of = getattr(_module(settings), "level_of_config", None)
    if level_of is None:
        raise ConfigError(
            f"engine {settings.name}: its level of theory cannot be compared with files; import without --config, "
            "or name the settings hash by hand"
        )
    level: Level = level_of(settings, elements, cell_lengths_A)
    return level
