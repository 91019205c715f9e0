"""docs/faults.md against the tests it names."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| (.+?) \| `(tests/[^`]+)` \|$", (ROOT / "docs/faults.md").read_text(), re.MULTILINE)


def named_in(path):
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            found.add(f"{path}::{node.name}")
        if isinstance(node, ast.ClassDef):
            found |= {f"{path}::{node.name}::{item.name}" for item in node.body if isinstance(item, ast.FunctionDef)}
    return found


def test_every_row_names_a_test_that_exists():
    assert len(ROWS) >= 40
    for fault, _, test in ROWS:
        assert test in named_in(test.split("::")[0]), fault


def test_every_test_of_faults_has_its_row():
    here = sorted(path.relative_to(ROOT) for path in Path(__file__).parent.glob("test_*.py"))
    tests = set().union(*(named_in(str(path)) for path in here if path.name != "test_table.py"))
    assert tests == {test for _, _, test in ROWS if test.startswith("tests/faults/")}
