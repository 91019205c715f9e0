"""Staleness of results after code changes: by version numbers for costly stages, by source content for cheap ones.

Snakemake's trigger by script date is switched off (profiles/default): a fresh clone or `git pull` must not repeat DFT.
The reference method has its own version, `METHOD_VERSION` of each engine, part of the settings hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# Raise a number if the stage gives different results from the same inputs and settings and old results must be remade.
# Every stage of the loop leads to DFT: a new `train` selects new frames to label.
STAGE_VERSIONS = {
    "structures": 2,
    "warm_up": 1,
    "pretrain": 1,
    "train": 2,
    "explore": 2,
    "select": 2,
    "gate": 1,
    "basins": 1,
    "production": 1,
    "neb": 1,
    "neb_event": 2,
    "density": 2,
    "charges": 1,
    "moments": 1,
}


# Added to the version of a stage where potentials distinguish oxidation states: changes of the moves of the electrons.
MOVES_VERSIONS = {"explore": 1, "production": 1}


def stage_version(stage: str, aware: bool = False) -> dict[str, int]:
    """Rule parameter with the version of the stage; empty for version 1, so that old results stay valid."""
    version = STAGE_VERSIONS[stage] + (MOVES_VERSIONS.get(stage, 0) if aware else 0)
    return {"version": version} if version > 1 else {}


def code_hash(paths: Iterable[Path]) -> str:
    """Hash (16 hex digits) of the content of source files and of all modules in folders; dates are ignored."""
    digest = hashlib.sha256()
    for path in paths:
        for name, content in _sources(path):
            digest.update(name)
            digest.update(content)
    return digest.hexdigest()[:16]


@cache
def _sources(path: Path) -> list[tuple[bytes, bytes]]:
    """Names and contents of a file or of the modules in a folder; cached because every figure needs them."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [(file.name.encode(), file.read_bytes()) for file in files]
