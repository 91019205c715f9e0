"""What a job loads before it works: torch takes seconds, and thousands of jobs start."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEED_TORCH = {
    *(
        "train",
        "pretrain",
        "pretrain_frames",
        "pretrain_errors",
        "warm_up",
        "fold",
        "moments",
        "moment_fold",
        "moment_errors",
        "moment_check",
        "ensemble",
        "explore",
        "select",
        "basins",
        "neb",
        "neb_explore",
        "production",
        "production_batch",
    ),
    *("density", "density_evaluation", "reference_charges", "charges"),
}
SCRIPTS = {path.stem: path for path in sorted((ROOT / "workflow/scripts").glob("*.py"))}


def imports_of(text):
    """The import statements at the top of a script."""
    lines = text.splitlines()
    nodes = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    return "\n".join("\n".join(lines[node.lineno - 1 : node.end_lineno]) for node in nodes)


def first_that_loads(module, parts):
    """Name of the first of some pieces of code, run in turn in one process, after which a module is there."""
    told = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import sys\nparts = eval(sys.stdin.read())\nfor name, code in parts.items():\n    exec(code)\n"
            f"    if {module!r} in sys.modules:\n        print(name)\n        break\n",
        ],
        input=repr(parts),
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.strip()


def test_the_list_knows_the_scripts():
    assert set(SCRIPTS) >= NEED_TORCH


def test_scripts_without_a_network_start_without_torch():
    others = {name: imports_of(path.read_text()) for name, path in SCRIPTS.items() if name not in NEED_TORCH}
    assert len(others) > 20
    assert first_that_loads("torch", others) == ""
    # It would be seen.
    first, train = next(iter(others.items())), imports_of(SCRIPTS["train"].read_text())
    assert first_that_loads("torch", dict([first, ("train", train)])) == "train"


@pytest.mark.parametrize("module", ["torch", "pymatgen", "ase.io", "pandas", "scipy"])
def test_reading_the_rules_loads_nothing_heavy(module):
    rules = imports_of((ROOT / "rules/common.smk").read_text().split("CFG =")[0])
    assert first_that_loads(module, {"common.smk": rules}) == ""
