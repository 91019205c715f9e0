"""Tuning of glibc's malloc, so that freed memory is reused."""

from __future__ import annotations

import ctypes

# Of glibc's malloc.h.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
LARGEST = 2**31 - 1
TOP_PAD = 64 * 2**20


def keep_freed_memory() -> bool:
    """Let the process keep memory that torch frees, and has to ask for again a step later; whether that was possible.

    Otherwise each large array of each training step is mapped, filled with zeros by the system, and unmapped: a tenth
    of the time.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_THRESHOLD: LARGEST, M_TRIM_THRESHOLD: LARGEST, M_TOP_PAD: TOP_PAD}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
