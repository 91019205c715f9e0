"""Values for the Snakemake profiles: limits of this machine, and site settings merged over those of the repository."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import yte

SNAKEMAKE_MAJOR = 9
MEMORY_SHARE = 0.9
GPU_FOLDER = Path("/proc/driver/nvidia/gpus")
FILE_NAME = re.compile(r"(?:profile|config)(?:\.v(\d+)\+)?\.yaml")


def runs_locally(argv: Sequence[str], environ: Mapping[str, str]) -> bool:
    """Whether jobs run on this machine: the command line selects neither a profile nor an executor."""
    options = [word.split("=")[0] for word in argv]
    return not ({"--profile", "--executor", "-e"} & set(options) or environ.get("SNAKEMAKE_PROFILE"))


def local_limits() -> dict[str, int]:
    """Memory (MB) and number of GPUs available to jobs on this machine; of the GPUs those in CUDA_VISIBLE_DEVICES."""
    memory_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    gpus = len(list(GPU_FOLDER.glob("*")))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        # CUDA ignores all entries from the first invalid one on.
        gpus = min(gpus, len(list(takewhile(lambda entry: entry.strip() not in ("", "-1"), visible.split(",")))))
    return {"mem_mb": int(MEMORY_SHARE * memory_bytes / 2**20), "gpu": gpus}


def status_command() -> str:
    """Command for job states in the Slurm plugin: sacct, or squeue without accounting (sacct would hang)."""
    try:
        slurm_config = subprocess.run(
            ["scontrol", "show", "config"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return "squeue"
    keeps_accounts = re.search(
        r"^AccountingStorageType\s*=\s*accounting_storage/(?!none)", slurm_config.stdout, re.MULTILINE
    )
    return "sacct" if keeps_accounts else "squeue"


def site_settings(argv: Sequence[str], environ: Mapping[str, str], folders: Iterable[str]) -> dict[str, Any]:
    """Settings of the site's profile of the selected name, each mapping completed by the repository's profile.

    With `--profile slurm`, Snakemake reads `./slurm` and ignores the folders of user and system. Here their profiles of
    the same name override that of the repository, the last of `folders` with the highest precedence. Only keys that
    they set are returned.
    """
    name = _profile_name(argv, environ)
    repository_profile = _read(Path(name)) if name else {}
    if not repository_profile or "/" in name:
        return {}
    settings: dict[str, Any] = {}
    for folder in folders:
        settings = merge_settings(settings, _read(Path(folder) / name))
    return {key: merge_settings(repository_profile.get(key), value) for key, value in settings.items()}


def merged_profile(argv: Sequence[str], environ: Mapping[str, str], folders: Iterable[str]) -> dict[str, Any]:
    """Complete selected profile with the site's settings merged over it, as Snakemake uses it."""
    merged: dict[str, Any] = merge_settings(
        _read(Path(_profile_name(argv, environ))), site_settings(argv, environ, folders)
    )
    return merged


def merge_settings(base: Any, override: Any) -> Any:
    """Merge `override` over `base`, mapping by mapping; None in `override` removes a nested key."""
    if not (isinstance(base, dict) and isinstance(override, dict)):
        return override
    merged = base | {key: merge_settings(base.get(key), value) for key, value in override.items()}
    return {key: value for key, value in merged.items() if value is not None}


def _profile_name(argv: Sequence[str], environ: Mapping[str, str]) -> str:
    for word, following in zip(argv, [*argv[1:], ""], strict=True):
        if word == "--profile":
            return following.rstrip("/")
        if word.startswith("--profile="):
            return word.removeprefix("--profile=").rstrip("/")
    return environ.get("SNAKEMAKE_PROFILE", "")


def _read(folder: Path) -> dict[str, Any]:
    """Profile as Snakemake reads it: the file for the newest version, with paths in its folder made absolute."""
    versions = {path: FILE_NAME.fullmatch(path.name) for path in folder.glob("*.yaml")}
    usable = {path: int(match[1] or 0) for path, match in versions.items() if match}
    usable = {path: version for path, version in usable.items() if version <= SNAKEMAKE_MAJOR}
    if not usable:
        return {}
    text = max(usable, key=lambda path: usable[path]).read_text(encoding="utf-8")
    settings = yte.process_yaml(text, require_use_yte=True) or {}
    paths = {key: folder / value for key, value in settings.items() if isinstance(value, str) and value}
    return settings | {key: str(path.absolute()) for key, path in paths.items() if path.exists()}
