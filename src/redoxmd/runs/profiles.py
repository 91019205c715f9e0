"""What Snakemake's profiles compute: limits of this machine, a site's settings on top of the repository's."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yte

SNAKEMAKE_MAJOR = 9
MEMORY_SHARE = 0.9
FILE_NAME = re.compile(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml")


def runs_here(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether jobs run on this machine: neither a profile nor an executor is named."""
    named = [word.split("=")[0] for word in argv]
    return not ({"--profile", "--executor", "-e"} & set(named) or environ.get("SNAKEMAKE_PROFILE"))


def local_limits() -> dict[str, int]:
    """Memory (MB) and GPUs that jobs on this machine share."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {"mem_mb": int(MEMORY_SHARE * memory_bytes / 2**20), "gpu": len(_nvidia_devices())}


def _nvidia_devices() -> list[Path]:
    return sorted(Path("/proc/driver/nvidia/gpus").glob("*"))


def status_command() -> str:
    """How the Slurm plugin asks for the state of jobs: sacct hangs without a word where nothing keeps accounts."""
    try:
        told = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "squeue"
    kept = re.search(r"^AccountingStorageType\s*=\s*accounting_storage/(?!none)", told.stdout, re.MULTILINE)
    return "sacct" if kept else "squeue"


def site_settings(argv: Sequence[str], environ: Mapping[str, str], folders: Iterable[str]) -> dict[str, Any]:
    """Settings of the site's profile of the name that was asked for, each mapping completed by ours.

    `--profile slurm` finds `./slurm`, and Snakemake then never looks into the user's and the system's folders. Here
    their profiles of the same name are laid over ours, the last of `folders` on top. Only keys that they set are
    returned.
    """
    name = _profile_name(argv, environ)
    ours = _read(Path(name)) if name else {}
    if not ours or "/" in name:
        return {}
    settings: dict[str, Any] = {}
    for folder in folders:
        settings = lay_over(settings, _read(Path(folder) / name))
    return {key: lay_over(ours.get(key), value) for key, value in settings.items()}


def merged_profile(argv: Sequence[str], environ: Mapping[str, str], folders: Iterable[str]) -> dict[str, Any]:
    """The whole profile that was asked for, the site's settings on top, as Snakemake will have it."""
    merged: dict[str, Any] = lay_over(_read(Path(_profile_name(argv, environ))), site_settings(argv, environ, folders))
    return merged


def lay_over(below: Any, above: Any) -> Any:
    """`above` where the two differ, mapping by mapping; None in it takes a nested key away."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    joined = below | {key: lay_over(below.get(key), value) for key, value in above.items()}
    return {key: value for key, value in joined.items() if value is not None}


def _profile_name(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--profile":
            return following.rstrip("/")
        if word.startswith("--profile="):
            return word.removeprefix("--profile=").rstrip("/")
    return environ.get("SNAKEMAKE_PROFILE", "")


def _read(folder: Path) -> dict[str, Any]:
    """A profile as Snakemake reads it: the file for the newest version, names of files beside it made absolute."""
    versions = {path: FILE_NAME.fullmatch(path.name) for path in folder.glob("*.yaml")}
    fitting = {path: int(match[1] or 0) for path, match in versions.items() if match}
    fitting = {path: version for path, version in fitting.items() if version <= SNAKEMAKE_MAJOR}
    if not fitting:
        return {}
    text = max(fitting, key=lambda path: fitting[path]).read_text(encoding="utf-8")
    settings = yte.process_yaml(text, require_use_yte=True) or {}
    return {key: _beside(folder, value) for key, value in settings.items()}


def _beside(folder: Path, value: Any) -> Any:
    if isinstance(value, str) and value and (folder / value).exists():
        return str((folder / value).absolute())
    return value
