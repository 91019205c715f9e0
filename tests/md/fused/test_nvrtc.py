"""The kernels compiled for GPUs, where NVRTC can be loaded: no GPU is needed."""

import re

import pytest

from redoxmd.md.fused.kernels import KERNELS, message_cubin
from redoxmd.md.fused.nvrtc import compile_cubin, load_nvrtc

try:
    load_nvrtc()
    REASON = ""
except OSError as error:
    REASON = str(error)
pytestmark = pytest.mark.skipif(bool(REASON), reason=REASON)
# With which a multiprocessor holds 512 threads.
MAX_REGISTERS = 128


@pytest.mark.parametrize("architecture", ["sm_80", "sm_90"])
@pytest.mark.parametrize("features", [128, 148])
def test_kernels_of_table_1_spill_no_registers(features, architecture):
    cubin = message_cubin(features, 20, architecture)
    assert cubin.code[:4] == b"\x7fELF" and all(name.encode() in cubin.code for name in KERNELS)
    assert sorted(re.findall(r"Compiling entry function '(\w+)'", cubin.report)) == sorted(KERNELS)
    spills = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", cubin.report)
    assert spills == [("0", "0", "0")] * len(KERNELS)
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", cubin.report)]
    assert len(registers) == len(KERNELS) and max(registers) <= MAX_REGISTERS, registers


def test_a_source_that_is_refused_is_an_error_with_the_line():
    with pytest.raises(RuntimeError, match=r"wrong\.cu for sm_90: wrong\.cu\(2\): error: .*nothing"):
        compile_cubin('extern "C" __global__ void f(int* a) {\n  *a = nothing;\n}', "wrong.cu", "sm_90")


def test_an_unknown_gpu_is_an_error():
    with pytest.raises(RuntimeError, match=r"sm_1: .*architecture"):
        message_cubin(8, 5, "sm_1")
