"""The kernels of a message for one width of a network: compilation, loading and launch by CUDA's driver."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from redoxmd.md.fused.nvrtc import Cubin, compile_cubin
from redoxmd.model.painn import Painn

SOURCE = Path(__file__).with_name("message.cu")
KERNELS = ("first_message", "later_message", "first_derivatives", "later_derivatives")
WARP = 32
# A wider network has more threads per block than registers for them.
MAX_FEATURES = 512

Argument = Tensor | int | float | None


class MessageKernels(Protocol):
    """Kernels for networks with `features` features and one number of radial functions."""

    features: int

    def launch(self, kernel: str, blocks: int, arguments: Sequence[Argument]) -> None:
        """Start a kernel on the current stream: tensors are passed as addresses, None as null, floats as `REAL`."""


class DriverKernels:
    """Kernels on a GPU, launched by the CUDA driver on torch's current stream.

    Args:
        features: width for which the code was compiled.
        code: machine code of this GPU.
        driver: the library of the CUDA driver.
        device: the GPU.

    Raises:
        RuntimeError: the driver refuses the code.
    """

    real: type[ctypes.c_float] | type[ctypes.c_double] = ctypes.c_float

    def __init__(self, features: int, code: bytes, driver: ctypes.CDLL, device: torch.device) -> None:
        self.features, self.device, self._driver = features, device, driver
        self._context, self._module = ctypes.c_void_p(), ctypes.c_void_p()
        ordinal = ctypes.c_int()
        self._check(driver.cuInit(0))
        self._check(driver.cuDeviceGet(ctypes.byref(ordinal), device.index))
        # The context of torch. Neither is ever released: captured graphs use the kernels until the process ends.
        self._check(driver.cuDevicePrimaryCtxRetain(ctypes.byref(self._context), ordinal))
        self._check(driver.cuCtxSetCurrent(self._context))
        self._check(driver.cuModuleLoadData(ctypes.byref(self._module), code))
        self._functions = {name: self._function(name) for name in KERNELS}

    def launch(self, kernel: str, blocks: int, arguments: Sequence[Argument]) -> None:
        """Start a kernel as in `MessageKernels`."""
        # The thread of a backward pass may have no context yet.
        self._check(self._driver.cuCtxSetCurrent(self._context))
        # The values exist until the driver has copied them.
        _values, pointers = parameters(arguments, self.real)
        shape = (blocks, 1, 1, threads_per_block(self.features), 1, 1)
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


def build_kernels(members: Sequence[Painn]) -> dict[int, DriverKernels]:
    """Kernels of each width of the members, for the GPU where they are.

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
    cubins = {width: message_cubin(width, first.radial.size, f"sm_{gpu.major}{gpu.minor}") for width in widths}
    return {width: DriverKernels(width, cubin.code, driver, device) for width, cubin in cubins.items()}


@functools.cache
def message_cubin(features: int, radial_functions: int, architecture: str) -> Cubin:
    """Machine code of the kernels for one width; errors as `compile_cubin`."""
    options = (f"-DFEATURES={features}", f"-DRADIAL={radial_functions}")
    return compile_cubin(SOURCE.read_text(encoding="utf-8"), SOURCE.name, architecture, options)


def threads_per_block(features: int) -> int:
    """A thread per feature, in whole warps."""
    return -(-features // WARP) * WARP


def parameters(
    arguments: Sequence[Argument], real: type[ctypes.c_float] | type[ctypes.c_double]
) -> tuple[list[ctypes.c_void_p | ctypes.c_int | ctypes.c_float | ctypes.c_double], ctypes.Array[ctypes.c_void_p]]:
    """Parameters of a kernel as C values, and the array of their addresses, valid as long as the values exist.

    Raises:
        ValueError: a tensor is not contiguous.
    """
    values: list[ctypes.c_void_p | ctypes.c_int | ctypes.c_float | ctypes.c_double] = []
    for argument in arguments:
        if isinstance(argument, Tensor):
            if not argument.is_contiguous():
                raise ValueError(f"a tensor {tuple(argument.shape)} of a kernel is not contiguous")
            values.append(ctypes.c_void_p(argument.data_ptr()))
        elif argument is None:
            values.append(ctypes.c_void_p())
        else:
            values.append(ctypes.c_int(argument) if isinstance(argument, int) else real(argument))
    return values, (ctypes.c_void_p * len(values))(*(ctypes.addressof(value) for value in values))
