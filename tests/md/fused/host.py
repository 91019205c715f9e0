"""The kernels of `redoxmd.md.fused`, compiled for a host and launched through a pretended driver."""

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from redoxmd.md.fused.kernels import (
    ATOMS,
    MESSAGE,
    STEP,
    THREADS,
    DriverKernels,
    FusedKernels,
    build_kernels,
    message_options,
    threads_per_block,
)

HERE = Path(__file__).parent
# Static variables of templates must not be shared by the libraries of several widths.
FLAGS = [
    "-O2",
    "-std=c++17",
    "-shared",
    "-fPIC",
    "-fno-gnu-unique",
    "-U_FORTIFY_SOURCE",
    "-Wall",
    "-Wno-unknown-pragmas",
]
ELF = b"\x7fELF"
REALS = {torch.float32: "float", torch.float64: "double"}


class HostKernels(DriverKernels):
    """Kernels of a file that run on the host; `changes` to their source are planted faults."""

    def __init__(self, file, threads=THREADS, options=(), dtype=torch.float32, changes=()):
        self.library = library(file, (*file.options, *options), REALS[dtype], changes)
        super().__init__(file.kernels, threads, ELF, self.library, torch.device("cuda", 0))

    def _stream(self):
        return 0

    def descending(self, value):
        ctypes.c_int.in_dll(self.library, "descending").value = value


@functools.cache
def library(file, options, real, changes):
    source = file.text
    for right, wrong in changes:
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    with tempfile.TemporaryDirectory() as folder:
        for path in HERE.glob("*_on_host.*"):
            shutil.copy(path, folder)
        (Path(folder) / file.name).write_text(source)
        lists = {"WITH_BARRIERS": [name for name in file.kernels if name not in file.apart], "APART": file.apart}
        listed = [f"-D{kind}(X)={' '.join(f'X({name})' for name in names)}" for kind, names in lists.items()]
        defined = [*options, *listed, f"-DREAL={real}", f'-DKERNEL_FILE="{file.name}"']
        command = ["g++", *FLAGS, *defined, "kernels_on_host.cpp", "-o", "kernels.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return ctypes.CDLL(f"{folder}/kernels.so")


def fused_kernels(members, changes=(), changed=MESSAGE, made=HostKernels):
    """As `build_kernels`, on the host; `changes` to the source of a file are planted faults."""
    first = members[0]

    def of(file, *sizes):
        return made(file, *sizes, dtype=first.dtype, changes=changes if file is changed else ())

    messages = {
        width: of(MESSAGE, threads_per_block(width), message_options(width, first.radial.size))
        for width in {member.settings["features"] for member in members}
    }
    return FusedKernels(messages, of(ATOMS), of(STEP))


class PretendedKernels(HostKernels):
    """Kernels for tensors of the pretended GPU: an operation of torch, which a pretended graph can replay."""

    def launch(self, kernel, blocks, reads, writes, *numbers):
        LAUNCHED.append(self)
        torch.ops.redoxmd_tests.launch(list(reads), list(writes), len(LAUNCHED) - 1, kernel, blocks, list(numbers))


def launch_on_host(reads, writes, key, kernel, blocks, numbers):
    if not isinstance(LAUNCHED[key], CountedKernels):
        HostKernels.launch(LAUNCHED[key], kernel, blocks, reads, writes, *numbers)


LAUNCHED = []
OPERATIONS = torch.library.Library("redoxmd_tests", "DEF")
OPERATIONS.define(
    "launch(Tensor?[] reads, Tensor(a!)[] writes, int key, str kernel, int blocks, Scalar[] numbers) -> ()"
)
OPERATIONS.impl("launch", launch_on_host, "CPU")


class CountedKernels(PretendedKernels):
    """Kernels that are launched and do nothing."""

    def __init__(self, file, threads=THREADS, *_, **__):
        self.threads = threads


def pretended_kernels(members, changes=(), changed=MESSAGE):
    """As `build_kernels`, for members on the pretended GPU."""
    return fused_kernels(members, changes, changed, PretendedKernels)


def gpu_kernels(members):
    """Kernels of the GPU, or of the pretended one."""
    return pretended_kernels(members) if "tests.pretend_gpu" in sys.modules else build_kernels(members)
