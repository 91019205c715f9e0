"""What a job loads before it works: torch takes seconds, and thousands of jobs start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NEED_TORCH = {
    *("train", "ensemble", "explore", "select", "production"),
    *("density", "density_evaluation", "reference_charges", "charges"),
}
SCRIPTS = {path.stem: path for path in sorted((ROOT / "workflow/scripts").glob("*.py"))}


def imports_of(text):
    """The import statements at the top of a script."""
    lines = text.splitlines()
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join("\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes)


def loaded_by(code):
    told = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], capture_output=True, text=True, check=True
    )
    return set(told.stdout.split())


def test_the_list_knows_the_scripts():
    assert set(SCRIPTS) >= NEED_TORCH


@pytest.mark.parametrize("name", sorted(set(SCRIPTS) - NEED_TORCH))
def test_a_script_without_a_network_starts_without_torch(name):
    assert "torch" not in loaded_by(imports_of(SCRIPTS[name].read_text()))


def test_reading_the_rules_loads_neither_torch_nor_pymatgen():
    rules = imports_of((ROOT / "rules/common.smk").read_text().split("CFG =")[0])
    assert not {"torch", "pymatgen", "ase.io", "pandas", "scipy"} & loaded_by(rules)
