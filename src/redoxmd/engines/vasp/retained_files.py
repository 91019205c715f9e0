"""Copies of VASP's large files, made before the next run overwrites them."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redoxmd.config.sections import VaspFiles
from redoxmd.files.records import atomic_path

NAMES = {
    "wavecar": ("WAVECAR",),
    "chgcar": ("CHGCAR",),
    "aeccar": ("AECCAR0", "AECCAR1", "AECCAR2"),
    "vasprun": ("vasprun.xml",),
}


class RetainedFiles:
    """A folder of the files that `engine.vasp.files` retains, numbered by run.

    Args:
        folder: created with its first file.
        policy: delete, keep or compress, for each kind of file.
    """

    def __init__(self, folder: Path, policy: VaspFiles) -> None:
        self.folder = folder
        self._policy = policy.model_dump()
        self._runs = max((int(path.name.split(".")[0][-6:]) for path in folder.glob("*")), default=0)

    def add(self, run: Path) -> None:
        """Copy the files of a finished run that the policy retains."""
        self._runs += 1
        for kind, names in NAMES.items():
            for name in names:
                if self._policy[kind] != "delete" and (run / name).is_file():
                    target = self.folder / f"{run.name}{self._runs:06d}.{name}"
                    _copy(run / name, target, compress=self._policy[kind] == "compress")


def _copy(source: Path, target: Path, *, compress: bool) -> None:
    target = target.with_name(target.name + (".gz" if compress else ""))
    with atomic_path(target) as temporary, source.open("rb") as content:
        opened: Callable[..., Any] = gzip.open if compress else open
        with opened(temporary, "wb") as stream:
            shutil.copyfileobj(content, stream)
