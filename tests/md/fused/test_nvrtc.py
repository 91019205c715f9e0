"""The kernels compiled for GPUs, where NVRTC can be loaded: no GPU is needed."""

import re

import pytest

from redoxmd.md.fused.kernels import ATOMS, MESSAGE, STEP, kernel_cubin, message_options
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
@pytest.mark.parametrize(
    ("file", "options"),
    [(MESSAGE, message_options(128, 20)), (MESSAGE, message_options(148, 20)), (ATOMS, ()), (STEP, ())],
    ids=["128", "148", "atoms", "step"],
)
def test_kernels_of_table_1_spill_no_registers(file, options, architecture):
    cubin = kernel_cubin(file, architecture, options)
    assert cubin.code[:4] == b"\x7fELF" and all(name.encode() in cubin.code for name in file.kernels)
    assert set(file.kernels) <= set(re.findall(r"Compiling entry function '(\w+)'", cubin.report))
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", cubin.report)
    assert len(spills) >= len(file.kernels) and set(spills) == {("0", "0")}
    registers = [int(number) for number in re.findall(r"Used (\d+) registers", cubin.report)]
    assert len(registers) == len(file.kernels) and max(registers) <= MAX_REGISTERS, registers


def test_a_source_that_is_refused_is_an_error_with_the_line():
    with pytest.raises(RuntimeError, match=r"wrong\.cu for sm_90: wrong\.cu\(2\): error: .*nothing"):
        compile_cubin('extern "C" __global__ void f(int* a) {\n  *a = nothing;\n}', "wrong.cu", "sm_90")


def test_an_unknown_gpu_is_an_error():
    with pytest.raises(RuntimeError, match=r"sm_1: .*architecture"):
        kernel_cubin(STEP, "sm_1")
