"""Restart files of long jobs: outside the declared outputs, written atomically, identified by a fingerprint."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from redoxmd.files.records import DAMAGED, atomic_path, content_hash, keep_damaged, read_bytes, write_text

logger = logging.getLogger("redoxmd")


class Checkpoint:
    """Restart arrays in a folder of the job's own.

    A state is used again only under the same fingerprint (inputs and settings); otherwise the folder is cleared
    and the job starts from the beginning.
    """

    def __init__(self, folder: str | Path, fingerprint: Any) -> None:
        self.folder = Path(folder)
        self.fingerprint = content_hash(fingerprint)
        if self.folder.exists() and not self.fits(folder, fingerprint):
            logger.info("%s: inputs or settings changed, starting from the beginning", self.folder)
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.folder / "fingerprint").exists():
            write_text(self.folder / "fingerprint", self.fingerprint)

    @staticmethod
    def fits(folder: str | Path, fingerprint: Any) -> bool:
        """Whether a folder holds the state of these inputs and settings."""
        try:
            return (Path(folder) / "fingerprint").read_text() == content_hash(fingerprint)
        except FileNotFoundError:
            return False

    def save(self, name: str, record: dict[str, Any]) -> None:
        """Write arrays under a name, replacing earlier ones."""
        with atomic_path(self.folder / f"{name}.npz") as temporary:
            np.savez(temporary, **record)

    def load(self, name: str) -> dict[str, Any] | None:
        """Arrays saved under a name; None if there are none or the file is damaged, which is then renamed.

        Raises:
            OSError: the file cannot be read now; it is not thereby damaged.
        """
        path = self.folder / f"{name}.npz"
        try:
            content = read_bytes(path)
        except FileNotFoundError:
            return None
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as stored:
                return dict(stored)
        # OSError is numpy's word for a zip archive that is none.
        except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError, KeyError) as error:
            logger.warning("%s: damaged restart file (%s), kept as %s", path, error, keep_damaged(path).name)
            return None

    def path(self, name: str) -> Path:
        """A file of the job's own in the folder."""
        return self.folder / name

    def adopt(self, source: str | Path, name: str) -> None:
        """Let a finished output be a restart file as well: a second name of it, or a copy where there are none."""
        new, target = self.folder / f".new.{name}", self.folder / name
        new.unlink(missing_ok=True)
        try:
            os.link(source, new)
        except OSError:
            shutil.copy2(source, new)
        new.replace(target)
        # Between two names of one file nothing is replaced.
        new.unlink(missing_ok=True)

    def keep(self, names: Iterable[str]) -> None:
        """Remove all files of a finished job except those, by name, that are needed to extend it later."""
        self._remove_all_but({*names, "fingerprint"})

    def clear(self) -> None:
        """The job is done: remove the folder, unless it holds renamed damaged files."""
        with contextlib.suppress(OSError):
            self._remove_all_but(set())
            self.folder.rmdir()

    def _remove_all_but(self, kept: set[str]) -> None:
        for path in self.folder.iterdir():
            if path.name in kept or DAMAGED in path.name:
                continue
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
