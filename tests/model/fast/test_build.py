"""How the kernels are built on machines that are not at hand."""

from pathlib import Path

import pytest

from redoxmd.model.fast import build

ARM = "processor\t: 0\nBogoMIPS\t: 50.00\nFeatures\t: {}\nCPU implementer\t: 0x41\nCPU variant\t: 0x1\nCPU part\t: {}\n"
POWER = "processor\t: 0\ncpu\t\t: {}, altivec supported\nclock\t\t: 3800.000000MHz\n"


def test_flags_of_x86_are_for_x86():
    assert "-mprefer-vector-width=512" in build.compiler_flags("x86_64")
    for machine in ("aarch64", "arm64", "ppc64le", "riscv64"):
        flags = build.compiler_flags(machine)
        assert not {"-march=native", "-mprefer-vector-width=512"} & set(flags)
        assert ("-mcpu=native" in flags) == (machine != "riscv64")


@pytest.mark.parametrize(
    ("machine", "first", "second"),
    [
        ("aarch64", ARM.format("fp asimd", "0xd0c"), ARM.format("fp asimd sve sve2 bf16", "0xd4f")),
        ("aarch64", ARM.format("fp asimd", "0xd0c"), ARM.format("fp asimd", "0xd40")),
        ("ppc64le", POWER.format("POWER9"), POWER.format("POWER10")),
    ],
)
def test_libraries_of_different_processors_have_different_names(monkeypatch, machine, first, second):
    monkeypatch.setattr("platform.machine", lambda: machine)
    found = set()
    for text in (first, second):
        monkeypatch.setattr(Path, "read_text", lambda self, encoding=None, text=text: text)
        found.add(build._processor())
    assert len(found) == 2
