"""The library face: what `from redoxmd.<package> import name` offers."""

import inspect
import pkgutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import redoxmd

ROOT = Path(__file__).parents[1]
PACKAGES = ["redoxmd", *(f"redoxmd.{item.name}" for item in pkgutil.iter_modules(redoxmd.__path__) if item.ispkg)]
FACES = [package for package in PACKAGES if hasattr(import_module(package), "__all__")]


def test_stages_have_a_face():
    stages = {path.stem for path in (ROOT / "rules").glob("*.smk")} - {"common", "production_batch"}
    packages = {stage for stage in stages if (ROOT / "src/redoxmd" / stage).is_dir()} | {"md", "model"}
    assert {"redoxmd", *(f"redoxmd.{stage}" for stage in packages)} <= set(FACES)


@pytest.mark.parametrize("package", FACES)
def test_every_public_name_is_there_and_says_what_it_is(package):
    module = import_module(package)
    submodules = {item.name for item in pkgutil.iter_modules(module.__path__)}
    assert set(module.__all__) & submodules == set(), "a module of that name would take its place"
    for name in module.__all__:
        value = getattr(module, name)
        assert not inspect.ismodule(value), name
        if callable(value):
            # Without a docstring a dataclass has its signature.
            assert (inspect.getdoc(value) or f"{name}(").startswith(f"{name}(") is False, name
        assert name in dir(module)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'redoxmd\.model' has no attribute 'Ensembel'"):
        _ = import_module("redoxmd.model").Ensembel


def test_a_face_loads_nothing_before_it_is_asked():
    lazy = [package for package in FACES if hasattr(import_module(package), "__getattr__")]
    program = f"import sys, {', '.join(lazy)}; print(*({{'torch', 'pymatgen', 'spglib'}} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == []
