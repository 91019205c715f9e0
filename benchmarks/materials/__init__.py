"""Ten materials of different kinds, each from its structure file to the report with CHGNet as the reference."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent


def material_names() -> list[str]:
    """Names of the materials, those of their files."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml") if path.stem != "common")


def describe_material(name: str) -> dict[str, str]:
    """Formula, kind, source and peculiarity of a material."""
    about: dict[str, str] = _read(name)["about"]
    return about


def write_config(name: str, folder: Path) -> Path:
    """Write the config of a material and its structure file into a folder; the path of the config."""
    folder.mkdir(parents=True, exist_ok=True)
    config = _merged(_read("common"), _read(name)["config"]) | {"run": name}
    shutil.copy(FOLDER / config["structures"]["source"], folder)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(config, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    return content


def _merged(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """Sections of both; keys of `own` have precedence."""
    merged = dict(common)
    for key, value in own.items():
        both = isinstance(value, dict) and isinstance(common.get(key), dict)
        merged[key] = _merged(common[key], value) if both else value
    return merged
