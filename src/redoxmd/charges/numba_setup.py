"""`numba.njit` with a persistent cache and at most the threads of the job.

Compiled code is cached in NUMBA_CACHE_DIR, by default $XDG_CACHE_HOME/redoxmd/numba. The number of threads is
NUMBA_NUM_THREADS, by default OMP_NUM_THREADS. Numba reads both at import; if it is already imported, only the cache
folder changes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path


def _cache_folder() -> Path:
    """A writable cache folder of the user."""
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "redoxmd" / "numba"
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except (OSError, RuntimeError):
        writable = False
    return folder if writable else Path(tempfile.gettempdir()) / f"redoxmd-numba-{os.getuid()}"


os.environ.setdefault("NUMBA_CACHE_DIR", str(_cache_folder()))
if os.environ.get("OMP_NUM_THREADS", "").isdigit():
    os.environ.setdefault("NUMBA_NUM_THREADS", os.environ["OMP_NUM_THREADS"])
_already_imported = "numba" in sys.modules
import numba  # noqa: E402

if _already_imported and not numba.config.CACHE_DIR:
    numba.config.CACHE_DIR = os.environ["NUMBA_CACHE_DIR"]
njit = numba.njit
