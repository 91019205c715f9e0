"""Files of the engine that are moved beside the results: those that explain a refusal, and those it keeps."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from redoxmd.aimd.reference_md import REFUSED_FOLDER
from redoxmd.engines.base import Engine
from redoxmd.jobs.checkpoint import Checkpoint


def set_aside(checkpoint: Checkpoint, folder: Path) -> None:
    """Move the files that explain a refusal out of the job's own folder, whole or not at all, over older ones."""
    _move(checkpoint.path(REFUSED_FOLDER), folder)


def keep_files(engine: Engine, folder: Path) -> None:
    """Move the files that an engine keeps by its settings beside the results."""
    retained = getattr(engine, "retained_files", lambda: None)()
    if retained is not None:
        _move(retained, folder)


def _move(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}.") as temporary:
        new, old = Path(temporary) / "new", Path(temporary) / "old"
        shutil.copytree(source, new)
        if target.exists():
            target.rename(old)
        new.rename(target)
    shutil.rmtree(source)
