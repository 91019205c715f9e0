"""Numba, with a cache that outlives the process and no more threads than the job was given."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import ModuleType


def load_numba() -> ModuleType:
    """Import numba; compiled code is kept in $XDG_CACHE_HOME/redoxmd/numba unless NUMBA_CACHE_DIR says otherwise.

    Threads follow NUMBA_NUM_THREADS, or else OMP_NUM_THREADS. Both are read once by numba, at its import: where it is
    already imported only the folder still changes.
    """
    os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_folder()))
    if os.environ.get("OMP_NUM_THREADS", "").isdigit():
        os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
    late = "numba" in sys.modules
    import numba

    if late and not numba.config.CACHE_DIR:
        numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
    return numba


def _cache_folder() -> Path:
    """A folder of the user's that can be written to."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "redoxmd" / "numba"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):
        writable = False
    return folder if writable else Path(tempfile.gettempdir()) / f"redoxmd-numba-{os.getuid()}"


njit = load_numba().njit
