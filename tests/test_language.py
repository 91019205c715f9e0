"""Names and docstrings of the package are in field terms (CONTRIBUTING, docs/glossary.md)."""

import ast
import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src/redoxmd"
TREES = {path: ast.parse(path.read_text()) for path in sorted(PACKAGE.rglob("*.py"))}
# Names that do not say what they hold.
VAGUE = {
    *("found", "seen", "kept", "place", "part", "parts", "one", "ones", "thing", "things", "way", "gone", "left"),
    *("given", "said", "known", "about", "here", "there", "what", "who", "these", "those", "rest", "others", "other"),
}
# Shares in percent, as in other well-kept packages of the field: at most 0.7 and 1.1.
MAX_VAGUE = 0.7
MAX_WHAT = 1.1


def test_bindings_say_what_they_hold():
    names = [
        (path.relative_to(PACKAGE).as_posix(), node.lineno, node.id)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    ]
    vague = [name for name in names if name[2] in VAGUE]
    assert 100 * len(vague) / len(names) <= MAX_VAGUE, vague


def test_docstrings_are_plain_sentences():
    texts = [
        (path.relative_to(PACKAGE).as_posix(), text)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and (text := ast.get_docstring(node))
    ]
    riddles = [(path, text.splitlines()[0]) for path, text in texts if re.search(r"\bwhat\b", text, re.IGNORECASE)]
    assert 100 * len(riddles) / len(texts) <= MAX_WHAT, riddles
