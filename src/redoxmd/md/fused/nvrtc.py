"""Compilation of CUDA C++ for one kind of GPU by NVRTC, the compiler library that torch's CUDA wheels contain."""

from __future__ import annotations

import ctypes
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

logger = logging.getLogger("redoxmd")


class Cubin(NamedTuple):
    """Machine code of kernels, and the report of the assembler (registers and spills of each kernel)."""

    code: bytes
    report: str


def compile_cubin(source: str, name: str, architecture: str, options: Sequence[str] = ()) -> Cubin:
    """Compile CUDA C++ for an architecture, such as sm_90; no GPU is needed.

    Raises:
        OSError: there is no NVRTC.
        RuntimeError: it refuses the source, or does not know the architecture.
    """
    library = load_nvrtc()
    program = ctypes.c_void_p()
    _check(
        library,
        library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), name.encode(), 0, None, None),
        name,
    )
    try:
        words = [f"--gpu-architecture={architecture}", "--std=c++17", "--ptxas-options=-v", *options]
        arguments = (ctypes.c_char_p * len(words))(*(word.encode() for word in words))
        status = library.nvrtcCompileProgram(program, len(words), arguments)
        report = _read(library, "nvrtcGetProgramLog", program).rstrip(b"\0").decode(errors="replace")
        _check(library, status, f"{name} for {architecture}: {report.strip()}")
        return Cubin(_read(library, "nvrtcGetCUBIN", program), report)
    finally:
        library.nvrtcDestroyProgram(ctypes.byref(program))


def load_nvrtc() -> ctypes.CDLL:
    """NVRTC of the wheels in this environment, the newest first, or of the system.

    Raises:
        OSError: there is none.
    """
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(folder) for folder in (spec.submodule_search_locations or [])] if spec is not None else []
    paths = [path for folder in folders for path in folder.glob("*/lib/libnvrtc.so.*")]
    names = [*map(str, sorted(paths, key=lambda path: path.suffix, reverse=True)), "libnvrtc.so.13", "libnvrtc.so.12"]
    for name in names:
        try:
            library = ctypes.CDLL(name)
        except OSError as error:
            logger.debug("%s cannot be loaded: %s", name, error)
            continue
        library.nvrtcGetErrorString.restype = ctypes.c_char_p
        return library
    raise OSError("no NVRTC: it comes with torch's CUDA wheels (package nvidia-cuda-nvrtc)")


def _check(library: ctypes.CDLL, status: int, subject: str) -> None:
    if status:
        raise RuntimeError(f"NVRTC, {library.nvrtcGetErrorString(status).decode()}: {subject}")


def _read(library: ctypes.CDLL, function: str, program: ctypes.c_void_p) -> bytes:
    """Bytes that a function of NVRTC gives after its namesake with `Size` has given their number."""
    size = ctypes.c_size_t()
    _check(library, getattr(library, f"{function}Size")(program, ctypes.byref(size)), function)
    content = ctypes.create_string_buffer(size.value)
    _check(library, getattr(library, function)(program, content), function)
    return content.raw
