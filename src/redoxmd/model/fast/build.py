"""The compiled kernels: built once for this processor with the installed compiler and cached for the user."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from pathlib import Path

logger = logging.getLogger("redoxmd")

SOURCE = Path(__file__).with_name("kernels.cpp")
FLAGS = ("-O3", "-fno-math-errno", "-std=c++17", "-shared", "-fPIC")
# For this very processor; on ARM and POWER that is -mcpu, and the width of vectors is a matter of x86.
X86_FLAGS = ("-march=native", "-mprefer-vector-width=512")
NATIVE_FLAGS = {
    **dict.fromkeys(("x86_64", "amd64", "i686"), X86_FLAGS),
    **dict.fromkeys(("aarch64", "arm64", "ppc64le"), ("-mcpu=native",)),
}
# Lines of /proc/cpuinfo that tell processors apart: of x86, of ARM, of POWER.
CPU_LINES = ("model name", "flags", "CPU implementer", "CPU variant", "CPU part", "CPU revision", "Features", "cpu\t")
COMPILE_LIMIT_S = 300


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """The library; None, and the reason once in the log, where it cannot be built."""
    try:
        return _declared(ctypes.CDLL(str(_built())))
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error)
        logger.warning("no compiled kernels, the plain path is taken (%s)", words.strip().splitlines()[-1])
        return None


def _declared(library: ctypes.CDLL) -> ctypes.CDLL:
    library.redoxmd_member.restype = ctypes.c_void_p
    library.redoxmd_member_free.argtypes = (ctypes.c_void_p,)
    library.redoxmd_evaluate.restype = ctypes.c_bool
    library.redoxmd_repulsion.restype = ctypes.c_double
    return library


def _built() -> Path:
    """Path of the library, compiled if it is not there: named by its source, compiler, flags and processor.

    Raises:
        OSError: no compiler, or nowhere to write.
        subprocess.SubprocessError: it failed.
    """
    compiler = shutil.which(os.environ.get("CXX", "g++")) or shutil.which("c++")
    if compiler is None:
        raise FileNotFoundError("no C++ compiler: install g++, or set CXX")
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256()
    flags = compiler_flags(platform.machine())
    for part in (SOURCE.read_text(encoding="utf-8"), version, " ".join(flags), _processor()):
        digest.update(part.encode())
    name = f"kernels-{digest.hexdigest()[:16]}.so"
    folder = cache_folder()
    target = folder / name
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as work:
            made = Path(work) / name
            command = [compiler, *flags, str(SOURCE), "-o", str(made)]
            subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMPILE_LIMIT_S)
            made.replace(target)
    return target


def compiler_flags(machine: str) -> tuple[str, ...]:
    """Flags of the compiler on a kind of machine, as `platform.machine` names it."""
    return FLAGS + NATIVE_FLAGS.get(machine.lower(), ())


def cache_folder() -> Path:
    """Where the library is kept: in the user's cache, or in a folder of this process alone."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "redoxmd"
        base.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=base):
            return base
    except (OSError, RuntimeError):
        # No home, or one that cannot be written, as on some compute nodes: every process builds its own.
        return Path(tempfile.mkdtemp(prefix="redoxmd-"))


def _processor() -> str:
    """Identification of the processor, on which the compiler's `native` depends."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    return platform.machine() + "".join(sorted({line for line in lines if line.startswith(CPU_LINES)}))
