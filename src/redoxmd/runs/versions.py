"""When new code makes old results stale: on purpose where results cost dear, by content where they are cheap.

Snakemake's own trigger, the date of a script, is switched off (profiles/default): a fresh clone or `git pull` must not
repeat DFT. The reference method has its own version, `METHOD_VERSION` of each engine, part of the settings hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]

# Raise a number when the stage would give other results from the same inputs and settings, and old ones must go. Every
# stage of the loop reaches DFT: a new `train` picks new frames to label.
STAGE_VERSIONS = {
    "structures": 2,
    "train": 2,
    "explore": 2,
    "select": 2,
    "gate": 1,
    "basins": 1,
    "production": 1,
    "neb": 1,
    "density": 2,
    "charges": 1,
}


def stage_version(stage: str) -> dict[str, int]:
    """A rule's parameters that say the stage's version; none for the first, so that old results keep theirs."""
    version = STAGE_VERSIONS[stage]
    return {"version": version} if version > 1 else {}


def code_hash(paths: Iterable[Path]) -> str:
    """Sixteen hex digits of the content of source files, and of all modules in folders; dates do not matter."""
    digest = hashlib.sha256()
    for path in paths:
        for name, content in _sources(path):
            digest.update(name)
            digest.update(content)
    return digest.hexdigest()[:16]


@cache
def _sources(path: Path) -> list[tuple[bytes, bytes]]:
    """Name and content of a file or of the modules in a folder; read once a process, for each figure asks for them."""
    files = sorted(path.rglob("*.py")) if path.is_dir() else [path]
    return [(file.name.encode(), file.read_bytes()) for file in files]
