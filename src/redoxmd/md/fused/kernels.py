"""The fused kernels of an ensemble: compilation, loading and launch by CUDA's driver."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from redoxmd.md.batched.noise import MULTIPLIERS, ROUNDS, WEYL
from redoxmd.md.fused.nvrtc import Cubin, compile_cubin
from redoxmd.model.painn import Painn
from redoxmd.model.repulsion import RATES, WEIGHTS

WARP = 32
# Of the kernels whose blocks do not depend on the width of a network.
THREADS = 128
# A wider network has more threads per block than registers for them.
MAX_FEATURES = 512


class KernelFile(NamedTuple):
    """A file of kernels.

    Attributes:
        name: of the file.
        kernels: all of them.
        apart: those whose threads do not wait for each other.
        options: definitions for the compiler.
    """

    name: str
    kernels: tuple[str, ...]
    apart: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The source."""
        return Path(__file__).with_name(self.name).read_text(encoding="utf-8")


def _listed(name: str, values: Sequence[float]) -> str:
    return f"-D{name}={','.join(map(repr, values))}"


MESSAGE = KernelFile("message.cu", ("first_message", "later_message", "first_derivatives", "later_derivatives"))
_APART = ("activation", "norms", "update", "update_gates", "update_mixed")
ATOMS = KernelFile(
    "atoms.cu",
    (*_APART, "readout", "pair_functions", "forces", "totals"),
    _APART,
    (_listed("CORE_WEIGHTS", WEIGHTS), _listed("CORE_RATES", RATES)),
)
STEP = KernelFile(
    "step.cu",
    ("propagate", "finish"),
    (),
    (
        f"-DROUNDS={ROUNDS}",
        *(f"-DMULTIPLIER_{n}={value}u" for n, value in enumerate(MULTIPLIERS)),
        *(f"-DWEYL_{n}={value}u" for n, value in enumerate(WEYL)),
    ),
)


class Kernels(Protocol):
    """Kernels of one file.

    Attributes:
        threads: of a block.
    """

    threads: int

    def launch(
        self, kernel: str, blocks: int, reads: Sequence[Tensor | None], writes: Sequence[Tensor], *numbers: float
    ) -> None:
        """Start a kernel on the current stream.

        Its parameters are, in this order: tensors that it reads and that it writes, passed as addresses (None as null),
        and numbers, as int or double.
        """


class FusedKernels(NamedTuple):
    """Kernels for the members of an ensemble: of the messages for each width, of `atoms.cu` and of `step.cu`."""

    messages: Mapping[int, Kernels]
    atoms: Kernels
    step: Kernels


class DriverKernels:
    """Kernels on a GPU, launched by the CUDA driver on torch's current stream.

    Args:
        names: of the kernels.
        threads: of a block.
        code: machine code of this GPU.
        driver: the library of the CUDA driver.
        device: the GPU.

    Raises:
        RuntimeError: the driver refuses the code.
    """

    def __init__(
        self, names: Sequence[str], threads: int, code: bytes, driver: ctypes.CDLL, device: torch.device
    ) -> None:
        self.threads, self.device, self._driver = threads, device, driver
        self._context, self._module = ctypes.c_void_p(), ctypes.c_void_p()
        ordinal = ctypes.c_int()
        self._check(driver.cuInit(0))
        self._check(driver.cuDeviceGet(ctypes.byref(ordinal), device.index))
        # The context of torch. Neither is ever released: captured graphs use the kernels until the process ends.
        self._check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), ordinal))
        self._check(driver.cuCtxSetCurrent(self._context))
        self._check(driver.cuModuleLoadData(ctypes.byref(self._module), code))
        self._functions = {name: self._function(name) for name in names}

    def launch(
        self, kernel: str, blocks: int, reads: Sequence[Tensor | None], writes: Sequence[Tensor], *numbers: float
    ) -> None:
        """Start a kernel as in `Kernels`."""
        # A thread may have no context yet.
        self._check(self._driver.cuCtxSetCurrent(self._context))
        # The values exist until the driver has copied them.
        _values, pointers = parameters([*reads, *writes, *numbers])
        shape = (blocks, 1, 1, self.threads, 1, 1)
        stream = ctypes.c_void_p(self._stream())
        self._check(self._driver.cuLaunchKernel(self._functions[kernel], *shape, 0, stream, pointers, None))

    def _stream(self) -> int:
        address: int = torch.cuda.current_stream(self.device).cuda_stream
        return address

    def _function(self, name: str) -> ctypes.c_void_p:
        function = ctypes.c_void_p()
        self._check(self._driver.cuModuleGetFunction(ctypes.byref(function), self._module, name.encode()))
        return function

    def _check(self, status: int) -> None:
        if status:
            words = ctypes.c_char_p()
            self._driver.cuGetErrorString(status, ctypes.byref(words))
            raise RuntimeError(f"CUDA error: {(words.value or b'unknown').decode()} ({status})")


def build_kernels(members: Sequence[Painn]) -> FusedKernels:
    """Kernels for the members, for the GPU where they are.

    Raises:
        OSError: there is no NVRTC or no driver.
        RuntimeError: the kernels do not apply to the members, or compiler or driver refuse them.
    """
    first = members[0]
    widths = sorted({int(member.settings["features"]) for member in members})
    if first.dtype != torch.float32 or widths[-1] > MAX_FEATURES:
        raise RuntimeError(f"they are for single precision and up to {MAX_FEATURES} features")
    device = torch.device("cuda", torch.cuda.current_device() if first.device.index is None else first.device.index)
    driver = ctypes.CDLL("libcuda.so.1")
    gpu = torch.cuda.get_device_properties(device)
    architecture = f"sm_{gpu.major}{gpu.minor}"

    def load(file: KernelFile, threads: int, options: tuple[str, ...] = ()) -> DriverKernels:
        return DriverKernels(file.kernels, threads, kernel_cubin(file, architecture, options).code, driver, device)

    messages = {
        width: load(MESSAGE, threads_per_block(width), message_options(width, first.radial.size)) for width in widths
    }
    return FusedKernels(messages, load(ATOMS, THREADS), load(STEP, THREADS))


@functools.cache
def kernel_cubin(file: KernelFile, architecture: str, options: tuple[str, ...] = ()) -> Cubin:
    """Machine code of the kernels of a file; errors as `compile_cubin`."""
    return compile_cubin(file.text, file.name, architecture, (*file.options, *options))


def message_options(features: int, radial_functions: int) -> tuple[str, ...]:
    """Definitions with which the messages of one width are compiled."""
    return f"-DFEATURES={features}", f"-DRADIAL={radial_functions}"


def threads_per_block(features: int) -> int:
    """A thread per feature, in whole warps."""
    return -(-features // WARP) * WARP


def parameters(
    arguments: Sequence[Tensor | float | None],
) -> tuple[list[ctypes.c_void_p | ctypes.c_int | ctypes.c_double], ctypes.Array[ctypes.c_void_p]]:
    """Parameters of a kernel as C values, and the array of their addresses, valid as long as the values exist.

    Raises:
        ValueError: a tensor is not contiguous.
    """
    values: list[ctypes.c_void_p | ctypes.c_int | ctypes.c_double] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            if not argument.is_contiguous():
                raise ValueError(f"a tensor {tuple(argument.shape)} of a kernel is not contiguous")
            values.append(ctypes.c_void_p(argument.data_ptr()))
        elif argument is None:
            values.append(ctypes.c_void_p())
        else:
            values.append(ctypes.c_int(argument) if isinstance(argument, int) else ctypes.c_double(argument))
    return values, (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
