"""The kernels of `redoxmd.md.fused`, compiled for a host and launched through a pretended driver."""

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from redoxmd.md.fused.kernels import SOURCE, DriverKernels, build_kernels

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
REALS = {torch.float32: ("float", ctypes.c_float), torch.float64: ("double", ctypes.c_double)}


class HostKernels(DriverKernels):
    """Kernels that run on the host; `changes` to their source are planted faults."""

    def __init__(self, features, radial_functions, dtype=torch.float32, changes=()):
        name, self.real = REALS[dtype]
        self.library = library(features, radial_functions, name, changes)
        super().__init__(features, ELF, self.library, torch.device("cuda", 0))

    def _stream(self):
        return 0

    def descending(self, value):
        ctypes.c_int.in_dll(self.library, "descending").value = value


@functools.cache
def library(features, radial_functions, real, changes):
    source = SOURCE.read_text()
    for right, wrong in changes:
        assert source.count(right) == 1, right
        source = source.replace(right, wrong)
    with tempfile.TemporaryDirectory() as folder:
        for path in HERE.glob("*_on_host.*"):
            shutil.copy(path, folder)
        (Path(folder) / SOURCE.name).write_text(source)
        defined = [f"-DFEATURES={features}", f"-DRADIAL={radial_functions}", f"-DREAL={real}"]
        command = ["g++", *FLAGS, *defined, "kernels_on_host.cpp", "-o", "kernels.so"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return ctypes.CDLL(f"{folder}/kernels.so")


def host_kernels(ensemble, changes=()):
    """Kernels of each width of an ensemble."""
    first = ensemble.members[0]
    widths = {member.settings["features"] for member in ensemble.members}
    return {width: HostKernels(width, first.radial.size, first.dtype, changes) for width in widths}


class PretendedKernels(HostKernels):
    """Kernels for tensors of the pretended GPU: an operation of torch, which a pretended graph can replay."""

    def launch(self, kernel, blocks, arguments):
        outputs = 3 if kernel.endswith("derivatives") else 2
        *inputs, columns, cutoff = arguments
        inputs, written = inputs[:-outputs], [None, *inputs[-outputs:]][-3:]
        LAUNCHED.append(self)
        key = len(LAUNCHED) - 1
        torch.ops.redoxmd_tests.launch(*written, inputs, outputs, key, kernel, blocks, columns, cutoff)


def launch_on_host(first, second, third, inputs, outputs, key, kernel, blocks, columns, cutoff):
    written = [first, second, third][-outputs:]
    HostKernels.launch(LAUNCHED[key], kernel, blocks, [*inputs, *written, columns, cutoff])


LAUNCHED = []
OPERATIONS = torch.library.Library("redoxmd_tests", "DEF")
OPERATIONS.define(
    "launch(Tensor(a!)? first, Tensor(b!)? second, Tensor(c!)? third, Tensor?[] inputs, int outputs, int key, "
    "str kernel, int blocks, int columns, float cutoff) -> ()"
)
OPERATIONS.impl("launch", launch_on_host, "CPU")


def pretended_kernels(members, changes=()):
    """As `build_kernels`, for members on the pretended GPU."""
    first = members[0]
    widths = {member.settings["features"] for member in members}
    return {width: PretendedKernels(width, first.radial.size, first.dtype, changes) for width in widths}


def gpu_kernels(members):
    """Kernels of the GPU, or of the pretended one."""
    return pretended_kernels(members) if "tests.pretend_gpu" in sys.modules else build_kernels(members)
